/* SPDX-License-Identifier: MIT */
#include <stdatomic.h>

#include "cache/classes.h"
#include "check/none.h"
#include "os/os.h"

enum { WORDS = 1024, ADDRESSES = WORDS * 64 };

static char *base;
static _Atomic uint64_t live[WORDS];
static _Atomic unsigned next; /* word at which to look first */

void none_init(void)
{
	void *p;

	if (!os_reserve((size_t)ADDRESSES * MIN_ALIGN, &p))
		base = p;
}

void *none_take(void)
{
	unsigned from = atomic_load_explicit(&next, memory_order_relaxed);

	for (unsigned i = 0; base && i < WORDS; i++) {
		unsigned at = (from + i) % WORDS;
		uint64_t word = atomic_load_explicit(&live[at], memory_order_relaxed);

		while (~word) {
			unsigned bit = (unsigned)__builtin_ctzl(~word);

			if (!atomic_compare_exchange_weak_explicit(&live[at], &word, word | (uint64_t)1 << bit,
								   memory_order_relaxed, memory_order_relaxed))
				continue;
			atomic_store_explicit(&next, at + 1, memory_order_relaxed); /* freed ones are not the next */
			return base + ((size_t)at * 64 + bit) * MIN_ALIGN;
		}
	}
	return NULL;
}

static size_t offset_of(const void *p)
{
	return (uintptr_t)p - (uintptr_t)base;
}

bool none_has(const void *p)
{
	return base && offset_of(p) < (size_t)ADDRESSES * MIN_ALIGN;
}

static uint64_t bit_of(const void *p, _Atomic uint64_t **word)
{
	size_t i = offset_of(p) / MIN_ALIGN;

	*word = &live[i / 64];
	return offset_of(p) % MIN_ALIGN ? 0 : (uint64_t)1 << i % 64;
}

bool none_is_live(const void *p)
{
	_Atomic uint64_t *word;
	uint64_t bit = bit_of(p, &word);

	return atomic_load_explicit(word, memory_order_relaxed) & bit;
}

bool none_free(void *p)
{
	_Atomic uint64_t *word;
	uint64_t bit = bit_of(p, &word);

	return atomic_fetch_and_explicit(word, ~bit, memory_order_relaxed) & bit;
}
