/* SPDX-License-Identifier: MIT */
/*
 * Extents in regions. Each arena's lock guards its lists and the fields of its regions; creation is under
 * create_lock.
 */
#include <string.h>

#include "conf/options.h"
#include "heap/arena.h"
#include "heap/huge.h"
#include "os/os.h"
#include "release/release.h"

enum { HALF_REGION = SLICES_PER_REGION / 2 };

struct arena *_Atomic arenas[ARENAS_MAX];
_Atomic size_t arena_dirty_slices;
_Atomic size_t arena_kept_slices;
bool arena_guards;
static struct lock create_lock;
static unsigned spread; /* over so many arenas threads are spread; constant after arena_init */

/* ---- Arenas and threads ------------------------------------------------------------------------------------------ */

/* At start, as a sandbox may allow no such questions later. */
void arena_init(void)
{
	spread = OPTION(arenas) ? (unsigned)OPTION(arenas) : os_cpus();
}

struct arena *arena_get(unsigned index)
{
	struct arena *a = atomic_load_explicit(&arenas[index], memory_order_acquire);

	if (a)
		return a;
	lock_take(&create_lock);
	a = atomic_load_explicit(&arenas[index], memory_order_acquire);
	if (!a && (a = meta_alloc(sizeof *a))) {
		a->index = index;
		atomic_store_explicit(&arenas[index], a, memory_order_release);
	}
	lock_drop(&create_lock);
	return a;
}

unsigned arena_count(void)
{
	unsigned n = 0;

	for (int i = 0; i < ARENAS_MAX; i++)
		n += atomic_load_explicit(&arenas[i], memory_order_relaxed) != NULL;
	return n;
}

static unsigned threads_in(unsigned index)
{
	struct arena *a = atomic_load_explicit(&arenas[index], memory_order_acquire);

	return a ? atomic_load_explicit(&a->threads, memory_order_relaxed) : 0;
}

static bool is_retired(unsigned index)
{
	struct arena *a = atomic_load_explicit(&arenas[index], memory_order_acquire);

	return a && atomic_load_explicit(&a->retired, memory_order_relaxed);
}

struct arena *arena_assign(void)
{
	unsigned first = ARENAS_MAX, best = ARENAS_MAX, usable = 0;
	struct arena *a;

	for (unsigned i = 0; i < ARENAS_MAX && usable < spread; i++) {
		if (is_retired(i))
			continue;
		usable++;
		if (best == ARENAS_MAX || threads_in(i) < threads_in(best))
			best = i;
		first = min_size(first, i);
	}
	a = best < ARENAS_MAX ? arena_get(best) : NULL;
	if (UNLIKELY(!a) && best != first) /* there is no memory for another */
		a = arena_get(first);
	if (a)
		atomic_fetch_add_explicit(&a->threads, 1, memory_order_relaxed);
	return a;
}

void arena_unassign(struct arena *a)
{
	atomic_fetch_sub_explicit(&a->threads, 1, memory_order_relaxed);
}

/* ---- Regions of an arena ----------------------------------------------------------------------------------------- */

static uint32_t get(_Atomic uint32_t *bits)
{
	return atomic_load_explicit(bits, memory_order_relaxed);
}

static void set(_Atomic uint32_t *bits, uint32_t value)
{
	atomic_store_explicit(bits, value, memory_order_relaxed);
}

static uint32_t mask_of(size_t first, size_t count)
{
	return (uint32_t)((((uint64_t)1 << count) - 1) << first);
}

/* The slices of region number I of an extent that begins at slice FIRST of its first region and is COUNT long. */
static uint32_t part(size_t first, size_t count, size_t i)
{
	size_t begin_at = i * SLICES_PER_REGION, end = first + count;

	if (end <= begin_at)
		return 0;
	end = min_size(end - begin_at, SLICES_PER_REGION);
	return i ? mask_of(0, end) : mask_of(first, end - first);
}

