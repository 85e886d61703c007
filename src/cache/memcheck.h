/* SPDX-License-Identifier: MIT */
/* Whether Valgrind's memcheck runs the process: not some other tool of Valgrind's, which should see the usual paths. */
#ifndef PMD_CACHE_MEMCHECK_H
#define PMD_CACHE_MEMCHECK_H

#include "config.h"

#include <stdbool.h>

#ifdef HAVE_VALGRIND_MEMCHECK_H

#include <valgrind/memcheck.h>

static inline bool memcheck_runs(void)
{
	char byte = 0, validity;

	return VALGRIND_GET_VBITS(&byte, &validity, 1) == 1;
}

#else

static inline bool memcheck_runs(void)
{
	return false;
}

#endif

#endif
