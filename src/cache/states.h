/* SPDX-License-Identifier: MIT */
/* The states of slabs in caches, for the files of this folder that change them. */
#ifndef PMD_CACHE_STATES_H
#define PMD_CACHE_STATES_H

#include "cache/cache.h"

static inline void slab_set_state(struct slice *s, enum slab_state state)
{
	__atomic_store_n(&s->state, (uint8_t)state, __ATOMIC_RELAXED);
}

static inline enum slab_state slab_get_state(const struct slice *s)
{
	return (enum slab_state)__atomic_load_n(&s->state, __ATOMIC_RELAXED);
}

static inline struct cache *slab_cache(const struct slice *s)
{
	return atomic_load_explicit(&s->cache, memory_order_acquire);
}

static inline struct arena *slab_arena(const struct slice *s)
{
	struct region *r = atomic_load_explicit(&s->region, memory_order_relaxed);

	return r ? atomic_load_explicit(&r->arena, memory_order_acquire) : NULL;
}

/* Whether all blocks of S are free, counting those that nobody has collected yet. */
static inline bool slab_is_empty(const struct slice *s)
{
	return slab_live(s) == (int32_t)remote_count(atomic_load_explicit(&s->remote, memory_order_acquire));
}

static inline void slab_list_push(struct slice **list, struct slice *s)
{
	s->prev = NULL;
	s->next = *list;
	if (s->next)
		s->next->prev = s;
	__atomic_store_n(list, s, __ATOMIC_RELAXED); /* held_has() peeks */
}

static inline void slab_list_remove(struct slice **list, struct slice *s)
{
	__atomic_store_n(s->prev ? &s->prev->next : list, s->next, __ATOMIC_RELAXED);
	if (s->next)
		s->next->prev = s->prev;
}

/* From here on: the cache's lock is held. */

/* The owner's frees of blocks of S take the fast path, where that sees all there is to check. */
static inline void cache_set_owner(struct cache *c, struct slice *s)
{
	slab_set_owner(s, c->slow || s->purged ? SLOW_ID : c->id);
}

/* C allocates CLASS from S. The calling thread is the cache's. */
static inline void cache_set_current(struct cache *c, unsigned class, struct slice *s)
{
	size_t last = class_size(class), first = class ? class_size(class - 1) + 1 : 0;

	c->current[class] = s;
	if (last <= SMALL_MAX && !c->slow && !cache_strict)
		for (size_t i = (first + MIN_ALIGN - 1) / MIN_ALIGN; i <= last / MIN_ALIGN; i++)
			cache_direct[i] = s;
	else if (last <= MEDIUM_MAX)
		for (size_t i = (first + MEDIUM_STEP - 1) / MEDIUM_STEP; i <= last / MEDIUM_STEP; i++)
			c->medium[i] = s;
}

static inline void cache_make_current(struct cache *c, struct slice *s)
{
	slab_set_state(s, SLAB_CURRENT);
	slab_set_mark(s, slab_live(s), 0);
	cache_set_owner(c, s);
	cache_set_current(c, s->class, s);
}

static inline void cache_make_partial(struct cache *c, struct slice *s)
{
	slab_set_state(s, SLAB_PARTIAL);
	cache_set_owner(c, s);
	slab_list_push(&c->partial[s->class], s);
}

/* Takes S, which is full or partial, out of its list. */
static inline void cache_unlist(struct cache *c, struct slice *s)
{
	slab_list_remove(slab_get_state(s) == SLAB_FULL ? &c->full : &c->partial[s->class], s);
}

/* A partial slab of CLASS, out of its list; NULL if there is none. */
static inline struct slice *cache_take_partial(struct cache *c, unsigned class)
{
	struct slice *s = c->partial[class];

	if (!s)
		return NULL;
	cache_unlist(c, s);
	return s;
}

/* An owned, unlisted slab without live blocks ends. */
void cache_retire(struct slice *s);

#endif
