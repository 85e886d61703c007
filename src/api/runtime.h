/* SPDX-License-Identifier: MIT */
/* The C++ runtime library: one that a program loaded for itself alone, as plugins do, or the one that was linked. */
#ifndef PMD_API_RUNTIME_H
#define PMD_API_RUNTIME_H

#include <stdbool.h>

/* NAME in it, NULL if there is none. */
void *runtime_find(const char *name);

/*
 * Calls HANDLER. False: an exception came out of it, and was caught. The dynamic form catches none, as what runtime_find finds
 * does.
 */
bool runtime_catches(void (*handler)(void));

#endif
