/* SPDX-License-Identifier: MIT */
/*
 * Cleared memory: pairs of calloc and free of one size (an operation is a pair), and tables that live a while, as a
 * program has them: of COUNT blocks one is freed and another cleared in its place.
 */
#include "replace.h"

static uint64_t run_hot(const struct bench *b, uint64_t ops)
{
	size_t size = b->low;
	uint64_t start = now_ns();

	for (uint64_t i = 0; i < ops; i++)
		free(touch(calloc(1, size)));
	return now_ns() - start;
}

static inline void *new_table(const void *source, uint64_t *random)
{
	const struct bench *b = source;
	size_t entries = random_size(random, b) / 8;

	return touch_pages(calloc(entries, 8), entries * 8);
}

static uint64_t run_tables(const struct bench *b, uint64_t ops)
{
	return replace_blocks(b->count, ops, new_table, b);
}

#define CALLOC(text, bytes)                                                                                    \
	{                                                                                                      \
		.name = "calloc/" text, .run = run_hot, .low = (size_t)(bytes), .warm_mib = 16, .pinned = true \
	}

const struct bench calloc_benches[] = {
	CALLOC("64", 64),
	CALLOC("4K", 4096),
	CALLOC("64K", 64 << 10),
	CALLOC("1M", 1 << 20),
	{.name = "calloc/tables", .run = run_tables, .low = 64, .high = 64 << 10, .count = 1000, .warm_mib = 128},
	{0},
};
