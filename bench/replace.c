/* SPDX-License-Identifier: MIT */
/*
 * Random replacement: of a live set of blocks of random sizes one is freed and another allocated in its place. An
 * operation is one replacement. The first filling is not timed.
 */
#include "bench.h"

#include <stdlib.h>

static void fill(const struct bench *b, void **blocks, uint64_t *random)
{
	for (size_t i = 0; i < b->count; i++)
		blocks[i] = touch(malloc(random_size(random, b)));
}

static void drain(const struct bench *b, void **blocks)
{
	for (size_t i = 0; i < b->count; i++)
		free(blocks[i]);
}

static uint64_t run(const struct bench *b, uint64_t ops)
{
	void **blocks = table_new(b->count * sizeof(*blocks));
	uint64_t random = 88172645463325252;
	uint64_t start, ns;

	fill(b, blocks, &random);
	start = now_ns();
	for (uint64_t i = 0; i < ops; i++) {
		void **victim = &blocks[random_below(&random, b->count)];

		free(*victim);
		*victim = touch(malloc(random_size(&random, b)));
	}
	ns = now_ns() - start;
	drain(b, blocks);
	table_drop(blocks, b->count * sizeof(*blocks));
	return ns;
}

#define REPLACE(text, largest, blocks, mib)                                                           \
	{                                                                                             \
		.name = "replace-" text, .run = run, .low = 16, .high = (largest), .count = (blocks), \
		.warm_mib = (mib)                                                                     \
	}

const struct bench replace_benches[] = {
	REPLACE("1K", 1024, 50000, 64),
	REPLACE("16K", 16384, 10000, 192),
	{0},
};
