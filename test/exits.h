/* SPDX-License-Identifier: MIT */
/* Processes that end with a large heap, and their helpers, for a program that adopts orphans. */
#ifndef PMDALLOC_TEST_EXITS_H
#define PMDALLOC_TEST_EXITS_H

#include "api.h"
#include "proc.h"

#include <sys/prctl.h>

enum { BLOCK = 64 << 10, STATUS = 23, HELPER_MS = 20000 };
enum { HELPER_TRIES = 5 };
enum { NO_HELPER = 1 }; /* the exit status of one that refused, or only started another */

static const char *conf = "as it comes"; /* the options, for messages */

static inline void fill(size_t bytes)
{
	for (size_t done = 0; done < bytes; done += BLOCK) {
		char *p = t_malloc(BLOCK);
		CHECK(p);
		memset(p, 1, BLOCK);
	}
}

static size_t
	came_late;  /* helpers that have refused, or came when the process waited for them no more, since this was 0 */
static bool missed; /* one of them was wanted */

/* What the children of this process are at. */
static inline void say_children(void)
{
	char path[64], text[512], children[512];
	snprintf(path, sizeof path, "/proc/self/task/%d/children", (int)getpid());
	proc_read(path, children, sizeof children);
	for (char *at = children; *at; at += strspn(at, " ")) {
		int pid = (int)strtol(at, &at, 10);
		snprintf(path, sizeof path, "/proc/%d/stat", pid);
		proc_read(path, text, sizeof text);
		check_say("left: %s\n", text);
		snprintf(path, sizeof path, "/proc/%d/syscall", pid);
		proc_read(path, text, sizeof text);
		check_say("in system call %s\n", text);
	}
}

/* How many helpers there are; all must end. */
static inline size_t helpers(const char *what)
{
	size_t count = 0;
	int status;
	for (int waited = 0;; waited++) {
		pid_t pid = waitpid(-1, &status, WNOHANG | __WALL);
		if (pid < 0)
			return count;
		if (waited >= HELPER_MS)
			say_children();
		CHECK_SAY(waited < HELPER_MS, "%s: %s: a helper is left", conf, what);
		if (pid == 0)
			proc_sleep_ms(1);
		count += pid > 0 && status != NO_HELPER << 8;
		came_late += pid > 0 && status == NO_HELPER << 8;
	}
}

/* True: COUNT is right, or would be if none had come too late. */
static inline bool is_count(size_t count, size_t wanted)
{
	missed |= count < wanted;
	return count == wanted || (count < wanted && count + came_late >= wanted);
}

/* Runs TEST, and again where a helper that it wanted came too late, as may be on a busy machine. */
static inline void in_time(void (*test)(void))
{
	for (int i = 0; i < HELPER_TRIES; i++) {
		missed = false;
		came_late = 0;
		test();
		if (!missed)
			return;
	}
	CHECK_SAY(false, "%s: a helper came too late %d times", conf, HELPER_TRIES);
}

/* Where a helper is resident: what starts it has ended, and nothing is left of that. */
static inline void settle(void)
{
	while (waitpid(-1, NULL, __WCLONE) > 0)
		;
}

/* Children of this process have a resident, however little they hold and however busy the machine is; helpers are its own. */
static inline void arm_children(void)
{
	CHECK(prctl(PR_SET_CHILD_SUBREAPER, 1) == 0);
	CHECK(pmd_option_set("handoff_min", "1M") == 0 && pmd_option_set("handoff_despite", "load") == 0);
	CHECK(pmd_option_set("handoff_fork", "on") == 0 && pmd_option_set("handoff", "armed") == 0);
}

static inline pid_t begin(void)
{
	pid_t pid = fork();
	CHECK(pid >= 0);
	if (pid == 0)
		check_child(30);
	return pid;
}

static inline void expect_end(pid_t pid, const char *what)
{
	int status = check_wait(pid);
	CHECK_SAY(status == STATUS << 8, "%s: %s: wait status %#x", conf, what, (unsigned)status);
}

#endif
