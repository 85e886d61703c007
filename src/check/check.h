/* SPDX-License-Identifier: MIT */
/* Blocks that no slab and no extent of the heap holds: those of no size, and guarded ones. For what is none, see check_has. */
#ifndef PMD_CHECK_CHECK_H
#define PMD_CHECK_CHECK_H

#include "check/guard.h"
#include "check/none.h"

/* Whether P lies where such blocks are. */
static inline bool check_has(const void *p)
{
	return guard_has(p) || none_has(p);
}

/* The size of the live block P; else a report, naming CALL, and SIZE_UNKNOWN. */
size_t check_size(const char *call, const void *p);

void check_free(void *p);

#endif
