/* SPDX-License-Identifier: MIT */
/* Between the reservation of a heap (heap.c) and its pool of empty regions (pool.c). */
#ifndef PMD_HEAP_POOL_H
#define PMD_HEAP_POOL_H

#include "heap/heap.h"

/* Makes the regions below index TOP usable. The heap's lock is held. */
bool heap_grow(struct heap *h, size_t top);

/* Adds a heap that can hold COUNT regions at an alignment of ALIGN regions; KNOWN is how many the caller has seen. */
bool heap_add(size_t count, size_t align, int known);

/* Region I was never used and reads as zero: it becomes available. The heap's lock is held. */
void pool_add_clean(struct heap *h, size_t i);

/* In a forked child: nobody waits for what the parent's kernel calls answer. */
void pool_after_fork(struct heap *h);

/*
 * The same where the heap's lock was held: lists and bitmaps, which may be half changed, are made anew from the states of
 * the regions, each of which is one store, the first or the last of its change. Then all heaps are counted again.
 */
void pool_rebuild(struct heap *h);
void pool_count_again(void);

#endif
