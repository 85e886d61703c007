/* SPDX-License-Identifier: MIT */
/*
 * Free memory around survivors goes back: many objects, most of them freed, at random one by one or in runs, the rest
 * intact. And so once more, on what has gone back.
 */
#include "api.h"
#include "block.h"
#include "proc.h"
#include "random.h"
#include "variants.h"

#define OBJECTS (1 * MIB)
#define WAIT_MS 15000

/*
 * The last is of survivors that lie side by side: each slab keeps about a tenth of its blocks, far more than one a page, but
 * in few of its pages.
 */
static const struct {
	size_t least, most, touched; /* bytes */
	size_t run, keep_one;        /* so many objects in a row have one fate; one run of so many stays */
	size_t most_left;            /* percent of the peak */
} kinds[] = {
	{16, 4 * KIB, 256 * MIB, 1, 100, 35},
	{8 * KIB + 1, 32 * KIB, 256 * MIB, 1, 10, 35},
	{16, 64, 32 * MIB, 800, 10, 35},
};

static struct block *blocks;

static size_t fill(struct rng *rng, size_t kind)
{
	size_t count = 0;
	for (size_t bytes = 0; bytes < kinds[kind].touched; bytes += blocks[count++].size) {
		size_t size = rng_between(rng, kinds[kind].least, kinds[kind].most);
		blocks[count] = (struct block){t_malloc(size), size, rng_next(rng)};
		CHECK(blocks[count].p);
		block_fill(&blocks[count]);
	}
	return count;
}

static void thin_out(struct rng *rng, size_t count, size_t kind)
{
	bool stays = false;

	for (size_t i = 0; i < count; i++) {
		if (i % kinds[kind].run == 0)
			stays = rng_below(rng, kinds[kind].keep_one) == 0;
		if (stays)
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
	size_t count = fill(rng, kind), peak = proc_rss_kb() - start, left = peak,
	       most = peak * kinds[kind].most_left / 100;

	/* Where there is no background thread any more, frees must call it, although no region empties. */
	for (int waited = 0; alone && waited < WAIT_MS && proc_kb("Threads:") > 1; waited += 100)
		proc_sleep_ms(100);
	thin_out(rng, count, kind);
	for (int waited = 0; waited < WAIT_MS && left > most; waited += 100) {
		proc_sleep_ms(100);
		size_t now = proc_rss_kb();
		left = now > start ? now - start : 0;
	}
	CHECK_SAY(left <= most, "blocks of up to %zu bytes: %zu kB left of %zu kB", kinds[kind].most, left, peak);
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
