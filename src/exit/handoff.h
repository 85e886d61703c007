/* SPDX-License-Identifier: MIT */
/*
 * Exit-time handoff: the process's last act starts a helper, which shares the address space, so that the process's own
 * end need not tear it down, and whoever waits for that end is told at once.
 */
#ifndef PMD_EXIT_HANDOFF_H
#define PMD_EXIT_HANDOFF_H

/*
 * To be called when the process is about to end, as late as can be; further calls do nothing. Returns when the helper
 * waits for the end, or when there is none. Async-signal-safe, as _exit(2) must be: no lock, no allocation, little stack.
 */
void handoff_begin(void);

/*
 * The same for whoever ends the process by his next system call: where there is no helper, the heap may be dropped at once.
 */
void handoff_begin_last(void);

/* From now on there is no handoff: the process is about to enter a sandbox that may kill it for clone(2). */
void handoff_forbid(void);

#endif
