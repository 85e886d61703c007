/* SPDX-License-Identifier: MIT */
/*
 * Blocks that carry contents of their own: a block that overlaps another, that was zeroed by a late release, or whose
 * contents did not follow it, is found when it is verified.
 *
 * A block of up to 64 KiB is filled whole; of a larger one the first and last 4 KiB and one word in each 1 KiB between.
 */
#ifndef PMDALLOC_TEST_BLOCK_H
#define PMDALLOC_TEST_BLOCK_H

#include "check.h"

struct block {
	unsigned char *p;
	size_t size;   /* bytes that carry the pattern */
	uint64_t seed; /* what the pattern is made from */
};

#define BLOCK_DENSE  (64 * KIB)
#define BLOCK_EDGE   ((size_t)4096)
#define BLOCK_STRIDE ((size_t)1024)

static inline uint64_t block_word(uint64_t seed, size_t offset)
{
	return (seed ^ offset) * 0x9e3779b97f4a7c15 | 1;
}

static inline void block_put(unsigned char *p, size_t from, size_t to, uint64_t seed)
{
	for (; from + 8 <= to; from += 8) {
		uint64_t word = block_word(seed, from);
		memcpy(p + from, &word, 8);
	}
	for (; from < to; from++)
		p[from] = (unsigned char)(seed + from);
}

static inline void block_check(const unsigned char *p, size_t from, size_t to, size_t size, uint64_t seed)
{
	for (; from + 8 <= to; from += 8) {
		uint64_t word;
		memcpy(&word, p + from, 8);
		CHECK_SAY(word == block_word(seed, from), "block %p of %zu bytes changed at offset %zu",
			  (const void *)p, size, from);
	}
	for (; from < to; from++)
		CHECK_SAY(p[from] == (unsigned char)(seed + from), "block %p of %zu bytes changed at offset %zu",
			  (const void *)p, size, from);
}

static inline void block_fill(struct block *block)
{
	size_t size = block->size;
	if (size <= BLOCK_DENSE) {
		block_put(block->p, 0, size, block->seed);
		return;
	}
	block_put(block->p, 0, BLOCK_EDGE, block->seed);
	for (size_t at = BLOCK_EDGE; at < size - BLOCK_EDGE; at += BLOCK_STRIDE)
		block_put(block->p, at, at + 8, block->seed);
	block_put(block->p, (size - BLOCK_EDGE) & ~(size_t)7, size, block->seed);
}

/* Checks the first LENGTH bytes of what block_fill wrote: all of them, or what a realloc to LENGTH kept. */
static inline void block_verify_prefix(const struct block *block, size_t length)
{
	size_t size = block->size;
	const unsigned char *p = block->p;
	if (length > size)
		length = size;
	if (size <= BLOCK_DENSE) {
		block_check(p, 0, length == size ? size : length & ~(size_t)7, size, block->seed);
		return;
	}
	block_check(p, 0, length < BLOCK_EDGE ? length & ~(size_t)7 : BLOCK_EDGE, size, block->seed);
	for (size_t at = BLOCK_EDGE; at < size - BLOCK_EDGE && at + 8 <= length; at += BLOCK_STRIDE)
		block_check(p, at, at + 8, size, block->seed);
	if (length == size)
		block_check(p, (size - BLOCK_EDGE) & ~(size_t)7, size, size, block->seed);
}

static inline void block_verify(const struct block *block)
{
	block_verify_prefix(block, block->size);
}

/* Checks that SIZE bytes at P are zero, a word at a time. */
static inline void block_check_zero(const void *p, size_t size)
{
	const unsigned char *bytes = p;
	uint64_t word;
	size_t at = 0;
	for (; at + 8 <= size; at += 8) {
		memcpy(&word, bytes + at, 8);
		CHECK_SAY(word == 0, "block %p of %zu bytes is not zero at offset %zu", p, size, at);
	}
	for (; at < size; at++)
		CHECK_SAY(bytes[at] == 0, "block %p of %zu bytes is not zero at offset %zu", p, size, at);
}

#endif
