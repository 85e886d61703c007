/* SPDX-License-Identifier: MIT */
/*
 * Aligned blocks: pairs of aligned_alloc and free (an operation is a pair), and a set of buffers of several alignments
 * and sizes, one of which is replaced at a time.
 */
#include "bench.h"

#include <stdlib.h>

static uint64_t run_hot(const struct bench *b, uint64_t ops)
{
	size_t size = b->low, alignment = b->alignment;
	uint64_t start = now_ns();

	for (uint64_t i = 0; i < ops; i++)
		free(touch(aligned_alloc(alignment, size)));
	return now_ns() - start;
}

static void *new_buffer(const struct bench *b, uint64_t *random)
{
	size_t alignment = (size_t)32 << random_below(random, 8); /* up to a page */
	void *p;

	return posix_memalign(&p, alignment, random_size(random, b)) ? NULL : touch(p);
}

static uint64_t run_mixed(const struct bench *b, uint64_t ops)
{
	void **blocks = table_new(b->count * sizeof(*blocks));
	uint64_t random = RANDOM_SEED, ns;

	for (size_t i = 0; i < b->count; i++)
		blocks[i] = touch(new_buffer(b, &random));
	ns = now_ns();
	for (uint64_t i = 0; i < ops; i++) {
		void **place = &blocks[random_below(&random, b->count)];

		free(*place);
		*place = touch(new_buffer(b, &random));
	}
	ns = now_ns() - ns;
	for (size_t i = 0; i < b->count; i++)
		free(blocks[i]);
	table_drop(blocks, b->count * sizeof(*blocks));
	return ns;
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
