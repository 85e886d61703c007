/* SPDX-License-Identifier: MIT */
/*
 * Free memory around survivors goes back: 256 MiB of objects, most of them freed at random, the rest intact. And so once
 * more, on what has gone back.
 */
#include "api.h"
#include "block.h"
#include "proc.h"
#include "random.h"
#include "variants.h"

#define TOUCHED   (256 * MIB)
#define OBJECTS   (TOUCHED / KIB)
#define WAIT_MS   15000
#define MOST_LEFT 35 /* percent of the peak */

static const struct {
	size_t least, most, keep_one; /* bytes; one of so many stays */
} kinds[] = {{16, 4 * KIB, 100}, {8 * KIB + 1, 32 * KIB, 10}};

static struct block *blocks;

static size_t fill(struct rng *rng, size_t kind)
{
	size_t count = 0;
	for (size_t bytes = 0; bytes < TOUCHED; bytes += blocks[count++].size) {
		size_t size = rng_between(rng, kinds[kind].least, kinds[kind].most);
		blocks[count] = (struct block){t_malloc(size), size, rng_next(rng)};
		CHECK(blocks[count].p);
		block_fill(&blocks[count]);
	}
	return count;
}

static void thin_out(struct rng *rng, size_t count, size_t keep_one)
{
	for (size_t i = 0; i < count; i++) {
		if (rng_below(rng, keep_one) == 0)
			continue;
		t_free(blocks[i].p);
		blocks[i].p = NULL;
	}
}

static void verify(size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (blocks[i].p)
			block_verify(&blocks[i]);
}

static void free_all(size_t count)
{
	for (size_t i = 0; i < count; i++)
		t_free(blocks[i].p);
	pmd_release();
}

static void run(struct rng *rng, size_t kind, bool alone, size_t start)
{
	size_t count = fill(rng, kind), peak = proc_rss_kb() - start, left = peak;

	/* Where there is no background thread any more, frees must call it, although no region empties. */
	for (int waited = 0; alone && waited < WAIT_MS && proc_kb("Threads:") > 1; waited += 100)
		proc_sleep_ms(100);
	thin_out(rng, count, kinds[kind].keep_one);
	for (int waited = 0; waited < WAIT_MS && left > peak * MOST_LEFT / 100; waited += 100) {
		proc_sleep_ms(100);
		size_t now = proc_rss_kb();
		left = now > start ? now - start : 0;
	}
	CHECK_SAY(left <= peak * MOST_LEFT / 100, "blocks of up to %zu bytes: %zu kB left of %zu kB", kinds[kind].most,
		  left, peak);
	verify(count);
	/* What has gone back serves again, beside what has stayed. */
	for (size_t i = 0; i < count; i++)
		if (!blocks[i].p) {
			blocks[i].p = t_malloc(blocks[i].size);
			CHECK(blocks[i].p);
			block_fill(&blocks[i]);
		}
	verify(count);
	free_all(count);
}

int main(int argc, char **argv)
{
	if (SANITIZED)
		SKIP("a sanitizer's own memory hides what is measured");
	VARIANTS(argc, argv, "decay_ms:300", "decay_ms:0");
	struct rng rng = {7};
	blocks = proc_table(OBJECTS * sizeof *blocks);
	size_t start = proc_rss_kb();
	for (size_t kind = 0; kind < LENGTH(kinds); kind++)
		for (int round = 0; round < 2; round++)
			run(&rng, kind, !round, start);
	return 0;
}
