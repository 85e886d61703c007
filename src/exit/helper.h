/* SPDX-License-Identifier: MIT */
/*
 * The helper: a process that shares the address space of one that is about to end, waits for that, and tears down what is
 * left. It has descriptors, directory and session of its own, and nothing that the program could wait for or be told of.
 */
#ifndef PMD_EXIT_HELPER_H
#define PMD_EXIT_HELPER_H

#include <stdatomic.h>

#include "base/base.h"

enum { HELPER_NONE = 0, HELPER_STARTING = 1, HELPER_READY = 2, HELPER_REFUSED = 3 };

/* How one ends that has refused, or has started another: whoever adopts it may be told, where nobody waited for it. */
enum { NO_HELPER_STATUS = 1 };

/* A futex; see exit/handoff.c. */
extern HIDDEN _Atomic uint32_t helper_progress;

/*
 * Starts it for process PARENT, the calling one, whose heap holds HELD bytes. PIPE: the end to read of a pipe of which
 * PARENT alone has the other. *NUMBER is the helper's process number. Returns 0 or an errno value. Once in a process, and
 * helper_started() when its answer has come, or it could not be started.
 */
int helper_start(uint32_t parent, int pipe, size_t held, int *number);

void helper_started(void);

/* What a helper does that is known to be alone in the address space. Threads may still be at work when it returns. */
void helper_drop_heap(void);

/* Whether it should do so, of HELD bytes, rather than just end. */
bool helper_may_take_time(size_t held);

#endif
