/* SPDX-License-Identifier: MIT */
/*
 * Larson's server: threads replace random blocks of their set; after a while each hands its set to a successor and
 * ends, so that blocks are freed by other threads than those, long gone, that allocated them. An operation is one
 * replacement.
 */
#include "bench.h"

#include <pthread.h>
#include <semaphore.h>
#include <stdlib.h>

enum { LIFE = 100000 }; /* replacements that one thread does */

/* One set of blocks, and what its present thread has to do. */
struct line {
	_Alignas(128) const struct bench *bench; /* its thread writes here all the time */
	void **blocks;
	uint64_t random;
	uint64_t left; /* replacements still to do, by this thread and its successors */
	sem_t *done;
};

static void *work(void *argument);

static void start_thread(struct line *line)
{
	pthread_t thread;

	if (pthread_create(&thread, NULL, work, line))
		die("no thread");
	pthread_detach(thread);
}

static void *work(void *argument)
{
	struct line *line = argument;
	const struct bench *b = line->bench;
	uint64_t life = line->left < LIFE ? line->left : LIFE;

	for (uint64_t i = 0; i < life; i++) {
		void **victim = &line->blocks[random_below(&line->random, b->count)];

		free(*victim);
		*victim = touch(malloc(random_size(&line->random, b)));
	}
	line->left -= life;
	if (line->left)
		start_thread(line);
	else
		sem_post(line->done);
	return NULL;
}

static void open_line(struct line *line, const struct bench *b, unsigned number, uint64_t ops, sem_t *done)
{
	*line = (struct line){.bench = b, .random = RANDOM_SEED + number, .left = ops, .done = done};
	line->blocks = table_new(b->count * sizeof(*line->blocks));
	for (size_t i = 0; i < b->count; i++)
		line->blocks[i] = touch(malloc(random_size(&line->random, b)));
}

static void close_line(struct line *line)
{
	for (size_t i = 0; i < line->bench->count; i++)
		free(line->blocks[i]);
	table_drop(line->blocks, line->bench->count * sizeof(*line->blocks));
}

static uint64_t run(const struct bench *b, uint64_t ops)
{
	struct line *lines = table_new(b->threads * sizeof(*lines));
	sem_t done;
	uint64_t share = (ops + b->threads - 1) / b->threads, start, ns;

	/* Of a short trial run the threads' start would be most; if one meets a pause the library measures no longer one. */
	if (share < LIFE)
		share = LIFE;
	sem_init(&done, 0, 0);
	for (unsigned i = 0; i < b->threads; i++)
		open_line(&lines[i], b, i, share, &done);
	start = now_ns();
	for (unsigned i = 0; i < b->threads; i++)
		start_thread(&lines[i]);
	for (unsigned i = 0; i < b->threads; i++)
		while (sem_wait(&done))
			;
	ns = now_ns() - start;
	for (unsigned i = 0; i < b->threads; i++)
		close_line(&lines[i]);
	table_drop(lines, b->threads * sizeof(*lines));
	return scaled(ns, ops, share * b->threads);
}

#define LARSON(text, n)                                                                                    \
	{                                                                                                  \
		.name = "larson/" text, .run = run, .low = 8, .high = 1024, .count = 5000, .threads = (n), \
		.warm_mib = 128                                                                            \
	}

const struct bench larson_benches[] = {LARSON("2", 2), LARSON("8", 8), {0}};
