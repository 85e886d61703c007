/* SPDX-License-Identifier: MIT */
/*
 * What the owner of slabs does off the fast paths: it allocates from another slab when the current one has no block left,
 * and looks after a slab that empties. Lock order: cache, arena, heap.
 */
#include <string.h>

#include "cache/cache.h"
#include "cache/held.h"
#include "cache/relief.h"
#include "cache/remote.h"
#include "cache/scavenger.h"
#include "cache/seal.h"
#include "cache/states.h"
#include "heap/huge.h"
#include "heap/waiting.h"

void cache_retire(struct slice *s)
{
	CHECK_DEBUG(slab_live(s) == (int32_t)remote_count(atomic_load(&s->remote)));
	for (unsigned i = 1; i < s->slices; i++)
		slice_set_kind(&s[i], SLICE_FREE);
	slab_set_state(s, SLAB_NONE);
	atomic_store_explicit(&s->cache, NULL, memory_order_release);
	arena_put(s);
}

/* ---- Frees and events -------------------------------------------------------------------------------------------- */

/* The level at which a slab counts as sparse. Of big blocks each that is free is much. */
static int32_t sparse_mark(const struct slice *s)
{
	return slab_is_big(s) ? s->capacity - 1 : s->capacity / 4;
}

static void set_sparse_mark(struct slice *s)
{
	int32_t live = slab_live(s), mark = sparse_mark(s);

	slab_set_mark(s, live, live > mark ? mark : 0);
}

static bool is_alone(const struct slice *s)
{
	struct region *r = atomic_load_explicit(&s->region, memory_order_relaxed);

	return !(atomic_load_explicit(&r->used, memory_order_relaxed) & ~arena_mask(s));
}

void cache_drop_kept(struct cache *c, struct slice *s)
{
	bool current;

	if (!s || slab_cache(s) != c || mark_get(s) != MARK_KEPT)
		return;
	slab_set_mark(s, slab_live(s), 0);
	current = slab_get_state(s) == SLAB_CURRENT;
	if (slab_live(s) || (!current && slab_get_state(s) != SLAB_PARTIAL))
		return;
	if (current)
		cache_set_current(c, s->class, (struct slice *)&slab_none);
	else
		cache_unlist(c, s);
	c->untold += s->slices;
	cache_retire(s);
}

/* Where S is noted next: in the ring of big ones, of BIG entries behind the other's SMALL, or in that. */
static struct slice **next_entry(struct slice **rings, unsigned *at, unsigned small, unsigned big,
				 const struct slice *s)
{
	bool is_big = slab_is_big(s);
	unsigned i = at[is_big];

	at[is_big] = (i + 1) % (is_big ? big : small);
	return &rings[is_big ? small + i : i];
}

/*
 * A slab that empties is kept, since it is likely to be needed again; the ring bounds how many are, and the oldest
 * goes if it is still empty. One that is not allocated from and holds its region alone is not kept.
 */
static void keep(struct cache *c, struct slice *s)
{
	struct slice **entry, *old;

	if (slab_get_state(s) == SLAB_PARTIAL && is_alone(s)) {
		cache_unlist(c, s);
		c->untold += s->slices;
		cache_retire(s);
		return;
	}
	slab_set_mark(s, 0, MARK_KEPT);
	entry = next_entry(c->kept, c->kept_at, KEPT, KEPT_BIG, s);
	old = *entry;
	*entry = s;
	if (old != s)
		cache_drop_kept(c, old);
}

/*
 * A slab with few live blocks left. If it does not empty soon, it is given to the arena, where its idle pages can be
 * purged.
 */
void cache_give_up(struct cache *c, struct slice *s)
{
	if (!s || slab_cache(s) != c || slab_get_state(s) != SLAB_PARTIAL || slab_live(s) > sparse_mark(s))
		return;
	cache_unlist(c, s);
	c->untold += s->slices;
	held_disown(s);
}

static void sparse(struct cache *c, struct slice *s)
{
	struct slice **entry = next_entry(c->sparse, c->sparse_at, SPARSE, SPARSE_BIG, s), *old = *entry;

	*entry = s;
	if (old != s)
		cache_give_up(c, old);
}

/*
 * The slab that was allocated from has no block left. Other threads may have freed some since it was looked at: see
 * remote.c. The caller makes another one current.
 */
static void make_full(struct cache *c, struct slice *s)
{
	unsigned remote;

	/* The event comes when so many blocks were freed that allocating from it is worth while again. */
	slab_set_mark(s, slab_live(s), slab_live(s) > s->notify_at ? slab_live(s) - s->notify_at : 0);
	slab_set_state(s, SLAB_FULL);
	cache_set_owner(c, s);
	atomic_thread_fence(memory_order_seq_cst);
	remote = remote_count(atomic_load_explicit(&s->remote, memory_order_relaxed));
	if (LIKELY(!remote)) {
		slab_list_push(&c->full, s);
		return;
	}
	remote_count_waiting();
	if (remote >= s->notify_at)
		cache_make_partial(c, s);
	else
		slab_list_push(&c->full, s);
}

