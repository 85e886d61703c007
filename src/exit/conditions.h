/* SPDX-License-Identifier: MIT */
/* When there must be no handoff, whatever the size of the heap. Each file of /proc that is needed and cannot be read counts
 * as the worst that could stand in it. */
#ifndef PMD_EXIT_CONDITIONS_H
#define PMD_EXIT_CONDITIONS_H

#include "base/base.h"

/* Whether that it is in a SANDBOX rules everything out, system calls too: each may be what the sandbox kills for. */
bool conditions_rule_out(bool sandbox);

/*
 * What the process that ends asks itself, before it makes any call that is not usual at its end: whether it is traced, or
 * in a sandbox, and whether a helper would come to its turn before the HELD bytes of the heap were torn down. SANDBOX: it
 * is known to be in one. For one thread, once; uses little stack.
 */
bool conditions_allow(bool sandbox, size_t held);

/*
 * The same for a process that would start a few threads: also whether there is a CPU for them, whether memory is not short of
 * what it holds, and whether it has hardly any other thread already.
 */
bool conditions_allow_threads(bool sandbox, size_t held);

/* Whether no device nor other part of the kernel, an io_uring say, has memory mapped for the process, which is alone. */
bool conditions_no_device_mapped(void);

/*
 * What the helper asks on the process's behalf: whether there is room for another heap of HELD bytes beside this one,
 * and whether something else in the address space must be gone when the process is. PROCESS: whose cgroup counts, if that is
 * not the helper's, or 0.
 */
bool conditions_allow_helper(size_t held, uint32_t process);

/* For a process that goes on after that: gives back the memory that it took. */
void conditions_forget(void);

/* For a helper that alone has the address space: unmaps what must be gone when the process is. */
void conditions_drop_harmful(void);

#endif
