/* SPDX-License-Identifier: MIT */
/*
 * Decay: what has been free for decay_ms is given back, by a background thread that runs only while there is
 * something to give back, or, without it, by the thread that frees.
 */
#ifndef PMD_CACHE_SCAVENGER_H
#define PMD_CACHE_SCAVENGER_H

#include "base/base.h"

/*
 * To be called, with no lock held, after something may have become free: starts what has to happen. Cheap when
 * nothing has.
 */
void scavenger_kick(void);

/* Gives everything back that is free now. Returns bytes. */
size_t scavenger_release_all(void);

/* From now on no thread is started: the process is about to enter a sandbox that may kill it for that. */
void scavenger_forbid_thread(void);

void scavenger_after_fork(void);

#endif
