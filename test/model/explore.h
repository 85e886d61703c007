/* SPDX-License-Identifier: MIT */
/*
 * Exhaustive exploration of small models. A model is a state of a few bytes and a function that says every step that
 * can be made from a state; the explorer visits all states that can be reached, the nearest first, so that the trace of
 * what it finds is as short as can be.
 *
 * Checked of every state: that nothing is wrong with it, and that from it one can still get to a settled state. The
 * latter finds deadlocks, and what is lost for good (a region that never becomes available again), if whatever may
 * happen again and again does happen at last.
 *
 * A model is explored in each of its variants as it is, where nothing may be found, and with each mistake that can be
 * put into it, which must be found, in one variant at least, and by the property that is there for it: a model that
 * cannot be wrong proves nothing.
 */
#ifndef PMDALLOC_TEST_MODEL_EXPLORE_H
#define PMDALLOC_TEST_MODEL_EXPLORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct mistake {
	const char *what;
	const char *found_by; /* what is wrong then; NULL: that nothing settles any more */
};

struct variant {
	const char *name;
	bool large; /* explored with --large only, and without mistakes */
};

struct model {
	const char *name;
	const struct variant *variants;
	size_t variant_count;
	size_t size;                             /* of a state; every byte of it counts */
	void (*start)(void *state);              /* fills in the first state, which is all zero */
	void (*steps)(const void *state);        /* calls explore_step for each step that can be made */
	const char *(*wrong)(const void *state); /* NULL when nothing is */
	bool (*settled)(const void *state);      /* from everywhere one must be able to get to such a state */
	const char *unsettled;                   /* what is wrong where one cannot */
	const struct mistake *mistakes;          /* number 0 is none */
	size_t mistake_count;
};

/* For the functions of a model: what is being explored. */
extern size_t explore_variant, explore_mistake;

/* A step leads to NEXT; the words say what is done. If it can be made again and again, it is at last. */
__attribute__((format(printf, 2, 3))) void explore_step(const void *next, const char *words, ...);

/* The same of what may as well never happen: nothing can be settled by it. */
__attribute__((format(printf, 2, 3))) void explore_chance(const void *next, const char *words, ...);

extern const struct model model_regions, model_slices, model_slabs, model_thread;

#endif
