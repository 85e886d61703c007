/* SPDX-License-Identifier: MIT */
/*
 * The background thread and its clock. A tick is a quarter of the decay time. At each, empty regions beyond what was
 * needed in the last decay time are released, and slices and slabs that were idle for about as long are purged.
 * Between ticks the thread is woken when there is more free memory than dirty_max, and when memory is short.
 * heap_tick is advanced by whoever ticks: the thread, or, where there can be none, one caller at a time.
 *
 * working is true while the thread looks again by itself, so a kick has nothing to do. Kicks that came after its last
 * look relied on it, so once it has cleared working it looks again. alive is 1 while a thread exists and 0 when its
 * stack may be used again; the kernel clears it. Who has set working makes the next thread, and waits for alive first:
 * the earlier thread then has nothing left to do but to end. test/model/thread.c has this as a model.
 *
 * The thread shares no descriptor with the program and has no signal unblocked; only its number can be seen.
 */
#include "cache/scavenger.h"
#include "cache/cache.h"
#include "cache/held.h"
#include "cache/memcheck.h"
#include "cache/remote.h"
#include "conf/options.h"
#include "heap/limit.h"
#include "heap/waiting.h"
#include "os/lock.h"
#include "os/os.h"
#include "os/pressure.h"
#include "os/process.h"
#include "release/release.h"

enum {
	STACK_BYTES = 64 << 10,
	WORTH_BYTES = 4 << 20, /* less than this is not worth a thread */
	IDLE_TICKS = 4,        /* the thread ends after so many ticks with nothing left to give back */
	FUTILE_TICKS = 32,     /* or with nothing that the kernel took */
	TICK_AT_ONCE_MS = 1000,
	TICK_NEVER_MS = 60000,
	CHECK_MS = 5000, /* between two looks at what sends no event, which take some twenty system calls */
	LAZY_MS = 200,   /* where there is swap: how long free memory may be something that the kernel swaps out */
	IDENTITY_MS = 1000,
	YIELDS = 64,
	RETRY_MS = 10000, /* after a thread could not be started */
};

static _Atomic uint32_t alive;
static _Atomic bool working;
static _Atomic unsigned stopping;     /* so many want the thread to end, and none to begin */
static _Atomic int number;            /* of the thread, as long as it may be there */
static uint32_t home;                 /* the process that may have one: a vfork child shares all this, and is not it */
static _Atomic bool forbidden;        /* a thread may not be started */
static _Atomic bool blind;            /* no source of pressure: without decay there is nothing to do */
static _Atomic bool ticking;          /* a caller does the thread's work */
static _Atomic uint64_t next_tick_us; /* without a thread: when the next tick is due */
static _Atomic uint64_t retry_us;     /* no thread is started before, ... */
static _Atomic size_t retry_bytes;    /* ... but for so much to give back */
static struct pressure pressure;      /* what the thread listens to */
static char *stack;

/* ---- What there is to do, and doing it --------------------------------------------------------------------------- */

static size_t dirty_bytes(void)
{
	size_t slices = atomic_load_explicit(&arena_dirty_slices, memory_order_relaxed) +
			atomic_load_explicit(&held_unexamined, memory_order_relaxed);
	size_t bytes = (COUNT_GET(dirty_regions) << REGION_SHIFT) + (slices << SLICE_SHIFT);

	memcheck_define(&bytes, sizeof bytes);
	return bytes;
}

/* The same without what decay leaves where it is. */
static size_t decaying_bytes(void)
{
	size_t dirty = dirty_bytes();
	size_t kept = atomic_load_explicit(&arena_kept_slices, memory_order_relaxed) << SLICE_SHIFT;

	memcheck_define(&kept, sizeof kept);
	/* Some of it is in use again. What is free instead may be elsewhere. */
	if (kept > dirty)
		atomic_store_explicit(&arena_kept_slices, dirty >> SLICE_SHIFT, memory_order_relaxed);
	return dirty - min_size(kept, dirty);
}

/* What may be free, or not: only a look tells. */
static size_t waiting_bytes(void)
{
	return atomic_load_explicit(&remote_waiting, memory_order_relaxed) << SLICE_SHIFT;
}

/* More than this is given back without waiting. */
static size_t dirty_limit(void)
{
	return OPTION(decay_ms) ? (size_t)OPTION(dirty_max) : 0;
}

