/* SPDX-License-Identifier: MIT */
/*
 * Every system call that the library makes for itself, and what each may fail with: the errnos of its man page, and EPERM
 * and ENOSYS, which filters answer. test/calls.sh looks whether one is missing.
 */
#ifndef PMDALLOC_TEST_CALLS_H
#define PMDALLOC_TEST_CALLS_H

#include <errno.h>
#include <stddef.h>
#include <sys/syscall.h>

#define CALL_ERRNOS 28 /* at most, and the 0 that ends them */

struct call_errors {
	const char *name;
	long nr;
	int errnos[CALL_ERRNOS];
};

#define CALL(name, ...)                               \
	{                                             \
#name, SYS_##name,                    \
		{                                     \
			__VA_ARGS__, EPERM, ENOSYS, 0 \
		}                                     \
	}

static const struct call_errors all_calls[] = {
	/* Memory. */
	CALL(mmap, ENOMEM, EACCES, EAGAIN, EBADF, EEXIST, EINVAL, ENFILE, ENODEV, EOVERFLOW, ETXTBSY),
	CALL(munmap, EINVAL, ENOMEM),
	CALL(mprotect, ENOMEM, EACCES, EINVAL),
	CALL(madvise, EINVAL, EACCES, EAGAIN, EBADF, EBUSY, EFAULT, EINTR, EIO, ENOMEM),
	CALL(process_madvise, EBADF, EFAULT, EINVAL, ENOMEM, ESRCH, EAGAIN, EINTR),
	CALL(mremap, ENOMEM, EAGAIN, EFAULT, EINVAL),
	CALL(mincore, ENOMEM, EAGAIN, EFAULT, EINVAL),
	CALL(io_uring_setup, EFAULT, EINVAL, EMFILE, ENFILE, ENOMEM),
	CALL(io_uring_enter, EAGAIN, EBADF, EBADFD, EBADR, EBUSY, EEXIST, EFAULT, EINVAL, ENXIO, EOPNOTSUPP, EINTR,
	     EOWNERDEAD),
	/* Threads and waiting. */
	CALL(clone, EAGAIN, EACCES, EBUSY, EEXIST, EINVAL, ENOMEM, ENOSPC, EOPNOTSUPP, EUSERS),
	CALL(clone3, EAGAIN, EACCES, EBUSY, EEXIST, EINVAL, ENOMEM, ENOSPC, EOPNOTSUPP, EUSERS),
	CALL(futex, EAGAIN, EACCES, EFAULT, EINTR, EINVAL, ENFILE, ETIMEDOUT),
	CALL(ppoll, EINTR, EFAULT, EINVAL, ENOMEM),
	CALL(nanosleep, EINTR, EFAULT, EINVAL),
	CALL(sched_yield, EAGAIN),
	CALL(clock_gettime, EINVAL, EFAULT),
	CALL(get_robust_list, EINVAL, EFAULT, ESRCH),
	CALL(gettid, EAGAIN),
	CALL(sched_getaffinity, EINVAL, EFAULT, ESRCH),
	CALL(sched_setaffinity, EINVAL, EFAULT, ESRCH),
	CALL(sched_setscheduler, EINVAL, ESRCH),
	CALL(setpriority, EACCES, EINVAL, ESRCH),
	CALL(getcpu, EFAULT),
	/* Signals. */
	CALL(rt_sigprocmask, EINVAL, EFAULT),
	CALL(rt_sigqueueinfo, EAGAIN, EINVAL, ESRCH),
	CALL(signalfd4, EMFILE, EBADF, EINVAL, ENFILE, ENODEV, ENOMEM),
	CALL(tgkill, EAGAIN, EINVAL, ESRCH),
	/* Files. */
	CALL(openat, ENOENT, EACCES, EAGAIN, EBADF, EBUSY, EDQUOT, EEXIST, EFAULT, EFBIG, EINTR, EINVAL, EISDIR, ELOOP,
	     EMFILE, ENAMETOOLONG, ENFILE, ENODEV, ENOMEM, ENOSPC, ENOTDIR, ENXIO, EOPNOTSUPP, EOVERFLOW, EROFS,
	     ETXTBSY),
	CALL(read, EIO, EAGAIN, EBADF, EFAULT, EINTR, EINVAL, EISDIR, ENODEV),
	CALL(pread64, EIO, EAGAIN, EBADF, EFAULT, EINTR, EINVAL, EISDIR, ENXIO, EOVERFLOW, ESPIPE),
	CALL(write, EINVAL, EAGAIN, EBADF, EDESTADDRREQ, EDQUOT, EFAULT, EFBIG, EINTR, EIO, ENOSPC, EPIPE),
	CALL(close, EINTR, EBADF, EIO, ENOSPC, EDQUOT),
	CALL(close_range, EINVAL, EMFILE, ENOMEM),
	CALL(faccessat, ENOENT, EACCES, EBADF, EFAULT, EINVAL, EIO, ELOOP, ENAMETOOLONG, ENOMEM, ENOTDIR, EROFS,
	     ETXTBSY),
	CALL(fcntl, EMFILE, EACCES, EAGAIN, EBADF, EBUSY, EDEADLK, EFAULT, EINTR, EINVAL, ENOLCK),
	CALL(fstat, EBADF, EFAULT, ENOMEM, EOVERFLOW),
	CALL(fstatfs, EBADF, EFAULT, EINTR, EIO, ENOMEM, EOVERFLOW),
	CALL(getdents64, EBADF, EFAULT, EINVAL, ENOENT, ENOTDIR),
	CALL(readlink, EACCES, EFAULT, EINVAL, EIO, ELOOP, ENAMETOOLONG, ENOENT, ENOMEM, ENOTDIR),
	CALL(readlinkat, EACCES, EBADF, EFAULT, EINVAL, EIO, ELOOP, ENAMETOOLONG, ENOENT, ENOMEM, ENOTDIR),
	CALL(pipe2, EMFILE, EFAULT, EINVAL, ENFILE),
	CALL(chdir, EACCES, EFAULT, EIO, ELOOP, ENAMETOOLONG, ENOENT, ENOMEM, ENOTDIR),
	/* The process, and others. */
	CALL(getpid, EAGAIN),
	CALL(getppid, EAGAIN),
	CALL(pidfd_open, EINVAL, EMFILE, ENFILE, ENODEV, ENOMEM, ESRCH),
	CALL(prctl, EINVAL, EACCES, EBADF, EBUSY, EFAULT, ENXIO, EOPNOTSUPP),
	CALL(prlimit64, EFAULT, EINVAL, ESRCH),
	CALL(setsid, EAGAIN),
	CALL(sysinfo, EFAULT),
	CALL(getrandom, EAGAIN, EFAULT, EINTR, EINVAL),
	CALL(unshare, EINVAL, ENOMEM, ENOSPC, EUSERS),
	CALL(wait4, ECHILD, EINTR, EINVAL, ESRCH),
};

#undef CALL
#define CALLS (sizeof all_calls / sizeof all_calls[0])

#endif
