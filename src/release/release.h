/* SPDX-License-Identifier: MIT */
/*
 * How memory goes back to the kernel: backends behind one interface, chosen by what they do on a scratch region, and
 * counters of what they did. What is given here belongs to nobody until its answer has come: that is the caller's
 * promise (see heap/heap.h), nothing here could check it.
 *
 *   process_madvise  one call for a vector of ranges, on the process itself
 *   io_uring         the same advice, carried out by kernel workers; answers come later
 *   madvise          one call for a range
 *   remap            the range is mapped anew: for kernels whose MADV_DONTNEED leaves the page tables
 *   pt_advice        an advice of its own number frees the page tables, after MADV_DONTNEED
 */
#ifndef PMD_RELEASE_RELEASE_H
#define PMD_RELEASE_RELEASE_H

#include <stdatomic.h>
#include <sys/uio.h>

#include "base/base.h"

/* In the order of the words of the option `release`. */
enum release_backend {
	RELEASE_AUTO,
	RELEASE_PROCESS_MADVISE,
	RELEASE_IO_URING,
	RELEASE_MADVISE,
	RELEASE_REMAP,
	RELEASE_PT_ADVICE,
	RELEASE_BACKENDS,
};

enum {
	RELEASE_BUCKETS = 32,
	RELEASE_ERRNOS = 134,
	RELEASE_SIZES = 16,
	RELEASE_RANGES = 64, /* at most so many ranges in one request */
};

/* What a backend did; relaxed. */
struct release_counters {
	_Atomic size_t calls;                    /* system calls made */
	_Atomic size_t ranges;                   /* ranges given back by them */
	_Atomic size_t bytes;                    /* in those */
	_Atomic size_t failures;                 /* ranges that the kernel refused */
	_Atomic size_t micros;                   /* that the calls took together */
	_Atomic size_t latency[RELEASE_BUCKETS]; /* of a call: bucket i counts [2^(i-1), 2^i) microseconds, 0 less */
};

extern HIDDEN struct release_counters release_counters[RELEASE_BACKENDS];
extern HIDDEN _Atomic size_t release_errors[RELEASE_ERRNOS]; /* refused ranges by errno, of all backends */
extern HIDDEN _Atomic size_t release_batches[RELEASE_SIZES]; /* requests: bucket i counts [2^i, 2^(i+1)) regions */

/*
 * The answer for one range: ERROR 0, it reads as zero; RELEASE_LOST, it may not be mapped any more; any other errno
 * value, nothing may be assumed of its contents.
 */
typedef void release_answer(void *arg, void *base, size_t bytes, int error);
enum { RELEASE_LOST = -1 };

struct release_request {
	const struct iovec *ranges; /* runs of whole regions, none longer than release_run_regions() */
	size_t n;                   /* 1 to RELEASE_RANGES */
	const struct iovec *pages;  /* what goes along, in the same call where that is possible; no answer */
	size_t n_pages;             /* at most RELEASE_RANGES */
	release_answer *answer;
	void *arg;
};

/* Chooses the backend, unless that was done: takes some hundred microseconds, and may print a line on stderr. */
void release_prepare(void);

/*
 * Gives back what Q says and calls its answer for each range: before this returns, or, where LATER is allowed and the
 * backend answers by itself, from release_reap(). With LATER the caller is the one thread that reaps.
 */
void release_regions(const struct release_request *q, bool later);

/* How many adjacent regions should be one range: few, where a call takes several ranges, as each locks for its time. */
size_t release_run_regions(void);

/* Calls the answers that have come. Never waits; with FINISH, waits until none is outstanding. */
void release_reap(bool finish);

/* What becomes ready to read when answers have come; -1 when no backend needs it. */
int release_poll_fd(void);

/*
 * Before the thread that reaps ends: waits for its answers, and closes its descriptors. False: some answers did not
 * come, and the thread must end; what it waited for stays nobody's until the next one reaps.
 */
bool release_close(void);

/*
 * Gives back N ranges of pages that stay in page tables that are used. Returns the bytes given back; sets bit i of
 * REFUSED (may be NULL, one bit a range) where range i was not.
 */
size_t release_pages(const struct iovec *ranges, size_t n, uint64_t *refused);

/* Tells the kernel that it may take the contents of N ranges when it needs memory, instead of swapping them out. */
size_t release_lazily(const struct iovec *ranges, size_t n);

/* Puts fresh memory in the place of what is mapped at BASE; 0 or an errno value, and then there may be nothing. */
int release_map_anew(void *base, size_t bytes);

/* Maps a RELEASE_LOST range anew. */
bool release_recover(void *base, size_t bytes);

/* The backend in use; RELEASE_AUTO as long as nothing was probed. */
enum release_backend release_chosen(void);
const char *release_name(enum release_backend b);

/* From now on nothing but madvise is called: the process is in a sandbox that may kill for anything else. */
void release_restrict(void);
bool release_is_restricted(void);

void release_after_fork(void);

#endif
