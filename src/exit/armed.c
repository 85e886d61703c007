/* SPDX-License-Identifier: MIT */
/*
 * When the resident helper is started and ended, and what it does.
 *
 * Four are involved. A thread of the program starts the STARTER, a process like the helper at exit; it parts from the
 * program's descriptors, session and directory, makes sure whose memory it shares, starts the RESIDENT, and ends: so the
 * resident is nobody's child that the program, or what it is replaced by, could be told of. The resident sleeps on a
 * descriptor that tells of the program's end. What else concerns it, the anchor's holder ending or running another program,
 * and LEAVE, comes through the anchor, on which its one thread sleeps, the LISTENER; that ends then, and by closing a pipe
 * wakes the resident.
 *
 * `busy` guards all that is written by threads of the program. `phase` is NONE or STARTING by them, the rest by the starter
 * and the resident. `starter`, `resident` and `listener` are set to 0 by the kernel when the one is gone, however it went.
 *
 * Invariants: as in exit/helper.c, memory is dropped only by whoever is known to be alone. Whenever the resident cannot
 * be sure to be told of the end, it leaves: then the process ends as with handoff:auto.
 */
#include "exit/armed.h"

#include <stdatomic.h>

#include "cache/scavenger.h"
#include "conf/options.h"
#include "exit/cgroup.h"
#include "exit/conditions.h"
#include "exit/helper.h"
#include "heap/limit.h"
#include "os/anchor.h"
#include "os/os.h"
#include "os/process.h"

enum {
	STACK_BYTES = 32 << 10,
	STARTER_STACK_BYTES = 16 << 10,
	LISTENER_STACK_BYTES = 4 << 10,
	START_MS = 10,     /* of the thread that made the heap grow, for a resident to come */
	PATIENCE_MS = 100, /* of who ends the process, for a resident to come or go */
	CALM_MS = 2000,    /* of who is in no hurry */
	DOUBT_MS = 1000,   /* of the resident: the anchor is gone, and nobody else yet */
};

enum phase { NONE, STARTING, READY, REFUSED };

static struct {
	uint32_t owner; /* the process that all this is about: a vfork child shares it */
	bool requested; /* in this process */
	bool forbidden;
	_Atomic int starter_number; /* not taken note of yet; 0: none */
} program;

static _Atomic bool busy;
static _Atomic unsigned paused; /* so many want none to be there */
static _Atomic uint32_t phase;
static _Atomic uint32_t starter, resident, listener;
static _Atomic bool leave;
static _Atomic size_t next_look; /* bytes that the heap must hold before conditions are looked at again */

/* The resident's, in its own descriptor table; written by the starter. */
static int process = -1, listener_pipe[2] = {-1, -1};

/* Of each but the starter, which is dropped, a page is touched as long as they wait. */
static char starter_stack[STARTER_STACK_BYTES] __attribute__((aligned(PAGE_BYTES)));
static char stack[STACK_BYTES] __attribute__((aligned(PAGE_BYTES)));
static char listener_stack[LISTENER_STACK_BYTES] __attribute__((aligned(PAGE_BYTES)));

/* ---- The resident ------------------------------------------------------------------------------------------------ */

static void rest(void)
{
	static _Atomic uint32_t nobody;

	os_wait(&nobody, 0, 1);
}

static void answer(enum phase p)
{
	atomic_store_explicit(&phase, p, memory_order_release);
	os_wake(&phase);
}

static void listen(void)
{
	while (os_anchor_is_held() && !atomic_load_explicit(&leave, memory_order_acquire) && os_anchor_wait())
		;
	os_close_file(&listener_pipe[1]);
}

/* It would count as another user of the memory. */
static void end_listener(void)
{
	atomic_store_explicit(&leave, true, memory_order_release);
	for (int i = 0; i < DOUBT_MS && atomic_load_explicit(&listener, memory_order_acquire); i++) {
		os_anchor_wake();
		os_wait_cleared(&listener, 1);
	}
}

