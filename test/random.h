/* SPDX-License-Identifier: MIT */
/* Random numbers that are the same in every run (splitmix64), and the sizes that tests draw with them. */
#ifndef PMDALLOC_TEST_RANDOM_H
#define PMDALLOC_TEST_RANDOM_H

#include <stddef.h>
#include <stdint.h>

struct rng {
	uint64_t state;
};

static inline uint64_t rng_next(struct rng *rng)
{
	uint64_t z = (rng->state += 0x9e3779b97f4a7c15);
	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
	z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
	return z ^ (z >> 31);
}

/* 0 to LIMIT - 1. */
static inline size_t rng_below(struct rng *rng, size_t limit)
{
	return (size_t)(rng_next(rng) % limit);
}

/* LOW to HIGH, both possible. */
static inline size_t rng_between(struct rng *rng, size_t low, size_t high)
{
	return low + rng_below(rng, high - low + 1);
}

/* 0 to 2^BITS - 1, every doubling as likely as the next. */
static inline size_t rng_log_size(struct rng *rng, unsigned bits)
{
	size_t top = (size_t)1 << rng_below(rng, bits + 1);
	return rng_below(rng, top);
}

static inline void rng_shuffle(struct rng *rng, void **items, size_t count)
{
	for (size_t i = count; i > 1; i--) {
		size_t j = rng_below(rng, i);
		void *item = items[i - 1];
		items[i - 1] = items[j];
		items[j] = item;
	}
}

#endif
