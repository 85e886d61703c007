/* SPDX-License-Identifier: MIT */
/*
 * Two threads free the blocks of the same slabs by turns, the one that allocated them the last of each: all of it goes
 * back, though that thread never allocates again.
 */
#include "api.h"
#include "proc.h"
#include "variants.h"

#include <pthread.h>
#include <sys/syscall.h>

#define BLOCK 1024
#ifdef PMD_FAULTS
#define TOUCHED (24 * MIB) /* test/faults.py runs it a thousand times */
#else
#define TOUCHED (64 * MIB)
#endif
#define BLOCKS    (TOUCHED / BLOCK)
#define WAIT_MS   15000
#define MOST_LEFT 25 /* percent of the peak */

static char **blocks;
static size_t turn; /* the block that goes next */

static void wait_for(size_t i)
{
	while (__atomic_load_n(&turn, __ATOMIC_ACQUIRE) != i)
		sched_yield();
}

/* Frees every other block from FIRST on, each when its turn has come; turns are of several blocks, to be quick. */
static void free_by_turns(size_t first)
{
	enum { AT_ONCE = 8 };

	for (size_t i = first * AT_ONCE; i < BLOCKS; i += 2 * AT_ONCE) {
		wait_for(i);
		for (size_t k = i; k < i + AT_ONCE; k++)
			t_free(blocks[k]);
		__atomic_store_n(&turn, i + AT_ONCE, __ATOMIC_RELEASE);
	}
}

static void *other(void *arg)
{
	free_by_turns(0);
	return arg;
}

/* With test/faults.py madvise may fail for good: then nothing can be asked of what goes back by it. */
static bool is_refused_for_good(void)
{
	const char *faults = getenv("FAULTS");
	long nr;

	return faults && sscanf(faults, "on,%ld,", &nr) == 1 && nr == SYS_madvise;
}

int main(int argc, char **argv)
{
	if (SANITIZED)
		SKIP("a sanitizer's own memory hides what is measured");
	VARIANTS(argc, argv, "decay_ms:300", "decay_ms:0", "decay_ms:300,background:off");
	char decay[16];
	CHECK(pmd_option_get("decay_ms", decay, sizeof decay) == 0);
	if (!strcmp(decay, "-1"))
		SKIP("nothing goes back"); /* a setting of test/faults.py */
	blocks = proc_table(BLOCKS * sizeof *blocks);
	size_t start = proc_rss_kb();
	for (size_t i = 0; i < BLOCKS; i++) {
		blocks[i] = t_malloc(BLOCK);
		CHECK(blocks[i]);
		memset(blocks[i], 1, BLOCK);
	}
	size_t peak = proc_rss_kb() - start;
	pthread_t thread;
	CHECK(pthread_create(&thread, NULL, other, NULL) == 0);
	free_by_turns(1);
	CHECK(pthread_join(thread, NULL) == 0);
	size_t left = peak;
	int most = is_refused_for_good() ? 1000 : WAIT_MS;
	for (int waited = 0; waited < most && left > peak * MOST_LEFT / 100; waited += 100) {
		proc_sleep_ms(100);
		t_free(t_malloc(100 * KIB)); /* where there is no thread, somebody has to free something */
		size_t now = proc_rss_kb();
		left = now > start ? now - start : 0;
	}
	CHECK_SAY(left <= peak * MOST_LEFT / 100 || is_refused_for_good(), "%zu kB left of %zu kB", left, peak);
	return 0;
}
