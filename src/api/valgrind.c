/* SPDX-License-Identifier: MIT */
#include "config.h"

#include "api/valgrind.h"

#ifdef HAVE_VALGRIND_MEMCHECK_H

#include <string.h>

#include "api/alloc.h"
#include <valgrind/memcheck.h>

/* Behind each block lie at least eight bytes that nobody may touch and, at its very end, the size that was asked for. */
enum { TAIL = 16 };

static size_t *size_word(const void *p, size_t usable)
{
	return (size_t *)((char *)(uintptr_t)p + usable) - 1;
}

static size_t raw_usable(const void *p)
{
	struct slice *s = block_slice("free", p);

	return s->kind == SLICE_LARGE ? large_usable(s) : s->block_size;
}

void *valgrind_allocate(size_t size, size_t align, bool zero, void *(*plain)(size_t, size_t, bool))
{
	size_t usable;
	void *p;

	VALGRIND_DISABLE_ERROR_REPORTING;
	p = plain(size + TAIL, align, zero);
	if (p) {
		usable = raw_usable(p);
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
