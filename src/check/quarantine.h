/* SPDX-License-Identifier: MIT */
/*
 * Blocks that were freed with check:strict and are not free yet. Each thread holds back its own frees, first in, first out,
 * as many bytes as the option says; large blocks, which cannot be reached meanwhile, are held back for all threads together.
 * A thread's quarantine is its own, that of large blocks under a lock. In a forked child what the threads that are gone held
 * back stays so.
 */
#ifndef PMD_CHECK_QUARANTINE_H
#define PMD_CHECK_QUARANTINE_H

#include "cache/cache.h"

void quarantine_init(void (*leave)(void *p));
void quarantine_after_fork(void);

/* Holds back P of BYTES bytes, which is zero; LEAVE is called for P, or for what has to leave for it. */
void quarantine_hold(void *p, size_t bytes);

/* Holds back the large block of S, which has ended; from now on it cannot be reached. */
void quarantine_hold_large(struct slice *s);

#endif
