/* SPDX-License-Identifier: MIT */
/*
 * Phases: a program fills its memory with small objects, frees all but one in a hundred, goes on with others of a few
 * KiB, then with large ones; what stays of one phase is in the way of the next. An operation is the three of them.
 * "mixed" frees in random order, "in-order" in that of the allocation.
 */
#include "bench.h"

#include <stdlib.h>

enum { PHASES = 3, STAYS = 100 };
#define BYTES ((size_t)128 << 20)

static const struct {
	size_t low, high;
} phases[PHASES] = {{16, 256}, {1024, 8192}, {64 << 10, 1 << 20}};

static size_t fill(void **blocks, size_t low, size_t high, uint64_t *random)
{
	size_t n = 0;

	for (size_t done = 0; done < BYTES;) {
		size_t size = random_between(random, low, high);

		blocks[n++] = touch_pages(malloc(size), size);
		done += size;
	}
	return n;
}

static void shuffle(void **blocks, size_t n, uint64_t *random)
{
	for (size_t i = n; i > 1; i--) {
		size_t j = random_below(random, i);
		void *other = blocks[j];

		blocks[j] = blocks[i - 1];
		blocks[i - 1] = other;
	}
}

/* Frees all but a hundredth, which it moves to KEPT; how many that are. */
static size_t thin(void **blocks, size_t n, void **kept)
{
	size_t stay = 0;

	for (size_t i = 0; i < n; i++)
		if (i % STAYS == 0)
			kept[stay++] = blocks[i];
		else
			free(blocks[i]);
	return stay;
}

static uint64_t run(const struct bench *b, uint64_t ops)
{
	size_t most = BYTES / phases[0].low, bytes = most * sizeof(void *);
	void **blocks = table_new(bytes), **kept = table_new(bytes);
	uint64_t random = RANDOM_SEED, ns = 0;

	for (uint64_t op = 0; op < ops; op++) {
		size_t stay = 0;

		for (unsigned p = 0; p < PHASES; p++) {
			uint64_t start = now_ns();
			size_t n = fill(blocks, phases[p].low, phases[p].high, &random);

			ns += now_ns() - start;
			if (b->order == SHUFFLED)
				shuffle(blocks, n, &random);
			start = now_ns();
			stay += thin(blocks, n, kept + stay);
			ns += now_ns() - start;
		}
		while (stay)
			free(kept[--stay]);
	}
	table_drop(blocks, bytes);
	table_drop(kept, bytes);
	return ns;
}

const struct bench phase_benches[] = {
	{.name = "phase/in-order", .run = run, .order = FORWARD, .warm_mib = 640, .fixed_ops = 2},
	{.name = "phase/mixed", .run = run, .order = SHUFFLED, .warm_mib = 640, .fixed_ops = 2},
	{0},
};
