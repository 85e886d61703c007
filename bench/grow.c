/* SPDX-License-Identifier: MIT */
/*
 * Growth: realloc takes one block from LOW bytes to 512 MiB, and each new page is touched. An operation is the whole
 * growth and the free. Fresh processes only: a second growth would find the first one's pages.
 */
#include "bench.h"

#include <stdlib.h>

#define LARGEST ((size_t)512 << 20)

static size_t grown_by_half(size_t size)
{
	return size + size / 2;
}

static size_t grown_by_step(size_t size)
{
	return size + ((size_t)32 << 20);
}

static uint64_t grow(size_t low, size_t (*next)(size_t))
{
	uint64_t start = now_ns();
	char *block = NULL;
	size_t size = 0;

	for (size_t wanted = low; size < LARGEST; wanted = next(size)) {
		block = realloc(block, wanted < LARGEST ? wanted : LARGEST);
		for (size_t i = size; i < wanted && i < LARGEST; i += 4096)
			touch(block ? block + i : NULL);
		size = wanted < LARGEST ? wanted : LARGEST;
	}
	free(block);
	return now_ns() - start;
}

static uint64_t run_by_half(const struct bench *b, uint64_t ops)
{
	uint64_t ns = 0;

	for (uint64_t i = 0; i < ops; i++)
		ns += grow(b->low, grown_by_half);
	return ns;
}

static uint64_t run_by_step(const struct bench *b, uint64_t ops)
{
	uint64_t ns = 0;

	for (uint64_t i = 0; i < ops; i++)
		ns += grow(b->low, grown_by_step);
	return ns;
}

const struct bench grow_benches[] = {
	{.name = "grow-half", .run = run_by_half, .low = 4096, .warm_mib = 1408, .once = true},
	{.name = "grow-32M", .run = run_by_step, .low = 4096, .warm_mib = 1408, .once = true},
	{0},
};
