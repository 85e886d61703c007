/* SPDX-License-Identifier: MIT */
/*
 * The library opened by a running program that was started without it: its static TLS fits, and its own names work next
 * to the C library's malloc, from the first thread and from those that existed before.
 */
#include "check.h"
#include "proc.h"

#include <dlfcn.h>
#include <pmdalloc/pmdalloc.h>
#include <pthread.h>

#define THREADS 8

static void *(*library_malloc)(size_t);
static void (*library_free)(void *);
static pthread_barrier_t opened;

static void use(void)
{
	for (size_t size = 1; size < 8 * MIB; size = size * 2 + 1) {
		char *p = library_malloc(size);
		char *q = malloc(size);
		CHECK(p && q);
		memset(p, 1, size);
		memset(q, 2, size);
		CHECK(p[size / 2] == 1 && q[size / 2] == 2);
		library_free(p);
		free(q);
	}
}

static void *run(void *unused)
{
	pthread_barrier_wait(&opened);
	use();
	return unused;
}

/* dlsym answers an object pointer; this is POSIX's way to make it a function. */
static void find(void *library, const char *name, void *function)
{
	void *symbol = dlsym(library, name);
	CHECK_SAY(symbol, "%s", name);
	memcpy(function, &symbol, sizeof symbol);
}

/*
 * Its blocks, its threads and what threads do at their end are in use as long as the process lives: dlclose unloads
 * nothing.
 */
static void check_stays(void *library)
{
	int (*set)(const char *, const char *);
	pthread_t thread;
	find(library, "pmd_option_set", &set);
	CHECK(set("decay_ms", "200") == 0);
	char *p = library_malloc(10 * MIB);
	CHECK(p);
	memset(p, 1, 10 * MIB);
	for (size_t i = 0; i < 4; i++) {
		CHECK(dlclose(library) == 0);
		CHECK((library = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL)));
	}
	CHECK(dlclose(library) == 0);
	CHECK(p[5 * MIB] == 1);
	size_t before = proc_rss_kb();
	library_free(p); /* what gives it back is the closed library's thread */
	for (int waited = 0; waited < 30000 && proc_rss_kb() + 8 * 1024 > before; waited += 10)
		proc_sleep_ms(10);
	CHECK_SAY(proc_rss_kb() + 8 * 1024 <= before, "%zu kB, %zu before", proc_rss_kb(), before);
	CHECK(pthread_barrier_init(&opened, NULL, 1) == 0);
	CHECK(pthread_create(&thread, NULL, run, NULL) == 0);
	CHECK(pthread_join(thread, NULL) == 0);
}

int main(void)
{
	const char *(*version)(void);
	pthread_t threads[THREADS];
	CHECK(pthread_barrier_init(&opened, NULL, THREADS + 1) == 0);
	for (size_t i = 0; i < THREADS; i++)
		CHECK(pthread_create(&threads[i], NULL, run, NULL) == 0);
	void *library = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL);
	CHECK_SAY(library, "%s", dlerror());
	find(library, "pmd_malloc", &library_malloc);
	find(library, "pmd_free", &library_free);
	find(library, "pmd_version", &version);
	CHECK(strcmp(version(), PMDALLOC_VERSION) == 0);
	pthread_barrier_wait(&opened);
	use();
	for (size_t i = 0; i < THREADS; i++)
		CHECK(pthread_join(threads[i], NULL) == 0);
	check_stays(library);
	return 0;
}
