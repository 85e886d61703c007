/* SPDX-License-Identifier: MIT */
/*
 * What stays of much memory once it was freed: objects of random sizes are allocated and touched, all or most are freed
 * in random order, and then the program sleeps without a call. Printed, separated by tabs: a moment, VmRSS and VmPTE in
 * kB, and the number of mappings; for pmdalloc also "metadata", its bytes and those of the heap at the peak.
 *
 * Usage: footprint [--mib N] [--wait SECONDS] [--freed PERCENT] [--threads N] [--low BYTES] [--high BYTES]
 * With --threads, N threads allocate and stay, asleep, while the main thread frees.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif
#include "bench.h"

#include <pmdalloc/pmdalloc.h>

#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

static struct {
	size_t mib, wait, freed, threads, low, high;
} options = {.mib = 2048, .wait = 12, .freed = 100, .threads = 0, .low = 16, .high = 4096};

static void **objects; /* mapped by itself: it must not count as the allocator's */
static size_t objects_bytes;
static atomic_size_t object_count;
static pthread_barrier_t filled;

/* ---- Reading the process's own state, without malloc -------------------------------------------------------------- */

static size_t mappings(void)
{
	char text[4096];
	int fd = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
	size_t lines = 0;
	ssize_t n;

	while ((n = read(fd, text, sizeof(text))) > 0)
		for (ssize_t i = 0; i < n; i++)
			lines += text[i] == '\n';
	close(fd);
	return lines;
}

static void report(const char *moment)
{
	dprintf(STDOUT_FILENO, "%s\t%zu\t%zu\t%zu\n", moment, status_kb("VmRSS:"), status_kb("VmPTE:"), mappings());
}

static void report_metadata(void)
{
	int (*get)(struct pmd_stats *) = (int (*)(struct pmd_stats *))dlsym(RTLD_DEFAULT, "pmd_stats_get");
	struct pmd_stats stats = {.size = sizeof(stats)};

	if (get && !get(&stats))
		dprintf(STDOUT_FILENO, "metadata\t%zu\t%zu\n", stats.metadata_bytes,
			stats.slab_bytes + stats.large_bytes + stats.dirty_bytes);
}

static void report_allocator(void)
{
	void *address = dlsym(RTLD_DEFAULT, "malloc");
	Dl_info info;

	dprintf(STDOUT_FILENO, "allocator\t%s\n", address && dladdr(address, &info) ? info.dli_fname : "?");
}

/* ---- The work ------------------------------------------------------------------------------------------------------
 */

static void map_objects(void)
{
	size_t average = (options.low + options.high) / 2;

	/* Twice the number to expect: sizes are uniform, so that it is never reached. */
	objects_bytes = 2 * ((options.mib << 20) / average + 1000) * sizeof(*objects);
	objects = mmap(NULL, objects_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (objects == MAP_FAILED)
		die("no memory for the table");
}

static void fill(size_t bytes, uint64_t random)
{
	for (size_t size, done = 0; done < bytes; done += size) {
		void *object;

		size = options.low + random_next(&random) % (options.high - options.low + 1);
		object = malloc(size);
		if (!object)
			die("out of memory");
		memset(object, 0x5a, size);
		objects[atomic_fetch_add_explicit(&object_count, 1, memory_order_relaxed)] = object;
	}
}

static void *filler(void *number)
{
	pthread_barrier_wait(&filled);
	fill((options.mib << 20) / options.threads, 88172645463325252 + (uintptr_t)number);
	pthread_barrier_wait(&filled);
	for (;;)
		pause();
	return NULL;
}

/* The threads stand before their first allocation when this returns. */
static void start_threads(void)
{
	pthread_barrier_init(&filled, NULL, (unsigned)options.threads + 1);
	for (size_t i = 0; i < options.threads; i++) {
		pthread_t thread;

		if (pthread_create(&thread, NULL, filler, (void *)(uintptr_t)i))
			die("no thread");
	}
}

static void fill_all(void)
{
	if (!options.threads) {
		fill(options.mib << 20, 88172645463325252);
		return;
	}
	pthread_barrier_wait(&filled);
	pthread_barrier_wait(&filled);
}

static void free_at_random(void)
{
	uint64_t random = 1442695040888963407;
	size_t last = atomic_load(&object_count), kept = last * (100 - options.freed) / 100;

	for (; last > kept; last--) {
		size_t i = random_next(&random) % last;

		free(objects[i]);
		objects[i] = objects[last - 1];
	}
	munmap(objects, objects_bytes);
}

static void sleep_seconds(size_t seconds)
{
	struct timespec t = {.tv_sec = (time_t)seconds};

	while (nanosleep(&t, &t))
		;
}

static void parse(int argc, char **argv)
{
	const struct {
		const char *name;
		size_t *value;
	} known[] = {
		{"--mib", &options.mib},         {"--wait", &options.wait}, {"--freed", &options.freed},
		{"--threads", &options.threads}, {"--low", &options.low},   {"--high", &options.high},
	};
	size_t count = sizeof(known) / sizeof(known[0]);

	for (int i = 1; i < argc; i += 2) {
		size_t k = 0;

		while (k < count && strcmp(argv[i], known[k].name))
			k++;
		if (k == count || i + 1 == argc)
			die("usage: footprint [--mib N] [--wait SECONDS] [--freed PERCENT] [--threads N] [--low N] "
			    "[--high N]");
		*known[k].value = strtoul(argv[i + 1], NULL, 10);
	}
	if (options.freed > 100 || !options.low || options.high < options.low)
		die("senseless sizes or percentage");
}

int main(int argc, char **argv)
{
	parse(argc, argv);
	report_allocator();
	if (options.threads)
		start_threads();
	report("start");
	map_objects();
	fill_all();
	report("peak");
	report_metadata();
	free_at_random();
	report("freed");
	sleep_seconds(options.wait);
	report("end");
	return 0;
}
