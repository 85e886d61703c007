/* SPDX-License-Identifier: MIT */
/*
 * pmdalloc-run --time-exit: runs a program and prints how long its parent, this, waited for its end, and when its memory was
 * free. The library signals its parent at its last act, with the time of it; a helper that was left is adopted here.
 * Usage: time_exit PROGRAM [ARGUMENT]..., the library being preloaded. Ends as the program did.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static void fail(int status, const char *what, const char *name)
{
	fprintf(stderr, "pmdalloc-run: %s '%s': %s\n", what, name, strerror(errno));
	exit(status);
}

static uint64_t now_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

/* The option by which the library knows whom to tell; those that are there already stay. */
static void ask_for_time(void)
{
	const char *before = getenv("PMDALLOC_CONF");
	char conf[4096];

	snprintf(conf, sizeof conf, "%s%stime_exit:%d", before ? before : "", before && *before ? "," : "",
		 (int)getpid());
	setenv("PMDALLOC_CONF", conf, 1);
}

static pid_t start(char **command, const sigset_t *mask)
{
	pid_t pid = fork();

	if (pid < 0)
		fail(126, "cannot start program", command[0]);
	if (pid > 0)
		return pid;
	signal(SIGINT, SIG_DFL);
	signal(SIGQUIT, SIG_DFL);
	sigprocmask(SIG_SETMASK, mask, NULL);
	execvp(command[0], command);
	fail(errno == ENOENT ? 127 : 126, "cannot run program", command[0]);
	return 0;
}

/* And for orphans that end before, which nobody else takes note of. */
static void wait_for(pid_t pid, int *status)
{
	pid_t ended;

	do
		ended = wait(status);
	while (ended != pid && (ended > 0 || errno == EINTR));
}

/* The time of the last act of PROCESS, if it told; 0 if not. */
static uint64_t last_act(pid_t process, const sigset_t *told)
{
	const struct timespec at_once = {0, 0};
	siginfo_t info;
	uint64_t us = 0;

	while (sigtimedwait(told, &info, &at_once) > 0)
		if (info.si_pid == process)
			us = (uint64_t)(uintptr_t)info.si_value.sival_ptr;
	return us;
}

static bool is_helper(pid_t pid)
{
	char name[64], text[32] = "";
	int fd;

	snprintf(name, sizeof name, "/proc/%d/comm", (int)pid);
	fd = open(name, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	if (read(fd, text, sizeof text - 1) < 0)
		text[0] = 0;
	close(fd);
	return !strcmp(text, "pmdalloc-exit\n");
}

/* The helper among the orphans, which may be daemons that go on for ever; 0: none. */
static pid_t find_helper(void)
{
	char name[64];
	int pid = 0;
	FILE *children;

	snprintf(name, sizeof name, "/proc/self/task/%d/children", (int)getpid());
	children = fopen(name, "re");
	while (children && fscanf(children, "%d", &pid) == 1)
		if (is_helper(pid))
			break;
		else
			pid = 0;
	if (children)
		fclose(children);
	return pid;
}

static void report(const char *name, uint64_t act, uint64_t gone, pid_t helper)
{
	if (!act) {
		fprintf(stderr, "pmdalloc-run: %s: no last act was seen: it was ended by a signal, or is not served\n",
			name);
		return;
	}
	fprintf(stderr, "pmdalloc-run: %s: its parent waited %.2f ms from its last act; ", name,
		(double)(gone - act) / 1000);
	if (!helper) {
		fprintf(stderr, "no handoff\n");
		return;
	}
	while (waitpid(helper, NULL, 0) < 0 && errno == EINTR)
		;
	fprintf(stderr, "its memory was free after %.2f ms\n", (double)(now_us() - act) / 1000);
}

/* As PROCESS did, by the same signal, but without another core. */
static int end_like(int status)
{
	const struct rlimit none = {0, 0};

	if (WIFEXITED(status))
		return WEXITSTATUS(status);
	setrlimit(RLIMIT_CORE, &none);
	signal(WTERMSIG(status), SIG_DFL);
	raise(WTERMSIG(status));
	return 128 + WTERMSIG(status);
}

int main(int argc, char **argv)
{
	sigset_t told, before;
	uint64_t gone;
	int status;
	pid_t pid;

	if (argc < 2)
		return 2;
	sigemptyset(&told);
	sigaddset(&told, SIGURG);
	sigprocmask(SIG_BLOCK, &told, &before);
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	ask_for_time();
	pid = start(argv + 1, &before);
	signal(SIGINT, SIG_IGN); /* the terminal's go to the program as well, which decides */
	signal(SIGQUIT, SIG_IGN);
	wait_for(pid, &status);
	gone = now_us();
	report(argv[1], last_act(pid, &told), gone, find_helper());
	return end_like(status);
}
