/* SPDX-License-Identifier: MIT */
/*
 * The extent of large blocks that was freed last in an arena waits there for the next request of as many slices, which takes
 * it without a lock: a buffer that is allocated and freed again and again. It belongs to nobody meanwhile, and its slices
 * count as used: whoever is about to take others of the arena, and each tick, takes it back before.
 */
#ifndef PMD_HEAP_WAITING_H
#define PMD_HEAP_WAITING_H

#include "heap/arena.h"

/* As arena_take; A's waiting extent if it is one for the request. */
struct slice *waiting_take(struct arena *a, size_t count, size_t align, bool clear, struct growth *g);

/* As arena_put, or S waits. */
void waiting_put(struct slice *s);

void waiting_flush_one(struct arena *a);

/* Takes back what waits in A. */
static inline void waiting_flush(struct arena *a)
{
	if (UNLIKELY(atomic_load_explicit(&a->waiting, memory_order_relaxed) != NULL))
		waiting_flush_one(a);
}

/* As arena_take_slab: what waits in A is free for it. */
static inline struct slice *waiting_take_slab(struct arena *a, unsigned class, size_t count, struct growth *g)
{
	waiting_flush(a);
	return arena_take_slab(a, class, count, g);
}

/* As waiting_flush, of all arenas. False: nothing waited. */
bool waiting_flush_all(void);

/* How many slices wait, and as how many they are counted in arena_dirty_slices. */
struct waiting_count {
	size_t slices, counted;
};
struct waiting_count waiting_count(void);

#endif