static bool becomes_alone(void)
{
	for (int i = 0; !os_is_alone(); i++) {
		if (i == PATIENCE_MS)
			return false;
		rest();
	}
	return true;
}

/* The anchor is gone: because the process ends, which may take a while, or runs another program; or only a thread ended. */
static bool was_left_alone(void)
{
	for (int ms = 1, all = 0; all < DOUBT_MS; all += ms, ms *= 2) {
		if (os_is_alone())
			return true;
		if (os_wait_for_end(process, -1, ms) == END_OF_PROCESS)
			return becomes_alone();
	}
	return false;
}

static bool wait_until_alone(void)
{
	enum end end = os_wait_for_end(process, listener_pipe[0], -1);
	bool told_to = atomic_load_explicit(&leave, memory_order_acquire);

	if (told_to || end == END_UNKNOWN)
		return false;
	end_listener();
	return end == END_OF_PROCESS ? becomes_alone() : was_left_alone();
}

/* What has come since it was started, and must not stay: the process has let go of it, or is about to. */
static void tear_down(void)
{
	os_thread_name("pmdalloc-exit");
	os_prefer_to_be_killed();
	if (!conditions_allow_helper(limit_held_bytes(), 0))
		conditions_drop_harmful();
	if (!helper_may_take_time(limit_held_bytes()))
		return;
	os_lower_priority();
	helper_drop_heap();
}

/* Who leaves as nobody knows whether the process ends can be replaced the next time that the heap grows. */
static void stay(void)
{
	if (os_thread_start(listen, listener_stack, sizeof listener_stack, &listener)) {
		answer(REFUSED);
		return;
	}
	answer(READY);
	if (wait_until_alone()) {
		rest(); /* whoever waits for the process's end may be told of it only now, and needs a CPU for that */
		tear_down();
		return;
	}
	atomic_store_explicit(&next_look, 0, memory_order_relaxed);
	atomic_store_explicit(&phase, NONE, memory_order_release);
	os_exit(0); /* the listener too */
}

/* ---- The starter ------------------------------------------------------------------------------------------------- */

static bool part_from_program(void)
{
	if (!os_forget_descriptors())
		return false;
	process = os_process_descriptor(program.owner);
	/* A number may be another process's by now, unless it still is the parent's afterwards. */
	if (process < 0 || os_parent_id() != program.owner || os_pipe(listener_pipe))
		return false;
	os_leave_session();
	os_thread_leave_directory();
	os_thread_name("pmdalloc-armed");
	os_leave_no_core();
	return true;
}

static void start_resident(void)
{
	int number;

	cgroup_tell();
	if (!part_from_program() || os_sharer_start(stay, stack, sizeof stack, &resident, &number))
		answer(REFUSED);
	os_exit(NO_HELPER_STATUS);
}

/* ---- The program ------------------------------------------------------------------------------------------------- */

/* Not without end: below a signal handler that ends the process there may be whoever has it. */
static bool take_busy(int ms)
{
	for (int i = 0; atomic_exchange_explicit(&busy, true, memory_order_acquire); i++) {
		if (i == ms)
			return false;
		rest();
	}
	return true;
}

static void drop_busy(void)
{
	atomic_store_explicit(&busy, false, memory_order_release);
}

static bool is_owner(void)
{
	return program.owner && os_process_id() == program.owner;
}

static bool is_there(void)
{
	return atomic_load_explicit(&phase, memory_order_acquire) == READY &&
	       atomic_load_explicit(&resident, memory_order_acquire);
}

/* Or is about to be. */
static bool somebody_is_there(void)
{
	return atomic_load_explicit(&starter, memory_order_acquire) ||
	       atomic_load_explicit(&resident, memory_order_acquire);
}

/* The listener may go last, a while after the resident. */
static bool somebody_is_left(void)
{
	return somebody_is_there() || atomic_load_explicit(&listener, memory_order_acquire);
}

