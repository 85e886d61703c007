/* SPDX-License-Identifier: MIT */
/*
 * A filter (seccomp) that refuses one system call, each that the library makes in turn: with EPERM, with ENOSYS, or by
 * killing the process. Blocks are allocated, grown, given back and freed as if nothing were, except where memory itself
 * is refused: then there is ENOMEM, what there is stays whole, and can be freed.
 *
 * The filter is there before the library's first act, as in a container, or is entered by a running program, which the
 * library notices: then it calls nothing for which it could be killed but mmap, munmap and madvise, and futex where
 * threads wait for each other. It cannot know of one that kills and was there before: then the options of
 * LD_PRELOAD/README.md keep it from all other calls but those that its start takes, and mprotect.
 */
#include "api.h"
#include "block.h"
#include "calls.h"
#include "proc.h"
#include "random.h"

#include "os/syscall.h"

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <time.h>

#define STEPS   1000
#define SLOTS   128
#define AT_ONCE 8

#define QUIET "background:off,handoff:off,release:madvise,mremap_mib:1048576,thp:never,decay_ms:0"

enum when { RUNNING, BEFORE, WHENS };
enum answer { ANSWER_EPERM, ANSWER_ENOSYS, ANSWER_KILL, ANSWERS };

static const char *const when_names[WHENS] = {"entered while running", "there before"};
static const char *const answer_names[ANSWERS] = {"EPERM", "ENOSYS", "kill"};
static const unsigned actions[ANSWERS] = {SECCOMP_RET_ERRNO | EPERM, SECCOMP_RET_ERRNO | ENOSYS,
					  SECCOMP_RET_KILL_PROCESS};

/* The library makes this one through the C library, unless check:off. */
enum { SIGACTION = CALLS, CALL_KINDS };

static const char *name_of(unsigned call)
{
	return call == SIGACTION ? "rt_sigaction" : all_calls[call].name;
}

static long nr_of(unsigned call)
{
	return call == SIGACTION ? SYS_rt_sigaction : all_calls[call].nr;
}

/* ---- One case ---------------------------------------------------------------------------------------------------- */

static unsigned the_call, the_when, the_answer;
static long filter_error;
static bool is_case;

/* By the C library's prctl, which the preloaded library sees, or behind its back. */
static long enter(bool behind)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)nr_of(the_call), 0, 1),
		BPF_STMT(BPF_RET | BPF_K, actions[the_answer]),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = {LENGTH(code), code};

	if (!behind)
		return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program);
	os_syscall(SYS_prctl, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0, 0);
	return os_syscall(SYS_prctl, PR_SET_SECCOMP, SECCOMP_MODE_FILTER, (long)&program, 0, 0, 0);
}

/* Before the constructors of all libraries; the C library's environ is not there yet. */
static void before_all(int argc, char **argv, char **environment)
{
	static const char name[] = "DENIED=";

	(void)argc, (void)argv;
	for (; *environment && strncmp(*environment, name, sizeof name - 1); environment++)
		;
	if (!*environment)
		return;
	is_case = sscanf(*environment + sizeof name - 1, "%u,%u,%u", &the_call, &the_when, &the_answer) == 3;
	if (is_case && the_when == BEFORE)
		filter_error = enter(true);
}

__attribute__((used, section(".preinit_array"))) static void (*const first)(int, char **, char **) = before_all;

/* Without these there is no heap, or it does not grow. */
static bool may_be_refused(void)
{
	long nr = all_calls[the_call].nr;

	return nr == SYS_mmap || nr == SYS_mprotect;
}

static struct block blocks[SLOTS];

static void put(struct block *block)
{
	if (block->p)
		block_verify(block);
	errno = 4711;
	t_free(block->p);
	CHECK(errno == 4711);
	block->p = NULL;
}

static void *get(void *old, size_t size, size_t kind)
{
	void *p;

	errno = 0;
	if (old || kind % 3 == 0)
		p = t_realloc(old, size);
	else
		p = kind % 3 == 1 ? t_calloc(1, size) : t_memalign(64, size);
	CHECK_SAY(p || (may_be_refused() && errno == ENOMEM), "%zu bytes, errno %d", size, errno);
	if (p && !old && kind % 3 == 1)
		block_check_zero(p, size);
	return p;
}

static void step(struct rng *rng, size_t i)
{
	struct block *block = &blocks[rng_below(rng, SLOTS)];
	size_t size = 1 + rng_log_size(rng, i % 32 ? 14 : 22);
	void *p;

	if (block->p && i % 3) {
		put(block);
		return;
	}
	if (block->p)
		block_verify(block);
	p = get(block->p, size, i);
	if (!p)
		return;
	*block = (struct block){p, size, rng_next(rng)};
	block_fill(block);
}

