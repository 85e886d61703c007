/* SPDX-License-Identifier: MIT */
/*
 * Runs a program behind a seccomp filter, for tests of what such a program sees.
 * Usage: sandboxed EPERM|ENOSYS|kill SYSTEM_CALL[,SYSTEM_CALL]... PROGRAM [ARGUMENT]...; calls by name, of those below.
 */
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { RULES = 16 };

static const struct {
	const char *name;
	unsigned number;
} calls[] = {
	{"io_uring_setup", SYS_io_uring_setup},   {"madvise", SYS_madvise},
	{"membarrier", SYS_membarrier},           {"pidfd_open", SYS_pidfd_open},
	{"process_madvise", SYS_process_madvise},
};

/* Its number, or all bits set. */
static unsigned number_of(const char *name)
{
	for (size_t i = 0; i < sizeof calls / sizeof calls[0]; i++)
		if (!strcmp(calls[i].name, name))
			return calls[i].number;
	return UINT32_MAX;
}

static int forbid(char *names, unsigned answer)
{
	struct sock_filter code[2 * RULES + 2] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr))};
	struct sock_fprog program = {1, code};

	for (char *name = strtok(names, ","); name; name = strtok(NULL, ",")) {
		unsigned number = number_of(name);

		if (number == UINT32_MAX || program.len > 2 * RULES - 2)
			return EINVAL;
		code[program.len++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, number, 0, 1);
		code[program.len++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, answer);
	}
	code[program.len++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0))
		return errno;
	return 0;
}

int main(int argc, char **argv)
{
	unsigned answer;
	int error;

	if (argc < 4)
		return 2;
	if (!strcmp(argv[1], "kill"))
		answer = SECCOMP_RET_KILL_PROCESS;
	else
		answer = SECCOMP_RET_ERRNO | (!strcmp(argv[1], "ENOSYS") ? ENOSYS : EPERM);
	error = forbid(argv[2], answer);
	if (error) {
		fprintf(stderr, "sandboxed: %s\n", strerror(error));
		return 77;
	}
	execvp(argv[3], argv + 3);
	return 127;
}
