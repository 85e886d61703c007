/* SPDX-License-Identifier: MIT */
/*
 * What the programs that measure the giving back of memory share: a short clock, a histogram of times, the process's
 * own figures, the library's own counters where it is pmdalloc that serves, options, and a result of one line of JSON.
 * None of it calls malloc once the program has started, so that only what is measured does.
 */
#ifndef BENCH_MEASURE_H
#define BENCH_MEASURE_H

#include "bench.h"

#include <pmdalloc/pmdalloc.h>

#if defined(__x86_64__)
#include <x86intrin.h>
#endif

/* ---- Time -------------------------------------------------------------------------------------------------------- */

/*
 * A tick is the processor's where it has a steady counter, else a nanosecond. The fences keep what is timed between
 * the two readings.
 */
static inline uint64_t ticks_begin(void)
{
#if defined(__x86_64__)
	uint64_t t;

	_mm_lfence();
	t = __rdtsc();
	_mm_lfence();
	return t;
#else
	return now_ns();
#endif
}

static inline uint64_t ticks_end(void)
{
#if defined(__x86_64__)
	unsigned cpu;
	uint64_t t = __rdtscp(&cpu);

	_mm_lfence();
	return t;
#else
	return now_ns();
#endif
}

/* Learns how long a tick is and what reading the clock twice costs; takes 50 ms. Before the functions that follow. */
void ticks_calibrate(void);
/* Nanoseconds between two readings, less what the readings cost. */
uint64_t ticks_to_ns(uint64_t begin, uint64_t end);

void sleep_ms(uint64_t ms);

/* ---- Histogram of nanoseconds: 32 steps to a doubling, so that a percentile is at most 3 % too high -------------- */

enum { HISTOGRAM_STEPS = 32, HISTOGRAM_BUCKETS = 40 * HISTOGRAM_STEPS };

struct histogram {
	uint64_t count, longest;
	uint64_t buckets[HISTOGRAM_BUCKETS];
};

void histogram_add(struct histogram *h, uint64_t ns);
/* The time that a share of PER_MILLION of all did not exceed. */
uint64_t histogram_quantile(const struct histogram *h, uint64_t per_million);
/* How many took longer than NS. */
uint64_t histogram_above(const struct histogram *h, uint64_t ns);

/* ---- The process ------------------------------------------------------------------------------------------------- */

/* pmdalloc's figures; false where another allocator serves. */
bool pmd_figures(struct pmd_stats *stats);

/* ---- Options: "--name VALUE" pairs -------------------------------------------------------------------------------- */

struct option_of {
	const char *name; /* NULL ends the list */
	size_t *value;
	const char *const *words; /* NULL: a number; else the value is the place of a word in this list */
};

void options_parse(int argc, char **argv, const struct option_of *known);

/* ---- The result: one line of JSON on standard output, begun with the file that serves malloc ---------------------- */

void result_begin(void);
void result_number(const char *name, double value);
void result_text(const char *name, const char *text);
/* NAME_p50, _p99, _p999, _p9999, _max in nanoseconds, and _count. */
void result_histogram(const char *name, const struct histogram *h);
/* NAME_curve: pairs of a share and the nanoseconds that it did not exceed. */
void result_curve(const char *name, const struct histogram *h);
/* releases, release_calls and what else pmdalloc counts; nothing with other allocators. */
void result_pmd(void);
void result_end(void);

#endif
