/* SPDX-License-Identifier: MIT */
/*
 * Text built in a fixed buffer, for messages and statistics: never allocates, never overruns, cuts what does not
 * fit.
 */
#ifndef PMD_BASE_TEXT_H
#define PMD_BASE_TEXT_H

#include "base/base.h"

struct text {
	char *buf;
	size_t len, room; /* len < room always: a terminating zero fits */
};

void text_init(struct text *t, char *buf, size_t room);
void text_put(struct text *t, const char *s);
void text_put_n(struct text *t, const char *s, size_t n);
void text_put_number(struct text *t, int64_t n);

/* N bytes in the largest binary unit that leaves no rest: 512M, 1536K, 100. */
void text_put_bytes(struct text *t, int64_t n);
void text_put_hex(struct text *t, uintptr_t n);

bool text_equal(const char *a, size_t a_len, const char *b);
size_t text_length(const char *s);
bool text_starts_with(const char *s, const char *start);

/* What follows KEY at the start of a line of TEXT; NULL when there is no such line. */
const char *text_value(const char *text, const char *key);

/* Reads a decimal number that fills S[0..LEN) whole. False when it is none or does not fit. */
bool text_parse_number(const char *s, size_t len, int64_t *out);

/*
 * Reads a number of bytes, not negative, with an optional binary suffix: K, M, G or T, also as KB or KiB, in any case.
 */
bool text_parse_bytes(const char *s, size_t len, int64_t *out);

#endif
