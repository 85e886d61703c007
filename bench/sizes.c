/* SPDX-License-Identifier: MIT */
#include "sizes.h"

/* Keys and values, as many of each. */
const struct sizes sizes_keyvalue = {
	.step = {{350, 17, 36},
		 {150, 37, 64},
		 {36, 1, 16},
		 {32, 17, 32},
		 {56, 33, 64},
		 {86, 65, 128},
		 {106, 129, 256},
		 {96, 257, 512},
		 {58, 513, 1024},
		 {23, 1025, 2048},
		 {6, 2049, 4096},
		 {1, 4097, 16384}},
};

const struct sizes sizes_fleet = {
	.step = {{40000, 16, 32},
		 {25000, 33, 64},
		 {15000, 65, 128},
		 {9000, 129, 256},
		 {6000, 257, 512},
		 {3000, 513, 1024},
		 {1700, 1025, 8192},
		 {144, 8193, 128 << 10},
		 {12, 256 << 10, 1 << 20}},
};

const struct sizes sizes_gcc = {
	.step = {{166, 1, 16},
		 {199, 17, 32},
		 {118, 33, 48},
		 {76, 49, 64},
		 {109, 65, 96},
		 {62, 97, 128},
		 {45, 129, 192},
		 {73, 193, 256},
		 {41, 257, 384},
		 {22, 385, 512},
		 {31, 513, 1024},
		 {17, 1025, 2048},
		 {23, 2049, 4096},
		 {13, 4097, 16384},
		 {3, 16385, 131072}},
};

const struct sizes sizes_python = {
	.step = {{120, 1, 16},
		 {75, 17, 32},
		 {362, 33, 48},
		 {19, 49, 64},
		 {166, 65, 96},
		 {3, 97, 128},
		 {127, 129, 192},
		 {5, 193, 384},
		 {2, 385, 1024},
		 {120, 1025, 2048}},
};

const struct sizes sizes_redis = {
	.step = {{158, 1, 16},
		 {549, 17, 32},
		 {159, 33, 48},
		 {7, 49, 64},
		 {3, 65, 128},
		 {110, 193, 256},
		 {3, 257, 1024},
		 {3, 1025, 2048},
		 {3, 2049, 4096},
		 {3, 4097, 16384}},
};

static unsigned sum_of(const struct sizes *sizes)
{
	unsigned sum = 0;

	for (size_t i = 0; sizes->step[i].share; i++)
		sum += sizes->step[i].share;
	return sum;
}

static uint32_t draw(const struct sizes *sizes, unsigned sum, uint64_t *random)
{
	size_t left = random_below(random, sum), i = 0;

	while (left >= sizes->step[i].share)
		left -= sizes->step[i++].share;
	return (uint32_t)random_between(random, sizes->step[i].low, sizes->step[i].high);
}

uint32_t *sizes_draw(const struct sizes *sizes)
{
	uint32_t *drawn = table_new(SIZES_DRAWN * sizeof(*drawn));
	unsigned sum = sum_of(sizes);
	uint64_t random = RANDOM_SEED;

	for (size_t i = 0; i < SIZES_DRAWN; i++)
		drawn[i] = draw(sizes, sum, &random);
	return drawn;
}
