/* SPDX-License-Identifier: MIT */
/*
 * What every test program shares: CHECK, skipping, a time limit, and how much work to do.
 *
 * A test ends with 0 (passed), 1 (failed) or 77 (skipped, with a reason on stderr). Nothing here allocates, so that a
 * broken allocator cannot hide its own failure. CHECK does not depend on NDEBUG.
 */
#ifndef PMDALLOC_TEST_CHECK_H
#define PMDALLOC_TEST_CHECK_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

#define KIB ((size_t)1 << 10)
#define MIB ((size_t)1 << 20)
#define GIB ((size_t)1 << 30)

#define EXIT_SKIP 77

/* Seconds that a program may take; a file may define its own before it includes this one. */
#ifndef CHECK_SECONDS
#define CHECK_SECONDS 120
#endif

#if defined(PMD_SANITIZED) && PMD_SANITIZED
#define SANITIZED 1
#else
#define SANITIZED 0
#endif

#ifdef PMD_HOOKED
#define THREAD_SANITIZED 0 /* compiled so, and linked with test/hooked.h instead */
#elif defined(__SANITIZE_THREAD__)
#define THREAD_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define THREAD_SANITIZED 1
#endif
#endif
#ifndef THREAD_SANITIZED
#define THREAD_SANITIZED 0
#endif

#define LENGTH(array) (sizeof(array) / sizeof((array)[0]))

/* Fails the test unless COND holds. */
#define CHECK(cond)                                                    \
	do {                                                           \
		if (!(cond))                                           \
			check_failed(__FILE__, __LINE__, #cond, NULL); \
	} while (0)

/* CHECK with a printf-like explanation of the values found. */
#define CHECK_SAY(cond, ...)                                                  \
	do {                                                                  \
		if (!(cond))                                                  \
			check_failed(__FILE__, __LINE__, #cond, __VA_ARGS__); \
	} while (0)

/* Ends the test as skipped. */
#define SKIP(...) check_skip(__VA_ARGS__)

static inline void check_write(const char *text)
{
	size_t length = strlen(text);
	while (length > 0) {
		ssize_t n = write(STDERR_FILENO, text, length);
		if (n <= 0)
			return;
		text += n;
		length -= (size_t)n;
	}
}

__attribute__((format(printf, 1, 2))) static inline void check_say(const char *format, ...)
{
	char line[512];
	va_list args;
	va_start(args, format);
	vsnprintf(line, sizeof line, format, args);
	va_end(args);
	check_write(line);
}

__attribute__((noreturn, cold, format(printf, 4, 5))) static inline void
check_failed(const char *file, int number, const char *condition, const char *format, ...)
{
	char why[256] = "";
	int error = errno;
	va_list args;
	va_start(args, format);
	if (format)
		vsnprintf(why, sizeof why, format, args);
	va_end(args);
	check_say("%s:%d: failed: %s%s%s (errno %d)\n", file, number, condition, why[0] ? ": " : "", why, error);
	_exit(1);
}

__attribute__((noreturn, format(printf, 1, 2))) static inline void check_skip(const char *format, ...)
{
	char why[256];
	va_list args;
	va_start(args, format);
	vsnprintf(why, sizeof why, format, args);
	va_end(args);
	check_say("skipped: %s\n", why);
	_exit(EXIT_SKIP);
}

/* The number in environment variable NAME, or FALLBACK. */
static inline size_t check_number(const char *name, size_t fallback)
{
	const char *text = getenv(name);
	size_t value = 0;
	if (!text || !*text)
		return fallback;
	for (; *text >= '0' && *text <= '9'; text++)
		value = value * 10 + (size_t)(*text - '0');
	return value;
}

/* Sanitizers and Valgrind are slow: they do 1/8 of the work, or 1/CHECK_SCALE where the environment says so. */
static inline size_t check_scaled(size_t work)
{
	size_t scaled = work / check_number("CHECK_SCALE", SANITIZED ? 8 : 1);
	return scaled ? scaled : 1;
}

/* The default action of SIGALRM ends a program that hangs. An alarm survives execve, and a fork starts without one. */
static inline void check_time_limit(unsigned seconds)
{
	alarm(seconds * (unsigned)check_number("CHECK_SLOWER", SANITIZED ? 10 : 1));
}

__attribute__((constructor)) static void check_start(void)
{
	check_time_limit(CHECK_SECONDS);
}

/* For a child right after fork: it ends with its parent, and after SECONDS at the latest, and leaves no core behind. */
static inline void check_child(unsigned seconds)
{
	const struct rlimit no_core = {0, 0};
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	setrlimit(RLIMIT_CORE, &no_core);
	check_time_limit(seconds);
}

/* Waits for PID and returns its wait status. */
static inline int check_wait(pid_t pid)
{
	int status = 0;
	pid_t got;
	do
		got = waitpid(pid, &status, 0);
	while (got < 0 && errno == EINTR);
	CHECK(got == pid);
	return status;
}

#endif
