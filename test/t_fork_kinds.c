/* SPDX-License-Identifier: MIT */
/*
 * The other ways to a new process: fork from two threads at once, fork in a forked child, vfork with exec, posix_spawn,
 * and a child that ends with exit(), whose memory the parent does not see change.
 */
#include "api.h"
#include "block.h"
#include "proc.h"
#include "random.h"
#include "variants.h"

#include <pthread.h>
#include <spawn.h>
#include <stdatomic.h>

extern char **environ;

static char true_path[] = "/bin/true";
static char *true_args[] = {true_path, NULL};
static _Atomic bool stop;

static void *hammer(void *unused)
{
	struct rng rng = {5};
	while (!atomic_load(&stop))
		t_free(t_malloc(rng_log_size(&rng, 18)));
	return unused;
}

static void allocate_some(void)
{
	void *blocks[100];
	for (size_t i = 0; i < LENGTH(blocks); i++) {
		blocks[i] = t_malloc(i * 100);
		CHECK(blocks[i]);
		memset(blocks[i], (int)i, i * 100);
	}
	for (size_t i = 0; i < LENGTH(blocks); i++)
		t_free(blocks[i]);
}

static void expect_success(pid_t pid)
{
	int status = check_wait(pid);
	CHECK_SAY(status == 0, "wait status %#x", (unsigned)status);
}

static void *fork_often(void *argument)
{
	for (size_t i = 0; i < check_scaled(150); i++) {
		void *block = t_malloc(1000);
		pid_t pid = fork();
		CHECK(pid >= 0);
		if (pid == 0) {
			check_child(30);
			t_free(block);
			allocate_some();
			_exit(0);
		}
		expect_success(pid);
		t_free(block);
	}
	return argument;
}

static void two_threads_fork(void)
{
	pthread_t other;
	CHECK(pthread_create(&other, NULL, fork_often, NULL) == 0);
	fork_often(NULL);
	CHECK(pthread_join(other, NULL) == 0);
}

/* Generations of children, each of which allocates, frees what its ancestors allocated, and forks again. */
static void generations(size_t left, void *block)
{
	pid_t pid = fork();
	CHECK(pid >= 0);
	if (pid == 0) {
		check_child(30);
		allocate_some();
		t_free(block);
		void *next = t_malloc(3000);
		CHECK(next);
		if (left > 0)
			generations(left - 1, next);
		exit(0);
	}
	expect_success(pid);
}

static pid_t vfork_true(void)
{
	pid_t pid = vfork();
	if (pid == 0) {
		execv(true_path, true_args);
		_exit(127);
	}
	return pid;
}

static void vfork_and_spawn(void)
{
	struct pmd_stats before = {.size = sizeof before}, after = {.size = sizeof after};
	for (size_t i = 0; i < check_scaled(100); i++) {
		CHECK(pmd_stats_get(&before) == 0);
		pid_t pid = vfork_true();
		CHECK(pid >= 0);
		expect_success(pid);
		CHECK(posix_spawn(&pid, true_path, NULL, NULL, true_args, environ) == 0);
		expect_success(pid);
		CHECK(pmd_stats_get(&after) == 0);
		CHECK(after.arenas == before.arenas && after.heaps == before.heaps);
		allocate_some();
	}
}

/* A child that frees everything and gives it back changes nothing for its parent. */
static void child_releases(void)
{
	struct block blocks[64];
	struct rng rng = {11};
	for (size_t i = 0; i < LENGTH(blocks); i++) {
		blocks[i] = (struct block){t_malloc(i * 20000 + 1), i * 20000 + 1, rng_next(&rng)};
		CHECK(blocks[i].p);
		block_fill(&blocks[i]);
	}
	pid_t pid = fork();
	CHECK(pid >= 0);
	if (pid == 0) {
		check_child(30);
		for (size_t i = 0; i < LENGTH(blocks); i++)
			t_free(blocks[i].p);
		pmd_release();
		for (size_t i = 0; i < LENGTH(blocks); i++) {
			void *p = t_calloc(1, blocks[i].size);
			CHECK(p);
			block_check_zero(p, blocks[i].size);
		}
		exit(0);
	}
	expect_success(pid);
	for (size_t i = 0; i < LENGTH(blocks); i++) {
		block_verify(&blocks[i]);
		t_free(blocks[i].p);
	}
}

