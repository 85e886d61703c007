/* SPDX-License-Identifier: MIT */
/* Of COUNT blocks one at random is freed and another put in its place, again and again. */
#ifndef BENCH_REPLACE_H
#define BENCH_REPLACE_H

#include "bench.h"

#include <stdlib.h>

/*
 * The nanoseconds of OPS replacements; the first filling is not timed. FRESH makes a block, touched, of SOURCE: inlined
 * with it, so that no call is measured but the allocator's.
 */
static inline __attribute__((always_inline)) uint64_t
replace_blocks(size_t count, uint64_t ops, void *(*fresh)(const void *source, uint64_t *random), const void *source)
{
	void **blocks = table_new(count * sizeof(*blocks));
	uint64_t random = RANDOM_SEED, ns;

	for (size_t i = 0; i < count; i++)
		blocks[i] = fresh(source, &random);
	ns = now_ns();
	for (uint64_t i = 0; i < ops; i++) {
		void **place = &blocks[random_below(&random, count)];

		free(*place);
		*place = fresh(source, &random);
	}
	ns = now_ns() - ns;
	for (size_t i = 0; i < count; i++)
		free(blocks[i]);
	table_drop(blocks, count * sizeof(*blocks));
	return ns;
}

#endif
