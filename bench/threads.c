/* SPDX-License-Identifier: MIT */
/* Threads that begin together. Without malloc: what the threads do is all that the allocator is asked for. */
#include "bench.h"

#include <pthread.h>

struct worker {
	pthread_t thread;
	pthread_barrier_t *begin;
	void (*work)(void *);
	void *argument;
};

static void *start(void *argument)
{
	struct worker *worker = argument;

	pthread_barrier_wait(worker->begin);
	worker->work(worker->argument);
	return NULL;
}

uint64_t threads_run(unsigned count, void (*work)(void *), void *arguments, size_t size)
{
	struct worker *workers = table_new(count * sizeof(*workers));
	pthread_barrier_t begin;
	uint64_t ns;

	pthread_barrier_init(&begin, NULL, count + 1);
	for (unsigned i = 0; i < count; i++) {
		workers[i] = (struct worker){.begin = &begin, .work = work, .argument = (char *)arguments + i * size};
		if (pthread_create(&workers[i].thread, NULL, start, &workers[i]))
			die("no thread");
	}
	pthread_barrier_wait(&begin);
	ns = now_ns();
	for (unsigned i = 0; i < count; i++)
		pthread_join(workers[i].thread, NULL);
	ns = now_ns() - ns;
	pthread_barrier_destroy(&begin);
	table_drop(workers, count * sizeof(*workers));
	return ns;
}
