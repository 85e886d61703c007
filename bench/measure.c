/* SPDX-License-Identifier: MIT */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif
#include "measure.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* ---- Time -------------------------------------------------------------------------------------------------------- */

static double ns_per_tick = 1;
static uint64_t reading_ticks; /* between two readings with nothing in between */

void ticks_calibrate(void)
{
	uint64_t ns = now_ns(), ticks = ticks_begin();

	sleep_ms(50);
	ticks = ticks_end() - ticks;
	ns_per_tick = (double)(now_ns() - ns) / (double)ticks;
	reading_ticks = UINT64_MAX;
	for (int i = 0; i < 100000; i++) {
		uint64_t begin = ticks_begin(), taken = ticks_end() - begin;

		if (taken < reading_ticks)
			reading_ticks = taken;
	}
}

uint64_t ticks_to_ns(uint64_t begin, uint64_t end)
{
	/* Counters of two processors may differ a little. */
	return end > begin + reading_ticks ? (uint64_t)((double)(end - begin - reading_ticks) * ns_per_tick) : 0;
}

void sleep_ms(uint64_t ms)
{
	struct timespec t = {.tv_sec = (time_t)(ms / 1000), .tv_nsec = (long)(ms % 1000) * 1000000};

	while (nanosleep(&t, &t) && errno == EINTR)
		;
}

/* ---- Histogram --------------------------------------------------------------------------------------------------- */

enum { STEP_BITS = 5 };
_Static_assert(1 << STEP_BITS == HISTOGRAM_STEPS, "steps to a doubling");

static size_t bucket_of(uint64_t ns)
{
	unsigned shift;
	size_t bucket;

	if (ns < HISTOGRAM_STEPS)
		return ns;
	shift = 63 - (unsigned)__builtin_clzll(ns) - STEP_BITS;
	bucket = (size_t)(shift + 1) * HISTOGRAM_STEPS + ((ns >> shift) - HISTOGRAM_STEPS);
	return bucket < HISTOGRAM_BUCKETS ? bucket : HISTOGRAM_BUCKETS - 1;
}

/* The longest time that the bucket counts. */
static uint64_t bucket_end(size_t bucket)
{
	unsigned shift;

	if (bucket < HISTOGRAM_STEPS)
		return bucket;
	shift = (unsigned)(bucket / HISTOGRAM_STEPS) - 1;
	return ((bucket % HISTOGRAM_STEPS + HISTOGRAM_STEPS + 1) << shift) - 1;
}

void histogram_add(struct histogram *h, uint64_t ns)
{
	h->count++;
	h->buckets[bucket_of(ns)]++;
	if (ns > h->longest)
		h->longest = ns;
}

uint64_t histogram_quantile(const struct histogram *h, uint64_t per_million)
{
	uint64_t wanted = (uint64_t)((double)h->count * (double)per_million / 1e6 + 0.999999), seen = 0;

	for (size_t i = 0; i < HISTOGRAM_BUCKETS; i++) {
		seen += h->buckets[i];
		if (seen >= wanted && seen)
			return bucket_end(i) < h->longest ? bucket_end(i) : h->longest;
	}
	return 0;
}

uint64_t histogram_above(const struct histogram *h, uint64_t ns)
{
	uint64_t n = 0;

	for (size_t i = bucket_of(ns) + 1; i < HISTOGRAM_BUCKETS; i++)
		n += h->buckets[i];
	return n;
}

/* ---- The process ------------------------------------------------------------------------------------------------- */

bool pmd_figures(struct pmd_stats *stats)
{
	int (*get)(struct pmd_stats *) = (int (*)(struct pmd_stats *))dlsym(RTLD_DEFAULT, "pmd_stats_get");

	memset(stats, 0, sizeof(*stats));
	stats->size = sizeof(*stats);
	return get && !get(stats);
}

/* ---- Options ----------------------------------------------------------------------------------------------------- */