enum { SWAP_MOST = 4 }; /* free blocks that a slab may have to serve again at once */

/* Whether every block of S, which is allocated from, lives: who asks for one has to look for another slab. */
static bool is_spent(const struct slice *s)
{
	return !s->free && slab_live(s) == s->capacity && s != &slab_none;
}

/*
 * S was full and has free blocks. Where the slab that is allocated from is spent, S takes its place at once: of slabs with
 * few blocks each free would have the next request find that out.
 */
static void serve_again(struct cache *c, struct slice *s)
{
	struct slice *current = c->current[s->class];

	cache_unlist(c, s);
	if (s->notify_at <= SWAP_MOST && is_spent(current)) {
		make_full(c, current);
		cache_make_current(c, s);
	} else {
		cache_make_partial(c, s);
	}
}

/* S counted down to 0, or had blocks on its remote list when the owner took the slow path; the lock is held. */
static void handle_event(struct cache *c, struct slice *s)
{
	slab_set_mark(s, slab_live(s), 0);
	if (remote_count(atomic_load_explicit(&s->remote, memory_order_relaxed))) {
		slab_collect(s);
		cache_set_owner(c, s); /* look_at_waiting may have put it on the slow path */
	}
	if (slab_get_state(s) == SLAB_FULL)
		serve_again(c, s);
	if (!slab_live(s)) {
		keep(c, s);
	} else if (slab_get_state(s) == SLAB_PARTIAL) {
		if (slab_live(s) > sparse_mark(s))
			set_sparse_mark(s);
		else
			sparse(c, s);
	}
}

/* With no lock held. */
static NOINLINE void tell(struct cache *c)
{
	c->untold = 0;
	scavenger_kick();
}

/* Between the count and the lock, another thread's free of the last block may have ended the slab. */
void cache_event(struct slice *s)
{
	struct cache *c = cache_slow_self;

	lock_take(&c->lock);
	if (LIKELY(slab_cache(s) == c))
		handle_event(c, s);
	lock_drop(&c->lock);
	if (UNLIKELY(c->untold >= UNTOLD))
		tell(c);
}

static bool is_purged(const struct slice *s, const void *p)
{
	uint16_t purged = purged_get(s);

	return UNLIKELY(purged) && purged >> (((uintptr_t)p - (uintptr_t)s->base) >> slice_sixteenth_shift(s)) & 1;
}

/* Apart, as what takes the other way has no need of a frame. */
static NOINLINE void free_owned(struct cache *c, struct slice *s, struct block *b)
{
	if (UNLIKELY(b->key == slab_key(s)) && slab_is_free(s, b)) {
		misuse("double free: free", b);
		return;
	}
	lock_take(&c->lock);
	b->key = slab_key(s);
	b->next = s->free;
	s->free = b;
	if (slab_get_state(s) == SLAB_FULL)
		serve_again(c, s);
	if (count_decrement(s) || remote_count(atomic_load_explicit(&s->remote, memory_order_relaxed)))
		handle_event(c, s);
	lock_drop(&c->lock);
	if (c->untold >= UNTOLD)
		tell(c);
}

bool cache_is_free(struct slice *s, const void *p)
{
	struct cache *c = slab_cache(s);
	bool mine = c == cache_slow_self, is;

	/* The owner's lock keeps it from collecting the remote list. */
	if (c && !mine)
		lock_take(&c->lock);
	is = slab_is_free(s, p);
	if (c && !mine)
		lock_drop(&c->lock);
	return is;
}

void cache_free_slow(struct slice *s, void *p)
{
	if (UNLIKELY(is_purged(s, p)))
		misuse("double free: free", p);
	else if (cache_slow_self && slab_cache(s) == cache_slow_self)
		free_owned(cache_slow_self, s, p);
	else
		remote_free(s, p);
}

/* ---- Allocation -------------------------------------------------------------------------------------------------- */

static struct slice *take_new(struct cache *c, unsigned class)
{
	struct slice *s;

	if (c->limited || !(s = waiting_take_slab(c->arena, class, class_slices(class), &c->growth)))
		return NULL;
	slab_init(s, class);
	atomic_store_explicit(&s->cache, c, memory_order_release);
	return s;
}

/* The same as slab_carve, with seals: of a slab's first block nothing is left for the free list. */
static COLD bool carve_sealed(struct cache *c, struct slice *s)
{
	do {
		if (!slab_carve(s, &c->growth))
			return false;
		seal_list(s);
	} while (!s->free);
	return true;
}

static inline bool carve(struct cache *c, struct slice *s)
{
	return UNLIKELY(seal_used) ? carve_sealed(c, s) : slab_carve(s, &c->growth);
}

