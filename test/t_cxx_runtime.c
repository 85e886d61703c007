/* SPDX-License-Identifier: MIT */
/*
 * operator new in a program of C, which has no C++ runtime, or one that was loaded privately: memory that cannot be had is
 * an exception where there is somebody to throw it, NULL where that was asked for, and else a message and an abort.
 */
#include "api.h"

#include <dlfcn.h>
#include <fcntl.h>

extern void *new_plain(size_t size) __asm__("_Znwm");
extern void *new_nothrow(size_t size, const void *nothrow) __asm__("_ZnwmRKSt9nothrow_t");
extern void *new_nothrow_aligned(size_t size, size_t align,
				 const void *nothrow) __asm__("_ZnwmSt11align_val_tRKSt9nothrow_t");
extern void delete_plain(void *p) __asm__("_ZdlPv");

#define TOO_MUCH ((size_t)1 << 60)

static void *(*volatile plain)(size_t) = new_plain;
static void *(*volatile nothrow)(size_t, const void *) = new_nothrow;
static void *(*volatile nothrow_aligned)(size_t, size_t, const void *) = new_nothrow_aligned;

static void *runtime;

static void load_runtime(void)
{
	runtime = dlopen("libstdc++.so.6", RTLD_NOW | RTLD_LOCAL);
	if (!runtime)
		SKIP("no libstdc++.so.6");
}

static void set_handler(void (*handler)(void))
{
	void (*(*set)(void (*)(void)))(void);
	void *found = dlsym(runtime, "_ZSt15set_new_handlerPFvvE");

	CHECK(found);
	memcpy(&set, &found, sizeof set);
	set(handler);
}

static void forty_two(void)
{
	_exit(42);
}

static int calls;

static void give_up(void)
{
	if (++calls == 3)
		set_handler(NULL);
}

static void small(void)
{
	void *p = plain(100);

	CHECK(p);
	memset(p, 1, 100);
	delete_plain(p);
	CHECK(!nothrow(TOO_MUCH, NULL) && !nothrow_aligned(TOO_MUCH, 64, NULL));
}

static void throw_without(void)
{
	plain(TOO_MUCH);
}

static void nothrow_with(void)
{
	load_runtime();
	CHECK(!nothrow(TOO_MUCH, NULL) && !nothrow_aligned(TOO_MUCH, 64, NULL));
	set_handler(give_up);
	CHECK(!nothrow(TOO_MUCH, "") && calls == 3);
	calls = 0;
	set_handler(give_up);
	CHECK(!nothrow_aligned(TOO_MUCH, 64, "") && calls == 3);
}

static void handler_with(void)
{
	load_runtime();
	set_handler(forty_two);
	plain(TOO_MUCH);
}

static void throw_with(void)
{
	load_runtime();
	plain(TOO_MUCH);
}

/* How a process that does it ends; *said: what it wrote to stderr. */
static int run(void (*what)(void), char *said, size_t room)
{
	size_t have = 0;
	int fds[2];
	pid_t pid;

	CHECK(pipe2(fds, O_CLOEXEC) == 0);
	pid = fork();
	CHECK(pid >= 0);
	if (pid == 0) {
		check_child(20);
		dup2(fds[1], 2);
		what();
		_exit(0);
	}
	close(fds[1]);
	for (ssize_t n; have + 1 < room && (n = read(fds[0], said + have, room - 1 - have)) > 0;)
		have += (size_t)n;
	said[have] = 0;
	close(fds[0]);
	return check_wait(pid);
}

static bool ended(int status, int with)
{
	return WIFEXITED(status) && (WEXITSTATUS(status) == with || WEXITSTATUS(status) == EXIT_SKIP);
}

int main(void)
{
	char said[4096];
	int status;

	CHECK_SAY(ended(run(small, said, sizeof said), 0), "%s", said);
	status = run(throw_without, said, sizeof said);
	CHECK_SAY(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT && strstr(said, "finds no C++ runtime"), "%#x: %s",
		  (unsigned)status, said);
	CHECK_SAY(ended(run(nothrow_with, said, sizeof said), 0), "%s", said);
	CHECK_SAY(ended(run(handler_with, said, sizeof said), 42), "%s", said);
	status = run(throw_with, said, sizeof said);
	CHECK_SAY(ended(status, 0) ||
			  (WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT && !strstr(said, "no C++ runtime")),
		  "%#x: %s", (unsigned)status, said);
	return 0;
}
