/* SPDX-License-Identifier: MIT */
/*
 * Statistics are counted when somebody asks, by walking the descriptors: nothing is counted on the fast paths. The
 * walk takes no lock of an arena or a cache, so each figure is one that was true of its slab at some moment; what it
 * reads of a descriptor is written atomically, and checked before it is used.
 */
#include <string.h>

#include "api/alloc.h"
#include "api/stats.h"
#include "cache/held.h"
#include "cache/memcheck.h"
#include "check/guard.h"
#include "heap/waiting.h"
#include "os/os.h"

/* What is found in one region. */
struct finding {
	uint64_t classes[2]; /* bit per class that has a slab here */
	size_t live_bytes;
	size_t free_bytes; /* in slabs */
	size_t idle_bytes; /* of those, purged or never touched */
	bool large;
};

struct walk {
	struct pmd_stats *stats;
	struct stats_detail *detail; /* may be NULL */
	size_t spanning;             /* slices of the large block seen last that lie in the regions that follow */
};

static struct stats_holder *holder(struct walk *w, unsigned class)
{
	return w->detail ? &w->detail->holders[class] : NULL;
}

/* ---- Slabs ------------------------------------------------------------------------------------------------------- */

/* Bytes of S on pages that were given back, or not touched since. */
static size_t idle_bytes(const struct slice *s, unsigned class)
{
	size_t all = (size_t)class_slices(class) << SLICE_SHIFT;
	size_t purged = count_ones(purged_get(s)) * (all / SLAB_PARTS);
	size_t carved = align_up((size_t)SLICE_GET(s, carved) * class_size(class), PAGE_BYTES);
	size_t clean = min_size(SLICE_GET(s, clean), SLAB_PARTS) * (all / SLAB_PARTS);

	return purged + (carved < all ? min_size(clean, all - carved) : 0);
}

static void count_slab(struct walk *w, struct finding *f, unsigned class, size_t live, size_t free)
{
	struct stats_holder *h = holder(w, class);
	size_t size = class_size(class);

	w->stats->slab_bytes += (size_t)class_slices(class) << SLICE_SHIFT;
	w->stats->live_blocks += live;
	w->stats->live_bytes += live * size;
	w->stats->free_blocks += free;
	f->live_bytes += live * size;
	f->free_bytes += free * size;
	f->classes[class / 64] |= (uint64_t)1 << class % 64;
	if (!h)
		return;
	h->slabs++;
	h->live_blocks += live;
	h->live_bytes += live * size;
	h->free_blocks += free;
	h->free_bytes += free * size;
}

enum { TRIES = 8 };

/* Its owner changes count and mark one after the other; what is seen in between is no number of blocks. */
static size_t live_blocks(const struct slice *s, int32_t capacity)
{
	int32_t live = -1;

	for (int i = 0; i < TRIES && (live < 0 || live > capacity); i++)
		live = slab_live(s) - (int32_t)remote_count(atomic_load_explicit(&s->remote, memory_order_relaxed));
	return live < 0 || live > capacity ? 0 : (size_t)live;
}

/* Returns the slab's slices. */
static size_t add_slab(struct walk *w, struct finding *f, const struct slice *s)
{
	unsigned class = SLICE_GET(s, class), state = SLICE_GET(s, state);
	size_t capacity, live;

	if (class >= CLASSES)
		return 1;
	capacity = ((size_t)class_slices(class) << SLICE_SHIFT) / class_size(class);
	live = live_blocks(s, (int32_t)capacity);
	count_slab(w, f, class, live, capacity - live);
	f->idle_bytes += min_size(idle_bytes(s, class), (capacity - live) * class_size(class));
	if (w->detail && state < SLAB_STATES)
		w->detail->slab_states[state]++;
	return class_slices(class);
}

/* ---- Large blocks ------------------------------------------------------------------------------------------------ */

/* BYTES of a large block lie in this region. */
static void add_large_part(struct walk *w, struct finding *f, size_t bytes)
{
	struct stats_holder *h = holder(w, HOLDER_LARGE);

	f->large = true;
	f->live_bytes += bytes;
	w->stats->large_bytes += bytes;
	w->stats->live_bytes += bytes;
	if (h)
		h->live_bytes += bytes;
}

