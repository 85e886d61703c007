/* SPDX-License-Identifier: MIT */
/*
 * Empty regions: handing them out, taking them back, and releasing them. The heap's lock guards lists and bitmap; it
 * is not held while the kernel is asked.
 */
#include <errno.h>

#include "conf/options.h"
#include "heap/limit.h"
#include "heap/pool.h"
#include "os/os.h"
#include "release/advice.h"
#include "release/release.h"

enum {
	BATCH_REGIONS = RELEASE_RANGES,
	OUTGROWN_MOST = 32, /* regions in a tick */
};

_Atomic bool heap_has_outgrown;

/* ---- Lists and bitmap -------------------------------------------------------------------------------------------- */

static void set_bit(uint64_t *bits, size_t i, bool value)
{
	uint64_t bit = (uint64_t)1 << i % 64;

	bits[i / 64] = value ? bits[i / 64] | bit : bits[i / 64] & ~bit;
}

static bool get_bit(const uint64_t *bits, size_t i)
{
	return bits[i / 64] >> i % 64 & 1;
}

static void set_available(struct heap *h, size_t i, bool dirty)
{
	set_bit(h->available, i, true);
	set_bit(h->dirty_bits, i, dirty);
	h->lowest = min_size(h->lowest, i);
}

static void clear_available(struct heap *h, size_t i)
{
	set_bit(h->available, i, false);
	set_bit(h->dirty_bits, i, false);
}

static void list_remove(struct region_list *list, struct region *r)
{
	*(r->prev ? &r->prev->next : &list->oldest) = r->next;
	*(r->next ? &r->next->prev : &list->newest) = r->prev;
	r->next = r->prev = NULL;
	list->count--;
}

static void list_add(struct region_list *list, struct region *r)
{
	r->next = NULL;
	r->prev = list->newest;
	*(list->newest ? &list->newest->next : &list->oldest) = r;
	list->newest = r;
	list->count++;
}

static void unlink_dirty(struct heap *h, struct region *r)
{
	list_remove(r->lazy ? &h->lazy : &h->dirty, r);
	COUNT_SUB(dirty_regions, 1);
}

static void make_dirty(struct heap *h, struct region *r, bool lazy)
{
	r->state = REGION_DIRTY;
	r->lazy = lazy;
	list_add(lazy ? &h->lazy : &h->dirty, r);
	COUNT_ADD(dirty_regions, 1);
	set_available(h, region_index(r), true);
}

static void make_clean(struct heap *h, struct region *r)
{
	r->state = REGION_CLEAN;
	COUNT_ADD(clean_regions, 1);
	set_available(h, region_index(r), false);
}

void pool_add_clean(struct heap *h, size_t i)
{
	make_clean(h, heap_region(h, i));
}

/* ---- Handing out and taking back --------------------------------------------------------------------------------- */

/*
 * A long request, or a block that grows in place, has taken CLEAN regions, as the dirty ones are too scattered for it, or
 * elsewhere. Where blocks grow, those are what earlier ones left, and would be there beside them until decay finds that
 * nobody wanted them: as many go at once, but no more than a few in each tick, since others may want them soon.
 */
static void outgrow(struct heap *h, size_t clean)
{
	size_t n = min_size(min_size(clean, h->dirty.count + h->lazy.count - h->outgrown),
			    OUTGROWN_MOST - h->outgrown_lately);

	if (!n || OPTION(decay_ms) < 0)
		return;
	h->outgrown += n;
	h->outgrown_lately += n;
	atomic_store_explicit(&heap_has_outgrown, true, memory_order_relaxed);
}

