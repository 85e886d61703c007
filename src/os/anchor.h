/* SPDX-License-Identifier: MIT */
/*
 * The anchor: a lock that one thread of the program takes and keeps, so that another process in the same address space is
 * told when that thread ends, for whatever reason, or runs another program. It is a robust mutex: the kernel looks at
 * those of a thread when it lets go of its address space, marks them and wakes whoever waits, in execve(2) as well as at the
 * end. It needs no descriptor, and a forked child has nothing of it.
 *
 * One in a process. Who holds it, who waits, and who makes it anew are told apart by exit/armed.c.
 */
#ifndef PMD_OS_ANCHOR_H
#define PMD_OS_ANCHOR_H

#include <stdatomic.h>

#include "base/base.h"

/* Makes the anchor anew and has the calling thread hold it, if no thread that still runs does. False: it cannot be had. */
bool os_anchor_hold(void);

/* In a forked child: whoever held it is not there. */
void os_anchor_forget(void);

/* Whether a thread holds it and runs the program that it was taken in. */
bool os_anchor_is_held(void);

/*
 * Waits, without end, until os_anchor_is_held() is not true any more or os_anchor_wake() is called, which may be missed.
 * False where the kernel does not let it wait.
 */
bool os_anchor_wait(void);
void os_anchor_wake(void);

/* Whether the calling thread holds no other robust mutex: at its end the kernel looks at no memory of the program's. */
bool os_anchor_is_only_lock(void);

#endif