/* Bit per multiple of ALIGN. */
static uint32_t aligned_positions(size_t align)
{
	static const uint32_t positions[] = {0xffffffff, 0x55555555, 0x11111111, 0x01010101, 0x00010001, 1};

	return positions[__builtin_ctzl(align)];
}

/* Mostly it is one slice, a slab. */
static size_t count_slices(uint32_t mask)
{
	return mask & (mask - 1) ? count_ones(mask) : mask != 0;
}

/* Calls WHAT for each run of slices in MASK. */
static int for_runs(struct region *r, uint32_t mask, int (*what)(void *, size_t))
{
	int error = 0;

	while (mask) {
		size_t at = (size_t)__builtin_ctz(mask), run = (size_t)__builtin_ctzll(~((uint64_t)mask >> at));

		error |= what(r->base + (at << SLICE_SHIFT), run << SLICE_SHIFT);
		mask &= ~mask_of(at, run);
	}
	return error;
}

/* Makes slices of R inaccessible; what they held is gone. False: they are as accessible as before. */
static bool close_slices(struct region *r, uint32_t mask)
{
	uint32_t touched = get(&r->touched);

	if (!mask)
		return false;
	if (for_runs(r, mask, os_guard)) {
		for_runs(r, mask, os_unguard); /* one run may have been done */
		return false;
	}
	r->guarded |= mask;
	set(&r->touched, touched & ~mask);
	limit_sub((size_t)count_ones(touched & mask) * PAGES_PER_SLICE);
	return true;
}

static void open_slices(struct region *r, uint32_t mask)
{
	for_runs(r, mask & r->guarded, os_unguard);
	r->guarded &= ~mask;
}

/* With arena_guards, as USED is about to be R's. */
static COLD void guard_changes(struct region *r, uint32_t used, uint32_t touched)
{
	open_slices(r, used & ~get(&r->used));
	close_slices(r, get(&r->used) & ~used & ~touched & ~r->guarded);
}

/* The same where slices are freed: a region that holds nothing more is accessible. */
static COLD void guard_freed(struct region *r, uint32_t used)
{
	if (used)
		guard_changes(r, used, get(&r->touched));
	else
		open_slices(r, ~(uint32_t)0);
}

/* Keeps lists and counters true. Inlined, as every slab that comes or goes passes here. */
static inline __attribute__((always_inline)) void change(struct arena *a, struct region *r, uint32_t used,
							 uint32_t touched)
{
	uint32_t was = get(&r->used), freed = was & ~used, before = ~was & get(&r->touched), after = ~used & touched;

	set(&r->used, used);
	set(&r->touched, touched);
	r->aged &= ~used;
	r->slabs &= used;
	r->longs &= used;
	if (after != before)
		atomic_fetch_add_explicit(&arena_dirty_slices,
					  count_slices(after & ~before) - count_slices(before & ~after),
					  memory_order_relaxed);
	bins_relist(a->bins, r, used, freed);
}

/* Every other change of a region's use goes through here. */
static NOINLINE void update(struct arena *a, struct region *r, uint32_t used, uint32_t touched)
{
	if (UNLIKELY(arena_guards))
		guard_changes(r, used, touched);
	change(a, r, used, touched);
}

/* Frees slices of R; an R that holds nothing more goes back to its heap. */
static void free_slices(struct arena *a, struct region *r, uint32_t mask)
{
	uint32_t used = get(&r->used) & ~mask;

	CHECK_DEBUG((get(&r->used) & mask) == mask);
	if (mask & 1)
		r->spanning = NULL;
	if (UNLIKELY(arena_guards))
		guard_freed(r, used);
	/* What empties is not counted as dirty here any more: the heap counts it. */
	change(a, r, used ? used : ~(uint32_t)0, get(&r->touched));
	if (!used)
		heap_put(r, 1);
}

/* ---- Extents ----------------------------------------------------------------------------------------------------- */

