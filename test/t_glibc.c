/* SPDX-License-Identifier: MIT */
/*
 * What the C library's own tests of malloc check, from what is documented of it; of those, the ones that no other test
 * here is about. doc/tests.md has the list of all.
 */
#include "check.h"

#ifdef PMD_PREFIXED

int main(void)
{
	SKIP("this library has only the prefixed names");
}

#else

#include "api.h"
#include "proc.h"

#include <execinfo.h>
#include <fcntl.h>
#include <limits.h>
#include <obstack.h>
#include <pthread.h>
#include <search.h>
#include <stdatomic.h>

#define obstack_chunk_alloc t_malloc
#define obstack_chunk_free  t_free

#define THREADS 8

static void run_threads(void *(*run)(void *))
{
	pthread_t threads[THREADS];

	for (size_t i = 0; i < THREADS; i++)
		CHECK(pthread_create(&threads[i], NULL, run, (void *)i) == 0);
	for (size_t i = 0; i < THREADS; i++)
		CHECK(pthread_join(threads[i], NULL) == 0);
}

/* ---- tst-malloc-thread-fail: no memory in threads of which some never had any ------------------------------------- */

static pthread_barrier_t full;

static void *fail_in_thread(void *unused)
{
	void *list = NULL, *small;

	for (void **p; (p = t_malloc(100000)); list = p)
		*p = list;
	CHECK(errno == ENOMEM);
	CHECK(!t_calloc(1, 100 * MIB) && errno == ENOMEM);
	pthread_barrier_wait(&full);
	small = t_malloc(10); /* perhaps */
	t_free(small);
	pthread_barrier_wait(&full);
	for (void **p; (p = list);) {
		list = *p;
		t_free(p);
	}
	return unused;
}

static void thread_fail(void)
{
	const struct rlimit limit = {256 * MIB, 256 * MIB};
	const size_t stack = 64 * KIB;
	pthread_attr_t attr;
	pthread_t threads[THREADS];
	void *p;

	CHECK(setrlimit(RLIMIT_DATA, &limit) == 0);
	CHECK(pthread_attr_init(&attr) == 0 && pthread_attr_setstacksize(&attr, stack) == 0);
	CHECK(pthread_barrier_init(&full, NULL, THREADS) == 0);
	for (size_t i = 0; i < THREADS; i++)
		CHECK(pthread_create(&threads[i], &attr, fail_in_thread, NULL) == 0);
	for (size_t i = 0; i < THREADS; i++)
		CHECK(pthread_join(threads[i], NULL) == 0);
	p = t_malloc(100 * MIB);
	CHECK(p);
	t_free(p);
}

/* ---- tst-malloc-fork-deadlock: fork, while threads are in stdio, which allocates, and flush all streams ----------- */

static _Atomic bool stop;

static void *use_stdio(void *number)
{
	while (!atomic_load(&stop)) {
		char *text = NULL;
		size_t length;
		FILE *f;

		if ((size_t)number % 2) {
			fflush(NULL);
			continue;
		}
		f = open_memstream(&text, &length);
		CHECK(f && fprintf(f, "%zu", (size_t)number) > 0);
		CHECK(fclose(f) == 0);
		free(text);
	}
	return NULL;
}

static void fork_deadlock(void)
{
	pthread_t threads[THREADS];

	for (size_t i = 0; i < THREADS; i++)
		CHECK(pthread_create(&threads[i], NULL, use_stdio, (void *)i) == 0);
	for (size_t i = 0; i < check_scaled(check_number("FORKS", 60)); i++) {
		pid_t pid = fork();
		int status;

		CHECK(pid >= 0);
		if (pid == 0) {
			check_child(20);
			t_free(t_malloc(1 + i * 100));
			fflush(NULL);
			_exit(0);
		}
		status = check_wait(pid);
		CHECK_SAY(status == 0, "fork %zu: wait status %#x", i, (unsigned)status);
	}
	atomic_store(&stop, true);
	for (size_t i = 0; i < THREADS; i++)
		CHECK(pthread_join(threads[i], NULL) == 0);
}

/* ---- tst-mallinfo2: figures beyond 2^32 --------------------------------------------------------------------------- */

