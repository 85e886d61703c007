/* SPDX-License-Identifier: MIT */
/*
 * A region is nobody's while the kernel is asked to drop it. Threads fill and empty whole regions, so that what one of
 * them allocates is what has just been, or is being, released; the system calls that release are delayed before and
 * after; every block is filled with a pattern made of its address and its generation, and verified before it goes. A
 * release that comes late or hits too much is found as a block that changed.
 *
 * OPS in the environment says how many calls of the allocator (make check-race: 10^8). FAULT=late makes the kernel's
 * work come after its answer, which must be found: test/self_inject.sh.
 */
#define CHECK_SECONDS 300
#include "api.h"
#include "block.h"
#include "inject.h"
#include "internals.h"
#include "random.h"
#include "variants.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

#include "os/syscall.h"

#define THREADS      6
#define BATCH        16384
#define SLOTS        48
#define REGION       (2 * MIB)
#define LIVE_MAX     (24 * MIB) /* of a thread's slots */
#define DELAY_US     400
#define CHILD_STEPS  400
#define SLICE_CHANCE 2048 /* of 65,536: delays of purges, which are many */

/* Blocks that are freed together, by the thread that made them or by the one that gets them in exchange for its own. */
struct batch {
	size_t count;
	struct block blocks[BATCH];
};

struct worker {
	struct rng rng;
	struct batch *batch;
	struct block slots[SLOTS];
	size_t live; /* bytes in slots */
	size_t ops, until;
	size_t forks;
};

static struct batch batches[2 * THREADS];
static struct batch *_Atomic mail[THREADS];
static struct worker workers[THREADS];
static _Atomic uint64_t generation;
static _Atomic bool finished;

/* ---- Blocks ------------------------------------------------------------------------------------------------------ */

static struct block own(void *p, size_t size)
{
	uint64_t n = atomic_fetch_add_explicit(&generation, 1, memory_order_relaxed);
	struct block block = {p, size, ((uintptr_t)p ^ n << 48 ^ n) * 0x9e3779b97f4a7c15};

	block_fill(&block);
	return block;
}

static struct block allocate(struct worker *w, size_t size)
{
	bool zero = rng_below(&w->rng, 3) == 0;
	void *p = zero ? t_calloc(1, size) : t_malloc(size);

	CHECK_SAY(p, "%zu bytes", size);
	if (zero)
		block_check_zero(p, size);
	w->ops++;
	return own(p, size);
}

static void release(struct worker *w, struct block *block)
{
	block_verify(block);
	t_free(block->p);
	block->p = NULL;
	w->ops++;
}

static void resize(struct worker *w, struct block *block, size_t size)
{
	block_verify(block);
	block->p = t_realloc(block->p, size);
	CHECK_SAY(block->p, "%zu bytes", size);
	block_verify_prefix(block, size);
	*block = own(block->p, size);
	w->ops++;
}

/* ---- Rounds ------------------------------------------------------------------------------------------------------ */

/* Empties slot I if there is something in it, or if it would be too much. */
static bool make_room(struct worker *w, size_t i, size_t size)
{
	bool was = w->slots[i].p;

	if (was) {
		w->live -= w->slots[i].size;
		release(w, &w->slots[i]);
	}
	return !was && w->live + size <= LIVE_MAX;
}

static void step(struct worker *w, size_t size)
{
	size_t i = rng_below(&w->rng, SLOTS);

	if (!make_room(w, i, size))
		return;
	w->slots[i] = allocate(w, size);
	w->live += size;
}

static void mixed(struct worker *w)
{
	for (int i = 0; i < 100; i++)
		step(w, 16 + rng_log_size(&w->rng, 18));
}

/* Blocks of about one to three regions, each of them some slices more or less. */
static void large(struct worker *w)
{
	for (int i = 0; i < 3; i++)
		step(w, rng_between(&w->rng, 1, 3) * REGION - rng_below(&w->rng, 2) * rng_below(&w->rng, REGION / 2));
}

/* Grows a block by page-table moves and shrinks it again. */
static void grow(struct worker *w)
{
	size_t size = rng_between(&w->rng, REGION, 2 * REGION);
	struct block block = allocate(w, size);

	for (int i = 0; i < 3; i++)
		resize(w, &block, size = size * 3 / 2);
	resize(w, &block, rng_between(&w->rng, 16, size));
	release(w, &block);
}

