/* SPDX-License-Identifier: MIT */
/*
 * Memory limits, set by option and by call. Beyond the soft one everything free goes back before the heap grows; at the
 * hard one requests of every kind fail with ENOMEM and one line is printed; frees work, other requests go on, and the
 * process never holds more than the limit plus SLACK, which is what the library's tables, stacks and the test itself may
 * take.
 */
#include "api.h"
#include "block.h"
#include "proc.h"
#include "random.h"
#include "variants.h"

#include <pthread.h>
#include <stdatomic.h>

#define SOFT    (16 * MIB)
#define HARD    (32 * MIB)
#define SLACK   (4 * MIB)
#define THREADS 4

static size_t base; /* RSS at the start */
static bool soft, hard;

static struct pmd_stats stats(void)
{
	struct pmd_stats now = {.size = sizeof now};
	CHECK(pmd_stats_get(&now) == 0);
	return now;
}

static void check_bounds(void)
{
	size_t held = stats().resident_bytes;
	CHECK_SAY(!hard || held <= HARD, "%zu bytes by the library's account", held);
	if (!SANITIZED)
		CHECK_SAY(proc_rss_kb() * KIB <= base + held + SLACK, "RSS %zu kB, %zu at the start, %zu by account",
			  proc_rss_kb(), base / KIB, held / KIB);
}

/* Every kind of request in turn. */
static void *request(size_t i, size_t size)
{
	const size_t align = size > 4096 ? 4096 : 16;
	void *p, *q;
	switch (i % 5) {
	case 0:
		return t_calloc(1, size);
	case 1:
		p = t_malloc(size / 3 + 1);
		q = p ? t_realloc(p, size) : NULL;
		if (!q)
			t_free(p);
		return q;
	case 2:
		return t_aligned_alloc(align, size);
	case 3:
		return t_posix_memalign(&p, align, size) ? NULL : p;
	default:
		return t_malloc(size);
	}
}

/* Blocks of SIZE bytes, in a list linked through their first word, until there are no more. Returns their bytes. */
static size_t take_all(void **list, size_t size)
{
	size_t taken = 0;
	for (size_t i = 0;; i++) {
		errno = 0;
		void **p = request(i, size);
		if (!p) {
			CHECK_SAY(errno == ENOMEM || i % 5 == 3, "request %zu of %zu bytes", i, size);
			return taken;
		}
		memset(p, 0x5a, size);
		*p = *list;
		*list = p;
		taken += size;
		CHECK_SAY(taken <= HARD, "%zu bytes were handed out", taken);
	}
}

static void give_all(void **list)
{
	while (*list) {
		void **p = *list;
		*list = *p;
		t_free(p);
	}
}

/* One request that cannot succeed on its own, so that what take_all left to do in realloc is not lost. */
static void check_full(void *block, size_t size)
{
	unsigned char *p = block;
	errno = 0;
	CHECK(t_malloc(HARD) == NULL && errno == ENOMEM);
	CHECK(t_realloc(block, HARD + MIB) == NULL && errno == ENOMEM);
	CHECK(p[size - 1] == 0x5a);
	CHECK(stats().limit_refusals > 0);
}

static void test_sizes(void)
{
	static const size_t sizes[] = {48, 1000, 5000, 60000, 250000, MIB, 3 * MIB};
	void *list = NULL;
	for (size_t i = 0; i <= LENGTH(sizes); i++) {
		size_t size = sizes[i % LENGTH(sizes)], got = take_all(&list, size);
		check_bounds();
		CHECK_SAY(got >= HARD - HARD / 4, "%zu bytes in blocks of %zu", got, size);
		check_full(list, size);
		give_all(&list);
		check_bounds();
	}
}

/* What is full of small blocks, some of which are free, serves large ones when the small ones are gone. */
static void test_mixed(void)
{
	void *small = NULL, *large = NULL, *kept = NULL;
	take_all(&small, 700);
	for (size_t i = 0; small; i++) {
		void **p = small;
		small = *p;
		if (i % 1000) {
			t_free(p);
		} else {
			*p = kept;
			kept = p;
		}
	}
	CHECK(take_all(&large, MIB) >= HARD / 2);
	check_bounds();
	CHECK(take_all(&small, 700) < HARD / 2);
	check_bounds();
	give_all(&large);
	CHECK(take_all(&small, 700) >= HARD / 2);
	check_bounds();
	give_all(&small);
	give_all(&kept);
}