static size_t purge_slabs(uint32_t until, bool all)
{
	size_t bytes = 0;

	for (int i = 0; i < ARENAS_MAX; i++) {
		struct arena *a = atomic_load_explicit(&arenas[i], memory_order_acquire);

		if (a)
			bytes += held_purge(a, until, all);
	}
	return bytes;
}

/* Everything that is free. Slabs first: they may empty slices, and those regions. */
static size_t give_back_all(bool later)
{
	size_t bytes;

	memcheck_silence();
	huge_rest();
	waiting_flush_all();
	remote_attend_waiting();
	bytes = purge_slabs(atomic_load_explicit(&heap_tick, memory_order_relaxed), true);
	for (int i = 0; i < HEAPS_MAX; i++) {
		struct heap *h = atomic_load_explicit(&heaps[i], memory_order_acquire);

		if (h)
			bytes += heap_release(h, SIZE_MAX, later) + arena_purge(h, false);
	}
	memcheck_resume();
	return bytes;
}

/* What was not needed for the decay time. LATER, here and below: by the thread, which alone may use a ring. */
static size_t give_back_old(bool later)
{
	uint32_t now = atomic_fetch_add_explicit(&heap_tick, 1, memory_order_relaxed) + 1;
	size_t bytes;

	memcheck_silence();
	waiting_flush_all();
	remote_attend_waiting();
	bytes = purge_slabs(now - DEMAND_TICKS, false);
	for (int i = 0; i < HEAPS_MAX; i++) {
		struct heap *h = atomic_load_explicit(&heaps[i], memory_order_acquire);

		if (!h)
			continue;
		heap_pass_tick(h);
		bytes += heap_release(h, heap_surplus(h), later);
		if (now % (DEMAND_TICKS / 2) == 0)
			bytes += arena_purge(h, true);
	}
	memcheck_resume();
	return bytes;
}

/* What is beyond LIMIT bytes, empty regions first. */
static void give_back_beyond(size_t limit, bool later)
{
	memcheck_silence();
	for (int i = 0; i < HEAPS_MAX; i++) {
		struct heap *h = atomic_load_explicit(&heaps[i], memory_order_acquire);
		size_t dirty = dirty_bytes();

		if (h && dirty > limit)
			heap_release(h, (dirty - limit + REGION_BYTES - 1) >> REGION_SHIFT, later);
	}
	memcheck_resume();
	if (dirty_bytes() > limit)
		give_back_all(later);
}

/* What outgrown blocks have left. */
static void give_back_outgrown(bool later)
{
	if (!atomic_exchange_explicit(&heap_has_outgrown, false, memory_order_relaxed))
		return;
	memcheck_silence();
	for (int i = 0; i < HEAPS_MAX; i++) {
		struct heap *h = atomic_load_explicit(&heaps[i], memory_order_acquire);

		if (h)
			heap_release_outgrown(h, later);
	}
	memcheck_resume();
}

static void make_lazy(void)
{
	for (int i = 0; i < HEAPS_MAX; i++) {
		struct heap *h = atomic_load_explicit(&heaps[i], memory_order_acquire);

		if (h)
			heap_make_lazy(h);
	}
}

/* ---- The thread -------------------------------------------------------------------------------------------------- */

struct watch {
	uint64_t tick_us, lazy_us, check_us, identity_us; /* when what is due next */
	bool swap;
	struct os_rights rights;
	bool stranger;    /* the process has other rights by now */
	int idle, futile; /* ticks */
	size_t left;      /* bytes that were there to give back at the last look that said whether there is work */
};

static uint64_t tick_length_us(void)
{
	int64_t decay = OPTION(decay_ms);

	return decay < 0 ? TICK_NEVER_MS * 1000
	       : decay   ? (uint64_t)decay * 1000 / DEMAND_TICKS
			 : TICK_AT_ONCE_MS * 1000;
}

static bool swap_matters(void)
{
	return OPTION(pressure) && pressure_swap_present(&pressure);
}

/*
 * The end of a thread that has triggers takes 15 ms, and the process's end cannot be sooner: too much where a helper makes
 * it short. Not where nothing decays, as there the thread would have nothing else to wake for.
 */
