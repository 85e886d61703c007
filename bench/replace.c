/* SPDX-License-Identifier: MIT */
/*
 * Random replacement: of a live set of blocks of random sizes one is freed and another allocated in its place, of sizes
 * evenly distributed or as programs ask for them (sizes.h). An operation is one replacement. The first filling is not
 * timed.
 */
#include "sizes.h"

#include <stdlib.h>

static uint64_t run_even(const struct bench *b, uint64_t ops)
{
	void **blocks = table_new(b->count * sizeof(*blocks));
	uint64_t random = RANDOM_SEED, ns;

	for (size_t i = 0; i < b->count; i++)
		blocks[i] = touch(malloc(random_size(&random, b)));
	ns = now_ns();
	for (uint64_t i = 0; i < ops; i++) {
		void **victim = &blocks[random_below(&random, b->count)];

		free(*victim);
		*victim = touch(malloc(random_size(&random, b)));
	}
	ns = now_ns() - ns;
	for (size_t i = 0; i < b->count; i++)
		free(blocks[i]);
	table_drop(blocks, b->count * sizeof(*blocks));
	return ns;
}

static void *new_block(size_t size)
{
	return touch_pages(malloc(size), size);
}

static uint64_t run_drawn(const struct bench *b, uint64_t ops)
{
	void **blocks = table_new(b->count * sizeof(*blocks));
	uint32_t *sizes = sizes_draw(b->sizes);
	uint64_t random = RANDOM_SEED, ns;

	for (size_t i = 0; i < b->count; i++)
		blocks[i] = new_block(sizes[i % SIZES_DRAWN]);
	ns = now_ns();
	for (uint64_t i = 0; i < ops; i++) {
		void **victim = &blocks[random_below(&random, b->count)];

		free(*victim);
		*victim = new_block(sizes[random_below(&random, SIZES_DRAWN)]);
	}
	ns = now_ns() - ns;
	for (size_t i = 0; i < b->count; i++)
		free(blocks[i]);
	table_drop(blocks, b->count * sizeof(*blocks));
	table_drop(sizes, SIZES_DRAWN * sizeof(*sizes));
	return ns;
}

#define EVEN(text, largest, blocks, mib)                                                                   \
	{                                                                                                  \
		.name = "replace/" text, .run = run_even, .low = 16, .high = (largest), .count = (blocks), \
		.warm_mib = (mib)                                                                          \
	}
#define DRAWN(which, blocks, mib)                                                                        \
	{                                                                                                \
		.name = "replace/" #which, .run = run_drawn, .sizes = &sizes_##which, .count = (blocks), \
		.warm_mib = (mib)                                                                        \
	}

const struct bench replace_benches[] = {
	EVEN("even-1K", 1024, 50000, 64), EVEN("even-16K", 16384, 10000, 192),
	DRAWN(keyvalue, 100000, 128),     DRAWN(fleet, 100000, 256),
	DRAWN(gcc, 50000, 128),           DRAWN(python, 50000, 128),
	DRAWN(redis, 100000, 128),        {0},
};
