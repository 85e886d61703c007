/* SPDX-License-Identifier: MIT */
/* A library that knows nothing of ours, for t_deepbind: it hands blocks out, and opens another by its own RUNPATH. */
#define _GNU_SOURCE 1
#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

#define EXPORT __attribute__((visibility("default")))

EXPORT char *deep_copy(const char *text);
EXPORT char *deep_longer(char *text, size_t size);
EXPORT void *deep_open(const char *name, int mode);

char *deep_copy(const char *text)
{
	return strdup(text);
}

char *deep_longer(char *text, size_t size)
{
	return realloc(text, size);
}

void *deep_open(const char *name, int mode)
{
	return dlopen(name, mode);
}