static void hand_out(struct heap *h, size_t first, size_t count, struct arena *arena)
{
	size_t clean = 0;

	for (size_t i = first; i < first + count; i++) {
		struct region *r = heap_region(h, i);

		CHECK_DEBUG(r->state != REGION_RELEASING && r->state != REGION_ACTIVE);
		if (r->state != REGION_DIRTY)
			atomic_store_explicit(&r->huge, advice_is_huge(), memory_order_relaxed);
		atomic_store_explicit(&r->dense, 0, memory_order_relaxed);
		if (r->state == REGION_DIRTY)
			unlink_dirty(h, r);
		else
			clean++;
		if (r->state == REGION_CLEAN)
			COUNT_SUB(clean_regions, 1);
		clear_available(h, i);
		atomic_store_explicit(&r->used, ~(uint32_t)0,
				      memory_order_relaxed); /* until the arena says otherwise */
		r->aged = r->slabs = r->longs = 0;
		r->spanning = NULL;
		atomic_store_explicit(&r->arena, arena, memory_order_relaxed);
		r->state = REGION_ACTIVE;
	}
	h->active += count;
	h->outgrown = min_size(h->outgrown, h->dirty.count + h->lazy.count);
	if (clean && count > 1)
		outgrow(h, clean);
	/* The dirty ones did not do, scattered as they are. If they went, the next request would touch yet more. */
	h->peak = max_size(h->peak, h->active + (clean ? h->dirty.count + h->lazy.count - h->outgrown : 0));
}

/* The first index at or after I, below LIMIT, whose bit is VALUE; else LIMIT. */
static size_t find_bit(const uint64_t *bits, size_t i, size_t limit, bool value)
{
	while (i < limit) {
		uint64_t word = (value ? bits[i / 64] : ~bits[i / 64]) >> i % 64;

		if (word)
			return min_size(i + (size_t)__builtin_ctzll(word), limit);
		i = (i / 64 + 1) * 64;
	}
	return limit;
}

/* A search for COUNT adjacent regions, the first at a multiple of ALIGN. */
struct search {
	size_t count, align;
	size_t found, dirty; /* the best so far, and how many of it are dirty */
	size_t looked;       /* at so many regions */
};

enum { SEARCH_MOST = 4096 };

static size_t count_dirty(const struct heap *h, size_t first, size_t end)
{
	size_t n = 0;

	for (size_t i = first; i < end; i++)
		n += get_bit(h->dirty_bits, i);
	return n;
}

static bool goes_on(const struct search *s)
{
	return s->dirty < s->count && s->looked < SEARCH_MOST;
}

/* Regions FIRST to END - 1 are available, and, if that is the top, those above it too. */
static void search_run(const struct heap *h, struct search *s, size_t first, size_t end)
{
	for (size_t at = align_up(first, s->align); at < end && goes_on(s); at += s->align) {
		size_t dirty = count_dirty(h, at, min_size(at + s->count, end));

		if (end - at < s->count && end < h->top)
			break;
		if (!s->looked || dirty > s->dirty) {
			s->found = at;
			s->dirty = dirty;
		}
		s->looked += s->count;
	}
}

/*
 * COUNT available regions, aligned: those with the most dirty ones, the lowest of such, as far as a search may go. They
 * may reach above the top, into what was never touched.
 */
static size_t find_run(struct heap *h, size_t count, size_t align)
{
	struct search s = {count, align, .found = align_up(h->top, align)};
	size_t i = h->lowest = find_bit(h->available, h->lowest, h->top, true);

	while (i < h->top && goes_on(&s)) {
		size_t end = find_bit(h->available, i, h->top, false);

		search_run(h, &s, i, end);
		i = find_bit(h->available, end, h->top, true);
	}
	return s.found;
}

static struct region *take_from(struct heap *h, size_t count, size_t align, struct arena *arena)
{
	struct region *last = h->dirty.newest ? h->dirty.newest : h->lazy.newest;
	size_t first, top = h->top;

	if (count == 1 && align == 1 && last) {
		first = region_index(last);
	} else {
		first = find_run(h, count, align);
		if (first + count > top && !heap_grow(h, first + count))
			return NULL;
		/* An aligned run above the top leaves regions below it that are available from now on. */
		for (size_t i = top; i < first; i++)
			pool_add_clean(h, i);
	}
	hand_out(h, first, count, arena);
	return heap_region(h, first);
}