static void clear(struct region *r, uint32_t mask, uint32_t touched)
{
	for (uint32_t dirty = mask & touched; dirty; dirty &= dirty - 1)
		memset(r->base + ((size_t)__builtin_ctz(dirty) << SLICE_SHIFT), 0, SLICE_BYTES);
}

static struct slice *begin(struct region *r, size_t at, size_t count)
{
	struct slice *s = r->slices + at;

	s->base = r->base + (at << SLICE_SHIFT);
	atomic_store_explicit(&s->region, r, memory_order_relaxed);
	SLICE_SET(s, slices, (uint32_t)count);
	return s;
}

/* How many pages from the start of R's slice AT on, which is free, may hold other than zero. */
static unsigned dirty_pages(struct region *r, size_t at)
{
	if (!(get(&r->touched) >> at & 1))
		return 0;
	return r->partly >> at & 1 ? r->dirt[at] : PAGES_PER_SLICE;
}

/*
 * Those of STARTS that fit best what will touch WANTED pages: dirty enough with the least beyond, or else the dirtiest. If
 * each slab took what comes, all slices would come to be as dirty as the one that was used most.
 */
static uint32_t best_fits(struct region *r, uint32_t touched, uint32_t starts, unsigned wanted)
{
	uint32_t spent = starts & touched & ~r->partly, best = 0;
	unsigned least = ~0u;

	if (LIKELY(wanted == PAGES_PER_SLICE && spent))
		return spent;
	for (; starts; starts &= starts - 1) {
		unsigned dirty = dirty_pages(r, (size_t)__builtin_ctz(starts));
		unsigned misfit = dirty >= wanted ? dirty - wanted : 2 * PAGES_PER_SLICE - dirty;

		best = misfit < least ? 0 : best;
		least = misfit < least ? misfit : least;
		best |= misfit == least ? starts & -starts : 0;
	}
	return best;
}

/*
 * Single slices, which are slabs, come from the top of a region and longer extents from its bottom: they stay apart,
 * and a second free of a large block seldom meets a slab that took its place. Longer slabs among the single ones would
 * find no room there (node's calls: 6 % more memory); with guards they stay apart from large blocks all the same.
 */
static size_t position(struct region *r, uint32_t touched, uint32_t starts, size_t count, bool slab, unsigned wanted)
{
	if (count == 1 || (slab && arena_guards))
		return 31 - (size_t)__builtin_clz(best_fits(r, touched, starts, wanted));
	wanted = (unsigned)min_size(wanted * count, PAGES_PER_SLICE);
	return (size_t)__builtin_ctz(best_fits(r, touched, starts, wanted));
}

/* The slices of MASK are to be touched: pages that R does not hold yet. */
static size_t pages_more(struct region *r, uint32_t mask)
{
	return (size_t)count_ones(mask & ~get(&r->touched)) * PAGES_PER_SLICE;
}

/* How many sixteenths at the end of slices AT to AT + COUNT - 1 of R hold zero. */
static NOINLINE unsigned clean_parts(struct region *r, size_t at, size_t count)
{
	unsigned pages = 0, more = PAGES_PER_SLICE;

	for (size_t left = count; left-- && more == PAGES_PER_SLICE; pages += more)
		more = PAGES_PER_SLICE - dirty_pages(r, at + left);
	return pages / (unsigned)count;
}

/* Slices AT to AT + COUNT - 1 of R, MASK, become a slab. TOUCHED: before that. */
static inline void take_clean_parts(struct region *r, size_t at, size_t count, uint32_t mask, uint32_t touched)
{
	unsigned clean = 0;

	if (UNLIKELY(mask & (r->partly | ~touched))) {
		clean = clean_parts(r, at, count);
		r->partly &= ~mask;
	}
	SLICE_SET(r->slices + at, clean, (uint8_t)clean);
}

