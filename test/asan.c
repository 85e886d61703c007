/* SPDX-License-Identifier: MIT */
/* A program that test/asan.sh builds with AddressSanitizer and links with the library: does what its argument says. */
#include <pmdalloc/pmdalloc.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static volatile int sink;
static void *volatile kept;

static void clean(size_t size)
{
	for (int i = 0; i < 1000; i++) {
		char *p = pmd_malloc(size + (size_t)i), *q = pmd_calloc(size, 2), *r = pmd_aligned_alloc(256, size);
		if (!p || !q || !r)
			exit(3);
		memset(p, 1, size + (size_t)i);
		for (size_t at = 0; at < 2 * size; at++)
			if (q[at])
				exit(4);
		memset(q, 2, 2 * size);
		memset(r, 3, pmd_malloc_usable_size(r));
		p = pmd_realloc(p, 3 * size);
		if (!p || p[0] != 1 || p[size - 1] != 1)
			exit(5);
		memset(p, 4, 3 * size);
		pmd_free(p);
		pmd_free(q);
		pmd_free(r);
	}
}

static void *in_thread(void *size)
{
	clean((size_t)size);
	return NULL;
}

static void threads(void)
{
	pthread_t all[4];
	for (size_t i = 0; i < 4; i++)
		if (pthread_create(&all[i], NULL, in_thread, (void *)(1 + 40 * i)))
			exit(6);
	for (size_t i = 0; i < 4; i++)
		pthread_join(all[i], NULL);
}

/* The only pointer to a block of AddressSanitizer's own is in one of ours, to which the only pointer is KEPT. */
static void holds(void)
{
	void **p = pmd_malloc(sizeof *p);
	*p = malloc(1234);
	kept = p;
}

static void leaks(void)
{
	kept = malloc(1234);
	kept = NULL;
}

int main(int argc, char **argv)
{
	size_t size = argc > 2 ? strtoul(argv[2], NULL, 10) : 0;
	const char *what = argc > 1 ? argv[1] : "";
	char *p = pmd_malloc(size);

	if (strcmp(what, "clean") == 0)
		clean(size);
	else if (strcmp(what, "threads") == 0)
		threads();
	else if (strcmp(what, "holds") == 0)
		holds();
	else if (strcmp(what, "leaks") == 0)
		leaks();
	else if (strcmp(what, "over") == 0)
		sink = p[size];
	else if (strcmp(what, "over-write") == 0)
		p[size] = 1;
	else if (strcmp(what, "under") == 0)
		sink = p[-1];
	else if (strcmp(what, "over-copy") == 0)
		memset(p, 1, size + 1);
	pmd_free(p);
	if (strcmp(what, "after-free") == 0)
		sink = p[size / 2];
	else if (strcmp(what, "twice") == 0)
		pmd_free(p);
	puts("the end");
	return 0;
}
