/* SPDX-License-Identifier: MIT */
/* The slow side of the entry points: every size and alignment, every check, and what Valgrind must be told. */
#include <string.h>

#include "api/alloc.h"
#include "api/marks.h"
#include "cache/scavenger.h"
#include "check/check.h"

enum { ALIGN_MAX_LOG = 40 }; /* above the largest possible request there is no need to look */

static void *allocate_plain(size_t size, size_t align, bool zero)
{
	size_t rounded = align_up(size ? size : 1, align);

	if (rounded <= SLAB_MAX)
		return cache_refill(class_of(rounded), zero);
	return large_alloc(size, align, zero);
}

/* The thread's first request, or one of a mode that looks at each, or the turn of a sample. */
static COLD void *allocate_special(size_t size, size_t align, bool zero, enum origin origin)
{
	void *p;

	if (!cache_slow_self && !cache_init())
		return NULL;
	if (cache_strict)
		return strict_allocate(size, align, zero, origin);
	if (cache_instrumented)
		return marks_allocate(size, align, zero, allocate_plain);
	p = guard_is_due(size, align) ? guard_take(size, align) : NULL;
	return p ? p : allocate_plain(size, align, zero);
}

void *allocate(size_t size, size_t align, bool zero, enum origin origin)
{
	void *p;

	if (align >= (size_t)1 << ALIGN_MAX_LOG || size > PTRDIFF_MAX - align - SLICE_BYTES)
		return out_of_memory();
	p = LIKELY(cache_slow_self && --cache_slow_self->until_special > 0)
		    ? allocate_plain(size, align, zero)
		    : allocate_special(size, align, zero, origin);
	return p ? p : out_of_memory();
}

static struct slice *find_slice(const char *call, const void *p)
{
	struct slice *s = heap_slice_anywhere(p);

	if (s && s->kind == SLICE_INNER)
		s = s->head;
	if (LIKELY(s && (s->kind == SLICE_SLAB ? slab_block_valid(s, p) : s->kind == SLICE_LARGE && s->base == p)))
		return s;
	misuse(call, p);
	return NULL;
}

struct slice *block_slice(const char *call, const void *p)
{
	return cache_instrumented ? marks_find(call, p, find_slice) : find_slice(call, p);
}

size_t block_usable(const char *call, struct slice *s, const void *p)
{
	size_t usable;

	if (cache_strict)
		return strict_size(call, s, p);
	usable = s->kind == SLICE_LARGE ? large_usable(s) : s->block_size;
	return cache_instrumented ? marks_usable(p, usable) : usable;
}

static void free_plain(void *p)
{
	struct slice *s = block_slice("free", p);

	if (UNLIKELY(!s))
		return;
	if (s->kind == SLICE_LARGE)
		large_free(s);
	else
		cache_free_slow(s, p);
}

static void free_special(void *p, struct told told)
{
	struct slice *s;

	if (!cache_strict)
		marks_free(p, free_plain);
	else if ((s = find_slice("free", p)))
		strict_free(s, p, told);
}

void free_checked(void *p, struct told told)
{
	if (free_valid(p) || !p)
		return;
	if (UNLIKELY(check_has(p)))
		check_free(p);
	else if (UNLIKELY(cache_special))
		free_special(p, told);
	else
		free_plain(p);
}
