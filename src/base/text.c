/* SPDX-License-Identifier: MIT */
#include "base/text.h"

void text_init(struct text *t, char *buf, size_t room)
{
	t->buf = buf;
	t->len = 0;
	t->room = room;
	buf[0] = 0;
}

void text_put_n(struct text *t, const char *s, size_t n)
{
	for (size_t i = 0; i < n && t->len + 1 < t->room; i++)
		t->buf[t->len++] = s[i];
	t->buf[t->len] = 0;
}

size_t text_length(const char *s)
{
	size_t n = 0;
	while (s[n])
		n++;
	return n;
}

bool text_starts_with(const char *s, const char *start)
{
	while (*start && *s == *start)
		s++, start++;
	return !*start;
}

const char *text_value(const char *text, const char *key)
{
	while (*text) {
		if (text_starts_with(text, key))
			return text + text_length(key);
		while (*text && *text++ != '\n')
			;
	}
	return NULL;
}

void text_put(struct text *t, const char *s)
{
	text_put_n(t, s, text_length(s));
}

void text_put_number(struct text *t, int64_t n)
{
	char digits[24];
	size_t at = sizeof digits;
	uint64_t u = n < 0 ? -(uint64_t)n : (uint64_t)n;

	do
		digits[--at] = (char)('0' + u % 10);
	while (u /= 10);
	if (n < 0)
		digits[--at] = '-';
	text_put_n(t, digits + at, sizeof digits - at);
}

static const char units[] = "KMGT";

void text_put_bytes(struct text *t, int64_t n)
{
	size_t unit = 0;

	while (n && !(n & 1023) && unit + 1 < sizeof units) {
		n >>= 10;
		unit++;
	}
	text_put_number(t, n);
	if (unit)
		text_put_n(t, &units[unit - 1], 1);
}

void text_put_hex(struct text *t, uintptr_t n)
{
	char digits[2 * sizeof n];
	size_t at = sizeof digits;

	do
		digits[--at] = "0123456789abcdef"[n & 15];
	while (n >>= 4);
	text_put(t, "0x");
	text_put_n(t, digits + at, sizeof digits - at);
}

bool text_equal(const char *a, size_t a_len, const char *b)
{
	for (size_t i = 0; i < a_len; i++)
		if (!b[i] || a[i] != b[i])
			return false;
	return !b[a_len];
}

bool text_parse_number(const char *s, size_t len, int64_t *out)
{
	bool negative = len && s[0] == '-';
	int64_t n = 0;

	if (len == (size_t)negative)
		return false;
	for (size_t i = negative; i < len; i++) {
		if (s[i] < '0' || s[i] > '9' || __builtin_mul_overflow(n, 10, &n) ||
		    __builtin_add_overflow(n, s[i] - '0', &n))
			return false;
	}
	*out = negative ? -n : n;
	return true;
}

static char upper(char c)
{
	return c >= 'a' && c <= 'z' ? (char)(c - 'a' + 'A') : c;
}

/* The shift of the unit that S ends with, 0 if there is none; cuts it off. */
static unsigned cut_unit(const char *s, size_t *len)
{
	size_t n = *len;

	if (n && upper(s[n - 1]) == 'B') {
		n--;
		if (n && upper(s[n - 1]) == 'I')
			n--;
	}
	for (unsigned i = 0; n && i + 1 < sizeof units; i++)
		if (upper(s[n - 1]) == units[i]) {
			*len = n - 1;
			return 10 * (i + 1);
		}
	return 0;
}

bool text_parse_bytes(const char *s, size_t len, int64_t *out)
{
	unsigned shift = cut_unit(s, &len);

	return text_parse_number(s, len, out) && *out >= 0 && !__builtin_mul_overflow(*out, (int64_t)1 << shift, out);
}
