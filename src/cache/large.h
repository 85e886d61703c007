/* SPDX-License-Identifier: MIT */
/* Large blocks: extents of whole slices, those above half a region beginning on a region boundary. */
#ifndef PMD_CACHE_LARGE_H
#define PMD_CACHE_LARGE_H

#include "cache/cache.h"
#include "cache/seal.h"

/*
 * A block of at least SIZE bytes at a multiple of ALIGN (a power of two), zeroed with ZERO. NULL when memory is
 * short.
 */
void *large_alloc(size_t size, size_t align, bool zero);

/* Frees the block that S describes. */
void large_free(struct slice *s);

/* Makes it SIZE bytes, in place or moved by page tables or by copying; SIZE is at least BIG_FROM. NULL: unchanged. */
void *large_realloc(struct slice *s, size_t size);

/*
 * What was asked for, which the descriptor keeps in fields that only slabs need otherwise; for those who have set it.
 */
static inline void large_set_asked(struct slice *s, size_t size, size_t align, enum origin origin)
{
	s->last = size;
	s->count = (int32_t)(seal_log(align) << 2 | origin);
}

static inline struct seal large_asked(const struct slice *s)
{
	return (struct seal){SEAL_LIVE, (enum origin)(s->count & 3), s->last, (size_t)1 << (s->count >> 2)};
}

/* S is no live block from now on; what becomes of its memory is the caller's. False, after a report: it was none. */
bool large_end(struct slice *s);

/* What the block could become where it is. */
static inline size_t large_room(const struct slice *s)
{
	return (size_t)s->slices << SLICE_SHIFT;
}

/* Up to the page in which what was asked for ends: who writes to all of it touches, and counts, no page more than needed. */
static inline size_t large_usable(const struct slice *s)
{
	return large_room(s) - ((size_t)s->spare << PAGE_SHIFT);
}

#endif
