/* SPDX-License-Identifier: MIT */
/*
 * The life of slabs in caches and arenas. Lock order: cache, arena, heap.
 *
 * Remote frees. A thread that frees another's block pushes it on the slab's remote list, whose word also counts it,
 * and then looks whether somebody must act (attention): the slab is empty, or a full one has enough free blocks to
 * be useful again. It reads the slab's state without a lock, after the push; the owner changes the state and then
 * reads the remote word, with a full fence between (a locked instruction here, atomic_thread_fence there), so one of
 * the two sees what the other did. What it saw it verifies under the lock, so a stale look costs a lock at worst.
 *
 * A slab may also become empty by the owner's free of the last block that is not on the remote list. The owner's count
 * does not tell it so. Therefore slabs on whose remote list something is left to wait are counted (cache_waiting),
 * and at its ticks the scavenger looks at them: an empty one ends, and of another the owner's frees are put on the slow
 * path, where the next one collects. As one may be under way past the point where it would notice, such a slab is
 * looked at once more, a tick later.
 *
 * test/model/slabs.c has all this as a model.
 *
 * After the push the block is no longer the pusher's, so the slab may be retired and its descriptor serve something
 * else at any time. Descriptors are never unmapped, and every decision is made on what is there under the lock.
 */
#include <pthread.h>
#include <string.h>

#include "cache/cache.h"
#include "cache/memcheck.h"
#include "cache/relief.h"
#include "cache/scavenger.h"
#include "conf/options.h"
#include "heap/huge.h"
#include "os/os.h"
#include "release/release.h"

const struct slice slab_none;
struct cache cache_none = {
	.medium = {[0 ... MEDIUM - 1] = (struct slice *)&slab_none},
	.current = {[0 ... CLASSES - 1] = (struct slice *)&slab_none},
};

__thread struct slice *cache_direct[DIRECT]
	__attribute__((tls_model("initial-exec"))) = {[0 ... DIRECT - 1] = (struct slice *)&slab_none};
__thread struct cache *cache_self __attribute__((tls_model("initial-exec"))) = &cache_none;
__thread uintptr_t cache_id __attribute__((tls_model("initial-exec")));
static __thread struct cache *slow_self __attribute__((tls_model("initial-exec"))); /* set also when instrumented */

/*
 * The thread's cache was torn down, and yet it goes on: late destructors. From then on it works under its cache's
 * lock only, so that what it leaves behind can be taken over by whoever comes next.
 */
static __thread bool ending __attribute__((tls_model("initial-exec")));

bool cache_instrumented;

static struct lock caches_lock; /* guards caches and in_use */
static struct cache *caches;
static _Atomic uint32_t generation;
static pthread_key_t exit_key;

/*
 * ---- Lists
 * --------------------------------------------------------------------------------------------------------
 */

static void list_push(struct slice **list, struct slice *s)
{
	s->prev = NULL;
	s->next = *list;
	if (s->next)
		s->next->prev = s;
	__atomic_store_n(list, s, __ATOMIC_RELAXED); /* adopt() peeks */
}

static void list_remove(struct slice **list, struct slice *s)
{
	__atomic_store_n(s->prev ? &s->prev->next : list, s->next, __ATOMIC_RELAXED);
	if (s->next)
		s->next->prev = s->prev;
}

/* A held slab without free blocks is in no list; it points at itself. */
static bool is_listed(const struct slice *s)
{
	return s->prev != s;
}

/*
 * ---- States of owned slabs; the cache's lock is held
 * ---------------------------------------------------------------
 */

static struct cache *cache_of(const struct slice *s)
{
	return atomic_load_explicit(&s->cache, memory_order_acquire);
}

static void set_state(struct slice *s, enum slab_state state)
{
	__atomic_store_n(&s->state, (uint8_t)state, __ATOMIC_RELAXED);
}

static enum slab_state get_state(const struct slice *s)
{
	return (enum slab_state)__atomic_load_n(&s->state, __ATOMIC_RELAXED);
}

/* Frees take the fast path only where it sees all there is to check. */
static void set_owner(struct cache *c, struct slice *s)
{
	slab_set_owner(s, c->slow || s->purged ? SLOW_ID : c->id);
}

