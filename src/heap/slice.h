/* SPDX-License-Identifier: MIT */
/*
 * The descriptor of a slice, 128 bytes, outside of the heap: slices + ((p - base) >> 16). Of an extent of several
 * slices the first descriptor describes the extent; those after it hold only `kind` and `head`, and only in slabs.
 * The descriptor of a free slice has kind SLICE_FREE and bound 0.
 *
 *   line 1   what malloc() reads and writes, and what only slow paths need
 *   line 2   what free() in any thread looks at, and the remote list: as long as others free what one thread allocates,
 *            neither writes to the other's line
 *
 * Who may write what of a slab:
 *   free, count        the owning thread alone, without a lock; once the slab is held by its arena, the arena's lock
 *   anchor, last, mark, carved, state, cache, next, prev
 *                      the owner's cache lock; once held by the arena, the arena's lock
 *   remote             anybody, atomically
 *   the rest           set before the first block is handed out, constant until the slab is retired
 *
 * count + mark == live blocks of a slab, those on its remote list included. The owner's fast path only sees count
 * reach 0, an event; the mark decides what that means: 0, the slab is empty; more, it has become sparse, or, of a full
 * one, worth allocating from again; MARK_KEPT, never.
 */
#ifndef PMD_HEAP_SLICE_H
#define PMD_HEAP_SLICE_H

#include <stdatomic.h>

#include "base/base.h"

enum slice_kind {
	SLICE_FREE = 0,
	SLICE_SLAB,
	SLICE_LARGE,
	SLICE_INNER, /* of a slab of several slices: see head */
};

enum slab_state {
	SLAB_NONE = 0,
	SLAB_CURRENT, /* its thread allocates from it */
	SLAB_PARTIAL, /* in its cache's partial list: has free blocks, or had */
	SLAB_FULL,    /* in its cache's full list */
	SLAB_HELD,    /* no thread's: its arena's, in a list there if it has free blocks */
	SLAB_PURGING, /* out of its arena's list while the kernel is asked to drop pages, or a thread carves */
};

enum { MARK_KEPT = -(1 << 30), LARGE_PIECES = 4, SLAB_PARTS = 16 };

struct cache;
struct region;

struct slice {
	union {
		void *free;                    /* blocks freed by the owner, linked through their first word */
		uint16_t pieces[LARGE_PIECES]; /* of a large block that mremap moved: see cache/large.c */
	};
	int32_t count;
	int32_t mark;
	uint32_t block_size;
	uint16_t capacity, carved; /* blocks */
	uint32_t slices;           /* length of the extent */
	uint32_t held_tick;        /* when its arena got it, or last purged it */
	struct slice *next, *prev;
	struct slice *head;            /* of a slab: its first descriptor */
	struct region *_Atomic region; /* atomic: late remote frees look at it */

	uint64_t magic;          /* see slab_block_of_thread; stays when the slab has ended */
	uintptr_t anchor;        /* last + the owner's cache_id, or + SLOW_ID; see slab_block_of_thread */
	uint64_t bound;          /* see there; 0 in descriptors of anything but slabs */
	uintptr_t last;          /* address of the last block carved so far */
	_Atomic uint64_t remote; /* address of the first block << 16 | their number */
	struct cache *_Atomic cache;
	char *base;
	uint16_t notify_at; /* so many remote frees make a full slab worth looking at */
	uint16_t purged;    /* bit per sixteenth of a slab: given back, the blocks that start there are on no list */
	uint8_t kind, class, state;
	union {
		uint8_t clean; /* so many sixteenths at its end hold zero where nothing is carved */
		uint8_t spare; /* of a large block: so many pages at its end are none of it, or more */
	};
} __attribute__((aligned(CACHE_LINE)));

/* Fields that statistics read without a lock, whatever becomes of the slice meanwhile. */
#define SLICE_GET(s, field)        __atomic_load_n(&(s)->field, __ATOMIC_RELAXED)
#define SLICE_SET(s, field, value) __atomic_store_n(&(s)->field, (value), __ATOMIC_RELAXED)

static inline enum slice_kind slice_kind(const struct slice *s)
{
	return (enum slice_kind)__atomic_load_n(&s->kind, __ATOMIC_ACQUIRE);
}

/* A sixteenth of a slab is a page for each of its slices, of which there are 1, 2 or 4. */
static inline unsigned slice_sixteenth_shift(const struct slice *s)
{
	return PAGE_SHIFT + (unsigned)__builtin_ctz(s->slices);
}

/* Of a slab: how many sixteenths from its start on are carved. */
static inline unsigned slice_carved_parts(const struct slice *s)
{
	unsigned shift = slice_sixteenth_shift(s);

	return (unsigned)(((size_t)s->carved * s->block_size + ((size_t)1 << shift) - 1) >> shift);
}

/* Of a slab: how many sixteenths from its start on may hold other than zero. */
static inline unsigned slice_dirty_parts(const struct slice *s)
{
	return (unsigned)max_size(slice_carved_parts(s), SLAB_PARTS - s->clean);
}

static inline size_t slice_purged_pages(const struct slice *s)
{
	return (size_t)count_ones(s->purged) * s->slices;
}

/* Stored last: who reads the kind may read what goes with it. */
static inline void slice_set_kind(struct slice *s, enum slice_kind kind)
{
	__atomic_store_n(&s->kind, (uint8_t)kind, __ATOMIC_RELEASE);
}

/* Of a slab. */
static inline int32_t slice_live(const struct slice *s)
{
	return __atomic_load_n(&s->count, __ATOMIC_ACQUIRE) + __atomic_load_n(&s->mark, __ATOMIC_RELAXED);
}

_Static_assert(sizeof(struct slice) == 128, "32 descriptors fill one page");
_Static_assert(offsetof(struct slice, magic) == CACHE_LINE, "the owner's line is its own");

#endif
