/* SPDX-License-Identifier: MIT */
/*
 * The library's mappings stay few: through random operations, releases and realloc's moves by page tables, in a program
 * with threads, in its forked children, and in theirs. The kernel allows a process 65,530, and a heap of many is slow to
 * release, to fork and to tear down.
 *
 * What is ours cannot be read off a mapping. So: what the library adds to a program that does nothing, and what this
 * one has more now than it had at its start.
 *
 * OPS in the environment says how many operations (make check-vmas: 10^9).
 */
#define CHECK_SECONDS 300
#include "api.h"
#include "backends.h"
#include "block.h"
#include "proc.h"
#include "random.h"
#include "variants.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>

#define OURS_MOST   16 /* mappings, the library's own segments included */
#define FORK_MOST   3 /* more for each fork after the first: what is mapped in a child stays apart from what was there */
#define GENERATIONS 3
#define WORKERS     2
#define SMALL       512
#define BIG         8
#define BIG_MOST    (64 * MIB)
#define PER_BIG     20000 /* operations on small blocks for one on a big one, of which there are never fewer */

static size_t ours_at_start, all_at_start, per_big;
static _Atomic size_t most;
static _Atomic bool finished;

/* ---- Counting ---------------------------------------------------------------------------------------------------- */

/* Mappings of a program that only prints them, without the break's, which glibc's malloc has and ours has not. */
static size_t mappings_of_cat(const char *preload)
{
	char text[65536], *at = text;
	size_t length = 0, lines = 0;
	int ends[2];
	pid_t pid;

	CHECK(pipe(ends) == 0);
	pid = fork();
	CHECK(pid >= 0);
	if (pid == 0) {
		check_child(60);
		setenv("LD_PRELOAD", preload, 1);
		dup2(ends[1], 1);
		execl("/bin/cat", "cat", "/proc/self/maps", NULL);
		_exit(127);
	}
	close(ends[1]);
	for (ssize_t n; (n = read(ends[0], text + length, sizeof text - 1 - length)) > 0;)
		length += (size_t)n;
	close(ends[0]);
	CHECK(check_wait(pid) == 0);
	text[length] = 0;
	for (char *end; (end = strchr(at, '\n')); at = end + 1) {
		*end = 0;
		lines += !strstr(at, "[heap]");
	}
	CHECK(lines > 5);
	return lines;
}

static size_t ours(void)
{
	return proc_vmas() - all_at_start + ours_at_start;
}

static void note(void)
{
	size_t now = ours(), before = atomic_load(&most);

	while (now > before && !atomic_compare_exchange_weak(&most, &before, now))
		;
}

static void *watch(void *unused)
{
	while (!atomic_load(&finished)) {
		note();
		proc_sleep_ms(1);
	}
	return unused;
}

/* ---- Operations -------------------------------------------------------------------------------------------------- */

struct worker {
	struct rng rng;
	struct block big[BIG];
	void *small[SMALL];
	size_t ops, sizes[SMALL];
};

static struct worker workers[WORKERS];

/* One word in each MiB, of those that it is sure to have. */
static void touch(struct block *block)
{
	for (size_t at = 0; at + 8 <= block->size; at += MIB)
		block_put(block->p, at, at + 8, block->seed);
}

static void verify(const struct block *block, size_t length)
{
	for (size_t at = 0; at + 8 <= length; at += MIB)
		block_check(block->p, at, at + 8, block->size, block->seed);
}

static void resize(struct worker *w, struct block *block, size_t size)
{
	block->p = t_realloc(block->p, size);
	CHECK(block->p);
	verify(block, size < block->size ? size : block->size);
	*block = (struct block){block->p, size, rng_next(&w->rng)};
	touch(block);
}

/* Mostly growth by half or to the double, up to the bound, where it begins anew. */
static void big_step(struct worker *w)
{
	struct block *block = &w->big[rng_below(&w->rng, BIG)];
	size_t size = block->size;

	if (!block->p) {
		resize(w, block, rng_between(&w->rng, 4, 8) * MIB);
	} else if (size > BIG_MOST || rng_below(&w->rng, 8) == 0) {
		verify(block, size);
		t_free(block->p);
		*block = (struct block){NULL, 0, 0};
	} else if (rng_below(&w->rng, 8) == 0) {
		resize(w, block, size - size / (1 + rng_below(&w->rng, 4)) + MIB);
	} else {
		resize(w, block, size + size / (1 + rng_below(&w->rng, 2)));
	}
}

static size_t small_size(struct worker *w)
{
	return 1 + rng_log_size(&w->rng, rng_below(&w->rng, 256) ? 12 : 21);
}

static void small_step(struct worker *w)
{
	size_t i = rng_below(&w->rng, SMALL);
	uint64_t tag = (uint64_t)(uintptr_t)&w->small[i];

	if (w->small[i]) {
		CHECK(w->sizes[i] < 8 || !memcmp(w->small[i], &tag, 8));
		t_free(w->small[i]);
		w->small[i] = NULL;
		return;
	}
	w->sizes[i] = small_size(w);
	w->small[i] = t_malloc(w->sizes[i]);
	CHECK(w->small[i]);
	if (w->sizes[i] >= 8)
		memcpy(w->small[i], &tag, 8);
}

