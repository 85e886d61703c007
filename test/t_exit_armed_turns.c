/* SPDX-License-Identifier: MIT */
/*
 * handoff:armed while somebody else is at it: who would start, end or ask the resident helper waits for a thread that is about
 * to start one, not without end, and goes on; a helper that was killed has a successor; one that does not come to its turn
 * keeps another from being started on its stack.
 */
#define CHECK_SECONDS 120
#include "exits.h"
#include "inject.h"

#define check_failed library_check_failed /* both have one */
#include "exit/armed.h"
#undef check_failed

#include <pthread.h>

enum { HEAP = 4 * 1024 * 1024, HOLD_MS = 20000 };

static _Atomic bool held, released, over;

/* The call is made, and does not return until it may. */
static long hold(const long args[6])
{
	(void)args;
	held = true;
	for (int i = 0; i < HOLD_MS && !released; i++)
		proc_sleep_ms(1);
	over = true;
	return -EAGAIN;
}

static void *fill_in_thread(void *unused)
{
	fill(HEAP);
	return unused;
}

/* A thread lets the heap grow, and is held in call NR, with the turn. */
static void hold_in(long nr)
{
	pthread_t thread;
	inject_seed(1);
	inject_add((struct inject_rule){.nr = nr, .action = INJECT_ANSWER, .answer = hold, .last = 1});
	CHECK(pthread_create(&thread, NULL, fill_in_thread, NULL) == 0);
	for (int i = 0; !held; i++) {
		CHECK_SAY(i < HOLD_MS, "nobody makes call %ld", nr);
		proc_sleep_ms(1);
	}
}

static void fill_until_armed(void)
{
	for (int i = 0; i < 100 && !armed_is_there(); i++)
		fill(HEAP);
	CHECK(armed_is_there());
}

/* A process that does what LIVE does, and ends itself, leaves one helper. */
static void expect_helper(void (*live)(void), const char *what)
{
	pid_t pid = begin();
	if (pid == 0)
		live();
	expect_end(pid, what);
	size_t found = helpers(what);
	CHECK_SAY(is_count(found, 1), "%s: %zu helpers", what, found);
}

/* ---- One is being started ---- */

static void set_option(void)
{
	CHECK(pmd_option_set("handoff_max", "1T") == 0);
}

static void (*const who_waits[])(void) = {armed_pause, armed_resume, armed_forbid, set_option};

static void wait_in_vain(void (*what)(void))
{
	hold_in(SYS_readlink);
	what();
	CHECK(!over && !armed_is_there());
	exit(STATUS);
}

static void others_go_on(void)
{
	pid_t pids[LENGTH(who_waits)];
	for (size_t i = 0; i < LENGTH(who_waits); i++)
		if ((pids[i] = begin()) == 0)
			wait_in_vain(who_waits[i]);
	for (size_t i = 0; i < LENGTH(who_waits); i++)
		expect_end(pids[i], "one is being started");
	CHECK(helpers("one is being started") == 0);
}

/* ---- It is asked for at the end, while a thread looks whether it may stay ---- */

static void look_amid_end(void)
{
	fill_until_armed();
	hold_in(SYS_openat);
	exit(STATUS);
}

static void serves(void)
{
	expect_helper(look_amid_end, "a thread has the turn");
}

/* ---- None begins in a pause ---- */

static void pause_and_resume(void)
{
	armed_pause();
	fill(HEAP);
	CHECK(pmd_option_set("handoff", "armed") == 0);
	CHECK(!armed_is_there());
	armed_resume();
	fill_until_armed();
	exit(STATUS);
}

static void pauses(void)
{
	expect_helper(pause_and_resume, "a pause");
}

/* ---- The one that is being started does not come to its turn ---- */

static void comes_late(void)
{
	pid_t pid = begin();
	if (pid == 0) {
		inject_seed(1);
		inject_add((struct inject_rule){
			.nr = SYS_close_range, .action = INJECT_ANSWER, .answer = hold, .last = 1});
		fill(HEAP);
		CHECK(held && armed_is_there());
		armed_pause(); /* waits, in vain */
		armed_resume();
		CHECK(inject_calls(SYS_close_range) == 1);
		released = true;
		exit(STATUS);
	}
	expect_end(pid, "a late one");
	CHECK(helpers("a late one") <= 2);
}

/* ---- It was killed ---- */

/* False: there is none, or it has not its name yet. */
static bool kill_child_named(const char *name)
{
	bool found = false;
	char path[64], children[512], comm[64];
	snprintf(path, sizeof path, "/proc/self/task/%d/children", (int)getpid());
	proc_read(path, children, sizeof children);
	for (char *at = children; *at; at += strspn(at, " ")) {
		pid_t pid = (pid_t)strtol(at, &at, 10);
		snprintf(path, sizeof path, "/proc/%d/comm", (int)pid);
		proc_read(path, comm, sizeof comm);
		if (strncmp(comm, name, strlen(name)) == 0) {
			CHECK(kill(pid, SIGKILL) == 0);
			found = true;
		}
	}
	return found;
}

static void await_byte(const int fds[2])
{
	char byte;
	close(fds[1]);
	CHECK(read(fds[0], &byte, 1) == 1);
}

static void is_succeeded(void)
{
	int ready[2], killed[2];
	CHECK(pipe(ready) == 0 && pipe(killed) == 0);
	pid_t pid = begin();
	if (pid == 0) {
		fill_until_armed();
		CHECK(write(ready[1], "", 1) == 1);
		await_byte(killed);
		for (int i = 0; armed_is_there(); i++) {
			CHECK(i < HOLD_MS);
			proc_sleep_ms(1);
		}
		fill_until_armed();
		raise(SIGKILL);
	}
	await_byte(ready);
	while (!kill_child_named("pmdalloc-armed"))
		proc_sleep_ms(1);
	CHECK(write(killed[1], "", 1) == 1);
	CHECK(check_wait(pid) == SIGKILL);
	size_t found = helpers("a killed one");
	CHECK_SAY(is_count(found, 2), "%zu helpers", found);
	close(ready[0]);
	close(killed[0]);
	close(killed[1]);
}

int main(void)
{
	if (SANITIZED)
		SKIP("no handoff beside a sanitizer");
	arm_children();
	others_go_on();
	in_time(serves);
	in_time(pauses);
	comes_late();
	in_time(is_succeeded);
	CHECK(pmd_option_set("handoff", "off") == 0);
	return 0;
}
