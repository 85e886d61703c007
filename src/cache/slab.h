/* SPDX-License-Identifier: MIT */
/*
 * Slabs: extents cut into equal blocks. A free block holds two words: the link to the next one and the slab's key,
 * by which a second free of it is noticed. Blocks are carved from the start upwards as they are needed.
 *
 * Here are the operations on one slab; who may call them is said in heap/slice.h.
 */
#ifndef PMD_CACHE_SLAB_H
#define PMD_CACHE_SLAB_H

#include <sys/uio.h>

#include "cache/classes.h"

struct block {
	struct block *next;
	uint64_t key;
};

/*
 * Accesses of count and last, which the owner changes without a lock while others read them. Where a plain
 * instruction on memory is a single one for its own CPU (x86), it is written as that: atomics would become three.
 *
 * Whoever reads that no block lives may end the slab: what the owner did before it counted its last block down comes
 * before that.
 */
static inline int32_t count_get(const struct slice *s)
{
	return __atomic_load_n(&s->count, __ATOMIC_ACQUIRE);
}

static inline void count_set(struct slice *s, int32_t n)
{
	__atomic_store_n(&s->count, n, __ATOMIC_RELAXED);
}

#if defined(__x86_64__) && !defined(PMD_SANITIZED)
static inline void count_increment(struct slice *s)
{
	__asm__("incl %0" : "+m"(s->count));
}

/* Returns whether it became 0. */
static inline bool count_decrement(struct slice *s)
{
	bool zero;

	__asm__("decl %0" : "+m"(s->count), "=@ccz"(zero) : : "memory");
	return zero;
}
#else
static inline void count_increment(struct slice *s)
{
	count_set(s, count_get(s) + 1);
}

static inline bool count_decrement(struct slice *s)
{
	int32_t n = count_get(s) - 1;

	__atomic_store_n(&s->count, n, __ATOMIC_RELEASE);
	return !n;
}
#endif

/*
 * What the second word of a free block holds. A word there that equals it is a suspicion, no proof: the program may
 * have copied it; then the lists tell. The descriptor's address is random per process and costs free() no load.
 */
static inline uint64_t slab_key(const struct slice *s)
{
	return (uintptr_t)s;
}

/*
 * Whether P is the start of a block of S that was carved, and S the slab of a thread whose cache_id is ID: one
 * multiplication tests divisibility, both bounds and the owner, for any P.
 *
 * Ids are multiples of ID_STEP below 2^40, so d = anchor - p - ID is last - p for the owner, and at least ID_STEP -
 * 2^18 away from that for another thread. Let |d| < 2^48 - 2^20; magic = floor(2^64 / size) + 1; e = size * magic - 2^64,
 * so 1 <= e <= size; and bound = capacity * e <= 2^18. Then d * magic mod 2^64 is
 *   k * e               for d == k * size, k >= 0: below the bound if and only if k < capacity, that is d < 2^18
 *   2^64 - k * e        for d == -k * size, k > 0, above the last block: at least 2^64 - 2^48
 *   r * magic + k * e   for all other d, d == k * size + r with 0 < r < size: from the bound to 2^64, if for such k
 *                       |k| * e + bound + e <= magic.
 * Up to 60 KiB that is so as |k| * e <= 2^48 and magic > 2^48 + 2^44; for 64 KiB, as |k| * e < 2^48 - 2^20 + 2^17 and magic is
 * 2^48 + 1; for 72 and 80 KiB, as e is a ninth and a fifth of size and magic > 2^47.
 * A k < capacity that is not a block's lies less than a slab below its start, in a slice with another descriptor.
 *
 * Null pointers lead to the first descriptor, and may while another thread makes it a slab: then anchor (below: last) and magic
 * are read from before, and the new bound. So none of them is ever 0 there: for any two of what they have been, and any id, the
 * above holds, as null is far from all blocks.
 * (The idea of testing divisibility so: D. Lemire et al., "Faster remainder by direct computation", 2019.)
 */
static inline bool slab_block_of_thread(const struct slice *s, const void *p, uintptr_t id)
{
	uintptr_t distance = __atomic_load_n(&s->anchor, __ATOMIC_RELAXED) - (uintptr_t)p;

	/* Keeps the compiler from adding P and ID first, which takes an instruction more. */
	__asm__("" : "+r"(distance));
	return LIKELY((distance - id) * s->magic < s->bound);
}

/* The same without the owner. */
static inline bool slab_block_valid(const struct slice *s, const void *p)
{
	return (__atomic_load_n(&s->last, __ATOMIC_RELAXED) - (uintptr_t)p) * s->magic < s->bound;
}

enum { ID_SHIFT = 20, ID_COUNT = 1 << 20 };
#define SLOW_ID ((uintptr_t)1 << 41) /* no thread's: every free takes the slow path */

