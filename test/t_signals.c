/* SPDX-License-Identifier: MIT */
/*
 * Signals that interrupt malloc and free wherever they are. A handler may fork, which POSIX allowed until 2024 and programs
 * do: neither the parent nor the child may hang, and the child may end or run another program. A handler may leave by
 * siglongjmp: what then is in order is _exit, fork, and running another program; and where the signal was blocked around
 * malloc, all is. And a thread may be cancelled: nothing here is a cancellation point.
 */
#include "api.h"
#include "block.h"
#include "proc.h"
#include "random.h"
#include "variants.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdatomic.h>
#include <sys/time.h>

#define SLOTS      64
#define INTERVAL   60 /* us between signals, about */
#define FORKS      300
#define JUMPS      60
#define CANCELS    150
#define CHILD_ENDS 42

static struct block blocks[SLOTS];

/* One step of work on which a signal may fall. */
static void step(struct rng *rng, size_t i)
{
	struct block *block = &blocks[rng_below(rng, SLOTS)];
	size_t size = 1 + rng_log_size(rng, i % 16 ? 13 : 21);

	if (block->p) {
		block_verify(block);
		if (i % 4 == 0) {
			block->p = t_realloc(block->p, size);
			block_verify_prefix(block, size);
		} else {
			t_free(block->p);
			block->p = NULL;
		}
	} else {
		block->p = i % 2 ? t_malloc(size) : t_calloc(1, size);
	}
	if (block->p) {
		*block = (struct block){block->p, size, rng_next(rng)};
		block_fill(block);
	}
}

static void free_blocks(void)
{
	for (size_t i = 0; i < SLOTS; i++) {
		if (blocks[i].p)
			block_verify(&blocks[i]);
		t_free(blocks[i].p);
		blocks[i].p = NULL;
	}
}

/* Once: a handler asks for the next signal, as on a slow machine nothing else would be done between two of a series. */
static void interrupt_in(long us)
{
	const struct itimerval timer = {{0, 0}, {0, us}};

	CHECK(setitimer(ITIMER_REAL, &timer, NULL) == 0);
}

static void handle(int signal, void (*by)(int))
{
	struct sigaction action = {.sa_handler = by, .sa_flags = SA_RESTART};

	CHECK(sigaction(signal, &action, NULL) == 0);
}

/* The alarm is the timer's meanwhile: a process of its own watches the time. */
static pid_t watch(unsigned seconds)
{
	pid_t parent = getpid(), pid = fork();

	CHECK(pid >= 0);
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		sleep(seconds * (unsigned)check_number("CHECK_SLOWER", SANITIZED ? 10 : 1));
		check_write("hung\n");
		kill(parent, SIGABRT);
		_exit(0);
	}
	return pid;
}

/* ---- A handler that forks ---------------------------------------------------------------------------------------- */

static _Atomic size_t forks, reaped;

static void fork_here(int signal)
{
	int saved = errno;
	pid_t pid;

	(void)signal;
	pid = atomic_load(&forks) > atomic_load(&reaped) + 4 ? -1 : fork();
	if (pid == 0) {
		check_child(30);
		if (atomic_load(&forks) % 8 == 0)
			execl("/bin/sh", "sh", "-c", "exit 42", NULL);
		_exit(CHILD_ENDS);
	}
	if (atomic_fetch_add(&forks, pid > 0) + (pid > 0) < FORKS)
		interrupt_in(INTERVAL);
	errno = saved;
}

static void reap(bool all)
{
	int status;

	while (atomic_load(&reaped) < atomic_load(&forks)) {
		pid_t pid = waitpid(-1, &status, all ? 0 : WNOHANG);

		if (!pid)
			return;
		if (pid < 0 && errno == EINTR)
			continue;
		CHECK(pid > 0);
		CHECK_SAY(WIFEXITED(status) && WEXITSTATUS(status) == CHILD_ENDS, "wait status %#x", (unsigned)status);
		atomic_fetch_add(&reaped, 1);
	}
}

static _Atomic bool stop;

static void *allocate_beside(void *unused)
{
	struct rng rng = {7};

	while (!atomic_load(&stop)) {
		void *p = t_malloc(rng_log_size(&rng, 18));

		CHECK(p);
		t_free(p);
	}
	return unused;
}

static void forking(void)
{
	struct rng rng = {3};
	sigset_t timer;
	pthread_t thread;

	/* The signal falls on this thread. */
	sigemptyset(&timer);
	sigaddset(&timer, SIGALRM);
	CHECK(pthread_sigmask(SIG_BLOCK, &timer, NULL) == 0);
	CHECK(pthread_create(&thread, NULL, allocate_beside, NULL) == 0);
	handle(SIGALRM, fork_here);
	CHECK(pthread_sigmask(SIG_UNBLOCK, &timer, NULL) == 0);
	interrupt_in(INTERVAL);
	for (size_t i = 0; atomic_load(&forks) < FORKS; i++) {
		step(&rng, i);
		if (i % 64 == 0)
			reap(false);
	}
	reap(true);
	atomic_store(&stop, true);
	CHECK(pthread_join(thread, NULL) == 0);
	free_blocks();
}

/* ---- A handler that leaves by siglongjmp ------------------------------------------------------------------------- */

static sigjmp_buf out;

static void jump(int signal)
{
	(void)signal;
	siglongjmp(out, 1);
}

/* What was interrupted, malloc or not, is never gone on with. */
static void interrupted_work(size_t seed)
{
	struct rng rng = {seed};

	for (size_t i = 0;; i++) {
		void *p = t_malloc(rng_log_size(&rng, i % 32 ? 14 : 23)), *q = t_malloc(rng_log_size(&rng, 12));

		p = t_realloc(p, rng_log_size(&rng, 15) + 1);
		t_free(q);
		t_free(p);
	}
}

