/* SPDX-License-Identifier: MIT */
/*
 * handoff:armed when something fails, is slow or is killed while the resident helper is started, waits or works: the process
 * goes on and ends as it would without, nothing hangs, and nobody is left.
 */
#define CHECK_SECONDS 300
#include "exits.h"
#include "inject.h"

enum { ERRNOS = 8, HEAP = 4 * 1024 * 1024, CALLS = 8, LATE_US = 300000 };

static const struct call {
	const char *name;
	long nr;
	bool needed; /* without it there is no helper of either kind */
	int errnos[ERRNOS];
} calls[] = {
	{"clone", SYS_clone, true, {EAGAIN, ENOMEM, EPERM, ENOSYS, EINVAL}},
	{"pipe2", SYS_pipe2, true, {EMFILE, ENFILE, ENOSYS, EPERM}},
	{"close_range", SYS_close_range, true, {ENOSYS, EMFILE, ENOMEM, EPERM}},
	{"pidfd_open", SYS_pidfd_open, true, {ENOSYS, EMFILE, ESRCH, EPERM}},
	{"rt_sigprocmask", SYS_rt_sigprocmask, true, {EINVAL, EPERM}},
	{"openat", SYS_openat, true, {ENOENT, EMFILE, EPERM}},
	{"read", SYS_read, true, {EIO, EPERM}},
	{"getppid", SYS_getppid, true, {ENOSYS}},
	{"getpid", SYS_getpid, true, {ENOSYS}},
	{"readlink", SYS_readlink, false, {ENOENT, ENOSYS, EPERM}},
	{"prctl", SYS_prctl, false, {EINVAL, ENOSYS, EPERM}},
	{"ppoll", SYS_ppoll, false, {ENOSYS, EINVAL, ENOMEM, EPERM}},
	{"unshare", SYS_unshare, false, {EINVAL, EPERM, ENOSYS}},
	{"futex", SYS_futex, false, {EAGAIN, EINTR, ENOSYS, EINVAL}},
	{"setsid", SYS_setsid, false, {EPERM}},
	{"chdir", SYS_chdir, false, {EACCES}},
	{"prlimit64", SYS_prlimit64, false, {EPERM}},
	{"wait4", SYS_wait4, false, {ECHILD, EINVAL}},
	{"madvise", SYS_madvise, false, {EINVAL, ENOMEM, EPERM}},
	{"exit_group", SYS_exit_group, false, {ENOSYS}},
};

static void end(bool killed)
{
	if (killed)
		raise(SIGKILL);
	exit(STATUS);
}

static void judge(pid_t pid, bool killed, const struct call *c, const char *what)
{
	int status = check_wait(pid);
	CHECK_SAY(status == (killed ? SIGKILL : STATUS << 8), "%s, %s: wait status %#x", c->name, what,
		  (unsigned)status);
	size_t found = helpers(c->name);
	CHECK_SAY(found <= 4, "%s, %s: %zu helpers", c->name, what, found);
}

/* Calls FIRST to LAST (0: no end) fail, or are late. */
static void with_rule(const struct call *c, struct inject_rule rule, bool killed, const char *what)
{
	pid_t pid = begin();
	if (pid == 0) {
		inject_seed((uint64_t)c->nr);
		rule.nr = c->nr;
		inject_add(rule);
		fill(HEAP);
		end(killed);
	}
	judge(pid, killed, c, what);
}

static void fails(const struct call *c)
{
	struct inject_rule rule = {.action = INJECT_FAIL};
	for (size_t i = 0; i < ERRNOS && c->errnos[i]; i++) {
		rule.error = c->errnos[i];
		with_rule(c, rule, false, "each fails");
		with_rule(c, rule, true, "each fails, killed");
	}
	rule.error = c->errnos[0];
	for (size_t n = 1; n <= CALLS; n++) {
		rule.first = rule.last = n;
		with_rule(c, rule, n % 2, "one fails");
	}
}

static void is_late(const struct call *c)
{
	struct inject_rule rule = {.before_us = LATE_US};
	for (size_t n = 1; n <= CALLS; n += 2) {
		rule.first = rule.last = n;
		with_rule(c, rule, n % 4 == 1, "one is late");
	}
}

/* Where no helper can be started at all, there is none. */
static void needs(const struct call *c)
{
	pid_t pid = begin();
	if (pid == 0) {
		inject_add((struct inject_rule){.nr = c->nr, .action = INJECT_FAIL, .error = c->errnos[0]});
		fill(HEAP);
		CHECK_SAY(!child_of(getpid()), "%s: a child is left", c->name);
		exit(STATUS);
	}
	expect_end(pid, c->name);
}

/* The starter is killed, or stopped, in the middle. */
static void meets(int signal, long nr, bool killed, const char *what)
{
	const struct call c = {what, nr, false, {0}};
	pid_t pid = begin(), starter = 0;
	if (pid == 0) {
		inject_seed(5);
		inject_add((struct inject_rule){.nr = nr, .before_us = 1000000, .last = 1});
		fill(HEAP);
		end(killed);
	}
	while (!(starter = child_of(pid)) && waitpid(pid, NULL, WNOHANG | WNOWAIT) == 0)
		;
	if (starter)
		kill(starter, signal);
	int status = check_wait(pid);
	CHECK_SAY(status == (killed ? SIGKILL : STATUS << 8), "%s: wait status %#x", what, (unsigned)status);
	if (starter && signal == SIGSTOP)
		kill(starter, SIGKILL);
	CHECK_SAY(helpers(c.name) <= 3, "%s", what);
}

/* Else all that follows would say nothing. */
static void works(void)
{
	pid_t pid = begin();
	if (pid == 0) {
		fill(HEAP);
		raise(SIGKILL);
	}
	CHECK(check_wait(pid) == SIGKILL);
	CHECK(helpers("nothing fails") == 1);
}

int main(void)
{
	if (SANITIZED)
		SKIP("no handoff beside a sanitizer");
	arm_children();
	works();
	for (size_t i = 0; i < LENGTH(calls); i++) {
		fails(&calls[i]);
		is_late(&calls[i]);
		if (calls[i].needed)
			needs(&calls[i]);
	}
	for (int killed = 0; killed < 2; killed++) {
		meets(SIGKILL, SYS_close_range, killed, "a starter that is killed early");
		meets(SIGKILL, SYS_setsid, killed, "a starter that is killed late");
		meets(SIGSTOP, SYS_close_range, killed, "a starter that is stopped");
	}
	CHECK(pmd_option_set("handoff", "off") == 0);
	return 0;
}