/* The calling thread is the cache's. */
static void set_current(struct cache *c, unsigned class, struct slice *s)
{
	size_t last = class_size(class), first = class ? class_size(class - 1) + 1 : 0;

	c->current[class] = s;
	if (last <= SMALL_MAX && !c->slow)
		for (size_t i = (first + MIN_ALIGN - 1) / MIN_ALIGN; i <= last / MIN_ALIGN; i++)
			cache_direct[i] = s;
	else if (last <= MEDIUM_MAX)
		for (size_t i = (first + MEDIUM_STEP - 1) / MEDIUM_STEP; i <= last / MEDIUM_STEP; i++)
			c->medium[i] = s;
}

/* The level at which a slab counts as sparse; small ones empty soon enough. */
static int32_t sparse_mark(const struct slice *s)
{
	return s->capacity >= 8 ? s->capacity / 4 : 0;
}

static void set_sparse_mark(struct slice *s)
{
	int32_t live = slab_live(s), mark = sparse_mark(s);

	slab_set_mark(s, live, live > mark ? mark : 0);
}

/* An owned, unlisted slab without live blocks ends. */
static void retire(struct slice *s)
{
	CHECK_DEBUG(slab_live(s) == (int32_t)remote_count(atomic_load(&s->remote)));
	for (unsigned i = 1; i < s->slices; i++)
		slice_set_kind(&s[i], SLICE_FREE);
	set_state(s, SLAB_NONE);
	atomic_store_explicit(&s->cache, NULL, memory_order_release);
	arena_put(s);
}

static void make_current(struct cache *c, struct slice *s)
{
	set_state(s, SLAB_CURRENT);
	slab_set_mark(s, slab_live(s), 0);
	set_owner(c, s);
	set_current(c, s->class, s);
}

static void make_partial(struct cache *c, struct slice *s)
{
	set_state(s, SLAB_PARTIAL);
	set_owner(c, s);
	list_push(&c->partial[s->class], s);
}

_Atomic size_t cache_waiting;

/* Something lies on the remote list of a slab of a thread, and nobody may come to see it. */
static void count_waiting(void)
{
	atomic_fetch_add_explicit(&cache_waiting, 1, memory_order_relaxed);
}

/*
 * The current slab has no block left. Other threads may have freed some since it was looked at: see the head of this
 * file.
 */
static void make_full(struct cache *c, struct slice *s)
{
	unsigned remote;

	set_current(c, s->class, (struct slice *)&slab_none);
	/* The event comes when so many blocks were freed that allocating from it is worth while again. */
	slab_set_mark(s, slab_live(s), slab_live(s) > s->notify_at ? slab_live(s) - s->notify_at : 0);
	set_state(s, SLAB_FULL);
	set_owner(c, s);
	atomic_thread_fence(memory_order_seq_cst);
	remote = remote_count(atomic_load_explicit(&s->remote, memory_order_relaxed));
	if (LIKELY(!remote)) {
		list_push(&c->full, s);
		return;
	}
	count_waiting();
	if (remote >= s->notify_at)
		make_partial(c, s);
	else
		list_push(&c->full, s);
}

static void unlist(struct cache *c, struct slice *s)
{
	list_remove(get_state(s) == SLAB_FULL ? &c->full : &c->partial[s->class], s);
}

/*
 * ---- Slabs of no thread
 * -------------------------------------------------------------------------------------------
 */

/* As held_tick, below the first of heap_tick. */
enum {
	EXAMINED = 0,    /* was purged as far as it could be */
	PASSED_OVER = 1, /* was not, as its region may be one huge page that is mostly full */
};

static bool was_looked_at(const struct slice *s)
{
	return s->held_tick <= PASSED_OVER;
}

static struct arena *arena_of(const struct slice *s)
{
	struct region *r = atomic_load_explicit(&s->region, memory_order_relaxed);

