/* SPDX-License-Identifier: MIT */
/*
 * Reservation and growth. A heap's lock guards how far it has grown; heaps_lock the adding of heaps (it is taken with
 * no heap's lock held).
 */
#include <errno.h>
#include <string.h>

#include "conf/options.h"
#include "heap/limit.h"
#include "heap/pool.h"
#include "os/os.h"
#include "os/syscall.h"
#include "release/advice.h"
#include "release/release.h"

struct heap heap_first;

/* Until there is a heap, every pointer leads to this one, which holds no block. */
static struct slice no_slice;
struct slice *heap_first_slices = &no_slice;
uintptr_t heap_first_mask;
bool heap_has_fast_path = true;
size_t heap_reserve_most = SIZE_MAX;
_Atomic bool heap_has_grown;
struct heap *_Atomic heaps[HEAPS_MAX];
struct heap_counters heap_counters;
_Atomic uint32_t heap_tick = 2;

static struct lock heaps_lock;
static uint64_t place_seed; /* random, constant after heap_init */

/*
 * Where heaps are put at random: clear of the usual places of programs, libraries, stacks and other run times'
 * heaps, and of AddressSanitizer's shadow, which ends above 16 TiB.
 */
#define PLACES_START ((size_t)17 << 40)
#define PLACES_END   ((size_t)80 << 40)

enum {
	ROOT_BYTES = 256 << 10, /* of which the bitmaps take region_count / 4; the rest is the metadata pool */
	/*
	 * Between descriptors and heap: where a block and its descriptor agree in their low address bits, some cores
	 * take a store to one for a store to the other and wait (33 ns for a pair, not 6).
	 */
	META_PAD = 11 << PAGE_SHIFT,
	STEP_REGIONS_MAX = 32,   /* growth step: a quarter of what there is, at most 64 MiB */
	CHUNK_BYTES = 256 << 10, /* the pool grows by this much */
	HEADER_STEP = 256 << 10, /* and headers, so that most forked children need no VMA for more of them */
};

/* ---- The metadata pool ------------------------------------------------------------------------------------------- */

static struct {
	struct lock lock;
	char *at, *end;
	char *lowest; /* the last chunk mapped: the next goes below, so that they are one VMA */
	size_t total;
} pool;

/* The pool's lock is held. */
static void *map_chunk(size_t bytes)
{
	void *chunk = (pool.lowest ? pool.lowest : heap_first.mapping) - bytes;

	if (os_map(bytes, &chunk))
		return NULL;
	pool.lowest = chunk;
	return chunk;
}

void *meta_map(size_t bytes)
{
	void *chunk;

	lock_take(&pool.lock);
	chunk = map_chunk(bytes);
	lock_drop(&pool.lock);
	return chunk;
}

void *meta_alloc(size_t bytes)
{
	void *p = NULL, *chunk;
	long refused;

	if (os_inject(OS_POINT_TABLES, &refused))
		return NULL;
	bytes = align_up(bytes, CACHE_LINE);
	lock_take(&pool.lock);
	if ((size_t)(pool.end - pool.at) < bytes) {
		size_t n = align_up(max_size(bytes, CHUNK_BYTES), PAGE_BYTES);

		if ((chunk = map_chunk(n))) {
			pool.at = chunk;
			pool.end = pool.at + n;
			pool.total += n;
		}
	}
	if ((size_t)(pool.end - pool.at) >= bytes) {
		p = pool.at;
		pool.at += bytes;
	}
	lock_drop(&pool.lock);
	return p;
}

size_t meta_bytes(void)
{
	size_t n;

	lock_take(&pool.lock);
	n = pool.total;
	lock_drop(&pool.lock);
	for (int i = 0; i < HEAPS_MAX && heaps[i]; i++) {
		lock_take(&heaps[i]->lock);
		n += heaps[i]->slices_high - heaps[i]->headers_low;
		lock_drop(&heaps[i]->lock);
	}
	return n;
}

/* ---- Reservation ------------------------------------------------------------------------------------------------- */

/* Bytes of headers, root and descriptors for COUNT regions. */
static size_t meta_size(size_t count, size_t root, size_t *header_bytes)
{
	*header_bytes = align_up(count * sizeof(struct region), PAGE_BYTES);
	return *header_bytes + root + count * PAGE_BYTES;
}

/*
 * Reserves META + SPAN bytes such that what follows META is a multiple of SPAN: at a random place if it is free,
 * else by asking for twice as much and giving the ends back. *base is where META ends.
 */
