/* SPDX-License-Identifier: MIT */
/*
 * A segmentation fault at memory that is out of reach on purpose is reported, and then happens again: to its default action,
 * so the process ends as it would have, with the same core. A program that has a handler of its own keeps it.
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
	if (guard_has(p))
		guard_describe(t, p);
	else
		misuse_describe(t, p);
}

static void on_fault(int number, siginfo_t *info, void *context)
{
	struct sigaction plain = {.sa_handler = SIG_DFL};
	int saved = errno;
	const void *p = info->si_addr;
	struct text *t = NULL;

	if (info->si_code > 0 && (check_has(p) || (cache_strict && heap_slice_anywhere(p))))
		t = report_begin_in_handler("access", p);
	if (t) {
		describe(t, p);
		report_end_in_handler(context);
	}
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
}
