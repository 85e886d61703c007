/* SPDX-License-Identifier: MIT */
/*
 * A -static program with pmdalloc.o or libpmdalloc.a: its malloc is ours, in every thread and in the C library, and what main asks
 * for first is sampled.
 */
#include "api.h"
#include "block.h"
#include "check.h"

#include <pthread.h>

static size_t live(void)
{
	struct pmd_stats stats = {.size = sizeof stats};
	CHECK(pmd_stats_get(&stats) == 0);
	return stats.live_bytes;
}

static void *run(void *unused)
{
	for (size_t size = 1; size < 16 * MIB; size = size * 2 + 1) {
		struct block block = {t_malloc(size), size, size};
		CHECK(block.p);
		block_fill(&block);
		block.p = t_realloc(block.p, 2 * size);
		CHECK(block.p);
		block_verify(&block);
		t_free(block.p);
	}
	return unused;
}

/* What the C library asks for before main does not use up the samples of the start: see src/check/guard.h. */
static void starts_with_samples(void)
{
	if (SANITIZED || getenv("PMDALLOC_CONF"))
		return;
	char *p = t_malloc(24);
	CHECK(p && (uintptr_t)(p + 32) % 4096 == 0); /* at the end of a page of its own */
	t_free(p);
}

int main(void)
{
	starts_with_samples();
	pthread_t thread;
	CHECK(strcmp(pmd_version(), PMDALLOC_VERSION) == 0);
	size_t before = live();
	void *p = t_malloc(10 * MIB);
	CHECK(p && live() >= before + 10 * MIB);
	t_free(p);
#ifndef PMD_PREFIXED
	before = live();
	char *line = NULL;
	CHECK(asprintf(&line, "%*d", 100000, 5) == 100000);
	CHECK(live() >= before + 100000);
	CHECK(pmd_malloc_usable_size(line) >= 100001);
	free(line);
#endif
	run(NULL);
	CHECK(pthread_create(&thread, NULL, run, NULL) == 0);
	CHECK(pthread_join(thread, NULL) == 0);
	return 0;
}