static bool will_end_soon(void)
{
	return OPTION(handoff) != HANDOFF_OFF && OPTION(decay_ms) >= 0 &&
	       limit_held_bytes() >= (size_t)OPTION(handoff_min);
}

static void begin_watch(struct watch *w)
{
	bool alone;

	*w = (struct watch){.tick_us = os_now_us() + tick_length_us()};
	os_thread_name("pmdalloc");
	os_thread_leave_directory();
	release_prepare();
	alone = os_forget_descriptors();
	pressure.refuses_triggers = will_end_soon;
	pressure_open(&pressure, alone && OPTION(pressure));
	os_rights_open(&w->rights, alone);
	w->swap = swap_matters();
	w->lazy_us = os_now_us() + LAZY_MS * 1000;
	atomic_store_explicit(&blind, !w->swap && !pressure_has_source(&pressure), memory_order_relaxed);
}

/* False: the thread must end, see release_close(). */
static bool end_watch(struct watch *w)
{
	bool answered = release_close();

	huge_rest();
	pressure_close(&pressure);
	os_rights_close(&w->rights);
	return answered;
}

static int64_t sleep_ms(const struct watch *w)
{
	uint64_t now = os_now_us(), due = w->swap && w->lazy_us < w->tick_us ? w->lazy_us : w->tick_us;

	return due > now ? (int64_t)((due - now) / 1000 + 1) : 0;
}

/* Counts ticks in which there was nothing to do, or nothing that could be done: what has just been freed is too young. */
static void tick(struct watch *w)
{
	size_t before = w->left;
	size_t bytes = OPTION(decay_ms) > 0 ? give_back_old(true) : 0;
	bool rest = false;

	huge_pass_tick();
	bytes += huge_collapse(&rest);
	if (!OPTION(decay_ms))
		remote_attend_waiting(); /* what it finds goes at the next look */
	w->left = decaying_bytes() + waiting_bytes();
	w->tick_us = os_now_us() + tick_length_us();
	w->idle = bytes || rest || w->left >= WORTH_BYTES ? 0 : w->idle + 1;
	w->futile = bytes || w->left > before || OPTION(decay_ms) < 0 ? 0 : w->futile + 1;
}

static bool is_short(struct watch *w, uint64_t now)
{
	if (now < w->check_us || dirty_bytes() < WORTH_BYTES)
		return false;
	w->check_us = now + CHECK_MS * 1000;
	w->swap = swap_matters();
	return pressure_check(&pressure);
}

/* Where credentials change without our knowledge (static programs), what is free goes, and so does the thread. */
static void check_identity(struct watch *w, uint64_t now)
{
	if (now < w->identity_us)
		return;
	w->identity_us = now + IDENTITY_MS * 1000;
	w->stranger = !os_rights_same(&w->rights);
	if (w->stranger && OPTION(decay_ms) >= 0)
		give_back_all(false);
}

static void look(struct watch *w, unsigned what)
{
	uint64_t now = os_now_us(), latest = now + tick_length_us();

	if (w->tick_us > latest) /* decay_ms is shorter by now */
		w->tick_us = latest;
	release_reap(false);
	if (OPTION(pressure) && ((what & WAIT_PRESSURE) || is_short(w, now)))
		give_back_all(true);
	give_back_outgrown(true);
	if (dirty_bytes() > dirty_limit())
		give_back_beyond(dirty_limit(), true);
	if (now >= w->tick_us)
		tick(w);
	if (will_end_soon())
		pressure_do_without_triggers(&pressure);
	check_identity(w, now);
	if (w->swap && now >= w->lazy_us) {
		make_lazy();
		w->lazy_us = now + LAZY_MS * 1000;
	}
}

static bool has_work(struct watch *w)
{
	if (OPTION(decay_ms) < 0 && atomic_load_explicit(&blind, memory_order_relaxed)) {
		w->left = decaying_bytes() + waiting_bytes();
		if (dirty_bytes() <= dirty_limit())
			return false;
	}
	return !w->stranger && w->idle < IDLE_TICKS && w->futile < FUTILE_TICKS;
}

static bool shall_stop(void)
{
	return atomic_load_explicit(&stopping, memory_order_acquire);
}

