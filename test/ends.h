/* SPDX-License-Identifier: MIT */
/* The calls by which a process ends itself. */
#ifndef PMDALLOC_TEST_ENDS_H
#define PMDALLOC_TEST_ENDS_H

#include "exits.h"

#include <sys/syscall.h>

static void end_by_exit(void)
{
	exit(STATUS);
}

static void end_by_exit_now(void)
{
	_exit(STATUS);
}

static void end_by_other_name(void)
{
	_Exit(STATUS);
}

static void end_quickly(void)
{
	quick_exit(STATUS);
}

static void end_by_number(void)
{
	syscall(SYS_exit_group, STATUS);
}

#endif
