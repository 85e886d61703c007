/* SPDX-License-Identifier: MIT */
/*
 * Blocks of no size, with check:strict: addresses of a reservation that cannot be touched, 16 bytes apart. A bit for each
 * that is in use, changed atomically. When all are, blocks of no size are like others.
 */
#ifndef PMD_CHECK_NONE_H
#define PMD_CHECK_NONE_H

#include "base/base.h"

void none_init(void);

/* A block of no size; NULL when there is none. */
void *none_take(void);

/* Whether P lies there. */
bool none_has(const void *p);

/* Whether P is a block there; and frees it, if it is. */
bool none_is_live(const void *p);
bool none_free(void *p);

#endif
