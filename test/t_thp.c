/* SPDX-License-Identifier: MIT */
/*
 * Huge pages as the option says: never, always, or where they serve. With thp:auto a small heap has none, nor have many
 * threads with little each; one that fills fast has, dense regions become some in the background, and mostly full ones
 * are left whole by decay; and the heap is one mapping all the time.
 */
#define CHECK_SECONDS 120
#include "api.h"
#include "proc.h"
#include "random.h"
#include "variants.h"

#include <pthread.h>

#define SLICE      (64 * KIB) /* in slabs of four */
#define REGION_KIB 2048
#define MOST       (256 * MIB / SLICE)
#define WAIT_MS    30000
#define CROWD      100

enum host { NEVER, MADVISE, ALWAYS };

static enum host host;
static unsigned char **blocks; /* of a slice each */
static size_t count;

/* ---- What the kernel says ---------------------------------------------------------------------------------------- */

static void read_host(void)
{
	char text[128];

	if (!proc_read("/sys/kernel/mm/transparent_hugepage/enabled", text, sizeof text))
		SKIP("this kernel has no huge pages");
	host = strstr(text, "[always]") ? ALWAYS : strstr(text, "[madvise]") ? MADVISE : NEVER;
}

/* The mappings that hold blocks. */
struct heap {
	size_t mappings, huge_kb, advised, advised_against;
};

static bool holds_block(const char *line)
{
	uintptr_t start, end;

	CHECK(sscanf(line, "%lx-%lx", &start, &end) == 2);
	for (size_t i = 0; i < count; i++)
		if (blocks[i] && (uintptr_t)blocks[i] >= start && (uintptr_t)blocks[i] < end)
			return true;
	return false;
}

static bool is_header(const char *line)
{
	return strchr("0123456789abcdef", line[0]) && strchr(line, '-') && strchr(line, '-') < strchr(line, ' ');
}

static struct heap look(void)
{
	static char text[MIB];
	struct heap heap = {0};
	bool ours = false;

	CHECK(proc_read("/proc/self/smaps", text, sizeof text) + 1 < sizeof text);
	for (char *line = text, *end; (end = strchr(line, '\n')); line = end + 1) {
		size_t kb;

		*end = 0;
		if (is_header(line)) {
			ours = holds_block(line);
			heap.mappings += ours;
		} else if (ours && sscanf(line, "AnonHugePages: %zu", &kb) == 1) {
			heap.huge_kb += kb;
		} else if (ours && !strncmp(line, "VmFlags:", 8)) {
			heap.advised += strstr(line, " hg") != NULL;
			heap.advised_against += strstr(line, " nh") != NULL;
		}
	}
	CHECK(heap.mappings > 0);
	return heap;
}

static size_t splits(void)
{
	static char text[64 * KIB];
	const char *line;

	return proc_read("/proc/vmstat", text, sizeof text) && (line = strstr(text, "thp_split_page "))
		       ? strtoul(line + 15, NULL, 10)
		       : 0;
}

static struct pmd_stats stats(void)
{
	struct pmd_stats s = {.size = sizeof s};

	CHECK(pmd_stats_get(&s) == 0);
	return s;
}

/* ---- Blocks ------------------------------------------------------------------------------------------------------ */

static void grow(size_t bytes)
{
	for (size_t have = 0; have < bytes; have += SLICE) {
		CHECK(count < MOST);
		blocks[count] = t_malloc(SLICE);
		CHECK(blocks[count]);
		memset(blocks[count], (int)(count % 251 + 1), SLICE);
		count++;
	}
}

static void free_where(bool (*chosen)(size_t i))
{
	for (size_t i = 0; i < count; i++)
		if (blocks[i] && chosen(i)) {
			t_free(blocks[i]);
			blocks[i] = NULL;
		}
}

static bool all(size_t i)
{
	return i + 1 > 0;
}

static bool eighth(size_t i)
{
	return i % 8 == 3;
}