/* S, a slab, ends: what is known of its pages is left with its slices, for the next one. */
static void leave_clean_parts(const struct slice *s, struct region *r, size_t at)
{
	size_t dirty;

	if (LIKELY(!s->clean && s->slices == 1))
		return;
	dirty = slice_dirty_parts(s) * s->slices; /* a sixteenth is a page of each slice */
	for (unsigned i = 0; i < s->slices; i++) {
		size_t here = min_size(dirty, PAGES_PER_SLICE);

		r->dirt[at + i] = (uint8_t)here;
		r->partly |= here < PAGES_PER_SLICE ? mask_of(at + i, 1) : 0;
		dirty -= here;
	}
}

/* S, a slab of A, ends: that more was carved than expected is learned at once, of less by and by. */
static void learn(struct arena *a, const struct slice *s)
{
	unsigned known = atomic_load_explicit(&a->carved[s->class], memory_order_relaxed), now;

	if (LIKELY(known == SLAB_PARTS && s->carved == s->capacity))
		return;
	now = (unsigned)max_size(slice_carved_parts(s), 1);
	if (now < known)
		now = known - (known - now + 3) / 4;
	atomic_store_explicit(&a->carved[s->class], (uint8_t)now, memory_order_relaxed);
}

/* WANTED: so many sixteenths of it are going to be touched. */
static struct slice *take_short(struct arena *a, size_t count, size_t align, bool slab, unsigned wanted, bool want_zero,
				struct growth *g)
{
	struct region *r, *fresh = NULL;
	uint32_t starts, mask, used, touched;
	size_t at;

	lock_take(&a->lock);
	r = bins_pick(a->bins, count, align, slab);
	if (!r)
		huge_before_take(&a->filling);
	if (!r && !(r = fresh = heap_take(1, 1, a))) {
		lock_drop(&a->lock);
		return NULL;
	}
	if (fresh)
		huge_after_take(&a->filling, fresh);
	used = fresh ? 0 : get(&r->used);
	touched = get(&r->touched);
	starts = ~used;
	if (UNLIKELY(count * align > 1)) {
		starts = bins_run_starts(starts, count) & aligned_positions(align);
		/* What lies below a block can be guarded if it is of the same region. */
		if (arena_guards && starts != 1)
			starts &= ~(uint32_t)1;
	}
	at = position(r, touched, starts, count, slab, wanted);
	mask = mask_of(at, count);
	if (mask & ~touched && !limit_charge(g, pages_more(r, mask))) {
		if (fresh)
			heap_put(fresh, 1);
		lock_drop(&a->lock);
		return NULL;
	}
	if (slab) {
		r->slabs |= mask;
		take_clean_parts(r, at, count, mask, touched);
	} else {
		r->partly &= ~mask;
		r->longs |= count > HALF_REGION ? mask : 0;
	}
	if (UNLIKELY(arena_guards))
		guard_changes(r, used | mask, touched | mask);
	change(a, r, used | mask, touched | mask);
	lock_drop(&a->lock);
	if (want_zero)
		clear(r, mask, touched);
	return begin(r, at, count);
}

/* Regions from the heap for COUNT slices, which are charged. */
static struct region *take_regions(struct arena *a, size_t count, size_t align, struct growth *g)
{
	size_t regions = (count + SLICES_PER_REGION - 1) / SLICES_PER_REGION, pages = 0;
	struct region *first;

	if (limit_forbids(g, count * PAGES_PER_SLICE))
		return NULL;
	huge_before_long_take(regions);
	first = heap_take(regions, align, a);
	for (size_t i = 0; first && i < regions; i++)
		pages += pages_more(first - i, part(0, count, i));
	if (first && !limit_charge(g, pages)) {
		heap_put(first, regions);
		first = NULL;
	}
	return first;
}

static struct slice *take_long(struct arena *a, size_t count, size_t align, bool want_zero, struct growth *g)
{
	size_t regions = (count + SLICES_PER_REGION - 1) / SLICES_PER_REGION;
	struct region *first;

