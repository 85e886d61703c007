/* SPDX-License-Identifier: MIT */
/*
 * Between the library and the kernel: rules by which system calls of the library, and of nobody else, fail, are delayed
 * or are answered falsely; a count of them; and a clock that jumps.
 *
 * For programs that are linked with libpmdinject.a, a second build of the library's sources in which os_syscall() asks
 * inject_syscall() first, and os_inject() inject_elsewhere().
 */
#ifndef PMDALLOC_TEST_INJECT_H
#define PMDALLOC_TEST_INJECT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/syscall.h>

enum inject_action {
	INJECT_NOTHING, /* delays only */
	INJECT_FAIL,    /* the kernel is not asked; the answer is -error */
	INJECT_SHORT,   /* of a process_madvise: the kernel is given half of the vector, or of its only range */
	INJECT_LATE,    /* the answer is success, but the kernel is asked late_us later: a bug, for tests of tests */
	INJECT_ANSWER,  /* the kernel is not asked; answer() is */
};

struct inject_rule {
	long nr;                           /* the system call */
	const char *site;                  /* the function of the library that makes it; NULL: any */
	bool (*match)(const long args[6]); /* those of them that are meant, NULL: all; args NULL: not known */
	enum inject_action action;
	int error;
	long (*answer)(const long args[6]);
	size_t first, last, every;    /* calls FIRST (from 1) to LAST (0: no end), of those every EVERY-th (0: all) */
	unsigned chance;              /* of those so many in 65,536, at random (0: all) */
	unsigned before_us, after_us; /* delays of up to so long, at random */
	unsigned late_us;
};

/* Adds a rule and returns its number. Of several that a call meets the one that was added first is applied. */
size_t inject_add(struct inject_rule rule);

/* From now on no rule is applied. */
void inject_clear(void);

/* Calls that a rule was for, and those to which it was applied. */
size_t inject_met(size_t rule);
size_t inject_hits(size_t rule);

/* Calls of NR by the library, whatever became of them. */
size_t inject_calls(long nr);

/*
 * The same by site and call: counted in a table of SITES places, zero at first, that the test provides. It may be memory
 * that processes share.
 */
struct inject_site {
	_Atomic unsigned state; /* INJECT_FREE ... */
	long nr;
	char name[36];
	_Atomic size_t calls, hits;
};
enum { INJECT_FREE, INJECT_BEING_MADE, INJECT_READY };
void inject_count_sites(struct inject_site *table, size_t sites);

void inject_seed(uint64_t seed);

/* Waits until the kernel was asked for everything that INJECT_LATE put off. */
void inject_settle(void);

/* The library's clock jumps ahead; its waits (futex, ppoll) end as soon as the clock has passed their time limit. */
void inject_advance_ms(uint64_t ms);

/* A match: of madvise, process_madvise, mmap, those that release whole regions (and not slices, pages, metadata). */
bool inject_is_release(const long args[6]);

#endif
