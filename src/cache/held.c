/* SPDX-License-Identifier: MIT */
/*
 * Slabs of no thread: their owner has ended, or gave them up as sparse, or there was none, as threads take their first
 * blocks of a class from slabs that they share. They are their arena's, under its lock, in a list by class, until a thread
 * adopts them. Those that have been there for a while are purged, and so is what was looked at
 * before and has news.
 */
#include <string.h>

#include "cache/held.h"
#include "cache/states.h"
#include "heap/huge.h"
#include "heap/waiting.h"
#include "release/release.h"

/* As held_tick, below the first of heap_tick. */
enum {
	EXAMINED = 0,    /* was purged as far as it could be */
	PASSED_OVER = 1, /* was not, as its region may be one huge page that is mostly full */
};

static bool was_looked_at(const struct slice *s)
{
	return s->held_tick <= PASSED_OVER;
}

static bool has_free(const struct slice *s)
{
	return s->free || s->purged || s->carved < s->capacity ||
	       remote_count(atomic_load_explicit(&s->remote, memory_order_relaxed));
}

static struct slice **held_list(struct arena *a, const struct slice *s)
{
	return was_looked_at(s) ? &a->sparse[s->class] : &a->held[s->class];
}

_Atomic size_t held_unexamined;

/* The arena's lock is held for both. */
static void held_add(struct arena *a, struct slice *s)
{
	slab_list_push(held_list(a, s), s);
	if (!was_looked_at(s))
		atomic_fetch_add_explicit(&held_unexamined, 1, memory_order_relaxed);
}

void held_remove(struct arena *a, struct slice *s)
{
	slab_list_remove(held_list(a, s), s);
	if (!was_looked_at(s))
		atomic_fetch_sub_explicit(&held_unexamined, 1, memory_order_relaxed);
}

void held_relist_and_drop(struct arena *a, struct slice *s)
{
	bool empty;

	slab_set_state(s, SLAB_HELD);
	atomic_thread_fence(memory_order_seq_cst); /* see remote.c */
	empty = slab_is_empty(s);
	if (empty)
		slab_set_state(s, SLAB_NONE);
	else if (has_free(s))
		held_add(a, s);
	else
		s->prev = s;
	lock_drop(&a->lock);
	if (empty)
		cache_retire(s);
}

void held_disown(struct slice *s)
{
	struct arena *a = slab_arena(s);

	slab_collect(s);
	slab_set_mark(s, slab_live(s), 0);
	slab_set_owner(s, SLOW_ID);
	lock_take(&a->lock);
	if (a->retired) { /* in a forked child: nothing may be linked there */
		slab_set_state(s, SLAB_NONE);
		atomic_store_explicit(&s->cache, NULL, memory_order_release);
		lock_drop(&a->lock);
		return;
	}
	s->held_tick = atomic_load_explicit(&heap_tick, memory_order_relaxed);
	atomic_store_explicit(&s->cache, NULL, memory_order_release);
	held_relist_and_drop(a, s);
}

/* Of larger blocks few are taken before the rest of what was fetched has left the cache again. */
enum { WARM_MAX = 128 };

struct slice *held_adopt(struct cache *c, unsigned class)
{
	struct arena *a = c->arena;
	struct slice **list, *s;

	lock_take(&a->lock);
	/* At a limit, only what may have a block for which no page is needed. */
	list = a->held[class] || c->limited ? &a->held[class] : &a->sparse[class];
	s = a->retired ? NULL : *list;
	if (s) {
		held_remove(a, s);
		slab_set_state(s, SLAB_PARTIAL);
		atomic_store_explicit(&s->cache, c, memory_order_release);
	}
	lock_drop(&a->lock);
	if (s && s->block_size <= WARM_MAX)
		slab_warm(s, (unsigned)(s->carved - slab_live(s)));
	return s;
}

/* S, which is in a list, is nobody's until held_relist_and_drop. */
static void take_out(struct arena *a, struct slice *s)
{
	held_remove(a, s);
	slab_set_state(s, SLAB_PURGING);
}

static struct slice *make_slab(struct arena *a, unsigned class, struct growth *g)
{
	struct slice *s = waiting_take_slab(a, class, class_slices(class), g);

	if (!s)
		return NULL;
	slab_init(s, class);
	slab_set_state(s, SLAB_PURGING);
	atomic_store_explicit(&s->cache, NULL, memory_order_release);
	return s;
}

/* The same as slab_pop, for who has a lock: where the next link was written over the list ends. */
static void *pop_checked(struct slice *s)
{
	void *p = slab_pop(s);

	if (UNLIKELY(s->free && !slab_block_valid(s, s->free)))
		s->free = NULL;
	return p;
}

/* S was taken out, and some of its blocks were taken. Without the lock, as it may have to be said that blocks are missing. */
static void put_back(struct arena *a, struct slice *s)
{
	cache_look_for_lost(s);
	s->held_tick = atomic_load_explicit(&heap_tick, memory_order_relaxed);
	lock_take(&a->lock);
	held_relist_and_drop(a, s);
}

/* A block of S, which was taken out: its pages may have to be fetched. */
static void *carve_block(struct slice *s, bool zero, struct growth *g)
{
	void *p;

	if (slab_has_remote(s))
		slab_collect(s);
	if (zero && (p = slab_carve_zero(s))) {
		count_increment(s);
		return p;
	}
	if (!s->free && !slab_carve(s, g))
		return NULL;
	p = pop_checked(s);
	return zero ? memset(p, 0, s->block_size) : p;
}

