/* SPDX-License-Identifier: MIT */
/*
 * The background thread and its clock. A tick is half the decay time, and what was free at two ticks in a row goes:
 * so it goes between half the decay time and the whole after it was freed. heap_tick is advanced by the thread
 * alone.
 *
 * alive is 1 while a thread exists and 0 when its stack may be used again; the kernel clears it. working is true
 * while the thread looks again by itself, so a kick has nothing to do. It is cleared before the thread ends: memory
 * that became free after its last look is the business of the kick that follows, which may have to wait for the
 * stack for the moment in between.
 */
#include "cache/scavenger.h"
#include "cache/cache.h"
#include "cache/memcheck.h"
#include "conf/options.h"
#include "os/os.h"

enum {
	STACK_BYTES = 64 << 10,
	WORTH_BYTES = 4 << 20, /* less than this is not worth a thread */
	IDLE_TICKS = 4,        /* the thread ends after so many ticks with nothing to give back */
};

static _Atomic uint32_t alive;
static _Atomic uint32_t never; /* 0: what the thread sleeps on */
static _Atomic bool working;
static _Atomic bool forbidden;        /* a thread may not be started */
static _Atomic uint64_t next_tick_ms; /* without a thread: when the next tick is due */
static char *stack;

static size_t dirty_bytes(void)
{
	size_t slices = atomic_load_explicit(&arena_dirty_slices, memory_order_relaxed) +
			atomic_load_explicit(&cache_unexamined, memory_order_relaxed);

	return (COUNT_GET(dirty_regions) << REGION_SHIFT) + (slices << SLICE_SHIFT);
}

static size_t purge_regions(struct heap *h, bool aged_only)
{
	size_t top = atomic_load_explicit(&h->top, memory_order_acquire), bytes = 0;

	for (size_t i = 0; i < top; i++)
		bytes += arena_purge(heap_region(h, i), aged_only);
	return bytes;
}

/* Gives back what has been free since tick UNTIL. Slabs first: they may empty slices. */
static size_t give_back(uint32_t until, bool aged_only)
{
	size_t bytes = 0;

	memcheck_silence();
	for (int i = 0; i < ARENAS_MAX; i++) {
		struct arena *a = atomic_load_explicit(&arenas[i], memory_order_acquire);

		if (a)
			bytes += cache_purge_held(a, until);
	}
	for (int i = 0; i < HEAPS_MAX; i++) {
		struct heap *h = atomic_load_explicit(&heaps[i], memory_order_acquire);

		if (h)
			bytes += heap_release(h, until) + purge_regions(h, aged_only);
	}
	memcheck_resume();
	return bytes;
}

static void run(void)
{
	int idle = 0;

	while (idle < IDLE_TICKS) {
		int64_t decay = OPTION(decay_ms);
		uint32_t now;
		size_t bytes;

		os_wait(&never, 0, decay > 2 ? decay / 2 : 1);
		now = atomic_fetch_add_explicit(&heap_tick, 1, memory_order_relaxed) + 1;
		bytes = decay < 0 ? 0 : give_back(now - 2, true);
		idle = bytes || dirty_bytes() >= WORTH_BYTES ? 0 : idle + 1;
	}
	atomic_store_explicit(&working, false, memory_order_seq_cst);
}

static void start_thread(void)
{
	bool idle = false;

	if (atomic_load_explicit(&alive, memory_order_acquire))
		os_wait(&alive, 1, 1); /* an earlier one is on its way out */
	if (atomic_load_explicit(&alive, memory_order_acquire))
		return;
	if (!atomic_compare_exchange_strong(&working, &idle, true))
		return;
	if (!stack)
		stack = meta_alloc(STACK_BYTES);
	if (!stack || os_thread_start(run, stack, STACK_BYTES, &alive)) {
		scavenger_forbid_thread();
		atomic_store_explicit(&working, false, memory_order_relaxed);
	}
}

static bool thread_allowed(void)
{
	return OPTION(background) == BACKGROUND_ON && !cache_instrumented &&
	       !atomic_load_explicit(&forbidden, memory_order_relaxed);
}

/* Without a thread, whoever frees something after a tick is due does the work of it. */
static void tick_by_caller(int64_t decay)
{
	uint64_t now = os_now_ms(), due = atomic_load_explicit(&next_tick_ms, memory_order_relaxed);

	if (now < due || !atomic_compare_exchange_strong(&next_tick_ms, &due, now + (uint64_t)decay / 2 + 1))
		return;
	give_back(atomic_fetch_add_explicit(&heap_tick, 1, memory_order_relaxed) - 1, true);
}

void scavenger_kick(void)
{
	int64_t decay = OPTION(decay_ms);

	if (atomic_load_explicit(&working, memory_order_relaxed) || decay < 0)
		return;
	if (!decay)
		give_back(atomic_load_explicit(&heap_tick, memory_order_relaxed), false);
	else if (dirty_bytes() < WORTH_BYTES)
		return;
	else if (thread_allowed())
		start_thread();
	else
		tick_by_caller(decay);
}

void scavenger_forbid_thread(void)
{
	atomic_store_explicit(&forbidden, true, memory_order_relaxed);
}

size_t scavenger_release_all(void)
{
	return give_back(atomic_load_explicit(&heap_tick, memory_order_relaxed), false);
}

void scavenger_after_fork(void)
{
	atomic_store_explicit(&working, false, memory_order_relaxed);
	atomic_store_explicit(&alive, 0, memory_order_relaxed);
}
