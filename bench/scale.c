/* SPDX-License-Identifier: MIT */
/*
 * Threads that have nothing to do with each other: each replaces random blocks of a set of its own. With as many
 * processors as threads an operation should take as long, and with N processors an N-th of one thread's, however many
 * threads there are. An operation is one replacement by one of the threads.
 */
#include "bench.h"

#include <stdlib.h>

struct set {
	_Alignas(128) const struct bench *bench;
	uint64_t random, ops;
	void **blocks;
};

static void work(void *argument)
{
	struct set *set = argument;
	const struct bench *b = set->bench;

	for (uint64_t i = 0; i < set->ops; i++) {
		void **victim = &set->blocks[random_below(&set->random, b->count)];

		free(*victim);
		*victim = touch(malloc(random_size(&set->random, b)));
	}
	for (size_t i = 0; i < b->count; i++)
		free(set->blocks[i]);
}

static uint64_t run(const struct bench *b, uint64_t ops)
{
	struct set *sets = table_new(b->threads * sizeof(*sets));
	uint64_t each = ops / b->threads + 1, ns;

	for (unsigned i = 0; i < b->threads; i++)
		sets[i] = (struct set){.bench = b,
				       .random = RANDOM_SEED + i,
				       .ops = each,
				       .blocks = table_new(b->count * sizeof(void *))};
	ns = threads_run(b->threads, work, sets, sizeof(*sets));
	for (unsigned i = 0; i < b->threads; i++)
		table_drop(sets[i].blocks, b->count * sizeof(void *));
	table_drop(sets, b->threads * sizeof(*sets));
	return scaled(ns, ops, each * b->threads);
}

#define SCALE(text, n)                                                                                    \
	{                                                                                                 \
		.name = "scale/" text, .run = run, .low = 16, .high = 512, .count = 1000, .threads = (n), \
		.warm_mib = 32                                                                            \
	}

const struct bench scale_benches[] = {
	SCALE("1", 1), SCALE("2", 2), SCALE("4", 4), SCALE("8", 8), SCALE("16", 16), {0},
};