	return r ? atomic_load_explicit(&r->arena, memory_order_acquire) : NULL;
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

/* Held slabs that were not examined yet: something for the scavenger to do. */
_Atomic size_t cache_unexamined;

/* The arena's lock is held for both. */
static void hold(struct arena *a, struct slice *s)
{
	list_push(held_list(a, s), s);
	if (!was_looked_at(s))
		atomic_fetch_add_explicit(&cache_unexamined, 1, memory_order_relaxed);
}

static void unhold(struct arena *a, struct slice *s)
{
	list_remove(held_list(a, s), s);
	if (!was_looked_at(s))
		atomic_fetch_sub_explicit(&cache_unexamined, 1, memory_order_relaxed);
}

static bool is_empty(const struct slice *s)
{
	return slab_live(s) == (int32_t)remote_count(atomic_load_explicit(&s->remote, memory_order_acquire));
}

/* The arena's lock is held, and dropped here. S is held and in no list. */
static void relist_and_drop(struct arena *a, struct slice *s)
{
	bool empty;

	set_state(s, SLAB_HELD);
	atomic_thread_fence(memory_order_seq_cst); /* see the head of this file */
	empty = is_empty(s);
	if (empty)
		set_state(s, SLAB_NONE);
	else if (has_free(s))
		hold(a, s);
	else
		s->prev = s;
	lock_drop(&a->lock);
	if (empty)
		retire(s);
}

/* Gives an owned, unlisted slab to its arena. The cache's lock is held. */
static void disown(struct slice *s)
{
	struct arena *a = arena_of(s);

	slab_collect(s);
	slab_set_mark(s, slab_live(s), 0);
	slab_set_owner(s, SLOW_ID);
	lock_take(&a->lock);
	if (a->retired) { /* in a forked child: nothing may be linked there */
		set_state(s, SLAB_NONE);
		atomic_store_explicit(&s->cache, NULL, memory_order_release);
		lock_drop(&a->lock);
		return;
	}
	s->held_tick = atomic_load_explicit(&heap_tick, memory_order_relaxed);
	atomic_store_explicit(&s->cache, NULL, memory_order_release);
	relist_and_drop(a, s);
}

static struct slice *adopt(struct cache *c, unsigned class)
{
	struct arena *a = c->arena;
	struct slice **list, *s;

