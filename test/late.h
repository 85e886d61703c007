/* SPDX-License-Identifier: MIT */
/*
 * A handler that runs after the library's last act, and so beside a helper; and a look at that helper. For programs linked
 * with src/exit/at_exit.c.
 */
#ifndef PMDALLOC_TEST_LATE_H
#define PMDALLOC_TEST_LATE_H

#include "check.h"

#include "proc.h"

enum { LATE_MS = 20000 };

static void (*late)(void);

static void run_late(void *unused)
{
	(void)unused;
	if (late)
		late();
}

int __cxa_atexit(void (*handler)(void *), void *argument, void *library);

/* Before the library's own constructors: so its handler has run when this one does. */
__attribute__((constructor(101))) static void register_late(void)
{
	__cxa_atexit(run_late, NULL, NULL);
}

/* What the file says; nothing where it cannot be read. */
static inline void late_read(const char *name, char *text, size_t room)
{
	int fd = open(name, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? 0 : read(fd, text, room - 1);
	if (fd >= 0)
		close(fd);
	text[n > 0 ? n : 0] = 0;
}

/* As in /proc/PID/stat; 0: there is no such process. */
static inline char state_of(pid_t pid)
{
	char name[64], text[512];
	snprintf(name, sizeof name, "/proc/%d/stat", (int)pid);
	late_read(name, text, sizeof text);
	const char *end = strrchr(text, ')');
	return end ? end[2] : 0;
}

/* The helper among the children of process PID, which it is called as when it has answered; 0: there is none. */
static inline pid_t helper_of(pid_t pid)
{
	char name[64], text[1024] = "", *end = text;
	snprintf(name, sizeof name, "/proc/%d/task/%d/children", (int)pid, (int)pid);
	late_read(name, text, sizeof text);
	for (pid_t child; (child = (pid_t)strtol(end, &end, 10)) > 0;) {
		char comm[32] = "";
		snprintf(name, sizeof name, "/proc/%d/comm", (int)child);
		late_read(name, comm, sizeof comm);
		if (strcmp(comm, "pmdalloc-exit\n") == 0)
			return child;
	}
	return 0;
}

/* As `late`: stops the helper, which so is there for as long as the test wants. */
static inline void stop_helper(void)
{
	pid_t helper = helper_of(getpid());
	CHECK(helper && kill(helper, SIGSTOP) == 0);
	for (int waited = 0; state_of(helper) != 'T'; waited++) {
		CHECK(waited < LATE_MS);
		proc_sleep_ms(1);
	}
}

#endif
