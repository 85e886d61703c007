/* SPDX-License-Identifier: MIT */
/*
 * Size classes: steps of 16 bytes up to 128, then 8 to a doubling up to 80 KiB, so that at most 12.5 % of a block is
 * lost. From there on blocks are whole slices of 64 KiB: what slabs of four slices would hold of 88 KiB and more is not
 * more than those do. Every class that is a multiple of a power of two has its blocks aligned to it, as slabs begin at a multiple
 * of 64 KiB: aligned blocks need no padding.
 */
#ifndef PMD_CACHE_CLASSES_H
#define PMD_CACHE_CLASSES_H

#include "heap/arena.h"

enum {
	MIN_ALIGN = 16,
	SMALL_MAX = 512,   /* up to here a thread-local table leads straight to the slab */
	MEDIUM_MAX = 4096, /* up to here a coarser table in the cache does */
	SLAB_MAX = 81920,  /* above: large, whole slices */
	BIG_FROM = 32769,  /* from here on what is free is not kept for long, and what realloc makes longer is large */
	DIRECT = SMALL_MAX / MIN_ALIGN + 1,
	MEDIUM_STEP = 64, /* divides every class above SMALL_MAX */
	MEDIUM = MEDIUM_MAX / MEDIUM_STEP + 1,
	LINEAR_CLASSES = 8,
};

static inline unsigned class_of(size_t size)
{
	unsigned log;

	if (size <= 128)
		return size ? (unsigned)((size - 1) / MIN_ALIGN) : 0;
	log = 63 - (unsigned)__builtin_clzl(size - 1);
	return LINEAR_CLASSES + (log - 7) * 8 + (unsigned)((size - 1) >> (log - 3) & 7);
}

static inline uint32_t class_size(unsigned class)
{
	unsigned doubling = (class - LINEAR_CLASSES) / 8, step = (class - LINEAR_CLASSES) % 8;

	if (class < LINEAR_CLASSES)
		return (class + 1) * MIN_ALIGN;
	return (128u << doubling) + (step + 1) * (16u << doubling);
}

/* Slices of a slab: enough for eight blocks, or three of the big ones. */
static inline unsigned class_slices(unsigned class)
{
	uint32_t size = class_size(class);

	return size <= 8192 ? 1 : size <= 16384 ? 2 : 4;
}

#endif