static bool thread_allowed(void)
{
	uint64_t retry = atomic_load_explicit(&retry_us, memory_order_relaxed);

	return OPTION(background) == BACKGROUND_ON && !cache_instrumented && !shall_stop() &&
	       !atomic_load_explicit(&forbidden, memory_order_relaxed) &&
	       (!retry || os_now_us() >= retry ||
		decaying_bytes() + waiting_bytes() >= atomic_load_explicit(&retry_bytes, memory_order_relaxed));
}

/* What is freed beyond BYTES before the time is over calls a thread all the same: nobody may free anything after it. */
static void retry_later(size_t bytes)
{
	atomic_store_explicit(&retry_bytes, bytes, memory_order_relaxed);
	atomic_store_explicit(&retry_us, os_now_us() + RETRY_MS * 1000, memory_order_relaxed);
}

/* Whether there is something for a thread to do. */
static bool is_wanted(bool urgent)
{
	if (!urgent && decaying_bytes() + waiting_bytes() < WORTH_BYTES)
		return false;
	return urgent || OPTION(decay_ms) >= 0 ||
	       (OPTION(pressure) && !atomic_load_explicit(&blind, memory_order_relaxed));
}

static bool take_working(void)
{
	bool idle = false;

	return atomic_compare_exchange_strong(&working, &idle, true);
}

/* The thread, when it has cleared working: whether there is more to do than when it last looked. */
static bool work_has_come(size_t left)
{
	return decaying_bytes() + waiting_bytes() > left && thread_allowed() &&
	       is_wanted(dirty_bytes() > dirty_limit()) && take_working();
}

/* Returns how many bytes it left; SIZE_MAX: the thread must end. */
static size_t work(void)
{
	struct watch w;
	bool answered;

	atomic_store_explicit(&number, os_thread_number(), memory_order_relaxed);
	begin_watch(&w);
	while (!shall_stop() && has_work(&w)) {
		unsigned what = pressure_wait(&pressure, release_poll_fd(), sleep_ms(&w));

		if (!shall_stop())
			look(&w, what);
	}
	answered = end_watch(&w);
	if (w.futile >= FUTILE_TICKS)
		retry_later(w.left + WORTH_BYTES);
	return answered && !w.stranger ? w.left : SIZE_MAX;
}

static void run(void)
{
	size_t left;

	do {
		left = work();
		atomic_store_explicit(&working, false, memory_order_seq_cst);
		atomic_thread_fence(memory_order_seq_cst);
	} while (work_has_come(left));
}

static bool is_home(void)
{
	return os_process_id() == home;
}

static bool start_thread(void)
{
	if (!is_home()) /* it would end with a vfork child, and leave working set */
		return false;
	if (!take_working())
		return true;
	while (atomic_load_explicit(&alive, memory_order_acquire))
		os_wait(&alive, 1, 1); /* an earlier one is on its way out */
	if (!stack)
		stack = meta_alloc(STACK_BYTES);
	if (stack && !shall_stop() && !os_thread_start(run, stack, STACK_BYTES, &alive))
		return true;
	if (!shall_stop())
		retry_later(SIZE_MAX);
	atomic_store_explicit(&working, false, memory_order_seq_cst);
	return false;
}

/* ---- Without a thread -------------------------------------------------------------------------------------------- */

/* Whoever frees something after a tick is due does the work of it; and at once what may not wait. */
static void work_by_caller(int64_t decay, bool urgent)
{
	uint64_t now = os_now_us();
	bool due = decay >= 0 && now >= atomic_load_explicit(&next_tick_us, memory_order_relaxed);

	if ((!due && !urgent) || atomic_exchange_explicit(&ticking, true, memory_order_acquire))
		return;
	if (urgent) {
		give_back_outgrown(false);
		give_back_beyond(dirty_limit(), false);
	}
	if (due) {
		huge_pass_tick();
		atomic_store_explicit(&next_tick_us, now + tick_length_us(), memory_order_relaxed);
		give_back_old(false);
	}
	atomic_store_explicit(&ticking, false, memory_order_release);
}

/* ---- From outside ------------------------------------------------------------------------------------------------ */

void scavenger_kick(void)
{
	bool urgent = atomic_load_explicit(&heap_has_outgrown, memory_order_relaxed) || dirty_bytes() > dirty_limit();

	lock_fence(); /* see run() */
	if (atomic_load_explicit(&working, memory_order_relaxed)) {
		if (urgent)
			pressure_wake(&pressure);
		return;
	}
	if (is_wanted(urgent) && (!thread_allowed() || !start_thread()))
		work_by_caller(OPTION(decay_ms), urgent);
}

