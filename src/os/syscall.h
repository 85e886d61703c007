/* SPDX-License-Identifier: MIT */
/*
 * System calls without the C library: they leave errno alone, cannot be interposed, and work before the program's
 * relocations and constructors. Each returns what the kernel returns: a value, or a negated errno.
 */
#ifndef PMD_OS_SYSCALL_H
#define PMD_OS_SYSCALL_H

#include <sys/syscall.h>

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

#endif
