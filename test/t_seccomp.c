/* SPDX-License-Identifier: MIT */
/*
 * A sandbox: a filter that kills for, or answers ENOSYS to, every system call but those that an allocator cannot do
 * without. Blocks of every size are allocated, grown and freed in it.
 */
#include "api.h"
#include "block.h"
#include "proc.h"
#include "random.h"
#include "variants.h"

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/syscall.h>

#define STEPS 20000
#define SLOTS 256
#define KEPT  ((size_t)16 << 20)

static const unsigned allowed[] = {
	SYS_mmap,  SYS_munmap, SYS_madvise, SYS_mprotect,   SYS_mremap,       SYS_futex,         SYS_read,
	SYS_write, SYS_close,  SYS_exit,    SYS_exit_group, SYS_rt_sigreturn, SYS_clock_gettime,
};

static void enter_sandbox(unsigned otherwise)
{
	struct sock_filter code[LENGTH(allowed) + 3];
	struct sock_fprog program = {LENGTH(code), code};
	const size_t last = LENGTH(code) - 1;
	code[0] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
	for (size_t i = 0; i < LENGTH(allowed); i++)
		code[i + 1] =
			(struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, allowed[i], (uint8_t)(last - i - 2), 0);
	code[last - 1] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, otherwise);
	code[last] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
	CHECK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
	if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0))
		SKIP("seccomp: errno %d", errno);
}

static void work(void)
{
	static struct block blocks[SLOTS];
	struct rng rng = {3};
	for (size_t i = 0; i < STEPS; i++) {
		struct block *block = &blocks[rng_below(&rng, SLOTS)];
		size_t size = 1 + rng_log_size(&rng, i % 16 ? 15 : 24);
		if (block->p)
			block_verify(block);
		if (block->p && i % 3) {
			t_free(block->p);
			block->p = NULL;
			continue;
		}
		block->p = t_realloc(block->p, size);
		CHECK(block->p);
		block->size = size;
		block_fill(block);
	}
	pmd_release();
	for (size_t i = 0; i < SLOTS; i++) {
		t_free(blocks[i].p);
		blocks[i].p = NULL;
	}
}

/* With a heap that is worth a handoff, where there may be one. */
static _Noreturn void leave(bool handlers)
{
	void *volatile kept = t_malloc(KEPT);

	CHECK(kept);
	memset(kept, 1, KEPT);
	if (handlers)
		exit(0);
	_exit(0);
}

int main(int argc, char **argv)
{
	if (SANITIZED)
		SKIP("a sanitizer makes system calls of its own");
#ifdef PMD_PREFIXED
	/* The prefixed library does not see the program enter the sandbox: the program says so. */
	const char *conf = VARIANTS(argc, argv, "decay_ms:0,background:off,release:madvise,thp:never",
				    "decay_ms:10,background:off,release:madvise,thp:never");
#else
	const char *conf = VARIANTS(argc, argv, "decay_ms:0", "decay_ms:10", "decay_ms:10,background:off",
				    "decay_ms:10,handoff_min:1M", "decay_ms:10,handoff_min:1M,handoff:armed");
#endif
	pid_t pids[4];
	for (unsigned i = 0; i < LENGTH(pids); i++) {
		pids[i] = fork();
		CHECK(pids[i] >= 0);
		if (pids[i] == 0) {
			check_child(60);
			if (i & 1)
				work();
			enter_sandbox(i & 2 ? SECCOMP_RET_KILL_PROCESS : SECCOMP_RET_ERRNO | ENOSYS);
			work();
			leave(i & 1);
		}
	}
	for (unsigned i = 0; i < LENGTH(pids); i++) {
		int status = check_wait(pids[i]);
		CHECK_SAY(!WIFSIGNALED(status), "%s: killed in the sandbox by signal %d; others: %s, before: %s", conf,
			  WTERMSIG(status), i & 2 ? "kill" : "ENOSYS", i & 1 ? "used" : "unused");
		CHECK_SAY(WEXITSTATUS(status) == 0 || WEXITSTATUS(status) == EXIT_SKIP, "%s", conf);
		if (WEXITSTATUS(status) == EXIT_SKIP)
			_exit(EXIT_SKIP);
	}
	return 0;
}
