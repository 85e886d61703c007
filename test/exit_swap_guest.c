/* SPDX-License-Identifier: MIT */
/*
 * Memory that waits for its end should not be swapped out. A process writes 256 MiB again and again on a machine that has
 * little more, so that the kernel is at swapping, and ends; its parent starts another, as who restarts a service does, that
 * needs 160 MiB. How many pages went to swap from the last act of the first until all its memory was free and the other had
 * what it needs. It needs root, swap, and a machine on which nothing else matters: test/exit_swap.sh makes one.
 *
 * exit_swap_guest exit|kill OPTIONS   one line: the median of ROUNDS (5)
 */
#define CHECK_SECONDS 600
#include "api.h"
#include "proc.h"

enum { ROUNDS_MOST = 99, BLOCK = 64 << 10, WRITE_MS = 1500 };

#define HEAP      (256 * MIB)
#define SUCCESSOR (160 * MIB)

static size_t swapped_out(void)
{
	static char text[32 << 10];
	size_t length = 0;
	int fd = open("/proc/vmstat", O_RDONLY | O_CLOEXEC);
	const char *at;
	CHECK(fd >= 0);
	for (ssize_t n; (n = read(fd, text + length, sizeof text - 1 - length)) > 0;)
		length += (size_t)n;
	close(fd);
	text[length] = 0;
	at = strstr(text, "\npswpout ");
	CHECK(at);
	return strtoul(at + 9, NULL, 10);
}

static uint64_t now_us(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

/* What a process knows of its last moment. */
struct last {
	size_t swapped;
	uint64_t us;
};

/* Blocks of the heap, which is full. Ends by itself, or waits to be killed. */
static void hold(const char *way)
{
	static char *blocks[HEAP / BLOCK];
	struct last last;
	uint64_t until = now_us() + WRITE_MS * 1000;
	for (size_t i = 0; i < LENGTH(blocks); i++)
		CHECK(blocks[i] = t_malloc(BLOCK));
	for (int byte = 1; now_us() < until; byte++)
		for (size_t i = 0; i < LENGTH(blocks); i++)
			memset(blocks[i], byte, BLOCK);
	last = (struct last){swapped_out(), now_us()};
	CHECK(write(STDOUT_FILENO, &last, sizeof last) == sizeof last);
	if (strcmp(way, "kill") == 0)
		kill(getpid(), SIGKILL);
	exit(0);
}

static pid_t start(const char *way, const char *options, int *from)
{
	int ends[2];
	pid_t pid;
	CHECK(pipe2(ends, O_CLOEXEC) == 0);
	pid = fork();
	CHECK(pid >= 0);
	if (pid == 0) {
		check_child(CHECK_SECONDS);
		CHECK(setenv("PMDALLOC_CONF", options, 1) == 0 && dup2(ends[1], STDOUT_FILENO) >= 0);
		execl("/proc/self/exe", "exit_swap_guest", way, (char *)NULL);
		CHECK(!"exec");
	}
	close(ends[1]);
	*from = ends[0];
	return pid;
}

/* Until nobody has any of the memory: helpers are orphans, which come here. */
static void wait_for_helpers(void)
{
	int status;
	while (waitpid(-1, &status, __WALL) > 0)
		;
}

static void touch(size_t bytes)
{
	char *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(p != MAP_FAILED);
	for (size_t i = 0; i < bytes; i += 4 * KIB)
		p[i] = 1;
	munmap(p, bytes);
}

struct round {
	size_t pages, wait_us;
};

static struct round play(const char *way, const char *options)
{
	struct last last;
	struct round round;
	int from, status;
	pid_t pid = start(way, options, &from);
	CHECK(read(from, &last, sizeof last) == sizeof last);
	CHECK(waitpid(pid, &status, 0) == pid);
	round.wait_us = now_us() - last.us;
	touch(SUCCESSOR);
	wait_for_helpers();
	round.pages = swapped_out() - last.swapped;
	close(from);
	proc_sleep_ms(300);
	return round;
}

static int by_size(const void *a, const void *b)
{
	size_t x = *(const size_t *)a, y = *(const size_t *)b;
	return x < y ? -1 : x > y;
}

int main(int argc, char **argv)
{
	size_t pages[ROUNDS_MOST], us[ROUNDS_MOST], rounds = check_number("ROUNDS", 5);
	if (argc == 2)
		hold(argv[1]);
	CHECK(argc == 3 && rounds > 0 && rounds <= ROUNDS_MOST);
	CHECK(prctl(PR_SET_CHILD_SUBREAPER, 1) == 0);
	for (size_t i = 0; i < rounds; i++) {
		struct round round = play(argv[1], argv[2]);
		pages[i] = round.pages;
		us[i] = round.wait_us;
	}
	qsort(pages, rounds, sizeof *pages, by_size);
	qsort(us, rounds, sizeof *us, by_size);
	printf("%-5s %-44s %10zu %10zu %10zu %12.1f\n", argv[1], argv[2], pages[0], pages[rounds / 2],
	       pages[rounds - 1], (double)us[rounds / 2] / 1000);
	return 0;
}
