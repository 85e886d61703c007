/* SPDX-License-Identifier: MIT */
/*
 * Destructors of thread-specific data that allocate and free, the last of them after every other destructor has run,
 * and so after the thread's cache was given up.
 */
#include "api.h"
#include "check.h"

#include <limits.h>
#include <pthread.h>

#define KEYS    24
#define THREADS 200

/* How often each runs; ThreadSanitizer takes a thread for gone before the last of the times that POSIX allows. */
#define ROUNDS (THREAD_SANITIZED ? 2 : PTHREAD_DESTRUCTOR_ITERATIONS)

static pthread_key_t keys[KEYS];
static size_t runs[KEYS]; /* of the destructors; only one thread at a time exists besides main */
static void *leftovers[THREADS * 2];
static size_t leftover_count;

/* Comes back as often as it may: frees what the thread allocated, allocates, and sets its key again. */
static void destroy(void *value)
{
	void **cell = value;
	size_t key = (size_t)cell[0];
	runs[key]++;
	t_free(cell);
	void *between = t_malloc(key * 100 + 1);
	CHECK(between);
	memset(between, 1, key * 100 + 1);
	void **next = t_malloc(sizeof(void *) * 2);
	CHECK(next);
	next[0] = (void *)key;
	t_free(between);
	if (runs[key] % ROUNDS == 0) {
		if (key == 0 || key == KEYS - 1)
			leftovers[leftover_count++] = next;
		else
			t_free(next);
		return;
	}
	CHECK(pthread_setspecific(keys[key], next) == 0);
}

static void set_keys(size_t from, size_t to)
{
	for (size_t i = from; i < to; i++) {
		void **cell = t_malloc(sizeof(void *) * 2);
		CHECK(cell);
		cell[0] = (void *)i;
		CHECK(pthread_setspecific(keys[i], cell) == 0);
	}
}

static void *run(void *unused)
{
	set_keys(0, KEYS);
	t_free(t_realloc(t_malloc(10), 10000));
	return unused;
}

int main(void)
{
	for (size_t i = 0; i < KEYS; i++)
		CHECK(pthread_key_create(&keys[i], destroy) == 0);
	for (size_t i = 0; i < THREADS; i++) {
		pthread_t thread;
		CHECK(pthread_create(&thread, NULL, run, NULL) == 0);
		CHECK(pthread_join(thread, NULL) == 0);
	}
	for (size_t i = 0; i < KEYS; i++)
		CHECK(runs[i] == THREADS * ROUNDS);
	CHECK(leftover_count == LENGTH(leftovers));
	for (size_t i = 0; i < LENGTH(leftovers); i++)
		t_free(leftovers[i]);
	return 0;
}