/* A large block that begins at slice I. Returns its slices in this region. */
static size_t add_large(struct walk *w, struct finding *f, const struct slice *s, size_t i)
{
	size_t slices = SLICE_GET(s, slices), here = min_size(slices, SLICES_PER_REGION - i);
	size_t room = here << SLICE_SHIFT, spare = (size_t)SLICE_GET(s, spare) << PAGE_SHIFT;
	struct stats_holder *h = holder(w, HOLDER_LARGE);

	w->spanning = slices - here;
	w->stats->large_blocks++;
	w->stats->live_blocks++;
	if (h)
		h->live_blocks++;
	add_large_part(w, f, room - min_size(spare, room));
	return max_size(here, 1);
}

/* The slices at the start of R that belong to a large block that began in an earlier region. */
static size_t add_spanning(struct walk *w, struct finding *f, const struct region *r)
{
	size_t count = min_size(w->spanning, SLICES_PER_REGION);

	w->spanning -= count;
	if (!count || slice_kind(r->slices) != SLICE_FREE) {
		w->spanning = 0;
		return 0;
	}
	add_large_part(w, f, count << SLICE_SHIFT);
	return count;
}

/* ---- Regions ----------------------------------------------------------------------------------------------------- */

static bool holds(const struct finding *f, unsigned holder)
{
	return holder == HOLDER_LARGE ? f->large : f->classes[holder / 64] >> holder % 64 & 1;
}

/* The only one that holds the region, or HOLDER_SEVERAL; that also for one that is just being handed out or freed. */
static unsigned only_holder(const struct finding *f)
{
	unsigned only = HOLDER_SEVERAL;

	for (unsigned i = 0; i <= HOLDER_LARGE; i++) {
		if (!holds(f, i))
			continue;
		if (only != HOLDER_SEVERAL)
			return HOLDER_SEVERAL;
		only = i;
	}
	return only;
}

static void count_holders(struct walk *w, const struct finding *f, size_t free)
{
	unsigned only = only_holder(f);
	struct stats_holder *h = w->detail->holders;

	h[only].pinned_regions++;
	h[only].pinned_bytes += free;
	h[HOLDER_SEVERAL].regions += only == HOLDER_SEVERAL;
	for (unsigned i = 0; i <= HOLDER_LARGE; i++) {
		h[i].regions += holds(f, i);
		h[i].shared_bytes += holds(f, i) && only == HOLDER_SEVERAL ? free : 0;
	}
}

static void count_occupancy(struct walk *w, size_t live)
{
	w->detail->occupancy[live ? (live - 1) * OCCUPANCIES / REGION_BYTES : 0]++;
	w->detail->occupancy_bytes += live;
}

static void find(struct walk *w, struct finding *f, const struct region *r, uint32_t used)
{
	for (size_t i = add_spanning(w, f, r); i < SLICES_PER_REGION;) {
		const struct slice *s = r->slices + i;

		switch (slice_kind(s)) {
		case SLICE_SLAB:
			i += add_slab(w, f, s);
			break;
		case SLICE_LARGE:
			i += add_large(w, f, s, i);
			break;
		default: /* free, or nobody's: it waits, is being purged, taken or freed */
			f->free_bytes += (used >> i++ & 1) << SLICE_SHIFT;
		}
	}
}

static void add_region(struct walk *w, struct region *r)
{
	uint32_t used = atomic_load_explicit(&r->used, memory_order_relaxed);
	uint32_t touched = atomic_load_explicit(&r->touched, memory_order_relaxed);
	size_t free_slices = (size_t)__builtin_popcount(~used), free, dirty;
	struct finding f = {.large = false};

	if (atomic_load_explicit(&r->state, memory_order_relaxed) != REGION_ACTIVE) {
		w->spanning = 0;
		return;
	}
	find(w, &f, r, used);
	/* A slice that was free may have become a slab's meanwhile, and be in both figures. */
	free = min_size((free_slices << SLICE_SHIFT) + f.free_bytes, REGION_BYTES);
	dirty = ((size_t)__builtin_popcount(~used & touched) << SLICE_SHIFT) + f.free_bytes - f.idle_bytes;
	w->stats->regions_active++;
	w->stats->pte_pages_held += touched != 0;
	w->stats->free_in_active_bytes += free;
	w->stats->free_slice_bytes += free_slices << SLICE_SHIFT;
	w->stats->free_in_active_dirty_bytes += min_size(dirty, free);
	if (!w->detail)
		return;
	count_holders(w, &f, free);
	count_occupancy(w, min_size(f.live_bytes, REGION_BYTES));
}

