/* SPDX-License-Identifier: MIT */
/*
 * Storms of threads: each lives for COUNT blocks only. It frees one half of them itself; the other half is freed, after
 * its end, by the thread that started it. AT_ONCE run side by side. An operation is one thread, from its creation until
 * the last of its blocks is freed.
 */
#include "bench.h"

#include <pthread.h>
#include <stdlib.h>

enum { AT_ONCE = 4, MOST_BLOCKS = 256 };

struct brief {
	_Alignas(128) pthread_t thread;
	const struct bench *bench;
	uint64_t random;
	void *blocks[MOST_BLOCKS];
};

static void *live(void *argument)
{
	struct brief *brief = argument;
	const struct bench *b = brief->bench;

	for (size_t i = 0; i < b->count; i++)
		brief->blocks[i] = touch(malloc(random_size(&brief->random, b)));
	for (size_t i = 0; i < b->count / 2; i++)
		free(brief->blocks[i]);
	return NULL;
}

static void start(struct brief *brief)
{
	if (pthread_create(&brief->thread, NULL, live, brief))
		die("no thread");
}

static void finish(struct brief *brief)
{
	pthread_join(brief->thread, NULL);
	for (size_t i = brief->bench->count / 2; i < brief->bench->count; i++)
		free(brief->blocks[i]);
}

static uint64_t run(const struct bench *b, uint64_t ops)
{
	struct brief *briefs = table_new(AT_ONCE * sizeof(*briefs));
	uint64_t begun = 0, ns = now_ns();

	for (; begun < AT_ONCE && begun < ops; begun++) {
		briefs[begun] = (struct brief){.bench = b, .random = RANDOM_SEED + begun};
		start(&briefs[begun]);
	}
	for (uint64_t ended = 0; ended < ops; ended++) {
		finish(&briefs[ended % AT_ONCE]);
		if (begun < ops)
			start(&briefs[begun++ % AT_ONCE]);
	}
	ns = now_ns() - ns;
	table_drop(briefs, AT_ONCE * sizeof(*briefs));
	return ns;
}

const struct bench storm_benches[] = {
	{.name = "storm/1-block", .run = run, .low = 16, .high = 1024, .count = 1, .warm_mib = 64},
	{.name = "storm/200-blocks", .run = run, .low = 16, .high = 1024, .count = 200, .warm_mib = 64},
	{0},
};
