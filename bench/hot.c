/* SPDX-License-Identifier: MIT */
/* Hot pairs: one block is allocated, touched and freed, again and again. An operation is one pair. */
#include "bench.h"

#include <stdlib.h>

static uint64_t run_malloc(const struct bench *b, uint64_t ops)
{
	size_t size = b->low;
	uint64_t start = now_ns();

	for (uint64_t i = 0; i < ops; i++)
		free(touch(malloc(size)));
	return now_ns() - start;
}

static uint64_t run_calloc(const struct bench *b, uint64_t ops)
{
	size_t size = b->low;
	uint64_t start = now_ns();

	for (uint64_t i = 0; i < ops; i++)
		free(touch(calloc(1, size)));
	return now_ns() - start;
}

static uint64_t run_aligned(const struct bench *b, uint64_t ops)
{
	size_t size = b->low, alignment = b->alignment;
	uint64_t start = now_ns();

	for (uint64_t i = 0; i < ops; i++)
		free(touch(aligned_alloc(alignment, size)));
	return now_ns() - start;
}

#define HOT(bytes)                                                                       \
	{                                                                                \
		.name = "hot-" #bytes, .run = run_malloc, .low = (bytes), .warm_mib = 16 \
	}
#define HOT_K(kib)                                                                                     \
	{                                                                                              \
		.name = "hot-" #kib "K", .run = run_malloc, .low = (size_t)(kib) << 10, .warm_mib = 16 \
	}
#define CALLOC(bytes)                                                                       \
	{                                                                                   \
		.name = "calloc-" #bytes, .run = run_calloc, .low = (bytes), .warm_mib = 16 \
	}
#define ALIGNED(a, size)                                                                                   \
	{                                                                                                  \
		.name = "aligned-" #a, .run = run_aligned, .low = (size), .alignment = (a), .warm_mib = 16 \
	}

const struct bench hot_benches[] = {
	HOT(16),     HOT(64),    HOT(256),     HOT(1024),        HOT_K(4),
	HOT_K(16),   HOT_K(32),  HOT_K(64),    HOT_K(256),       HOT_K(1024),
	HOT_K(2048), CALLOC(64), CALLOC(4096), ALIGNED(64, 256), ALIGNED(4096, 8192),
	{0},
};
