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

/* One benchmark. A family reads the parameters that concern it. */
struct bench {
	const char *name;
	uint64_t (*run)(const struct bench *b,
			uint64_t ops); /* does OPS operations; returns the nanoseconds they took */
	size_t low, high;              /* block sizes; only LOW where all are equal */
	size_t count;                  /* blocks alive at once (for each thread) */
	unsigned threads;
	enum order order;
	size_t alignment;
	unsigned warm_mib; /* memory touched and freed beforehand, at least what the benchmark uses */
	bool once;         /* the first run in a fresh process is the measurement */
};

/* The families; each array ends with an entry without a name. */
extern const struct bench hot_benches[], batch_benches[], replace_benches[], pipe_benches[], larson_benches[],
	grow_benches[];

noreturn void die(const char *what);
uint64_t now_ns(void);

/* The file that serves malloc. */
const char *allocator_file(void);

/* Zeroed, touched memory for a benchmark's own tables, and its end. */
void *table_new(size_t bytes);
void table_drop(void *table, size_t bytes);

/* Ends the program if P is NULL; else writes the block's first byte, in a way that the compiler cannot leave out. */
static inline void *touch(void *p)
{
	if (__builtin_expect(!p, 0))
		die("out of memory");
	*(volatile char *)p = 1;
	return p;
}

/* xorshift64: cheap beside a malloc, and the same sequence for every allocator. */
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

static inline size_t random_size(uint64_t *state, const struct bench *b)
{
	return b->low + random_below(state, b->high - b->low + 1);
}

#endif
