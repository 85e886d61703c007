/* SPDX-License-Identifier: MIT */
/*
 * Producer and consumer: one thread allocates and touches blocks and hands them over in a ring; another frees them. An
 * operation is one block.
 */
#include "bench.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>

/* PUBLISH blocks are announced at a time, so that the ring itself costs little beside malloc and free. */
enum { SLOTS = 4096, PUBLISH = 32, SPINS = 64 };

struct ring {
	_Alignas(128) atomic_uint_fast64_t head; /* blocks put in, written by the producer */
	_Alignas(128) atomic_uint_fast64_t tail; /* blocks taken out, written by the consumer */
	_Alignas(128) void *slots[SLOTS];
	uint64_t total;
};

static void pause_briefly(unsigned *spins)
{
	if (++*spins % SPINS == 0)
		sched_yield();
}

static uint64_t wait_past(atomic_uint_fast64_t *counter, uint64_t seen)
{
	unsigned spins = 0;
	uint64_t now;

	while ((now = atomic_load_explicit(counter, memory_order_acquire)) == seen)
		pause_briefly(&spins);
	return now;
}

static void *consume(void *argument)
{
	struct ring *ring = argument;
	uint64_t tail = 0;

	while (tail < ring->total) {
		uint64_t head = wait_past(&ring->head, tail);

		for (; tail < head; tail++) {
			free(ring->slots[tail % SLOTS]);
			if ((tail + 1) % PUBLISH == 0)
				atomic_store_explicit(&ring->tail, tail + 1, memory_order_release);
		}
		atomic_store_explicit(&ring->tail, tail, memory_order_release);
	}
	return NULL;
}

static void produce(struct ring *ring, size_t size)
{
	uint64_t tail = 0;

	for (uint64_t head = 0; head < ring->total; head++) {
		if (head - tail == SLOTS)
			tail = wait_past(&ring->tail, tail);
		ring->slots[head % SLOTS] = touch(malloc(size));
		if ((head + 1) % PUBLISH == 0)
			atomic_store_explicit(&ring->head, head + 1, memory_order_release);
	}
	atomic_store_explicit(&ring->head, ring->total, memory_order_release);
}

static uint64_t run(const struct bench *b, uint64_t ops)
{
	static struct ring ring;
	pthread_t consumer;
	uint64_t start;

	atomic_store(&ring.head, 0);
	atomic_store(&ring.tail, 0);
	ring.total = ops;
	start = now_ns();
	if (pthread_create(&consumer, NULL, consume, &ring))
		die("no thread");
	produce(&ring, b->low);
	pthread_join(consumer, NULL);
	return now_ns() - start;
}

#define PIPE(text, bytes)                                                         \
	{                                                                         \
		.name = "pipe/" text, .run = run, .low = (bytes), .warm_mib = 128 \
	}

const struct bench pipe_benches[] = {PIPE("64", 64), PIPE("1K", 1024), PIPE("8K", 8192), {0}};
