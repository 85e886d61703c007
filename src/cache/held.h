/* SPDX-License-Identifier: MIT */
/* Slabs that are no thread's but their arena's. */
#ifndef PMD_CACHE_HELD_H
#define PMD_CACHE_HELD_H

#include "cache/cache.h"

/* Gives an owned, unlisted slab to its arena. The cache's lock is held. */
void held_disown(struct slice *s);

/* Whether A seems to have a slab of CLASS. Without the lock: an adoption that is missed costs a new slab. */
static inline bool held_has(struct arena *a, unsigned class)
{
	return __atomic_load_n(&a->held[class], __ATOMIC_RELAXED) ||
	       __atomic_load_n(&a->sparse[class], __ATOMIC_RELAXED);
}

/* A slab of CLASS of the arena that C uses, which is C's now, in no list; NULL if there is none. */
struct slice *held_adopt(struct cache *c, unsigned class);

/*
 * A block of CLASS from a slab that is A's, which is not retired, and stays so: frees of it are another thread's. With ZERO
 * cleared. NULL when memory is short, or a limit was met: then G says so.
 */
void *held_block(struct arena *a, unsigned class, bool zero, struct growth *g);

/* Takes S, which is in a list, out of it. The arena's lock is held. */
void held_remove(struct arena *a, struct slice *s);

/* Puts S, which is in none, where it belongs, or ends it if it is empty. The arena's lock is held, and dropped here. */
void held_relist_and_drop(struct arena *a, struct slice *s);

/* A held slab without free blocks is in no list; it points at itself. */
static inline bool held_is_listed(const struct slice *s)
{
	return s->prev != s;
}

/*
 * Purges slabs of A that have been nobody's since tick UNTIL; with ALL those too whose regions are mostly full and may be
 * one huge page. Returns bytes.
 */
size_t held_purge(struct arena *a, uint32_t until, bool all);

/* Held slabs that held_purge has not looked at yet: something for the scavenger to do. */
extern HIDDEN _Atomic size_t held_unexamined;

#endif