static bool nearly_all(size_t i)
{
	return i % 8 != 5;
}

static void verify(void)
{
	for (size_t i = 0; i < count; i++)
		for (size_t at = 0; blocks[i] && at < SLICE; at += 512)
			CHECK(blocks[i][at] == i % 251 + 1);
}

static void check_against(const char *when)
{
	struct heap heap = look();

	CHECK_SAY(heap.advised_against == heap.mappings && !heap.advised,
		  "%s: of %zu mappings %zu are advised and %zu against", when, heap.mappings, heap.advised,
		  heap.advised_against);
}

/* ---- What is checked --------------------------------------------------------------------------------------------- */

static void never(void)
{
	grow(128 * MIB);
	check_against("thp:never");
	CHECK(look().huge_kb == 0);
}

static void check_end(size_t pte_kb)
{
	verify();
	/* The slab that is allocated from is not purged, and may be alone in its region. */
	CHECK(look().huge_kb <= REGION_KIB);
	free_where(all);
	pmd_release();
	/* The background thread may be in the middle of giving regions back. */
	for (int waited = 0; waited < WAIT_MS && proc_frees_page_tables() && proc_pte_kb() > pte_kb + 64; waited += 100)
		proc_sleep_ms(100);
	CHECK_SAY(!proc_frees_page_tables() || proc_pte_kb() <= pte_kb + 64, "VmPTE %zu kB, %zu at the start",
		  proc_pte_kb(), pte_kb);
}

/* Memory and page tables come back from huge pages, too. */
static void check_release(size_t pte_kb)
{
	size_t rss_kb = proc_rss_kb();

	verify();
	free_where(nearly_all);
	pmd_release();
	CHECK_SAY(proc_rss_kb() < rss_kb / 2, "VmRSS %zu kB, %zu before", proc_rss_kb(), rss_kb);
	check_end(pte_kb);
}

static void always(void)
{
	size_t pte_kb = proc_pte_kb();
	struct heap heap;

	grow(128 * MIB);
	heap = look();
	CHECK(heap.advised == heap.mappings && !heap.advised_against);
	CHECK(host != NEVER || heap.huge_kb == 0);
	if (host != NEVER && heap.huge_kb < 64 * KIB)
		SKIP("the machine has no huge pages left: %zu kB of 128 MiB", heap.huge_kb);
	check_release(pte_kb);
}

static void wait_until_calm(void)
{
	for (int waited = 0; waited < WAIT_MS && look().advised; waited += 100)
		proc_sleep_ms(100);
	check_against("calm again");
}

/* A dense heap of 128 MiB that has filled fast; false where the machine does not give it huge pages. */
static bool fill_fast(void)
{
	grow(8 * MIB);
	check_against("a small heap");
	CHECK(look().huge_kb == 0);
	grow(120 * MIB);
	CHECK_SAY(look().mappings == 1, "the heap is %zu mappings", look().mappings);
	if (host == NEVER) {
		check_against("where huge pages are switched off");
		CHECK(look().huge_kb == 0);
	}
	return look().huge_kb >= 64 * KIB;
}

/* An eighth is free here and there: decay leaves it, a release does not. Then more is free: decay takes it. */
static void sparse_and_dense(void)
{
	size_t pte_kb = proc_pte_kb(), rss_kb, huge_kb, before = splits();

	if (!fill_fast())
		SKIP("no huge pages");
	free_where(eighth);
	wait_until_calm();
	rss_kb = proc_rss_kb();
	huge_kb = look().huge_kb;
	proc_sleep_ms(1000);
	CHECK_SAY(look().huge_kb >= huge_kb, "%zu kB of huge pages, %zu before", look().huge_kb, huge_kb);
	/* Some regions came in small pages, to see what is touched of them. */
	CHECK_SAY(proc_rss_kb() + 1024 + (rss_kb - huge_kb) / 4 >= rss_kb, "VmRSS %zu kB, %zu before", proc_rss_kb(),
		  rss_kb);
	free_where(nearly_all);
	for (int waited = 0; waited < WAIT_MS && proc_rss_kb() > rss_kb / 4; waited += 100)
		proc_sleep_ms(100);
	CHECK_SAY(proc_rss_kb() <= rss_kb / 4, "VmRSS %zu kB, %zu when full", proc_rss_kb(), rss_kb);
	CHECK_SAY(splits() - before >= huge_kb / 2048 / 2, "only %zu huge pages were split", splits() - before);
	check_end(pte_kb);
}

