/* SPDX-License-Identifier: MIT */
/*
 * Huge pages, with thp:auto. A region whose memory is fetched page by page costs five times as much as one that comes
 * as a huge page; but one that stays sparse costs 2 MiB that way, and a huge page of which a part is given back has to
 * be split. So the heap is advised against them, but for
 *   - the time in which a large heap fills fast;
 *   - the moment in which the background thread makes huge pages of dense regions.
 * Between those moments nothing is: neither a fault nor the kernel's own thread (khugepaged) fetches again, as a huge
 * page, what was given back.
 */
#ifndef PMD_HEAP_HUGE_H
#define PMD_HEAP_HUGE_H

#include "heap/heap.h"

/*
 * What an arena remembers of the regions that it has fetched. Many at a time is not fast filling when nobody fills them:
 * a thousand threads that take a slab of each class, and of each slab a block or two. So it counts how full the region
 * is that was fetched some regions ago. Of a block of many pages nobody knows how many are touched: buffers for connections
 * may use one of sixteen. Where most blocks are such, the kernel is asked what is there of a region that came in small pages.
 * What it says is believed for some regions, and then a few come in small pages again.
 */
enum { FILLING_REGIONS = 8 };
struct filling {
	uint64_t fetched_ms; /* when it last needed another region */
	struct region *fetched[FILLING_REGIONS];
	unsigned next;    /* the place of the oldest */
	unsigned small;   /* a bit for each that came in small pages */
	unsigned trusted; /* regions of blocks of many pages that are taken for touched */
};

/* An arena whose regions are all full is about to take another from the heap; then it has it. Its lock guards F. */
void huge_before_take(struct filling *f);
void huge_after_take(struct filling *f, struct region *r);

/* REGIONS regions are about to be taken for one block, of which nobody knows how much will be touched. */
void huge_before_long_take(size_t regions);

/*
 * A large heap has grown slowly, in small pages: there may be something to collapse, which the background thread is worth
 * starting for. Whoever clears it sees to that.
 */
extern HIDDEN _Atomic bool huge_wanted;

/* At each tick. */
void huge_pass_tick(void);

/* Nobody may look again for long, or what is free was given back: the advice is against huge pages until the heap fills. */
void huge_rest(void);

/*
 * Makes huge pages of regions that have been dense for a while, for about 1 % of the time that has passed since the last
 * call. By the background thread alone. Returns the bytes; *REST is whether there is more to do.
 */
size_t huge_collapse(bool *rest);

/* Whether R may be one huge page, and holds so much that none of it is given back when it has decayed. */
bool huge_keeps_whole(struct region *r);

/*
 * Before a part of R, at PAGE, is given back. Of a huge page the kernel only unmaps that part, and keeps the memory until
 * it is short of it, unless the page was split before.
 */
void huge_split(struct region *r, void *page);

/* In the parent: for a while what is shared with the child is left as it is. */
void huge_after_fork_in_parent(void);
void huge_after_fork(void);

#endif
