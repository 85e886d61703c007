/* SPDX-License-Identifier: MIT */
/*
 * How long munmap and madvise take, as histograms in powers of two as bpftrace prints them, with and without page-table
 * reclaim: whole regions let the kernel free their page tables, halves of them never do. Links no allocator.
 * Usage: zap [ROUNDS]
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#define PAGE    ((size_t)4096)
#define REGION  ((size_t)2 << 20)
#define REGIONS ((size_t)64)
#define PAGES   (REGIONS * REGION / PAGE)

enum { FIRST = 8, BUCKETS = 24, ROUNDS = 16, MANY = 1 << 20 };

/* What is timed, in the order of the columns. */
enum what {
	UNMAP_PAGE,  /* munmap of one touched page, in random order: what stress-ng --mmap does most */
	UNMAP_WHOLE, /* munmap of a touched region */
	ZAP_WHOLE,   /* MADV_DONTNEED of a touched region: the page table can go */
	ZAP_HALF,    /* of a half of one: it cannot */
	ZAP_EMPTY,   /* of a region from which the pages went by halves */
	TOUCH_NEW,   /* first touch of a region that has no page table */
	TOUCH_OLD,   /* that has kept it */
	WHATS,
};

static const char *const names[WHATS] = {"munmap 4K", "munmap 2M", "zap 2M",   "zap 1M",
					 "zap empty", "touch new", "touch old"};

struct series {
	uint32_t *ns;
	size_t n;
};

static struct series series[WHATS];

static uint64_t now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static void note(enum what w, uint64_t start)
{
	uint64_t ns = now() - start;

	if (series[w].n < MANY)
		series[w].ns[series[w].n++] = ns > UINT32_MAX ? UINT32_MAX : (uint32_t)ns;
}

static void fail(const char *what)
{
	perror(what);
	exit(1);
}

static char *map_regions(char **base)
{
	*base = mmap(NULL, (REGIONS + 1) * REGION, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (*base == MAP_FAILED)
		fail("mmap");
	madvise(*base, (REGIONS + 1) * REGION, MADV_NOHUGEPAGE);
	return *base + (-(uintptr_t)*base & (REGION - 1));
}

static void touch(char *p, size_t bytes)
{
	for (size_t at = 0; at < bytes; at += PAGE)
		*(volatile char *)(p + at) = 1;
}

static void advise(enum what w, char *p, size_t bytes)
{
	uint64_t start = now();

	if (madvise(p, bytes, MADV_DONTNEED))
		fail("madvise");
	note(w, start);
}

static void unmap(enum what w, char *p, size_t bytes)
{
	uint64_t start = now();

	if (munmap(p, bytes))
		fail("munmap");
	note(w, start);
}

static void touch_first(enum what w, char *p)
{
	uint64_t start = now();

	*(volatile char *)p = 1;
	note(w, start);
}

static void advise_round(void)
{
	char *base, *p = map_regions(&base);

	for (size_t i = 0; i < REGIONS; i++) {
		char *region = p + i * REGION;

		touch(region, REGION);
		advise(ZAP_WHOLE, region, REGION);
		touch_first(TOUCH_NEW, region);
		touch(region, REGION);
		advise(ZAP_HALF, region, REGION / 2);
		advise(ZAP_HALF, region + REGION / 2, REGION / 2);
		touch_first(TOUCH_OLD, region);
		madvise(region, REGION / 2, MADV_DONTNEED);
		advise(ZAP_EMPTY, region, REGION);
		touch(region, REGION);
		unmap(UNMAP_WHOLE, region, REGION);
	}
	munmap(base, (REGIONS + 1) * REGION);
}

/* A permutation by a generator that is the same in each run. */
static void unmap_round(void)
{
	static uint32_t order[PAGES];
	char *base, *p = map_regions(&base);
	uint32_t state = 1;

	for (uint32_t i = 0; i < PAGES; i++) {
		uint32_t at;

		state = state * 1664525 + 1013904223;
		at = (state >> 8) % (i + 1);
		order[i] = order[at];
		order[at] = i;
	}
	touch(p, REGIONS * REGION);
	for (uint32_t i = 0; i < PAGES; i++)
		unmap(UNMAP_PAGE, p + order[i] * PAGE, PAGE);
	munmap(base, (REGIONS + 1) * REGION);
}

static int by_size(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return (x > y) - (x < y);
}

static size_t bucket_of(uint32_t ns)
{
	size_t b = ns ? 31 - (size_t)__builtin_clz(ns) : 0;

	return b < FIRST ? FIRST : b > BUCKETS ? BUCKETS : b;
}

static void print_bound(size_t bucket)
{
	unsigned long bound = 1ul << bucket;

	if (bound >= 1 << 20)
		printf("%luM", bound >> 20);
	else if (bound >= 1 << 10)
		printf("%luK", bound >> 10);
	else
		printf("%lu", bound);
}

static void print_histograms(void)
{
	static size_t counts[WHATS][BUCKETS + 1];

	for (size_t w = 0; w < WHATS; w++)
		for (size_t i = 0; i < series[w].n; i++)
			counts[w][bucket_of(series[w].ns[i])]++;
	for (size_t b = FIRST; b <= BUCKETS; b++) {
		printf("[");
		print_bound(b);
		printf(",\t");
		for (size_t w = 0; w < WHATS; w++)
			printf(" %9zu", counts[w][b]);
		printf("\n");
	}
}

static void print_share(const char *name, size_t numerator, size_t denominator)
{
	printf("%s\t", name);
	for (size_t w = 0; w < WHATS; w++)
		printf(" %9u", series[w].n ? series[w].ns[(series[w].n - 1) * numerator / denominator] : 0);
	printf("\n");
}

int main(int argc, char **argv)
{
	int rounds = argc > 1 ? atoi(argv[1]) : ROUNDS;

	if (argc > 2 || rounds < 1) {
		fprintf(stderr, "usage: zap [ROUNDS]\n");
		return 2;
	}
	for (size_t w = 0; w < WHATS; w++) {
		series[w].ns = malloc(MANY * sizeof series[w].ns[0]);
		if (!series[w].ns)
			fail("malloc");
		memset(series[w].ns, 0, MANY * sizeof series[w].ns[0]);
	}
	for (int i = 0; i < rounds; i++) {
		advise_round();
		unmap_round();
	}
	printf("ns\t");
	for (size_t w = 0; w < WHATS; w++) {
		printf(" %9s", names[w]);
		qsort(series[w].ns, series[w].n, sizeof series[w].ns[0], by_size);
	}
	printf("\n");
	print_histograms();
	print_share("median", 1, 2);
	print_share("99 %", 99, 100);
	print_share("most", 1, 1);
	return 0;
}
