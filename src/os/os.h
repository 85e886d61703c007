/* SPDX-License-Identifier: MIT */
/*
 * Everything that is asked of the kernel. No call touches errno; those that can fail return 0 or an errno value.
 * Addresses and sizes are multiples of the page.
 */
#ifndef PMD_OS_OS_H
#define PMD_OS_OS_H

#include <sys/uio.h>

#include "base/base.h"
#include "base/text.h"

/* Reserves BYTES of address space that cannot be touched and is not charged. */
int os_reserve(size_t bytes, void **out);

/* The same at P, if nothing is there. */
int os_reserve_at(void *p, size_t bytes);

/* Maps BYTES of zeroed, readable and writable memory, at *P if nothing is there, and stores in *P where it is. */
int os_map(size_t bytes, void **p);

/* Makes part of a reservation readable and writable; charged from now on under strict overcommit. */
int os_commit(void *p, size_t bytes);

/*
 * Whether P[0..BYTES) is in cores. What is only reserved must not be: gdb's gcore reads and writes all that is mapped, where the
 * kernel writes what was touched. What is committed is let in. A failure costs no more than that.
 */
void os_dump(void *p, size_t bytes, bool dump);

/* Takes that back; the pages stay as they are. */
int os_forbid(void *p, size_t bytes);

int os_unmap(void *p, size_t bytes);

/* madvise(2). What is interrupted is tried again, but not without end. */
int os_advise(void *p, size_t bytes, int advice);

/*
 * process_madvise(2) on this process: advises the COUNT ranges in turn until one is refused. *done is how many were
 * not; the errno value is that of the next one. ENOSYS or EBADF where the kernel cannot do it.
 */
int os_advise_ranges(const struct iovec *ranges, size_t count, int advice, size_t *done);

/*
 * Drops the pages of P[0..BYTES), locked ones too, and, on kernels that do, their page tables where whole PMDs are
 * covered. On success the range reads as zero; on failure nothing may be assumed of it, and its contents may be
 * partly gone.
 */
int os_drop(void *p, size_t bytes);

/*
 * Moves the pages of FROM[0..BYTES) to TO, which is replaced, without copying. FROM stays mapped and reads as zero.
 * EINVAL on kernels before 5.7. On failure TO may be unmapped.
 */
int os_move(void *from, void *to, size_t bytes);

/*
 * Makes P[0..BYTES) inaccessible, and drops its pages, without a mapping of its own (MADV_GUARD_INSTALL, since Linux 6.13);
 * an errno value where that cannot be done. And accessible again, reading as zero where it was not before.
 */
int os_guard(void *p, size_t bytes);
int os_unguard(void *p, size_t bytes);

/* Whether the kernel knows how to. */
bool os_can_guard(void);

/* mincore(2): a byte per page. ENOMEM when part of the range is not mapped. */
int os_resident(void *p, size_t bytes, unsigned char *out);

/* Puts fresh zeroed memory over P[0..BYTES), whatever is mapped there. */
int os_remap(void *p, size_t bytes);

/* Advises the kernel to use huge pages for P[0..BYTES), or not to. */
int os_advise_huge(void *p, size_t bytes, bool huge);

/* Waits while *WORD == VALUE, at most MS milliseconds (-1: without end). Returns early at will; whether the time is up. */
bool os_wait(_Atomic uint32_t *word, uint32_t value, int64_t ms);
void os_wake(_Atomic uint32_t *word);
void os_yield(void);

/* A copy of descriptor FD, above those that programs count on, closed on exec; -1 if it cannot be had. */
int os_copy_fd(int fd);

/* Writes it all. Returns 0 or an errno value. */
int os_write(int fd, const char *buf, size_t len);

/* Microseconds that only increase; no system call where the vDSO serves. */
uint64_t os_now_us(void);

/* Bytes of page tables of this process (VmPTE); 0 when /proc cannot tell. */
size_t os_page_table_bytes(void);

/* Reads at most LEN - 1 bytes of the file PATH, terminates them; returns their number, 0 on any failure. */
size_t os_read_file(const char *path, char *buf, size_t len);

/*
 * The same in parts, for a file of less than a page that is read again and again: from its start each time. FLAGS as of
 * open(2), and close-on-exec; a new file is for its owner to write; the descriptor is a
 * negative errno value where the file could not be opened.
 */
int os_open_file(const char *path, int flags);
size_t os_read_open_file(int fd, char *buf, size_t len);

/* What comes next in it, at most LEN bytes: their number, 0 at its end, or -1. */
long os_read_on(int fd, char *buf, size_t len);
void os_close_file(int *fd);

/* 64 random bits; not for cryptography when the kernel has none yet. */
uint64_t os_random(void);

/* CPUs that this process may use: its affinity; where those are many, cut by its cgroup's quota. At least 1. */
unsigned os_cpus(void);

/* Whether RLIMIT_AS bounds this process's address space. */
bool os_address_space_limited(void);

/*
 * Starts a thread that runs RUN and ends when it returns. *ALIVE is not 0 from the call until the thread no longer uses
 * its stack (the STACK_BYTES at STACK). RUN may use no thread-local variable and no C library function.
 */
int os_thread_start(void (*run)(void), char *stack, size_t stack_bytes, _Atomic uint32_t *alive);

/* Names the calling thread, for who looks at the process's threads: at most 15 characters. */
void os_thread_name(const char *name);

/* The kernel's number of the calling thread, and of its process. */
int os_thread_number(void);
uint32_t os_process_id(void);

/* Whether the thread of that number is still one of this process's. */
bool os_thread_exists(int number);

/*
 * For such a thread: lets go of the directory in which it was started, so that its file system can be unmounted. The
 * program's own stays as it is.
 */
void os_thread_leave_directory(void);

/* Where the kernel tells the rights of the process's first thread, and of the calling one. */
struct os_rights {
	int process, thread; /* descriptors; -1: opened anew at each look */
};

/* KEEP: the calling thread has a descriptor table of its own. */
void os_rights_open(struct os_rights *r, bool keep);
void os_rights_close(struct os_rights *r);

/* Whether the calling thread has the same user, groups and capabilities as its process's first one. */
bool os_rights_same(const struct os_rights *r);

/*
 * Gives the calling thread a descriptor table of its own, an empty one: what it opens the program cannot see, and it
 * keeps nothing of the program's open. False where the kernel cannot do it (before Linux 5.9).
 */
bool os_forget_descriptors(void);

/* Identifies the calling thread as long as it lives: the address of its thread control block. Never odd. */
static inline uintptr_t os_thread_id(void)
{
#ifdef __x86_64__
	uintptr_t id;
	__asm__("mov %%fs:0, %0" : "=r"(id));
	return id;
#else
	return (uintptr_t)__builtin_thread_pointer();
#endif
}

/* Prints "pmdalloc: " and T as one line on stderr. */
void os_message(const struct text *t);
_Noreturn void os_abort(void);

#endif
