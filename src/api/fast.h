/* SPDX-License-Identifier: MIT */
/*
 * The fast paths, for the entry points that have them. They touch the cache and the slab of the calling thread only, so they
 * need no lock and no atomic instruction.
 */
#ifndef PMD_API_FAST_H
#define PMD_API_FAST_H

#include "api/alloc.h"
#include "check/check.h"

/*
 * Whether P, of the descriptor S, is a carved block of a slab of this thread. What is no block of a slab leads to some
 * descriptor, of which nothing it may hold accepts it; to a sanitizer that is a race.
 */
static inline bool fast_owns(const struct slice *s, const void *p)
{
#ifdef PMD_SANITIZED
	if (!p || check_has(p))
		return false;
#endif
	return LIKELY(slab_block_of_thread(s, p, cache_id));
}

/* Frees P and returns true, if it is for the fast path. */
static inline bool fast_free(void *p)
{
	struct slice *s = heap_first_slice(p);
	struct block *b = p;

	if (UNLIKELY(!fast_owns(s, p) || b->key == slab_key(s)))
		return false;
	b->key = slab_key(s);
	b->next = s->free;
	s->free = b;
	if (UNLIKELY(count_decrement(s)))
		cache_event(s);
	return true;
}

#endif
