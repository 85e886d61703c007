/* SPDX-License-Identifier: MIT */
/* Only with faults: processes with a heap worth a handoff end in all ways, and nobody sees a difference. */
#include "api.h"
#include "check.h"

#define HELD   (6 * MIB)
#define STATUS 33

static const char words[] = "written at the end\n";

static void end_by_exit(void)
{
	fputs(words, stdout);
	exit(STATUS);
}

static void end_quickly(void)
{
	fputs(words, stdout);
	fflush(stdout);
	quick_exit(STATUS);
}

static void end_at_once(void)
{
	CHECK(write(1, words, sizeof words - 1) == sizeof words - 1);
	_exit(STATUS);
}

static void end_killed(void)
{
	CHECK(write(1, words, sizeof words - 1) == sizeof words - 1);
	raise(SIGKILL);
}

static void run(void (*end)(void), bool killed)
{
	char got[64] = "";
	size_t length = 0;
	int fds[2], status;
	pid_t pid;

	CHECK(pipe(fds) == 0);
	pid = fork();
	CHECK(pid >= 0);
	if (pid == 0) {
		char *p;

		check_child(60);
		CHECK(dup2(fds[1], 1) == 1);
		close(fds[0]);
		close(fds[1]);
		p = t_malloc(HELD);
		memset(p, 1, HELD);
		end();
	}
	close(fds[1]);
	for (ssize_t n; length + 1 < sizeof got && (n = read(fds[0], got + length, sizeof got - 1 - length)) > 0;)
		length += (size_t)n;
	close(fds[0]);
	status = check_wait(pid);
	CHECK_SAY(killed ? WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL
			 : WIFEXITED(status) && WEXITSTATUS(status) == STATUS,
		  "wait status %#x", (unsigned)status);
	CHECK_SAY(!strcmp(got, words), "it wrote '%s'", got);
}

int main(void)
{
	run(end_by_exit, false);
	run(end_quickly, false);
	run(end_at_once, false);
	run(end_killed, true);
	memset(t_malloc(HELD), 1, HELD);
	return 0;
}
