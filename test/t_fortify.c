/* SPDX-License-Identifier: MIT */
/*
 * malloc_usable_size is honest under _FORTIFY_SOURCE=3, which checks writes against the size that was asked for as far
 * as the compiler can see: a program that asks and then writes all of it is not stopped. Built with the standard names,
 * so that the compiler knows what malloc is.
 */
#undef _FORTIFY_SOURCE
#ifdef __OPTIMIZE__ /* without it the C library only warns */
#define _FORTIFY_SOURCE 3
#endif

#include "check.h"

#include <malloc.h>
#include <pmdalloc/pmdalloc.h>

#ifdef PMD_PREFIXED
#define malloc(size)          pmd_malloc(size)
#define realloc(p, size)      pmd_realloc(p, size)
#define malloc_usable_size(p) pmd_malloc_usable_size(p)
#define free(p)               pmd_free(p)
#endif

/* Careful programs realloc to the usable size before they use it, which tells the compiler: that stays in place. */
static void fill_after_realloc(size_t size)
{
	char *p = malloc(size);
	CHECK(p);
	size_t usable = malloc_usable_size(p);
	uintptr_t address = (uintptr_t)p;
	char *q = realloc(p, usable);
	CHECK(q && (uintptr_t)q == address && malloc_usable_size(q) == usable);
	memset(q, 1, usable);
	free(q);
}

/* Others write at once, through a pointer whose origin the compiler cannot see. */
static void fill_at_once(size_t size)
{
	char *p = malloc(size);
	CHECK(p);
	size_t usable = malloc_usable_size(p);
	__asm__ volatile("" : "+r"(p));
	memset(p, 1, usable);
	for (size_t i = 0; i < usable; i++)
		CHECK(p[i] == 1);
	free(p);
}

int main(void)
{
#ifndef _FORTIFY_SOURCE
	SKIP("_FORTIFY_SOURCE does nothing without optimization");
#endif
	for (size_t size = 1; size <= 8 * MIB; size += size / 3 + 1) {
		fill_after_realloc(size);
		fill_at_once(size);
	}
	return 0;
}
