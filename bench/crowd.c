/* SPDX-License-Identifier: MIT */
/*
 * A crowd: a thousand threads that hold little each, COUNT blocks of each class of sizes, 16-byte steps up to 128, then
 * eight to a doubling up to HIGH. All live at the same time; what is resident then is told as "crowd_rss_mib", and
 * "crowd_payload_mib" is what was asked for. An operation is all of it, from the first thread's creation until all blocks
 * are freed and all threads are gone.
 */
#include "bench.h"

#include <pthread.h>
#include <stdlib.h>

enum { MOST_CLASSES = 128, STACK = 256 << 10 };

static struct {
	const struct bench *bench;
	size_t sizes[MOST_CLASSES], classes;
	pthread_barrier_t filled, looked;
} crowd;

static size_t next_size(size_t size)
{
	size_t doubling = 128;

	if (size < 128)
		return size + 16;
	while (doubling * 2 <= size)
		doubling *= 2;
	return size + doubling / 8;
}

static void find_sizes(const struct bench *b)
{
	crowd.classes = 0;
	for (size_t size = 16; size <= b->high; size = next_size(size))
		crowd.sizes[crowd.classes++] = size;
}

static void *hold(void *argument)
{
	size_t n = crowd.classes * crowd.bench->count;
	void **blocks = argument;

	for (size_t i = 0; i < n; i++) {
		size_t size = crowd.sizes[i % crowd.classes];

		blocks[i] = touch_pages(malloc(size), size);
	}
	pthread_barrier_wait(&crowd.filled);
	pthread_barrier_wait(&crowd.looked);
	for (size_t i = 0; i < n; i++)
		free(blocks[i]);
	return NULL;
}

static size_t payload_kb(const struct bench *b)
{
	size_t sum = 0;

	for (size_t i = 0; i < crowd.classes; i++)
		sum += crowd.sizes[i];
	return sum * b->count * b->threads >> 10;
}

static uint64_t run(const struct bench *b, uint64_t ops)
{
	size_t each, bytes;
	pthread_t *threads = table_new(b->threads * sizeof(*threads));
	pthread_attr_t small;
	size_t start_kb, full_kb = 0;
	void **blocks;
	uint64_t ns;

	crowd.bench = b;
	find_sizes(b);
	each = crowd.classes * b->count;
	bytes = each * b->threads * sizeof(*blocks);
	blocks = table_new(bytes);
	pthread_attr_init(&small);
	pthread_attr_setstacksize(&small, STACK);
	start_kb = status_kb("VmRSS:");
	ns = now_ns();
	for (uint64_t op = 0; op < ops; op++) {
		pthread_barrier_init(&crowd.filled, NULL, b->threads + 1);
		pthread_barrier_init(&crowd.looked, NULL, b->threads + 1);
		for (unsigned i = 0; i < b->threads; i++)
			if (pthread_create(&threads[i], &small, hold, &blocks[i * each]))
				die("no thread");
		pthread_barrier_wait(&crowd.filled);
		full_kb = status_kb("VmRSS:");
		pthread_barrier_wait(&crowd.looked);
		for (unsigned i = 0; i < b->threads; i++)
			pthread_join(threads[i], NULL);
	}
	ns = now_ns() - ns;
	tell("crowd_rss_mib", (double)(full_kb - start_kb) / 1024);
	tell("crowd_payload_mib", (double)payload_kb(b) / 1024);
	table_drop(blocks, bytes);
	table_drop(threads, b->threads * sizeof(*threads));
	return ns;
}

#define CROWD(text, largest, mib)                                                                                      \
	{                                                                                                              \
		.name = "crowd/" text, .run = run, .high = (largest), .count = 10, .threads = 1000, .warm_mib = (mib), \
		.fixed_ops = 1                                                                                         \
	}

const struct bench crowd_benches[] = {CROWD("1K", 1024, 512), CROWD("8K", 8192, 2048), {0}};