static int reserve_aligned(size_t meta, size_t span, uintptr_t *base)
{
	size_t first = align_up(PLACES_START, span), total = meta + 2 * span;
	size_t places = first < PLACES_END ? (PLACES_END - first) / span : 0;
	uintptr_t start, hint = places ? first + place_seed % places * span : 0;
	void *mapping;
	int error;

	if (places && !os_reserve_at((void *)(hint - meta), meta + span)) {
		*base = hint;
		return 0;
	}
	if ((error = os_reserve(total, &mapping)))
		return error;
	start = (uintptr_t)mapping;
	*base = align_up(start + meta, span);
	if (*base - meta > start)
		os_unmap(mapping, *base - meta - start);
	if (start + total > *base + span)
		os_unmap((void *)(*base + span), start + total - *base - span);
	return 0;
}

/*
 * Makes what is reserved at P, and was never used, readable and writable. A sandbox may kill for mprotect(2); a new mapping
 * in the place of the old one is the same, and where it fails may leave none there.
 */
static int commit(char *p, size_t bytes)
{
	int error;

	if (!release_is_restricted()) {
		os_dump(p, bytes, true); /* first: then it is one mapping with what was committed before */
		return os_commit(p, bytes);
	}
	error = os_remap(p, bytes);
	if (error)
		os_reserve_at(p, bytes);
	return error;
}

/* Reserves a heap of SPAN bytes, a power of two, at a multiple of SPAN, with its metadata right below. */
static int reserve_span(struct heap *h, size_t span)
{
	size_t count = span >> REGION_SHIFT, header_bytes;
	size_t bitmap = align_up(count / 8 + 8, CACHE_LINE);
	size_t root = align_up(max_size(2 * bitmap, h == &heap_first ? ROOT_BYTES : 0), PAGE_BYTES);
	size_t meta = meta_size(count, root, &header_bytes) + META_PAD;
	uintptr_t base;
	int error = reserve_aligned(meta, span, &base);

	if (error)
		return error;
	h->mapping = (char *)base - meta;
	h->base = (char *)base;
	h->region_count = count;
	h->regions = (struct region *)(h->mapping + header_bytes) - 1;
	h->headers_low = header_bytes - min_size(HEADER_STEP, header_bytes);
	h->available = (uint64_t *)(h->mapping + header_bytes);
	h->dirty_bits = h->available + bitmap / sizeof(uint64_t);
	h->slices = (struct slice *)(h->mapping + header_bytes + root);
	h->slices_high = header_bytes + root + PAGE_BYTES;
	os_dump(h->mapping, meta + span, false);
	error = commit(h->mapping + h->headers_low, h->slices_high - h->headers_low); /* the first region's too */
	if (error)
		os_unmap(h->mapping, meta + span);
	return error;
}

/* Reserves SPAN bytes, or the largest half, quarter, ... of it that the kernel agrees to, but no less than LEAST. */
static int reserve(struct heap *h, size_t span, size_t least)
{
	int error;
	bool halved = false;

	while ((error = reserve_span(h, span)) && span / 2 >= least) {
		span /= 2;
		halved = true;
	}
	/* Under RLIMIT_AS leave as much again for stacks, libraries and what else the program maps. */
	if (!error && halved && span / 2 >= least && os_address_space_limited()) {
		os_unmap(h->mapping, (size_t)(h->base - h->mapping) + span);
		error = reserve_span(h, span / 2);
	}
	return error;
}

/* The smallest power of two that is no less than N. */
static size_t power_above(size_t n)
{
	return n > 1 ? (size_t)1 << (64 - __builtin_clzl(n - 1)) : 1;
}

/* Known before it gets the advice: if that changes at this moment, it is not missed. */
static void add(struct heap *h, int at)
{
	atomic_store_explicit(&heaps[at], h, memory_order_seq_cst);
	advice_apply(h->base, h->region_count * REGION_BYTES);
}

bool heap_add(size_t count, size_t align, int known)
{
	struct heap *h;
	size_t least = power_above((count + align) * REGION_BYTES);
	bool ok = false;

	lock_take(&heaps_lock);
	if (known < HEAPS_MAX && heaps[known]) {
		ok = true; /* another thread was faster */
	} else if (known < HEAPS_MAX && (h = meta_alloc(sizeof *h))) {
		ok = !reserve(h, max_size(heap_first.region_count * REGION_BYTES, least), least);
		if (ok)
			add(h, known);
	}
	lock_drop(&heaps_lock);
	return ok;
}

struct slice *heap_slice_anywhere(const void *p)
{
	for (int i = 0; i < HEAPS_MAX; i++) {
		struct heap *h = atomic_load_explicit(&heaps[i], memory_order_acquire);
		size_t at;

		if (!h)
			return NULL;
		at = ((uintptr_t)p - (uintptr_t)h->base) >> SLICE_SHIFT;
		if (at < atomic_load_explicit(&h->slice_count, memory_order_acquire))
			return h->slices + at;
	}
	return NULL;
}

