/* SPDX-License-Identifier: MIT */
/*
 * Thread caches: the slabs that a thread owns. Each slab is current (one per class, allocated from), partial or
 * full, and at the thread's end goes to its arena, from which other threads adopt it.
 *
 * Only the owner allocates from a slab and pushes on its free list, without a lock. What else happens to an owned
 * slab (lists, states, being taken away when another thread freed its last block) is under the cache's lock, which
 * the owner takes on its slow paths only.
 */
#ifndef PMD_CACHE_CACHE_H
#define PMD_CACHE_CACHE_H

#include "cache/slab.h"

enum {
	KEPT = 8,     /* empty current slabs that a thread keeps for reuse */
	KEPT_BIG = 2, /* of those with big blocks, apart from the others */
	SPARSE = 32,  /* slabs that have become sparse, but may be about to empty: not given up yet */
	SPARSE_BIG = 8,
	UNTOLD = 8, /* slices that a thread gives to its arena before it tells the scavenger */
};

struct cache {
	struct slice *medium[MEDIUM];   /* current slab by (size + 63) / 64, from SMALL_MAX up */
	struct slice *current[CLASSES]; /* current slab by class; slab_none if there is none */

	struct lock lock; /* guards what follows */
	struct slice *partial[CLASSES];
	struct slice *full;
	/* Rings; entries may be out of date and are checked when used. */
	struct slice *kept[KEPT + KEPT_BIG], *sparse[SPARSE + SPARSE_BIG];
	unsigned kept_at[2], sparse_at[2]; /* the next entry, of small and of big ones */
	unsigned untold;       /* slices that its thread has given to the arena without a word to the scavenger */
	struct growth growth;  /* of what its thread is asking for */
	struct slice *limited; /* slabs that wait for that to end, linked by next */
	uintptr_t id;          /* cache_id of its thread; constant, unlike any other cache's */
	uintptr_t thread;      /* os_thread_id() of the thread, under caches_lock */
	struct arena *arena;
	uint32_t generation;           /* forks between the first process and the one whose thread this is */
	struct quarantine *quarantine; /* what check:strict has its thread hold back; the thread's */
	int64_t until_special; /* requests off the fast path until one may be sampled; its thread's. Never above 0 where each is special */
	uint64_t guard_seed;     /* what that is drawn from */
	uint8_t shared[CLASSES]; /* so many blocks its thread took from slabs of its arena, up to FEW; the thread's */
	bool in_use;             /* under caches_lock */
	bool slow;               /* its thread uses no fast path: instrumented, or ending; constant while in use */
	struct cache *next;      /* all caches ever made; constant */
};

extern HIDDEN const struct slice slab_none; /* count + mark != carved: cache_refill looks closer */
extern HIDDEN struct cache cache_none;

/*
 * For the fast paths, initial-exec: two instructions to read, and no allocation behind it. The calling thread's
 * current slab by (size + 15) / 16, its cache, and the cache's id; slab_none, cache_none and 0 when it has none yet,
 * and always when instrumented.
 */
extern HIDDEN __thread struct slice *cache_direct[DIRECT] __attribute__((tls_model("initial-exec")));
extern HIDDEN __thread struct cache *cache_self __attribute__((tls_model("initial-exec")));
extern HIDDEN __thread uintptr_t cache_id __attribute__((tls_model("initial-exec")));

/* The same where it is instrumented too; NULL when it has none. */
extern HIDDEN __thread struct cache *cache_slow_self __attribute__((tls_model("initial-exec")));

/* How many forks there were between the first process and this one. */
extern HIDDEN _Atomic uint32_t cache_generation;

/* Set when every call must take the slow path, which does what memcheck or AddressSanitizer needs: see api/marks.h. */
extern HIDDEN bool cache_instrumented;

/*
 * Set when every call must take the slow path for check:strict. Unlike in the case above threads own their slabs as usual,
 * and use them without a lock: see cache_owns.
 */
extern HIDDEN bool cache_strict;

/* Set when either is. */
extern HIDDEN bool cache_special;

/* Called, if set, when the calling thread's cache is about to be torn down. */
extern HIDDEN void (*cache_on_thread_exit)(struct cache *c);

/* Called, if set, in a forked child. */
extern HIDDEN void (*cache_on_fork)(void);

/* Reads options and reserves the heap, once. False (after one line on stderr) when the heap cannot be had. */
bool cache_init(void);

/* The calling thread's cache, created if need be; NULL when memory is short. */
struct cache *cache_get(void);

/* Whether C's thread may free P, a valid block of S, without a lock. */
static inline bool cache_owns(const struct cache *c, const struct slice *s, const void *p)
{
	return slab_block_of_thread(s, p, c->id);
}

/* A block of CLASS when the current slab has none; with ZERO cleared. NULL when memory is short. */
void *cache_refill(unsigned class, bool zero);

/*
 * P, a block of S that was found valid, is freed: by the owner when S is not for its fast path, or by another
 * thread.
 */
void cache_free_slow(struct slice *s, void *p);

/* Whether block P of S, whose second word makes it suspicious, is free indeed. */
bool cache_is_free(struct slice *s, const void *p);

/* The owner's fast path counted S down to 0. */
void cache_event(struct slice *s);

/* Hands the calling thread's empty and sparse slabs back. */
void cache_flush(void);

/* The same, and its next request of each class takes the slow path. */
void cache_set_aside(void);

/* Makes the calling thread use arena A from now on. */
void cache_set_arena(struct cache *c, struct arena *a);

/* Gives up S, an entry of the ring of kept or of sparse slabs, if it is still what it was. The cache's lock is held. */
void cache_drop_kept(struct cache *c, struct slice *s);
void cache_give_up(struct cache *c, struct slice *s);

unsigned cache_threads(void);

/*
 * Whether the calling thread's cache is the only one of a thread that is there, or was when this process was forked. If so it
 * stays that: whoever asks for a cache waits until cache_let_begin().
 */
bool cache_stay_only(void);
void cache_let_begin(void);

/*
 * The calling thread's slab whose list of free blocks leads elsewhere, because a link was written over; NULL if there is
 * none. For who has met a fault: to look each time would be too much for the fast path.
 */
const struct slice *cache_torn(void);

/* Defined by the layer above: makes it ready, before the first block is handed out. */
void check_init(void);

/* Says so, without a lock held, if the list of free blocks of S, which is the caller's, ended too soon. */
void cache_look_for_lost(struct slice *s);

/* A message about the misuse of P, with what is known of it, and the end of the process, unless abort:false. */
void misuse(const char *what, const void *p);

/* The same about S, of which so many free blocks are MISSING from the list of them. */
void misuse_list(const struct slice *s, int32_t missing);

#endif
