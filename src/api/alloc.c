/* SPDX-License-Identifier: MIT */
/* The slow side of the entry points: every size and alignment, every check, and what Valgrind must be told. */
#include <string.h>

#include "api/alloc.h"
#include "api/valgrind.h"
#include "cache/scavenger.h"

enum { ALIGN_MAX_LOG = 40 }; /* above the largest possible request there is no need to look */

static void *allocate_plain(size_t size, size_t align, bool zero)
{
	size_t rounded = align_up(size ? size : 1, align);

	if (rounded <= SLAB_MAX)
		return cache_refill(class_of(rounded), zero);
	return large_alloc(size, align, zero);
}

void *allocate(size_t size, size_t align, bool zero)
{
	void *p;

	if (too_large(size) || align >= (size_t)1 << ALIGN_MAX_LOG || size > PTRDIFF_MAX - align - SLICE_BYTES)
		return out_of_memory();
	p = cache_instrumented ? valgrind_allocate(size, align, zero, allocate_plain)
			       : allocate_plain(size, align, zero);
	return p ? p : out_of_memory();
}

static struct slice *find_slice(const char *call, const void *p)
{
	struct slice *s = heap_slice_anywhere(p);

	if (UNLIKELY(!s))
		misuse(call, p);
	if (s->kind == SLICE_INNER)
		s = s->head;
	if (UNLIKELY(s->kind == SLICE_SLAB ? !slab_block_valid(s, p) : s->kind != SLICE_LARGE || s->base != p))
		misuse(call, p);
	return s;
}

struct slice *block_slice(const char *call, const void *p)
{
	return cache_instrumented ? valgrind_find(call, p, find_slice) : find_slice(call, p);
}

static void free_plain(void *p)
{
	struct slice *s = block_slice("free", p);

	if (s->kind == SLICE_LARGE)
		large_free(s);
	else
		cache_free_slow(s, p);
}

void free_checked(void *p)
{
	if (!p)
		return;
	if (cache_instrumented)
		valgrind_free(p, free_plain);
	else
		free_plain(p);
}

size_t block_usable(const struct slice *s, const void *p)
{
	size_t usable = s->kind == SLICE_LARGE ? large_usable(s) : s->block_size;

	return cache_instrumented ? valgrind_usable(p, usable) : usable;
}
