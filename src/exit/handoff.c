/* SPDX-License-Identifier: MIT */
/*
 * Whether a process that ends hands its memory to a helper, and the start of it.
 *
 * `tried` is set by the first thread that comes to the end, which alone goes on; it owns `request` until the helper runs.
 * `progress` is a futex: who ends waits while it is STARTING. The helper sets it to READY or REFUSED, and the kernel to
 * 0 if the helper dies before, so that nobody waits for what will not come. Nothing else is shared: from then on each may
 * be killed at any moment without harm to the other. `shortened` is set by who comes to the end for the last time, and may
 * drop the heap then if there is no helper.
 */
#include "exit/handoff.h"

#include <pthread.h>
#include <signal.h>

#include "cache/cache.h"
#include "cache/memcheck.h"
#include "cache/scavenger.h"
#include "conf/options.h"
#include "exit/armed.h"
#include "exit/cgroup.h"
#include "exit/conditions.h"
#include "exit/helper.h"
#include "exit/shorten.h"
#include "heap/limit.h"
#include "os/os.h"
#include "os/process.h"

enum {
	SLICE_MS = 5,
	SHORTENED = 4, /* times what is worth a helper: less is dropped by several threads no sooner than by one */
	SLICES = 20,   /* then the process ends without the answer; the helper will see that it has */
};

static _Atomic uint32_t owner; /* the process that all this is about: a vfork child shares it; 0: not yet */
static _Atomic bool tried, forbidden, shortened;

void handoff_forbid(void)
{
	if (atomic_load_explicit(&owner, memory_order_relaxed) != os_process_id()) /* its vfork child */
		return;
	atomic_store_explicit(&forbidden, true, memory_order_relaxed);
	armed_forbid();
}

/* Without a system call where, as nearly always, the heap is small. */
static bool is_large(size_t held)
{
	uint32_t process = atomic_load_explicit(&owner, memory_order_relaxed);

	return process && OPTION(handoff) != HANDOFF_OFF && held >= (size_t)OPTION(handoff_min) &&
	       !conditions_rule_out(atomic_load_explicit(&forbidden, memory_order_relaxed)) &&
	       process == os_process_id();
}

/* The first process of a pid namespace takes all others with it when it ends. */
static bool is_worth_it(size_t held)
{
	return is_large(held) && held <= (size_t)OPTION(handoff_max) &&
	       atomic_load_explicit(&owner, memory_order_relaxed) != 1;
}

static void wait_for_answer(int number)
{
	for (int i = 0; i < SLICES && atomic_load_explicit(&helper_progress, memory_order_acquire) == HELPER_STARTING;
	     i++)
		os_wait(&helper_progress, HELPER_STARTING, SLICE_MS);
	switch (atomic_load_explicit(&helper_progress, memory_order_acquire)) {
	case HELPER_NONE:
	case HELPER_REFUSED:
		os_sharer_reap(number);
	}
}

/* The helper notices by the pipe when this process execs instead of ending. */
static void start_helper(size_t held)
{
	int fds[2], number;

	if (os_pipe(fds))
		return;
	scavenger_send_away(); /* or the process's end has to wake it, and waits for it */
	if (!helper_start(owner, fds[0], held, &number))
		wait_for_answer(number);
	helper_started();
	os_close_file(&fds[0]);
}

/* Whoever measures how long the end takes is told when it begins. A process that is no child of his tells nobody. */
static void tell_time(void)
{
	static _Atomic bool told;
	uint32_t listener = (uint32_t)OPTION(time_exit);

	if (UNLIKELY(listener) && atomic_load_explicit(&owner, memory_order_relaxed) == os_process_id() &&
	    os_parent_id() == listener && !atomic_exchange_explicit(&told, true, memory_order_relaxed))
		os_tell(listener, SIGURG, os_now_us());
}

void handoff_begin(void)
{
	size_t held = limit_held_bytes();

	bool worth = is_worth_it(held), sandbox = atomic_load_explicit(&forbidden, memory_order_relaxed);

	tell_time();
	if ((!worth && !armed_is_there()) || atomic_exchange_explicit(&tried, true, memory_order_acquire))
		return;
	if (armed_at_end(sandbox, worth) == ARMED_ABSENT && worth && conditions_allow(sandbox, held))
		start_helper(held);
}

/* One that has not answered yet counts: it may be about to. */
static bool has_helper(void)
{
	uint32_t progress = atomic_load_explicit(&helper_progress, memory_order_acquire);

	return progress == HELPER_STARTING || progress == HELPER_READY || armed_is_there();
}

void handoff_begin_last(void)
{
	handoff_begin();
	if (is_large(limit_held_bytes() / SHORTENED) && !has_helper() &&
	    !atomic_exchange_explicit(&shortened, true, memory_order_acquire))
		shorten(atomic_load_explicit(&forbidden, memory_order_relaxed));
}

static void after_fork_in_child(void)
{
	atomic_store_explicit(&shortened, false, memory_order_relaxed);
	atomic_store_explicit(&tried, false, memory_order_relaxed);
	atomic_store_explicit(&owner, os_process_id(), memory_order_relaxed);
	armed_after_fork(os_process_id());
}

/* Valgrind runs no second process in one address space. */
__attribute__((constructor(102))) static void start(void)
{
	if (!cache_init() || valgrind_runs())
		return;
	atomic_store_explicit(&owner, os_process_id(), memory_order_relaxed);
	pthread_atfork(NULL, NULL, after_fork_in_child);
	cgroup_check();
	armed_init(os_process_id());
}
