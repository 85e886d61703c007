/* SPDX-License-Identifier: MIT */
/*
 * Owns the waiting extent of each arena. There is no lock: who exchanges an extent out of its place has it alone, and sees
 * what was written before it was put there. Who puts one there looks at `waited` afterwards, and who takes all back clears that
 * before: one of the two sees the other, so that nothing waits that no tick will look for.
 */
#include <string.h>

#include "conf/options.h"
#include "heap/waiting.h"

enum { COUNTED_SLICES = SLICES_PER_REGION };

static struct slice *take_out(struct arena *a)
{
	return atomic_exchange(&a->waiting, NULL);
}

static bool fits(const struct slice *s, size_t count, size_t align)
{
	return s->slices == count && !((uintptr_t)s->base & ((align << SLICE_SHIFT) - 1));
}

struct slice *waiting_take(struct arena *a, size_t count, size_t align, bool clear, struct growth *g)
{
	struct slice *s = NULL;

	if (atomic_load_explicit(&a->waiting, memory_order_relaxed))
		s = take_out(a);
	if (s && LIKELY(fits(s, count, align))) {
		if (clear)
			memset(s->base, 0, count << SLICE_SHIFT);
		return s;
	}
	if (s)
		arena_put(s);
	s = arena_take(a, count, align, clear, g);
	if (UNLIKELY(!s) && g->met == LIMIT_NONE && waiting_flush_all())
		s = arena_take(a, count, align, clear, g);
	return s;
}

/* All pages of it are charged: not so where they have moved away. */
static bool may_wait(const struct slice *s)
{
	struct region *r = atomic_load_explicit(&s->region, memory_order_relaxed);
	uint32_t mask;

	if (s->slices > SLICES_PER_REGION || arena_guards || !OPTION(decay_ms))
		return false;
	mask = arena_mask(s);
	return s->slices == count_ones(mask) &&
	       (atomic_load_explicit(&r->touched, memory_order_relaxed) & mask) == mask;
}

/*
 * An arena in which something has waited since the last tick counts as having a dirty region: to count each time would be
 * another locked instruction. A child that is forked in between has counted too much, not too little.
 */
static void count(struct arena *a)
{
	if (LIKELY(atomic_load(&a->waited)))
		return;
	atomic_fetch_add(&arena_dirty_slices, COUNTED_SLICES);
	if (atomic_exchange(&a->waited, true))
		atomic_fetch_sub(&arena_dirty_slices, COUNTED_SLICES);
}

void waiting_put(struct slice *s)
{
	struct region *r = atomic_load_explicit(&s->region, memory_order_relaxed);
	struct arena *a = atomic_load_explicit(&r->arena, memory_order_relaxed);
	struct slice *before = s;

	if (LIKELY(may_wait(s))) {
		before = atomic_exchange(&a->waiting, s);
		count(a);
	}
	if (before)
		arena_put(before);
}

struct waiting_count waiting_count(void)
{
	struct waiting_count n = {0};

	for (int i = 0; i < ARENAS_MAX; i++) {
		struct arena *a = atomic_load_explicit(&arenas[i], memory_order_acquire);
		struct slice *s = a ? atomic_load_explicit(&a->waiting, memory_order_acquire) : NULL;

		n.slices += s ? SLICE_GET(s, slices) : 0; /* it may be a longer one's by now */
		n.counted += a && atomic_load_explicit(&a->waited, memory_order_relaxed) ? COUNTED_SLICES : 0;
	}
	return n;
}

void waiting_flush_one(struct arena *a)
{
	struct slice *s = take_out(a);

	if (s)
		arena_put(s);
}

bool waiting_flush_all(void)
{
	bool any = false;

	for (int i = 0; i < ARENAS_MAX; i++) {
		struct arena *a = atomic_load_explicit(&arenas[i], memory_order_acquire);

		if (!a || !atomic_exchange(&a->waited, false))
			continue;
		atomic_fetch_sub(&arena_dirty_slices, COUNTED_SLICES);
		waiting_flush_one(a);
		any = true;
	}
	return any;
}
