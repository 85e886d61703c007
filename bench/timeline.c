/* SPDX-License-Identifier: MIT */
/*
 * A program with phases, for who watches its memory from outside: it fills --mib with small objects, frees all but one
 * in a hundred in random order, idles, does the same with objects of a few KiB, then with large ones, and frees all. Each
 * filling and each freeing is given --work-ms, and what is left of that is slept, so that programs under several
 * allocators stay in step; each idling lasts --idle-ms. --phases leaves the last ones out.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif
#include "measure.h"

#include <stdlib.h>

enum { PHASES = 3, STAYS = 100 };

static struct {
	size_t mib, work_ms, idle_ms, phases;
} options = {.mib = 256, .work_ms = 2000, .idle_ms = 12000, .phases = PHASES};

static const struct {
	size_t low, high;
} phases[PHASES] = {{16, 256}, {1024, 8192}, {64 << 10, 1 << 20}};

static void **blocks, **kept;
static size_t count, kept_count;
static uint64_t random_state = RANDOM_SEED, begun;

static void fill(unsigned phase)
{
	count = 0;
	for (size_t done = 0; done < options.mib << 20;) {
		size_t size = random_between(&random_state, phases[phase].low, phases[phase].high);

		blocks[count++] = touch_pages(malloc(size), size);
		done += size;
	}
}

static void shuffle(void)
{
	for (size_t i = count; i > 1; i--) {
		size_t j = random_below(&random_state, i);
		void *other = blocks[j];

		blocks[j] = blocks[i - 1];
		blocks[i - 1] = other;
	}
}

static void thin(void)
{
	for (size_t i = 0; i < count; i++)
		if (i % STAYS == 0)
			kept[kept_count++] = blocks[i];
		else
			free(blocks[i]);
}

/* Until MS after the last such moment. */
static void wait_for(size_t ms)
{
	uint64_t now = now_ns();

	begun += (uint64_t)ms * 1000000;
	if (now < begun)
		sleep_ms((begun - now) / 1000000);
}

int main(int argc, char **argv)
{
	static const struct option_of known[] = {{"--mib", &options.mib, NULL},
						 {"--work-ms", &options.work_ms, NULL},
						 {"--idle-ms", &options.idle_ms, NULL},
						 {"--phases", &options.phases, NULL},
						 {0}};
	size_t bytes;

	options_parse(argc, argv, known);
	bytes = (options.mib << 20) / phases[0].low * sizeof(void *);
	blocks = table_new(bytes);
	kept = table_new(bytes);
	begun = now_ns();
	for (unsigned phase = 0; phase < options.phases && phase < PHASES; phase++) {
		fill(phase);
		wait_for(options.work_ms);
		shuffle();
		thin();
		wait_for(options.work_ms);
		wait_for(options.idle_ms);
	}
	while (kept_count)
		free(kept[--kept_count]);
	wait_for(options.idle_ms);
	result_begin();
	result_end();
	return 0;
}
