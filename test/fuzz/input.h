/* SPDX-License-Identifier: MIT */
/* What a fuzzer gives, taken piece by piece from its beginning; past its end everything is 0. */
#ifndef PMDALLOC_FUZZ_INPUT_H
#define PMDALLOC_FUZZ_INPUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The entry of each program: libFuzzer's, AFL++'s, and that of main.c. Keeps nothing from one call to the next. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t length);

struct input {
	const uint8_t *at, *end;
};

static inline bool input_left(const struct input *in)
{
	return in->at < in->end;
}

static inline uint8_t input_byte(struct input *in)
{
	return input_left(in) ? *in->at++ : 0;
}

static inline uint64_t input_number(struct input *in, unsigned bytes)
{
	uint64_t number = 0;

	while (bytes--)
		number = number << 8 | input_byte(in);
	return number;
}

#endif
