/* SPDX-License-Identifier: MIT */
/*
 * The active regions of an arena that have room, in lists by how much: by their number of free slices, and by the
 * longest run of them. The fullest region that has room serves, so that sparse ones drain.
 *
 * What is small and what is large seldom ends at the same time, and what ends last keeps a region. So regions are in
 * groups by what they hold, and slabs gather in as few as possible:
 *   SLABS   some slab
 *   BLOCKS  no slab, but some large block of up to half a region
 *   LONG    nothing but longer ones; most are the last region of a block of several, which would be empty without it
 * Slabs and blocks each prefer their own group, then the other's; LONG comes last, before a new region.
 *
 * The list by run says how long the longest run may be: that it became shorter is found out when somebody wants it, as
 * most changes are of single slices, which are not looked for there.
 */
#ifndef PMD_HEAP_BINS_H
#define PMD_HEAP_BINS_H

#include "heap/heap.h"

/* Positions at which COUNT free slices begin. */
static inline uint32_t bins_run_starts(uint32_t free, size_t count)
{
	size_t have = 1;

	while (free && have < count) {
		size_t step = min_size(have, count - have);

		free &= free >> step;
		have += step;
	}
	return free;
}

enum { BINS = SLICES_PER_REGION }; /* by room; 0 is for the full ones, which are in no list */
enum bins_group { SLABS, BLOCKS, LONG, GROUPS };
enum bins_by { BY_FREE, BY_RUN };

struct bins {
	uint64_t filled[2]; /* bit per list, by enum bins_by: not empty */
	struct region *lists[2][BINS];
};

/* Puts R, of which USED is in use and FREED was just before, into the lists that it belongs to, or in none if all is. */
void bins_relist(struct bins *groups, struct region *r, uint32_t used, uint32_t freed);

/* The region to take COUNT slices in a row from, at a multiple of ALIGN; NULL if none is sure to have them. */
struct region *bins_pick(struct bins *groups, size_t count, size_t align, bool slab);

#endif
