/* SPDX-License-Identifier: MIT */
/*
 * Prints a report in which every section is filled, as long as a report can be: print_stats text|json|openmetrics.
 * Linked with the library's parts, whose counters it sets to what test/stats_formats.py expects.
 */
#include <pmdalloc/pmdalloc.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cache/classes.h"
#include "release/release.h"

enum { LIVE_BLOCKS = 3 }; /* live ones of each class */
#define LARGE ((size_t)5 << 20)

/* Blocks that stay. */
static void hold(size_t size, int count)
{
	while (count--)
		if (!pmd_malloc(size))
			exit(1);
}

static void fill_classes(void)
{
	for (unsigned class = 0; class < CLASSES; class += 1)
		hold(class_size(class), LIVE_BLOCKS);
	hold(LARGE, 1);
}

static void set(_Atomic size_t *counter, size_t n)
{
	atomic_store_explicit(counter, n, memory_order_relaxed);
}

static void fill_release(void)
{
	for (size_t b = 0; b < RELEASE_BACKENDS; b++) {
		struct release_counters *c = &release_counters[b];

		set(&c->calls, b + 1);
		set(&c->ranges, 10 * (b + 1));
		set(&c->bytes, ((size_t)1 << 60) + b);
		set(&c->failures, 1000 * (b + 1));
		set(&c->micros, 1000001 * b);
		for (size_t i = 0; i < RELEASE_BUCKETS; i++)
			set(&c->latency[i], ((size_t)1 << 50) + i);
	}
	for (size_t i = 0; i < RELEASE_SIZES; i++)
		set(&release_batches[i], ((size_t)1 << 50) + i);
	for (size_t i = 0; i < RELEASE_ERRNOS; i++)
		set(&release_errors[i], i + 1);
}

int main(int argc, char **argv)
{
	static const char *const names[] = {"text", "json", "openmetrics"};
	int format = 0;

	while (format < 3 && (argc != 2 || strcmp(argv[1], names[format]) != 0))
		format++;
	if (format == 3) {
		fprintf(stderr, "usage: print_stats text|json|openmetrics\n");
		return 2;
	}
	fill_classes();
	fill_release();
	return pmd_stats_print(1, (enum pmd_format)format) != 0;
}
