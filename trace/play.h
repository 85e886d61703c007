/* SPDX-License-Identifier: MIT */
/*
 * Plays a trace once, in a process of its own, in which nothing else allocates: once the steps are there, only they and
 * the start of threads call the allocator.
 */
#ifndef TRACE_PLAY_H
#define TRACE_PLAY_H

#include "trace/plan.h"

enum touch { TOUCH_NONE, TOUCH_PAGES, TOUCH_ALL };

/* What is measured: the time, or memory at many points, which takes time of its own. */
enum pass { PASS_TIME, PASS_MEMORY };

struct memory {
	uint64_t rss_kb, pte_kb;
};

struct played {
	struct facts facts;
	char allocator[256]; /* the file that serves malloc */
	uint64_t ns, faults;
	uint64_t refused; /* requests that had been granted when recorded */
	/* Above the start: */
	struct memory peak, average, end;
	uint64_t samples;
};

void play(struct played *result, const char *path, enum threads threads, enum touch touch, enum pass pass);

#endif
