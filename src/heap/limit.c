/* SPDX-License-Identifier: MIT */
#include "heap/limit.h"
#include "conf/options.h"
#include "heap/heap.h"
#include "os/syscall.h"

_Atomic size_t limit_held;
_Atomic size_t limit_refusals, limit_releases;
_Atomic unsigned limit_changes, limit_dropping;

static size_t pages_of(int64_t bytes)
{
	return bytes == SIZE_NONE ? SIZE_MAX : (size_t)bytes >> PAGE_SHIFT;
}

static bool meet(struct growth *g, enum limit limit, size_t held, size_t pages)
{
	g->met = limit;
	g->held = held;
	g->wanted = pages;
	return false;
}

bool limit_charge(struct growth *g, size_t pages)
{
	size_t hard = pages_of(OPTION(limit_hard)), soft = g->past_soft ? SIZE_MAX : pages_of(OPTION(limit));
	size_t held = atomic_load_explicit(&limit_held, memory_order_relaxed);
	long refused;

	if (os_inject(OS_POINT_ACCOUNT, &refused))
		return meet(g, LIMIT_HARD, held, pages);
	if (pages <= g->credit || (hard == SIZE_MAX && soft == SIZE_MAX)) {
		limit_add(pages - g->credit);
		return true;
	}
	pages -= g->credit;
	/* Not added first and taken back on failure: meanwhile others would be refused what fits. */
	do {
		if (held + pages > hard)
			return meet(g, LIMIT_HARD, held, pages);
		if (held + pages > soft)
			return meet(g, LIMIT_SOFT, held, pages);
	} while (!atomic_compare_exchange_weak_explicit(&limit_held, &held, held + pages, memory_order_relaxed,
							memory_order_relaxed));
	return true;
}

bool limit_forbids(struct growth *g, size_t pages)
{
	size_t hard = pages_of(OPTION(limit_hard));

	if (hard == SIZE_MAX || pages <= g->credit || pages - g->credit <= hard)
		return false;
	g->rounds = UINT8_MAX;
	return !meet(g, LIMIT_HARD, 0, pages - g->credit);
}

bool limit_settle(struct growth *g)
{
	size_t credit = g->credit, held;

	if (!credit)
		return true;
	held = atomic_fetch_add_explicit(&limit_held, credit, memory_order_relaxed);
	g->credit = 0;
	return held + credit <= pages_of(OPTION(limit_hard)) || meet(g, LIMIT_HARD, held + credit, credit);
}

/* ---- Fork -------------------------------------------------------------------------------------------------------- */

static size_t count_region(struct region *r)
{
	size_t pages = (size_t)count_ones(r->touched) * PAGES_PER_SLICE;

	for (int i = 0; r->state == REGION_ACTIVE && i < SLICES_PER_REGION; i++)
		if (r->slices[i].kind == SLICE_SLAB)
			pages -= slice_purged_pages(&r->slices[i]);
	return pages;
}

static size_t count_all(void)
{
	size_t pages = 0;

	for (int i = 0; i < HEAPS_MAX && heaps[i]; i++)
		for (size_t at = 0; at < heaps[i]->top; at++)
			pages += count_region(heap_region(heaps[i], at));
	return pages;
}

void limit_after_fork(bool torn)
{
	if (torn || limit_changes)
		limit_held = count_all();
	limit_changes = limit_dropping = 0;
	CHECK_DEBUG(limit_held == count_all());
}
