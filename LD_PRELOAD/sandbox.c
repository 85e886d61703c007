/* SPDX-License-Identifier: MIT */
/*
 * The preloaded library learns here that the program enters a sandbox: prctl(2) and seccomp(2), the latter through
 * syscall(2), install filters that may kill for system calls they do not know, clone(2) among them. From then on no
 * background thread is started. The calls themselves go through unchanged.
 */
#include <errno.h>
#include <linux/seccomp.h>
#include <stdarg.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "cache/scavenger.h"
#include "os/syscall.h"

#define EXPORT __attribute__((visibility("default")))

enum { ARGUMENTS = 6 };

static long forward(long number, const long *a)
{
	long result;

	if (number == SYS_seccomp || (number == SYS_prctl && (a[0] == PR_SET_SECCOMP || a[0] == PR_SET_NO_NEW_PRIVS)))
		scavenger_forbid_thread();
	result = os_syscall(number, a[0], a[1], a[2], a[3], a[4], a[5]);
	if (result < 0 && result > -4096) {
		errno = (int)-result;
		return -1;
	}
	return result;
}

static void collect(long *a, int first, va_list list)
{
	for (int i = first; i < ARGUMENTS; i++)
		a[i] = va_arg(list, long);
}

EXPORT long syscall(long number, ...)
{
	long a[ARGUMENTS];
	va_list list;

	va_start(list, number);
	collect(a, 0, list);
	va_end(list);
	return forward(number, a);
}

EXPORT int prctl(int operation, ...)
{
	long a[ARGUMENTS] = {operation};
	va_list list;

	va_start(list, operation);
	collect(a, 1, list);
	va_end(list);
	return (int)forward(SYS_prctl, a);
}
