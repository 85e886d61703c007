/* SPDX-License-Identifier: MIT */
/*
 * A mutex of four bytes over futex(2), after U. Drepper, "Futexes Are Tricky" (2011), mutex 3: 0 free, 1 taken, 2
 * taken and somebody may wait. Zeroed memory is a free lock.
 *
 * Locks are ranked: relief, cache, then arena, then heap, then those that are innermost (caches list, metadata pool). A
 * thread takes them in that order only, so they cannot deadlock. fork() takes none: the child looks which were held
 * and gives up what they guard, or puts it in order.
 */
#ifndef PMD_OS_LOCK_H
#define PMD_OS_LOCK_H

#include <stdatomic.h>

#include "base/base.h"

struct lock {
	_Atomic uint32_t word;
};

void lock_wait(struct lock *l);
void lock_wake(struct lock *l);

static inline void lock_take(struct lock *l)
{
	uint32_t free = 0;

	if (UNLIKELY(!atomic_compare_exchange_strong_explicit(&l->word, &free, 1, memory_order_acquire,
							      memory_order_relaxed)))
		lock_wait(l);
}

static inline void lock_drop(struct lock *l)
{
	if (UNLIKELY(atomic_exchange_explicit(&l->word, 0, memory_order_release) == 2))
		lock_wake(l);
}

/*
 * A full fence for who has just dropped a lock, or changed an atomic by a locked instruction: on x86 that was one, and only
 * the compiler has to be told.
 */
static inline void lock_fence(void)
{
#ifdef __x86_64__
	atomic_signal_fence(memory_order_seq_cst);
#else
	atomic_thread_fence(memory_order_seq_cst);
#endif
}

static inline bool lock_held(struct lock *l)
{
	return atomic_load_explicit(&l->word, memory_order_relaxed);
}

/* In a forked child, for a lock that a thread held that is not there any more. */
static inline void lock_reset(struct lock *l)
{
	atomic_store_explicit(&l->word, 0, memory_order_relaxed);
}

#endif
