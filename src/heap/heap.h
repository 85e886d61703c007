/* SPDX-License-Identifier: MIT */
/*
 * Reservations of address space, and the empty regions in them.
 *
 * A heap is one mapping: metadata below; above it the regions, at a multiple of their whole size. Both are made
 * writable from the bottom up:
 *
 *   | none | region headers, downwards <- | root page(s) | -> slice descriptors | none || regions -> | none |
 *
 * so that a heap is five VMAs however large it is. The first heap (heap_first) is found by arithmetic alone; a
 * further one is reserved when it is full, and found by search.
 *
 * State of a region, and who may change it:
 *   UNTOUCHED, CLEAN, DIRTY   available; the heap's lock. CLEAN and UNTOUCHED read as zero
 *   RELEASING                 nobody's: the kernel is asked about it; only its answer makes it available again
 *   ACTIVE                    an arena's, under that arena's lock
 *
 * Invariant: a region is handed out only from an available state, and the kernel is asked to drop only RELEASING
 * regions, so a release never meets live data, however late it comes.
 */
#ifndef PMD_HEAP_HEAP_H
#define PMD_HEAP_HEAP_H

#include "heap/slice.h"
#include "os/lock.h"

enum region_state { REGION_UNTOUCHED = 0, REGION_CLEAN, REGION_DIRTY, REGION_RELEASING, REGION_ACTIVE };

struct arena;
struct heap;

struct region {
	char *base;
	struct slice *slices; /* its 32 descriptors */
	struct heap *heap;
	struct arena *_Atomic arena; /* of an ACTIVE region */
	struct slice *spanning;      /* the large block that covers the first slice and began in an earlier region */
	struct region *next, *prev;  /* DIRTY, RELEASING: a list of the heap */
	struct {
		struct region *next, *prev;
	} in[2]; /* ACTIVE: the lists of heap/bins.h */
	_Atomic uint32_t
		used; /* bit per slice: handed out (or being purged); the arena's lock, read without by statistics */
	_Atomic uint32_t touched; /* bit per slice: may hold other than zero; the arena's lock */
	uint32_t aged;            /* bit per slice: was free and touched at the last tick */
	uint32_t to_clear;        /* bit per slice: the arena's, while it hands the region out */
	uint32_t guarded;         /* bit per slice: inaccessible; free, or part of what is about to be */
	uint32_t partly;          /* bit per slice: free, and if it is touched, `dirt` is true of it */
	uint32_t slabs, longs;    /* bit per slice: of a slab; of an extent of more than half a region */
	_Atomic uint8_t state;
	bool lazy;             /* DIRTY: in the heap's list `lazy` */
	bool lost;             /* RELEASING: is not mapped any more */
	bool filled;           /* RELEASING: the kernel brought pages in meanwhile */
	_Atomic uint8_t dense; /* ACTIVE: at so many ticks in a row every slice was used; see huge.c */
	_Atomic bool huge;     /* may be mapped by a huge page */
	uint8_t group, bin[2]; /* ACTIVE: which lists it is in; bin 0: none */
	/* Of those in `partly`: so many pages from the slice's start on may hold other than zero; of others all may. */
	uint8_t dirt[SLICES_PER_REGION];
} __attribute__((aligned(CACHE_LINE)));

/* Regions, oldest first. */
struct region_list {
	struct region *oldest, *newest;
	size_t count;
};

enum { DEMAND_TICKS = 4 }; /* in a decay time */

struct heap {
	char *base; /* constant from here ... */
	struct slice *slices;
	struct region *regions;     /* header i is at regions - i */
	uint64_t *available;        /* bit per region: CLEAN or DIRTY */
	uint64_t *dirty_bits;       /* bit per region: DIRTY */
	size_t region_count;        /* ... to here */
	_Atomic size_t top;         /* regions below are not UNTOUCHED; the lock, read without by scans */
	_Atomic size_t slice_count; /* slices below top, whose descriptors can be read; as top */

	struct lock lock;   /* guards what follows */
	size_t inherited;   /* in a forked child: regions below were writable before; constant after the fork */
	size_t committed;   /* regions made writable */
	size_t headers_low; /* offset of the lowest writable header byte from the mapping's start */
	size_t slices_high; /* offset of the end of writable descriptors */
	size_t lowest;      /* no region below is available */
	char *mapping;
	struct region_list dirty;        /* DIRTY regions, in the order in which they emptied */
	struct region_list lazy;         /* those of them that the kernel may empty by itself (MADV_FREE) */
	struct region_list releasing;    /* RELEASING regions */
	struct region_list lost;         /* RELEASING too: not mapped any more, to be mapped anew */
	size_t active, peak;             /* ACTIVE regions, and the most of them since the last tick */
	size_t demand[DEMAND_TICKS - 1]; /* the peaks of the ticks before */
	size_t outgrown;        /* DIRTY regions, the oldest, that shall not wait; at most as many as there are */
	size_t outgrown_lately; /* became so since the last tick */
};

enum { HEAPS_MAX = 64 };

extern HIDDEN struct heap heap_first;
extern HIDDEN struct heap *_Atomic heaps[HEAPS_MAX]; /* filled from 0 on, never emptied */

