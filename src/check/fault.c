/* SPDX-License-Identifier: MIT */
/*
 * A segmentation fault at memory that is out of reach on purpose, or where a thread's list of free blocks leads out of its slab,
 * is reported, and then happens again: to its default action, so the process ends as it would have, with the same core. A
 * program that has a handler of its own keeps it.
 */
#include <errno.h>
#include <signal.h>
#include <unistd.h>

#include "check/check.h"
#include "check/report.h"
#include "check/stack.h"
#include "os/os.h"
#include "os/syscall.h"

static void describe(struct text *t, const void *p)
{
	if (guard_reaches(p))
		guard_describe(t, p);
	else
		misuse_describe(t, p);
}

/* What is out of reach on purpose, or what malloc found where a link should be, which has no address if it cannot be one. */
static void report(const void *p, const void *context)
{
	const struct slice *torn = NULL;
	struct text *t = NULL;

	if (guard_reaches(p) || none_has(p) || (cache_strict && heap_reserves(p)))
		t = report_begin_in_handler("access", p);
	else if ((torn = cache_torn()))
		t = report_begin_in_handler("malloc", torn->free);
	if (!t)
		return;
	if (torn)
		misuse_describe_torn(t, torn);
	else
		describe(t, p);
	report_end_in_handler(context);
}

static void on_fault(int number, siginfo_t *info, void *context)
{
	struct sigaction plain = {.sa_handler = SIG_DFL};
	int saved = errno;

	if (info->si_code > 0)
		report(info->si_addr, context);
	sigaction(number, &plain, NULL);
	if (info->si_code <= 0) /* sent by somebody, it would not come again */
		os_syscall(SYS_tgkill, getpid(), os_thread_number(), number, 0, 0, 0);
	errno = saved;
}

__attribute__((constructor(104))) static void start(void)
{
	struct sigaction ours = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER}, theirs;

	stack_start();
	if ((guard_used || cache_strict) && !sigaction(SIGSEGV, NULL, &theirs) && theirs.sa_handler == SIG_DFL)
		sigaction(SIGSEGV, &ours, NULL);
	guard_begin();
}
