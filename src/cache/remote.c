/* SPDX-License-Identifier: MIT */
/*
 * Remote frees. A thread that frees another's block pushes it on the slab's remote list, whose word also counts it,
 * and then looks whether somebody must act (attention): the slab is empty, or a full one has enough free blocks to
 * be useful again. It reads the slab's state without a lock, after the push; the owner changes the state and then
 * reads the remote word, with a full fence between (a locked instruction here, atomic_thread_fence there), so one of
 * the two sees what the other did. What it saw it verifies under the lock, so a stale look costs a lock at worst.
 *
 * A slab may also become empty by the owner's free of the last block that is not on the remote list. The owner's count
 * does not tell it so. Therefore slabs on whose remote list something is left to wait are counted (remote_waiting),
 * and at its ticks the scavenger looks at them: an empty one ends, and of another the owner's frees are put on the slow
 * path, where the next one collects. As one may be under way past the point where it would notice, such a slab is
 * looked at once more, a tick later.
 *
 * test/model/slabs.c has all this as a model.
 *
 * After the push the block is no longer the pusher's, so the slab may be retired and its descriptor serve something
 * else at any time. Descriptors are never unmapped, and every decision is made on what is there under the lock.
 */
#include "cache/remote.h"
#include "cache/held.h"
#include "cache/scavenger.h"
#include "cache/states.h"

_Atomic size_t remote_waiting;

static bool attend_owned(struct cache *c, struct slice *s)
{
	enum slab_state state;

	lock_take(&c->lock);
	if (slab_cache(s) != c) {
		lock_drop(&c->lock);
		return false;
	}
	state = slab_get_state(s);
	if (state == SLAB_FULL || state == SLAB_PARTIAL) {
		/* No block lives, so the owner, which allocates from other slabs, has nothing to free here either. */
		if (slab_is_empty(s)) {
			cache_unlist(c, s);
			cache_retire(s);
		} else if (state == SLAB_FULL &&
			   remote_count(atomic_load_explicit(&s->remote, memory_order_relaxed)) >= s->notify_at) {
			cache_unlist(c, s);
			cache_make_partial(c, s);
			remote_count_waiting();
		}
	}
	lock_drop(&c->lock);
	return true;
}

static bool attend_held(struct slice *s)
{
	struct arena *a = slab_arena(s);

	if (!a)
		return true;
	lock_take(&a->lock);
	if (a->retired || slab_arena(s) != a || slab_get_state(s) != SLAB_HELD) {
		lock_drop(&a->lock);
		return !slab_cache(s);
	}
	if (held_is_listed(s)) {
		if (!slab_is_empty(s)) {
			lock_drop(&a->lock);
			return true;
		}
		held_remove(a, s);
	}
	held_relist_and_drop(a, s);
	return true;
}

static void attend(struct slice *s)
{
	for (;;) {
		struct cache *c = slab_cache(s);

		if (c && c->generation != atomic_load_explicit(&cache_generation, memory_order_relaxed))
			return; /* its thread is in another process */
		if (c ? attend_owned(c, s) : attend_held(s))
			return;
	}
}

/* Whether S, an owned slab, is for the owner's fast path. */
static bool has_fast_owner(const struct slice *s)
{
	return __atomic_load_n(&s->anchor, __ATOMIC_RELAXED) - s->last != SLOW_ID;
}

static void look_at_waiting(struct slice *s)
{
	struct cache *c = slab_cache(s);
	enum slab_state state;

	if (!c || c->generation != atomic_load_explicit(&cache_generation, memory_order_relaxed))
		return;
	lock_take(&c->lock);
	state = slab_get_state(s);
	if (slab_cache(s) == c && (state == SLAB_FULL || state == SLAB_PARTIAL) &&
	    remote_count(atomic_load_explicit(&s->remote, memory_order_relaxed))) {
		if (slab_is_empty(s)) {
			cache_unlist(c, s);
			cache_retire(s);
		} else if (has_fast_owner(s)) {
			slab_set_owner(s, SLOW_ID);
			remote_count_waiting();
		}
	}
	lock_drop(&c->lock);
}

static void look_at_region(struct region *r)
{
	for (int i = 0; i < SLICES_PER_REGION; i++) {
		struct slice *s = r->slices + i;

		if (remote_count(atomic_load_explicit(&s->remote, memory_order_relaxed)))
			look_at_waiting(s);
	}
}

void remote_attend_waiting(void)
{
	if (!atomic_exchange_explicit(&remote_waiting, 0, memory_order_relaxed))
		return;
	for (int i = 0; i < HEAPS_MAX; i++) {
		struct heap *h = atomic_load_explicit(&heaps[i], memory_order_acquire);
		size_t top = h ? atomic_load_explicit(&h->top, memory_order_acquire) : 0;

		for (size_t at = 0; at < top; at++)
			if (atomic_load_explicit(&heap_region(h, at)->state, memory_order_relaxed) == REGION_ACTIVE)
				look_at_region(heap_region(h, at));
	}
}

static bool needs_attention(const struct slice *s, enum slab_state state, unsigned pushed, unsigned notify_at)
{
	return pushed == notify_at || (int32_t)pushed >= slab_live(s) || (state == SLAB_HELD && pushed == 1);
}

/* Apart, as a push alone has no need of a frame. */
static NOINLINE void attend_and_tell(struct slice *s)
{
	attend(s);
	scavenger_kick();
}

static NOINLINE void count_and_tell(void)
{
	remote_count_waiting();
	scavenger_kick();
}

static inline void push(struct slice *s, struct block *b)
{
	uint64_t word = atomic_load_explicit(&s->remote, memory_order_relaxed);
	unsigned n, notify_at = s->notify_at; /* read while the block keeps the slab alive */
	enum slab_state state;

	b->key = slab_key(s);
	do {
		b->next = remote_first(word);
		n = remote_count(word) + 1;
	} while (!atomic_compare_exchange_weak_explicit(&s->remote, &word, remote_pack(b, n), memory_order_seq_cst,
							memory_order_relaxed));
	state = slab_get_state(s);
	if (state == SLAB_CURRENT)
		return;
	if (UNLIKELY(needs_attention(s, state, n, notify_at)))
		attend_and_tell(s);
	else if (n == 1 && (state == SLAB_FULL || state == SLAB_PARTIAL))
		count_and_tell();
}

static COLD void push_suspicious(struct slice *s, struct block *b)
{
	if (cache_is_free(s, b))
		misuse("double free: free", b);
	else
		push(s, b);
}

void remote_free(struct slice *s, struct block *b)
{
	if (UNLIKELY(b->key == slab_key(s)))
		push_suspicious(s, b);
	else
		push(s, b);
}