static void fill(struct worker *w, struct batch *batch)
{
	size_t usual = 16 + rng_log_size(&w->rng, 13), bytes = rng_between(&w->rng, 1, 2 * REGION);

	batch->count = 0;
	for (size_t size; batch->count < BATCH && bytes; bytes -= size < bytes ? size : bytes) {
		size = rng_between(&w->rng, usual / 2 + 1, usual * 2);
		batch->blocks[batch->count++] = allocate(w, size);
	}
}

static void drain(struct worker *w, struct batch *batch)
{
	bool backwards = rng_below(&w->rng, 2);

	for (size_t i = 0; i < batch->count; i++)
		release(w, &batch->blocks[backwards ? batch->count - 1 - i : i]);
	batch->count = 0;
}

/* Fills regions with small blocks and empties them, its own or another thread's. */
static void storm(struct worker *w)
{
	fill(w, w->batch);
	if (rng_below(&w->rng, 2))
		w->batch = atomic_exchange(&mail[rng_below(&w->rng, THREADS)], w->batch);
	drain(w, w->batch);
}

static void pause_round(struct worker *w)
{
	if (rng_below(&w->rng, 2))
		pmd_thread_flush();
	else
		pmd_release();
	sched_yield();
	w->ops++;
}

static void play(struct worker *w)
{
	static void (*const rounds[])(struct worker *) = {storm, storm, storm, storm, mixed, mixed,
							  large, large, large, grow,  grow,  pause_round};

	rounds[rng_below(&w->rng, LENGTH(rounds))](w);
}

static void verify_slots(struct worker *w)
{
	for (size_t i = 0; i < SLOTS; i++)
		if (w->slots[i].p)
			block_verify(&w->slots[i]);
}

static void free_slots(struct worker *w)
{
	for (size_t i = 0; i < SLOTS; i++)
		if (w->slots[i].p)
			release(w, &w->slots[i]);
	w->live = 0;
}

/* ---- Forks ------------------------------------------------------------------------------------------------------- */

/* The child has what its only thread had, and goes on; what others had is lost to it. */
static void live_as_child(struct worker *w)
{
	static struct batch own_batch;

	check_child(120);
	verify_slots(w);
	w->batch = &own_batch;
	for (size_t i = 0; i < THREADS; i++)
		atomic_store(&mail[i], &batches[0]);
	batches[0].count = 0;
	for (size_t end = w->ops + CHILD_STEPS; w->ops < end;)
		play(w);
	pmd_release();
	verify_slots(w);
	free_slots(w);
	_exit(0);
}

static void fork_now(struct worker *w)
{
	pid_t pid = fork();
	int status;

	CHECK(pid >= 0);
	if (pid == 0)
		live_as_child(w);
	mixed(w);
	status = check_wait(pid);
	CHECK_SAY(status == 0, "a child's wait status is %#x", (unsigned)status);
}

/* ---- Threads ----------------------------------------------------------------------------------------------------- */

static void *run(void *argument)
{
	struct worker *w = argument;
	size_t forks = 0;

	while (w->ops < w->until) {
		play(w);
		if (w->ops > w->until / (w->forks + 1) * (forks + 1) && forks < w->forks) {
			fork_now(w);
			forks++;
		}
	}
	verify_slots(w);
	free_slots(w);
	return NULL;
}

/* And lets time pass: what waits for a better moment (another thread start, say) does so for seconds. */
static void *release_now_and_then(void *unused)
{
	struct rng rng = {7};

	while (!atomic_load(&finished)) {
		struct timespec rest = {0, (long)rng_below(&rng, 20000000)};

		pmd_release();
		inject_advance_ms(rng_below(&rng, 10000));
		nanosleep(&rest, NULL);
	}
	return unused;
}

