/* SPDX-License-Identifier: MIT */
/*
 * Blocks of many sizes share regions well: what is kept does not pin the region of each short-lived block that it was
 * allocated beside; what is left of a region is used; dirty regions are used again before clean ones; blocks just above a
 * half or the whole of 64 KiB do not take twice as much; what blocks that grow leave behind does not stay beside them.
 */
#include "api.h"
#include "block.h"
#include "proc.h"
#include "variants.h"

#include <sys/resource.h>

#define REGION (2 * MIB)

enum { KEPT_MOST = 4000 };

static void *kept[KEPT_MOST];

static size_t regions_active(void)
{
	struct pmd_stats stats = {.size = sizeof stats};
	CHECK(pmd_stats_get(&stats) == 0);
	return stats.regions_active;
}

static size_t page_faults(void)
{
	struct rusage usage;
	CHECK(getrusage(RUSAGE_SELF, &usage) == 0);
	return (size_t)usage.ru_minflt;
}

static void *alloc(size_t size)
{
	char *p = t_malloc(size);
	CHECK(p);
	for (size_t i = 0; i < size; i += 4 * KIB)
		p[i] = 1;
	return p;
}

static void free_kept(size_t count)
{
	for (size_t i = 0; i < count; i++)
		t_free(kept[i]);
}

/* Again and again a buffer, something that stays, and the buffer's end. WINDOW buffers live at once. */
static void keep_beside(size_t buffer, size_t size, size_t count, size_t window)
{
	void *buffers[8] = {NULL};
	size_t before = regions_active();
	for (size_t i = 0; i < count; i++) {
		t_free(buffers[i % window]);
		buffers[i % window] = alloc(buffer);
		kept[i] = alloc(size);
	}
	for (size_t i = 0; i < window; i++)
		t_free(buffers[i]);
	size_t fewest = (count * size + REGION - 1) / REGION, after = regions_active() - before;
	CHECK_SAY(after <= 2 * fewest + window, "%zu times %zu bytes beside %zu: %zu regions are kept, %zu could do",
		  count, size, buffer, after, fewest);
	free_kept(count);
}

static void survivors(void)
{
	static const size_t buffers_kib[] = {1100, 1536, 2560, 3000, 4500};
	for (size_t i = 0; i < LENGTH(buffers_kib); i++) {
		for (size_t window = 1; window <= 8; window *= 8) {
			keep_beside(buffers_kib[i] * KIB, 64 * KIB, 500, window);
			keep_beside(buffers_kib[i] * KIB, 8 * KIB, KEPT_MOST, window);
			keep_beside(buffers_kib[i] * KIB, 200 * KIB, 200, window);
		}
	}
}

/* Blocks that leave much of their last region, and small ones: no region more. */
static void tails(void)
{
	enum { LONG = 100 };
	for (size_t size = 1100 * KIB; size < 6 * MIB; size += 2 * MIB) {
		void *longs[LONG];
		for (size_t i = 0; i < LONG; i++)
			longs[i] = alloc(size);
		size_t before = regions_active();
		for (size_t i = 0; i < KEPT_MOST; i++)
			kept[i] = alloc(12 * KIB);
		size_t more = regions_active() - before;
		CHECK_SAY(more <= 1, "beside blocks of %zu bytes: %zu regions more", size, more);
		for (size_t i = 0; i < LONG; i++)
			t_free(longs[i]);
		free_kept(KEPT_MOST);
	}
}

/* A block that was long and is short now shares its region. */
static void shrunk(void)
{
	enum { COUNT = 100 };
	size_t before = regions_active();
	for (size_t i = 0; i < COUNT; i++) {
		kept[i] = t_realloc(alloc(5 * MIB), 100 * KIB);
		CHECK(kept[i]);
	}
	size_t after = regions_active() - before;
	CHECK_SAY(after <= COUNT * 128 * KIB / REGION + 4, "%d blocks shrunk to 100 KiB keep %zu regions", COUNT,
		  after);
	free_kept(COUNT);
}

/* A region that something pins serves blocks of nearly its size, which grow there, and beyond. */
static void pinned(void)
{
	void *pin = alloc(40 * KIB);
	size_t before = regions_active();
	for (size_t size = 1100 * KIB; size < 1900 * KIB; size += 100 * KIB)
		t_free(alloc(size));
	struct block b = {t_malloc(1100 * KIB), 1100 * KIB, 1};
	CHECK(b.p);
	block_fill(&b);
	CHECK(regions_active() == before);
	for (size_t size = 1500 * KIB; size < 20 * MIB; size *= 2) {
		b.p = t_realloc(b.p, size);
		CHECK(b.p);
		block_verify_prefix(&b, size);
		b.size = size;
		block_fill(&b);
		CHECK_SAY(size > REGION || regions_active() == before, "%zu bytes: %zu regions, %zu before", size,
			  regions_active(), before);
	}
	t_free(b.p);
	t_free(pin);
}

