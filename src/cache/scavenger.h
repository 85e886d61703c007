/* SPDX-License-Identifier: MIT */
/*
 * Decay: what was not needed for decay_ms is given back, by a background thread that runs only while there is something
 * to give back, or, without it, by the thread that frees.
 */
#ifndef PMD_CACHE_SCAVENGER_H
#define PMD_CACHE_SCAVENGER_H

#include "heap/huge.h"

/* Before any other function here. */
void scavenger_init(void);

/*
 * To be called, with no lock held, after something may have become free: starts what has to happen. Cheap when
 * nothing has.
 */
void scavenger_kick(void);

void scavenger_start(void);

/* Called, with no lock held, after the heap has grown; NULL: nobody wants to know. */
extern HIDDEN void (*_Atomic scavenger_on_growth)(void);

void scavenger_tell_growth(void);

/* To be called, with no lock held, after the heap may have grown. */
static inline void scavenger_grown(void)
{
	if (UNLIKELY(atomic_load_explicit(&scavenger_on_growth, memory_order_relaxed) != NULL))
		scavenger_tell_growth();
	if (UNLIKELY(atomic_load_explicit(&huge_wanted, memory_order_relaxed)) &&
	    atomic_exchange_explicit(&huge_wanted, false, memory_order_relaxed))
		scavenger_start();
}

/* Gives everything back that is free now. Returns bytes. */
size_t scavenger_release_all(void);

/* After an option was changed that decides what is given back and when. */
void scavenger_options_changed(void);

/*
 * Ends the thread and returns when it is gone, and whether there was one; none begins until scavenger_resume is given
 * that answer. Around what the process must do alone, or what every thread must do: meanwhile whoever frees does the
 * thread's work. In a vfork child, where the thread is the parent's, neither does anything.
 */
bool scavenger_pause(void);
void scavenger_resume(bool was_there);

/*
 * For a process that is about to end: ends the thread, for good, and returns whether it is gone after at most some MS
 * milliseconds. Async-signal-safe.
 */
bool scavenger_leave(int ms);

/* The same without waiting, and nobody else does its work. */
void scavenger_send_away(void);

/*
 * From now on there is no thread, and nothing but madvise is called: the process is about to enter a sandbox that may
 * kill it for more. A vfork child's sandbox is not its parent's, whose memory it shares.
 */
void scavenger_forbid_thread(void);

void scavenger_after_fork(void);

#endif
