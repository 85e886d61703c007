/* SPDX-License-Identifier: MIT */
/*
 * A program with a malloc of its own that is linked with the library all the same: the C library, threads, dlopen and
 * fork are served by the program's, blocks of the library's prefixed functions by the library, and nothing confuses the
 * two. The program's sees each of its blocks freed by it.
 */
#include "check.h"

#include <pmdalloc/pmdalloc.h>

#ifdef PMD_PREFIXED

int main(void)
{
	SKIP("this library has only the prefixed names");
}

#else

#include <dlfcn.h>
#include <malloc.h>
#include <pthread.h>
#include <stdatomic.h>

#define MINE  ((size_t)64 << 20)
#define MAGIC 0x6d696e65

/* Handed out once, never again. */
static char room[MINE] __attribute__((aligned(4096)));
static _Atomic size_t used, calls, frees;

struct mark {
	size_t size, magic;
};

static void *take(size_t alignment, size_t size)
{
	size_t at = atomic_fetch_add(&used, size + 2 * alignment + sizeof(struct mark));
	uintptr_t p = ((uintptr_t)room + at + sizeof(struct mark) + alignment - 1) / alignment * alignment;

	atomic_fetch_add(&calls, 1);
	if (at + size + 2 * alignment + sizeof(struct mark) > MINE) {
		errno = ENOMEM;
		return NULL;
	}
	((struct mark *)p)[-1] = (struct mark){size, MAGIC};
	return (void *)p;
}

static struct mark *mark_of(void *p)
{
	struct mark *mark = (struct mark *)p - 1;

	if ((char *)p < room || (char *)p >= room + MINE || mark->magic != MAGIC)
		check_failed(__FILE__, __LINE__, "the program's block", "%p", p);
	return mark;
}

void *malloc(size_t size)
{
	return take(16, size);
}

void free(void *p)
{
	if (p) {
		mark_of(p)->magic = 0;
		atomic_fetch_add(&frees, 1);
	}
}

void *calloc(size_t n, size_t size)
{
	return take(16, n * size);
}

void *realloc(void *old, size_t size)
{
	void *p = malloc(size);

	if (p && old) {
		size_t kept = mark_of(old)->size < size ? mark_of(old)->size : size;

		memcpy(p, old, kept);
		free(old);
	}
	return p;
}

void *memalign(size_t alignment, size_t size)
{
	return take(alignment < 16 ? 16 : alignment, size);
}

void *aligned_alloc(size_t alignment, size_t size)
{
	return memalign(alignment, size);
}

int posix_memalign(void **out, size_t alignment, size_t size)
{
	*out = memalign(alignment, size);
	return *out ? 0 : ENOMEM;
}

static void use_both(void)
{
	char *mine[100], *library[100];

	for (int i = 0; i < 100; i++) {
		mine[i] = strdup("of the program");
		library[i] = pmd_malloc(100 + (size_t)i * 100);
		CHECK(mine[i] >= room && mine[i] < room + MINE);
		CHECK(library[i] && (library[i] < room || library[i] >= room + MINE));
		memset(library[i], 1, 100);
	}
	for (int i = 0; i < 100; i++) {
		free(mine[i]);
		pmd_free(pmd_realloc(library[i], 50000));
	}
}

static void *run(void *unused)
{
	use_both();
	return unused;
}

int main(void)
{
	pthread_t threads[4];
	void *library;
	pid_t pid;

	use_both();
	for (int i = 0; i < 4; i++)
		CHECK(pthread_create(&threads[i], NULL, run, NULL) == 0);
	for (int i = 0; i < 4; i++)
		CHECK(pthread_join(threads[i], NULL) == 0);
	library = dlopen("libm.so.6", RTLD_NOW);
	CHECK(library && dlclose(library) == 0);
	pid = fork();
	CHECK(pid >= 0);
	if (pid == 0) {
		check_child(20);
		use_both();
		exit(0);
	}
	CHECK(check_wait(pid) == 0);
	pmd_release();
	CHECK_SAY(atomic_load(&calls) > 500 && atomic_load(&frees) >= 500, "%zu calls, %zu frees", atomic_load(&calls),
		  atomic_load(&frees));
	return 0;
}

#endif
