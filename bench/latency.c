/* SPDX-License-Identifier: MIT */
/*
 * What malloc and free take in one thread while the gigabytes of another phase of the program are given back. The loop
 * replaces blocks at random in a working set of its own, whose memory it has touched before; each call is timed, the
 * touching of the blocks is not. Then the phase:
 *   --by other   another thread fills --phase-mib with objects of 16 B to 4 KiB and frees all of them in random order
 *   --by self    the thread of the loop does that, and goes on with its loop
 * Counted are the calls from the moment when the phase begins to free until --window-ms later; with a decay time well
 * below that the kernel takes the memory back meanwhile ("rss_before_kb" and "rss_after_kb" tell). The frees of the
 * phase itself are counted apart.
 *
 * Between the calls nothing at all is timed in the same way ("nothing"): what that shows is the machine's own noise,
 * which no allocator can be below. Of the longest calls the cause is told as far as the kernel knows it: page faults, a
 * wait (the thread slept), another thread on its processor, or none of these: interrupts and the host.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif
#include "measure.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>

enum by { OTHER, SELF };
enum kind { NOTHING, FREE, MALLOC, PHASE_FREE, KINDS };

static const char *const by_words[] = {"other", "self", NULL};
static const char *const kind_words[] = {"nothing", "free", "malloc", "phase_free"};

static struct {
	size_t by, phase_mib, rounds, window_ms, blocks, low, high;
} options = {.phase_mib = 1024, .rounds = 3, .window_ms = 1000, .blocks = 20000, .low = 16, .high = 4096};

enum { SLOWEST = 6, SLOW_NS = 10000, LOOK_EVERY = 64, PAGE = 4096, PHASE_LOW = 16, PHASE_HIGH = 4096 };

struct slow {
	enum kind kind;
	size_t bytes;       /* asked for; 0 of what is freed */
	uint64_t ns, at_ns; /* at: since the phase began to free */
	long faults, waits, preempted;
};

static struct histogram times[KINDS];
static struct slow slowest[SLOWEST]; /* longest first; of the thread of the loop */
static struct rusage looked;         /* what the kernel said of that thread when last asked */
static void **phase;
static size_t phase_count, phase_bytes;
static atomic_bool counting, finished;
static _Atomic uint64_t freeing_since;
static size_t rss_before_kb, rss_after_kb, pte_before_kb, pte_after_kb;

/* ---- Slow calls -------------------------------------------------------------------------------------------------- */

static void look(void)
{
	getrusage(RUSAGE_THREAD, &looked);
}

static void note_slow(enum kind kind, size_t bytes, uint64_t ns)
{
	struct rusage before = looked;
	size_t at = SLOWEST;

	look();
	while (at && slowest[at - 1].ns < ns)
		at--;
	if (at == SLOWEST)
		return;
	memmove(&slowest[at + 1], &slowest[at], (SLOWEST - at - 1) * sizeof(*slowest));
	slowest[at] = (struct slow){.kind = kind,
				    .bytes = bytes,
				    .ns = ns,
				    .at_ns = now_ns() - freeing_since,
				    .faults = looked.ru_minflt - before.ru_minflt,
				    .waits = looked.ru_nvcsw - before.ru_nvcsw,
				    .preempted = looked.ru_nivcsw - before.ru_nivcsw};
}

static const char *cause(const struct slow *s)
{
	if (s->waits)
		return "waited";
	if (s->preempted)
		return "preempted";
	return s->faults ? "page fault" : "neither fault nor switch";
}

static void report_slowest(void)
{
	char name[32], text[160];

	for (size_t i = 0; i < SLOWEST && slowest[i].ns; i++) {
		const struct slow *s = &slowest[i];

		snprintf(name, sizeof(name), "slowest_%zu", i + 1);
		snprintf(text, sizeof(text), "%s(%zu) %.1f us, %.3f s in: %s", kind_words[s->kind], s->bytes,
			 (double)s->ns / 1e3, (double)s->at_ns / 1e9, cause(s));
		result_text(name, text);
	}
}

/* ---- The phase --------------------------------------------------------------------------------------------------- */

static void map_phase(void)
{
	/* Twice the number to expect: sizes are uniform, so that it is never reached. */
	phase_bytes = 2 * ((options.phase_mib << 20) / ((PHASE_LOW + PHASE_HIGH) / 2) + 1000) * sizeof(*phase);
	phase = table_new(phase_bytes);
}

static void fill_phase(uint64_t *random)
{
	for (size_t size, done = 0; done < options.phase_mib << 20; done += size) {
		size = PHASE_LOW + random_below(random, PHASE_HIGH - PHASE_LOW + 1);
		phase[phase_count] = malloc(size);
		if (!phase[phase_count])
			die("out of memory");
		memset(phase[phase_count++], 0x5a, size);
	}
	for (size_t i = phase_count; i > 1; i--) {
		size_t other = random_below(random, i);
		void *p = phase[i - 1];

		phase[i - 1] = phase[other];
		phase[other] = p;
	}
}

