/* SPDX-License-Identifier: MIT */
/*
 * A program that swings between little and much memory: --high-mib live, then all but --low-mib are freed, in random
 * order or the last allocated first, and so on, each half of --period-ms long. What it will need again soon should
 * stay (no page is fetched twice), what it will not need for long should go. Per swing: the page faults of growing; RSS
 * and VmPTE at the end of the low half. Reported are medians without the first --skip swings, in which the memory is
 * fetched for the first time.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif
#include "measure.h"

#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

enum order_of_frees { RANDOM_ORDER, LAST_FIRST };

static const char *const order_words[] = {"random", "last", NULL};

static struct {
	size_t low_mib, high_mib, period_ms, swings, skip, low, high, order;
} options = {.low_mib = 100, .high_mib = 1024, .period_ms = 1000, .swings = 20, .skip = 2, .low = 16, .high = 4096};

enum { SWINGS_MAX = 10000 };

static void **objects;
static size_t *sizes;
static size_t count, capacity, live;
static uint64_t random_state = 88172645463325252;
static size_t faults[SWINGS_MAX], rss_low_kb[SWINGS_MAX], pte_low_kb[SWINGS_MAX];

static size_t faults_so_far(void)
{
	struct rusage all;

	getrusage(RUSAGE_SELF, &all);
	return (size_t)all.ru_minflt;
}

static void grow_to(size_t bytes)
{
	while (live < bytes) {
		size_t size = options.low + random_below(&random_state, options.high - options.low + 1);

		if (count == capacity)
			die("a table that is too small");
		objects[count] = malloc(size);
		if (!objects[count])
			die("out of memory");
		memset(objects[count], 0x5a, size);
		sizes[count++] = size;
		live += size;
	}
}

static void shrink_to(size_t bytes)
{
	while (live > bytes) {
		size_t i = options.order == LAST_FIRST ? count - 1 : random_below(&random_state, count);

		free(objects[i]);
		live -= sizes[i];
		objects[i] = objects[--count];
		sizes[i] = sizes[count];
	}
}

static void sleep_until(uint64_t ns)
{
	uint64_t now = now_ns();

	if (now < ns)
		sleep_ms((ns - now) / 1000000 + 1);
}

static void swing(size_t i, uint64_t from)
{
	uint64_t half = options.period_ms * 500000;
	size_t before = faults_so_far();

	grow_to(options.high_mib << 20);
	faults[i] = faults_so_far() - before;
	sleep_until(from + half);
	shrink_to(options.low_mib << 20);
	sleep_until(from + 2 * half);
	rss_low_kb[i] = status_kb("VmRSS:");
	pte_low_kb[i] = status_kb("VmPTE:");
}

static int by_size(const void *a, const void *b)
{
	size_t x = *(const size_t *)a, y = *(const size_t *)b;

	return (x > y) - (x < y);
}

/* Of those that count. */
static double median(size_t *values)
{
	size_t n = options.swings - options.skip;

	qsort(values + options.skip, n, sizeof(*values), by_size);
	return (double)values[options.skip + n / 2];
}

static double most(const size_t *sorted)
{
	return (double)sorted[options.swings - 1];
}

static void report(size_t swings_releases)
{
	double middle = median(faults);

	result_begin();
	result_number("pages_per_swing", (double)((options.high_mib - options.low_mib) << 20) / 4096);
	result_number("faults", middle);
	result_number("faults_most", most(faults));
	result_number("rss_low_kb", median(rss_low_kb));
	result_number("rss_low_most_kb", most(rss_low_kb));
	result_number("pte_low_kb", median(pte_low_kb));
	result_number("rss_peak_kb", (double)status_kb("VmHWM:"));
	result_number("releases_in_swings", (double)swings_releases);
	result_pmd();
	result_end();
}

int main(int argc, char **argv)
{
	const struct option_of known[] = {
		{"--order", &options.order, order_words},
		{"--low-mib", &options.low_mib, NULL},
		{"--high-mib", &options.high_mib, NULL},
		{"--period-ms", &options.period_ms, NULL},
		{"--swings", &options.swings, NULL},
		{"--skip", &options.skip, NULL},
		{"--low", &options.low, NULL},
		{"--high", &options.high, NULL},
		{0},
	};
	struct pmd_stats before = {0}, after;
	uint64_t from;

	options_parse(argc, argv, known);
	if (options.swings <= options.skip || options.swings > SWINGS_MAX || options.high_mib <= options.low_mib ||
	    !options.low || options.high < options.low)
		die("senseless numbers");
	capacity = 2 * ((options.high_mib << 20) / ((options.low + options.high) / 2) + 1000);
	objects = table_new(capacity * sizeof(*objects));
	sizes = table_new(capacity * sizeof(*sizes));
	from = now_ns();
	for (size_t i = 0; i < options.swings; i++, from += options.period_ms * 1000000) {
		if (i == options.skip)
			pmd_figures(&before);
		swing(i, from);
	}
	pmd_figures(&after);
	report(after.releases - before.releases);
	return 0;
}
