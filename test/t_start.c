/* SPDX-License-Identifier: MIT */
/*
 * The first calls come early or in tight places: before every constructor, on a stack of 16 KiB, in a program without
 * an environment, from atexit functions and destructors.
 */
#include "api.h"
#include "block.h"
#include "variants.h"

#include <limits.h>
#include <pthread.h>

static void *early_block;
static void *constructor_block;
static size_t late_calls;

static void early(void)
{
	early_block = API_NAME(malloc)(100);
	if (early_block)
		memset(early_block, 1, 100);
}

/* Run by the dynamic loader before the constructors of any library, ours included. */
__attribute__((used, section(".preinit_array"))) static void (*const before_all)(void) = early;

__attribute__((constructor(101))) static void first_constructor(void)
{
	CHECK(early_block);
	early_block = t_realloc(early_block, 100000);
	CHECK(early_block && *(char *)early_block == 1);
	constructor_block = t_calloc(10, 1000);
	CHECK(constructor_block);
	block_check_zero(constructor_block, 10000);
}

__attribute__((destructor(101))) static void last_destructor(void)
{
	CHECK(late_calls == 1);
	t_free(early_block);
	for (size_t size = 1; size < 8 * MIB; size *= 3)
		t_free(t_malloc(size));
	t_free(constructor_block);
}

static void at_exit(void)
{
	late_calls++;
	t_free(t_realloc(t_malloc(10), 100000));
}

static void *on_small_stack(void *unused)
{
	for (size_t size = 1; size <= 64 * MIB; size = size * 2 + 1) {
		char *p = t_malloc(size);
		CHECK(p);
		p[0] = p[size - 1] = 1;
		p = t_realloc(p, size * 2);
		CHECK(p && p[0] == 1);
		t_free(p);
	}
	pmd_release();
	return unused;
}

static void small_stack(void)
{
	pthread_attr_t attr;
	pthread_t thread;
	CHECK(pthread_attr_init(&attr) == 0);
	CHECK(pthread_attr_setstacksize(&attr, SANITIZED ? MIB : 16 * KIB) == 0);
	CHECK(pthread_create(&thread, &attr, on_small_stack, NULL) == 0);
	CHECK(pthread_join(thread, NULL) == 0);
}

/* On the stack of a signal handler, as small as POSIX lets it be. */
static void handler(int number)
{
	(void)number;
	t_free(t_malloc(200000));
	t_free(t_malloc(77));
}

static void signal_stack(void)
{
	static char stack[SANITIZED ? 256 * 1024 : 16384];
	const stack_t alternate = {.ss_sp = stack, .ss_size = sizeof stack};
	struct sigaction action = {.sa_handler = handler, .sa_flags = SA_ONSTACK};
	CHECK(sigaltstack(&alternate, NULL) == 0);
	CHECK(sigaction(SIGUSR1, &action, NULL) == 0);
	CHECK(raise(SIGUSR1) == 0);
}

/* This program again with no environment at all, and with options in an unusual place of it. */
static void with_environment(char **environment)
{
	char program[] = "t_start", argument[] = "again";
	char *const args[] = {program, argument, NULL};
	pid_t pid = fork();
	CHECK(pid >= 0);
	if (pid == 0) {
		check_child(60);
		execve("/proc/self/exe", args, environment);
		CHECK(!"execve");
	}
	int status = check_wait(pid);
	CHECK_SAY(status == 0, "wait status %#x", (unsigned)status);
}

int main(int argc, char **argv)
{
	(void)argv;
	CHECK(constructor_block);
	CHECK(atexit(at_exit) == 0);
	small_stack();
	signal_stack();
	if (argc > 1)
		return 0;
	char empty[] = "", nothing[] = "PMDALLOC_CONF=", options[] = "PMDALLOC_CONF=decay_ms:0,background:off";
	with_environment((char *[]){NULL});
	with_environment((char *[]){empty, NULL});
	with_environment((char *[]){nothing, NULL});
	with_environment((char *[]){empty, options, NULL});
	return 0;
}