/* So much at once that it is worth a thread that gives it back, and a while in which it could. */
static void put_much(void)
{
	struct block much = {get(NULL, 10 * MIB, 0), 10 * MIB, 1};
	void *behind = t_malloc(MIB), *grown;
	const struct timespec while_it_works = {0, 5000000};

	if (much.p) {
		block_fill(&much);
		grown = get(much.p, 60 * MIB, 0); /* the heap itself grows */
		much.p = grown ? grown : much.p;
		block_verify_prefix(&much, much.size);
	}
	t_free(much.p);
	t_free(behind);
	os_syscall(SYS_clock_nanosleep, CLOCK_MONOTONIC, 0, (long)&while_it_works, 0, 0, 0);
}

static void work(void)
{
	struct rng rng = {3};

	for (size_t i = 0; i < STEPS; i++)
		step(&rng, i);
	put_much();
	pmd_release();
	for (size_t i = 0; i < STEPS / 4; i++)
		step(&rng, i);
	for (size_t i = 0; i < SLOTS; i++)
		put(&blocks[i]);
}

static int run_case(void)
{
	if (the_when == RUNNING) {
		work();
		filter_error = enter(false);
	}
	if (filter_error)
		return EXIT_SKIP;
	work();
	_exit(0);
}

/* ---- All cases --------------------------------------------------------------------------------------------------- */

static struct running {
	pid_t pid;
	unsigned call, when, answer;
} running[AT_ONCE];

static size_t cases, failures;

/* Whether the library stands before prctl(2), and so is told. */
#ifdef PMD_PREFIXED
#define IS_TOLD 0
#else
#define IS_TOLD 1
#endif

/* Whether it knows of the filter. */
static bool is_known(unsigned when)
{
	return IS_TOLD && when == RUNNING;
}

static const char *options_for(unsigned call, unsigned when, unsigned answer)
{
	if (call == SIGACTION && answer == ANSWER_KILL)
		return QUIET ",check:off";
	return answer == ANSWER_KILL && !is_known(when) ? QUIET : "decay_ms:1";
}

/*
 * Who kills for these kills every program, whatever its allocator; and, where the library does not know of the filter, for
 * what the growth of a heap takes, and what is asked once at the start.
 */
static bool is_hopeless(unsigned call, unsigned when, unsigned answer)
{
	long nr = nr_of(call);

	if (answer != ANSWER_KILL)
		return false;
	if (nr == SYS_mmap || nr == SYS_munmap || nr == SYS_madvise || (nr == SYS_mprotect && !is_known(when)))
		return true;
	return when == BEFORE && (nr == SYS_getrandom || nr == SYS_getpid || nr == SYS_sched_getaffinity);
}

static void start(struct running *slot, unsigned call, unsigned when, unsigned answer)
{
	char text[32];
	pid_t pid = fork();

	CHECK(pid >= 0);
	if (pid == 0) {
		check_child(30);
		snprintf(text, sizeof text, "%u,%u,%u", call, when, answer);
		setenv("DENIED", text, 1);
		setenv("PMDALLOC_CONF", options_for(call, when, answer), 1);
		execl("/proc/self/exe", "t_calls_denied", NULL);
		_exit(126);
	}
	*slot = (struct running){pid, call, when, answer};
	cases++;
}

static void finish(void)
{
	int status = 0;
	pid_t pid = wait(&status);
	struct running *slot = running;

	CHECK(pid > 0);
	while (slot < running + AT_ONCE && slot->pid != pid)
		slot++;
	CHECK(slot < running + AT_ONCE);
	slot->pid = 0;
	if (WIFEXITED(status) && WEXITSTATUS(status) == EXIT_SKIP)
		SKIP("no filter can be installed here");
	if (status) {
		check_say("%s, %s, filter %s: wait status %#x (DENIED=%u,%u,%u)\n", name_of(slot->call),
			  answer_names[slot->answer], when_names[slot->when], (unsigned)status, slot->call, slot->when,
			  slot->answer);
		failures++;
	}
}

static bool is_busy(void)
{
	for (size_t i = 0; i < AT_ONCE; i++)
		if (running[i].pid)
			return true;
	return false;
}

static struct running *free_slot(void)
{
	for (;;) {
		for (size_t i = 0; i < AT_ONCE; i++)
			if (!running[i].pid)
				return &running[i];
		finish();
	}
}

int main(void)
{
	if (SANITIZED)
		SKIP("a sanitizer makes system calls of its own");
	if (is_case)
		return run_case();
	for (unsigned call = 0; call < CALL_KINDS; call++)
		for (unsigned when = 0; when < WHENS; when++)
			for (unsigned answer = 0; answer < ANSWERS; answer++)
				if (!is_hopeless(call, when, answer))
					start(free_slot(), call, when, answer);
	while (is_busy())
		finish();
	check_say("%zu system calls, %zu cases, %zu failed\n", (size_t)CALL_KINDS, cases, failures);
	return failures != 0;
}
