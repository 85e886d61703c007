/* SPDX-License-Identifier: MIT */
#include "os/lock.h"
#include "os/os.h"

enum {
	SPINS = 64,   /* critical sections are short; longer waiting only burns the holder's CPU */
	WAIT_MS = 50, /* the kernel may have refused to wake (a filter does): then who waits looks again by itself */
};

void lock_wait(struct lock *l)
{
	for (int i = 0; i < SPINS; i++) {
		uint32_t free = 0;

		if (!lock_held(l) && atomic_compare_exchange_weak_explicit(&l->word, &free, 1, memory_order_acquire,
									   memory_order_relaxed))
			return;
#ifdef __x86_64__
		__builtin_ia32_pause();
#endif
	}
	while (atomic_exchange_explicit(&l->word, 2, memory_order_acquire))
		os_wait(&l->word, 2, WAIT_MS);
}

void lock_wake(struct lock *l)
{
	os_wake(&l->word);
}
