/* SPDX-License-Identifier: MIT */
/*
 * The large block that was freed last in an arena waits there for the next request of as many slices. It is that one's as any
 * other would be: aligned, cleared for calloc, charged to the limit, no other thread's. And it is nobody's meanwhile: other
 * requests find its memory free, and it goes back by decay, on demand, and where memory or the limit is at its end.
 */
#include "api.h"
#include "block.h"
#include "inject.h"
#include "proc.h"
#include "random.h"
#include "variants.h"

#include <pthread.h>
#include <stdatomic.h>

#define SLICE  (64 * KIB)
#define REGION (2 * MIB)
#define LONE   (31 * SLICE) /* a region with a slab in it has no room for it */
#define SLAB   (16 * KIB)   /* four of them are a slab of a slice */

static struct pmd_stats stats(void)
{
	struct pmd_stats s = {.size = sizeof s};
	CHECK(pmd_stats_get(&s) == 0);
	return s;
}

static void *taken(void *p)
{
	CHECK(p);
	return memset(p, 0xa5, 1);
}

static uintptr_t region_of(const void *p)
{
	return (uintptr_t)p / REGION;
}

/* Its region is not given back and fetched again each time. */
static void waits(void)
{
	void *p = taken(t_malloc(LONE));
	size_t free_before = stats().free_in_active_bytes, before = stats().regions_emptied;
	t_free(p);
	for (int i = 0; i < 100; i++)
		t_free(taken(t_malloc(LONE)));
	struct pmd_stats s = stats();
	CHECK(s.regions_emptied == before);
	CHECK(s.large_blocks == 0 && s.large_bytes == 0);
	CHECK_SAY(s.dirty_bytes >= LONE, "%zu dirty bytes", s.dirty_bytes);
	CHECK_SAY(s.free_in_active_bytes == free_before + LONE, "%zu bytes free in regions in use, %zu before",
		  s.free_in_active_bytes, free_before);
	CHECK(pmd_release() >= LONE);
	CHECK_SAY(stats().dirty_bytes == 0, "%zu dirty bytes", stats().dirty_bytes);
	CHECK(stats().regions_emptied == before + 1);
}

static void is_cleared(void)
{
	struct block b = {t_malloc(4 * SLICE), 4 * SLICE, 1};
	block_fill(&b);
	t_free(b.p);
	b.p = t_calloc(4, SLICE);
	block_check_zero(b.p, 4 * SLICE);
	t_free(b.p);
}

static void is_aligned(void)
{
	char *first = taken(t_malloc(3 * SLICE)), *p = taken(t_malloc(8 * SLICE));
	CHECK((uintptr_t)p % (8 * SLICE));
	t_free(p);
	p = taken(t_aligned_alloc(8 * SLICE, 8 * SLICE));
	CHECK((uintptr_t)p % (8 * SLICE) == 0);
	t_free(p);
	t_free(first);
}

/* Fills the region of SLAB but for a slice at most. Returns how many BLOCKS that took. */
static size_t fill_up(const char *slab, char **blocks)
{
	size_t n = 0;
	while (region_of(blocks[n] = taken(t_malloc(2 * SLICE))) == region_of(slab))
		n++;
	t_free(blocks[n]);
	return n;
}

static void free_all(char **blocks, size_t n)
{
	while (n)
		t_free(blocks[--n]);
}

/* What is longer, shorter, or a slab finds the room. */
static void makes_room(const char *slab)
{
	char *fillers[32], *slabs[30 * SLICE / SLAB], *p, *q;
	size_t n = fill_up(slab, fillers), before;
	p = taken(t_malloc(LONE));
	before = stats().regions_active;
	t_free(p);
	q = taken(t_malloc(16 * SLICE));
	p = taken(t_malloc(15 * SLICE));
	CHECK(region_of(p) == region_of(q) && stats().regions_active == before);
	t_free(q);
	t_free(p);
	p = taken(t_malloc(LONE));
	CHECK(region_of(p) == region_of(q) && stats().regions_active == before);
	t_free(p);
	for (size_t i = 0; i < LENGTH(slabs); i++)
		slabs[i] = taken(t_malloc(SLAB));
	CHECK_SAY(stats().regions_active == before, "%zu regions in use, not %zu", stats().regions_active, before);
	free_all(slabs, LENGTH(slabs));
	free_all(fillers, n);
}

static void lets_grow(void)
{
	char *p = taken(t_malloc(8 * SLICE)), *next = taken(t_malloc(4 * SLICE));
	CHECK(next == p + 8 * SLICE);
	t_free(next);
	CHECK(t_realloc(p, 12 * SLICE) == p);
	t_free(p);
}

