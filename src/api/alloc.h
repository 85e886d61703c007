/* SPDX-License-Identifier: MIT */
/* What the entry points share. */
#ifndef PMD_API_ALLOC_H
#define PMD_API_ALLOC_H

#include <errno.h>

#include "check/strict.h"
#include "pmdalloc/pmdalloc.h"

/*
 * A block of at least SIZE bytes at a multiple of ALIGN (a power of two), zeroed with ZERO. NULL with errno ENOMEM. ORIGIN is
 * who asks.
 */
void *allocate(size_t size, size_t align, bool zero, enum origin origin);

/*
 * For what the fast path refuses, which is mostly a block of another thread's slab: the descriptor at hand says so as well,
 * and nothing has to be looked up. Frees P and returns true, if it is such a block. (To a sanitizer that look is a race: see
 * fast_owns.)
 */
static inline bool free_valid(void *p)
{
#ifndef PMD_SANITIZED
	struct slice *s = heap_first_slice(p);

	if (LIKELY(slab_block_valid(s, p) && !cache_special)) {
		cache_free_slow(s, p);
		return true;
	}
#else
	(void)p;
#endif
	return false;
}

/* Frees P by looking at everything, and at what was TOLD of it; reports a P that is no live block. */
void free_checked(void *p, struct told told);

/*
 * The descriptor of the live block P, of which check_has() says no. Reports what is no such block, naming CALL; where that
 * does not end the process the answer is NULL. Not exact for free blocks of slabs.
 */
struct slice *block_slice(const char *call, const void *p);

/* Usable bytes of the block P of S. With check:strict SIZE_UNKNOWN, after a report that names CALL, where that is not live. */
size_t block_usable(const char *call, struct slice *s, const void *p);

static inline bool too_large(size_t size)
{
	return UNLIKELY(size > PTRDIFF_MAX);
}

static inline void *out_of_memory(void)
{
	errno = ENOMEM;
	return NULL;
}

#endif
