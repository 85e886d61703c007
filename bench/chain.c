/* SPDX-License-Identifier: MIT */
/*
 * Chains of producers and consumers: who frees a block is not who allocated it, for every block.
 *   ring   each thread allocates batches for the next one and frees those of the one before
 *   pool   as Lever and Boreham's malloc-test and xmalloc-test have it: half of the threads allocate batches and put
 *          them on one common list, from which the other half takes and frees them
 * A batch is a block itself, with the addresses of the others in it. An operation is one block, both ways.
 */
#include "bench.h"

#include <pthread.h>
#include <sched.h>
#include <stdlib.h>

enum { BATCH = 120, LONGEST = 64 };

struct batch {
	struct batch *next;
	void *blocks[BATCH];
};

/* Batches that wait, last in first out. */
struct list {
	_Alignas(128) pthread_mutex_t lock;
	struct batch *first;
	unsigned length;
};

struct member {
	_Alignas(128) const struct bench *bench;
	struct list *in, *out; /* NULL: does not take, does not put */
	uint64_t to_put, to_take;
	uint64_t random;
};

static struct batch *batch_new(struct member *m)
{
	struct batch *batch = touch(malloc(sizeof(*batch)));

	for (unsigned i = 0; i < BATCH; i++)
		batch->blocks[i] = touch(malloc(random_size(&m->random, m->bench)));
	return batch;
}

static void batch_free(struct batch *batch)
{
	for (unsigned i = 0; i < BATCH; i++)
		free(batch->blocks[i]);
	free(batch);
}

/* False if the list is full. */
static bool put(struct list *list, struct batch *batch)
{
	bool fits;

	pthread_mutex_lock(&list->lock);
	fits = list->length < LONGEST;
	if (fits) {
		batch->next = list->first;
		list->first = batch;
		list->length++;
	}
	pthread_mutex_unlock(&list->lock);
	return fits;
}

/* NULL if the list is empty. */
static struct batch *take(struct list *list)
{
	struct batch *batch;

	pthread_mutex_lock(&list->lock);
	batch = list->first;
	if (batch) {
		list->first = batch->next;
		list->length--;
	}
	pthread_mutex_unlock(&list->lock);
	return batch;
}

/* Puts and takes in turn. With the list in front full and its own empty a thread lets others run. */
static void work(void *argument)
{
	struct member *m = argument;
	struct batch *full = NULL;

	while (m->to_put || m->to_take) {
		struct batch *taken = m->to_take ? take(m->in) : NULL;
		bool moved = taken;

		if (taken) {
			batch_free(taken);
			m->to_take--;
		}
		if (m->to_put && !full)
			full = batch_new(m);
		if (full && put(m->out, full)) {
			full = NULL;
			m->to_put--;
			moved = true;
		}
		if (!moved)
			sched_yield();
	}
}

static uint64_t run_members(const struct bench *b, struct member *members, struct list *lists, unsigned nlists)
{
	uint64_t ns;

	for (unsigned i = 0; i < nlists; i++)
		pthread_mutex_init(&lists[i].lock, NULL);
	ns = threads_run(b->threads, work, members, sizeof(*members));
	table_drop(members, b->threads * sizeof(*members));
	table_drop(lists, nlists * sizeof(*lists));
	return ns;
}

static uint64_t run_ring(const struct bench *b, uint64_t ops)
{
	struct member *members = table_new(b->threads * sizeof(*members));
	struct list *lists = table_new(b->threads * sizeof(*lists));
	uint64_t each = ops / BATCH / b->threads + 1;

	for (unsigned i = 0; i < b->threads; i++)
		members[i] = (struct member){.bench = b,
					     .in = &lists[i],
					     .out = &lists[(i + 1) % b->threads],
					     .to_put = each,
					     .to_take = each,
					     .random = RANDOM_SEED + i};
	return scaled(run_members(b, members, lists, b->threads), ops, each * BATCH * b->threads);
}

static uint64_t run_pool(const struct bench *b, uint64_t ops)
{
	struct member *members = table_new(b->threads * sizeof(*members));
	struct list *list = table_new(sizeof(*list));
	unsigned pairs = b->threads / 2;
	uint64_t each = ops / BATCH / pairs + 1;

	for (unsigned i = 0; i < pairs; i++) {
		members[2 * i] = (struct member){.bench = b, .out = list, .to_put = each, .random = RANDOM_SEED + i};
		members[2 * i + 1] = (struct member){.bench = b, .in = list, .to_take = each};
	}
	return scaled(run_members(b, members, list, 1), ops, each * BATCH * pairs);
}

#define CHAIN(text, how, n)                                                                                 \
	{                                                                                                   \
		.name = "chain/" text, .run = (how), .low = 16, .high = 512, .threads = (n), .warm_mib = 64 \
	}

const struct bench chain_benches[] = {
	CHAIN("ring-2", run_ring, 2),
	CHAIN("ring-8", run_ring, 8),
	CHAIN("pool-2", run_pool, 2),
	CHAIN("pool-8", run_pool, 8),
	{0},
};
