/* SPDX-License-Identifier: MIT */
/* A program that Valgrind has something to say about, when its only argument asks for it. Standard names only. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void *volatile hidden;

static char *block(size_t size)
{
	hidden = malloc(size);
	return hidden;
}

static int clean(void)
{
	for (size_t size = 1; size < 3000000; size *= 2) {
		char *p = block(size);
		memset(p, 1, size);
		hidden = realloc(p, 2 * size);
		p = hidden;
		memset(p + size, 2, size);
		free(p);
		p = calloc(1, size);
		if (!p || p[size - 1])
			return 1;
		free(p);
		p = aligned_alloc(256, 1024);
		free(p);
	}
	return 0;
}

static int leak(void)
{
	memset(block(1234), 1, 1234);
	hidden = NULL;
	return 0;
}

static int overrun(void)
{
	char *p = block(100);
	p[100] = 1;
	free(p);
	return 0;
}

static int underrun(void)
{
	char *p = block(100);
	p[-1] = 1;
	free(p);
	return 0;
}

static int use_after_free(void)
{
	char *p = block(200);
	memset(p, 1, 200);
	char *volatile stale = p;
	free(p);
	return stale[50] == 77;
}

static int uninitialised(void)
{
	char *p = block(300);
	if (p[20] == 3)
		puts("three");
	free(p);
	return 0;
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		int (*run)(void);
	} bugs[] = {{"clean", clean},
		    {"leak", leak},
		    {"overrun", overrun},
		    {"underrun", underrun},
		    {"use-after-free", use_after_free},
		    {"uninitialised", uninitialised}};
	for (size_t i = 0; i < sizeof bugs / sizeof bugs[0]; i++)
		if (argc == 2 && strcmp(argv[1], bugs[i].name) == 0)
			return bugs[i].run();
	return 2;
}
