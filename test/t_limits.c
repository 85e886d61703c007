/* SPDX-License-Identifier: MIT */
/*
 * A limited address space (RLIMIT_AS): the library starts, uses a good part of what there is, says ENOMEM at the end of
 * it, and works again when something was freed.
 */
#include "api.h"
#include "block.h"
#include "check.h"

#include <pthread.h>

#define CHUNK (256 * KIB)

static void *first; /* list of chunks, linked through their first word */

static size_t take_all(size_t size)
{
	size_t got = 0;
	for (void **p; (p = t_malloc(size)); got += size) {
		memset(p, 0x6b, size);
		*p = first;
		first = p;
	}
	CHECK(errno == ENOMEM);
	return got;
}

static void give_all(void)
{
	while (first) {
		void **p = first;
		first = *p;
		t_free(p);
	}
}

static void *in_a_thread(void *limit)
{
	size_t got = take_all(CHUNK);
	CHECK_SAY(got >= (size_t)limit / 4, "%zu bytes in a second thread", got);
	give_all();
	return NULL;
}

static void run(size_t limit)
{
	pthread_attr_t attr;
	pthread_t thread;
	size_t got = take_all(CHUNK);
	CHECK_SAY(got >= limit / 3, "%zu bytes of a limit of %zu", got, limit);
	take_all(1000);
	errno = 0;
	CHECK(t_calloc(1, limit) == NULL && errno == ENOMEM);
	CHECK(t_realloc(first, limit) == NULL && errno == ENOMEM);
	CHECK(t_memalign(64 * KIB, limit) == NULL && errno == ENOMEM);
	give_all();
	void *p = t_malloc(limit / 8);
	CHECK(p);
	memset(p, 1, limit / 8);
	t_free(p);
	size_t again = take_all(CHUNK);
	CHECK_SAY(again >= got - got / 8, "%zu bytes, then %zu", got, again);
	give_all();
	CHECK(pthread_attr_init(&attr) == 0 && pthread_attr_setstacksize(&attr, 128 * KIB) == 0);
	CHECK(pthread_create(&thread, &attr, in_a_thread, (void *)limit) == 0);
	CHECK(pthread_join(thread, NULL) == 0);
}

int main(int argc, char **argv)
{
	const char *const limits[] = {"67108864", "134217728", "314572800"};
	if (SANITIZED)
		SKIP("a sanitizer needs more address space than that");
	if (argc > 1) {
		run(strtoul(argv[1], NULL, 10));
		return 0;
	}
	for (size_t i = 0; i < LENGTH(limits); i++) {
		pid_t pid = fork();
		CHECK(pid >= 0);
		if (pid == 0) {
			char *const args[] = {argv[0], (char *)(uintptr_t)limits[i], NULL};
			struct rlimit limit = {strtoul(limits[i], NULL, 10), strtoul(limits[i], NULL, 10)};
			check_child(60);
			CHECK(setrlimit(RLIMIT_AS, &limit) == 0);
			execv("/proc/self/exe", args);
			CHECK(!"execv");
		}
		int status = check_wait(pid);
		CHECK_SAY(status == 0, "limit of %s bytes: wait status %#x", limits[i], (unsigned)status);
	}
	return 0;
}
