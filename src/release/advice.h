/* SPDX-License-Identifier: MIT */
/*
 * What the kernel is told about huge pages: one advice for all of the heap, as a part with another would be a mapping of
 * its own. With thp:auto it changes with time (heap/huge.h).
 */
#ifndef PMD_RELEASE_ADVICE_H
#define PMD_RELEASE_ADVICE_H

#include "base/base.h"

/* Whether memory that is touched for the first time may come as a huge page. */
bool advice_is_huge(void);

/* Only with thp:auto. It holds for what is mapped from now on; what is mapped is for the caller to apply it to. */
void advice_set(bool huge);

/* Gives P[0..BYTES), which was mapped anew or lacks it, the advice of the moment. */
void advice_apply(void *p, size_t bytes);

#endif
