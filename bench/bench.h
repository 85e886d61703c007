/* SPDX-License-Identifier: MIT */
/*
 * What the benchmark families share: the description of one benchmark, and small tools that never call malloc.
 *
 * The programs use the standard names only and link no allocator: LD_PRELOAD decides who serves them.
 */
#ifndef BENCH_BENCH_H
#define BENCH_BENCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdnoreturn.h>

enum order { FORWARD, REVERSE, SHUFFLED };

struct sizes;

/* One benchmark. A family reads the parameters that concern it. */
struct bench {
	const char *name; /* the family, a slash, the case */
	uint64_t (*run)(const struct bench *b,
			uint64_t ops); /* does OPS operations; returns the nanoseconds they took */
	size_t low, high;              /* block sizes; only LOW where all are equal */
	const struct sizes *sizes;     /* how sizes are distributed, instead of evenly from LOW to HIGH */
	size_t count;                  /* blocks alive at once (for each thread) */
	unsigned threads;
	enum order order;
	size_t alignment;
	unsigned warm_mib;  /* memory touched and freed beforehand, at least what the benchmark uses */
	unsigned fixed_ops; /* not 0: the measurement is one run of so many operations in a fresh process */
	bool pinned;        /* on one processor: it is of one thread, and short */
};

/* The families; each array ends with an entry without a name. */
extern const struct bench hot_benches[], calloc_benches[], aligned_benches[], batch_benches[], replace_benches[],
	realloc_benches[], larson_benches[], pipe_benches[], chain_benches[], cache_benches[], graph_benches[],
	scale_benches[], storm_benches[], crowd_benches[], fork_benches[], fragment_benches[], phase_benches[],
	after_benches[];

noreturn void die(const char *what);
uint64_t now_ns(void);

/* The file that serves malloc. */
const char *allocator_file(void);

/* Zeroed, touched memory for a benchmark's own tables, and its end. */
void *table_new(size_t bytes);
void table_drop(void *table, size_t bytes);

/* A figure of the run beside its time. A family that tells one tells it in each run. */
void tell(const char *name, double value);

/* A field of /proc/self/status in kB: "VmRSS:", "VmPTE:", "VmSize:". */
size_t status_kb(const char *field);

/*
 * COUNT threads, each of which does WORK with its own element of ARGUMENTS (of SIZE bytes each), begin together;
 * returns the nanoseconds until the last one has ended.
 */
uint64_t threads_run(unsigned count, void (*work)(void *), void *arguments, size_t size);

/* NS for DONE operations, as if they had been OPS. */
static inline uint64_t scaled(uint64_t ns, uint64_t ops, uint64_t done)
{
	return (uint64_t)((double)ns * (double)ops / (double)done);
}

/* Ends the program if P is NULL; else writes the block's first byte, in a way that the compiler cannot leave out. */
static inline void *touch(void *p)
{
	if (__builtin_expect(!p, 0))
		die("out of memory");
	*(volatile char *)p = 1;
	return p;
}

/* The same, and a byte of each page. */
static inline void *touch_pages(void *p, size_t size)
{
	touch(p);
	for (size_t at = 4096; at < size; at += 4096)
		((volatile char *)p)[at] = 1;
	return p;
}

/* xorshift64: cheap beside a malloc, and the same sequence for every allocator. */
#define RANDOM_SEED 88172645463325252

static inline uint64_t random_next(uint64_t *state)
{
	uint64_t x = *state;

	x ^= x << 13;
	x ^= x >> 7;
	x ^= x << 17;
	return *state = x;
}

/* A number from 0 to N - 1, without a division. */
static inline size_t random_below(uint64_t *state, size_t n)
{
	return (size_t)(((random_next(state) >> 32) * n) >> 32);
}

static inline size_t random_between(uint64_t *state, size_t low, size_t high)
{
	return low + random_below(state, high - low + 1);
}

static inline size_t random_size(uint64_t *state, const struct bench *b)
{
	return random_between(state, b->low, b->high);
}

#endif