/* Others have touched last what is on the list then. */
static bool collect(struct slice *s)
{
	unsigned many = slab_collect(s);

	slab_warm(s, many);
	return many;
}

/* Makes sure that the free list of S is not empty; with ZERO prefers to leave that to slab_carve_zero. */
static bool replenish(struct cache *c, struct slice *s, bool zero)
{
	bool had_purged = s->purged; /* frees of its blocks took the slow path */
	bool ok = s->free || (slab_has_remote(s) && collect(s)) || (zero && slab_has_zero(s)) || carve(c, s);

	if (UNLIKELY(had_purged) && ok && slab_get_state(s) == SLAB_CURRENT)
		cache_set_owner(c, s);
	return ok;
}

/*
 * The current slab has no block. It is full; or it has purged pages that a limit forbids to bring back, and waits until
 * this request has been served by others, or has failed.
 */
static void set_aside(struct cache *c, struct slice *s)
{
	if (LIKELY(!s->purged)) {
		make_full(c, s);
		return;
	}
	s->next = c->limited;
	c->limited = s;
}

static COLD void put_limited_back(struct cache *c)
{
	while (c->limited) {
		struct slice *s = c->limited;

		c->limited = s->next;
		cache_make_partial(c, s);
	}
}

static struct slice *usable_slab(struct cache *c, unsigned class, bool zero)
{
	struct slice *s = c->current[class];

	if (s != &slab_none) {
		if (replenish(c, s, zero))
			return s;
		set_aside(c, s);
	}
	while ((s = cache_take_partial(c, class)) || (held_has(c->arena, class) && (s = held_adopt(c, class))) ||
	       (s = take_new(c, class))) {
		cache_make_current(c, s);
		if (replenish(c, s, zero))
			return s;
		set_aside(c, s);
	}
	cache_set_current(c, class, (struct slice *)&slab_none);
	return NULL;
}

/* Memory is short: the request may be made again, at most so often as relief() agrees. */
static COLD void *refill_again(struct cache *c, unsigned class, bool zero)
{
	void *p = relief(&c->growth) ? cache_refill(class, zero) : NULL;

	c->growth = (struct growth){0};
	return p;
}

/*
 * The list of free blocks of S, the calling thread's, is empty, and yet not all that were carved live: a link was written over.
 * What is missing counts as live from now on, so that it is said once. One is missing also where a signal's handler interrupted
 * malloc between list and count, and is running or left by longjmp; and too many live where it was free. That is left alone: a
 * count that is too low would let a slab end with a live block.
 */
COLD void cache_look_for_lost(struct slice *s)
{
	int32_t missing = s->carved - slab_live(s);

	if (missing < 0 || s->free || s->purged || seal_used)
		return;
	count_set(s, count_get(s) + missing);
	if (missing > 1)
		misuse_list(s, missing);
}

enum { FEW = 16 };

/*
 * Where threads share an arena, the first FEW blocks of a class that each of them asks for come from slabs that all of them
 * share: otherwise many threads with little each would have a slab of each class each. NULL: not this one.
 */
static NOINLINE void *shared_block(struct cache *c, unsigned class, bool zero)
{
	struct arena *a = c->arena;
	void *p;

	if (c->shared[class] >= FEW || cache_special || !a || a->retired ||
	    atomic_load_explicit(&a->threads, memory_order_relaxed) < 2)
		return NULL;
	p = held_block(a, class, zero, &c->growth);
	c->shared[class] += p != NULL;
	return p;
}

const struct slice *cache_torn(void)
{
	const struct cache *c = cache_slow_self;

	for (unsigned class = 0; c && class < CLASSES; class += 1) {
		const struct slice *s = c->current[class];

		if (s->free && !slab_block_valid(s, s->free))
			return s;
	}
	return NULL;
}

void *cache_refill(unsigned class, bool zero)
{
	struct cache *c = LIKELY(cache_slow_self != NULL) ? cache_slow_self : cache_get();
	struct slice *s;
	void *p = NULL;

	if (!c)
		return NULL;
	s = c->current[class];
	if (UNLIKELY(slab_live(s) != s->carved)) { /* slab_none is so too */
		if (s != &slab_none) {
			cache_look_for_lost(s); /* without the lock: handlers of SIGABRT may allocate */
		} else if ((p = shared_block(c, class, zero))) {
			scavenger_grown();
			return p;
		}
	}
	lock_take(&c->lock);
	if (!c->arena || c->arena->retired)
		c->arena = arena_assign();
	s = c->arena ? usable_slab(c, class, zero) : NULL;
	if (s && zero && (p = slab_carve_zero(s)))
		count_increment(s);
	else if (s)
		p = zero ? memset(slab_pop(s), 0, s->block_size) : slab_pop(s);
	if (UNLIKELY(c->limited))
		put_limited_back(c);
	lock_drop(&c->lock);
	scavenger_grown();
	return LIKELY(s != NULL) ? p : refill_again(c, class, zero);
}
