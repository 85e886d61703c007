/* SPDX-License-Identifier: MIT */
/* Every way in which a process can end, alone or with 100 threads that allocate. */
#ifndef PMDALLOC_TEST_WAYS_H
#define PMDALLOC_TEST_WAYS_H

#include "ends.h"

#include <pthread.h>
#include <stdatomic.h>

enum { THREADS = 100 };

static bool crowded;

static _Atomic bool stop;
static pthread_t crowd[THREADS];

static void *work(void *unused)
{
	while (!atomic_load(&stop)) {
		for (size_t i = 0; i < 200; i++)
			t_free(t_malloc(i * 10));
		proc_sleep_ms(1); /* the processors are few */
	}
	return unused;
}

static void gather(void)
{
	pthread_attr_t attributes;
	CHECK(pthread_attr_init(&attributes) == 0 && pthread_attr_setstacksize(&attributes, 64 * KIB) == 0);
	for (size_t i = 0; crowded && i < THREADS; i++)
		CHECK(pthread_create(&crowd[i], &attributes, work, NULL) == 0);
}

/* The last thread to end ends the process. */
static void end_with_threads(void)
{
	atomic_store(&stop, true);
	pthread_exit(NULL);
}

static void *end_all(void *unused)
{
	exit(STATUS);
	return unused;
}

static void end_in_thread(void)
{
	pthread_t thread;
	CHECK(pthread_create(&thread, NULL, end_all, NULL) == 0);
	for (;;)
		pause();
}

static void end_by_kill(void)
{
	raise(SIGKILL);
}

static void end_by_term(void)
{
	raise(SIGTERM);
}

static void end_by_abort(void)
{
	abort();
}

static void end_by_fault(void)
{
	raise(SIGSEGV);
}

static const struct way {
	const char *name;
	void (*end)(void);
	int status;
	bool hands_off;
	bool starts_thread;
} ways[] = {
	{"return", NULL, STATUS << 8, true, false},
	{"exit", end_by_exit, STATUS << 8, true, false},
	{"_exit", end_by_exit_now, STATUS << 8, true, false},
	{"_Exit", end_by_other_name, STATUS << 8, true, false},
	{"quick_exit", end_quickly, STATUS << 8, true, false},
	{"pthread_exit", end_with_threads, 0, true, false},
	{"exit_group", end_by_number, STATUS << 8, true, false},
	{"exit in a thread", end_in_thread, STATUS << 8, true, true},
	{"SIGKILL", end_by_kill, SIGKILL, false, false},
	{"SIGTERM", end_by_term, SIGTERM, false, false},
	{"abort", end_by_abort, SIGABRT, false, false},
	{"SIGSEGV", end_by_fault, SIGSEGV, false, false},
};

static const struct way *way;

/* Set where the process under test is to return from main. */
static bool returns;

static void end(void)
{
	settle();
	if (way->end)
		way->end();
	returns = true;
}

#endif