/* Growing in place and by mremap needs the difference only. */
static void test_growth(void)
{
	const size_t from = 20 * MIB, to = 30 * MIB;
	char *p = t_malloc(from);
	CHECK(p);
	memset(p, 0x5a, from);
	void *stop = t_malloc(MIB); /* most likely right behind it */
	p = t_realloc(p, to);
	CHECK(p && p[from - 1] == 0x5a);
	memset(p + from, 0x5a, to - from);
	check_bounds();
	CHECK(t_realloc(p, HARD) == NULL && errno == ENOMEM && p[to - 1] == 0x5a);
	CHECK((p = t_realloc(p, MIB)) && p[MIB - 1] == 0x5a);
	t_free(p);
	t_free(stop);
}

static void *fill_and_empty(void *argument)
{
	struct rng rng = {(uint64_t)(uintptr_t)argument};
	for (size_t i = 0; i < check_scaled(12); i++) {
		void *list = NULL;
		take_all(&list, 64 + rng_below(&rng, i % 2 ? 4000 : 2000000));
		if (!THREAD_SANITIZED) /* statistics look at other threads' slabs */
			check_bounds();
		give_all(&list);
	}
	return NULL;
}

static void run_threads(void *(*run)(void *))
{
	pthread_t threads[THREADS];
	for (size_t i = 0; i < THREADS; i++)
		CHECK(pthread_create(&threads[i], NULL, run, (void *)(i + 1)) == 0);
	for (size_t i = 0; i < THREADS; i++)
		CHECK(pthread_join(threads[i], NULL) == 0);
}

static _Atomic bool stop;

/* Requests that fit succeed, whatever others are refused. */
static void *work_on(void *unused)
{
	struct rng rng = {7};
	while (!atomic_load(&stop)) {
		size_t size = 1 + rng_log_size(&rng, 20);
		void *p = t_malloc(size);
		CHECK_SAY(p, "%zu bytes while another thread is refused", size);
		memset(p, 1, size);
		t_free(p);
	}
	return unused;
}

static void test_others(void)
{
	pthread_t thread;
	char *p = t_malloc(HARD / 2 + MIB);
	CHECK(p);
	memset(p, 1, HARD / 2 + MIB);
	CHECK(pthread_create(&thread, NULL, work_on, NULL) == 0);
	for (size_t i = 0; i < check_scaled(500); i++) {
		CHECK(t_malloc(HARD / 2 + i) == NULL && errno == ENOMEM);
		CHECK(t_malloc(1024 * GIB) == NULL && errno == ENOMEM);
	}
	atomic_store(&stop, true);
	CHECK(pthread_join(thread, NULL) == 0);
	t_free(p);
}

static void test_fork(void)
{
	void *list = NULL, *more = NULL;
	for (size_t i = 0; i < 10; i++) {
		void **p = t_malloc(MIB);
		CHECK(p);
		memset(p, 1, MIB);
		*p = list;
		list = p;
	}
	size_t held;
	do { /* until the thread has given back what it has to */
		held = stats().resident_bytes;
		proc_sleep_ms(50);
	} while (stats().resident_bytes != held);
	pid_t pid = fork();
	CHECK(pid >= 0);
	if (pid == 0) {
		check_child(60);
		CHECK_SAY(stats().resident_bytes == held, "%zu, %zu in the parent", stats().resident_bytes, held);
		size_t got = take_all(&more, 100000);
		CHECK_SAY(got <= HARD - 10 * MIB && got >= HARD - 18 * MIB, "%zu bytes in the child", got);
		give_all(&more);
		give_all(&list);
		CHECK(take_all(&more, 100000) >= HARD - HARD / 4);
		check_bounds();
		_exit(0);
	}
	int status = check_wait(pid);
	CHECK_SAY(status == 0, "wait status %#x", (unsigned)status);
	give_all(&list);
}

