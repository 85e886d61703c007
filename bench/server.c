/* SPDX-License-Identifier: MIT */
/*
 * The throughput of a loop that allocates as servers do: each thread replaces blocks at random in a set of its own, of
 * sizes from 16 B to 4 KiB mostly, now and then a buffer of up to 256 KiB; of eight blocks that end one is freed by
 * another thread. A burst, every --burst-ms, allocates --burst-mib besides and frees it at once; --phase-mib are
 * allocated and freed before the loop begins, so that there is something to give back while it runs. Run with decay on
 * and off, the operations per second tell what the giving back costs.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif
#include "measure.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

static struct {
	size_t threads, ms, blocks, phase_mib, burst_mib, burst_ms;
} options = {.threads = 2, .ms = 2000, .blocks = 40000, .phase_mib = 512, .burst_mib = 32, .burst_ms = 500};

enum { THREADS_MAX = 64, POSTED = 32, CHECK_EVERY = 256, BURST_BLOCK = 16384, PAGE = 4096 };

/* What one thread hands to the next: full when count is POSTED, and then the other's. */
struct parcel {
	_Alignas(128) atomic_size_t count;
	void *blocks[POSTED];
};

struct worker {
	pthread_t thread;
	uint64_t random, ops, burst_due;
	void **blocks, **burst;
	void *collected[POSTED]; /* to be handed over */
	size_t collected_count;
	struct parcel inbox;
};

static struct worker workers[THREADS_MAX];
static atomic_bool finished;
static pthread_barrier_t ready;

static void *block_new(uint64_t *random)
{
	size_t roll = random_below(random, 256), size, octave;
	char *p;

	if (roll == 0)
		octave = (size_t)4096 << random_below(random, 6);
	else
		octave = (size_t)16 << random_below(random, 8);
	size = octave + random_below(random, octave);
	p = malloc(size);
	if (!p)
		die("out of memory");
	for (size_t i = 0; i < size; i += PAGE)
		p[i] = 1;
	return p;
}

static void empty_inbox(struct worker *w)
{
	if (atomic_load_explicit(&w->inbox.count, memory_order_acquire) != POSTED)
		return;
	for (size_t i = 0; i < POSTED; i++)
		free(w->inbox.blocks[i]);
	atomic_store_explicit(&w->inbox.count, 0, memory_order_release);
}

/* What the next thread has no room for is freed here. */
static void hand_over(struct worker *w)
{
	struct worker *next = &workers[(size_t)(w - workers + 1) % options.threads];

	if (atomic_load_explicit(&next->inbox.count, memory_order_acquire)) {
		while (w->collected_count)
			free(w->collected[--w->collected_count]);
		return;
	}
	memcpy(next->inbox.blocks, w->collected, sizeof(w->collected));
	w->collected_count = 0;
	atomic_store_explicit(&next->inbox.count, POSTED, memory_order_release);
}

static void end_block(struct worker *w, void *block)
{
	if (random_below(&w->random, 8)) {
		free(block);
		return;
	}
	w->collected[w->collected_count++] = block;
	if (w->collected_count == POSTED)
		hand_over(w);
}

static void take_and_free(void **table, size_t bytes)
{
	size_t n = bytes / BURST_BLOCK;

	for (size_t i = 0; i < n; i++) {
		table[i] = touch(malloc(BURST_BLOCK - 64));
		for (size_t at = 0; at < BURST_BLOCK - 64; at += PAGE)
			((char *)table[i])[at] = 1;
	}
	for (size_t i = 0; i < n; i++)
		free(table[i]);
}

static void burst_when_due(struct worker *w)
{
	uint64_t now;

	if (!options.burst_mib || (now = now_ns()) < w->burst_due)
		return;
	w->burst_due = now + options.burst_ms * 1000000;
	take_and_free(w->burst, (options.burst_mib << 20) / options.threads);
}

static void *run_worker(void *argument)
{
	struct worker *w = argument;

	for (size_t i = 0; i < options.blocks; i++)
		w->blocks[i] = block_new(&w->random);
	take_and_free(w->burst, (options.phase_mib << 20) / options.threads);
	pthread_barrier_wait(&ready);
	while (!atomic_load_explicit(&finished, memory_order_relaxed)) {
		for (size_t i = 0; i < CHECK_EVERY; i++) {
			void **victim = &w->blocks[random_below(&w->random, options.blocks)];

			end_block(w, *victim);
			*victim = block_new(&w->random);
		}
		w->ops += CHECK_EVERY;
		empty_inbox(w);
		burst_when_due(w);
	}
	return NULL;
}

static void begin(struct worker *w)
{
	size_t most = options.phase_mib > options.burst_mib ? options.phase_mib : options.burst_mib;

	w->random = 88172645463325252 + 7 * (uint64_t)(w - workers);
	w->blocks = table_new(options.blocks * sizeof(*w->blocks));
	w->burst = table_new(((most << 20) / BURST_BLOCK + 1) * sizeof(*w->burst));
}

static void start(void)
{
	pthread_barrier_init(&ready, NULL, (unsigned)options.threads + 1);
	for (size_t i = 0; i < options.threads; i++)
		begin(&workers[i]);
	for (size_t i = 0; i < options.threads; i++)
		if (pthread_create(&workers[i].thread, NULL, run_worker, &workers[i]))
			die("no thread");
	pthread_barrier_wait(&ready);
}

static void report(uint64_t ns)
{
	struct rusage all;
	uint64_t ops = 0;

	for (size_t i = 0; i < options.threads; i++)
		ops += workers[i].ops;
	getrusage(RUSAGE_SELF, &all);
	result_begin();
	result_number("ops_per_second", (double)ops * 1e9 / (double)ns);
	result_number("faults", (double)all.ru_minflt);
	result_number("rss_kb", (double)status_kb("VmRSS:"));
	result_pmd();
	result_end();
}

int main(int argc, char **argv)
{
	const struct option_of known[] = {
		{"--threads", &options.threads, NULL},
		{"--ms", &options.ms, NULL},
		{"--blocks", &options.blocks, NULL},
		{"--phase-mib", &options.phase_mib, NULL},
		{"--burst-mib", &options.burst_mib, NULL},
		{"--burst-ms", &options.burst_ms, NULL},
		{0},
	};
	uint64_t from;

	options_parse(argc, argv, known);
	if (!options.threads || options.threads > THREADS_MAX || !options.blocks)
		die("senseless numbers");
	start();
	from = now_ns();
	sleep_ms(options.ms);
	atomic_store(&finished, true);
	for (size_t i = 0; i < options.threads; i++)
		pthread_join(workers[i].thread, NULL);
	report(now_ns() - from);
	return 0;
}
