/* SPDX-License-Identifier: MIT */
/*
 * The benchmarks: the families' tables, made known to Google Benchmark. compare.py runs this program for each benchmark
 * and allocator; used by hand it takes Google Benchmark's options (--benchmark_filter=..., --benchmark_list_tests).
 *
 * Ahead of a benchmark's first run memory is touched and given back past the allocator: a virtual machine may have to
 * fetch it from its host, which would be charged to whoever comes first. What a run tells beside its time: the peak of
 * resident memory since then, what is resident and in page tables at its end, page faults for each
 * operation, and the share of the processor's time that went to the kernel.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif
#include "bench.h"
#include "shim/shim.h"

#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

static const struct bench *const families[] = {
	hot_benches,    calloc_benches, aligned_benches, batch_benches, replace_benches,  realloc_benches,
	larson_benches, pipe_benches,   chain_benches,   cache_benches, graph_benches,    scale_benches,
	storm_benches,  crowd_benches,  fork_benches,    phase_benches, fragment_benches, after_benches,
};

enum { FAMILIES = sizeof(families) / sizeof(families[0]) };

static struct shim_result *telling;

void tell(const char *name, double value)
{
	if (telling->counters == SHIM_COUNTERS)
		die("too many counters");
	telling->counter[telling->counters].name = name;
	telling->counter[telling->counters++].value = value;
}

/*
 * Small pages, then huge ones where they are allowed: a host is given back free memory in pieces of that size, so that
 * they are the coldest, and what was in pieces has to be put together first.
 */
static void warm_up(size_t mib)
{
	size_t bytes = mib << 20;
	char *huge;

	if (!bytes)
		return;
	table_drop(table_new(bytes), bytes);
	huge = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (huge == MAP_FAILED)
		die("no memory for the warm-up");
	madvise(huge, bytes, MADV_HUGEPAGE);
	touch_pages(huge, bytes);
	munmap(huge, bytes);
}

/* The kernel forgets the peak of resident memory. */
static void forget_peak(void)
{
	int fd = open("/proc/self/clear_refs", O_WRONLY | O_CLOEXEC);

	if (fd < 0 || write(fd, "5", 1) != 1)
		fprintf(stderr, "the peak of memory counts the warm-up: no /proc/self/clear_refs\n");
	close(fd);
}

/* The main thread alone: threads that the allocator has already are as free as they were. */
static void pin(void)
{
	cpu_set_t one;

	CPU_ZERO(&one);
	CPU_SET((size_t)sched_getcpu(), &one);
	sched_setaffinity(0, sizeof(one), &one);
}

static void prepare(const struct bench *b)
{
	static const struct bench *prepared;
	static cpu_set_t all;

	if (b == prepared)
		return;
	if (!prepared)
		sched_getaffinity(0, sizeof(all), &all);
	prepared = b;
	sched_setaffinity(0, sizeof(all), &all);
	if (b->pinned)
		pin();
	warm_up(b->warm_mib);
	forget_peak();
}

static struct rusage usage_now(void)
{
	struct rusage usage;

	getrusage(RUSAGE_SELF, &usage);
	return usage;
}

static double microseconds(struct timeval from, struct timeval to)
{
	return (double)(to.tv_sec - from.tv_sec) * 1e6 + (double)(to.tv_usec - from.tv_usec);
}

/* What the run cost beside its time; its preparations are in that. */
static void tell_usage(const struct rusage *before, uint64_t ops)
{
	struct rusage after = usage_now();
	double user = microseconds(before->ru_utime, after.ru_utime);
	double kernel = microseconds(before->ru_stime, after.ru_stime);

	tell("faults", (double)(after.ru_minflt - before->ru_minflt) / (double)ops);
	tell("kernel_percent", user + kernel > 0 ? 100 * kernel / (user + kernel) : 0);
}

static void run(const void *argument, uint64_t ops, struct shim_result *result)
{
	const struct bench *b = argument;
	struct rusage before;

	prepare(b);
	telling = result;
	result->counters = 0;
	before = usage_now();
	result->ns = b->run(b, ops);
	tell_usage(&before, ops);
	tell("rss_peak_mib", (double)status_kb("VmHWM:") / 1024);
	tell("rss_mib", (double)status_kb("VmRSS:") / 1024);
	tell("pte_kib", (double)status_kb("VmPTE:"));
}

int main(int argc, char **argv)
{
	for (size_t f = 0; f < FAMILIES; f++)
		for (const struct bench *b = families[f]; b->name; b++)
			shim_register(b->name, b->fixed_ops, run, b);
	shim_context("allocator", allocator_file());
	shim_start(&argc, argv);
	if (argc > 1) {
		fprintf(stderr, "%s: what is %s? Options are Google Benchmark's; see --help\n", argv[0], argv[1]);
		return 2;
	}
	shim_run();
	return 0;
}