static void mallinfo_large(void)
{
	const size_t size = 3 * GIB;
	struct mallinfo2 before = mallinfo2(), with;
	void *p = t_malloc(size), *q = t_malloc(size);

	if (!p || !q) { /* strict overcommit */
		CHECK(errno == ENOMEM);
		t_free(p);
		t_free(q);
		return;
	}
	with = mallinfo2();
	CHECK(with.uordblks + with.hblkhd >= before.uordblks + before.hblkhd + 2 * size);
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"
	CHECK(mallinfo().hblkhd == INT_MAX); /* what does not fit is as much as fits */
#pragma GCC diagnostic pop
	t_free(p);
	t_free(q);
	with = mallinfo2();
	CHECK(with.uordblks + with.hblkhd < before.uordblks + before.hblkhd + size);
}

/* ---- tst-trim1: what is free between blocks in use goes back ------------------------------------------------------ */

static void trim(void)
{
	enum { BLOCKS = 40000, SIZE = 1500 };
	static char *blocks[BLOCKS];
	size_t full_kb, trimmed_kb;

	for (size_t i = 0; i < BLOCKS; i++) {
		blocks[i] = t_malloc(SIZE);
		CHECK(blocks[i]);
		memset(blocks[i], (int)i, SIZE);
	}
	for (size_t i = 0; i < BLOCKS; i++)
		if (i % 1000)
			t_free(blocks[i]);
	full_kb = proc_rss_kb();
	CHECK(malloc_trim(0) == 1);
	trimmed_kb = proc_rss_kb();
	CHECK_SAY(trimmed_kb + BLOCKS * SIZE / 1024 / 2 < full_kb, "VmRSS %zu kB, then %zu", full_kb, trimmed_kb);
	for (size_t i = 0; i < BLOCKS; i += 1000) {
		CHECK(blocks[i][0] == (char)i && blocks[i][SIZE - 1] == (char)i);
		t_free(blocks[i]);
	}
	CHECK(malloc_trim(SIZE_MAX) >= 0 && malloc_trim(16 * MIB) >= 0);
}

/* ---- tst-mxfast, tst-mallopt: parameters that are taken change nothing that matters -------------------------------- */

static void parameters(void)
{
	static const int values[] = {0, 1, -1, 80, 1 << 20, 2147483647};
	static const int all[] = {M_MXFAST,   M_TRIM_THRESHOLD, M_TOP_PAD,    M_MMAP_THRESHOLD,
				  M_MMAP_MAX, M_ARENA_MAX,      M_ARENA_TEST, M_CHECK_ACTION};

	for (size_t i = 0; i < LENGTH(all); i++)
		for (size_t j = 0; j < LENGTH(values); j++) {
			void *p = t_malloc(17), *q = t_malloc(300000);

			(void)mallopt(all[i], values[j]);
			t_free(p);
			p = t_calloc(1, 17);
			CHECK(p && q && !((char *)p)[16]);
			t_free(q);
			t_free(p);
		}
}

/* ---- tst-memalign-2, -3: aligned blocks are used again ------------------------------------------------------------- */

static void aligned_again(void)
{
	struct pmd_stats before = {.size = sizeof before}, after = {.size = sizeof after};
	void *blocks[64];

	CHECK(pmd_stats_get(&before) == 0);
	for (size_t round = 0; round < 200; round++) {
		for (size_t i = 0; i < LENGTH(blocks); i++) {
			size_t alignment = (size_t)64 << i % 10;

			blocks[i] = t_memalign(alignment, 17 + i * 31);
			CHECK(blocks[i] && (uintptr_t)blocks[i] % alignment == 0);
			memset(blocks[i], 1, 17 + i * 31);
		}
		for (size_t i = 0; i < LENGTH(blocks); i++)
			t_free(blocks[i]);
	}
	CHECK(pmd_stats_get(&after) == 0);
	CHECK_SAY(after.live_bytes <= before.live_bytes && after.heap_committed <= before.heap_committed + 32 * MIB,
		  "%zu bytes live, then %zu", before.live_bytes, after.live_bytes);
}

/* ---- tst-obstack, bug18240: what the C library builds on malloc ---------------------------------------------------- */