/* Forks while others grow: the account that the child has is right (checked inside in debug builds). */
static void *fork_and_grow(void *argument)
{
	struct rng rng = {(uint64_t)(uintptr_t)argument + 11};
	for (size_t i = 0; i < 20; i++) {
		pid_t pid = fork();
		CHECK(pid >= 0);
		if (pid == 0) {
			void *list = NULL;
			check_child(60);
			t_free(t_malloc(100 * KIB));
			CHECK(stats().resident_bytes <= HARD);
			take_all(&list, MIB);
			CHECK(stats().resident_bytes <= HARD);
			_exit(0);
		}
		for (size_t n = 0; n < 200; n++)
			t_free(t_malloc(1 + rng_below(&rng, 4 * MIB)));
		int status = check_wait(pid);
		CHECK_SAY(status == 0, "wait status %#x", (unsigned)status);
	}
	return NULL;
}

static void test_hard(void)
{
	test_sizes();
	test_mixed();
	test_growth();
	run_threads(fill_and_empty);
	test_others();
	if (!THREAD_SANITIZED) {
		test_fork();
		run_threads(fork_and_grow);
	}
}

/* Half of many blocks is free, in pieces that are too small for what comes then. */
static void test_soft(void)
{
	char *blocks[14];
	for (size_t i = 0; i < LENGTH(blocks); i++) {
		blocks[i] = t_malloc(MIB);
		CHECK(blocks[i]);
		memset(blocks[i], 1, MIB);
	}
	for (size_t i = 0; i < LENGTH(blocks); i += 2)
		t_free(blocks[i]);
	struct pmd_stats before = stats();
	CHECK_SAY(before.resident_bytes >= 14 * MIB, "%zu bytes", before.resident_bytes);
	char *large = t_malloc(15 * MIB);
	CHECK(large);
	memset(large, 1, 15 * MIB);
	struct pmd_stats after = stats();
	CHECK(after.limit_releases > before.limit_releases);
	CHECK_SAY(after.resident_bytes <= (7 + 15 + 3) * MIB, "%zu bytes", after.resident_bytes);
	check_bounds();
	if (!hard) {
		/* Beyond the soft limit all goes on. */
		char *more = t_malloc(3 * HARD);
		CHECK(more);
		memset(more, 1, 3 * HARD);
		CHECK(stats().limit_refusals == 0);
		t_free(more);
	}
	t_free(large);
	for (size_t i = 1; i < LENGTH(blocks); i += 2)
		t_free(blocks[i]);
	/* It is free, and what comes fits: no more goes back, once pages are where they are needed. */
	before = stats();
	for (size_t i = 0; i < 1000; i++)
		t_free(t_malloc(MIB));
	CHECK(stats().limit_releases <= before.limit_releases + 2);
}

/* Lowered below what is held: what is free goes back at once, and what is in use stays. */
static void test_lowered(void)
{
	char *p = t_malloc(10 * MIB), *q = t_malloc(10 * MIB);
	CHECK(p && q);
	memset(p, 1, 10 * MIB);
	memset(q, 1, 10 * MIB);
	t_free(p);
	CHECK(stats().resident_bytes >= 20 * MIB);
	CHECK(pmd_limit(0, 6 * MIB) == 0);
	CHECK(stats().resident_bytes <= 13 * MIB);
	CHECK(t_malloc(MIB) == NULL && errno == ENOMEM);
	CHECK(q[10 * MIB - 1] == 1);
	t_free(q);
	CHECK((p = t_malloc(5 * MIB)));
	t_free(p);
	CHECK(pmd_limit(0, 0) == 0);
	CHECK((p = t_malloc(10 * MIB)) && (q = t_malloc(10 * MIB)));
	memset(p, 1, 10 * MIB);
	memset(q, 1, 10 * MIB);
	t_free(p);
	CHECK(pmd_limit(6 * MIB, 0) == 0);
	CHECK(stats().resident_bytes <= 13 * MIB);
	CHECK((p = t_malloc(5 * MIB)) && q[10 * MIB - 1] == 1);
	t_free(p);
	t_free(q);
}

/* What grows by moving its pages needs no more than what it grows by, and stays whole where that cannot be had. */
static void test_move(void)
{
	char *p = t_malloc(10 * MIB), *way, *q;
	CHECK(p);
	memset(p, 5, 10 * MIB);
	CHECK((way = t_malloc(2 * MIB)));
	if ((q = t_realloc(p, 18 * MIB)))
		p = q;
	CHECK(t_realloc(p, 60 * MIB) == NULL && errno == ENOMEM);
	for (size_t i = 0; i < 10 * MIB; i += 4096)
		CHECK(p[i] == 5);
	check_bounds();
	t_free(way);
	t_free(p);
}

