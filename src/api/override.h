/* SPDX-License-Identifier: MIT */
/*
 * The standard names, as aliases of the prefixed functions: included at the end of api/malloc.c, since an alias must
 * be defined where its target is.
 */

#define ALIAS(type, name, ...)                                               \
	PMD_API type name(__VA_ARGS__) __attribute__((alias("pmd_" #name))); \
	_Static_assert(sizeof(&name) == sizeof(&pmd_##name), "a prefixed function for each")

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wmissing-prototypes"
#ifndef __clang__
#pragma GCC diagnostic ignored "-Wmissing-attributes"
#endif

ALIAS(void *, malloc, size_t size);
ALIAS(void, free, void *p);
ALIAS(void *, calloc, size_t count, size_t size);
ALIAS(void *, realloc, void *p, size_t size);
ALIAS(void *, reallocarray, void *p, size_t count, size_t size);
ALIAS(void, free_sized, void *p, size_t size);
ALIAS(void, free_aligned_sized, void *p, size_t alignment, size_t size);
ALIAS(void *, aligned_alloc, size_t alignment, size_t size);
ALIAS(void *, memalign, size_t alignment, size_t size);
ALIAS(int, posix_memalign, void **out, size_t alignment, size_t size);
ALIAS(void *, valloc, size_t size);
ALIAS(void *, pvalloc, size_t size);
PMD_API size_t malloc_usable_size(void *p) __attribute__((alias("pmd_malloc_usable_size")));
PMD_API void cfree(void *p) __attribute__((alias("pmd_free")));

#pragma GCC diagnostic pop
