/* SPDX-License-Identifier: MIT */
/* Free memory around survivors goes back: 256 MiB of objects, a random 99 % of them freed, the rest intact. */
#include "api.h"
#include "block.h"
#include "proc.h"
#include "random.h"
#include "variants.h"

#define TOUCHED   (256 * MIB)
#define OBJECTS   (TOUCHED / KIB)
#define WAIT_MS   15000
#define KEEP_ONE  100 /* of so many */
#define MOST_LEFT 35  /* percent of the peak */

static struct block *blocks;

static size_t fill(struct rng *rng)
{
	size_t count = 0;
	for (size_t bytes = 0; bytes < TOUCHED; bytes += blocks[count++].size) {
		size_t size = rng_between(rng, 16, 4 * KIB);
		blocks[count] = (struct block){t_malloc(size), size, rng_next(rng)};
		CHECK(blocks[count].p);
		block_fill(&blocks[count]);
	}
	return count;
}

static void thin_out(struct rng *rng, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		if (rng_below(rng, KEEP_ONE) == 0)
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

int main(int argc, char **argv)
{
	if (SANITIZED)
		SKIP("a sanitizer's own memory hides what is measured");
	VARIANTS(argc, argv, "decay_ms:300", "decay_ms:0");
	struct rng rng = {7};
	blocks = proc_table(OBJECTS * sizeof *blocks);
	size_t start = proc_rss_kb();
	size_t count = fill(&rng);
	size_t peak = proc_rss_kb() - start;
	thin_out(&rng, count);
	size_t left = peak;
	for (int waited = 0; waited < WAIT_MS && left > peak * MOST_LEFT / 100; waited += 100) {
		proc_sleep_ms(100);
		size_t now = proc_rss_kb();
		left = now > start ? now - start : 0;
	}
	CHECK_SAY(left <= peak * MOST_LEFT / 100, "%zu kB left of %zu kB", left, peak);
	verify(count);
	return 0;
}