/* Where there is no memory left, what shrinks stays where it is, and is whole. */
static void test_shrink(void)
{
	enum { MOST = 1 << 20 };
	static char *all[MOST];
	size_t n = 0, size = 20000;
	char *p = t_malloc(size);
	CHECK(p);
	memset(p, 5, size);
	for (size_t bytes = 5000; bytes; bytes = bytes == 5000 ? 50 : 0)
		while (n < MOST && (all[n] = t_malloc(bytes)))
			n++;
	CHECK(n < MOST && t_realloc(p, 50) == p && t_realloc(p, 2 * size) == NULL && errno == ENOMEM);
	for (size_t i = 0; i < 50; i++)
		CHECK(p[i] == 5);
	while (n)
		t_free(all[--n]);
	t_free(p);
}

static void test_call(void)
{
	char value[32];
	CHECK(pmd_limit(2, 1) == EINVAL);
	CHECK(pmd_limit(SOFT, HARD) == 0);
	CHECK(pmd_option_get("limit", value, sizeof value) == 0 && strcmp(value, "16M") == 0);
	CHECK(pmd_option_get("limit_hard", value, sizeof value) == 0 && strcmp(value, "32M") == 0);
	CHECK(pmd_limit(0, 0) == 0);
	CHECK(pmd_option_get("limit_hard", value, sizeof value) == 0 && strcmp(value, "none") == 0);
	char *p = t_malloc(4 * HARD);
	CHECK(p);
	t_free(p);
	CHECK(stats().limit_refusals == 0);
	test_lowered();
	CHECK(pmd_limit(SOFT, 0) == 0);
	CHECK(pmd_option_set("limit_hard", "32M") == 0);
	soft = hard = true;
}

static void run_tests(const char *conf)
{
	t_free(t_malloc(1));
	base = proc_rss_kb() * KIB;
	if (!hard && !soft)
		test_call();
	if (soft && !strstr(conf, "background"))
		test_soft();
	if (hard)
		test_hard();
	if (hard) {
		test_move();
		test_shrink();
	}
}

/* What the tests, in a process of their own, say on stderr is passed on and holds the line once. */
static void check_line(int err, bool expected)
{
	static char text[65536];
	size_t length = 0, lines = 0;
	for (ssize_t n; (n = read(err, text + length, sizeof text - 1 - length)) > 0;)
		length += (size_t)n;
	text[length] = 0;
	check_write(text);
	for (const char *at = text; (at = strstr(at, "limit_hard:")); at++) {
		CHECK(strstr(at, "ENOMEM") && strchr(at, '\n') > strstr(at, "ENOMEM"));
		lines++;
	}
	CHECK_SAY(lines == expected, "the line about the limit is there %zu times", lines);
}

int main(int argc, char **argv)
{
	const char *conf = VARIANTS(argc, argv, "thp:never,decay_ms:-1,limit_hard:32M", "thp:never,limit_hard:32M",
				    "thp:never,decay_ms:0,limit_hard:32768K", "thp:never,decay_ms:-1,limit:16M",
				    "thp:never,decay_ms:-1,limit:16M,limit_hard:32M", "thp:never,decay_ms:-1",
				    "thp:never,decay_ms:100,background:off,limit:16M,limit_hard:32M",
				    "thp:never,decay_ms:-1,limit_hard:32M,mremap_mib:2");
	int err[2];
	hard = strstr(conf, "limit_hard");
	soft = strstr(conf, "limit:");
	CHECK(pipe(err) == 0);
	pid_t pid = fork();
	CHECK(pid >= 0);
	if (pid == 0) {
		check_child(CHECK_SECONDS);
		dup2(err[1], STDERR_FILENO);
		close(err[0]);
		close(err[1]);
		run_tests(conf);
		_exit(0);
	}
	close(err[1]);
	check_line(err[0], hard || !soft);
	int status = check_wait(pid);
	CHECK_SAY(status == 0, "wait status %#x", (unsigned)status);
	return 0;
}
