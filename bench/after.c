/* SPDX-License-Identifier: MIT */
/*
 * After the free: 256 MiB of blocks of 16 B to 4 KiB are filled and freed in random order, all of them or 99 of 100;
 * then the program sleeps for WAIT_S seconds without any call, and the memory that is resident and in page tables is told
 * ("after_rss_mib", "after_pte_kib"), above what it was before. An operation is the filling and the freeing.
 */
#include "bench.h"

#include <stdlib.h>
#include <unistd.h>

enum { WAIT_S = 12, MOST = 1 << 18, HUNDRED = 100 };
#define BYTES ((size_t)256 << 20)

static size_t fill(const struct bench *b, void **blocks)
{
	uint64_t random = RANDOM_SEED;
	size_t n = 0;

	for (size_t done = 0; done < BYTES && n < MOST; n++) {
		size_t size = random_size(&random, b);

		blocks[n] = touch_pages(malloc(size), size);
		done += size;
	}
	return n;
}

static void shuffle(void **blocks, size_t n)
{
	uint64_t random = RANDOM_SEED + 1;

	for (size_t i = n; i > 1; i--) {
		size_t j = random_below(&random, i);
		void *other = blocks[j];

		blocks[j] = blocks[i - 1];
		blocks[i - 1] = other;
	}
}

/* COUNT of each hundred are freed. */
static uint64_t run(const struct bench *b, uint64_t ops)
{
	void **blocks = table_new(MOST * sizeof(*blocks));
	size_t rss_kb = status_kb("VmRSS:"), pte_kb = status_kb("VmPTE:"), n;
	uint64_t ns, start = now_ns();

	n = fill(b, blocks);
	ns = now_ns() - start;
	shuffle(blocks, n);
	start = now_ns();
	for (size_t i = 0; i < n; i++)
		if (i % HUNDRED < b->count)
			free(blocks[i]);
	ns += now_ns() - start;
	sleep(WAIT_S);
	tell("after_rss_mib", ((double)status_kb("VmRSS:") - (double)rss_kb) / 1024);
	tell("after_pte_kib", (double)status_kb("VmPTE:") - (double)pte_kb);
	for (size_t i = 0; i < n; i++)
		if (i % HUNDRED >= b->count)
			free(blocks[i]);
	table_drop(blocks, MOST * sizeof(*blocks));
	return ns * ops;
}

#define AFTER(text, freed)                                                                                     \
	{                                                                                                      \
		.name = "after/" text, .run = run, .low = 16, .high = 4096, .count = (freed), .warm_mib = 320, \
		.fixed_ops = 1                                                                                 \
	}

const struct bench after_benches[] = {AFTER("all-freed", 100), AFTER("99-freed", 99), {0}};