bool armed_is_there(void)
{
	return somebody_is_there() && is_owner();
}

static bool has_starter(void)
{
	return atomic_load_explicit(&program.starter_number, memory_order_relaxed);
}

/* The starter is gone but for its number; what it has touched of its stack goes too. */
static void forget_starter(void)
{
	if (!has_starter() || atomic_load_explicit(&starter, memory_order_acquire))
		return;
	os_sharer_reap(program.starter_number);
	program.starter_number = 0;
	os_drop(starter_stack, sizeof starter_stack);
}

static void wait_for_answer(int ms)
{
	for (int i = 0; i < ms && somebody_is_there() && atomic_load_explicit(&phase, memory_order_acquire) == STARTING;
	     i++)
		os_wait(&phase, STARTING, 1);
	for (int i = 0; i < ms && atomic_load_explicit(&starter, memory_order_acquire); i++)
		os_wait_cleared(&starter, 1);
	forget_starter();
}

static void start_starter(void)
{
	int number;

	forget_starter();
	/* One that was killed, or does not come to its turn, may still be about to use its stack. */
	if (has_starter() || atomic_load_explicit(&resident, memory_order_acquire) ||
	    atomic_load_explicit(&listener, memory_order_acquire) || !os_anchor_hold())
		return;
	atomic_store_explicit(&leave, false, memory_order_relaxed);
	atomic_store_explicit(&phase, STARTING, memory_order_relaxed);
	if (cgroup_start(start_resident, starter_stack, sizeof starter_stack, &starter, &number)) {
		atomic_store_explicit(&phase, NONE, memory_order_relaxed);
		return;
	}
	atomic_store_explicit(&program.starter_number, number, memory_order_relaxed);
	wait_for_answer(START_MS);
}

static _Atomic uint32_t *who_is_left(void)
{
	if (atomic_load_explicit(&resident, memory_order_acquire))
		return &resident;
	return atomic_load_explicit(&starter, memory_order_acquire) ? &starter : &listener;
}

/* One that is yet to begin finds LEAVE set. Where any of them is left none can be started. */
static void send_away(int ms)
{
	atomic_store_explicit(&leave, true, memory_order_release);
	for (int i = 0; i < ms && somebody_is_left(); i++) {
		os_anchor_wake();
		os_wait_cleared(who_is_left(), 1);
	}
	forget_starter();
}

/* A little early, as nobody looks again when the last region that was grown into fills. */
static bool is_large(size_t held)
{
	return held + held / 16 >= (size_t)OPTION(handoff_min);
}

/* Without regard to how busy the machine is: at the end nobody will have to wait for the helper. */
static bool may_be_there(size_t held)
{
	bool may = conditions_allow(program.forbidden, SIZE_MAX) && conditions_allow_helper(held, 0);

	conditions_forget();
	return may;
}

/* While the rest is looked at, the background thread ends. */
static bool may_serve(void)
{
	if (!conditions_allow(program.forbidden, SIZE_MAX))
		return false;
	scavenger_send_away();
	return conditions_allow_helper(limit_held_bytes(), 0);
}

/*
 * The first process of a pid namespace takes all others with it. Who adopts orphans would be told of the resident's end.
 * Where children begin in another namespace, the starter would become its first process.
 */
static bool can_be_started(void)
{
	return program.owner != 1 && !os_adopts_orphans() && os_children_are_near();
}

/* Starts or ends the resident as is right for what the heap holds now. */
static void look(void)
{
	size_t held = limit_held_bytes();
	bool wanted = program.requested && OPTION(handoff) == HANDOFF_ARMED && is_large(held) &&
		      held <= (size_t)OPTION(handoff_max);

	if (wanted) {
		if (held < atomic_load_explicit(&next_look, memory_order_relaxed))
			return;
		atomic_store_explicit(&next_look, held + held / 4, memory_order_relaxed);
		wanted = may_be_there(held);
	}
	if (!wanted && somebody_is_left())
		send_away(PATIENCE_MS);
	if (wanted && !is_there() && can_be_started())
		start_starter();
}

