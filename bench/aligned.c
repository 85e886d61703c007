/* SPDX-License-Identifier: MIT */
/*
 * Aligned blocks: pairs of aligned_alloc and free (an operation is a pair), and a set of buffers of several alignments
 * and sizes, one of which is replaced at a time.
 */
#include "replace.h"

static uint64_t run_hot(const struct bench *b, uint64_t ops)
{
	size_t size = b->low, alignment = b->alignment;
	uint64_t start = now_ns();

	for (uint64_t i = 0; i < ops; i++)
		free(touch(aligned_alloc(alignment, size)));
	return now_ns() - start;
}

static inline void *new_buffer(const void *source, uint64_t *random)
{
	const struct bench *b = source;
	size_t alignment = (size_t)32 << random_below(random, 8); /* up to a page */
	void *p;

	return touch(posix_memalign(&p, alignment, random_size(random, b)) ? NULL : p);
}

static uint64_t run_mixed(const struct bench *b, uint64_t ops)
{
	return replace_blocks(b->count, ops, new_buffer, b);
}

#define ALIGNED(text, a, size)                                                                            \
	{                                                                                                 \
		.name = "aligned/" text, .run = run_hot, .low = (size), .alignment = (a), .warm_mib = 16, \
		.pinned = true                                                                            \
	}

const struct bench aligned_benches[] = {
	ALIGNED("64", 64, 256),
	ALIGNED("4K", 4096, 8192),
	{.name = "aligned/mixed", .run = run_mixed, .low = 32, .high = 8192, .count = 5000, .warm_mib = 96},
	{0},
};
