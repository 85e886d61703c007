/* SPDX-License-Identifier: MIT */
/*
 * The functions under test as t_malloc, t_free ...: the standard names, or pmd_* in a library built --without-override.
 *
 * Each is a pointer that the compiler has to load again at every call. So it can neither remove a malloc whose block is
 * freed, nor warn about the misuse that a test is made of, nor fold a comparison with NULL.
 */
#ifndef PMDALLOC_TEST_API_H
#define PMDALLOC_TEST_API_H

#include "check.h"

#include <malloc.h>
#include <pmdalloc/pmdalloc.h>
#include <stdlib.h>

#ifdef __cplusplus
extern "C" {
#else
#endif

/* C23's, which the C library of Debian 12 does not declare. */
void free_sized(void *p, size_t size);
void free_aligned_sized(void *p, size_t alignment, size_t size);

#ifdef __cplusplus
}
#endif

#ifdef PMD_PREFIXED
#define API_NAME(name) pmd_##name
#else
#define API_NAME(name) name
#endif

#ifdef PMD_FAULTS
#include "faulted.h"
#define API_ENTRY(name) faulted_##name
#else
#define API_ENTRY(name) API_NAME(name)
#endif

#define API(result, name, args) static result(*volatile t_##name) args __attribute__((unused)) = API_ENTRY(name);

API(void *, malloc, (size_t))
API(void *, calloc, (size_t, size_t))
API(void *, realloc, (void *, size_t))
API(void *, reallocarray, (void *, size_t, size_t))
API(void, free, (void *))
API(void, free_sized, (void *, size_t))
API(void, free_aligned_sized, (void *, size_t, size_t))
API(void *, aligned_alloc, (size_t, size_t))
API(void *, memalign, (size_t, size_t))
API(int, posix_memalign, (void **, size_t, size_t))
API(void *, valloc, (size_t))
API(void *, pvalloc, (size_t))

/* The C library declares it for void *, the prefixed one takes const void *. */
static inline size_t t_usable(void *p)
{
	return API_NAME(malloc_usable_size)(p);
}

#undef API
#undef API_ENTRY

#endif