static inline void slab_set_owner(struct slice *s, uintptr_t id)
{
	__atomic_store_n(&s->anchor, s->last + id, __ATOMIC_RELAXED);
}

/* Fetches the cache line of P, which this thread is going to write to. */
static inline void prefetch_to_write(const void *p)
{
#ifdef __x86_64__
	__asm__("prefetchw %0" : : "m"(*(const char *)p)); /* what the compiler would use is for reading */
#else
	__builtin_prefetch(p, 1);
#endif
}

/* Each of its blocks is much memory. */
static inline bool slab_is_big(const struct slice *s)
{
	return s->block_size >= BIG_FROM;
}

static inline int32_t mark_get(const struct slice *s)
{
	return __atomic_load_n(&s->mark, __ATOMIC_RELAXED);
}

static inline int32_t slab_live(const struct slice *s)
{
	return count_get(s) + mark_get(s);
}

/* Of the sixteenth in which a live block starts the bit is 0 and stays so; the others change under the lock. */
static inline uint16_t purged_get(const struct slice *s)
{
	return __atomic_load_n(&s->purged, __ATOMIC_RELAXED);
}

static inline void purged_set(struct slice *s, uint16_t parts)
{
	__atomic_store_n(&s->purged, parts, __ATOMIC_RELAXED);
}

/* Sets the mark; count + mark == live stays true. */
static inline void slab_set_mark(struct slice *s, int32_t live, int32_t mark)
{
	__atomic_store_n(&s->mark, mark, __ATOMIC_RELAXED);
	count_set(s, live - mark);
}

static inline unsigned remote_count(uint64_t word)
{
	return word & 0xffff;
}

static inline struct block *remote_first(uint64_t word)
{
	return (struct block *)(word >> 16);
}

static inline uint64_t remote_pack(struct block *first, unsigned count)
{
	return (uint64_t)(uintptr_t)first << 16 | count;
}

/* Whether slab_collect is worth an atomic exchange. */
static inline bool slab_has_remote(const struct slice *s)
{
	return remote_count(atomic_load_explicit(&s->remote, memory_order_relaxed));
}

/* Where in S those blocks begin that are zero until they are carved. */
static inline size_t slab_clean_from(const struct slice *s)
{
	return (size_t)(SLAB_PARTS - s->clean) << slice_sixteenth_shift(s);
}

/* Whether the next block that is carved is zero. */
static inline bool slab_has_zero(const struct slice *s)
{
	return s->carved < s->capacity && !s->purged && (size_t)s->carved * s->block_size >= slab_clean_from(s);
}

/* Makes the extent S, whose `clean` is set, a slab of CLASS with nothing carved. */
void slab_init(struct slice *s, unsigned class);

/*
 * Carves more blocks onto the empty free list: to the end of the page, or more where pages are dirty anyway; blocks
 * of purged parts first. False when every block is carved, or a limit was met: then G says so.
 */
bool slab_carve(struct slice *s, struct growth *g);

/* Carves one block of a slab with an empty free list, whose bytes are all zero; NULL when that cannot be had. */
void *slab_carve_zero(struct slice *s);

/*
 * Moves the blocks that others freed to the free list. Returns their number. live is reduced by it, the mark set to
 * 0.
 */
unsigned slab_collect(struct slice *s);

/*
 * MANY free blocks of S, from which blocks will be taken, are in no cache of this processor: S is fetched whole, by address, if
 * they are half of it. Their list leads to and fro, so that each would be waited for on its own.
 */
void slab_warm(const struct slice *s, unsigned many);

/* The first block of the free list, which is not empty. */
static inline void *slab_pop(struct slice *s)
{
	struct block *b = s->free;

	s->free = b->next;
	count_increment(s);
	b->key = 0;
	return b;
}

/* The block that P lies in, for messages. */
void *slab_block_of(const struct slice *s, const void *p);

/*
 * Whether P is on the free list or the remote list. The owner may be changing the former meanwhile: then the answer
 * may be no.
 */
bool slab_is_free(const struct slice *s, const void *p);

enum { SLAB_RUNS_MAX = SLAB_PARTS / 2 };

/*
 * Takes the blocks in sixteenths without a live block off the free list, and stores those as ranges (at most
 * SLAB_RUNS_MAX) for the caller to give back. Nobody else may use the slab until that is done, but for pushing on its
 * remote list. Returns the number of ranges.
 */
size_t slab_purge(struct slice *s, struct iovec *ranges);

/* The kernel has answered for one of the ranges. If it refused, the blocks are back on the free list. */
void slab_end_purge(struct slice *s, const struct iovec *range, bool dropped);

#endif