static void set_delays(void)
{
	static const long calls[] = {SYS_madvise, SYS_process_madvise, SYS_mmap};

	for (size_t i = 0; i < LENGTH(calls); i++)
		inject_add((struct inject_rule){.nr = calls[i],
						.match = inject_is_release,
						.chance = 32768,
						.before_us = DELAY_US,
						.after_us = DELAY_US});
	inject_add((struct inject_rule){.nr = SYS_madvise, .chance = SLICE_CHANCE, .before_us = 50, .after_us = 50});
	inject_add((struct inject_rule){.nr = SYS_io_uring_enter, .chance = 32768, .before_us = DELAY_US});
	inject_add((struct inject_rule){.nr = OS_COMPLETION, .chance = 32768, .before_us = DELAY_US});
	inject_add((struct inject_rule){.nr = SYS_clone, .action = INJECT_FAIL, .error = EAGAIN, .chance = 16384});
}

/* The bug that this test is there to find. */
static void set_fault(const char *fault)
{
	static const long calls[] = {SYS_madvise, SYS_process_madvise, SYS_mmap};

	if (strcmp(fault, "late"))
		return;
	for (size_t i = 0; i < LENGTH(calls); i++)
		inject_add((struct inject_rule){
			.nr = calls[i], .match = inject_is_release, .action = INJECT_LATE, .late_us = 1000});
}

/* The backend that CONF names; RELEASE_AUTO when it names none. The test is skipped where it cannot be used. */
static enum release_backend find_backend(const char *conf)
{
	char wanted[32];
	int b = RELEASE_AUTO;

	if (sscanf(conf, "release:%31[a-z_]", wanted) < 1)
		return RELEASE_AUTO;
	while (b < RELEASE_BACKENDS && strcmp(release_name((enum release_backend)b), wanted))
		b++;
	CHECK_SAY(b < RELEASE_BACKENDS, "no backend is called %s", wanted);
	t_free(t_malloc(1));
	release_prepare();
	if (release_chosen() != (enum release_backend)b)
		SKIP("%s cannot be used here", wanted);
	return (enum release_backend)b;
}

static void check_was_released(const char *conf, enum release_backend b)
{
	struct pmd_stats stats = {.size = sizeof stats};

	CHECK(pmd_stats_get(&stats) == 0);
	check_say("%s: %zu regions released by %zu calls, %zu MiB moved\n", conf, stats.releases, stats.release_calls,
		  stats.moved_bytes / MIB);
	CHECK_SAY(stats.releases >= 20, "only %zu regions were released: nothing was tested", stats.releases);
	CHECK_SAY(b == RELEASE_AUTO || release_counters[b].ranges >= 5, "only %zu ranges were given back by %s",
		  release_counters[b].ranges, release_name(b));
}

static void race(const char *conf)
{
	enum release_backend b = find_backend(conf);
	size_t ops = check_scaled(check_number("OPS", 3000000)) / THREADS;
	pthread_t threads[THREADS], releaser;

	inject_seed(check_number("SEED", 1));
	set_fault(getenv("FAULT") ? getenv("FAULT") : "");
	set_delays();
	for (size_t i = 0; i < THREADS; i++) {
		workers[i] = (struct worker){.rng = {check_number("SEED", 1) * 1000 + i + strlen(conf) * 100},
					     .batch = &batches[i],
					     .until = ops,
					     .forks = SANITIZED ? 0 : 1 + ops / 1000000};
		atomic_store(&mail[i], &batches[THREADS + i]);
	}
	CHECK(pthread_create(&releaser, NULL, release_now_and_then, NULL) == 0);
	for (size_t i = 0; i < THREADS; i++)
		CHECK(pthread_create(&threads[i], NULL, run, &workers[i]) == 0);
	for (size_t i = 0; i < THREADS; i++)
		CHECK(pthread_join(threads[i], NULL) == 0);
	atomic_store(&finished, true);
	CHECK(pthread_join(releaser, NULL) == 0);
	for (size_t i = 0; i < THREADS; i++)
		drain(&workers[0], atomic_load(&mail[i]));
	check_was_released(conf, b);
}

int main(int argc, char **argv)
{
	const char *conf = VARIANTS(
		argc, argv, "decay_ms:0", "decay_ms:2,background:off", "release:process_madvise,decay_ms:0",
		"release:process_madvise,decay_ms:2", "release:io_uring,decay_ms:0", "release:io_uring,decay_ms:2",
		"release:madvise,decay_ms:0", "release:madvise,decay_ms:2,background:off", "release:remap,decay_ms:0",
		"release:remap,decay_ms:2", "release:pt_advice,pt_advice:4,decay_ms:2");

	race(conf);
	return 0;
}