static void by_request(void)
{
	size_t pte_kb = proc_pte_kb(), rss_kb;

	if (!fill_fast())
		SKIP("no huge pages");
	free_where(eighth);
	proc_sleep_ms(500);
	rss_kb = proc_rss_kb();
	CHECK(pmd_release() >= 8 * MIB);
	CHECK_SAY(proc_rss_kb() + 12 * KIB <= rss_kb, "VmRSS %zu kB, %zu before", proc_rss_kb(), rss_kb);
	check_release(pte_kb);
}

static void check_collapse(void)
{
	for (int waited = 0; waited < WAIT_MS && stats().collapsed < 4; waited += 100)
		proc_sleep_ms(100);
	if (host == NEVER) {
		CHECK(!stats().collapsed && !stats().collapse_failures);
		return;
	}
	if (!stats().collapsed && stats().collapse_failures)
		SKIP("this kernel collapses nothing");
	/* One that takes long, on a busy machine, is followed by a hundred times as long without. */
	size_t collapsed = stats().collapsed;
	CHECK_SAY(collapsed >= 1, "none of %zu MiB was collapsed", count * SLICE / MIB);
	CHECK_SAY(look().huge_kb >= collapsed * REGION_KIB, "%zu kB of huge pages", look().huge_kb);
	CHECK(look().mappings == 1);
	wait_until_calm();
	verify();
}

/* Below the size from which it is advised; the background thread is there as something is free. */
static void collapse(void)
{
	size_t pte_kb = proc_pte_kb();
	void *p;

	if (host == NEVER)
		SKIP("huge pages are switched off");
	grow(10 * MIB);
	CHECK(look().huge_kb == 0);
	p = t_malloc(5 * MIB);
	CHECK(p);
	memset(p, 1, 5 * MIB);
	t_free(p);
	check_collapse();
	check_release(pte_kb);
}

/*
 * Nothing is ever freed. Each half of a region takes longer than a region may that fills fast (FILL_MS): when the first
 * beyond the size from which it matters was begun depends on what else is in the heap.
 */
static void collapse_slow(void)
{
	grow(32 * MIB);
	for (int i = 0; i < 16; i++) {
		proc_sleep_ms(110);
		grow(MIB);
	}
	check_collapse();
}

/* What is mapped anew has the advice of the rest. */
static void remapped(void)
{
	(void)fill_fast();
	for (int i = 0; i < 4; i++) {
		free_where(nearly_all);
		pmd_release();
		grow(16 * MIB);
		CHECK_SAY(look().mappings == 1, "the heap is %zu mappings", look().mappings);
	}
	wait_until_calm();
}

static void forked(void)
{
	pid_t pid;

	(void)fill_fast();
	pid = fork();
	CHECK(pid >= 0);
	if (pid == 0) {
		struct heap heap;

		check_child(60);
		grow(64 * MIB);
		heap = look();
		CHECK(heap.mappings <= 2 && (heap.advised == heap.mappings || heap.advised_against == heap.mappings));
		free_where(eighth);
		pmd_release();
		verify();
		free_where(all);
		pmd_release();
		_exit(0);
	}
	CHECK(check_wait(pid) == 0);
	verify();
}

/* ---- Blocks of many pages ---------------------------------------------------------------------------------------- */

