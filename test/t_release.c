/* SPDX-License-Identifier: MIT */
/*
 * Freed memory goes back to the kernel with its page tables: after the decay time without any further call, at once on
 * pmd_release and malloc_trim, and not at all before.
 */
#define CHECK_SECONDS 180
#include "api.h"
#include "proc.h"
#include "random.h"
#include "variants.h"

#include <pthread.h>

#define TOUCHED        (256 * MIB)
#define RSS_SLACK_KB   (8 * 1024)
#define IDLE_RSS_KB    (24 * 1024) /* where a thread keeps a slab of each class; seen: 2 to 14 MB */
#define PTE_SLACK_KB   64
#define IDLE_SLACK_KB  256 /* of page tables, where a thread keeps a slab of each class */
#define WAIT_MS        15000
#define SMALLEST_BLOCK 16

enum sizes { SMALL, LARGE };

struct state {
	struct rng rng;
	void **blocks;
	size_t capacity;
	size_t count;
	size_t rss_kb; /* at the start */
	size_t pte_kb;
	size_t rss_slack_kb, pte_slack_kb;
};

static bool frees_page_tables;

static void start(struct state *state)
{
	state->rng.state = 42;
	state->capacity = TOUCHED / 1024;
	state->blocks = proc_table(state->capacity * sizeof *state->blocks);
	t_free(t_malloc(100));
	state->rss_kb = proc_rss_kb();
	state->pte_kb = proc_pte_kb();
	state->rss_slack_kb = RSS_SLACK_KB;
	state->pte_slack_kb = PTE_SLACK_KB;
}

static size_t draw(struct state *state, enum sizes sizes)
{
	if (sizes == SMALL)
		return rng_between(&state->rng, SMALLEST_BLOCK, 4 * KIB);
	return rng_between(&state->rng, 512 * KIB, 4 * MIB);
}

static void fill(struct state *state, enum sizes sizes)
{
	size_t bytes = 0;
	for (state->count = 0; bytes < TOUCHED && state->count < state->capacity; state->count++) {
		size_t size = draw(state, sizes);
		void *p = t_malloc(size);
		CHECK(p);
		memset(p, 0xa5, size);
		state->blocks[state->count] = p;
		bytes += size;
	}
	CHECK(bytes >= TOUCHED);
	rng_shuffle(&state->rng, state->blocks, state->count);
}

static void drain(struct state *state)
{
	for (size_t i = 0; i < state->count; i++)
		t_free(state->blocks[i]);
}

static bool is_back(const struct state *state)
{
	return proc_rss_kb() <= state->rss_kb + state->rss_slack_kb &&
	       (!frees_page_tables || proc_pte_kb() <= state->pte_kb + state->pte_slack_kb);
}

static void check_is_back(const struct state *state, const char *when)
{
	if (!is_back(state))
		pmd_stats_print(STDERR_FILENO, PMD_FORMAT_TEXT); /* which tells what keeps it */
	CHECK_SAY(is_back(state), "%s: VmRSS %zu kB, %zu at the start; VmPTE %zu kB, %zu at the start", when,
		  proc_rss_kb(), state->rss_kb, proc_pte_kb(), state->pte_kb);
}

static void check_is_kept(const struct state *state, const char *when)
{
	CHECK_SAY(proc_rss_kb() > state->rss_kb + TOUCHED / KIB * 3 / 4, "%s: VmRSS %zu kB, %zu at the start", when,
		  proc_rss_kb(), state->rss_kb);
}

/* Waits without a call to the allocator. */
static void wait_until_back(const struct state *state, const char *when)
{
	for (int waited = 0; waited < WAIT_MS && !is_back(state); waited += 100)
		proc_sleep_ms(100);
	check_is_back(state, when);
}

static void by_decay(struct state *state)
{
	fill(state, SMALL);
	check_is_kept(state, "full of small blocks");
	drain(state);
	wait_until_back(state, "small blocks, decay");
	fill(state, LARGE);
	drain(state);
	wait_until_back(state, "large blocks, decay");
}

static void at_once(struct state *state)
{
	fill(state, SMALL);
	drain(state);
	wait_until_back(state, "small blocks, at once");
}

static void by_request(struct state *state)
{
	fill(state, SMALL);
	drain(state);
	proc_sleep_ms(300);
	check_is_kept(state, "small blocks, decay_ms:-1");
	size_t given_back = pmd_release();
	check_is_back(state, "small blocks, pmd_release");
	CHECK_SAY(given_back >= TOUCHED - 16 * MIB, "pmd_release returned %zu", given_back);
	fill(state, LARGE);
	drain(state);
	check_is_kept(state, "large blocks, decay_ms:-1");
#ifdef PMD_PREFIXED
	pmd_release();
#else
	CHECK(malloc_trim(0) == 1);
#endif
	check_is_back(state, "large blocks, malloc_trim");
}

static void *fill_in_thread(void *state)
{
	fill(state, SMALL);
	return NULL;
}

/* Blocks of a thread that is gone, freed by another. */
static void owner_gone(struct state *state)
{
	pthread_t thread;
	CHECK(pthread_create(&thread, NULL, fill_in_thread, state) == 0);
	CHECK(pthread_join(thread, NULL) == 0);
	check_is_kept(state, "full of another thread's blocks");
	drain(state);
	wait_until_back(state, "blocks of a thread that is gone");
}

static pthread_barrier_t filled;
static pthread_barrier_t checked;

static void *fill_and_stay(void *state)
{
	fill(state, SMALL);
	pthread_barrier_wait(&filled);
	pthread_barrier_wait(&checked);
	return NULL;
}

/* Blocks of a thread that lives but makes no more calls, freed by another. */
static void owner_idle(struct state *state)
{
	pthread_t thread;
	state->rss_slack_kb = IDLE_RSS_KB;
	state->pte_slack_kb = IDLE_SLACK_KB;
	CHECK(pthread_barrier_init(&filled, NULL, 2) == 0);
	CHECK(pthread_barrier_init(&checked, NULL, 2) == 0);
	CHECK(pthread_create(&thread, NULL, fill_and_stay, state) == 0);
	pthread_barrier_wait(&filled);
	drain(state);
	wait_until_back(state, "blocks of a thread that is idle");
	pthread_barrier_wait(&checked);
	CHECK(pthread_join(thread, NULL) == 0);
}

static const struct {
	const char *conf;
	void (*run)(struct state *state);
} variants[] = {
	{"decay_ms:500", by_decay},   {"decay_ms:0", at_once},      {"decay_ms:-1", by_request},
	{"decay_ms:501", owner_gone}, {"decay_ms:502", owner_idle},
};

int main(int argc, char **argv)
{
	const char *confs[LENGTH(variants)];
	struct state state;
	if (SANITIZED)
		SKIP("a sanitizer's own memory hides what is measured");
	if (!proc_has_madvise())
		SKIP(NO_MADVISE);
	for (size_t i = 0; i < LENGTH(variants); i++)
		confs[i] = variants[i].conf;
	const char *conf = variants_run(argc, argv, confs, LENGTH(confs));
	frees_page_tables = proc_frees_page_tables();
	if (!frees_page_tables)
		check_say("this kernel keeps page tables: only VmRSS is checked\n");
	start(&state);
	for (size_t i = 0; i < LENGTH(variants); i++)
		if (strcmp(conf, variants[i].conf) == 0)
			variants[i].run(&state);
	return 0;
}
