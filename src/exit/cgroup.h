/* SPDX-License-Identifier: MIT */
/*
 * The cgroup in which a helper is started (option handoff_cgroup). Whoever waits until the process's own is empty need not
 * wait for the helper then. Where the helper cannot be put there it is started as without the option, and that is said.
 */
#ifndef PMD_EXIT_CGROUP_H
#define PMD_EXIT_CGROUP_H

#include <stdatomic.h>

#include "base/base.h"

/* Says so if the option names no cgroup. Once, at the start. */
void cgroup_check(void);

/* As os_sharer_start, in the option's cgroup if that can be. For one caller at a time. */
int cgroup_start(void (*run)(void), char *stack, size_t stack_bytes, _Atomic uint32_t *alive, int *number);

/* For who was started so, before it parts from the process's descriptors: says why it is not in that cgroup. */
void cgroup_tell(void);

/* Whether it is in another cgroup than the process. */
bool cgroup_is_other(void);

#endif
