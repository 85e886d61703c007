/* SPDX-License-Identifier: MIT */
/*
 * An allocator that is wrong in one way, which FAULT in the environment names: the library with a fault before it. The
 * tests are run under it to see them fail (self.sh); a test that could not fail would be worth nothing.
 */
#define _GNU_SOURCE 1
#include <errno.h>
#include <pmdalloc/pmdalloc.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define EXPORT __attribute__((visibility("default")))

EXPORT void *malloc(size_t size);
EXPORT void *calloc(size_t count, size_t size);
EXPORT void *realloc(void *p, size_t size);
EXPORT void *memalign(size_t alignment, size_t size);
EXPORT int posix_memalign(void **out, size_t alignment, size_t size);
EXPORT size_t malloc_usable_size(void *p);
EXPORT void free(void *p);

static char fault[16];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

/* A copy: programs that give themselves another title write it over their environment. */
__attribute__((constructor)) static void start(void)
{
	const char *name = getenv("FAULT");
	if (name && strlen(name) < sizeof fault)
		strcpy(fault, name);
}

static int faulty(const char *name)
{
	return strcmp(fault, name) == 0;
}

/* "overlap": now and then a block is handed out twice. "lock": a mutex that a fork does not know about. */
void *malloc(size_t size)
{
	static unsigned calls;
	static __thread void *last;
	static __thread size_t last_size;
	int error = errno;
	if (faulty("lock")) {
		pthread_mutex_lock(&lock);
		void *p = pmd_malloc(size);
		pthread_mutex_unlock(&lock);
		return p;
	}
	if (faulty("overlap") && ++calls % 64 == 0 && last && last_size >= size)
		return last;
	void *p = pmd_malloc(size);
	if (faulty("silent") && !p)
		errno = error;
	last = p;
	last_size = size;
	return p;
}

/* "calloc": the last byte is not zero. */
void *calloc(size_t count, size_t size)
{
	char *p = pmd_calloc(count, size);
	if (p && count * size > 40 && faulty("calloc"))
		p[count * size - 1] = 1;
	return p;
}

/* "realloc": a byte of what was kept is lost. "zero": size 0 frees nothing. */
void *realloc(void *p, size_t size)
{
	size_t old = pmd_malloc_usable_size(p);
	if (p && !size && faulty("zero"))
		return NULL;
	char *q = pmd_realloc(p, size);
	if (p && q && faulty("realloc"))
		q[(old < size ? old : size) / 2 & ~(size_t)1023] ^= 1;
	return q;
}

/* "align": alignments above 64 are not heard. */
void *memalign(size_t alignment, size_t size)
{
	return pmd_memalign(alignment > 64 && faulty("align") ? 16 : alignment, size);
}

/* "output": it is written on failure as well. */
int posix_memalign(void **out, size_t alignment, size_t size)
{
	int error = pmd_posix_memalign(out, alignment, size);
	if (error && faulty("output"))
		*out = NULL;
	return error;
}

/* "usable": it claims more than there is. */
size_t malloc_usable_size(void *p)
{
	return pmd_malloc_usable_size(p) + (p && faulty("usable") ? 16 : 0);
}

/* One call in a hundred, as good as at random: whatever a program does in turn, all kinds of blocks are hit. */
static int now_and_then(void)
{
	static unsigned calls;
	unsigned n = __atomic_add_fetch(&calls, 1, __ATOMIC_RELAXED) * 2654435761u;
	n = (n ^ n >> 15) * 2246822519u;
	return (n >> 8) % 100 == 0;
}

/* "leak": nothing is freed, and so no second free is found. "trickle": one in a hundred is not. "errno": it is not kept. */
void free(void *p)
{
	if (faulty("leak") || (faulty("trickle") && now_and_then()))
		return;
	pmd_free(p);
	if (faulty("errno"))
		errno = EBADF;
}