static void add_heap(struct walk *w, struct heap *h)
{
	size_t top = atomic_load_explicit(&h->top, memory_order_acquire), committed;

	lock_take(&h->lock);
	committed = h->committed;
	lock_drop(&h->lock);
	w->stats->heaps++;
	w->stats->heap_reserved += h->region_count << REGION_SHIFT;
	w->stats->heap_committed += committed << REGION_SHIFT;
	w->stats->regions_untouched += committed > top ? committed - top : 0;
	w->spanning = 0;
	for (size_t i = 0; i < top; i++)
		add_region(w, heap_region(h, i));
}

/* ---- All --------------------------------------------------------------------------------------------------------- */

static size_t relaxed(_Atomic size_t *counter)
{
	return atomic_load_explicit(counter, memory_order_relaxed);
}

/* Of active regions. */
static size_t dirty_slices(void)
{
	struct waiting_count waiting = waiting_count();
	size_t counted = relaxed(&arena_dirty_slices);

	return counted - min_size(counted, waiting.counted) + min_size(waiting.slices, waiting.counted);
}

static void add_counters(struct pmd_stats *stats)
{
	stats->metadata_bytes = meta_bytes();
	stats->regions_dirty = COUNT_GET(dirty_regions);
	stats->regions_clean = COUNT_GET(clean_regions);
	stats->regions_releasing = COUNT_GET(releasing_regions);
	stats->regions_emptied = COUNT_GET(emptied);
	stats->pte_pages_held += stats->regions_dirty + stats->regions_releasing;
	stats->slabs_waiting = relaxed(&held_unexamined);
	stats->dirty_bytes = (stats->regions_dirty << REGION_SHIFT) + (dirty_slices() << SLICE_SHIFT);
	stats->releases = stats->pte_pages_returned = COUNT_GET(releases);
	for (int b = 0; b < RELEASE_BACKENDS; b++)
		stats->release_calls += relaxed(&release_counters[b].calls);
	stats->release_failures = COUNT_GET(release_failures);
	stats->purged_bytes = COUNT_GET(purged_bytes);
	stats->lazy_bytes = COUNT_GET(lazy_bytes);
	stats->moved_bytes = COUNT_GET(moved_bytes);
	stats->threads = cache_threads();
	stats->arenas = arena_count();
	stats->vm_pte_bytes = os_page_table_bytes();
	stats->resident_bytes = limit_held_bytes();
	stats->collapsed = COUNT_GET(collapsed);
	stats->collapse_failures = COUNT_GET(collapse_failures);
	stats->limit_refusals = atomic_load_explicit(&limit_refusals, memory_order_relaxed);
	stats->limit_releases = atomic_load_explicit(&limit_releases, memory_order_relaxed);
}

static void clear_detail(struct stats_detail *detail)
{
	memset(detail, 0, sizeof *detail);
	for (unsigned class = 0; class < CLASSES; class += 1)
		detail->holders[class].block_bytes = class_size(class);
}

/* A guarded block counts as one of its class; none of a slab is in use for it. */
static void add_guarded(void *walk, unsigned class)
{
	struct walk *w = walk;
	struct stats_holder *h = holder(w, class);

	w->stats->live_blocks++;
	w->stats->live_bytes += class_size(class);
	if (h) {
		h->live_blocks++;
		h->live_bytes += class_size(class);
	}
}

void stats_collect(struct pmd_stats *stats, struct stats_detail *detail)
{
	struct walk w = {.stats = stats, .detail = detail};

	memset(stats, 0, sizeof *stats);
	if (detail)
		clear_detail(detail);
	if (!cache_init())
		return;
	memcheck_silence();
	for (int i = 0; i < HEAPS_MAX && heaps[i]; i++)
		add_heap(&w, heaps[i]);
	guard_each(add_guarded, &w);
	add_counters(stats);
	memcheck_define(stats, sizeof *stats);
	if (detail)
		memcheck_define(detail, sizeof *detail);
	memcheck_resume();
}

int pmd_stats_get(struct pmd_stats *stats)
{
	struct pmd_stats all;
	size_t size = stats->size;

	if (!size)
		return EINVAL;
	stats_collect(&all, NULL);
	memcpy(stats, &all, min_size(size, sizeof all));
	stats->size = size;
	return 0;
}
