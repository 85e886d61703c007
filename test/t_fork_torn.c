/* SPDX-License-Identifier: MIT */
/*
 * A fork in the middle of a change to the heap: the thread that was making it is not there in the child, which uses the
 * heap all the same, with what the parent had free in it, and reserves no second one. Nor does the child take a change
 * that will never be finished for misuse.
 */
#include "api.h"
#include "inject.h"
#include "internals.h"
#include "proc.h"
#include "random.h"

#define check_failed library_check_failed
#include "cache/states.h"
#undef check_failed

#include <pthread.h>
#include <stdatomic.h>

#define FREED   (64 * MIB)
#define GROWTH  (256 * MIB)
#define PART    (2 * MIB)
#define WORKERS 2
#define FORKS   60

static char *filled(size_t bytes)
{
	char *p = t_malloc(bytes);

	CHECK(p);
	memset(p, 0xa5, bytes);
	return p;
}

/* The child's whole use of its heap: what was free is used again, nothing is handed out twice, all of it goes back. */
static void use_all(void)
{
	char *parts[FREED / PART];
	size_t before;

	check_child(60);
	for (size_t i = 0; i < LENGTH(parts); i++) {
		parts[i] = filled(PART);
		memset(parts[i], (int)i, PART);
	}
	for (size_t i = 0; i < LENGTH(parts); i++)
		for (size_t at = 0; at < PART; at += 512)
			CHECK_SAY(parts[i][at] == (char)i, "part %zu is another's too", i);
	CHECK(!heaps[1]);
	before = proc_rss_kb();
	for (size_t i = 0; i < LENGTH(parts); i++)
		t_free(parts[i]);
	pmd_release();
	CHECK_SAY(!proc_has_madvise() || proc_rss_kb() + FREED / KIB / 4 * 3 < before, "%zu kB, then %zu", before,
		  proc_rss_kb());
}

/* ---- While the heap grows ---------------------------------------------------------------------------------------- */

static _Atomic bool growing, may_grow;

/* Holds the growth up, under the heap's lock, until it may go on. */
static bool commits_much(const long args[6])
{
	if ((size_t)args[1] < GROWTH / 2)
		return false;
	atomic_store(&growing, true);
	while (!atomic_load(&may_grow))
		proc_sleep_ms(1);
	return true;
}

static void *grow(void *unused)
{
	t_free(filled(GROWTH));
	return unused;
}

static bool heap_is_locked(void)
{
	return lock_held(&heap_first.lock);
}

static void while_it_grows(void)
{
	char *freed = filled(FREED);
	pthread_t thread;
	pid_t pid;

	inject_add((struct inject_rule){.nr = SYS_mprotect, .match = commits_much});
	t_free(freed);
	CHECK(pthread_create(&thread, NULL, grow, NULL) == 0);
	while (!atomic_load(&growing))
		proc_sleep_ms(1);
	CHECK(heap_is_locked());
	pid = fork();
	CHECK(pid >= 0);
	if (pid == 0) {
		char *p = t_malloc(FREED / 2);

		CHECK_SAY(p >= freed && p + FREED / 2 <= freed + FREED, "%p is not in what was free at %p", (void *)p,
			  (void *)freed);
		t_free(p);
		use_all();
		_exit(0);
	}
	CHECK(check_wait(pid) == 0);
	atomic_store(&may_grow, true);
	CHECK(pthread_join(thread, NULL) == 0);
	inject_clear();
}

/* ---- At any moment ----------------------------------------------------------------------------------------------- */

static _Atomic bool finished;

/* Takes regions and gives them back, by ones and in runs. */
static void *churn(void *seed)
{
	struct rng rng = {(uint64_t)(uintptr_t)seed};
	void *kept[8] = {NULL};

	while (!atomic_load(&finished)) {
		size_t i = rng_below(&rng, LENGTH(kept));

		t_free(kept[i]);
		kept[i] = t_malloc(rng_between(&rng, 1, 4) * PART);
		CHECK(kept[i]);
	}
	for (size_t i = 0; i < LENGTH(kept); i++)
		t_free(kept[i]);
	return NULL;
}

static void at_any_moment(void)
{
	pthread_t threads[WORKERS];
	size_t locked = 0;

	for (size_t i = 0; i < WORKERS; i++)
		CHECK(pthread_create(&threads[i], NULL, churn, (void *)(uintptr_t)(i + 1)) == 0);
	for (size_t i = 0; i < check_scaled(FORKS); i++) {
		pid_t pid = fork();

		CHECK(pid >= 0);
		if (pid == 0) {
			use_all();
			_exit(0);
		}
		locked += heap_is_locked();
		CHECK_SAY(check_wait(pid) == 0, "child %zu", i);
	}
	atomic_store(&finished, true);
	for (size_t i = 0; i < WORKERS; i++)
		CHECK(pthread_join(threads[i], NULL) == 0);
	check_say("the lock was held after %zu forks\n", locked);
}

/* ---- While a slab is purged -------------------------------------------------------------------------------------- */

#define BLOCKS 64
#define SIZE   2800

/* Leaves a slab to nobody, with one live block and a list of free ones. */
static void *leave_a_slab(void *kept)
{
	void *all[BLOCKS];

	for (size_t i = 0; i < BLOCKS; i++)
		CHECK((all[i] = t_malloc(SIZE)));
	for (size_t i = 1; i < BLOCKS; i++)
		t_free(all[i]);
	*(void **)kept = all[0];
	return NULL;
}

/* A child that inherits S as it is between the two steps in which a purge takes blocks off its list; how it ends. */
static int end_with(struct slice *s, enum slab_state state)
{
	pid_t pid = fork();

	CHECK(pid >= 0);
	if (pid == 0) {
		check_child(60);
		slab_set_state(s, state);
		s->free = NULL;
		exit(0);
	}
	return check_wait(pid);
}

static int while_it_is_purged(void)
{
	pthread_t thread;
	struct slice *s;
	void *kept;
	int status;

	t_free(filled(SIZE)); /* who has never used the heap does not look at it */
	CHECK(pthread_create(&thread, NULL, leave_a_slab, &kept) == 0);
	CHECK(pthread_join(thread, NULL) == 0);
	s = heap_slice_anywhere(kept);
	CHECK(slab_get_state(s) == SLAB_HELD && s->free && !s->purged);
	status = end_with(s, SLAB_HELD);
	CHECK_SAY(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT, "a torn list went unnoticed: %x",
		  (unsigned)status);
	CHECK(end_with(s, SLAB_PURGING) == 0);
	return 0;
}

/* In a process that is started with check:strict, where the lists are looked at when it exits. */
static void while_a_slab_is_purged(const char *program)
{
	pid_t pid = fork();

	CHECK(pid >= 0);
	if (pid == 0) {
		setenv("PMDALLOC_CONF", "check:strict", 1);
		execl("/proc/self/exe", program, "strict", NULL);
		_exit(127);
	}
	CHECK(check_wait(pid) == 0);
}

int main(int argc, char **argv)
{
	if (SANITIZED)
		SKIP("a sanitizer's own allocator hangs in the child of a fork of threads");
	if (argc > 1)
		return while_it_is_purged();
	while_a_slab_is_purged(argv[0]);
	CHECK(pmd_option_set("decay_ms", "-1") == 0);
	while_it_grows();
	at_any_moment();
	return 0;
}