static void work(struct worker *w, size_t ops)
{
	for (size_t end = w->ops + ops; w->ops < end; w->ops++) {
		small_step(w);
		if (w->ops % per_big == 0)
			big_step(w);
		if (w->ops % (per_big * 5) == 0)
			pmd_release();
	}
}

/* As vectors grow side by side. */
static void grow_all(struct worker *w)
{
	for (size_t size = 4 * MIB; size <= BIG_MOST; size *= 2)
		for (size_t i = 0; i < BIG; i++)
			resize(w, &w->big[i], size);
}

static void free_all(struct worker *w)
{
	for (size_t i = 0; i < BIG; i++) {
		t_free(w->big[i].p);
		w->big[i] = (struct block){NULL, 0, 0};
	}
	for (size_t i = 0; i < SMALL; i++) {
		t_free(w->small[i]);
		w->small[i] = NULL;
	}
}

/* ---- Processes --------------------------------------------------------------------------------------------------- */

static size_t allowed_most = OURS_MOST; /* in this process */

static void print_maps(void)
{
	static char buf[65536];
	int fd = open("/proc/self/maps", O_RDONLY);

	for (ssize_t n; (n = read(fd, buf, sizeof buf)) > 0;)
		CHECK(write(2, buf, (size_t)n) == n);
	close(fd);
}

static void check_few(const char *who, size_t allowed)
{
	note();
	check_say("%s: %zu mappings are ours, %zu at most\n", who, ours(), most);
	if (most > allowed)
		print_maps();
	CHECK_SAY(most <= allowed, "%s: %zu mappings were ours at a time", who, most);
}

/* In a child the heap that it inherited merges with nothing that is mapped there anew. */
static void live_as_child(struct worker *w, size_t ops, size_t generation)
{
	check_child(CHECK_SECONDS);
	most = 0;
	grow_all(w);
	note();
	for (int i = 0; i < 20; i++) {
		work(w, ops / 20);
		pmd_release();
		note();
	}
	allowed_most = OURS_MOST + (generation - 1) * FORK_MOST;
	check_few("a child", allowed_most);
}

/* A child, its child, and so on. */
static void fork_generations(struct worker *w, size_t ops)
{
	for (size_t i = 1; i <= GENERATIONS; i++) {
		pid_t pid = fork();

		CHECK(pid >= 0);
		if (pid) {
			CHECK(check_wait(pid) == 0);
			return;
		}
		live_as_child(w, ops, i);
	}
}

static void *run(void *argument)
{
	struct worker *w = argument;

	grow_all(w);
	work(w, check_scaled(check_number("OPS", 1600000)) / WORKERS);
	return NULL;
}

static void with_threads(const char *conf)
{
	pthread_t threads[WORKERS], watcher;

	CHECK(pthread_create(&watcher, NULL, watch, NULL) == 0);
	for (size_t i = 0; i < WORKERS; i++) {
		workers[i].rng.state = i;
		CHECK(pthread_create(&threads[i], NULL, run, &workers[i]) == 0);
	}
	for (size_t i = 0; i < WORKERS; i++)
		CHECK(pthread_join(threads[i], NULL) == 0);
	atomic_store(&finished, true);
	CHECK(pthread_join(watcher, NULL) == 0);
	check_few(conf, OURS_MOST);
}

/* Stacks of threads stay mapped for the next ones: all that there will be are there before anything is counted. */
static pthread_barrier_t all_here;

static void *wait_for_all(void *unused)
{
	pthread_barrier_wait(&all_here);
	return unused;
}

static void map_stacks(void)
{
	pthread_t threads[WORKERS + 1];

	CHECK(pthread_barrier_init(&all_here, NULL, LENGTH(threads)) == 0);
	for (size_t i = 0; i < LENGTH(threads); i++)
		CHECK(pthread_create(&threads[i], NULL, wait_for_all, NULL) == 0);
	for (size_t i = 0; i < LENGTH(threads); i++)
		CHECK(pthread_join(threads[i], NULL) == 0);
}

int main(int argc, char **argv)
{
	const char *conf = VARIANTS(argc, argv, "decay_ms:0,mremap_mib:2", "decay_ms:2", "release:remap,decay_ms:0",
				    "release:remap,decay_ms:2,mremap_mib:2", "release:io_uring,decay_ms:2",
				    "decay_ms:2,thp:never");
	struct pmd_stats stats = {.size = sizeof stats};

	if (SANITIZED)
		SKIP("a sanitizer has mappings of its own");
	per_big = check_scaled(PER_BIG);
	backend_check(conf);
	ours_at_start = mappings_of_cat(LIBRARY) - mappings_of_cat("");
	CHECK_SAY(ours_at_start > 4 && ours_at_start <= OURS_MOST, "%zu mappings at the start", ours_at_start);
	map_stacks();
	all_at_start = proc_vmas();
	with_threads(conf);
	CHECK(pmd_stats_get(&stats) == 0);
	check_say("%zu regions released, %zu MiB moved\n", stats.releases, stats.moved_bytes / MIB);
	CHECK(stats.releases > 50 && stats.moved_bytes >= 20 * MIB);
	fork_generations(&workers[0], check_scaled(check_number("OPS", 1600000)) / 8);
	for (size_t i = 0; i < WORKERS; i++)
		free_all(&workers[i]);
	pmd_release();
	check_few("in the end", allowed_most);
	return 0;
}
