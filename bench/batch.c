/* SPDX-License-Identifier: MIT */
/* Batches: 1,000 blocks are allocated, then freed in one of three orders. An operation is one block, both ways. */
#include "bench.h"

#include <stdlib.h>

enum { BLOCKS = 1000 };

static void shuffle(unsigned *order)
{
	uint64_t random = RANDOM_SEED;

	for (unsigned i = BLOCKS - 1; i > 0; i--) {
		size_t j = random_below(&random, i + 1);
		unsigned other = order[j];

		order[j] = order[i];
		order[i] = other;
	}
}

static void fill_order(unsigned *order, enum order kind)
{
	for (unsigned i = 0; i < BLOCKS; i++)
		order[i] = kind == REVERSE ? BLOCKS - 1 - i : i;
	if (kind == SHUFFLED)
		shuffle(order);
}

static uint64_t run(const struct bench *b, uint64_t ops)
{
	static unsigned order[BLOCKS];
	static void *blocks[BLOCKS];
	size_t size = b->low;
	uint64_t start;

	fill_order(order, b->order);
	start = now_ns();
	for (uint64_t done = 0; done < ops; done += BLOCKS) {
		for (unsigned i = 0; i < BLOCKS; i++)
			blocks[i] = touch(malloc(size));
		for (unsigned i = 0; i < BLOCKS; i++)
			free(blocks[order[i]]);
	}
	/* The last batch is always a whole one. */
	return scaled(now_ns() - start, ops, (ops + BLOCKS - 1) / BLOCKS * BLOCKS);
}

#define BATCH(kind, text, bytes)                                                                                   \
	{                                                                                                          \
		.name = "batch/" text, .run = run, .low = (bytes), .order = (kind), .warm_mib = 32, .pinned = true \
	}

const struct bench batch_benches[] = {
	BATCH(FORWARD, "forward/64", 64),   BATCH(REVERSE, "reverse/64", 64),
	BATCH(SHUFFLED, "random/64", 64),   BATCH(FORWARD, "forward/1K", 1024),
	BATCH(REVERSE, "reverse/1K", 1024), BATCH(SHUFFLED, "random/1K", 1024),
	BATCH(FORWARD, "forward/8K", 8192), BATCH(REVERSE, "reverse/8K", 8192),
	BATCH(SHUFFLED, "random/8K", 8192), {0},
};
