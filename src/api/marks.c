/* SPDX-License-Identifier: MIT */
#include "config.h"

#include "api/marks.h"

#include <string.h>

#include "api/alloc.h"
#include "os/asan.h"

#ifdef HAVE_VALGRIND_MEMCHECK_H

#include <valgrind/memcheck.h>

#else

#define VALGRIND_DISABLE_ERROR_REPORTING                       ((void)0)
#define VALGRIND_ENABLE_ERROR_REPORTING                        ((void)0)
#define VALGRIND_MAKE_MEM_UNDEFINED(p, bytes)                  ((void)0)
#define VALGRIND_MAKE_MEM_DEFINED(p, bytes)                    ((void)0)
#define VALGRIND_MAKE_MEM_NOACCESS(p, bytes)                   ((void)0)
#define VALGRIND_MALLOCLIKE_BLOCK(p, size, redzone, is_zeroed) ((void)0)
#define VALGRIND_FREELIKE_BLOCK(p, redzone)                    ((void)0)

#endif

/*
 * Behind each block lie at least eight bytes that nobody may touch and, at its very end, the size that was asked
 * for.
 */
enum { TAIL = 16 };

static size_t *size_word(const void *p, size_t usable)
{
	return (size_t *)((char *)(uintptr_t)p + usable) - 1;
}

/* The leak check takes every defined word that points to a block for the program's. These are ours. */
static void hide(struct slice *s)
{
	struct region *r = s->region;

	VALGRIND_MAKE_MEM_UNDEFINED(&s->last, sizeof s->last);
	VALGRIND_MAKE_MEM_UNDEFINED(&s->anchor, sizeof s->anchor);
	VALGRIND_MAKE_MEM_UNDEFINED(&s->base, sizeof s->base);
	VALGRIND_MAKE_MEM_UNDEFINED(&r->base, sizeof r->base);
	(void)r;
}

/*
 * What lies before P, the block of S: the end of another block, which nobody may touch anyway; but before the first of a slab, and
 * before a large one, maybe free memory.
 */
static void mark_before(const struct slice *s, const char *p)
{
	if (p != s->base)
		return;
	VALGRIND_MAKE_MEM_NOACCESS(p - TAIL, TAIL);
	asan_poison(p - TAIL, TAIL);
}

static size_t whole(const struct slice *s)
{
	return s->kind == SLICE_LARGE ? large_usable(s) : s->block_size;
}

/* AddressSanitizer's leak detector looks for pointers in all heaps. */
static void add_roots(const void *poisoned)
{
	static struct lock lock;
	static int known; /* heaps; the lock */

	if (!asan_runs())
		return;
	lock_take(&lock);
	while (known < HEAPS_MAX && heaps[known] &&
	       asan_add_root(heaps[known]->base, heaps[known]->region_count << REGION_SHIFT, poisoned))
		known++;
	lock_drop(&lock);
}

struct slice *marks_find(const char *call, const void *p, struct slice *(*plain)(const char *, const void *))
{
	struct slice *s;

	VALGRIND_DISABLE_ERROR_REPORTING;
	s = plain(call, p);
	VALGRIND_MAKE_MEM_DEFINED(&s, sizeof s);
	VALGRIND_ENABLE_ERROR_REPORTING;
	return s;
}

void *marks_allocate(size_t size, size_t align, bool zero, void *(*plain)(size_t, size_t, bool))
{
	struct slice *s;
	size_t usable;
	void *p;

	VALGRIND_DISABLE_ERROR_REPORTING;
	p = plain(size + TAIL, align, zero && !asan_runs()); /* the block is poisoned still */
	if (p) {
		s = block_slice("malloc", p);
		VALGRIND_MAKE_MEM_DEFINED(&p, sizeof p);
		usable = whole(s);
		mark_before(s, p);
		hide(s);
		VALGRIND_MAKE_MEM_UNDEFINED(size_word(p, usable), sizeof size);
		*size_word(p, usable) = size;
		VALGRIND_MAKE_MEM_NOACCESS(p, usable);
		VALGRIND_MALLOCLIKE_BLOCK(p, size, 0, zero);
		if (zero)
			VALGRIND_MAKE_MEM_DEFINED(p, size);
		asan_poison(p, usable);
		add_roots(p);
		asan_unpoison(p, size);
		if (zero && asan_runs())
			memset(p, 0, size);
	}
	VALGRIND_ENABLE_ERROR_REPORTING;
	return p;
}

size_t marks_usable(const void *p, size_t usable)
{
	size_t size;

	VALGRIND_DISABLE_ERROR_REPORTING;
	VALGRIND_MAKE_MEM_DEFINED(size_word(p, usable), sizeof size);
	size = *size_word(p, usable);
	VALGRIND_MAKE_MEM_NOACCESS(size_word(p, usable), sizeof size);
	VALGRIND_ENABLE_ERROR_REPORTING;
	return size;
}

void marks_free(void *p, void (*plain)(void *))
{
	struct slice *s;

	if (asan_runs()) {
		s = block_slice("free", p);
		if (!s) /* and abort:false */
			return;
		asan_poison(p, whole(s)); /* before another thread may have it */
	}
	VALGRIND_FREELIKE_BLOCK(p, 0);
	VALGRIND_DISABLE_ERROR_REPORTING;
	plain(p);
	VALGRIND_ENABLE_ERROR_REPORTING;
}