/* A block whose pages have moved away has none that were charged. */
static void is_charged(void)
{
	size_t before = stats().resident_bytes;
	char *p = taken(t_malloc(REGION)), *next = taken(t_malloc(REGION)), *moved;
	moved = t_realloc(p, 2 * REGION);
	CHECK(moved && moved != p);
	p = taken(t_malloc(REGION));
	CHECK_SAY(stats().resident_bytes >= before + 4 * REGION, "%zu bytes held, %zu before", stats().resident_bytes,
		  before);
	t_free(p);
	t_free(next);
	t_free(moved);
	CHECK(pmd_release());
	CHECK_SAY(stats().resident_bytes <= before, "%zu bytes held, %zu before", stats().resident_bytes, before);
}

static void decays(bool callers_work)
{
	char *large[4];
	for (size_t i = 0; i < LENGTH(large); i++)
		large[i] = taken(t_malloc(LONE));
	size_t before = stats().regions_active;
	for (size_t i = 0; i < LENGTH(large); i++)
		t_free(large[i]);
	for (int i = 0; i < 1000 && stats().regions_active > before - LENGTH(large); i++) {
		inject_advance_ms(100);
		usleep(1000);
		if (callers_work)
			t_free(taken(t_malloc(2 * SLICE)));
	}
	CHECK(stats().regions_active == before - LENGTH(large));
}

static void *take_until_none(void *blocks)
{
	void **p = blocks;
	size_t n = 0;
	while ((p[n] = t_malloc(REGION)))
		n++;
	return NULL;
}

static void *take_one(void *size)
{
	return t_malloc((size_t)size);
}

/* The kernel gives nothing more: another arena's thread gets what waits in this one. */
static void helps_others(void)
{
	static void *blocks[4096];
	void *mine = taken(t_malloc(REGION)), *p;
	inject_add((struct inject_rule){.nr = SYS_mprotect, .action = INJECT_FAIL, .error = ENOMEM});
	proc_in_thread(take_until_none, blocks);
	t_free(mine);
	p = proc_in_thread(take_one, (void *)REGION);
	inject_clear();
	CHECK(p);
	t_free(p);
	for (size_t n = 0; blocks[n]; n++)
		t_free(blocks[n]);
}

static void meets_limit(void)
{
	void *mine = taken(t_malloc(LONE)), *p;
	CHECK(pmd_limit(0, stats().resident_bytes + 2 * REGION) == 0);
	t_free(mine);
	p = proc_in_thread(take_one, (void *)(2 * REGION + 16 * SLICE));
	CHECK(pmd_limit(0, 0) == 0);
	CHECK(p);
	t_free(p);
}

#define THREADS 8
#define ROUNDS  20000

static void *_Atomic handed;

/* Blocks of two lengths, some of which another thread frees. */
static void *hammer(void *argument)
{
	struct rng rng = {(uint64_t)(uintptr_t)argument};
	for (size_t i = check_scaled(ROUNDS); i; i--) {
		uint64_t word = rng_next(&rng);
		size_t size = word & 1 ? 2 * SLICE : 3 * SLICE;
		uint64_t *p = word & 2 ? t_malloc(size) : t_aligned_alloc(SLICE, size);
		CHECK(p);
		p[0] = p[size / 8 - 1] = word;
		if (word & 4)
			sched_yield();
		CHECK(p[0] == word && p[size / 8 - 1] == word);
		if (word & 8)
			p = atomic_exchange(&handed, (void *)p);
		t_free(p);
		if (!(word >> 10 & 1023))
			pmd_release();
	}
	return NULL;
}

static void is_one_threads(void)
{
	pthread_t threads[THREADS];
	for (size_t i = 0; i < THREADS; i++)
		CHECK(pthread_create(&threads[i], NULL, hammer, (void *)(i + 1)) == 0);
	for (size_t i = 0; i < THREADS; i++)
		CHECK(pthread_join(threads[i], NULL) == 0);
	t_free(atomic_exchange(&handed, NULL));
	CHECK(stats().large_blocks == 0);
	CHECK(pmd_release());
	CHECK_SAY(stats().dirty_bytes == 0, "%zu dirty bytes", stats().dirty_bytes);
}

int main(int argc, char **argv)
{
	const char *conf = VARIANTS(argc, argv, "guard_rate:0,arenas:1,mremap_mib:2",
				    "guard_rate:0,arenas:2,decay_ms:1000,mremap_mib:2",
				    "guard_rate:0,arenas:2,decay_ms:1000,mremap_mib:2,background:off");
	char *slab = taken(t_malloc(SLAB));
	taken(t_malloc(1)); /* another slab: LONE is longer than what is left of the region */
	waits();
	is_cleared();
	is_aligned();
	makes_room(slab);
	lets_grow();
	is_charged();
	if (strstr(conf, "decay_ms:1000"))
		decays(strstr(conf, "background:off"));
	helps_others();
	meets_limit();
	is_one_threads();
	return 0;
}
