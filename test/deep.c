/* SPDX-License-Identifier: MIT */
/* A library that knows nothing of ours, for t_deepbind: it hands blocks out, and opens another by its own RUNPATH. */
#define _GNU_SOURCE 1
#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

#define EXPORT __attribute__((visibility("default")))

/* So that the last call is no jump: the loader is to see who it comes from. */
static volatile int after_call;

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
	void *library = dlopen(name, mode);
	after_call = 1;
	return library;
}
