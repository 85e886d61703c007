/* SPDX-License-Identifier: MIT */
/*
 * The last act where the C library's own _exit, which exit() and quick_exit() call in the end, cannot be replaced: in
 * the shared library, and in all forms that define no standard names.
 *
 * Handlers run in the reverse order of their registration. The dynamic loader runs this constructor before the C library
 * registers the loader's own handler, the one that runs all destructors: so what is registered here, for no library in
 * particular, comes after every destructor and every handler of the program and its libraries. What is left then is to
 * write out stdio's buffers. In a library that is loaded by dlopen it comes where a handler registered at that moment would:
 * handlers that run later find their memory as it was, as nothing is dropped before the process is gone.
 */
#include <stdlib.h>

#include "exit/handoff.h"

/* The C library's, as C++ compilers call it. LIBRARY: NULL, none. */
int __cxa_atexit(void (*handler)(void *), void *argument, void *library);

static void last_act(void *unused)
{
	(void)unused;
	handoff_begin();
}

__attribute__((constructor(103))) static void register_last_act(void)
{
	__cxa_atexit(last_act, NULL, NULL);
	at_quick_exit(handoff_begin);
}