	lock_take(&a->lock);
	first = take_regions(a, count, max_size(align / SLICES_PER_REGION, 1), g);
	for (size_t i = 0; first && i < regions; i++) {
		struct region *r = first - i;
		uint32_t mask = part(0, count, i), touched = get(&r->touched);

		r->spanning = i ? first->slices : NULL;
		r->to_clear = touched & mask;
		r->longs = count > HALF_REGION ? mask : 0;
		r->partly &= ~mask;
		update(a, r, mask, touched | mask);
	}
	lock_drop(&a->lock);
	for (size_t i = 0; first && want_zero && i < regions; i++)
		clear(first - i, ~(uint32_t)0, (first - i)->to_clear);
	return first ? begin(first, 0, count) : NULL;
}

struct slice *arena_take(struct arena *a, size_t count, size_t align, bool clear, struct growth *g)
{
	g->met = LIMIT_NONE;
	if (count > UINT32_MAX)
		return NULL;
	if (count >= SLICES_PER_REGION || align > SLICES_PER_REGION)
		return take_long(a, count, align, clear, g);
	return take_short(a, count, align, false, SLAB_PARTS, clear, g);
}

struct slice *arena_take_slab(struct arena *a, unsigned class, size_t count, struct growth *g)
{
	g->met = LIMIT_NONE;
	return take_short(a, count, 1, true, arena_expected(a, class), false, g);
}

static size_t first_slice(const struct slice *s)
{
	return (size_t)(s - s->region->slices);
}

uint32_t arena_mask(const struct slice *s)
{
	return part(first_slice(s), s->slices, 0);
}

void arena_put(struct slice *s)
{
	struct region *r = s->region;
	struct arena *a = atomic_load_explicit(&r->arena, memory_order_relaxed);
	size_t first = first_slice(s), count = s->slices;

	lock_take(&a->lock);
	if (s->kind == SLICE_SLAB) {
		leave_clean_parts(s, r, first);
		learn(a, s);
		/* A slice that is touched counts whole: what was purged of the slab is in it again. */
		if (s->purged)
			limit_add(slice_purged_pages(s));
	}
	slice_set_kind(s, SLICE_FREE);
	s->bound = 0;
	for (size_t i = 0; !a->retired && i * SLICES_PER_REGION < first + count; i++)
		free_slices(a, r - i, part(first, count, i));
	lock_drop(&a->lock);
}

bool arena_guard(struct slice *s)
{
	struct region *r = s->region;
	struct arena *a = atomic_load_explicit(&r->arena, memory_order_relaxed);
	size_t first = first_slice(s), count = s->slices;
	bool done = true;

	lock_take(&a->lock);
	for (size_t i = 0; i * SLICES_PER_REGION < first + count; i++)
		done = !a->retired && close_slices(r - i, part(first, count, i)) && done;
	lock_drop(&a->lock);
	return done;
}

/* S is COUNT slices long from now on; with that it may have become a long extent, or ceased to be one. */
static void set_length(struct slice *s, size_t count)
{
	size_t first = first_slice(s);

	for (size_t i = 0; i * SLICES_PER_REGION < first + count; i++) {
		struct region *r = s->region - i;
		uint32_t mask = part(first, count, i);

		r->longs = count > HALF_REGION ? r->longs | mask : r->longs & ~mask;
	}
	SLICE_SET(s, slices, (uint32_t)count);
}

static void shrink(struct arena *a, struct slice *s, size_t count)
{
	size_t first = first_slice(s), old = s->slices;

	set_length(s, count);
	for (size_t i = 0; i * SLICES_PER_REGION < first + old; i++) {
		uint32_t surplus = part(first, old, i) & ~part(first, count, i);

		if (surplus)
			free_slices(a, s->region - i, surplus);
	}
}

