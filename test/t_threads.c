/* SPDX-License-Identifier: MIT */
/*
 * Four thousand threads in waves. Each leaves blocks behind, which main or a thread of the next wave frees; the slabs
 * of threads that are gone are used again: memory does not grow from wave to wave, and all of it comes back in the end.
 */
#include "api.h"
#include "block.h"
#include "proc.h"
#include "random.h"
#include "variants.h"

#include <pthread.h>

#ifdef PMD_HOOKED
#define WAVES 2 /* for Valgrind */
#elif defined(PMD_FAULTS)
#define WAVES 4 /* for test/faults.py, which runs it a thousand times */
#else
#define WAVES 20
#endif
#define WAVE_THREADS  200
#define LEFT          40
#define STACK         (SANITIZED ? 512 * KIB : 64 * KIB)
#define GROWTH_KB     (8 * 1024)  /* from wave to wave where free memory goes back at once */
#define DIRTY_KB      (32 * 1024) /* where it waits */
#define SETTLED_WAVES 3

static struct block left[WAVE_THREADS][LEFT];
static size_t wave;

static void *run(void *argument)
{
	size_t me = (size_t)argument;
	struct rng rng = {wave * 1000 + me};
	void *mine[LEFT];
	for (size_t i = 0; i < LEFT; i++) {
		size_t size = 1 + rng_log_size(&rng, 13);
		mine[i] = t_malloc(size);
		CHECK(mine[i]);
		if (i % 2) {
			block_verify(&left[me][i]);
			t_free(left[me][i].p);
		}
		left[me][i] = (struct block){t_malloc(size), size, rng_next(&rng)};
		CHECK(left[me][i].p);
		block_fill(&left[me][i]);
	}
	for (size_t i = 0; i < LEFT; i++)
		t_free(mine[i]);
	return NULL;
}

static void run_wave(void)
{
	pthread_t threads[WAVE_THREADS];
	pthread_attr_t attr;
	CHECK(pthread_attr_init(&attr) == 0);
	CHECK(pthread_attr_setstacksize(&attr, STACK) == 0);
	for (size_t i = 0; i < WAVE_THREADS; i++)
		CHECK(pthread_create(&threads[i], &attr, run, (void *)i) == 0);
	for (size_t i = 0; i < WAVE_THREADS; i++)
		CHECK(pthread_join(threads[i], NULL) == 0);
	CHECK(pthread_attr_destroy(&attr) == 0);
}

/* Every other block stays for the next wave's threads to free. */
static void free_left(bool all)
{
	for (size_t i = 0; i < WAVE_THREADS; i++) {
		for (size_t j = 0; j < LEFT; j += all ? 1 : 2) {
			block_verify(&left[i][j]);
			t_free(left[i][j].p);
			left[i][j] = (struct block){NULL, 0, 0};
		}
	}
}

/* VmRSS, at the latest when it is below MOST: who gives memory back in the background may have had no CPU for a while. */
static size_t settled_rss_kb(size_t most)
{
	size_t now = proc_rss_kb();
	for (int i = 0; i < 1000 && now > most; i++) {
		proc_sleep_ms(10);
		now = proc_rss_kb();
	}
	return now;
}

static void check_growth(size_t settled, size_t growth)
{
	size_t now = settled_rss_kb(settled + growth);
	CHECK_SAY(now <= settled + growth, "wave %zu: VmRSS %zu kB, %zu after wave %d", wave, now, settled,
		  SETTLED_WAVES);
}

/* The statistics agree that what was left is gone, and the kernel that the memory is. */
static void check_end(const struct pmd_stats *before, size_t rss_kb)
{
	struct pmd_stats stats = {.size = sizeof stats};
	CHECK(pmd_stats_get(&stats) == 0);
	/* While the background thread moves a slab's freed blocks from one list to the other they look live. */
	for (int i = 0; i < 100 && stats.live_blocks > before->live_blocks + 1000; i++) {
		proc_sleep_ms(10);
		CHECK(pmd_stats_get(&stats) == 0);
	}
	CHECK_SAY(stats.threads <= 16, "%zu thread caches after all threads ended", stats.threads);
	CHECK_SAY(stats.live_blocks <= before->live_blocks + 1000, "%zu live blocks, %zu at the start",
		  stats.live_blocks, before->live_blocks);
	CHECK_SAY(stats.dirty_bytes <= stats.heap_committed, "%zu dirty bytes of %zu", stats.dirty_bytes,
		  stats.heap_committed);
	pmd_release();
	if (SANITIZED)
		return;
	size_t now = settled_rss_kb(rss_kb + GROWTH_KB);
	CHECK_SAY(now <= rss_kb + GROWTH_KB, "VmRSS %zu kB, %zu at the start", now, rss_kb);
}

int main(int argc, char **argv)
{
	const char *conf = VARIANTS(argc, argv, "", "decay_ms:-1,arenas:1", "decay_ms:0");
	size_t growth = strcmp(conf, "decay_ms:0") ? DIRTY_KB : GROWTH_KB;
	struct pmd_stats before = {.size = sizeof before};
	size_t settled = 0, start = proc_rss_kb();
	CHECK(pmd_stats_get(&before) == 0);
	for (wave = 1; wave <= WAVES; wave++) {
		run_wave();
		free_left(false);
		if (wave == SETTLED_WAVES)
			settled = proc_rss_kb();
		if (wave > SETTLED_WAVES && !SANITIZED)
			check_growth(settled, growth);
	}
	free_left(true);
	check_end(&before, start);
	return 0;
}
