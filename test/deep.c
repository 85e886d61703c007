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
	char *p = malloc(strlen(text) + 1);
	return p ? strcpy(p, text) : NULL;
}

char *deep_longer(char *text, size_t size)
{
	return realloc(text, size);
}

void *deep_open(const char *name, int mode)
{
	static unsigned opened;
	void *library = dlopen(name, mode); /* no tail call: the loader is to see this one */
	opened += library != NULL;
	return library;
}