static bool extend(struct arena *a, struct slice *s, size_t count, struct growth *g)
{
	size_t first = first_slice(s), last = (first + s->slices - 1) / SLICES_PER_REGION;
	size_t new_last = (first + count - 1) / SLICES_PER_REGION;
	struct region *tail = s->region - last;
	uint32_t more = part(first, count, last) & ~part(first, s->slices, last);
	size_t pages;

	/*
	 * A long extent of several regions that begins within one could never be moved by page tables: let it move
	 * once, by copying.
	 */
	if (first && count > HALF_REGION && first + count > SLICES_PER_REGION)
		return false;
	if ((get(&tail->used) & more) || (new_last > last && !heap_take_after(tail, new_last - last, a)))
		return false;
	pages = pages_more(tail, more);
	for (size_t i = last + 1; i <= new_last; i++)
		pages += pages_more(s->region - i, part(first, count, i));
	if (!limit_charge(g, pages)) {
		if (new_last > last)
			heap_put(tail - 1, new_last - last);
		return false;
	}
	set_length(s, count);
	tail->partly &= ~more;
	if (more)
		update(a, tail, get(&tail->used) | more, get(&tail->touched) | more);
	for (size_t i = last + 1; i <= new_last; i++) {
		struct region *r = s->region - i;

		r->spanning = s;
		r->partly &= ~part(first, count, i);
		update(a, r, part(first, count, i), get(&r->touched) | part(first, count, i));
	}
	return true;
}

bool arena_resize(struct slice *s, size_t count, struct growth *g)
{
	struct arena *a = atomic_load_explicit(&s->region->arena, memory_order_relaxed);
	bool ok = true;

	g->met = LIMIT_NONE;
	if (count > UINT32_MAX)
		return false;
	lock_take(&a->lock);
	if (a->retired)
		ok = count <= s->slices;
	else if (count > s->slices)
		ok = extend(a, s, count, g);
	else
		shrink(a, s, count);
	lock_drop(&a->lock);
	return ok;
}

void arena_set_zero(struct slice *s, size_t regions, struct growth *g)
{
	limit_open();
	for (size_t i = 0; i < regions; i++) {
		struct region *r = s->region - i;
		size_t pages = (size_t)count_ones(get(&r->touched)) * PAGES_PER_SLICE;
		size_t known = g ? min_size(g->credit, pages) : 0;

		set(&r->touched, 0);
		limit_sub(pages - known);
		if (known)
			g->credit -= known;
	}
	limit_close();
}

void arena_filled(struct region *r)
{
	struct arena *a = atomic_load_explicit(&r->arena, memory_order_acquire);
	bool ours = false;

	if (a) {
		lock_take(&a->lock);
		ours = r->state == REGION_ACTIVE && atomic_load_explicit(&r->arena, memory_order_relaxed) == a;
		if (ours && !a->retired && ~get(&r->touched)) {
			limit_add(pages_more(r, ~(uint32_t)0));
			update(a, r, get(&r->used), ~(uint32_t)0);
		}
		lock_drop(&a->lock);
	}
	if (!ours)
		heap_filled(r);
}

/* ---- Purge ------------------------------------------------------------------------------------------------------- */

enum { PURGE_RANGES = RELEASE_RANGES, RUNS_MAX = SLICES_PER_REGION / 2 };

/* Slices that were taken out, in runs, until the kernel has answered for them all in one call. */
struct purge {
	size_t n;
	struct iovec ranges[PURGE_RANGES];
	struct region *regions[PURGE_RANGES];
};

