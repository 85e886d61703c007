/* SPDX-License-Identifier: MIT */
/*
 * What check:strict does at each call, once the block is known to be one. cache/seal.h says what blocks of slabs look like.
 * Large blocks end at an inaccessible page; behind their last byte, up to it, is a pad. What is freed is kept from being
 * used again for a while (check/quarantine.h), and reads as zero or not at all.
 */
#ifndef PMD_CHECK_STRICT_H
#define PMD_CHECK_STRICT_H

#include "cache/large.h"
#include "cache/seal.h"

/* What the caller of a release says of the block. */
struct told {
	enum origin origin; /* ORIGIN_UNKNOWN: anything */
	size_t size;        /* SIZE_UNKNOWN */
	size_t align;       /* ALIGN_UNKNOWN; MIN_ALIGN: that no alignment was asked for */
};

#define SIZE_UNKNOWN  SIZE_MAX
#define ALIGN_UNKNOWN 0

void strict_init(void);

/* As allocate(); SIZE and ALIGN have been found to be possible. NULL when memory is short. */
void *strict_allocate(size_t size, size_t align, bool zero, enum origin origin);

/* Frees P, the block of S. */
void strict_free(struct slice *s, void *p, struct told told);

/* The size that was asked for P, the block of S; where it is not live a report, naming CALL, and SIZE_UNKNOWN. */
size_t strict_size(const char *call, struct slice *s, const void *p);

/* Makes P, a large block of S, SIZE bytes, which is above SLAB_MAX; NULL when memory is short. */
void *strict_resize_large(struct slice *s, size_t size);

/* P, a live block of S that was asked for with SIZE bytes or more and stays where it is, has SIZE bytes from now on. */
void strict_shrink(struct slice *s, void *p, size_t size);

/* Reports what was written behind the large block of S, naming CALL. */
bool strict_look_at_large(const struct slice *s, const char *call);

#endif
