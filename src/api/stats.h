/* SPDX-License-Identifier: MIT */
/* Figures for pmd_stats_get, mallinfo and the like, and for the reports of pmd_stats_print. */
#ifndef PMD_API_STATS_H
#define PMD_API_STATS_H

#include "cache/slab.h"
#include "pmdalloc/pmdalloc.h"
#include "release/release.h"

enum {
	HOLDER_LARGE = CLASSES, /* large blocks, as if they were a class */
	HOLDER_SEVERAL,         /* regions that more than one class holds */
	HOLDERS,
	OCCUPANCIES = 8,
	SLAB_STATES = SLAB_PURGING + 1,
};

/*
 * What one size class holds. Every region in use is counted as pinned by the class that alone has blocks in it, or by
 * HOLDER_SEVERAL, with all the free memory in it: so pinned_bytes add up to free_in_active_bytes.
 */
struct stats_holder {
	size_t block_bytes;
	size_t slabs;
	size_t live_blocks, live_bytes;
	size_t free_blocks, free_bytes; /* in its slabs */
	size_t regions;                 /* in which it has a slab */
	size_t pinned_regions, pinned_bytes;
	size_t shared_bytes; /* free in regions in which it has a slab, and others have too; counted for each of them */
};

/* Beyond struct pmd_stats; nine KiB. */
struct stats_detail {
	struct stats_holder holders[HOLDERS];
	size_t slab_states[SLAB_STATES];
	size_t occupancy
		[OCCUPANCIES];  /* regions in use, by eighths of their bytes that live; the first includes none */
	size_t occupancy_bytes; /* that live in them */
};

/* The latter may be NULL. */
void stats_collect(struct pmd_stats *stats, struct stats_detail *detail);

#endif