bool heap_reserves(const void *p)
{
	for (int i = 0; i < HEAPS_MAX; i++) {
		const struct heap *h = atomic_load_explicit(&heaps[i], memory_order_acquire);

		if (!h)
			return false;
		if ((uintptr_t)p - (uintptr_t)h->mapping <
		    (uintptr_t)h->base - (uintptr_t)h->mapping + h->region_count * REGION_BYTES)
			return true;
	}
	return false;
}

/* ---- Growth ------------------------------------------------------------------------------------------------------ */

static bool commit_to(struct heap *h, size_t regions)
{
	size_t headers_end = (size_t)((char *)(h->regions + 1) - h->mapping);
	size_t low = headers_end - min_size(align_up(regions * sizeof(struct region), HEADER_STEP), headers_end);
	/*
	 * Up to a power of two, so that whatever heap_first_mask leaves of an address leads to a descriptor that can
	 * be read.
	 */
	size_t high = (size_t)((char *)h->slices - h->mapping) + power_above(regions) * PAGE_BYTES;

	if (low < h->headers_low && commit(h->mapping + low, h->headers_low - low))
		return false;
	h->headers_low = min_size(low, h->headers_low);
	if (high > h->slices_high && commit(h->mapping + h->slices_high, high - h->slices_high))
		return false;
	h->slices_high = max_size(high, h->slices_high);
	if (commit(h->base + h->committed * REGION_BYTES, (regions - h->committed) * REGION_BYTES))
		return false;
	h->committed = regions;
	return true;
}

/* Before a thread can have a pointer to what lies below. */
static void publish_top(struct heap *h, size_t top)
{
	atomic_store_explicit(&h->top, top, memory_order_release);
	atomic_store_explicit(&h->slice_count, top * SLICES_PER_REGION, memory_order_release);
	if (h == &heap_first && heap_has_fast_path)
		__atomic_store_n(&heap_first_mask, power_above(top) * PAGE_BYTES - sizeof(struct slice),
				 __ATOMIC_RELEASE);
}

bool heap_grow(struct heap *h, size_t top)
{
	size_t step = min_size(max_size(h->committed / 4, 1), STEP_REGIONS_MAX);
	long refused;

	if (top > h->region_count || os_inject(OS_POINT_ROOM, &refused))
		return false;
	if (top > h->committed && !commit_to(h, min_size(max_size(top, h->committed + step), h->region_count)) &&
	    !commit_to(h, top))
		return false;
	for (size_t i = h->top; i < top; i++) {
		struct region *r = heap_region(h, i);

		memset(r, 0, sizeof *r); /* it is, but memcheck cannot know */
		r->base = h->base + i * REGION_BYTES;
		r->slices = h->slices + i * SLICES_PER_REGION;
		r->heap = h;
	}
	publish_top(h, top);
	atomic_store_explicit(&heap_has_grown, true, memory_order_relaxed);
	return true;
}

int heap_init(void)
{
	size_t bitmap;
	int error;

	place_seed = os_random();
	error = reserve(&heap_first, min_size(power_above((size_t)OPTION(reserve_gib) << 30), heap_reserve_most),
			4 * REGION_BYTES);
	if (error)
		return error;
	bitmap = align_up(heap_first.region_count / 8 + 8, CACHE_LINE);
	pool.at = (char *)heap_first.dirty_bits + bitmap;
	pool.end = (char *)heap_first.slices;
	add(&heap_first, 0);
	if (!heap_grow(&heap_first, 1))
		return ENOMEM;
	pool_add_clean(&heap_first, 0);
	/*
	 * A free(NULL) while this becomes a slab for the first time must not take it for its own: see slab_block_of_thread. With a
	 * magic of 1, whatever is above every bound and every id does.
	 */
	heap_first.slices->magic = 1;
	heap_first.slices->anchor = heap_first.slices->last = (uintptr_t)1 << 41;
	if (heap_has_fast_path)
		heap_first_slices = heap_first.slices;
	return 0;
}

/* ---- Fork -------------------------------------------------------------------------------------------------------- */

bool heap_after_fork(void)
{
	bool torn = false;

	for (int i = 0; i < HEAPS_MAX && heaps[i]; i++) {
		struct heap *h = heaps[i];

		h->inherited = h->committed;
		if (!lock_held(&h->lock)) {
			pool_after_fork(h);
			continue;
		}
		torn = true;
		lock_reset(&h->lock);
		publish_top(h, h->top);
		pool_rebuild(h);
	}
	atomic_store_explicit(&heap_counters.releasing_regions, 0, memory_order_relaxed);
	if (torn)
		pool_count_again();
	if (lock_held(&heaps_lock))
		lock_reset(&heaps_lock);
	if (lock_held(&pool.lock)) {
		pool.at = pool.end = NULL;
		lock_reset(&pool.lock);
	}
	return torn;
}
