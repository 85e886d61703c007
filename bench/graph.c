/* SPDX-License-Identifier: MIT */
/*
 * Graphs of objects between threads, in the manner of mimalloc's stress test: each thread builds trees of objects, keeps
 * some, drops some, and swaps others with what lies in a table that all threads share, so that trees wander between
 * threads and are freed by whoever finds them. Between two rounds all threads end and new ones go on with what is in the
 * table. An operation is an object.
 */
#include "bench.h"

#include <stdatomic.h>
#include <stdlib.h>

enum { SHARED = 1000, KEPT = 200, ROUND = 20000, BRANCHES = 4 };

/* An object with its children; the rest of it is its own data. */
struct node {
	unsigned children;
	struct node *child[BRANCHES];
};

struct builder {
	_Alignas(128) uint64_t random;
	uint64_t objects; /* still to be made in this round */
	_Atomic(struct node *) *shared;
	struct node *kept[KEPT];
};

/* Mostly small, now and then up to 32 KiB. */
static size_t node_size(uint64_t *random)
{
	size_t limit = 64;

	while (limit < 32768 && random_below(random, 4) == 0)
		limit *= 4;
	return sizeof(struct node) + random_below(random, limit);
}

static struct node *tree_new(struct builder *b, unsigned depth)
{
	struct node *node = touch(malloc(node_size(&b->random)));
	unsigned wanted = depth ? (unsigned)random_below(&b->random, BRANCHES + 1) : 0;

	if (b->objects)
		b->objects--;
	node->children = 0;
	while (b->objects && node->children < wanted) {
		struct node *child = tree_new(b, depth - 1);

		node->child[node->children++] = child;
	}
	return node;
}

static void tree_free(struct node *node)
{
	if (!node)
		return;
	for (unsigned i = 0; i < node->children; i++)
		tree_free(node->child[i]);
	free(node);
}

static void work(void *argument)
{
	struct builder *b = argument;

	while (b->objects) {
		struct node *tree = tree_new(b, 3);
		struct node **place = &b->kept[random_below(&b->random, KEPT)];

		tree_free(*place);
		*place = tree;
		if (random_below(&b->random, 2)) {
			size_t at = random_below(&b->random, SHARED);

			*place = atomic_exchange_explicit(&b->shared[at], tree, memory_order_acq_rel);
		}
	}
	/* A thread that ends leaves a quarter of what it has to others. */
	for (unsigned i = 0; i < KEPT; i++) {
		if (i % 4 == 0)
			b->kept[i] = atomic_exchange_explicit(&b->shared[random_below(&b->random, SHARED)], b->kept[i],
							      memory_order_acq_rel);
		tree_free(b->kept[i]);
		b->kept[i] = NULL;
	}
}

static uint64_t run(const struct bench *b, uint64_t ops)
{
	struct builder *builders = table_new(b->threads * sizeof(*builders));
	_Atomic(struct node *) *shared = table_new(SHARED * sizeof(*shared));
	uint64_t done = 0, ns = 0;

	for (unsigned i = 0; i < b->threads; i++)
		builders[i] = (struct builder){.random = RANDOM_SEED + i, .shared = shared};
	while (done < ops) {
		for (unsigned i = 0; i < b->threads; i++)
			builders[i].objects = ROUND;
		ns += threads_run(b->threads, work, builders, sizeof(*builders));
		done += (uint64_t)ROUND * b->threads;
	}
	for (unsigned i = 0; i < SHARED; i++)
		tree_free(shared[i]);
	table_drop(shared, SHARED * sizeof(*shared));
	table_drop(builders, b->threads * sizeof(*builders));
	return scaled(ns, ops, done);
}

const struct bench graph_benches[] = {
	{.name = "graph/2", .run = run, .threads = 2, .warm_mib = 128},
	{.name = "graph/8", .run = run, .threads = 8, .warm_mib = 256},
	{0},
};
