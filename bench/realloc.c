/* SPDX-License-Identifier: MIT */
/*
 * Growth by realloc. Large: one block from 4 KiB to 1 GiB, each new page touched; an operation is the whole growth and
 * the free, in a fresh process, as a second growth would find the first one's pages. Small: vectors that get one element
 * at a time, several of them in turn, so that what is behind one is another's; an operation is an element.
 */
#include "bench.h"

#include <stdlib.h>

#define LARGEST ((size_t)1 << 30)

static size_t grown_by_half(size_t size)
{
	return size + size / 2;
}

static size_t grown_by_step(size_t size)
{
	return size + ((size_t)32 << 20);
}

static uint64_t grow(size_t low, size_t (*next)(size_t), uint64_t *realloc_ns)
{
	uint64_t start = now_ns();
	char *block = NULL;
	size_t size = 0;

	for (size_t wanted = low; size < LARGEST; wanted = next(size)) {
		uint64_t before = now_ns();

		block = realloc(block, wanted < LARGEST ? wanted : LARGEST);
		*realloc_ns += now_ns() - before;
		for (size_t i = size; i < wanted && i < LARGEST; i += 4096)
			touch(block ? block + i : NULL);
		size = wanted < LARGEST ? wanted : LARGEST;
	}
	free(block);
	return now_ns() - start;
}

static uint64_t grow_often(const struct bench *b, uint64_t ops, size_t (*next)(size_t))
{
	uint64_t ns = 0, realloc_ns = 0;

	for (uint64_t i = 0; i < ops; i++)
		ns += grow(b->low, next, &realloc_ns);
	tell("realloc_ms", (double)realloc_ns / (double)ops / 1e6);
	return ns;
}

static uint64_t run_by_half(const struct bench *b, uint64_t ops)
{
	return grow_often(b, ops, grown_by_half);
}

static uint64_t run_by_step(const struct bench *b, uint64_t ops)
{
	return grow_often(b, ops, grown_by_step);
}

struct vector {
	uint64_t *elements;
	size_t used, room;
};

static void append(struct vector *v, uint64_t element)
{
	if (v->used == v->room) {
		v->room = v->room ? v->room * 2 : 2;
		v->elements = realloc(v->elements, v->room * sizeof(*v->elements));
		if (!v->elements)
			die("out of memory");
	}
	v->elements[v->used++] = element;
}

/* HIGH elements at most in each of COUNT vectors; then all are freed, and it begins anew. */
static uint64_t run_vectors(const struct bench *b, uint64_t ops)
{
	struct vector *vectors = table_new(b->count * sizeof(*vectors));
	uint64_t start = now_ns(), done = 0;

	while (done < ops) {
		for (size_t n = 0; n < b->high && done < ops; n++)
			for (size_t i = 0; i < b->count; i++, done++)
				append(&vectors[i], n);
		for (size_t i = 0; i < b->count; i++) {
			free(vectors[i].elements);
			vectors[i] = (struct vector){0};
		}
	}
	start = now_ns() - start;
	table_drop(vectors, b->count * sizeof(*vectors));
	return scaled(start, ops, done);
}

const struct bench realloc_benches[] = {
	{.name = "realloc/1G-by-half", .run = run_by_half, .low = 4096, .warm_mib = 2048, .fixed_ops = 1},
	{.name = "realloc/1G-by-32M", .run = run_by_step, .low = 4096, .warm_mib = 2048, .fixed_ops = 1},
	{.name = "realloc/vectors", .run = run_vectors, .high = 2000, .count = 500, .warm_mib = 64},
	{.name = "realloc/long-vectors", .run = run_vectors, .high = 100000, .count = 20, .warm_mib = 64},
	{0},
};