static void built_on_malloc(void)
{
	struct obstack stack;
	void *first;

	obstack_init(&stack);
	first = obstack_alloc(&stack, 10);
	for (int i = 0; i < 20000; i++) {
		char *p = obstack_copy0(&stack, "abcdefghijk", i % 12);

		CHECK(p && strlen(p) == (size_t)(i % 12));
		obstack_blank(&stack, i % 100);
		obstack_1grow(&stack, 'x');
		CHECK(((char *)obstack_finish(&stack))[i % 100] == 'x');
	}
	obstack_free(&stack, first);
	CHECK(obstack_alloc(&stack, 100000));
	obstack_free(&stack, NULL);

	errno = 0;
	CHECK(hcreate(SIZE_MAX / 2) == 0 && errno == ENOMEM);
	CHECK(hcreate(1000) != 0);
	hdestroy();
}

/* ---- tst-malloc-backtrace: a message about misuse while a handler asks for a stack ---------------------------------- */

static void handle_abort(int signal)
{
	void *frames[20];

	(void)signal;
	if (backtrace(frames, LENGTH(frames)) < 2)
		_exit(1);
	t_free(t_malloc(1000));
	_exit(42);
}

static void *free_twice(void *unused)
{
	void *volatile p = t_malloc(100);

	t_free(p);
	t_free(p);
	return unused;
}

static void backtrace_at_misuse(void)
{
	pthread_t thread;
	int null, status;
	pid_t pid = fork();

	CHECK(pid >= 0);
	if (pid == 0) {
		check_child(20);
		null = open("/dev/null", O_WRONLY);
		CHECK(null >= 0 && dup2(null, 2) == 2); /* it is said, but this is not the test for that */
		CHECK(signal(SIGABRT, handle_abort) != SIG_ERR);
		CHECK(pthread_create(&thread, NULL, free_twice, NULL) == 0);
		pthread_join(thread, NULL);
		_exit(0);
	}
	status = check_wait(pid);
	CHECK_SAY(WIFEXITED(status) && WEXITSTATUS(status) == 42, "wait status %#x", (unsigned)status);
}

/* ---- tst-malloc-tcache-leak, tst-malloc-usable: blocks of threads that are gone -------------------------------------- */

static void *left[THREADS];

static void *leave_one(void *number)
{
	left[(size_t)number] = t_malloc(24);
	return NULL;
}

static void blocks_of_gone_threads(void)
{
	struct pmd_stats before = {.size = sizeof before}, after = {.size = sizeof after};

	run_threads(leave_one);
	CHECK(pmd_stats_get(&before) == 0);
	for (size_t round = 0; round < 50; round++) {
		for (size_t i = 0; i < THREADS; i++) {
			CHECK(t_usable(left[i]) >= 24);
			memset(left[i], 1, t_usable(left[i]));
			t_free(left[i]);
		}
		run_threads(leave_one);
	}
	CHECK(pmd_stats_get(&after) == 0);
	CHECK_SAY(after.heap_committed <= before.heap_committed + 16 * MIB, "%zu bytes, then %zu",
		  before.heap_committed, after.heap_committed);
	for (size_t i = 0; i < THREADS; i++)
		t_free(left[i]);
}

static void in_a_process(const char *name, void (*run)(void))
{
	pid_t pid = fork();
	int status;

	CHECK(pid >= 0);
	if (pid == 0) {
		check_child(60);
		run();
		exit(0);
	}
	status = check_wait(pid);
	CHECK_SAY(status == 0, "%s: wait status %#x", name, (unsigned)status);
}

int main(void)
{
	in_a_process("thread_fail", thread_fail);
	in_a_process("fork_deadlock", fork_deadlock);
	in_a_process("mallinfo_large", mallinfo_large);
	in_a_process("trim", trim);
	in_a_process("parameters", parameters);
	in_a_process("aligned_again", aligned_again);
	in_a_process("built_on_malloc", built_on_malloc);
	in_a_process("backtrace_at_misuse", backtrace_at_misuse);
	in_a_process("blocks_of_gone_threads", blocks_of_gone_threads);
	return 0;
}

#endif