/* Counters for statistics; relaxed. */
struct heap_counters {
	_Atomic size_t dirty_regions, clean_regions, releasing_regions;                            /* now */
	_Atomic size_t emptied, releases, release_failures, lazy_bytes, purged_bytes, moved_bytes; /* ever */
	_Atomic size_t collapsed, collapse_failures;                                               /* regions, ever */
};
extern HIDDEN struct heap_counters heap_counters;

/* The clock of decay, advanced by the scavenger. */
extern HIDDEN _Atomic uint32_t heap_tick;

/* Reserves the first heap. Returns 0 or an errno value. Called once, before any other function here. */
int heap_init(void);

/*
 * Hands out COUNT adjacent regions, the first at a multiple of ALIGN regions, all with state ACTIVE and ARENA set
 * and every slice used, until the arena says otherwise; prefers dirty ones. NULL when there is no memory.
 */
struct region *heap_take(size_t count, size_t align, struct arena *arena);

/* Hands out the COUNT regions that follow R, if they are available. */
bool heap_take_after(struct region *r, size_t count, struct arena *arena);

/* The kernel has brought in R's pages, which were or are being released. Nothing, if R is ACTIVE. */
void heap_filled(struct region *r);

/* Takes back COUNT adjacent regions that hold nothing. */
void heap_put(struct region *r, size_t count);

/* Every quarter of the decay time: a tick has passed for the record of how many regions were needed. */
void heap_pass_tick(struct heap *h);

/* Some heap has outgrown regions. Whoever gives them back clears it first. */
extern HIDDEN _Atomic bool heap_has_outgrown;

/* As heap_release, for those. */
size_t heap_release_outgrown(struct heap *h, bool later);

/* How many DIRTY regions there are beyond what was needed lately. */
size_t heap_surplus(struct heap *h);

/*
 * Gives back up to LIMIT DIRTY regions, the oldest first. With LATER some answers may come with release_reap(), and
 * the caller is the one thread that calls it. Returns the bytes given back, or, with LATER, handed to the kernel.
 */
size_t heap_release(struct heap *h, size_t limit, bool later);

/* Lets the kernel take the contents of DIRTY regions instead of swapping them out. */
void heap_make_lazy(struct heap *h);

/* Memory for caches and arenas: zeroed, never given back. NULL when there is none. */
void *meta_alloc(size_t bytes);

/* The same, of whole pages: right below the heap's metadata, where what grows next is out of reach. */
void *meta_map(size_t bytes);

size_t meta_bytes(void);

/*
 * In a forked child: puts in order what threads that are gone were doing. Returns whether one of them had a heap's lock.
 */
bool heap_after_fork(void);

static inline struct region *heap_region(struct heap *h, size_t i)
{
	return h->regions - i;
}

static inline size_t region_index(struct region *r)
{
	return (size_t)(r->heap->regions - r);
}

/*
 * Whether R's mapping came with a fork: the kernel keeps it apart, so what is mapped anew there, or moved there, stays
 * a VMA of its own for good, and cuts R's in two.
 */
static inline bool heap_is_inherited(struct region *r)
{
	return UNLIKELY(r->heap->inherited > region_index(r));
}

/*
 * The first heap's descriptors for free()'s fast path. Its base is a multiple of its size, so (p >> 9) &
 * heap_first_mask is the offset of the descriptor of P's slice, when P lies in the part of the heap that is in use;
 * for any other P it is the offset of some descriptor that can be read, and slab_block_of_thread() says that P
 * is not a block of it.
 *
 * The mask only grows, and before a thread can hold a pointer that needs a new one it has been handed it with the
 * pointer, so any value read is good; sanitizers want to see an atomic.
 */
extern HIDDEN struct slice *heap_first_slices;
extern HIDDEN uintptr_t heap_first_mask;

/* False: heap_first_slice() always leads to a descriptor without blocks. Set before heap_init. */
extern HIDDEN bool heap_has_fast_path;

/* No more address space than this is reserved at first. Set before heap_init. */
extern HIDDEN size_t heap_reserve_most;

/* Some heap has grown. Whoever wants to know clears it. */
extern HIDDEN _Atomic bool heap_has_grown;

static inline struct slice *heap_first_slice(const void *p)
{
#ifdef PMD_SANITIZED
	uintptr_t mask = __atomic_load_n(&heap_first_mask, __ATOMIC_RELAXED);
#else
	uintptr_t mask = heap_first_mask;
#endif
	return (struct slice *)((uintptr_t)heap_first_slices + ((uintptr_t)p >> (SLICE_SHIFT - 7) & mask));
}

_Static_assert(sizeof(struct slice) == 1 << 7, "the shift above");

/* The descriptor of the slice that P lies in; NULL when P is in no heap. */
struct slice *heap_slice_anywhere(const void *p);

/* Whether P is an address that a heap has reserved, for its descriptors or for blocks, used or not. */
bool heap_reserves(const void *p);

#define COUNT_ADD(counter, n) atomic_fetch_add_explicit(&heap_counters.counter, (n), memory_order_relaxed)
#define COUNT_SUB(counter, n) atomic_fetch_sub_explicit(&heap_counters.counter, (n), memory_order_relaxed)
#define COUNT_GET(counter)    atomic_load_explicit(&heap_counters.counter, memory_order_relaxed)

#endif