static void free_phase(void)
{
	while (phase_count) {
		void *p = phase[--phase_count];
		uint64_t begin = ticks_begin(), ns;

		free(p);
		ns = ticks_to_ns(begin, ticks_end());
		histogram_add(&times[PHASE_FREE], ns);
		if (ns >= SLOW_NS && options.by == SELF)
			note_slow(PHASE_FREE, 0, ns);
	}
}

static void begin_window(void)
{
	rss_before_kb = status_kb("VmRSS:");
	pte_before_kb = status_kb("VmPTE:");
	freeing_since = now_ns();
	atomic_store(&counting, true);
}

static void end_window(void)
{
	atomic_store(&counting, false);
	rss_after_kb = status_kb("VmRSS:");
	pte_after_kb = status_kb("VmPTE:");
}

static void *other_thread(void *unused)
{
	uint64_t random = 1442695040888963407;

	for (size_t i = 0; i < options.rounds; i++) {
		fill_phase(&random);
		begin_window();
		free_phase();
		while (now_ns() - freeing_since < options.window_ms * 1000000)
			sleep_ms(1);
		end_window();
	}
	atomic_store(&finished, true);
	return unused;
}

/* ---- The loop ---------------------------------------------------------------------------------------------------- */

static void count_call(enum kind kind, size_t bytes, uint64_t begin, uint64_t end)
{
	uint64_t ns = ticks_to_ns(begin, end);

	histogram_add(&times[kind], ns);
	if (ns >= SLOW_NS)
		note_slow(kind, bytes, ns);
}

/* Times one free, one malloc and nothing. */
static void replace(void **block, size_t size, bool count)
{
	uint64_t at[6];

	at[0] = ticks_begin();
	at[1] = ticks_end();
	at[2] = ticks_begin();
	free(*block);
	at[3] = ticks_end();
	at[4] = ticks_begin();
	*block = malloc(size);
	at[5] = ticks_end();
	if (!*block)
		die("out of memory");
	touch_pages(*block, size);
	if (!count)
		return;
	count_call(NOTHING, 0, at[0], at[1]);
	count_call(FREE, 0, at[2], at[3]);
	count_call(MALLOC, size, at[4], at[5]);
}

/* Each doubling of the size is as likely as the next. */
static size_t random_block_size(uint64_t *random)
{
	unsigned octaves = 63 - (unsigned)__builtin_clzll(options.high / options.low);
	size_t base = options.low << (octaves ? random_below(random, octaves) : 0);

	return base + random_below(random, base);
}

static void replace_some(void **blocks, uint64_t *random)
{
	bool count = atomic_load_explicit(&counting, memory_order_acquire);

	look();
	for (int i = 0; i < LOOK_EVERY; i++)
		replace(&blocks[random_below(random, options.blocks)], random_block_size(random), count);
}

static void loop_beside_other(void **blocks, uint64_t *random)
{
	pthread_t other;

	if (pthread_create(&other, NULL, other_thread, NULL))
		die("no thread");
	while (!atomic_load_explicit(&finished, memory_order_relaxed))
		replace_some(blocks, random);
	pthread_join(other, NULL);
}

static void loop_after_self(void **blocks, uint64_t *random)
{
	for (size_t i = 0; i < options.rounds; i++) {
		fill_phase(random);
		begin_window();
		look();
		free_phase();
		while (now_ns() - freeing_since < options.window_ms * 1000000)
			replace_some(blocks, random);
		end_window();
	}
}

static void **fill_blocks(uint64_t *random)
{
	void **blocks = table_new(options.blocks * sizeof(*blocks));

	for (size_t i = 0; i < options.blocks; i++)
		blocks[i] = touch(malloc(random_block_size(random)));
	for (size_t i = 0; i < 5 * options.blocks / LOOK_EVERY; i++)
		replace_some(blocks, random);
	return blocks;
}

/* ---- The measure ------------------------------------------------------------------------------------------------- */

static void report(void)
{
	result_begin();
	result_text("by", by_words[options.by]);
	for (size_t i = 0; i < KINDS; i++) {
		result_histogram(kind_words[i], &times[i]);
		result_curve(kind_words[i], &times[i]);
	}
	report_slowest();
	result_number("rss_before_kb", (double)rss_before_kb);
	result_number("rss_after_kb", (double)rss_after_kb);
	result_number("pte_before_kb", (double)pte_before_kb);
	result_number("pte_after_kb", (double)pte_after_kb);
	result_pmd();
	result_end();
}

static void parse(int argc, char **argv)
{
	const struct option_of known[] = {
		{"--by", &options.by, by_words},     {"--phase-mib", &options.phase_mib, NULL},
		{"--rounds", &options.rounds, NULL}, {"--window-ms", &options.window_ms, NULL},
		{"--blocks", &options.blocks, NULL}, {"--low", &options.low, NULL},
		{"--high", &options.high, NULL},     {0},
	};

	options_parse(argc, argv, known);
	if (!options.low || options.high < options.low || !options.blocks)
		die("senseless sizes");
}

int main(int argc, char **argv)
{
	uint64_t random = 88172645463325252;
	void **blocks;

	parse(argc, argv);
	ticks_calibrate();
	map_phase();
	blocks = fill_blocks(&random);
	if (options.by == OTHER)
		loop_beside_other(blocks, &random);
	else
		loop_after_self(blocks, &random);
	report();
	return 0;
}
