/* SPDX-License-Identifier: MIT */
/* What the entry points share. */
#ifndef PMD_API_ALLOC_H
#define PMD_API_ALLOC_H

#include <errno.h>

#include "cache/large.h"
#include "pmdalloc/pmdalloc.h"

/* A block of at least SIZE bytes at a multiple of ALIGN (a power of two), zeroed with ZERO. NULL with errno ENOMEM. */
void *allocate(size_t size, size_t align, bool zero);

/* Frees P by looking at everything; ends the process when P is no live block. */
void free_checked(void *p);

/*
 * The descriptor of the live block P; ends the process when P is none, naming CALL. Not exact for free blocks of
 * slabs.
 */
struct slice *block_slice(const char *call, const void *p);

/* Usable bytes of the block P in S. */
size_t block_usable(const struct slice *s, const void *p);

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