/* The first block of the list of S, which stays where it is as long as it has more. The arena's lock is held, and dropped here. */
static void *take_block(struct arena *a, struct slice *s)
{
	void *p = pop_checked(s);
	bool more = s->free;

	if (more)
		s->held_tick = atomic_load_explicit(&heap_tick, memory_order_relaxed);
	else
		take_out(a, s);
	lock_drop(&a->lock);
	if (!more)
		put_back(a, s);
	return p;
}

void *held_block(struct arena *a, unsigned class, bool zero, struct growth *g)
{
	struct slice *s;
	void *p;

	lock_take(&a->lock);
	s = a->held[class] ? a->held[class] : a->sparse[class];
	if (s && !was_looked_at(s) && (s->free || (slab_has_remote(s) && slab_collect(s)))) {
		p = take_block(a, s);
		return zero ? memset(p, 0, class_size(class)) : p;
	}
	if (s)
		take_out(a, s);
	lock_drop(&a->lock);
	if (!s && !(s = make_slab(a, class, g)))
		return NULL;
	p = carve_block(s, zero, g);
	put_back(a, s);
	return p;
}

enum { PURGE_BATCH = 64 };

/* Purge passes over S, which counts as looked at. */
static void leave_whole(struct arena *a, struct slice *s)
{
	if (was_looked_at(s))
		return;
	held_remove(a, s);
	s->held_tick = PASSED_OVER;
	held_add(a, s);
}

/* Whether there can be something to purge in S: it is held since UNTIL, or was looked at before and there are news. */
static bool is_due(const struct slice *s, uint32_t until)
{
	if (!was_looked_at(s))
		return (int32_t)(until - s->held_tick) >= 0;
	return s->held_tick == PASSED_OVER || remote_count(atomic_load_explicit(&s->remote, memory_order_relaxed));
}

/* Takes up to PURGE_BATCH slabs that are due out of LIST. */
static size_t take_for_purge(struct arena *a, struct slice **list, uint32_t until, bool all, struct slice **batch)
{
	struct slice *s, *next;
	size_t n = 0;

	for (s = *list; s && n < PURGE_BATCH; s = next) {
		next = s->next;
		if (!is_due(s, until))
			continue;
		if (!all && huge_keeps_whole(s->region)) {
			leave_whole(a, s);
			continue;
		}
		take_out(a, s);
		batch[n++] = s;
	}
	return n;
}

/* The slabs of a batch have been asked for their idle pages, and give them back in one call. */
static size_t purge_slabs(struct arena *a, struct slice **slabs, size_t n, const struct iovec *ranges, size_t n_ranges)
{
	uint64_t refused = 0;
	size_t bytes = release_pages(ranges, n_ranges, &refused), at = 0;

	for (size_t i = 0; i < n; i++) {
		struct slice *s = slabs[i];

		for (; at < n_ranges && (size_t)((char *)ranges[at].iov_base - s->base) < (size_t)s->slices
												  << SLICE_SHIFT;
		     at++)
			slab_end_purge(s, &ranges[at], !(refused >> at & 1));
		s->held_tick = EXAMINED;
		lock_take(&a->lock);
		held_relist_and_drop(a, s);
	}
	return bytes;
}

static size_t purge_batch(struct arena *a, struct slice **batch, size_t n)
{
	struct iovec ranges[RELEASE_RANGES];
	size_t bytes = 0, first = 0, used = 0, more;

	_Static_assert(RELEASE_RANGES <= 64, "one word tells what was refused");
	limit_open();
	for (size_t i = 0; i < n; i++) {
		slab_collect(batch[i]);
		more = slab_purge(batch[i], ranges + used);
		if (more)
			huge_split(batch[i]->region, ranges[used].iov_base);
		used += more;
		if (i + 1 < n && used <= RELEASE_RANGES - SLAB_RUNS_MAX)
			continue;
		bytes += purge_slabs(a, batch + first, i + 1 - first, ranges, used);
		used = 0;
		first = i + 1;
	}
	limit_close();
	return bytes;
}

static size_t purge_class(struct arena *a, struct slice **list, uint32_t until, bool all)
{
	struct slice *batch[PURGE_BATCH];
	size_t n, bytes = 0;

	do {
		atomic_fetch_add_explicit(&limit_dropping, 1, memory_order_relaxed);
		lock_take(&a->lock);
		n = a->retired ? 0 : take_for_purge(a, list, until, all, batch);
		lock_drop(&a->lock);
		bytes += purge_batch(a, batch, n);
		atomic_fetch_sub_explicit(&limit_dropping, 1, memory_order_relaxed);
	} while (n == PURGE_BATCH);
	COUNT_ADD(purged_bytes, bytes);
	return bytes;
}

size_t held_purge(struct arena *a, uint32_t until, bool all)
{
	size_t bytes = 0;

	for (unsigned class = 0; class < CLASSES; class += 1) {
		if (__atomic_load_n(&a->held[class], __ATOMIC_RELAXED))
			bytes += purge_class(a, &a->held[class], until, all);
		if (__atomic_load_n(&a->sparse[class], __ATOMIC_RELAXED))
			bytes += purge_class(a, &a->sparse[class], until, all);
	}
	return bytes;
}
