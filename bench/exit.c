/* SPDX-License-Identifier: MIT */
/*
 * How long a process's parent waits for its end, and how long it takes until its memory is free again. Each of --rounds
 * children allocates --mib in blocks of --block bytes, touches them, opens --descriptors files and starts --threads threads
 * that go on allocating; then ends by --how. With --freed 1 it frees 16 MiB before. Printed in nanoseconds, from the child's last act: wait(2)'s return (gone),
 * and the end of whatever the child left behind (back), which this program is told of as it adopts orphans. With --serve 1
 * it is such a child itself: says that it is ready, and ends on SIGTERM.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif
#include "measure.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

enum how { BY_EXIT, BY_UNDERSCORE, BY_QUICK, BY_KILL, BY_TERM, BY_ABORT, BY_FAULT };

static struct {
	size_t mib, block, rounds, descriptors, threads, how, freed, serve;
} options = {.mib = 64, .block = 1 << 20, .rounds = 5};

static const int statuses[] = {[BY_KILL] = SIGKILL, [BY_TERM] = SIGTERM, [BY_ABORT] = SIGABRT, [BY_FAULT] = SIGSEGV};
static void *volatile nowhere;
static uint64_t *last_act; /* shared with the children */
static struct histogram gone, back;

static void fill(void)
{
	for (size_t done = 0; done < options.mib << 20; done += options.block) {
		char *p = touch(malloc(options.block));

		for (size_t at = 0; at < options.block; at += 4096)
			p[at] = 1;
	}
}

/* So that a background thread, where the allocator has one, is there at the end. */
static void free_some(void)
{
	size_t bytes = 16 << 20;
	char *p = touch(malloc(bytes));

	for (size_t at = 0; at < bytes; at += 4096)
		p[at] = 1;
	free(p);
}

static void *churn(void *unused)
{
	for (;;)
		free(touch(malloc(1000)));
	return unused;
}

static void start_threads(void)
{
	pthread_t thread;

	for (size_t i = 0; i < options.threads; i++)
		if (pthread_create(&thread, NULL, churn, NULL))
			die("no thread");
}

static void open_files(void)
{
	const struct rlimit limit = {options.descriptors + 100, options.descriptors + 100};

	if (!options.descriptors)
		return;
	if (setrlimit(RLIMIT_NOFILE, &limit))
		die("so many descriptors are not allowed");
	for (size_t i = 0; i < options.descriptors; i++)
		if (open("/dev/null", O_RDONLY) < 0)
			die("no descriptor");
}

/* What is written at a crash is not what is measured. */
static void leave_no_core(void)
{
	const struct rlimit none = {0, 0};

	setrlimit(RLIMIT_CORE, &none);
}

static noreturn void child(void)
{
	leave_no_core();
	if (options.freed)
		free_some();
	fill();
	open_files();
	start_threads();
	*last_act = now_ns();
	switch (options.how) {
	case BY_UNDERSCORE:
		_exit(0);
	case BY_QUICK:
		quick_exit(0);
	case BY_KILL:
		raise(SIGKILL);
		break;
	case BY_TERM:
		raise(SIGTERM);
		break;
	case BY_ABORT:
		abort();
	case BY_FAULT:
		*(volatile char *)nowhere = 0;
	}
	exit(0);
}

static noreturn void serve(void)
{
	sigset_t term;
	int got;

	sigemptyset(&term);
	sigaddset(&term, SIGTERM);
	sigprocmask(SIG_BLOCK, &term, NULL);
	fill();
	puts("ready");
	fflush(stdout);
	sigwait(&term, &got);
	exit(0);
}

static void round_of(void)
{
	pid_t pid = fork();
	int status;

	if (pid < 0)
		die("fork");
	if (!pid)
		child();
	if (waitpid(pid, &status, 0) != pid)
		die("wait");
	histogram_add(&gone, now_ns() - *last_act);
	if ((status & ~0x80) != statuses[options.how])
		die("the child did not end as it should");
	while (wait(NULL) > 0)
		;
	histogram_add(&back, now_ns() - *last_act);
}

int main(int argc, char **argv)
{
	static const char *const ways[] = {"exit", "_exit", "quick_exit", "kill", "term", "abort", "segv", NULL};
	const struct option_of known[] = {
		{"--mib", &options.mib, NULL},
		{"--block", &options.block, NULL},
		{"--rounds", &options.rounds, NULL},
		{"--descriptors", &options.descriptors, NULL},
		{"--how", &options.how, ways},
		{"--threads", &options.threads, NULL},
		{"--freed", &options.freed, NULL},
		{"--serve", &options.serve, NULL},
		{0},
	};

	options_parse(argc, argv, known);
	if (!options.block)
		die("senseless sizes");
	if (options.serve)
		serve();
	last_act = mmap(NULL, sizeof(*last_act), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (last_act == MAP_FAILED || prctl(PR_SET_CHILD_SUBREAPER, 1))
		die("cannot adopt orphans");
	for (size_t i = 0; i < options.rounds; i++)
		round_of();
	result_begin();
	result_histogram("gone", &gone);
	result_histogram("back", &back);
	result_end();
	return 0;
}