struct region *heap_take(size_t count, size_t align, struct arena *arena)
{
	for (int i = 0; i < HEAPS_MAX; i++) {
		struct heap *h = atomic_load_explicit(&heaps[i], memory_order_acquire);
		struct region *r;

		if (!h && !heap_add(count, align, i))
			return NULL;
		h = atomic_load_explicit(&heaps[i], memory_order_acquire);
		lock_take(&h->lock);
		r = take_from(h, count, align, arena);
		lock_drop(&h->lock);
		if (r)
			return r;
	}
	return NULL;
}

bool heap_take_after(struct region *r, size_t count, struct arena *arena)
{
	struct heap *h = r->heap;
	size_t first = region_index(r) + 1;
	bool ok;

	lock_take(&h->lock);
	ok = first + count <= h->region_count;
	for (size_t i = first; ok && i < first + count && i < h->top; i++)
		ok = get_bit(h->available, i);
	if (ok && first + count > h->top)
		ok = heap_grow(h, first + count);
	if (ok)
		hand_out(h, first, count, arena);
	lock_drop(&h->lock);
	return ok;
}

void heap_put(struct region *r, size_t count)
{
	struct heap *h = r->heap;
	size_t first = region_index(r);

	lock_take(&h->lock);
	for (size_t i = first; i < first + count; i++) {
		r = heap_region(h, i);
		atomic_store_explicit(&r->arena, NULL, memory_order_relaxed);
		atomic_store_explicit(&r->used, 0, memory_order_relaxed);
		/* Dirty even where every slice was purged: its page table is still there. */
		make_dirty(h, r, false);
		h->active--;
	}
	COUNT_ADD(emptied, count);
	lock_drop(&h->lock);
}

void heap_filled(struct region *r)
{
	struct heap *h = r->heap;

	lock_take(&h->lock);
	if (r->state == REGION_RELEASING) {
		r->filled = true;
	} else if (r->state == REGION_CLEAN) {
		COUNT_SUB(clean_regions, 1);
		make_dirty(h, r, false);
	}
	lock_drop(&h->lock);
}

/* ---- Demand ------------------------------------------------------------------------------------------------------ */

/*
 * The most regions that were in use at once during the last decay time are likely to be needed again. What is free
 * beyond that was not needed for as long, whichever regions it is made of.
 */

void heap_pass_tick(struct heap *h)
{
	lock_take(&h->lock);
	for (int i = DEMAND_TICKS - 2; i > 0; i--)
		h->demand[i] = h->demand[i - 1];
	h->demand[0] = h->peak;
	h->peak = h->active;
	h->outgrown_lately = 0;
	lock_drop(&h->lock);
}

size_t heap_surplus(struct heap *h)
{
	size_t needed, have, dirty;

	lock_take(&h->lock);
	needed = h->peak;
	for (int i = 0; i < DEMAND_TICKS - 1; i++)
		needed = max_size(needed, h->demand[i]);
	dirty = h->dirty.count + h->lazy.count;
	have = h->active + dirty;
	lock_drop(&h->lock);
	return have > needed ? min_size(have - needed, dirty) : 0;
}

/* ---- Release ----------------------------------------------------------------------------------------------------- */

/* Takes up to LIMIT regions, the oldest first, out of the pool: from here on they are nobody's. */
static size_t take_out(struct heap *h, size_t limit, bool lazy_too, struct region **batch)
{
	size_t n = 0;

	lock_take(&h->lock);
	while (n < limit) {
		struct region *r = lazy_too && h->lazy.oldest ? h->lazy.oldest : h->dirty.oldest;

		if (!r)
			break;
		unlink_dirty(h, r);
		clear_available(h, region_index(r));
		r->state = REGION_RELEASING;
		list_add(&h->releasing, r);
		batch[n++] = r;
	}
	COUNT_ADD(releasing_regions, n);
	lock_drop(&h->lock);
	return n;
}

static void sort_by_address(struct region **batch, size_t n)
{
	for (size_t i = 1; i < n; i++) {
		struct region *r = batch[i];
		size_t at = i;

		for (; at && batch[at - 1]->base > r->base; at--)
			batch[at] = batch[at - 1];
		batch[at] = r;
	}
}

