/* SPDX-License-Identifier: MIT */
/* The C++ runtime library that a program loaded for itself alone, as plugins do. */
#ifndef PMD_API_RUNTIME_H
#define PMD_API_RUNTIME_H

/* NAME in it, NULL if there is none. */
void *runtime_find(const char *name);

#endif
