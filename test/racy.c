/* SPDX-License-Identifier: MIT */
/* A program with a race, which test/helgrind.sh must see: two threads write to a block without a lock. */
#include "api.h"

#include <pthread.h>

static int *volatile block;
static pthread_barrier_t both; /* what orders a thread's end and the next one's start is behind them */

static void *write_to(void *unused)
{
	pthread_barrier_wait(&both);
	for (int i = 0; i < 100; i++)
		block[10] += i;
	return unused;
}

int main(void)
{
	pthread_t threads[2];

	CHECK(pthread_barrier_init(&both, NULL, 2) == 0);
	block = t_malloc(100);
	CHECK(block);
	block[10] = 0; /* not the first words, which are links while it is free, and atomic */
	for (int i = 0; i < 2; i++)
		CHECK(pthread_create(&threads[i], NULL, write_to, NULL) == 0);
	for (int i = 0; i < 2; i++)
		CHECK(pthread_join(threads[i], NULL) == 0);
	t_free(block);
	return 0;
}
