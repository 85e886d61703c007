/* SPDX-License-Identifier: MIT */
/*
 * _exit(2) and _Exit(3) in place of the C library's. In static programs the C library's own calls lead here as well, those
 * at the end of exit() and quick_exit(): then this is the last that a process does.
 */
#include <stdlib.h>
#include <unistd.h>

#include "exit/handoff.h"
#include "os/process.h"

#define EXPORT __attribute__((visibility("default")))

EXPORT _Noreturn void _exit(int status);
EXPORT _Noreturn void _Exit(int status);

void _exit(int status)
{
	handoff_begin_last();
	os_exit(status);
}

void _Exit(int status)
{
	_exit(status);
}
