/* SPDX-License-Identifier: MIT */
/*
 * What the heap holds of the machine's memory, by our own account, and the limits of it.
 *
 * Invariant, while nothing is being changed:
 *   limit_held == pages of touched slices, over all regions - purged pages, over all slabs
 *
 * A page is charged before it is handed out, whether the program touches it or not, and taken off when the kernel has
 * dropped it: so the heap holds at most what is counted, but for what huge pages bring in beyond. Charges are made where
 * `touched` and `purged` change. What changes without the lock of an arena or a heap is between limit_open and
 * limit_close, so that the child of a fork knows whether its account was caught half way.
 *
 * Who meets a limit has locks: the request fails, with the reason in its struct growth, and is made again when the
 * locks are dropped and everything free was given back (cache/relief.h).
 */
#ifndef PMD_HEAP_LIMIT_H
#define PMD_HEAP_LIMIT_H

#include <stdatomic.h>

#include "base/base.h"

enum limit { LIMIT_NONE, LIMIT_SOFT, LIMIT_HARD };

/* One request for memory, through all attempts at it. All zero to begin with. */
struct growth {
	enum limit met; /* what the last attempt failed by; LIMIT_NONE: not by a limit */
	bool past_soft; /* everything free was given back: the soft limit does not hold any more */
	uint8_t rounds; /* how often that was done because of the hard limit */
	size_t held;    /* pages that there were then */
	size_t wanted;  /* pages that the last attempt would have added */
	size_t credit;  /* pages that go when the request succeeds, as mremap moves them: not to be charged again */
};

extern HIDDEN _Atomic size_t limit_held; /* pages */
extern HIDDEN _Atomic size_t limit_refusals, limit_releases;

static inline size_t limit_held_bytes(void)
{
	return atomic_load_explicit(&limit_held, memory_order_relaxed) << PAGE_SHIFT;
}

/* Adds PAGES but for the credit, if no limit forbids it; else nothing is added, and G says why. */
bool limit_charge(struct growth *g, size_t pages);

/* Whether PAGES, but for the credit, are more than there may ever be: no use in making room. G says so then. */
bool limit_forbids(struct growth *g, size_t pages);

/* Adds what is left of G's credit, since its pages stay after all. False if that is beyond the hard limit. */
bool limit_settle(struct growth *g);

/* Adds pages that are there, whatever the limits. */
static inline void limit_add(size_t pages)
{
	atomic_fetch_add_explicit(&limit_held, pages, memory_order_relaxed);
}

static inline void limit_sub(size_t pages)
{
	atomic_fetch_sub_explicit(&limit_held, pages, memory_order_relaxed);
}

/* Threads that have taken free pages out to drop them: what they hold is about to go. Relief waits for them. */
extern HIDDEN _Atomic unsigned limit_dropping;

extern HIDDEN _Atomic unsigned limit_changes;

static inline void limit_open(void)
{
	atomic_fetch_add_explicit(&limit_changes, 1, memory_order_acq_rel);
}

static inline void limit_close(void)
{
	atomic_fetch_sub_explicit(&limit_changes, 1, memory_order_acq_rel);
}

/* In a forked child, alone: TORN, or a change that is open, means that the account has to be made anew. */
void limit_after_fork(bool torn);

#endif
