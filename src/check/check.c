/* SPDX-License-Identifier: MIT */
#include "check/check.h"
#include "check/quarantine.h"
#include "check/report.h"
#include "conf/options.h"

size_t check_size(const char *call, const void *p)
{
	if (guard_has(p))
		return guard_size(call, p);
	if (none_is_live(p))
		return 0;
	misuse(call, p);
	return SIZE_UNKNOWN;
}

void check_free(void *p)
{
	if (guard_has(p))
		guard_free(p);
	else if (!none_free(p))
		misuse("double free: free", p);
}

static void after_fork_in_child(void)
{
	report_after_fork();
	guard_after_fork();
	quarantine_after_fork();
}

void check_init(void)
{
	cache_on_fork = after_fork_in_child;
	if (cache_strict)
		strict_init();
	else if (OPTION(check) == CHECK_FAST && !cache_instrumented)
		guard_init();
}
