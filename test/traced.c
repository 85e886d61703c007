/* SPDX-License-Identifier: MIT */
/*
 * Run under the recorder by test/trace.sh: makes known calls, or does what a recorder has to survive. Usage: traced
 * MODE [N]
 */
#include "check.h"

#include <fcntl.h>
#include <malloc.h>
#include <pthread.h>
#include <stdalign.h>
#include <sys/syscall.h>

enum { THREADS = 4, MANY = 100000 };

static size_t count;
static char **arguments;

/* Each kind of call COUNT times; the blocks of malloc stay, 1 to COUNT bytes. */
static void *make_calls(void *unused)
{
	for (size_t i = 1; i <= count; i++) {
		void *p = malloc(i), *q = NULL;
		CHECK(p);
		p = calloc(3, i);
		p = realloc(p, 5 * i);
		p = reallocarray(p, 2, 7 * i);
		free(p);
		CHECK(!posix_memalign(&q, 64, i));
		free(q);
		free(aligned_alloc(128, 128 * i));
		free(memalign(32, i));
		free(valloc(i));
		free(pvalloc(i));
		free(NULL);
		CHECK(!malloc(SIZE_MAX / 2));
	}
	return unused;
}

static void calls(void)
{
	pthread_t threads[THREADS];

	for (size_t i = 0; i < THREADS; i++)
		CHECK(!pthread_create(&threads[i], NULL, make_calls, NULL));
	for (size_t i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
}

static void churn(void)
{
	for (size_t i = 0; i < MANY; i++) {
		void *p;
		errno = 77;
		p = malloc(i & 1023);
		CHECK(errno == 77);
		free(p);
		CHECK(errno == 77);
	}
}

static void forks(void)
{
	void *inherited = malloc(1000);
	pid_t pid = fork();

	CHECK(pid >= 0);
	if (pid == 0) {
		free(inherited);
		free(malloc(2000));
		(void)!malloc(3000);
		exit(5);
	}
	CHECK(check_wait(pid) == 5 << 8);
	free(inherited);
}

/* Without the C library's fork, so that no handler of fork runs. */
static void forks_by_call(void)
{
	void *inherited = malloc(1000);
	pid_t pid = (pid_t)syscall(SYS_fork);

	CHECK(pid >= 0);
	if (pid == 0) {
		free(inherited);
		churn();
		exit(5);
	}
	CHECK(check_wait(pid) == 5 << 8);
	free(inherited);
}

/* The child may do what is undefined for vfork, as programs do. */
static void vforks(void)
{
	void *volatile p = NULL;
	pid_t pid = vfork();

	CHECK(pid >= 0);
	if (pid == 0) {
		p = malloc(4000);
		_exit(5);
	}
	CHECK(check_wait(pid) == 5 << 8);
	free(p);
	(void)!malloc(5000);
}

static void executes(void)
{
	free(malloc(6000));
	execl("/nonexistent/program", "program", (char *)NULL);
	free(malloc(7000));
	execl(arguments[0], arguments[0], "nothing", (char *)NULL);
	CHECK(!"reached");
}

static void closes(void)
{
	churn();
	CHECK(!syscall(SYS_close_range, 3, ~0u, 0));
	CHECK(open("/dev/null", O_RDONLY) == 3);
	churn();
	for (int fd = 3; fd < 1024; fd++)
		dup2(2, fd);
	churn();
}

static void exceeds_size(void)
{
	const struct rlimit limit = {200000, RLIM_INFINITY};

	CHECK(!setrlimit(RLIMIT_FSIZE, &limit));
	churn();
}

static void *end_thread(void *unused)
{
	free(malloc(8000));
	return unused;
}

/* One after the other: each has ended before the next begins. */
static void storm(void)
{
	for (size_t i = 0; i < count; i++) {
		pthread_t thread;
		CHECK(!pthread_create(&thread, NULL, end_thread, NULL));
		pthread_join(thread, NULL);
	}
}

static void ends_at_once(void)
{
	free(malloc(9000));
	_exit(6);
}

static void ends_quickly(void)
{
	free(malloc(9000));
	quick_exit(6);
}

static void on_signal(int signal)
{
	(void)signal;
	_exit(6);
}

static void ends_in_handler(void)
{
	free(malloc(9000));
	signal(SIGTERM, on_signal);
	raise(SIGTERM);
}

static void is_killed(void)
{
	churn();
	raise(SIGKILL);
}

static void prints_usable(void)
{
	void *p = malloc(100);

	printf("%zu %d\n", malloc_usable_size(p), (int)((uintptr_t)p % alignof(max_align_t)));
	free(p);
}

static void nothing(void)
{
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		void (*run)(void);
	} modes[] = {
		{"calls", calls},
		{"churn", churn},
		{"closes", closes},
		{"ends-at-once", ends_at_once},
		{"ends-in-handler", ends_in_handler},
		{"ends-quickly", ends_quickly},
		{"exceeds-size", exceeds_size},
		{"executes", executes},
		{"forks", forks},
		{"forks-by-call", forks_by_call},
		{"is-killed", is_killed},
		{"nothing", nothing},
		{"storm", storm},
		{"usable", prints_usable},
		{"vforks", vforks},
	};

	CHECK(argc >= 2);
	arguments = argv;
	count = argc > 2 ? strtoul(argv[2], NULL, 10) : 0;
	for (size_t i = 0; i < LENGTH(modes); i++)
		if (!strcmp(argv[1], modes[i].name)) {
			modes[i].run();
			return 0;
		}
	CHECK(!"a known mode");
}
