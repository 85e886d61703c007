/* SPDX-License-Identifier: MIT */
/* Frees by another thread than the slab's owner. */
#ifndef PMD_CACHE_REMOTE_H
#define PMD_CACHE_REMOTE_H

#include "cache/cache.h"

/* Block B of S, which is not the calling thread's, is free. */
void remote_free(struct slice *s, struct block *b);

/* Slabs of threads on whose remote lists something waits that nobody may come to see: about so many. */
extern HIDDEN _Atomic size_t remote_waiting;

/* Looks at them, which may empty some. To be called at ticks. */
void remote_attend_waiting(void);

/* There is one more. */
static inline void remote_count_waiting(void)
{
	atomic_fetch_add_explicit(&remote_waiting, 1, memory_order_relaxed);
}

#endif