/* Memory that decays in a child goes back there too: what worked for the parent in the background works again. */
static void child_decays(void)
{
	if (SANITIZED)
		return;
	CHECK(pmd_option_set("decay_ms", "200") == 0);
	t_free(t_malloc(100));
	pid_t pid = fork();
	CHECK(pid >= 0);
	if (pid == 0) {
		check_child(60);
		size_t start = proc_rss_kb();
		void *blocks[64];
		for (size_t i = 0; i < LENGTH(blocks); i++) {
			blocks[i] = t_malloc(MIB);
			CHECK(blocks[i]);
			memset(blocks[i], 1, MIB);
		}
		for (size_t i = 0; i < LENGTH(blocks); i++)
			t_free(blocks[i]);
		for (int waited = 0; waited < 15000 && proc_rss_kb() > start + 8 * 1024; waited += 100)
			proc_sleep_ms(100);
		CHECK_SAY(proc_rss_kb() <= start + 8 * 1024, "VmRSS %zu kB, %zu at the start", proc_rss_kb(), start);
		_exit(0);
	}
	expect_success(pid);
}

static void *say_arena(void *arena)
{
	t_free(t_malloc(10));
	*(unsigned *)arena = pmd_thread_arena();
	return NULL;
}

/* Threads that a fork left behind are in no arena of the child's: its own spread over all there are. */
static void child_spreads(void)
{
	pid_t pid = fork();
	CHECK(pid >= 0);
	if (pid == 0) {
		pthread_t thread;
		unsigned mine, other = ~0u;
		check_child(30);
		say_arena(&mine);
		CHECK(pthread_create(&thread, NULL, say_arena, &other) == 0 && pthread_join(thread, NULL) == 0);
		CHECK_SAY(mine != other, "both threads are in arena %u", mine);
		_exit(0);
	}
	expect_success(pid);
}

static void *stay(void *begun)
{
	t_free(t_malloc(10));
	pthread_barrier_wait(begun);
	pthread_barrier_wait(begun);
	return NULL;
}

/* Both arenas have a thread. */
static void thread_left_behind(void)
{
	pthread_t thread;
	pthread_barrier_t begun;
	CHECK(pmd_thread_set_arena(0) == 0 && pthread_barrier_init(&begun, NULL, 2) == 0);
	CHECK(pthread_create(&thread, NULL, stay, &begun) == 0);
	pthread_barrier_wait(&begun);
	child_spreads();
	pthread_barrier_wait(&begun);
	CHECK(pthread_join(thread, NULL) == 0);
}

int main(int argc, char **argv)
{
	pthread_t thread;
	if (THREAD_SANITIZED)
		SKIP("ThreadSanitizer cannot follow threads in the child of a program with threads");
	/* AddressSanitizer allocates when a thread starts, in a forked child with locks of threads that are gone. */
	VARIANTS(argc, argv, SANITIZED ? "arenas:2,background:off" : "arenas:2");
	CHECK(pthread_create(&thread, NULL, hammer, NULL) == 0);
	two_threads_fork();
	generations(10, t_malloc(10));
	if (proc_has_madvise()) {
		child_releases();
		child_decays();
	} else {
		check_say("this kernel has no madvise: children release nothing\n");
	}
	atomic_store(&stop, true);
	CHECK(pthread_join(thread, NULL) == 0);
	generations(10, t_malloc(10));
	thread_left_behind();
	vfork_and_spawn();
	return 0;
}
