/* SPDX-License-Identifier: MIT */
/*
 * What to do to replay a trace: a list of operations for each thread, made from the events in the order of time before
 * anything is measured.
 *
 * Blocks have slots, which hold what the allocator gave. A slot is used again by the thread that freed its block last.
 * Each operation on a slot has a turn: in several threads it waits until the turns before have been done. All
 * operations are made in one order, that of time, and any waits only for earlier ones; the earliest that is not done
 * yet waits for none, so there is always one that can be done. The start of a thread is an operation too, of the thread
 * that comes before it in that order, and waits for as many threads to have ended as had ended when it was recorded.
 */
#ifndef TRACE_PLAN_H
#define TRACE_PLAN_H

#include "trace/reader.h"

enum operation { DO_MALLOC, DO_CALLOC, DO_REALLOC, DO_ALIGNED, DO_FREE, DO_START };

struct step {
	uint64_t size;
	uint32_t slot; /* DO_START: the lane */
	uint32_t turn; /* DO_START: how many threads must have ended */
	uint8_t operation;
	uint8_t shift; /* the alignment: 1 << SHIFT */
};

/* What a thread does. */
struct lane {
	struct vector steps;
	uint32_t free_slot; /* of those that it freed, + 1 */
};

/* What the trace says, whoever serves. */
struct facts {
	char name[FILE_NAME_BYTES + 1];
	uint32_t pid, parent, forked, whole;
	uint64_t cut, events, threads, recorded_ns;
	uint64_t calls[CALLS];
	uint64_t steps;           /* what is replayed */
	uint64_t allocated_bytes; /* by all calls */
	uint64_t live_peak, blocks_peak, live_end, blocks_end;
	double live_average; /* over the events */
	/* Oddities: */
	uint64_t null_frees, failed, unknown, twice, odd_alignments;
};

struct plan {
	struct facts facts;
	struct vector lanes;
	uint32_t first_lane;
	uint32_t slots;
};

enum threads { THREADS_SINGLE, THREADS_RECORDED };

/* Called for each half of an event, in the order of time. */
typedef void plan_watcher(enum half half, const struct event *event);

/* Reads the trace at PATH. Makes no steps unless MAKE. */
void plan_make(struct plan *plan, const char *path, enum threads threads, bool make, plan_watcher *watch);

#endif
