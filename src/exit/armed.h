/* SPDX-License-Identifier: MIT */
/*
 * The resident helper (handoff:armed): started when the heap has become large enough, so that it is there when the process
 * is killed or crashes. A process of its own that shares the address space, an orphan from the start; nothing in the program
 * need be done, or can be, at the end.
 */
#ifndef PMD_EXIT_ARMED_H
#define PMD_EXIT_ARMED_H

#include "base/base.h"

/* At start, in the process's first thread; and in a forked child. PROCESS: its number. */
void armed_init(uint32_t process);
void armed_after_fork(uint32_t process);

/* After an option was set. To set handoff to armed, whatever it was, is a request, in forked children too. */
void armed_options_changed(const char *name);

/* Whether a resident helper waits for the calling process's end. */
bool armed_is_there(void);

/*
 * For the one thread that ends the process: whether a resident helper does the work, or there is none, or nobody may do it:
 * then there was one, and it is gone, or it cannot be said, as something is under way in another thread or below in this
 * one. SANDBOX: the process is in one. WORTH: the heap has the size for it.
 */
enum armed { ARMED_ABSENT, ARMED_SERVES, ARMED_REFUSES };
enum armed armed_at_end(bool sandbox, bool worth);

/*
 * Ends the resident helper, and none begins before armed_resume: around what changes what the process is
 * and may, as the helper would stay what it was and could be made to do, through the memory that is shared, what the process
 * may not do any more. In a vfork child, which is not what changes, neither does anything.
 */
void armed_pause(void);
void armed_resume(void);

/* The process enters a sandbox: from now on there is none. */
void armed_forbid(void);

#endif
