/* SPDX-License-Identifier: MIT */
/*
 * Fragmentation over time: as much is alive all along, and what is resident grows. "overhead" is resident memory over
 * what is alive at the end.
 *   robson   the program that Robson proved to be the worst for any allocator that does not move blocks ("Worst case
 *            fragmentation of first fit and best fit storage allocation strategies", 1977): step by step blocks twice as
 *            large are asked for, while of the others only those stay that lie across addresses of one remainder, so
 *            that between them no room is large enough
 *   drift    the sizes that a program asks for change with time, from 16 B to 8 KiB, and back again; it replaces random
 *            blocks
 * An operation is all of it.
 */
#include "bench.h"

#include <stdlib.h>
#include <string.h>

enum { UNIT = 16, STEPS = 13, DRIFT_ROUNDS = 24, DRIFT_SIZES = 9 };
#define LIVE ((size_t)64 << 20)

struct block {
	char *at;
	size_t size;
};

struct set {
	struct block *blocks;
	size_t count, live, capacity;
};

static struct set set_new(void)
{
	size_t capacity = LIVE / UNIT + 1;

	return (struct set){.blocks = table_new(capacity * sizeof(struct block)), .capacity = capacity};
}

static void set_add(struct set *s, size_t size)
{
	if (s->count == s->capacity)
		die("a table that is too small");
	s->blocks[s->count++] = (struct block){touch_pages(malloc(size), size), size};
	s->live += size;
}

static void set_remove(struct set *s, size_t i)
{
	free(s->blocks[i].at);
	s->live -= s->blocks[i].size;
	s->blocks[i] = s->blocks[--s->count];
}

static void set_end(struct set *s)
{
	tell("overhead", (double)status_kb("VmRSS:") * 1024 / (double)(s->live + s->capacity * sizeof(struct block)));
	while (s->count)
		set_remove(s, s->count - 1);
	table_drop(s->blocks, s->capacity * sizeof(struct block));
}

/* Whether the block lies across an address that is REMAINDER modulo PERIOD. */
static bool keeps(const struct block *b, size_t remainder, size_t period)
{
	size_t before = ((size_t)b->at - remainder) % period;

	return before == 0 || before + b->size > period;
}

static size_t kept_by(const struct set *s, size_t remainder, size_t period)
{
	size_t kept = 0;

	for (size_t i = 0; i < s->count; i++)
		kept += keeps(&s->blocks[i], remainder, period);
	return kept;
}

static void robson(struct set *s)
{
	size_t remainder = 0;

	while (s->live + UNIT <= LIVE)
		set_add(s, UNIT);
	for (unsigned step = 1; step <= STEPS; step++) {
		size_t size = (size_t)UNIT << step, other = remainder + size / 2;

		if (kept_by(s, other, size) > kept_by(s, remainder, size))
			remainder = other;
		for (size_t i = s->count; i-- > 0;)
			if (!keeps(&s->blocks[i], remainder, size))
				set_remove(s, i);
		while (s->live + size <= LIVE)
			set_add(s, size);
	}
}

static size_t drift_size(unsigned round, uint64_t *random)
{
	unsigned way = round % (2 * DRIFT_SIZES), step = way < DRIFT_SIZES ? way : 2 * DRIFT_SIZES - 1 - way;
	size_t middle = (size_t)32 << step;

	return random_between(random, middle / 2, middle - 1);
}

/* In each round a third of the blocks, as they are bytes, is replaced. */
static void drift(struct set *s)
{
	uint64_t random = RANDOM_SEED;

	for (unsigned round = 0; round < DRIFT_ROUNDS; round++) {
		while (s->live > LIVE - LIVE / 3)
			set_remove(s, random_below(&random, s->count));
		while (s->live < LIVE - 8192)
			set_add(s, drift_size(round, &random));
	}
}

static uint64_t run(uint64_t ops, void (*program)(struct set *))
{
	uint64_t ns = 0;

	for (uint64_t i = 0; i < ops; i++) {
		struct set set = set_new();
		uint64_t start = now_ns();

		program(&set);
		ns += now_ns() - start;
		set_end(&set);
	}
	return ns;
}

static uint64_t run_robson(const struct bench *b, uint64_t ops)
{
	(void)b;
	return run(ops, robson);
}

static uint64_t run_drift(const struct bench *b, uint64_t ops)
{
	(void)b;
	return run(ops, drift);
}

const struct bench fragment_benches[] = {
	{.name = "fragment/robson", .run = run_robson, .warm_mib = 768, .fixed_ops = 1},
	{.name = "fragment/drift", .run = run_drift, .warm_mib = 512, .fixed_ops = 1},
	{0},
};