static void jump_and_end(size_t n)
{
	char *const sh[] = {(char *)(uintptr_t) "sh", (char *)(uintptr_t) "-c", (char *)(uintptr_t) "exit 42", NULL};
	if (!sigsetjmp(out, 1)) {
		interrupt_in((long)(100 + n * 37 % 1900));
		interrupted_work(n);
	}
	handle(SIGALRM, SIG_DFL);
	check_time_limit(CHECK_SECONDS); /* of the day's time, which passes while a machine is busy or stopped */
	switch (n % 3) {
	case 0:
		_exit(CHILD_ENDS);
	case 1:
		execv("/bin/sh", sh);
		_exit(1);
	default: {
		pid_t pid = fork();

		if (pid == 0)
			_exit(CHILD_ENDS);
		_exit(WEXITSTATUS(check_wait(pid)));
	}
	}
}

static void jumping(size_t jumps)
{
	handle(SIGALRM, jump);
	for (size_t n = 0; n < jumps; n++) {
		pid_t pid = fork();
		int status;

		CHECK(pid >= 0);
		if (pid == 0) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			jump_and_end(n);
		}
		status = check_wait(pid);
		CHECK_SAY(WIFEXITED(status) && WEXITSTATUS(status) == CHILD_ENDS, "jump %zu: wait status %#x", n,
			  (unsigned)status);
	}
}

/* With the signal blocked around each call nothing is interrupted: all goes on as if there had been no jump. */
static void jumping_between(void)
{
	static volatile size_t jumps, i;
	static struct rng rng = {5};
	sigset_t timer;

	sigemptyset(&timer);
	sigaddset(&timer, SIGALRM);
	handle(SIGALRM, jump);
	if (sigsetjmp(out, 1))
		jumps++;
	interrupt_in(INTERVAL);
	while (jumps < 4 * JUMPS) {
		CHECK(sigprocmask(SIG_BLOCK, &timer, NULL) == 0);
		step(&rng, i++);
		CHECK(sigprocmask(SIG_UNBLOCK, &timer, NULL) == 0);
	}
	interrupt_in(0);
	handle(SIGALRM, SIG_IGN);
	free_blocks();
}

/* ---- Cancellation ------------------------------------------------------------------------------------------------ */

static void free_list(void *argument)
{
	void *volatile *list = argument;

	while (*list) {
		void **p = *list;

		*list = *p;
		t_free(p);
	}
}

static size_t calls_after_cancel;

/* The request to end is there already: no call of the allocator's may act on it. */
static void *call_all(void *unused)
{
	void *p, *aligned = NULL;

	CHECK(pthread_cancel(pthread_self()) == 0);
	for (size_t i = 0; i < 50; i++) {
		p = t_realloc(t_malloc(i * 1000), i * 3000 + 1);
		t_free(p);
		t_free(t_calloc(i + 1, 7000));
		t_free(t_memalign(64, i));
		CHECK(t_posix_memalign(&aligned, 4096, i) == 0);
		t_free(aligned);
	}
	pmd_release();
#ifndef PMD_PREFIXED
	malloc_stats();
	malloc_trim(0);
	(void)mallinfo2();
#endif
	calls_after_cancel++;
	pthread_testcancel();
	CHECK(!"cancelled");
	return unused;
}

static void *list_until_cancelled(void *unused)
{
	struct rng rng = {11};
	void *volatile list = NULL;

	pthread_cleanup_push(free_list, (void *)&list);
	for (size_t i = 0;; i++) {
		void **p = t_malloc(sizeof(void *) + rng_log_size(&rng, 14));

		*p = list;
		list = p;
		if (i % 100 == 0) {
			pthread_testcancel();
			free_list((void *)&list);
		}
	}
	pthread_cleanup_pop(0);
	return unused;
}

static void cancelling(void)
{
	struct pmd_stats before = {.size = sizeof before}, after = {.size = sizeof after};
	int null = open("/dev/null", O_WRONLY | O_CLOEXEC), saved = dup(2);
	pthread_t thread;
	void *result;

	CHECK(null >= 0 && saved >= 0 && dup2(null, 2) == 2); /* malloc_stats says much */
	for (size_t i = 0; i < 4; i++) {
		CHECK(pthread_create(&thread, NULL, call_all, NULL) == 0);
		CHECK(pthread_join(thread, &result) == 0 && result == PTHREAD_CANCELED);
	}
	CHECK(dup2(saved, 2) == 2 && calls_after_cancel == 4);
	CHECK(pmd_stats_get(&before) == 0);
	for (size_t i = 0; i < CANCELS; i++) {
		const struct timespec moment = {0, (long)(i * 7919 % 200000)};

		CHECK(pthread_create(&thread, NULL, list_until_cancelled, NULL) == 0);
		nanosleep(&moment, NULL);
		CHECK(pthread_cancel(thread) == 0);
		CHECK(pthread_join(thread, &result) == 0 && result == PTHREAD_CANCELED);
	}
	CHECK(pmd_stats_get(&after) == 0);
	CHECK_SAY(after.live_blocks <= before.live_blocks + 200, "%zu blocks, then %zu", before.live_blocks,
		  after.live_blocks);
}

int main(int argc, char **argv)
{
	pid_t watcher;

	VARIANTS(argc, argv, "", "decay_ms:0,arenas:1");
	watcher = watch(CHECK_SECONDS);
	cancelling();
	if (!SANITIZED) { /* whose run-time library does not stand it */
		jumping(check_number("T_SIGNALS_JUMPS", JUMPS / 3));
		jumping_between();
		forking();
	}
	kill(watcher, SIGKILL);
	waitpid(watcher, NULL, 0);
	return 0;
}
