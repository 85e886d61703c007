/* SPDX-License-Identifier: MIT */
/* Hot pairs: one block is allocated, touched and freed, again and again. An operation is one pair. */
#include "bench.h"

#include <stdlib.h>

static uint64_t run(const struct bench *b, uint64_t ops)
{
	size_t size = b->low;
	uint64_t start = now_ns();

	for (uint64_t i = 0; i < ops; i++)
		free(touch(malloc(size)));
	return now_ns() - start;
}

#define HOT(text, bytes)                                                                                \
	{                                                                                               \
		.name = "hot/" text, .run = run, .low = (size_t)(bytes), .warm_mib = 16, .pinned = true \
	}

const struct bench hot_benches[] = {
	HOT("16", 16),        HOT("64", 64),        HOT("256", 256),      HOT("1K", 1024),
	HOT("4K", 4 << 10),   HOT("16K", 16 << 10), HOT("32K", 32 << 10), HOT("64K", 64 << 10),
	HOT("256K", 1 << 18), HOT("1M", 1 << 20),   HOT("2M", 2 << 20),   {0},
};
