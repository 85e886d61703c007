/* SPDX-License-Identifier: MIT */
/* What happens when a request meets a memory limit (heap/limit.h). */
#ifndef PMD_CACHE_RELIEF_H
#define PMD_CACHE_RELIEF_H

#include "heap/limit.h"

/*
 * To be called, with no lock held, when the request of G has failed. If that was by a limit and there is hope, gives
 * everything back that is free, and returns true: to be tried again. Else says so, once, if it was by a limit.
 */
bool relief(struct growth *g);

/* The limits may be lower now: gives back what is free if the heap holds more. */
void relief_after_change(void);

void relief_after_fork(void);

#endif