static struct region *region_at(void *base)
{
	for (int i = 0; i < HEAPS_MAX; i++) {
		struct heap *h = atomic_load_explicit(&heaps[i], memory_order_acquire);
		size_t offset = h ? (size_t)((char *)base - h->base) : 0;

		CHECK_DEBUG(h);
		if (offset >> REGION_SHIFT < h->region_count)
			return heap_region(h, offset >> REGION_SHIFT);
	}
	return NULL;
}

/* What the kernel's answer makes of a region. The lock is held. */
static void settle(struct heap *h, struct region *r, int error)
{
	list_remove(&h->releasing, r);
	COUNT_SUB(releasing_regions, 1);
	r->lost = error == RELEASE_LOST;
	if (r->lost) {
		list_add(&h->lost, r);
	} else if (error) {
		make_dirty(h, r, false);
	} else {
		limit_sub((size_t)count_ones(r->touched) * PAGES_PER_SLICE);
		atomic_store_explicit(&r->touched, 0, memory_order_relaxed);
		if (r->filled)
			make_dirty(h, r, false);
		else
			make_clean(h, r);
		r->filled = false;
	}
}

/* The kernel has answered: the regions are available again, as clean or, if it refused, as dirty. */
static void end_release(void *arg, void *base, size_t bytes, int error)
{
	struct region *r = region_at(base);
	struct heap *h = r->heap;
	size_t *released = arg, count = bytes >> REGION_SHIFT;

	/* Before they are settled: who sees that no release is under way finds all of them counted. */
	if (error)
		COUNT_ADD(release_failures, 1);
	else
		COUNT_ADD(releases, count);
	lock_take(&h->lock);
	for (size_t i = 0; i < count; i++)
		settle(h, r - i, error);
	lock_drop(&h->lock);
	if (!error && released)
		*released += bytes;
}

/*
 * The descriptors of R and the COUNT - 1 regions after it, as a range: free slices' hold nothing. But to the first of all null
 * pointers lead, and it never is zero: see slab_block_of_thread.
 */
static struct iovec descriptors(const struct region *r, size_t count)
{
	size_t kept = r->slices == heap_first.slices;

	return (struct iovec){r->slices + kept * SLICES_PER_REGION, (count - kept) * PAGE_BYTES};
}

/* Adjacent regions become one range; of each the page of descriptors goes too. */
static void release_batch(struct region **batch, size_t n, size_t *released, bool later)
{
	struct iovec ranges[BATCH_REGIONS], pages[BATCH_REGIONS];
	struct release_request q = {.ranges = ranges, .pages = pages, .answer = end_release, .arg = released};
	size_t longest = release_run_regions();

	for (size_t i = 0, run; i < n; i += run) {
		for (run = 1; run < longest && i + run < n;)
			if (batch[i + run]->base != batch[i]->base + run * REGION_BYTES)
				break;
			else
				run++;
		ranges[q.n++] = (struct iovec){batch[i]->base, run * REGION_BYTES};
		pages[q.n_pages] = descriptors(batch[i], run);
		q.n_pages += pages[q.n_pages].iov_len != 0;
	}
	release_regions(&q, later);
}

/*
 * Tries to map anew what an earlier release has lost. Meanwhile it is being released as any other: a second try, when the
 * first has made it somebody's, would wipe it.
 */
static void recover(struct heap *h)
{
	struct region *r;

	if (release_is_restricted())
		return;
	lock_take(&h->lock);
	r = h->lost.oldest;
	if (r) {
		list_remove(&h->lost, r);
		list_add(&h->releasing, r);
		COUNT_ADD(releasing_regions, 1);
	}
	lock_drop(&h->lock);
	if (r)
		end_release(NULL, r->base, REGION_BYTES, release_recover(r->base, REGION_BYTES) ? 0 : RELEASE_LOST);
}

static size_t all_dirty(struct heap *h)
{
	size_t n;

	lock_take(&h->lock);
	n = h->dirty.count + h->lazy.count;
	lock_drop(&h->lock);
	return n;
}

