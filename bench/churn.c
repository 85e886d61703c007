/* SPDX-License-Identifier: MIT */
/*
 * Steady churn, to count the system calls that it costs: objects of 16 B to 4 KiB are freed in the order of their
 * allocation, so regions keep emptying, at a rate that lets time pass. With --wave-percent the amount that lives swings
 * by so much every --wave-ms, so that part of it is surplus at times.
 *
 * Between two calls of getppid, by which whoever traces the program knows where to count, it makes no system call
 * itself but for "own_calls" sleeps. "freed_regions" is what was freed / 2 MiB: about so many regions emptied.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif
#include "measure.h"

#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

static struct {
	size_t live_mib, mib_per_second, ms, wave_percent, wave_ms, low, high;
} options = {.live_mib = 256, .mib_per_second = 500, .ms = 20000, .wave_ms = 3000, .low = 16, .high = 4096};

enum { STEP_MS = 10, REGION = 2 << 20 };

struct object {
	void *block;
	size_t size;
};

static struct object *queue; /* a ring */
static size_t capacity, first, count, live, freed, own_calls;
static uint64_t random_state = 88172645463325252;

static void put(void)
{
	size_t size = options.low + random_below(&random_state, options.high - options.low + 1);
	struct object *o = &queue[(first + count++) % capacity];

	if (count == capacity)
		die("a ring that is too small");
	*o = (struct object){malloc(size), size};
	if (!o->block)
		die("out of memory");
	memset(o->block, 0x5a, size);
	live += size;
}

static void take(void)
{
	struct object *o = &queue[first];

	free(o->block);
	live -= o->size;
	freed += o->size;
	first = (first + 1) % capacity;
	count--;
}

/* So much shall live after MS milliseconds. */
static size_t wanted(uint64_t ms)
{
	size_t whole = options.live_mib << 20;

	return ms % options.wave_ms < options.wave_ms / 2 ? whole : whole - whole / 100 * options.wave_percent;
}

/* Allocates BYTES, and frees what is more than LIMIT. */
static void work(size_t bytes, size_t limit)
{
	for (size_t done = 0; done < bytes; done += queue[(first + count - 1) % capacity].size) {
		put();
		while (live > limit && count > 1)
			take();
	}
}

static void churn(void)
{
	uint64_t from = now_ns(), ms;

	while ((ms = (now_ns() - from) / 1000000) < options.ms) {
		work((options.mib_per_second << 20) / (1000 / STEP_MS), wanted(ms));
		sleep_ms(STEP_MS);
		own_calls++;
	}
}

int main(int argc, char **argv)
{
	const struct option_of known[] = {
		{"--live-mib", &options.live_mib, NULL},
		{"--mib-per-second", &options.mib_per_second, NULL},
		{"--ms", &options.ms, NULL},
		{"--wave-percent", &options.wave_percent, NULL},
		{"--wave-ms", &options.wave_ms, NULL},
		{"--low", &options.low, NULL},
		{"--high", &options.high, NULL},
		{0},
	};
	struct pmd_stats before, after;
	struct rusage from, to;

	options_parse(argc, argv, known);
	if (!options.low || options.high < options.low || !options.wave_ms || options.wave_percent > 100)
		die("senseless numbers");
	capacity = 4 * ((options.live_mib << 20) / ((options.low + options.high) / 2) + 1000);
	queue = table_new(capacity * sizeof(*queue));
	work(2 * options.live_mib << 20, options.live_mib << 20);
	pmd_figures(&before);
	getrusage(RUSAGE_SELF, &from);
	freed = 0;
	syscall(SYS_getppid);
	churn();
	syscall(SYS_getppid);
	getrusage(RUSAGE_SELF, &to);
	result_begin();
	result_number("own_calls", (double)own_calls);
	result_number("freed_regions", (double)(freed / REGION));
	result_number("faults", (double)(to.ru_minflt - from.ru_minflt));
	if (pmd_figures(&after)) {
		result_number("releases", (double)(after.releases - before.releases));
		result_number("release_calls", (double)(after.release_calls - before.release_calls));
		result_number("purged_bytes", (double)(after.purged_bytes - before.purged_bytes));
	}
	result_end();
	return 0;
}
