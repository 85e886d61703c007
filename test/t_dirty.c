/* SPDX-License-Identifier: MIT */
/*
 * What the last slab in a slice did not touch: the next one does not touch it either before it must, and it reads as
 * zero. What that slab, or a large block, did touch is not taken for zero. Slabs that need little leave the slices that
 * were touched as a whole to those that need much.
 */
#include "api.h"
#include "block.h"
#include "proc.h"
#include "random.h"
#include "variants.h"

#define SLICE     (64 * KIB)
#define PAGE      ((size_t)4096)
#define SLABS     12
#define MOST      400 /* blocks of one size at a time */
#define LONGEST   (200 * KIB)
#define OPERATION 4000
#define ROUNDS    40
#define MODEST    16 /* classes of which there is one block */
#define FULL      6  /* slabs full of blocks of FULL_SIZE */
#define FULL_SIZE ((size_t)48)

static size_t resident_pages(const void *p, size_t bytes)
{
	unsigned char resident[SLICE / PAGE];
	size_t pages = 0;
	CHECK(mincore((void *)((uintptr_t)p & ~(bytes - 1)), bytes, resident) == 0);
	for (size_t i = 0; i < bytes / PAGE; i++)
		pages += resident[i] & 1;
	return pages;
}

/* A block of each of SLABS classes from SIZE on, STEP apart: as many slabs. Returns how many pages those have. */
static size_t one_of_each(size_t size, size_t step)
{
	void *blocks[SLABS];
	size_t pages = 0;
	for (size_t i = 0; i < SLABS; i++) {
		blocks[i] = t_malloc(size + i * step);
		CHECK(blocks[i]);
		memset(blocks[i], 0xff, size + i * step);
	}
	for (size_t i = 0; i < SLABS; i++)
		pages += resident_pages(blocks[i], SLICE);
	for (size_t i = 0; i < SLABS; i++)
		t_free(blocks[i]);
	pmd_thread_flush();
	return pages;
}

static void touches_little(void)
{
	/* A slice among these may have served the start of the program, and be dirty as a whole. */
	size_t pages = one_of_each(512 + 64, 64) + one_of_each(144, 16) + one_of_each(1280, 256);
	CHECK_SAY(pages <= 3 * (SLABS * 2 + 2 * SLICE / PAGE), "%zu pages are resident in %d slabs with one block each",
		  pages, 3 * SLABS);
}

/* The sizes of the classes from 144 bytes up. */
static size_t modest_size(size_t i)
{
	size_t doubling = i / 8, step = i % 8 + 1;
	return ((size_t)128 << doubling) + step * ((size_t)16 << doubling);
}

static void *touched(size_t size)
{
	unsigned char *p = t_malloc(size);
	CHECK(p);
	return memset(p, 0xff, size);
}

/* One block of each of MODEST classes and FULL full slabs, in any order. Returns how many pages the slices of the former have. */
static size_t modest_and_full(struct rng *rng)
{
	static void *full[FULL * (SLICE / FULL_SIZE)];
	void *modest[MODEST];
	size_t n_modest = 0, n_full = 0, pages = 0;
	while (n_modest + n_full / (SLICE / FULL_SIZE) < MODEST + FULL) {
		if (n_full == sizeof(full) / sizeof(*full) || (n_modest < MODEST && rng_below(rng, 3))) {
			modest[n_modest] = touched(modest_size(n_modest));
			n_modest++;
			continue;
		}
		for (size_t i = 0; i < SLICE / FULL_SIZE; i++)
			full[n_full++] = touched(FULL_SIZE);
	}
	for (size_t i = 0; i < MODEST; i++)
		pages += resident_pages(modest[i], SLICE);
	for (size_t i = 0; i < MODEST; i++)
		t_free(modest[i]);
	for (size_t i = 0; i < n_full; i++)
		t_free(full[i]);
	pmd_thread_flush();
	return pages;
}

static void keeps_apart(struct rng *rng)
{
	size_t pages = 0;
	for (size_t i = 0; i < ROUNDS; i++)
		pages = modest_and_full(rng);
	CHECK_SAY(pages <= MODEST * SLICE / PAGE / 4, "%zu pages are resident in %d slabs with one block each", pages,
		  MODEST);
}

static size_t any_size(struct rng *rng)
{
	size_t size = 1 + rng_log_size(rng, 15);
	return rng_below(rng, 10) ? size : LONGEST / (1 + rng_below(rng, 4));
}

/* Blocks of one size, as much as one to three slabs, zero when they come if CLEAR and full of ones when they go. */
static void use(struct rng *rng, size_t size, bool clear)
{
	static unsigned char *blocks[MOST];
	size_t most = 1 + 3 * SLICE / size, count = 1 + rng_below(rng, most < MOST ? most : MOST);
	for (size_t i = 0; i < count; i++) {
		blocks[i] = clear ? t_calloc(1, size) : t_malloc(size);
		CHECK(blocks[i]);
		if (clear)
			block_check_zero(blocks[i], size);
		memset(blocks[i], 0xff, t_usable(blocks[i]));
	}
	for (size_t i = 0; i < count; i++)
		t_free(blocks[i]);
}

/* Slices become slabs of one size after the other, in part and as a whole, large blocks, and are given back between. */
static void reads_as_zero(struct rng *rng)
{
	for (size_t i = 0; i < OPERATION; i++) {
		use(rng, any_size(rng), rng_below(rng, 2));
		if (rng_below(rng, 4) == 0)
			pmd_thread_flush();
		if (rng_below(rng, 200) == 0)
			pmd_release();
	}
}

int main(int argc, char **argv)
{
	struct rng rng = {1};
	const char *conf = VARIANTS(argc, argv, "thp:never,guard_rate:0", "decay_ms:0,thp:never,guard_rate:0",
				    "decay_ms:-1,thp:never,guard_rate:0");
	touches_little();
	if (strstr(conf, "decay_ms:-1")) /* what is given back meanwhile is no longer dirty */
		keeps_apart(&rng);
	reads_as_zero(&rng);
	return 0;
}
