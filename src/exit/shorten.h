/* SPDX-License-Identifier: MIT */
/* A process's end, made shorter in the process itself where there is no helper. */
#ifndef PMD_EXIT_SHORTEN_H
#define PMD_EXIT_SHORTEN_H

#include "base/base.h"

/*
 * To be called right before the system call that ends the process, of which nothing runs any more: drops the heap by as
 * many threads as there are idle CPUs, if it is certain that nobody will miss it. SANDBOX: the process is known to be in
 * one. Once in a process. Async-signal-safe; blocks all signals.
 */
void shorten(bool sandbox);

#endif