/* Takes idle slices of R out: marked as used, they are nobody's. *KEPT counts those that stay where they are. */
static uint32_t begin_purge(struct region *r, bool aged_only, size_t *kept)
{
	struct arena *a = atomic_load_explicit(&r->arena, memory_order_acquire);
	uint32_t idle, target = 0;

	if (!a || !(~get(&r->used) & get(&r->touched)))
		return 0;
	if (aged_only && huge_keeps_whole(r)) {
		*kept += count_ones(~get(&r->used) & get(&r->touched));
		return 0;
	}
	lock_take(&a->lock);
	if (!a->retired && r->state == REGION_ACTIVE && atomic_load_explicit(&r->arena, memory_order_relaxed) == a) {
		idle = ~get(&r->used) & get(&r->touched);
		target = aged_only ? idle & r->aged : idle;
		r->aged = idle;
		if (target)
			update(a, r, get(&r->used) | target, get(&r->touched));
	}
	lock_drop(&a->lock);
	if (target)
		huge_split(r, r->base + ((size_t)__builtin_ctz(target) << SLICE_SHIFT));
	return target;
}

static void add_runs(struct purge *p, struct region *r, uint32_t mask)
{
	while (mask) {
		size_t at = (size_t)__builtin_ctz(mask), run = (size_t)__builtin_ctzll(~((uint64_t)mask >> at));

		p->ranges[p->n] = (struct iovec){r->base + (at << SLICE_SHIFT), run << SLICE_SHIFT};
		p->regions[p->n++] = r;
		mask &= ~mask_of(at, run);
	}
}

/* The kernel has answered for a run: it is free again, and clean if it was dropped. */
static void end_purge(struct region *r, const struct iovec *range, bool dropped)
{
	struct arena *a = atomic_load_explicit(&r->arena, memory_order_acquire);
	size_t first = (size_t)((char *)range->iov_base - r->base) >> SLICE_SHIFT;
	uint32_t mask = mask_of(first, range->iov_len >> SLICE_SHIFT);

	lock_take(&a->lock);
	if (!a->retired) {
		if (dropped) {
			set(&r->touched, get(&r->touched) & ~mask);
			limit_sub((size_t)count_ones(mask) * PAGES_PER_SLICE);
		}
		free_slices(a, r, mask);
	}
	lock_drop(&a->lock);
}

static size_t run_purge(struct purge *p)
{
	uint64_t refused[(PURGE_RANGES + 63) / 64] = {0};
	size_t bytes = release_pages(p->ranges, p->n, refused);

	for (size_t i = 0; i < p->n; i++)
		end_purge(p->regions[i], &p->ranges[i], !(refused[i / 64] >> i % 64 & 1));
	p->n = 0;
	return bytes;
}

size_t arena_purge(struct heap *h, bool aged_only)
{
	size_t top = atomic_load_explicit(&h->top, memory_order_acquire), bytes = 0, kept = 0;
	struct purge p = {.n = 0};

	atomic_fetch_add_explicit(&limit_dropping, 1, memory_order_relaxed);
	for (size_t i = 0; i < top; i++) {
		add_runs(&p, heap_region(h, i), begin_purge(heap_region(h, i), aged_only, &kept));
		if (p.n > PURGE_RANGES - RUNS_MAX)
			bytes += run_purge(&p);
	}
	bytes += run_purge(&p);
	atomic_fetch_sub_explicit(&limit_dropping, 1, memory_order_relaxed);
	atomic_store_explicit(&arena_kept_slices, kept, memory_order_relaxed);
	COUNT_ADD(purged_bytes, bytes);
	return bytes;
}

/* ---- Fork -------------------------------------------------------------------------------------------------------- */

bool arena_after_fork(void)
{
	bool torn = false;

	for (int i = 0; i < ARENAS_MAX; i++) {
		struct arena *a = atomic_load_explicit(&arenas[i], memory_order_relaxed);

		if (!a)
			continue;
		atomic_store_explicit(&a->threads, 0, memory_order_relaxed); /* the caller's is counted anew */
		if (!lock_held(&a->lock))
			continue;
		a->retired = torn = true;
		lock_reset(&a->lock);
	}
	if (lock_held(&create_lock))
		lock_reset(&create_lock);
	return torn;
}
