/* SPDX-License-Identifier: MIT */
/* More than the reservation holds: further heaps are found, and serve large and small blocks alike. */
#include "api.h"
#include "block.h"
#include "proc.h"
#include "variants.h"

#include <pthread.h>

#define BLOCK (64 * MIB)
#define COUNT 48 /* 3 GiB; the reservation is 1 GiB */
#define SMALL 2000

static unsigned char *blocks[COUNT];

static void *free_in_thread(void *unused)
{
	for (size_t i = 0; i < COUNT; i += 2)
		t_free(blocks[i]);
	return unused;
}

static void round_of_blocks(void)
{
	void *small[SMALL];
	pthread_t thread;
	struct pmd_stats stats = {.size = sizeof stats};
	for (size_t i = 0; i < COUNT; i++) {
		blocks[i] = t_malloc(BLOCK);
		CHECK_SAY(blocks[i], "block %zu", i);
		blocks[i][i * 4096] = (unsigned char)i;
	}
	CHECK(pmd_stats_get(&stats) == 0);
	CHECK_SAY(stats.heaps >= 2, "%zu heaps", stats.heaps);
	for (size_t i = 0; i < SMALL; i++) {
		small[i] = t_calloc(1, i * 7);
		CHECK(small[i]);
		block_check_zero(small[i], i * 7);
		memset(small[i], 1, i * 7);
	}
	for (size_t i = 0; i < COUNT; i++)
		CHECK(blocks[i][i * 4096] == i && t_usable(blocks[i]) >= BLOCK);
	blocks[COUNT - 1] = t_realloc(blocks[COUNT - 1], 3 * BLOCK / 2);
	CHECK(blocks[COUNT - 1] && blocks[COUNT - 1][(COUNT - 1) * 4096] == COUNT - 1);
	CHECK(pthread_create(&thread, NULL, free_in_thread, NULL) == 0);
	CHECK(pthread_join(thread, NULL) == 0);
	for (size_t i = 1; i < COUNT; i += 2)
		t_free(blocks[i]);
	for (size_t i = 0; i < SMALL; i++)
		t_free(small[i]);
}

/* One block larger than the reservation. */
static void beyond_the_reservation(void)
{
	char *p = t_malloc(5 * GIB / 2);
	CHECK(p);
	for (size_t at = 0; at < 5 * GIB / 2; at += 128 * MIB)
		p[at] = 1;
	p = t_realloc(p, 3 * GIB);
	CHECK(p && p[0] == 1 && p[2 * GIB] == 1 && p[3 * GIB - 1] == 0);
	t_free(p);
	p = t_memalign(256 * MIB, GIB);
	CHECK(p && (uintptr_t)p % (256 * MIB) == 0);
	t_free(p);
}

int main(int argc, char **argv)
{
	VARIANTS(argc, argv, "reserve_gib:1", "reserve_gib:1,decay_ms:0");
	size_t vmas = proc_vmas();
	struct pmd_stats before = {.size = sizeof before}, after = {.size = sizeof after};
	round_of_blocks();
	CHECK(pmd_stats_get(&before) == 0);
	for (size_t i = 0; i < 5; i++)
		round_of_blocks();
	CHECK(pmd_stats_get(&after) == 0);
	CHECK_SAY(after.heaps <= before.heaps + 2, "%zu heaps after the first round, %zu in the end", before.heaps,
		  after.heaps);
	beyond_the_reservation();
	CHECK_SAY(proc_vmas() <= vmas + 80, "%zu mappings, %zu at the start", proc_vmas(), vmas);
	return 0;
}
