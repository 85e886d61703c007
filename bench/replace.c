/* SPDX-License-Identifier: MIT */
/*
 * Random replacement: of a live set of blocks of random sizes one is freed and another allocated in its place, of sizes
 * evenly distributed or as programs ask for them (sizes.h). An operation is one replacement. The first filling is not
 * timed.
 */
#include "replace.h"
#include "sizes.h"

static inline void *new_even(const void *source, uint64_t *random)
{
	const struct bench *b = source;

	return touch(malloc(random_size(random, b)));
}

static uint64_t run_even(const struct bench *b, uint64_t ops)
{
	return replace_blocks(b->count, ops, new_even, b);
}

static inline void *new_drawn(const void *source, uint64_t *random)
{
	const uint32_t *sizes = source;
	size_t size = sizes[random_below(random, SIZES_DRAWN)];

	return touch_pages(malloc(size), size);
}

static uint64_t run_drawn(const struct bench *b, uint64_t ops)
{
	uint32_t *sizes = sizes_draw(b->sizes);
	uint64_t ns = replace_blocks(b->count, ops, new_drawn, sizes);

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