	/* Looked at without the lock: an adoption that is missed costs a new slab. */
	if (!__atomic_load_n(&a->held[class], __ATOMIC_RELAXED) &&
	    !__atomic_load_n(&a->sparse[class], __ATOMIC_RELAXED))
		return NULL;
	lock_take(&a->lock);
	/* At a limit, only what may have a block for which no page is needed. */
	list = a->held[class] || c->limited ? &a->held[class] : &a->sparse[class];
	s = a->retired ? NULL : *list;
	if (s) {
		unhold(a, s);
		set_state(s, SLAB_PARTIAL);
		atomic_store_explicit(&s->cache, c, memory_order_release);
	}
	lock_drop(&a->lock);
	return s;
}

enum { PURGE_BATCH = 64 };

/* Purge passes over S, which counts as looked at. */
static void leave_whole(struct arena *a, struct slice *s)
{
	if (was_looked_at(s))
		return;
	unhold(a, s);
	s->held_tick = PASSED_OVER;
	hold(a, s);
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
		unhold(a, s);
		set_state(s, SLAB_PURGING);
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

		for (; at < n_ranges && (size_t)((char *)ranges[at].iov_base - s->base) < SLICE_BYTES; at++)
			slab_end_purge(s, &ranges[at], !(refused >> at & 1));
		s->held_tick = EXAMINED;
		lock_take(&a->lock);
		relist_and_drop(a, s);
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

size_t cache_purge_held(struct arena *a, uint32_t until, bool all)
{
	size_t bytes = 0;

	for (unsigned class = 0; class < CLASSES; class += 1) {
		if (class_slices(class) != 1)
			continue;
		if (__atomic_load_n(&a->held[class], __ATOMIC_RELAXED))
			bytes += purge_class(a, &a->held[class], until, all);
		if (__atomic_load_n(&a->sparse[class], __ATOMIC_RELAXED))
			bytes += purge_class(a, &a->sparse[class], until, all);
	}
	return bytes;
}

/*
 * ---- Remote frees
 * -------------------------------------------------------------------------------------------------
 */

static bool attend_owned(struct cache *c, struct slice *s)
{
	enum slab_state state;

	lock_take(&c->lock);
	if (cache_of(s) != c) {
		lock_drop(&c->lock);
		return false;
	}
	state = get_state(s);
	if (state == SLAB_FULL || state == SLAB_PARTIAL) {
		/* No block lives, so the owner, which allocates from other slabs, has nothing to free here either. */
		if (is_empty(s)) {
			unlist(c, s);
			retire(s);
		} else if (state == SLAB_FULL &&
			   remote_count(atomic_load_explicit(&s->remote, memory_order_relaxed)) >= s->notify_at) {
			unlist(c, s);
			make_partial(c, s);
			count_waiting();
		}
	}
	lock_drop(&c->lock);
	return true;
}

static bool attend_held(struct slice *s)
{
	struct arena *a = arena_of(s);

	if (!a)
		return true;
	lock_take(&a->lock);
	if (a->retired || arena_of(s) != a || get_state(s) != SLAB_HELD) {
		lock_drop(&a->lock);
		return !cache_of(s);
	}
	if (is_listed(s)) {
		if (!is_empty(s)) {
			lock_drop(&a->lock);
			return true;
		}
		unhold(a, s);
	}
	relist_and_drop(a, s);
	return true;
}

static void attend(struct slice *s)
{
	for (;;) {
		struct cache *c = cache_of(s);

		if (c && c->generation != atomic_load_explicit(&generation, memory_order_relaxed))
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
	struct cache *c = cache_of(s);
	enum slab_state state;

	if (!c || c->generation != atomic_load_explicit(&generation, memory_order_relaxed))
		return;
	lock_take(&c->lock);
	state = get_state(s);
	if (cache_of(s) == c && (state == SLAB_FULL || state == SLAB_PARTIAL) &&
	    remote_count(atomic_load_explicit(&s->remote, memory_order_relaxed))) {
		if (is_empty(s)) {
			unlist(c, s);
			retire(s);
		} else if (has_fast_owner(s)) {
			slab_set_owner(s, SLOW_ID);
			count_waiting();
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

void cache_attend_waiting(void)
{
	if (!atomic_exchange_explicit(&cache_waiting, 0, memory_order_relaxed))
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
	if (state == SLAB_CURRENT)
		return false;
	return pushed == notify_at || (int32_t)pushed >= slab_live(s) || (state == SLAB_HELD && pushed == 1);
}

static void free_remote(struct slice *s, struct block *b)
{
	uint64_t word = atomic_load_explicit(&s->remote, memory_order_relaxed);
	unsigned n, notify_at = s->notify_at; /* read while the block keeps the slab alive */
	enum slab_state state;

	if (UNLIKELY(b->key == slab_key(s)) && cache_is_free(s, b))
		misuse("double free: free", b);
	b->key = slab_key(s);
	do {
		b->next = remote_first(word);
		n = remote_count(word) + 1;
	} while (!atomic_compare_exchange_weak_explicit(&s->remote, &word, remote_pack(b, n), memory_order_seq_cst,
							memory_order_relaxed));
	state = get_state(s);
	if (needs_attention(s, state, n, notify_at))
		attend(s);
	else if (n == 1 && (state == SLAB_FULL || state == SLAB_PARTIAL))
		count_waiting();
	else
		return;
	scavenger_kick();
}

/*
 * ---- Local frees and events
 * ---------------------------------------------------------------------------------------
 */

static bool is_alone(const struct slice *s)
{
	struct region *r = atomic_load_explicit(&s->region, memory_order_relaxed);

	return !(atomic_load_explicit(&r->used, memory_order_relaxed) & ~arena_mask(s));
}

static void drop_kept(struct cache *c, struct slice *s)
{
	bool current;

	if (!s || cache_of(s) != c || mark_get(s) != MARK_KEPT)
		return;
	slab_set_mark(s, slab_live(s), 0);
	current = get_state(s) == SLAB_CURRENT;
	if (slab_live(s) || (!current && get_state(s) != SLAB_PARTIAL))
		return;
	if (current)
		set_current(c, s->class, (struct slice *)&slab_none);
	else
		unlist(c, s);
	retire(s);
}

/*
 * A slab that empties is kept, since it is likely to be needed again; the ring bounds how many are, and the oldest
 * goes if it is still empty. One that is not allocated from and holds its region alone is not kept.
 */
static void keep(struct cache *c, struct slice *s)
{
	struct slice *old = c->kept[c->kept_at];

	if (get_state(s) == SLAB_PARTIAL && is_alone(s)) {
		unlist(c, s);
		retire(s);
		return;
	}
	slab_set_mark(s, 0, MARK_KEPT);
	c->kept[c->kept_at] = s;
	c->kept_at = (c->kept_at + 1) % KEPT;
	if (old != s)
		drop_kept(c, old);
}

/*
 * A slab with few live blocks left. If it does not empty soon, it is given to the arena, where its idle pages can be
 * purged.
 */
static void give_up(struct cache *c, struct slice *s)
{
	if (!s || cache_of(s) != c || get_state(s) != SLAB_PARTIAL || slab_live(s) > sparse_mark(s))
		return;
	unlist(c, s);
	disown(s);
}

static void sparse(struct cache *c, struct slice *s)
{
	struct slice *old = c->sparse[c->sparse_at];

	c->sparse[c->sparse_at] = s;
	c->sparse_at = (c->sparse_at + 1) % SPARSE;
	if (old != s)
		give_up(c, old);
}

/* S counted down to 0, or had blocks on its remote list when the owner took the slow path; the lock is held. */
static void handle_event(struct cache *c, struct slice *s)
{
	slab_set_mark(s, slab_live(s), 0);
	if (remote_count(atomic_load_explicit(&s->remote, memory_order_relaxed))) {
		slab_collect(s);
		set_owner(c, s); /* look_at_waiting may have put it on the slow path */
	}
	if (get_state(s) == SLAB_FULL) {
		unlist(c, s);
		make_partial(c, s);
	}
	if (!slab_live(s)) {
		keep(c, s);
	} else if (get_state(s) == SLAB_PARTIAL) {
		if (slab_live(s) > sparse_mark(s))
			set_sparse_mark(s);
		else
			sparse(c, s);
	}
}

/* Between the count and the lock, another thread's free of the last block may have ended the slab. */
void cache_event(struct slice *s)
{
	struct cache *c = slow_self;

	lock_take(&c->lock);
	if (LIKELY(cache_of(s) == c))
		handle_event(c, s);
	lock_drop(&c->lock);
	if (UNLIKELY(get_state(s) == SLAB_NONE))
		scavenger_kick();
}

static bool on_purged_page(const struct slice *s, const void *p)
{
	return purged_get(s) >> (((uintptr_t)p - (uintptr_t)s->base) >> PAGE_SHIFT) & 1;
}

static void free_owned(struct cache *c, struct slice *s, struct block *b)
{
	if (UNLIKELY(b->key == slab_key(s)) && slab_is_free(s, b))
		misuse("double free: free", b);
	lock_take(&c->lock);
	b->key = slab_key(s);
	b->next = s->free;
	s->free = b;
	if (get_state(s) == SLAB_FULL) {
		unlist(c, s);
		make_partial(c, s);
	}
	if (count_decrement(s) || remote_count(atomic_load_explicit(&s->remote, memory_order_relaxed)))
		handle_event(c, s);
	lock_drop(&c->lock);
}

bool cache_is_free(struct slice *s, const void *p)
{
	struct cache *c = cache_of(s);
	bool mine = c == slow_self, is;

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
	if (s->slices == 1 && UNLIKELY(on_purged_page(s, p)))
		misuse("double free: free", p);
	if (slow_self && cache_of(s) == slow_self) {
		free_owned(slow_self, s, p);
		if (get_state(s) == SLAB_NONE)
			scavenger_kick();
	} else {
		free_remote(s, p);
	}
}

/*
 * ---- Allocation
 * ---------------------------------------------------------------------------------------------------
 */

static struct slice *take_partial(struct cache *c, unsigned class)
{
	struct slice *s = c->partial[class];

	if (!s)
		return NULL;
	unlist(c, s);
	return s;
}

static struct slice *take_new(struct cache *c, unsigned class)
{
	bool fresh;
	struct slice *s;

	if (c->limited || !(s = arena_take_slab(c->arena, class_slices(class), &fresh, &c->growth)))
		return NULL;
	slab_init(s, class, fresh);
	atomic_store_explicit(&s->cache, c, memory_order_release);
	return s;
}

/* Makes sure that the free list of S is not empty; with ZERO prefers to leave that to slab_carve_zero. */
static bool replenish(struct cache *c, struct slice *s, bool zero)
{
	bool had_purged = s->purged; /* frees of its blocks took the slow path */
	bool ok = s->free || slab_collect(s) || (zero && s->fresh && !s->purged && s->carved < s->capacity) ||
		  slab_carve(s, &c->growth);

	if (UNLIKELY(had_purged) && ok && get_state(s) == SLAB_CURRENT)
		set_owner(c, s);
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
	set_current(c, s->class, (struct slice *)&slab_none);
	s->next = c->limited;
	c->limited = s;
}

static COLD void put_limited_back(struct cache *c)
{
	while (c->limited) {
		struct slice *s = c->limited;

		c->limited = s->next;
		make_partial(c, s);
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
	while ((s = take_partial(c, class)) || (s = adopt(c, class)) || (s = take_new(c, class))) {
		make_current(c, s);
		if (replenish(c, s, zero))
			return s;
		set_aside(c, s);
	}
	return NULL;
}

static void *pop(struct slice *s)
{
	struct block *b = s->free;

	s->free = b->next;
	count_increment(s);
	b->key = 0;
	return b;
}

/* Memory is short: the request may be made again, at most so often as relief() agrees. */
static COLD void *refill_again(struct cache *c, unsigned class, bool zero)
{
	void *p = relief(&c->growth) ? cache_refill(class, zero) : NULL;

	c->growth = (struct growth){0};
	return p;
}

void *cache_refill(unsigned class, bool zero)
{
	struct cache *c = cache_get();
	struct slice *s;
	void *p = NULL;

	if (!c)
		return NULL;
	lock_take(&c->lock);
	if (!c->arena || c->arena->retired)
		c->arena = arena_assign();
	s = c->arena ? usable_slab(c, class, zero) : NULL;
	if (s && zero && (p = slab_carve_zero(s)))
		count_increment(s);
	else if (s)
		p = zero ? memset(pop(s), 0, s->block_size) : pop(s);
	if (UNLIKELY(c->limited))
		put_limited_back(c);
	lock_drop(&c->lock);
	scavenger_grown();
	return LIKELY(s != NULL) ? p : refill_again(c, class, zero);
}

/*
 * ---- Threads
 * ------------------------------------------------------------------------------------------------------
 */

static void clear_cache(struct cache *c)
{
	for (int i = 0; i < DIRECT; i++)
		cache_direct[i] = (struct slice *)&slab_none;
	memcpy(c->medium, cache_none.medium, sizeof c->medium);
	memcpy(c->current, cache_none.current, sizeof c->current);
	memset(c->partial, 0, sizeof c->partial);
	memset(c->kept, 0, sizeof c->kept);
	memset(c->sparse, 0, sizeof c->sparse);
	c->full = NULL;
}

/*
 * A cache for thread THREAD: what it left behind when it used malloc after its cache was torn down, a spare one, or
 * a new one. Caches of threads that a fork left behind are never used again.
 */
static struct cache *find_cache(uintptr_t thread, bool *again)
{
	struct cache *c, *spare = NULL;
	size_t count = 0;

	for (c = caches; c; c = c->next, count++) {
		if (c->generation != generation)
			continue;
		if (c->in_use && c->thread == thread)
			break;
		if (!c->in_use)
			spare = c;
	}
	*again = c != NULL;
	if (!c && !(c = spare)) {
		c = count + 1 < ID_COUNT ? meta_alloc(sizeof *c) : NULL;
		if (!c)
			return NULL;
		c->id = (count + 1) << ID_SHIFT;
		c->generation = generation;
		c->next = caches;
		__atomic_store_n(&caches, c, __ATOMIC_RELEASE);
	}
	c->in_use = true;
	c->thread = thread;
	return c;
}

static void disown_all(struct cache *c)
{
	for (unsigned class = 0; class < CLASSES; class += 1) {
		struct slice *s = c->current[class];

		if (s != &slab_none) {
			set_current(c, class, (struct slice *)&slab_none);
			disown(s);
		}
		while ((s = take_partial(c, class)))
			disown(s);
	}
	while (c->full) {
		struct slice *s = c->full;

		unlist(c, s);
		disown(s);
	}
}

static struct cache *create(void)
{
	bool again;
	struct cache *c;

	if (!cache_init())
		return NULL;
	lock_take(&caches_lock);
	c = find_cache(os_thread_id(), &again);
	lock_drop(&caches_lock);
	if (!c)
		return NULL;
	if (again) {
		lock_take(&c->lock);
		disown_all(c);
		lock_drop(&c->lock);
	}
	clear_cache(c);
	c->slow = cache_instrumented || ending;
	if (!again)
		c->arena = arena_assign();
	if (!c->arena) {
		c->in_use = false;
		return NULL;
	}
	slow_self = c;
	if (!c->slow) {
		cache_self = c;
		cache_id = c->id;
	}
	pthread_setspecific(exit_key, c); /* may allocate: the cache is ready */
	return c;
}

struct cache *cache_get(void)
{
	return LIKELY(slow_self != NULL) ? slow_self : create();
}

static void thread_exit(void *arg)
{
	struct cache *c = arg;

	if (c->generation != generation)
		return;
	ending = true;
	cache_self = &cache_none;
	cache_id = 0;
	slow_self = NULL;
	memcheck_silence();
	lock_take(&c->lock);
	disown_all(c);
	clear_cache(c);
	lock_drop(&c->lock);
	memcheck_resume();
	arena_unassign(c->arena);
	lock_take(&caches_lock);
	c->in_use = false;
	c->thread = 0;
	lock_drop(&caches_lock);
	scavenger_kick();
}

void cache_flush(void)
{
	struct cache *c = slow_self;

	if (!c)
		return;
	memcheck_silence();
	lock_take(&c->lock);
	for (unsigned class = 0; class < CLASSES; class += 1) {
		struct slice *s = c->current[class];

		if (s == &slab_none)
			continue;
		slab_collect(s);
		slab_set_mark(s, slab_live(s), slab_live(s) ? 0 : MARK_KEPT);
		drop_kept(c, s);
	}
	for (int i = 0; i < KEPT; i++)
		drop_kept(c, c->kept[i]);
	for (int i = 0; i < SPARSE; i++)
		give_up(c, c->sparse[i]);
	memset(c->kept, 0, sizeof c->kept);
	memset(c->sparse, 0, sizeof c->sparse);
	lock_drop(&c->lock);
	memcheck_resume();
}

void cache_set_arena(struct cache *c, struct arena *a)
{
	lock_take(&c->lock);
	arena_unassign(c->arena);
	atomic_fetch_add_explicit(&a->threads, 1, memory_order_relaxed);
	c->arena = a;
	lock_drop(&c->lock);
}

unsigned cache_threads(void)
{
	unsigned n = 0;

	lock_take(&caches_lock);
	for (struct cache *c = caches; c; c = c->next)
		n += c->in_use && c->generation == generation;
	lock_drop(&caches_lock);
	return n;
}

/*
 * ---- Start and fork
 * -----------------------------------------------------------------------------------------------
 */

static bool init_locked(void)
{
	char buf[128];
	struct text t;

	options_init();
	arena_init();
	cache_instrumented = memcheck_runs();
	heap_has_fast_path = !cache_instrumented;
	if (cache_instrumented)
		release_restrict(); /* memcheck does not know newer system calls */
	if (!heap_init() && arena_get(0) && !pthread_key_create(&exit_key, thread_exit))
		return true;
	text_init(&t, buf, sizeof buf);
	text_put(&t, "no address space for a heap: raise RLIMIT_AS (ulimit -v); every allocation fails");
	os_message(&t);
	return false;
}

bool cache_init(void)
{
	static struct lock lock;
	static _Atomic int state; /* 0 not tried, 1 ready, -1 failed */
	int now = atomic_load_explicit(&state, memory_order_acquire);

	if (now)
		return now > 0;
	lock_take(&lock);
	if (!atomic_load_explicit(&state, memory_order_relaxed))
		atomic_store_explicit(&state, init_locked() ? 1 : -1, memory_order_release);
	lock_drop(&lock);
	return state > 0;
}

/*
 * In the child of a fork only this thread is left, and it was not inside the allocator. Locks that are held were
 * held by others, in the middle of a change: what they guard is given up. Slabs of other threads stay as they are:
 * the generation tells, and no thread will have their ids.
 */
static void after_fork_in_child(void)
{
	struct cache *c = slow_self;
	bool heap_torn = heap_after_fork(), arena_torn = arena_after_fork();

	limit_after_fork(heap_torn || arena_torn);
	huge_after_fork();
	relief_after_fork();
	scavenger_after_fork();
	lock_reset(&caches_lock);
	atomic_store_explicit(&generation, generation + 1, memory_order_relaxed);
	if (!c)
		return;
	if (lock_held(&c->lock)) {
		lock_reset(&c->lock);
		for (int i = 0; i < DIRECT; i++)
			cache_direct[i] = (struct slice *)&slab_none;
		cache_self = &cache_none;
		cache_id = 0;
		slow_self = NULL;
		return;
	}
	c->generation = generation;
}

__attribute__((constructor(101))) static void start(void)
{
	cache_init();
	pthread_atfork(NULL, huge_after_fork_in_parent, after_fork_in_child);
}
