/* SPDX-License-Identifier: MIT */
/*
 * Many threads with a few blocks of each of many classes: they share slabs, so that memory is what the blocks have, and not a
 * slab for each thread and class. What one has no other has; what calloc returns is zero though it was used before; who
 * frees is another thread; and then all is gone.
 */
#include "api.h"
#include "block.h"
#include "proc.h"
#include "variants.h"

#include <pthread.h>

#define THREADS  32
#define EACH     10 /* blocks of a class */
#define BIG_EACH 2
#define CLASSES  32
#define BIG_FROM 27 /* of so large ones there are BIG_EACH */
#define ROUNDS   3
#define SLICE    (64 * KIB)
#define SPARE    8 /* slabs, for what threads themselves need and what they adopt at their end */

static pthread_barrier_t filled, looked, verified;
static struct block blocks[THREADS][CLASSES][EACH];
static bool clear;

/* From 144 bytes up, eight to a doubling, to 1 KiB; above that two to a doubling, to 14 KiB. */
static size_t size_of(size_t class)
{
	size_t doubling = class < 24 ? class / 8 : 3 + (class - 24) / 2,
	       step = class < 24 ? class % 8 + 1 : class % 2 * 4 + 4;
	return ((size_t)128 << doubling) + step * ((size_t)16 << doubling);
}

static size_t count_of(size_t class)
{
	return class < BIG_FROM ? EACH : BIG_EACH;
}

static void take(struct block *b, size_t size, uint64_t seed)
{
	*b = (struct block){clear ? t_calloc(1, size) : t_malloc(size), size, seed};
	CHECK(b->p);
	if (clear)
		block_check_zero(b->p, size);
	block_fill(b);
}

static void take_all(size_t me)
{
	for (size_t i = 0; i < EACH; i++)
		for (size_t class = 0; class < CLASSES; class ++)
			if (i < count_of(class))
				take(&blocks[me][class][i], size_of(class), (me * CLASSES + class) * EACH + i);
}

static void free_all(size_t whose)
{
	for (size_t class = 0; class < CLASSES; class ++)
		for (size_t i = 0; i < count_of(class); i++)
			t_free(blocks[whose][class][i].p);
}

static void *run(void *argument)
{
	size_t me = (size_t)argument;
	take_all(me);
	pthread_barrier_wait(&filled);
	pthread_barrier_wait(&looked);
	for (size_t class = 0; class < CLASSES; class ++)
		for (size_t i = 0; i < count_of(class); i++)
			block_verify(&blocks[me][class][i]);
	pthread_barrier_wait(&verified);
	free_all((me + 1) % THREADS);
	return NULL;
}

/* So many slabs hold what all threads have, if they share: a slab has one, two or four slices. */
static size_t slab_bytes_shared(void)
{
	size_t bytes = 0;
	for (size_t class = 0; class < CLASSES; class ++) {
		size_t slab = size_of(class) <= 8 * KIB ? SLICE : 2 * SLICE;
		bytes += (THREADS * count_of(class) / (slab / size_of(class)) + 1) * slab;
	}
	return bytes;
}

static size_t slab_bytes(void)
{
	struct pmd_stats stats = {.size = sizeof stats};
	CHECK(pmd_stats_get(&stats) == 0);
	return stats.slab_bytes;
}

static void run_round(size_t before, size_t arenas)
{
	pthread_t threads[THREADS];
	for (size_t i = 0; i < THREADS; i++)
		CHECK(pthread_create(&threads[i], NULL, run, (void *)i) == 0);
	pthread_barrier_wait(&filled);
	/* Each arena may have a slab of each class that is not full; the first thread of one does not share. */
	size_t most = before + slab_bytes_shared() + arenas * (2 * CLASSES + SPARE) * SLICE * 5 / 4, now = slab_bytes();
	CHECK_SAY(now <= most, "%d threads with %d blocks of each of %d classes: %zu bytes of slabs, not %zu", THREADS,
		  EACH, CLASSES, now, most);
	pthread_barrier_wait(&looked);
	pthread_barrier_wait(&verified);
	for (size_t i = 0; i < THREADS; i++)
		CHECK(pthread_join(threads[i], NULL) == 0);
	now = slab_bytes();
	for (int i = 0; i < 1000 && now > before + SPARE * SLICE;
	     i++) { /* the background thread has some of them out */
		proc_sleep_ms(10);
		now = slab_bytes();
	}
	CHECK_SAY(now <= before + SPARE * SLICE, "when all was freed: %zu bytes of slabs, %zu before", now, before);
}

int main(int argc, char **argv)
{
	const char *conf = VARIANTS(argc, argv, "arenas:1,guard_rate:0", "arenas:2,guard_rate:0",
				    "arenas:1,guard_rate:0,decay_ms:0");
	CHECK(pthread_barrier_init(&filled, NULL, THREADS + 1) == 0);
	CHECK(pthread_barrier_init(&looked, NULL, THREADS + 1) == 0);
	CHECK(pthread_barrier_init(&verified, NULL, THREADS + 1) == 0);
	size_t before = slab_bytes();
	for (size_t i = 0; i < ROUNDS; i++) {
		clear = i > 0;
		run_round(before, strstr(conf, "arenas:2") ? 2 : 1);
	}
	return 0;
}
