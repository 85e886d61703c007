/* SPDX-License-Identifier: MIT */
/*
 * System calls without the C library: they leave errno alone, cannot be interposed, and work before the program's
 * relocations and constructors. Each returns what the kernel returns: a value, or a negated errno.
 *
 * With PMD_INJECT, in the build for tests that make calls fail, every call asks inject_syscall() first.
 */
#ifndef PMD_OS_SYSCALL_H
#define PMD_OS_SYSCALL_H

#include <stdbool.h>
#include <sys/syscall.h>

#ifdef PMD_INJECT
#define os_syscall os_syscall_kernel
#endif

#ifdef __x86_64__

static inline long os_syscall(long nr, long a, long b, long c, long d, long e, long f)
{
	long result;
	register long r10 __asm__("r10") = d;
	register long r8 __asm__("r8") = e;
	register long r9 __asm__("r9") = f;

	__asm__ volatile("syscall"
			 : "=a"(result)
			 : "a"(nr), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
			 : "rcx", "r11", "memory");
	return result;
}

#else

#include <errno.h>
#include <unistd.h>

static inline long os_syscall(long nr, long a, long b, long c, long d, long e, long f)
{
	int saved = errno;
	long result = syscall(nr, a, b, c, d, e, f);

	if (result == -1)
		result = -errno;
	errno = saved;
	return result;
}

#endif

/* For os_inject, beside the numbers of system calls: the result of one that io_uring made. */
#define OS_COMPLETION 500

/* Likewise what can fail without a system call: memory for the library's tables, room in a heap, the account of pages. */
#define OS_POINT_TABLES  501
#define OS_POINT_ROOM    502
#define OS_POINT_ACCOUNT 503

#ifdef PMD_INJECT

#undef os_syscall

/* The test's: whether *RESULT is the answer, and the kernel is not to be asked. SITE: the function that calls. */
bool inject_syscall(const char *site, long nr, const long args[6], long *result);

static inline long os_syscall_at(const char *site, long nr, long a, long b, long c, long d, long e, long f)
{
	const long args[] = {a, b, c, d, e, f};
	long result;

	return inject_syscall(site, nr, args, &result) ? result : os_syscall_kernel(nr, a, b, c, d, e, f);
}
#define os_syscall(...) os_syscall_at(__func__, __VA_ARGS__)

/* The same for a call NR that is made elsewhere: by inline assembly, by a library, by the vDSO. */
bool inject_elsewhere(const char *site, long nr, long *result);
#define os_inject(nr, result) inject_elsewhere(__func__, nr, result)

#else

#define os_inject(nr, result) ((void)(result), false)

#endif

#endif
