/* SPDX-License-Identifier: MIT */
/*
 * Who gives memory back, and what that costs whom: --mib of objects are freed in random order by one thread, which then
 * does little (some calls each millisecond; --idle 1: none at all) until --wait-ms later. Printed: how long its calls
 * took, when the memory was back at the kernel (half of it, and 95 %), the CPU time of that thread and of all others of
 * the process (the library's own, io_uring's workers) and how often those others woke up.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif
#include "measure.h"

#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

static struct {
	size_t mib, wait_ms, idle, low, high;
} options = {.mib = 1024, .wait_ms = 2000, .low = 16, .high = 4096};

enum { CALLS_A_MS = 20, LOOK_EVERY_MS = 5 };

static void **objects;
static size_t count;
static struct histogram frees, later_frees, later_mallocs;
static size_t peak_kb, half_back_ms, back_ms;
static uint64_t freed_at;

struct usage {
	double cpu_ms;
	long waits, preempted;
};

static struct usage usage_of(int who)
{
	struct rusage r;

	getrusage(who, &r);
	return (struct usage){(double)(r.ru_utime.tv_sec + r.ru_stime.tv_sec) * 1e3 +
				      (double)(r.ru_utime.tv_usec + r.ru_stime.tv_usec) / 1e3,
			      r.ru_nvcsw, r.ru_nivcsw};
}

static void fill(uint64_t *random)
{
	for (size_t size, done = 0; done < options.mib << 20; done += size) {
		size = options.low + random_below(random, options.high - options.low + 1);
		objects[count] = malloc(size);
		if (!objects[count])
			die("out of memory");
		memset(objects[count++], 0x5a, size);
	}
	for (size_t i = count; i > 1; i--) {
		size_t other = random_below(random, i);
		void *p = objects[i - 1];

		objects[i - 1] = objects[other];
		objects[other] = p;
	}
}

static void timed_free(void *p, struct histogram *h)
{
	uint64_t begin = ticks_begin();

	free(p);
	histogram_add(h, ticks_to_ns(begin, ticks_end()));
}

static void some_calls(uint64_t *random)
{
	for (int i = 0; i < CALLS_A_MS; i++) {
		size_t size = options.low + random_below(random, options.high - options.low + 1);
		uint64_t begin = ticks_begin();
		void *p = malloc(size);

		histogram_add(&later_mallocs, ticks_to_ns(begin, ticks_end()));
		timed_free(touch(p), &later_frees);
	}
}

static void look(void)
{
	size_t now = status_kb("VmRSS:"), ms = (size_t)((now_ns() - freed_at) / 1000000);

	if (!half_back_ms && now < peak_kb / 2)
		half_back_ms = ms;
	if (!back_ms && now < peak_kb / 20)
		back_ms = ms;
}

static void wait_and_look(uint64_t *random)
{
	for (size_t ms = 0; now_ns() - freed_at < options.wait_ms * 1000000; ms++) {
		if (!options.idle)
			some_calls(random);
		if (ms % LOOK_EVERY_MS == 0)
			look();
		sleep_ms(1);
	}
}

static void report(const struct usage *own, const struct usage *all)
{
	result_begin();
	result_histogram("free", &frees);
	result_histogram("later_free", &later_frees);
	result_histogram("later_malloc", &later_mallocs);
	result_number("half_back_ms", (double)half_back_ms);
	result_number("back_ms", (double)back_ms);
	result_number("rss_peak_kb", (double)peak_kb);
	result_number("rss_kb", (double)status_kb("VmRSS:"));
	result_number("pte_kb", (double)status_kb("VmPTE:"));
	result_number("own_cpu_ms", own[1].cpu_ms - own[0].cpu_ms);
	result_number("others_cpu_ms", all[1].cpu_ms - all[0].cpu_ms - (own[1].cpu_ms - own[0].cpu_ms));
	result_number("others_wakes", (double)(all[1].waits - all[0].waits - (own[1].waits - own[0].waits)));
	result_number("others_preempted",
		      (double)(all[1].preempted - all[0].preempted - (own[1].preempted - own[0].preempted)));
	result_pmd();
	result_end();
}

int main(int argc, char **argv)
{
	const struct option_of known[] = {
		{"--mib", &options.mib, NULL}, {"--wait-ms", &options.wait_ms, NULL}, {"--idle", &options.idle, NULL},
		{"--low", &options.low, NULL}, {"--high", &options.high, NULL},       {0},
	};
	uint64_t random = 88172645463325252;
	struct usage own[2], all[2];

	options_parse(argc, argv, known);
	if (!options.low || options.high < options.low)
		die("senseless sizes");
	ticks_calibrate();
	objects = table_new(2 * ((options.mib << 20) / ((options.low + options.high) / 2) + 1000) * sizeof(*objects));
	fill(&random);
	peak_kb = status_kb("VmRSS:");
	own[0] = usage_of(RUSAGE_THREAD);
	all[0] = usage_of(RUSAGE_SELF);
	while (count)
		timed_free(objects[--count], &frees);
	freed_at = now_ns();
	wait_and_look(&random);
	own[1] = usage_of(RUSAGE_THREAD);
	all[1] = usage_of(RUSAGE_SELF);
	report(own, all);
	return 0;
}