static void look_again(void)
{
	atomic_store_explicit(&next_look, 0, memory_order_relaxed);
	if (!atomic_load(&paused))
		look();
}

/* Nobody who allocates waits until another has looked. */
static void after_growth(void)
{
	size_t held = limit_held_bytes();

	if (!is_large(held) || (held < atomic_load_explicit(&next_look, memory_order_relaxed) && !has_starter()) ||
	    !is_owner() || !take_busy(0))
		return;
	forget_starter();
	if (!atomic_load(&paused))
		look();
	drop_busy();
}

static void begin(uint32_t number, bool requested)
{
	program.owner = number;
	program.requested = requested;
	/* A forked child has it from its parent. */
	atomic_store_explicit(&scavenger_on_growth, requested ? after_growth : NULL, memory_order_relaxed);
	if (requested)
		os_anchor_hold();
}

void armed_init(uint32_t number)
{
	begin(number, OPTION(handoff) == HANDOFF_ARMED);
}

void armed_after_fork(uint32_t number)
{
	os_anchor_forget();
	atomic_store_explicit(&busy, false, memory_order_relaxed);
	atomic_store_explicit(&paused, 0, memory_order_relaxed);
	atomic_store_explicit(&phase, NONE, memory_order_relaxed);
	atomic_store_explicit(&starter, 0, memory_order_relaxed);
	atomic_store_explicit(&resident, 0, memory_order_relaxed);
	atomic_store_explicit(&listener, 0, memory_order_relaxed);
	atomic_store_explicit(&next_look, 0, memory_order_relaxed);
	program.starter_number = 0;
	begin(number, OPTION(handoff) == HANDOFF_ARMED && OPTION(handoff_fork) == FORK_ON);
	if (program.requested)
		after_growth();
}

void armed_options_changed(const char *name)
{
	if (!text_starts_with(name, "handoff") || !is_owner() || !take_busy(CALM_MS))
		return;
	if (text_equal(name, text_length(name), "handoff") && OPTION(handoff) == HANDOFF_ARMED)
		begin(program.owner, true);
	look_again();
	drop_busy();
}

/* Whoever ends the process keeps `busy`, as it is about to look at conditions. */
enum armed armed_at_end(bool sandbox, bool worth)
{
	if (!program.requested)
		return ARMED_ABSENT;
	if (!take_busy(PATIENCE_MS))
		return somebody_is_there() ? ARMED_SERVES : ARMED_REFUSES;
	wait_for_answer(PATIENCE_MS);
	if (!somebody_is_there())
		return ARMED_ABSENT;
	program.forbidden |= sandbox;
	if (worth && may_serve())
		return ARMED_SERVES;
	send_away(PATIENCE_MS);
	return ARMED_REFUSES;
}

void armed_pause(void)
{
	if (!is_owner())
		return;
	atomic_fetch_add(&paused, 1);
	if (!program.requested || !take_busy(CALM_MS))
		return;
	if (somebody_is_left())
		send_away(CALM_MS);
	drop_busy();
}

/* Whether or not there was one: the one of before may have been late, or what forbade it is gone. */
void armed_resume(void)
{
	if (!is_owner())
		return;
	atomic_fetch_sub(&paused, 1);
	if (!program.requested || !take_busy(CALM_MS))
		return;
	look_again();
	drop_busy();
}

void armed_forbid(void)
{
	if (!program.requested || !take_busy(CALM_MS))
		return;
	program.forbidden = true;
	look_again();
	/* What a sandbox may kill for is not tried again. */
	if (!is_there())
		atomic_store_explicit(&scavenger_on_growth, NULL, memory_order_relaxed);
	drop_busy();
}