void scavenger_start(void)
{
	if (!atomic_load_explicit(&working, memory_order_relaxed) && OPTION(decay_ms) > 0 && thread_allowed())
		start_thread();
}

void (*_Atomic scavenger_on_growth)(void);

void scavenger_tell_growth(void)
{
	void (*tell)(void) = atomic_load_explicit(&scavenger_on_growth, memory_order_relaxed);

	if (atomic_load_explicit(&heap_has_grown, memory_order_relaxed) && tell) {
		atomic_store_explicit(&heap_has_grown, false, memory_order_relaxed);
		tell();
	}
}

void scavenger_options_changed(void)
{
	if (atomic_load_explicit(&working, memory_order_relaxed))
		pressure_wake(&pressure);
	else
		scavenger_kick();
}

/* Mostly it takes some ten microseconds. */
static void wait_a_moment(int times, uint32_t value)
{
	if (times < YIELDS)
		os_yield();
	else
		os_wait(&alive, value, 1);
}

/* Its stack is not in use any more, but for the kernel it may still be there. */
static void wait_for_end(void)
{
	int thread = atomic_load_explicit(&number, memory_order_relaxed);

	for (int i = 0; i < 2 * YIELDS && thread && os_thread_exists(thread); i++)
		wait_a_moment(i, 0);
	atomic_compare_exchange_strong_explicit(&number, &thread, 0, memory_order_relaxed, memory_order_relaxed);
}

static bool may_be_there(void)
{
	return atomic_load(&working) || atomic_load_explicit(&alive, memory_order_acquire);
}

/* Who is about to begin looks at `stopping` after it has set `working`: one of the two sees the other. */
bool scavenger_pause(void)
{
	bool was_there = false;

	if (!is_home()) /* the thread would not be back before the vfork child has ended */
		return false;
	atomic_fetch_add(&stopping, 1);
	for (int i = 0; may_be_there(); i++) {
		was_there = true;
		pressure_wake(&pressure);
		wait_a_moment(i, 1);
	}
	wait_for_end();
	return was_there;
}

void scavenger_send_away(void)
{
	atomic_store_explicit(&ticking, true, memory_order_relaxed); /* nor shall whoever frees do its work */
	atomic_fetch_add(&stopping, 1);
	if (may_be_there())
		pressure_wake(&pressure);
}

/* Below a signal handler there may be who has set `working`, and starts none before that returns. */
bool scavenger_leave(int ms)
{
	atomic_fetch_add(&stopping, 1);
	for (int i = 0; may_be_there(); i++) {
		if (i == YIELDS + ms)
			return false;
		pressure_wake(&pressure);
		wait_a_moment(i, 1);
	}
	wait_for_end();
	return true;
}

void scavenger_resume(bool was_there)
{
	if (!is_home())
		return;
	atomic_fetch_sub(&stopping, 1);
	if (was_there)
		scavenger_kick();
}

void scavenger_forbid_thread(void)
{
	if (!is_home() && !os_is_alone())
		return;
	atomic_store_explicit(&forbidden, true, memory_order_seq_cst);
	scavenger_resume(scavenger_pause());
	release_restrict();
}

enum { PATIENCE_MS = 1000 };

size_t scavenger_release_all(void)
{
	static _Atomic uint32_t nobody;
	size_t bytes = give_back_all(false);

	/* What another thread has given to the kernel is on its way. */
	for (int i = 0; i < PATIENCE_MS && COUNT_GET(releasing_regions); i++)
		os_wait(&nobody, 0, 1);
	return bytes;
}

void scavenger_init(void)
{
	home = os_process_id();
}

void scavenger_after_fork(void)
{
	home = os_process_id();
	atomic_store_explicit(&working, false, memory_order_relaxed);
	atomic_store_explicit(&alive, 0, memory_order_relaxed);
	atomic_store_explicit(&stopping, 0, memory_order_relaxed);
	atomic_store_explicit(&number, 0, memory_order_relaxed);
	atomic_store_explicit(&ticking, false, memory_order_relaxed);
	pressure_after_fork(&pressure);
	release_after_fork();
}
