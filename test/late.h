/* SPDX-License-Identifier: MIT */
/*
 * A handler that runs after the library's last act, and so beside a helper; and a look at that helper. For programs linked
 * with src/exit/at_exit.c.
 */
#ifndef PMDALLOC_TEST_LATE_H
#define PMDALLOC_TEST_LATE_H

#include "check.h"

#include <fcntl.h>

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

/* The first child of process PID; 0: none. */
static inline pid_t child_of(pid_t pid)
{
	char name[64], text[64] = "";
	snprintf(name, sizeof name, "/proc/%d/task/%d/children", (int)pid, (int)pid);
	int fd = open(name, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? 0 : read(fd, text, sizeof text - 1);
	if (fd >= 0)
		close(fd);
	return n > 0 ? atoi(text) : 0;
}

/* As in /proc/PID/stat; 0: there is no such process. */
static inline char state_of(pid_t pid)
{
	char name[64], text[512] = "";
	snprintf(name, sizeof name, "/proc/%d/stat", (int)pid);
	int fd = open(name, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return 0;
	CHECK(read(fd, text, sizeof text - 1) >= 0);
	close(fd);
	const char *end = strrchr(text, ')');
	return end ? end[2] : 0;
}

#endif
