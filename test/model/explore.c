/* SPDX-License-Identifier: MIT */
/*
 * The explorer, and the program around it: test/model/explore [--large] [MODEL]...
 *
 * States are kept in the order in which they are found, which is by distance from the start. Words are made only for
 * the one trace that is printed, by making its steps once more.
 */
#include "explore.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

size_t explore_variant, explore_mistake;

enum { STATES_MAX = 40 * 1000 * 1000, NO_STATE = UINT32_MAX };

static const struct model *model;

static struct {
	unsigned char *bytes; /* model->size for each */
	uint32_t *parent;
	size_t *edges_end; /* in edges, of those that leave it */
	size_t count, room;
} states;

static struct {
	uint32_t *to;
	size_t count, room;
} edges;

static struct {
	uint32_t *slots; /* of an index in states, NO_STATE when empty */
	size_t mask;
} table;

static uint32_t expanding;
static size_t chances; /* steps that are in no edge */

/* While one step's words are wanted, and until they are printed: the state that it leads to. */
static bool naming;
static const unsigned char *wanted;

static void *more(void *p, size_t count, size_t bytes)
{
	p = realloc(p, count * bytes);
	if (!p) {
		fprintf(stderr, "explore: out of memory\n");
		exit(1);
	}
	return p;
}

static unsigned char *state_at(uint32_t i)
{
	return states.bytes + i * model->size;
}

static size_t hash(const unsigned char *state)
{
	uint64_t h = 0xcbf29ce484222325;

	for (size_t i = 0; i < model->size; i++)
		h = (h ^ state[i]) * 0x100000001b3;
	return (size_t)(h ^ h >> 29);
}

static uint32_t *slot_of(const unsigned char *state)
{
	size_t at = hash(state) & table.mask;

	while (table.slots[at] != NO_STATE && memcmp(state_at(table.slots[at]), state, model->size))
		at = (at + 1) & table.mask;
	return &table.slots[at];
}

static void make_table(size_t slots)
{
	table.slots = more(table.slots, slots, sizeof table.slots[0]);
	table.mask = slots - 1;
	memset(table.slots, 0xff, slots * sizeof table.slots[0]);
	for (uint32_t i = 0; i < states.count; i++)
		*slot_of(state_at(i)) = i;
}

static void make_room(void)
{
	if (states.count >= STATES_MAX) {
		fprintf(stderr, "explore: more than %d states\n", STATES_MAX);
		exit(1);
	}
	if (states.count == states.room) {
		states.room = states.room ? 2 * states.room : 1024;
		states.bytes = more(states.bytes, states.room, model->size);
		states.parent = more(states.parent, states.room, sizeof states.parent[0]);
		states.edges_end = more(states.edges_end, states.room, sizeof states.edges_end[0]);
	}
	if (2 * states.count > table.mask)
		make_table(2 * (table.mask + 1));
}

static uint32_t enter(const void *state, uint32_t parent)
{
	uint32_t *slot;

	make_room();
	slot = slot_of(state);
	if (*slot == NO_STATE) {
		*slot = (uint32_t)states.count++;
		memcpy(state_at(*slot), state, model->size);
		states.parent[*slot] = parent;
	}
	return *slot;
}

static void name_step(const void *next, const char *words, va_list args)
{
	if (!wanted || memcmp(next, wanted, model->size))
		return;
	vprintf(words, args);
	putchar('\n');
	wanted = NULL;
}

static void add_edge(uint32_t to)
{
	if (edges.count == edges.room) {
		edges.room = edges.room ? 2 * edges.room : 4096;
		edges.to = more(edges.to, edges.room, sizeof edges.to[0]);
	}
	edges.to[edges.count++] = to;
}

void explore_step(const void *next, const char *words, ...)
{
	va_list args;

	va_start(args, words);
	if (naming)
		name_step(next, words, args);
	else
		add_edge(enter(next, expanding));
	va_end(args);
}

void explore_chance(const void *next, const char *words, ...)
{
	va_list args;

	va_start(args, words);
	if (naming)
		name_step(next, words, args);
	else
		enter(next, expanding);
	va_end(args);
	chances++;
}

static void print_step(uint32_t from, uint32_t to)
{
	unsigned char *copy = more(NULL, 1, model->size);

	memcpy(copy, state_at(from), model->size);
	wanted = state_at(to);
	naming = true;
	model->steps(copy);
	naming = false;
	free(copy);
}

static size_t print_trace(uint32_t last)
{
	size_t n;

	if (states.parent[last] == NO_STATE)
		return 0;
	n = print_trace(states.parent[last]) + 1;
	printf("    %2zu. ", n);
	print_step(states.parent[last], last);
	return n;
}

/* Something else than what is looked for ends a trace, but not the search. */
static bool is_looked_for(const char *what, const char *expected)
{
	return what && (!expected || !strcmp(what, expected));
}