size_t heap_release(struct heap *h, size_t limit, bool later)
{
	struct region *batch[BATCH_REGIONS];
	size_t n, released = 0, given = 0;

	recover(h);
	limit = min_size(limit, all_dirty(h)); /* what is refused is dirty again, but was tried */
	while (given < limit && (n = take_out(h, min_size(limit - given, BATCH_REGIONS), true, batch))) {
		sort_by_address(batch, n);
		release_batch(batch, n, later ? NULL : &released, later);
		given += n;
	}
	return later ? given * REGION_BYTES : released;
}

size_t heap_release_outgrown(struct heap *h, bool later)
{
	size_t n;

	lock_take(&h->lock);
	n = h->outgrown;
	h->outgrown = 0;
	lock_drop(&h->lock);
	return n ? heap_release(h, n, later) : 0;
}

/*
 * The mark is made while a region is nobody's, as a release is: a mark that came late would let the kernel take live
 * data.
 */
void heap_make_lazy(struct heap *h)
{
	struct region *batch[BATCH_REGIONS];
	struct iovec ranges[BATCH_REGIONS];
	size_t n;

	while ((n = take_out(h, BATCH_REGIONS, false, batch))) {
		for (size_t i = 0; i < n; i++)
			ranges[i] = (struct iovec){batch[i]->base, REGION_BYTES};
		COUNT_ADD(lazy_bytes, release_lazily(ranges, n));
		lock_take(&h->lock);
		for (size_t i = 0; i < n; i++) {
			list_remove(&h->releasing, batch[i]);
			make_dirty(h, batch[i], true);
		}
		lock_drop(&h->lock);
		COUNT_SUB(releasing_regions, n);
	}
}

/* ---- Fork -------------------------------------------------------------------------------------------------------- */

/* Whether R is mapped: a call of the parent's may have failed, and left a hole, without having said so yet. */
static bool is_mapped(struct region *r)
{
	unsigned char resident;

	return os_resident(r->base, PAGE_BYTES, &resident) != ENOMEM;
}

/* R, in no list, was being released by the parent. */
static void adopt_releasing(struct heap *h, struct region *r)
{
	r->lost = r->lost || !is_mapped(r);
	if (r->lost)
		list_add(&h->lost, r);
	else
		make_dirty(h, r, false);
}

void pool_after_fork(struct heap *h)
{
	struct region *r, *next;

	for (r = h->releasing.oldest; r; r = next) {
		next = r->next;
		list_remove(&h->releasing, r);
		adopt_releasing(h, r);
	}
}

/* Where a thread was about to take R back or hand it out, it is available: one not handed out yet holds nothing. */
static void relist(struct heap *h, struct region *r)
{
	switch ((enum region_state)r->state) {
	case REGION_UNTOUCHED:
	case REGION_CLEAN:
		make_clean(h, r);
		break;
	case REGION_DIRTY:
		make_dirty(h, r, r->lazy);
		break;
	case REGION_RELEASING:
		adopt_releasing(h, r);
		break;
	case REGION_ACTIVE:
		if (atomic_load_explicit(&r->arena, memory_order_relaxed))
			h->active++;
		else
			make_dirty(h, r, false);
		break;
	}
}

void pool_rebuild(struct heap *h)
{
	h->dirty = h->lazy = h->releasing = h->lost = (struct region_list){0};
	h->active = h->lowest = 0;
	for (size_t i = 0; i < h->top; i++) {
		struct region *r = heap_region(h, i);

		clear_available(h, i);
		r->next = r->prev = NULL;
		relist(h, r);
	}
	h->peak = max_size(h->peak, h->active);
}

void pool_count_again(void)
{
	size_t dirty = 0, clean = 0;

	for (int i = 0; i < HEAPS_MAX && heaps[i]; i++) {
		dirty += heaps[i]->dirty.count + heaps[i]->lazy.count;
		for (size_t at = 0; at < heaps[i]->top; at++)
			clean += heap_region(heaps[i], at)->state == REGION_CLEAN;
	}
	atomic_store_explicit(&heap_counters.dirty_regions, dirty, memory_order_relaxed);
	atomic_store_explicit(&heap_counters.clean_regions, clean, memory_order_relaxed);
}
