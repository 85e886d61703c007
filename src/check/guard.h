/* SPDX-License-Identifier: MIT */
/*
 * Sampled guard allocations: now and then, and for the first requests of a process, a block has a page of its own between
 * pages that cannot be reached, at the page's end; when it is freed the page cannot be reached either, until its turn comes
 * again. Who misuses one is told where it was allocated and freed. (The idea, and the name GWP-ASan: K. Serebryany et al.,
 * 2019.)
 *
 *   | guard | page 0 | guard | page 1 | guard | ...
 *
 * A request is looked at only where it is off the fast path, so the rate is that of those. What is known of the slots is
 * under a lock, within which only the metadata's is taken. A process without a sample has no such pages.
 */
#ifndef PMD_CHECK_GUARD_H
#define PMD_CHECK_GUARD_H

#include "check/strict.h"

/* Whether there may be samples: constant after guard_init. */
extern HIDDEN bool guard_used;

void guard_init(void);
void guard_after_fork(void);

/*
 * The program's own code is about to run: what was requested until now was for the loader and the C library, which in a -static
 * program would use up the samples of its start.
 */
void guard_begin(void);

/* Whether a request of SIZE bytes shall be one: the calling thread's wait is over, or has not begun. Begins the next one. */
bool guard_is_due(size_t size, size_t align);

/* Such a block; NULL if there is no room. It reads as zero. */
void *guard_take(size_t size, size_t align);

/* Whether P lies there; what follows is for such alone. */
bool guard_has(const void *p);

void guard_free(void *p);

/* The size that was asked for the live block P; else a report, naming CALL, and SIZE_UNKNOWN. */
size_t guard_size(const char *call, const void *p);

/* Calls COUNT for each live block, with the class that it would be of otherwise. */
void guard_each(void (*count)(void *arg, unsigned class), void *arg);

/* Reports what was written around blocks that are live, naming CALL. */
void guard_look(const char *call);

struct text;

/* The same, but for the page before the first one as well, which cannot be reached either. */
bool guard_reaches(const void *p);

/* Who touched P, which cannot be reached, is told what it is. */
void guard_describe(struct text *t, const void *p);

#endif