/* Visits all that can be reached, or up to the first state where something is wrong: EXPECTED, unless that is NULL. */
static const char *visit(const char *expected, uint32_t *where)
{
	unsigned char *copy = more(NULL, 1, model->size);
	const char *what = NULL;

	memset(copy, 0, model->size);
	model->start(copy);
	enter(copy, NO_STATE);
	for (uint32_t i = 0; !is_looked_for(what, expected) && i < states.count; i++) {
		memcpy(copy, state_at(i), model->size); /* states move when there are more */
		*where = expanding = i;
		what = model->wrong(copy);
		if (!what)
			model->steps(copy);
		states.edges_end[i] = edges.count;
	}
	free(copy);
	return is_looked_for(what, expected) ? what : NULL;
}

static size_t edges_begin(uint32_t i)
{
	return i ? states.edges_end[i - 1] : 0;
}

static bool leads_to(uint32_t i, const bool *marked)
{
	for (size_t e = edges_begin(i); e < states.edges_end[i]; e++)
		if (marked[edges.to[e]])
			return true;
	return false;
}

/* The nearest state from which no settled one can be reached. */
static const char *find_unsettled(uint32_t *where)
{
	bool *can = calloc(states.count, sizeof can[0]), changed = true;
	const char *what = NULL;

	for (uint32_t i = 0; i < states.count; i++)
		can[i] = model->settled(state_at(i)) || model->wrong(state_at(i));
	while (changed) {
		changed = false;
		for (uint32_t i = (uint32_t)states.count; i-- > 0;)
			if (!can[i] && leads_to(i, can))
				changed = can[i] = true;
	}
	for (uint32_t i = 0; !what && i < states.count; i++)
		if (!can[i]) {
			*where = i;
			what = model->unsettled;
		}
	free(can);
	return what;
}

static const char *explore(const char *expected, uint32_t *where)
{
	const char *what;

	states.count = edges.count = chances = 0;
	free(states.bytes); /* the next model's are of another size */
	states.bytes = NULL;
	states.room = 0;
	make_table(1 << 16);
	what = visit(expected, where);
	return what || (expected && expected != model->unsettled) ? what : find_unsettled(where);
}

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* The model as it is: false when something is found. */
static bool explore_as_it_is(void)
{
	double start = now();
	uint32_t where = 0;
	const char *what = explore(NULL, &where);

	printf("%s, %s: %zu states, %zu steps, %.2f s: %s\n", model->name, model->variants[explore_variant].name,
	       states.count, edges.count + chances, now() - start, what ? what : "nothing is wrong");
	if (what)
		print_trace(where);
	return !what;
}

/* The model with one mistake, in the first variant that shows it: false when none does. */
static bool explore_mistaken(void)
{
	const struct mistake *m = &model->mistakes[explore_mistake];
	const char *expected = m->found_by ? m->found_by : model->unsettled, *what = NULL;
	uint32_t where = 0;

	for (explore_variant = 0; explore_variant < model->variant_count; explore_variant++)
		if (!model->variants[explore_variant].large && (what = explore(expected, &where)))
			break;
	if (!what) {
		printf("%s, mistake: %s: NOT FOUND\n", model->name, m->what);
		return false;
	}
	printf("%s, %s, mistake: %s; found after %zu states: %s\n", model->name, model->variants[explore_variant].name,
	       m->what, states.count, what);
	print_trace(where);
	return true;
}

static size_t explore_model(bool large)
{
	size_t bad = 0;

	explore_mistake = 0;
	for (explore_variant = 0; explore_variant < model->variant_count; explore_variant++)
		if (large || !model->variants[explore_variant].large)
			bad += !explore_as_it_is();
	for (explore_mistake = 1; explore_mistake < model->mistake_count; explore_mistake++)
		bad += !explore_mistaken();
	return bad;
}

/* Without any names, all. */
static bool is_asked_for(const char *name, int argc, char **argv)
{
	for (int i = 0; i < argc; i++)
		if (!strcmp(argv[i], name))
			return true;
	return !argc;
}

int main(int argc, char **argv)
{
	static const struct model *const models[] = {&model_regions, &model_slices, &model_slabs, &model_thread};
	bool large = argc > 1 && !strcmp(argv[1], "--large");
	size_t bad = 0, mistakes = 0, explored = 0;

	for (size_t i = 0; i < sizeof models / sizeof models[0]; i++) {
		model = models[i];
		if (!is_asked_for(model->name, argc - 1 - large, argv + 1 + large))
			continue;
		explored++;
		bad += explore_model(large);
		mistakes += model->mistake_count - 1;
	}
	printf("%zu models, %zu mistakes, %zu results that should not be\n", explored, mistakes, bad);
	return bad || !explored;
}
