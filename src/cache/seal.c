/* SPDX-License-Identifier: MIT */
#include <string.h>

#include "cache/seal.h"
#include "os/os.h"

bool seal_used;
unsigned char seal_byte;
uint64_t seal_factor, seal_inverse;

void seal_init(void)
{
	uint64_t secret = os_random();

	seal_byte = (unsigned char)(secret >> 56 | 1);
	seal_factor = seal_inverse = secret | 1;
	for (int i = 0; i < 6;
	     i++) /* Newton's method: each step doubles the bits that are right, three to begin with */
		seal_inverse *= 2 - seal_factor * seal_inverse;
	seal_used = true;
}

bool seal_all(const void *p, unsigned char value, size_t bytes)
{
	const unsigned char *at = p, *end = at + bytes;
	uint64_t same = value * (uint64_t)0x0101010101010101, words[4], differ;

	for (; end - at >= (ptrdiff_t)sizeof words; at += sizeof words) {
		memcpy(words, at, sizeof words);
		differ = (words[0] ^ same) | (words[1] ^ same) | (words[2] ^ same) | (words[3] ^ same);
		if (UNLIKELY(differ))
			return false;
	}
	for (; at < end; at++)
		if (UNLIKELY(*at != value))
			return false;
	return true;
}

static size_t end_of_first(const struct slice *s)
{
	return min_size(s->block_size, PAD_MOST);
}

COLD void seal_list(struct slice *s)
{
	struct block *b = s->free;

	if ((char *)b == s->base) {
		s->free = b->next;
		memset((char *)b + s->block_size - end_of_first(s), seal_byte, end_of_first(s));
	}
	for (b = s->free; b; b = b->next) {
		memset(b + 1, 0, s->block_size - sizeof *b);
		seal_write(seal_word(s, b), (struct seal){.state = SEAL_FRESH});
	}
}

bool seal_end_intact(const struct slice *s, const void *p)
{
	if (p == s->base)
		return seal_all((const char *)p + s->block_size - end_of_first(s), seal_byte, end_of_first(s));
	return seal_read(seal_word(s, p)).state != SEAL_BROKEN;
}