static noreturn void usage(const struct option_of *known)
{
	dprintf(STDERR_FILENO, "usage: %s\n", program_invocation_short_name);
	for (; known->name; known++) {
		dprintf(STDERR_FILENO, "\t%s", known->name);
		if (!known->words)
			dprintf(STDERR_FILENO, " NUMBER (now %zu)", *known->value);
		for (size_t i = 0; known->words && known->words[i]; i++)
			dprintf(STDERR_FILENO, "%c%s", i ? '|' : ' ', known->words[i]);
		dprintf(STDERR_FILENO, "\n");
	}
	_exit(2);
}

static bool read_number(const char *text, size_t *value)
{
	char *end;

	*value = strtoul(text, &end, 10);
	return !*end && *text;
}

static bool read_word(const char *text, const char *const *words, size_t *value)
{
	for (*value = 0; words[*value]; ++*value)
		if (!strcmp(text, words[*value]))
			return true;
	return false;
}

void options_parse(int argc, char **argv, const struct option_of *known)
{
	for (int i = 1; i < argc; i += 2) {
		const struct option_of *o = known;

		while (o->name && strcmp(argv[i], o->name))
			o++;
		if (!o->name || i + 1 == argc)
			usage(known);
		if (!(o->words ? read_word(argv[i + 1], o->words, o->value) : read_number(argv[i + 1], o->value)))
			usage(known);
	}
}

/* ---- The result -------------------------------------------------------------------------------------------------- */

static char result[16384];
static size_t result_length;

__attribute__((format(printf, 1, 2))) static void put(const char *format, ...)
{
	va_list arguments;
	int n;

	va_start(arguments, format);
	n = vsnprintf(result + result_length, sizeof(result) - result_length, format, arguments);
	va_end(arguments);
	if (n < 0 || (size_t)n >= sizeof(result) - result_length)
		die("a result that is too long");
	result_length += (size_t)n;
}

void result_begin(void)
{
	result_length = 0;
	put("{\"allocator\": \"%s\"", allocator_file());
}

void result_number(const char *name, double value)
{
	put(", \"%s\": %.12g", name, value);
}

void result_text(const char *name, const char *text)
{
	put(", \"%s\": \"%s\"", name, text);
}

void result_histogram(const char *name, const struct histogram *h)
{
	static const struct {
		const char *suffix;
		uint64_t per_million;
	} shares[] = {{"p50", 500000}, {"p99", 990000}, {"p999", 999000}, {"p9999", 999900}};

	for (size_t i = 0; i < sizeof(shares) / sizeof(shares[0]); i++)
		put(", \"%s_%s\": %llu", name, shares[i].suffix,
		    (unsigned long long)histogram_quantile(h, shares[i].per_million));
	put(", \"%s_max\": %llu, \"%s_count\": %llu", name, (unsigned long long)h->longest, name,
	    (unsigned long long)h->count);
}

void result_curve(const char *name, const struct histogram *h)
{
	static const uint64_t shares[] = {100000, 250000, 500000, 750000, 900000, 950000, 980000, 990000, 995000,
					  998000, 999000, 999500, 999800, 999900, 999950, 999980, 999990, 999999};

	put(", \"%s_curve\": [", name);
	for (size_t i = 0; i < sizeof(shares) / sizeof(shares[0]); i++)
		put("%s[%.6f, %llu]", i ? ", " : "", (double)shares[i] / 1e6,
		    (unsigned long long)histogram_quantile(h, shares[i]));
	put("]");
}

void result_pmd(void)
{
	struct pmd_stats stats;

	if (!pmd_figures(&stats))
		return;
	result_number("releases", (double)stats.releases);
	result_number("release_calls", (double)stats.release_calls);
	result_number("release_failures", (double)stats.release_failures);
	result_number("purged_bytes", (double)stats.purged_bytes);
	result_number("regions_active", (double)stats.regions_active);
	result_number("regions_dirty", (double)stats.regions_dirty);
	result_number("slab_bytes", (double)stats.slab_bytes);
	result_number("large_bytes", (double)stats.large_bytes);
	result_number("live_bytes", (double)stats.live_bytes);
	result_number("dirty_bytes", (double)stats.dirty_bytes);
}

void result_end(void)
{
	put("}\n");
	for (size_t done = 0; done < result_length;) {
		ssize_t n = write(STDOUT_FILENO, result + done, result_length - done);

		if (n <= 0)
			die("cannot write the result");
		done += (size_t)n;
	}
}