/* Buffers of which little is used, in slabs and in blocks of their own. */
static void untouched(void)
{
	size_t before = proc_rss_kb(), pages = 0;

	grow(SLICE);
	for (size_t i = 0; i < 3000; i++, pages += 2) {
		char *p = t_malloc(SLICE), *q = t_malloc(200 * KIB);

		CHECK(p && q);
		*p = *q = 1;
	}
	CHECK_SAY(proc_rss_kb() - before < 2 * 4 * pages, "VmRSS %zu kB, %zu before, %zu pages touched", proc_rss_kb(),
		  before, pages);
	CHECK_SAY(look().huge_kb == 0, "%zu kB of huge pages", look().huge_kb);
	check_against("of each block one page is touched");
}

/* What was dense first is believed to go on so for a while, and not for ever. */
static void untouched_later(void)
{
	size_t huge_kb;

	if (!fill_fast())
		SKIP("no huge pages");
	huge_kb = look().huge_kb;
	for (size_t i = 0; i < 8000; i++) {
		char *p = t_malloc(SLICE);

		CHECK(p);
		*p = 1;
	}
	CHECK_SAY(look().huge_kb - huge_kb <= 100 * KIB, "%zu kB of huge pages, %zu before", look().huge_kb, huge_kb);
}

/* ---- Many threads with little each ------------------------------------------------------------------------------- */

static pthread_barrier_t all_have, all_were_seen;

static void *have_little(void *unused)
{
	for (size_t size = 16; size <= 16 * KIB; size += size / 4 + 16) {
		char *p = t_malloc(size);

		CHECK(p);
		*p = 1;
	}
	pthread_barrier_wait(&all_have);
	pthread_barrier_wait(&all_were_seen);
	return unused;
}

/* They take slabs at a rate as if the heap filled fast, but fill none. */
static void crowded(void)
{
	pthread_t threads[CROWD];
	pthread_attr_t small;

	grow(SLICE);
	CHECK(pthread_barrier_init(&all_have, NULL, CROWD + 1) == 0);
	CHECK(pthread_barrier_init(&all_were_seen, NULL, CROWD + 1) == 0);
	CHECK(pthread_attr_init(&small) == 0 && pthread_attr_setstacksize(&small, 64 * KIB) == 0);
	for (size_t i = 0; i < CROWD; i++)
		CHECK(pthread_create(&threads[i], &small, have_little, NULL) == 0);
	pthread_barrier_wait(&all_have);
	CHECK_SAY(look().huge_kb == 0, "%zu kB of huge pages", look().huge_kb);
	check_against("many threads with little each");
	pthread_barrier_wait(&all_were_seen);
	for (size_t i = 0; i < CROWD; i++)
		CHECK(pthread_join(threads[i], NULL) == 0);
}

static const struct {
	const char *conf;
	void (*run)(void);
} variants[] = {
	{"thp:never", never},
	{"thp:always", always},
	{"decay_ms:200", sparse_and_dense},
	{"decay_ms:10000", by_request},
	{"decay_ms:400", collapse},
	{"decay_ms:401", collapse_slow},
	{"release:remap,decay_ms:200", remapped},
	{"decay_ms:201", forked},
	{"decay_ms:9999", crowded},
	{"decay_ms:9998", untouched},
	{"decay_ms:9997", untouched_later},
};

int main(int argc, char **argv)
{
	const char *confs[LENGTH(variants)], *conf;

	if (SANITIZED)
		SKIP("a sanitizer's own memory hides what is measured");
	for (size_t i = 0; i < LENGTH(variants); i++)
		confs[i] = variants[i].conf;
	conf = variants_run(argc, argv, confs, LENGTH(confs));
	read_host();
	blocks = proc_table(MOST * sizeof *blocks);
	for (size_t i = 0; i < LENGTH(variants); i++)
		if (!strcmp(conf, variants[i].conf))
			variants[i].run();
	return 0;
}
