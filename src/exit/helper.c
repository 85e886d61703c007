/* SPDX-License-Identifier: MIT */
/*
 * What the helper does. Raw system calls, no thread-local variable, no lock, no function of the C library that could use
 * any of them: it shares all memory with a program that is in the middle of whatever it did, and later with none.
 *
 * Invariant: memory is dropped only when the kernel has said that nobody else uses the address space (a vfork child may
 * outlive its parent, and an exec may take only the process away). In any other case the helper just ends, and whoever
 * leaves last tears all of it down.
 *
 * Everything here is written before the helper begins, or by the helper and its threads alone.
 */
#include "exit/helper.h"

#include "conf/options.h"
#include "exit/cgroup.h"
#include "exit/conditions.h"
#include "heap/heap.h"
#include "os/os.h"
#include "os/pressure.h"
#include "os/process.h"

enum {
	STACK_BYTES = 32 << 10,
	WORKER_STACK_BYTES = 8 << 10,
	WORKERS_MAX = 15,  /* besides the helper itself */
	PIECE_REGIONS = 8, /* a millisecond */
	LOOK_MS = 60000,
	REST_US = 200,
};

_Atomic uint32_t helper_progress;

static struct {
	uint32_t parent;
	int pipe, process;
	size_t held;
	struct cpu_mask cpus; /* that the process may use */
} request;

/* Of each heap: the next region to be dropped, the end of those that were ever used. */
static struct {
	_Atomic size_t next;
	size_t end;
	char *base;
} work[HEAPS_MAX];

/* Not of the metadata pool: that has a lock, and this may be a signal handler. Untouched, it costs nothing. */
static char stack[STACK_BYTES] __attribute__((aligned(64)));
static char worker_stacks[WORKERS_MAX][WORKER_STACK_BYTES] __attribute__((aligned(64)));
static _Atomic uint32_t workers_alive[WORKERS_MAX];

/* ---- Dropping the heap ------------------------------------------------------------------------------------------- */

/* A piece of what is left of the heap. False: there is none. */
static bool drop_piece(void)
{
	for (int i = 0; i < HEAPS_MAX && work[i].end; i++) {
		size_t at = atomic_fetch_add_explicit(&work[i].next, PIECE_REGIONS, memory_order_relaxed);
		size_t count = min_size(PIECE_REGIONS, work[i].end - at);

		if (at < work[i].end) {
			os_drop(work[i].base + (at << REGION_SHIFT), count << REGION_SHIFT);
			return true;
		}
	}
	return false;
}

static void run_worker(void)
{
	while (drop_piece())
		;
}

static void list_work(void)
{
	for (int i = 0; i < HEAPS_MAX; i++) {
		struct heap *h = atomic_load_explicit(&heaps[i], memory_order_acquire);

		if (!h)
			break;
		work[i].base = h->base;
		work[i].end = atomic_load_explicit(&h->top, memory_order_relaxed);
	}
}

/*
 * As many threads as there are CPUs with nothing to do; that is looked at after each piece, since at first whoever waited
 * for the process runs. The last thread to end takes what else there is in the address space along.
 */
void helper_drop_heap(void)
{
	unsigned cpus = os_cpus();
	size_t workers = 0;

	list_work();
	while (drop_piece()) {
		unsigned running = os_running();

		if (!running || running >= cpus || workers == WORKERS_MAX)
			continue;
		if (os_thread_start(run_worker, worker_stacks[workers], WORKER_STACK_BYTES, &workers_alive[workers]))
			return; /* the kernel's own way is as good for one */
		workers++;
	}
}

/* ---- Waiting ----------------------------------------------------------------------------------------------------- */

static void answer(uint32_t progress)
{
	atomic_store_explicit(&helper_progress, progress, memory_order_release);
	os_wake(&helper_progress);
}

/* From here on the helper holds nothing that somebody else could wait for, but the memory. */
static bool part_from_program(void)
{
	if (!os_keep_descriptor(request.pipe))
		return false;
	os_leave_session();
	os_thread_leave_directory();
	os_thread_name("pmdalloc-exit");
	return true;
}

/*
 * A number may be another process's by now, unless it still is the parent's afterwards. In another pid namespace it never
 * is.
 */
static bool find_parent(void)
{
	request.process = os_process_descriptor(request.parent);
	return request.process >= 0 && os_parent_id() == request.parent;
}

/*
 * Until the process has ended or runs another program. Whether the memory may be dropped then.
 *
 * The pipe may tell before all threads are gone, as some have descriptors of their own (the library's background thread),
 * or because the program has closed what it does not know. Then the process's end counts, or, if it ran another program while
 * somebody else shares its memory, the end of that: nothing tells of it, so that is looked at now and then.
 */
static bool wait_until_alone(void)
{
	int64_t ms = -1;

	for (;;)
		switch (os_wait_for_end(request.process, ms < 0 ? request.pipe : -1, ms)) {
		case END_UNKNOWN:
			return false;
		case END_OF_PROCESS:
			return os_is_alone();
		default:
			if (os_is_alone())
				return true;
			ms = ms < 0 ? 1 : ms < LOOK_MS ? 2 * ms : LOOK_MS;
		}
}

/*
 * Where memory is short what waits would be swapped out meanwhile. What nobody is left to use the kernel spares that (since
 * 6.12), and tears it down at the usual priority.
 */
bool helper_may_take_time(size_t held)
{
	return pressure_has_room(held, 0);
}

static void run(void)
{
	cgroup_tell();
	if (!part_from_program() || !find_parent() ||
	    !conditions_allow_helper(request.held, cgroup_is_other() ? request.parent : 0)) {
		answer(HELPER_REFUSED);
		os_exit(NO_HELPER_STATUS);
	}
	answer(HELPER_READY);
	os_leave_cpu(&request.cpus);
	if (!wait_until_alone())
		return;
	os_rest(REST_US); /* whoever waits for the process's end is being told of it, mostly on this CPU */
	os_prefer_to_be_killed();
	if (!helper_may_take_time(request.held))
		return;
	os_lower_priority();
	helper_drop_heap();
}

/* On the CPU of who waits for it, see os_stay_on_cpu(). */
int helper_start(uint32_t parent, int pipe, size_t held, int *number)
{
	request.parent = parent;
	request.pipe = pipe;
	request.held = held;
	os_stay_on_cpu(&request.cpus);
	return cgroup_start(run, stack, sizeof stack, &helper_progress, number);
}

void helper_started(void)
{
	os_leave_cpu(&request.cpus);
}
