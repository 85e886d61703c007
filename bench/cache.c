/* SPDX-License-Identifier: MIT */
/*
 * False sharing, as Berger et al. test for it ("Hoard", ASPLOS 2000): threads write to small blocks of their own, which
 * is slow where an allocator put blocks of two threads into one cache line.
 *   thrash    actively: threads that allocate at the same time are given parts of one line
 *   scratch   passively: blocks that one thread allocated side by side are handed to others, which free them, and
 *             allocate again; an allocator that gives back what was freed keeps the lines shared
 * An operation is: allocate a block, write to all of it WRITES times, free it.
 */
#include "bench.h"

#include <stdlib.h>

enum { WRITES = 100, SIZE = 8 };

struct writer {
	_Alignas(128) void *first; /* handed over by another thread; NULL: nothing */
	uint64_t ops;
};

static void write_often(volatile char *block)
{
	for (unsigned w = 0; w < WRITES; w++)
		for (unsigned i = 0; i < SIZE; i++)
			block[i] = (char)(block[i] + 1);
}

static void work(void *argument)
{
	struct writer *writer = argument;

	free(writer->first);
	for (uint64_t i = 0; i < writer->ops; i++) {
		char *block = touch(malloc(SIZE));

		write_often(block);
		free(block);
	}
}

static uint64_t run(const struct bench *b, uint64_t ops, bool hand_over)
{
	struct writer *writers = table_new(b->threads * sizeof(*writers));
	uint64_t each = ops / b->threads + 1, ns;

	for (unsigned i = 0; i < b->threads; i++)
		writers[i] = (struct writer){.first = hand_over ? touch(malloc(SIZE)) : NULL, .ops = each};
	ns = threads_run(b->threads, work, writers, sizeof(*writers));
	table_drop(writers, b->threads * sizeof(*writers));
	return scaled(ns, ops, each * b->threads);
}

static uint64_t run_thrash(const struct bench *b, uint64_t ops)
{
	return run(b, ops, false);
}

static uint64_t run_scratch(const struct bench *b, uint64_t ops)
{
	return run(b, ops, true);
}

#define CACHE(text, how, n)                                                         \
	{                                                                           \
		.name = "cache/" text, .run = (how), .threads = (n), .warm_mib = 16 \
	}

const struct bench cache_benches[] = {
	CACHE("thrash-2", run_thrash, 2),
	CACHE("thrash-8", run_thrash, 8),
	CACHE("scratch-2", run_scratch, 2),
	CACHE("scratch-8", run_scratch, 8),
	{0},
};
