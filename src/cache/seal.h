/* SPDX-License-Identifier: MIT */
/*
 * With check:strict every carved block of a slab ends with a seal, from the moment in which it is carved:
 *
 *   | what was asked for | pad: some bytes of seal_byte, then zeroes | seal, 8 bytes |
 *
 * A free block is zero but for its seal, and for the two words of a list it is in. The seal says what the block is, in
 * SEAL_BITS bits that are multiplied by a secret odd number and mixed with the address: a word that was written over in any
 * byte says nothing any more. The first block of a slab is never handed out; its end holds seal_byte, so that something is
 * found there after an underflow of the second.
 *
 * Whoever owns the block writes its seal, in one store. Others may read it at any time: who finds that it says nothing, or
 * that what goes with it is not there, looks again. Where the kernel has dropped the page with the seal, of a free block that
 * is, it is zero: that says that the block is free.
 */
#ifndef PMD_CACHE_SEAL_H
#define PMD_CACHE_SEAL_H

#include "cache/slab.h"

enum {
	SEAL_SIZE_BITS = 17, /* SLAB_MAX fits */
	SEAL_ORIGIN_AT = SEAL_SIZE_BITS,
	SEAL_STATE_AT = SEAL_ORIGIN_AT + 2,
	SEAL_ALIGN_AT = SEAL_STATE_AT + 2,
	SEAL_BITS = SEAL_ALIGN_AT + 6, /* the alignment's logarithm */
	SEAL_BYTES = sizeof(uint64_t),
	SEAL_LEAST = 32, /* the smallest block: two words of a list, which are no part of the seal */
	PAD_MOST = 64,   /* bytes behind a block that hold seal_byte */
};

_Static_assert(SLAB_MAX < 1 << SEAL_SIZE_BITS, "a seal holds the size of every block of a slab");

/* Who asked for a block, and so must release it: malloc's family, operator new, operator new[]. */
enum origin { ORIGIN_MALLOC, ORIGIN_NEW, ORIGIN_NEW_ARRAY, ORIGIN_UNKNOWN };

enum seal_state {
	SEAL_FRESH, /* not handed out since it was carved */
	SEAL_FREE,  /* on the way to a free list, or there */
	SEAL_HELD,  /* freed, and in a quarantine */
	SEAL_LIVE,
	SEAL_BROKEN,
};

struct seal {
	enum seal_state state;
	enum origin origin;
	size_t size; /* what was asked for; so is the alignment, of which less than MIN_ALIGN is that */
	size_t align;
};

/* Blocks have seals. Set before the first slab is carved, if at all; so are the secrets. */
extern HIDDEN bool seal_used;
extern HIDDEN unsigned char seal_byte;
extern HIDDEN uint64_t seal_factor, seal_inverse;

void seal_init(void);

static inline uint64_t *seal_word(const struct slice *s, const void *p)
{
	return (uint64_t *)((char *)(uintptr_t)p + s->block_size - SEAL_BYTES);
}

static inline uint64_t seal_mix(const uint64_t *word)
{
	return (uintptr_t)word << SEAL_BITS;
}

/* The logarithm of an alignment, a power of two. */
static inline unsigned seal_log(size_t align)
{
	return (unsigned)__builtin_ctzl(max_size(align, MIN_ALIGN));
}

static inline void seal_write(uint64_t *word, struct seal seal)
{
	uint64_t says = seal.size | (uint64_t)seal.origin << SEAL_ORIGIN_AT | (uint64_t)seal.state << SEAL_STATE_AT |
			(uint64_t)seal_log(seal.align) << SEAL_ALIGN_AT;

	__atomic_store_n(word, (says * seal_factor) ^ seal_mix(word), __ATOMIC_RELEASE);
}

static inline struct seal seal_read(const uint64_t *word)
{
	uint64_t there = __atomic_load_n(word, __ATOMIC_ACQUIRE), says = (there ^ seal_mix(word)) * seal_inverse;

	if (UNLIKELY(says >> SEAL_BITS))
		return (struct seal){.state = there ? SEAL_BROKEN : SEAL_FREE};
	return (struct seal){(enum seal_state)(says >> SEAL_STATE_AT & 3), (enum origin)(says >> SEAL_ORIGIN_AT & 3),
			     says & ((1u << SEAL_SIZE_BITS) - 1), (size_t)1 << (says >> SEAL_ALIGN_AT)};
}

/* The bytes of the pad behind a block of SIZE bytes, ROOM to its seal, that hold seal_byte. */
static inline size_t seal_pad(size_t room, size_t size)
{
	return min_size(room - size, PAD_MOST);
}

/* Whether all BYTES at P hold VALUE. */
bool seal_all(const void *p, unsigned char value, size_t bytes);

/* The free list of S holds what was just carved, and nothing else: seals it, and takes the first block of the slab off it. */
COLD void seal_list(struct slice *s);

/* Whether the end of P, a carved block of S, is as it was left: who wrote below the block that follows changed it. */
bool seal_end_intact(const struct slice *s, const void *p);

#endif
