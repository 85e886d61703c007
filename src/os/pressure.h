/* SPDX-License-Identifier: MIT */
/*
 * What tells that memory is short, and the sleep of the one thread that listens to it.
 *
 * Three things say so: stalls (PSI) of this process's cgroup; those of the whole machine, which count only while
 * little memory is available there, as another cgroup may well be stalled on a limit of its own; and memory.events of the nearest cgroup with a limit, which counts only while that cgroup's use, without the file pages
 * that nobody looked at again, is close to the limit, as page cache fills every cgroup in time. What is not there, or
 * not allowed, is left out without a word.
 *
 * All but pressure_wake and pressure_after_fork is for the listening thread alone. It has all signals blocked, and
 * descriptors of its own, so that the program sees none of these.
 */
#ifndef PMD_OS_PRESSURE_H
#define PMD_OS_PRESSURE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct text;

enum { PRESSURE_PATH = 1024 };

/* Time spent waiting for memory, as read where there is no trigger. */
struct pressure_stall {
	uint64_t total_us, at_ms;
};

/* All zero before pressure_open. Descriptors are -1 where there is nothing. */
struct pressure {
	int group;   /* trigger on this process's cgroup */
	int machine; /* trigger on the machine */
	int events;  /* memory.events */
	int stalls;  /* the machine's, where there is no trigger */
	int wake;    /* signalfd; -1: woken through the futex WOKEN */
	bool listening;
	bool own_group;        /* this process's cgroup is not the machine's root */
	bool without_triggers; /* from now on; see pressure_do_without_triggers */

	bool (*refuses_triggers)(void); /* asked before there are any; NULL: nobody does */

	_Atomic uint32_t woken;  /* 1: pressure_wait shall return */
	_Atomic uint32_t tid;    /* whom to send the signal; 0: nobody, the futex is enough */
	_Atomic uint32_t wakers; /* threads between reading tid and having sent the signal */

	char dir[PRESSURE_PATH];  /* this process's cgroup (version 2), without a slash at its end; empty: unknown */
	size_t dir_len, root_len; /* of dir, and of the part of it that is the root of what can be seen */
	size_t limit_len;         /* of the part of dir that is the nearest cgroup with a limit; 0: no limit */
	uint64_t events_seen;     /* the counters of memory.events that matter, added up */
	uint64_t events_from_ms;  /* not looked at before: at the limit they may come a hundred times a second */
	struct pressure_stall group_stall, machine_stall;
	uint64_t triggers_at_ms; /* when triggers shall be set; 0: they were, as far as they can be */
	uint64_t sample_at_ms;   /* when stalls without a trigger are looked at next */
};

/*
 * Opens what there is, or, without LISTEN, no descriptor at all: then pressure_wait only sleeps and is woken. Nobody
 * else need be told: pressure_wake may come before.
 */
void pressure_open(struct pressure *p, bool listen);

/* Whether anything could be opened that tells of pressure. */
bool pressure_has_source(const struct pressure *p);

/* From now on nobody signals the calling thread, which may end. */
void pressure_close(struct pressure *p);

enum pressure_reason { WAIT_TIMEOUT = 0, WAIT_WOKEN = 1, WAIT_PRESSURE = 2, WAIT_EXTRA = 4 };

/*
 * Sleeps until something happens, at most MS milliseconds (-1: without end), and returns the reasons, each reported
 * once. EXTRA_FD: a descriptor of this thread that is waited for as well, until it is readable or broken; -1: none. Where
 * ppoll or signalfd is forbidden it is looked at only after the sleep.
 */
unsigned pressure_wait(struct pressure *p, int extra_fd, int64_t ms);

/*
 * From now on there are no triggers, and what there are is given back, for which the kernel lets the calling thread wait
 * for some 15 ms each. Stalls are looked at once a second.
 */
void pressure_do_without_triggers(struct pressure *p);

/* Makes the pressure_wait under way, or the next one, return. From any thread, with any lock held. */
void pressure_wake(struct pressure *p);

/*
 * Whether memory is short at this moment: a cgroup close to its limit, or stalls of late where there is no trigger. Follows the process to another cgroup. To be asked at each tick: some 20 to 100 microseconds.
 */
bool pressure_check(struct pressure *p);

/* Makes T, in BUF of ROOM bytes, the directory where cgroups of version 2 are mounted. False where they are not. */
bool pressure_find_mount(struct text *t, char *buf, size_t room);

/* Whether this process's pages can be swapped out: the machine has swap, and no cgroup around forbids it. */
bool pressure_swap_present(const struct pressure *p);

/*
 * Whether PROCESS (0: the calling one) could allocate BYTES before its cgroups' limits, or the machine, run out of memory.
 * Not where its cgroup cannot be seen. Uses none of what is above; for one caller at a time.
 */
bool pressure_has_room(uint64_t bytes, uint32_t process);

/* The same, of the machine alone; not where it cannot be seen. Async-signal-safe. */
bool pressure_machine_has_room(uint64_t bytes);

/* In a forked child, where the thread is not. */
void pressure_after_fork(struct pressure *p);

/* For tests: stands before the paths of /proc and /sys. Not NULL. */
extern __attribute__((visibility("hidden"))) const char *pressure_root;

#endif
