/* SPDX-License-Identifier: MIT */
/*
 * The preloaded library stands here before the system calls for which it matters that there is a thread of its own.
 *
 * A sandbox: prctl(2) and seccomp(2), the latter through syscall(2), install filters that may kill for system calls that
 * they do not know, clone(2) among them. From then on there is no background thread.
 *
 * What a process must do alone, or each thread for itself: the kernel refuses to enter another user namespace when there
 * is a second thread, and a thread stays in the namespaces, in the root directory and with the capabilities that it began
 * with. So it ends first; the next one begins with what the program has by then. The same for the helper of handoff:armed.
 *
 * The calls themselves go through unchanged.
 */
#include <errno.h>
#include <linux/capability.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <stdarg.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "cache/scavenger.h"
#include "exit/armed.h"
#include "exit/handoff.h"
#include "os/os.h"
#include "os/syscall.h"

#define EXPORT __attribute__((visibility("default")))

enum {
	ARGUMENTS = 6,
	WORKERS_MS = 10,
	LANDLOCK_RESTRICT_SELF = 446, /* everywhere; older headers do not know it */
};

static bool enters_sandbox(long number, const long *a)
{
	return number == SYS_seccomp ||
	       (number == SYS_prctl && (a[0] == PR_SET_SECCOMP || a[0] == PR_SET_NO_NEW_PRIVS));
}

static bool concerns_threads(long number, const long *a)
{
	switch (number) {
	case SYS_unshare:
	case SYS_setns:
	case SYS_chroot:
	case SYS_capset:
	case SYS_setuid:
	case SYS_setgid:
	case SYS_setreuid:
	case SYS_setregid:
	case SYS_setresuid:
	case SYS_setresgid:
	case SYS_setgroups:
	case LANDLOCK_RESTRICT_SELF:
		return true;
	case SYS_prctl:
		return a[0] == PR_CAPBSET_DROP || a[0] == PR_CAP_AMBIENT || a[0] == PR_SET_SECUREBITS;
	default:
		return false;
	}
}

static long forward(long number, const long *a)
{
	static _Atomic uint32_t nobody;
	bool alone = concerns_threads(number, a), ended = false;
	long result;

	if (enters_sandbox(number, a)) {
		scavenger_forbid_thread();
		handoff_forbid();
	}
	if (number == SYS_exit_group)
		handoff_begin_last();
	if (alone) {
		armed_pause();
		ended = scavenger_pause();
	}
	result = os_syscall(number, a[0], a[1], a[2], a[3], a[4], a[5]);
	/* The kernel's own workers for an io_uring are threads of the process too, and end a moment later. */
	for (int i = 0; i < WORKERS_MS && ended && result == -EINVAL; i++) {
		os_wait(&nobody, 0, 1);
		result = os_syscall(number, a[0], a[1], a[2], a[3], a[4], a[5]);
	}
	if (alone) {
		scavenger_resume(ended);
		armed_resume();
	}
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

EXPORT int unshare(int flags)
{
	return (int)forward(SYS_unshare, (const long[ARGUMENTS]){flags});
}

EXPORT int setns(int fd, int type)
{
	return (int)forward(SYS_setns, (const long[ARGUMENTS]){fd, type});
}

EXPORT int chroot(const char *path)
{
	return (int)forward(SYS_chroot, (const long[ARGUMENTS]){(long)path});
}

/* libcap declares it, the C library defines it. */
EXPORT int capset(cap_user_header_t header, const cap_user_data_t data);

int capset(cap_user_header_t header, const cap_user_data_t data)
{
	return (int)forward(SYS_capset, (const long[ARGUMENTS]){(long)header, (long)data});
}