static void reuse(void)
{
	enum { BLOCKS = 12 };
	void *blocks[BLOCKS];
	for (size_t i = 0; i < BLOCKS; i++)
		blocks[i] = alloc(4 * MIB);
	/* Two clean regions, and, behind them, two dirty ones. */
	t_free(blocks[2]);
	pmd_release();
	t_free(blocks[6]);
	size_t before = page_faults();
	blocks[6] = alloc(4 * MIB);
	size_t more = page_faults() - before;
	CHECK_SAY(more < 100, "a dirty run was there, and %zu pages were fetched", more);
	/* Four clean ones, and, behind them, two clean and two dirty ones. */
	t_free(blocks[3]);
	t_free(blocks[7]);
	pmd_release();
	t_free(blocks[8]);
	before = page_faults();
	blocks[2] = alloc(8 * MIB);
	more = page_faults() - before;
	CHECK_SAY(more < 1200, "half of a run was dirty, and %zu pages were fetched", more);
	for (size_t i = 0; i < BLOCKS; i++)
		if (i != 3 && i != 7 && i != 8)
			t_free(blocks[i]);
}

/* Blocks that whole slices would be twice as large as. */
static void middling(void)
{
	static const size_t sizes[] = {33000, 41000, 50000, 66000, 73000};
	enum { COUNT = 1000 };
	for (size_t i = 0; i < LENGTH(sizes); i++) {
		size_t before = regions_active(), least = COUNT * sizes[i] / REGION;
		for (size_t k = 0; k < COUNT; k++)
			kept[k] = alloc(sizes[i]);
		size_t more = regions_active() - before;
		CHECK_SAY(more <= least * 4 / 3 + 2, "%d blocks of %zu bytes take %zu regions, %zu could do", COUNT,
			  sizes[i], more, least);
		free_kept(COUNT);
	}
}

enum { OUTGROWN_FIRST = 8, OUTGROWN_MOST = 32 };

static struct pmd_stats stats_now(void)
{
	struct pmd_stats stats = {.size = sizeof stats};
	CHECK(pmd_stats_get(&stats) == 0);
	return stats;
}

/* A block that is replaced by one that is longer by a region, again and again, with something behind it. */
static void outgrown(void)
{
	enum { TIMES = 8 };
	void *block = alloc(OUTGROWN_FIRST * REGION), *pins[TIMES];
	for (size_t i = 0; i < TIMES; i++) {
		pins[i] = alloc(REGION);
		t_free(block);
		block = alloc((OUTGROWN_FIRST + i + 1) * REGION);
		for (int ms = 0; i == 0 && stats_now().regions_dirty && ms < 30000; ms++)
			usleep(1000);
		CHECK_SAY(i || stats_now().releases >= OUTGROWN_FIRST,
			  "%llu regions went at once, of %d that were outgrown",
			  (unsigned long long)stats_now().releases, OUTGROWN_FIRST);
	}
	/* An hour is a tick here: no more than this go before it is over. */
	CHECK_SAY(stats_now().releases <= OUTGROWN_MOST, "%llu regions went at once",
		  (unsigned long long)stats_now().releases);
	t_free(block);
	for (size_t i = 0; i < TIMES; i++)
		t_free(pins[i]);
}

/* Each in a process of its own. */
static const struct {
	const char *conf;
	void (*run)(void);
} variants[] = {
	{"thp:never,decay_ms:1000", survivors},   {"thp:never,decay_ms:1001", tails},
	{"thp:never,decay_ms:1002", shrunk},      {"thp:never,decay_ms:1003", pinned},
	{"thp:never,decay_ms:-1", reuse},         {"thp:never,decay_ms:-1,pressure:off", middling},
	{"thp:never,decay_ms:3600000", outgrown}, {"thp:never,decay_ms:3600000,background:off", outgrown},
};

int main(int argc, char **argv)
{
	const char *confs[LENGTH(variants)];
	if (SANITIZED)
		SKIP("a sanitizer's own memory hides what is measured");
	for (size_t i = 0; i < LENGTH(variants); i++)
		confs[i] = variants[i].conf;
	const char *conf = variants_run(argc, argv, confs, LENGTH(confs));
	for (size_t i = 0; i < LENGTH(variants); i++)
		if (strcmp(conf, variants[i].conf) == 0)
			variants[i].run();
	return 0;
}
