/* SPDX-License-Identifier: MIT */
#include "config.h"

#include "api/valgrind.h"

#ifdef HAVE_VALGRIND_MEMCHECK_H

#include <string.h>

#include "api/alloc.h"
#include <valgrind/memcheck.h>

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
}

struct slice *valgrind_find(const char *call, const void *p, struct slice *(*plain)(const char *, const void *))
{
	struct slice *s;

	VALGRIND_DISABLE_ERROR_REPORTING;
	s = plain(call, p);
	VALGRIND_MAKE_MEM_DEFINED(&s, sizeof s);
	VALGRIND_ENABLE_ERROR_REPORTING;
	return s;
}

void *valgrind_allocate(size_t size, size_t align, bool zero, void *(*plain)(size_t, size_t, bool))
{
	size_t usable;
	void *p;

	VALGRIND_DISABLE_ERROR_REPORTING;
	p = plain(size + TAIL, align, zero);
	if (p) {
		struct slice *s = block_slice("malloc", p);

		VALGRIND_MAKE_MEM_DEFINED(&p, sizeof p);
		usable = s->kind == SLICE_LARGE ? large_usable(s) : s->block_size;
		hide(s);
		VALGRIND_MAKE_MEM_UNDEFINED(size_word(p, usable), sizeof size);
		*size_word(p, usable) = size;
		VALGRIND_MAKE_MEM_NOACCESS(p, usable);
		VALGRIND_MALLOCLIKE_BLOCK(p, size, 0, zero);
		if (zero)
			VALGRIND_MAKE_MEM_DEFINED(p, size);
	}
	VALGRIND_ENABLE_ERROR_REPORTING;
	return p;
}

size_t valgrind_usable(const void *p, size_t usable)
{
	size_t size;

	VALGRIND_DISABLE_ERROR_REPORTING;
	VALGRIND_MAKE_MEM_DEFINED(size_word(p, usable), sizeof size);
	size = *size_word(p, usable);
	VALGRIND_MAKE_MEM_NOACCESS(size_word(p, usable), sizeof size);
	VALGRIND_ENABLE_ERROR_REPORTING;
	return size;
}

void valgrind_free(void *p, void (*plain)(void *))
{
	VALGRIND_FREELIKE_BLOCK(p, 0);
	VALGRIND_DISABLE_ERROR_REPORTING;
	plain(p);
	VALGRIND_ENABLE_ERROR_REPORTING;
}

#else

void *valgrind_allocate(size_t size, size_t align, bool zero, void *(*plain)(size_t, size_t, bool))
{
	return plain(size, align, zero);
}

struct slice *valgrind_find(const char *call, const void *p, struct slice *(*plain)(const char *, const void *))
{
	return plain(call, p);
}

size_t valgrind_usable(const void *p, size_t usable)
{
	(void)p;
	return usable;
}

void valgrind_free(void *p, void (*plain)(void *))
{
	plain(p);
}

#endif
