/* SPDX-License-Identifier: MIT */
/*
 * Arenas: sets of active regions that hand out extents of slices, each under one lock. Threads are spread over them.
 *
 * Extents of less than a region come from the fullest region that has room, so that sparse ones drain; longer ones
 * begin on a region boundary, and what they leave of their last region serves others. A region whose last slice is
 * given back here goes back to its heap at once.
 */
#ifndef PMD_HEAP_ARENA_H
#define PMD_HEAP_ARENA_H

#include "heap/bins.h"
#include "heap/huge.h"
#include "heap/limit.h"

enum {
	ARENAS_MAX = 256,
	CLASSES = 82, /* size classes of slabs; see cache/classes.h */
};

struct arena {
	struct lock lock;     /* guards everything here and in its regions */
	_Atomic bool retired; /* the lock was held at a fork: nothing more is allocated, frees are dropped */
	unsigned index;
	struct slice *_Atomic waiting; /* see heap/waiting.h; without the lock, as the next */
	_Atomic bool waited;           /* something has waited since the last tick */
	struct bins bins[GROUPS];      /* its regions, but for the full ones */
	struct filling filling;
	struct slice *held[CLASSES];     /* slabs of no thread that have free blocks, by class */
	struct slice *sparse[CLASSES];   /* the same, whose idle pages were purged: taken last */
	_Atomic unsigned threads;        /* caches that use it; without the lock */
	_Atomic uint8_t carved[CLASSES]; /* sixteenths of slabs that ended lately; 0: none did; read without the lock */
};

extern HIDDEN struct arena *_Atomic arenas[ARENAS_MAX];

/*
 * Slices of active regions that nothing has touched are inaccessible while they are free, and so are those that were when they
 * were given back (arena_guard). Set before the first slice is handed out, if at all. Regions without a block are accessible:
 * the marks by which it is done would keep their page tables.
 */
extern HIDDEN bool arena_guards;

/* Decides how many arenas threads are spread over; called once, after options_init. */
void arena_init(void);

/* Arena INDEX, created when it does not exist; NULL when memory is short. */
struct arena *arena_get(unsigned index);
unsigned arena_count(void);

/* The arena with the fewest threads, which from now on has one more; NULL when memory is short. */
struct arena *arena_assign(void);
void arena_unassign(struct arena *a);

/*
 * An extent of COUNT slices whose address is a multiple of ALIGN slices (a power of two). Its first descriptor has
 * base, region and slices set and is otherwise for the caller to fill. With CLEAR the extent reads as zero. NULL when
 * memory is short, or a limit was met: then G says so.
 */
struct slice *arena_take(struct arena *a, size_t count, size_t align, bool clear, struct growth *g);

/* The same for a slab of CLASS, of less than a region. Its `clean` is set too. */
struct slice *arena_take_slab(struct arena *a, unsigned class, size_t count, struct growth *g);

/* How many sixteenths of a slab of CLASS are going to be carved, as far as those that ended tell. */
static inline unsigned arena_expected(const struct arena *a, unsigned class)
{
	unsigned known = atomic_load_explicit(&a->carved[class], memory_order_relaxed);

	return known ? known : SLAB_PARTS;
}

/* Makes the extent inaccessible until it is taken back; what it held is gone. False: some of it is not. With arena_guards. */
bool arena_guard(struct slice *s);

/* Takes back the extent that begins with S. Descriptors of inner slices have been cleared by the caller. */
void arena_put(struct slice *s);

/*
 * Makes the extent COUNT slices long where it is; what is new of it may hold anything. Shrinking succeeds always. False
 * because of a limit: G says so.
 */
bool arena_resize(struct slice *s, size_t count, struct growth *g);

/* The first REGIONS regions of the extent, all of which are its own, read as zero now. They use up G's credit, if any. */
void arena_set_zero(struct slice *s, size_t regions, struct growth *g);

/*
 * Gives back H's free slices that were touched, in regions that are in use; with AGED_ONLY those alone that were so
 * at the last such call too, but for regions that are mostly full and may be one huge page. Returns bytes.
 */
size_t arena_purge(struct heap *h, bool aged_only);

/* The kernel has brought in all of R's pages, while anything may have become of R. */
void arena_filled(struct region *r);

/* Free slices that were touched, over all arenas. */
extern HIDDEN _Atomic size_t arena_dirty_slices;

/* Of those, as of the last call of arena_purge: how many stay in regions that are one huge page and mostly full. */
extern HIDDEN _Atomic size_t arena_kept_slices;

/* The slices of S's first region that are its extent's. */
uint32_t arena_mask(const struct slice *s);

/* In a forked child: gives up the arenas that a thread that is gone had locked. Returns whether there were any. No thread counts. */
bool arena_after_fork(void);

#endif
