/* SPDX-License-Identifier: MIT */
/*
 * Whether Valgrind's memcheck runs the process: not some other tool of Valgrind's, which should see the usual paths.
 * And marks around code that follows links through free blocks, which memcheck takes for out of bounds.
 */
#ifndef PMD_CACHE_MEMCHECK_H
#define PMD_CACHE_MEMCHECK_H

#include "config.h"

#include <stdbool.h>
#include <stddef.h>

#ifdef HAVE_VALGRIND_MEMCHECK_H

#include <valgrind/memcheck.h>

static inline bool memcheck_runs(void)
{
	char byte = 0, validity;

	return VALGRIND_GET_VBITS(&byte, &validity, 1) == 1;
}

/* Any of its tools. */
static inline bool valgrind_runs(void)
{
	return RUNNING_ON_VALGRIND;
}

static inline void memcheck_silence(void)
{
	VALGRIND_DISABLE_ERROR_REPORTING;
}

static inline void memcheck_resume(void)
{
	VALGRIND_ENABLE_ERROR_REPORTING;
}

/* What was computed from links in free blocks is no less defined than they are to us. */
static inline void memcheck_define(const void *p, size_t bytes)
{
	(void)VALGRIND_MAKE_MEM_DEFINED(p, bytes);
}

#else

static inline bool memcheck_runs(void)
{
	return false;
}

static inline bool valgrind_runs(void)
{
	return false;
}

static inline void memcheck_silence(void)
{
}

static inline void memcheck_resume(void)
{
}

static inline void memcheck_define(const void *p, size_t bytes)
{
	(void)p, (void)bytes;
}

#endif

#endif
