/* SPDX-License-Identifier: MIT */
/* Finds the allocator behind the recorder: whatever the loader would have taken without it. */
#include <dlfcn.h>
#include <errno.h>
#include <unistd.h>

#include "trace/recorder.h"

/* ---- While it is looked for: the loader may allocate ------------------------------------------------------------- */

HIDDEN char next_early[NEXT_EARLY_BYTES] __attribute__((aligned(64)));
static size_t early_used;

/* Each block lies behind a word that holds its size. One thread is here, that which starts the recorder. */
static void *early_aligned(size_t alignment, size_t size)
{
	size_t at;

	alignment = alignment < 16 ? 16 : alignment;
	at = align_up(early_used + sizeof(size_t), alignment);
	if (size > NEXT_EARLY_BYTES || at + size > NEXT_EARLY_BYTES)
		return NULL;
	memcpy(next_early + at - sizeof(size_t), &size, sizeof size);
	early_used = at + size;
	return next_early + at;
}

static void *early_malloc(size_t size)
{
	return early_aligned(16, size);
}

static void *early_calloc(size_t count, size_t size)
{
	return size && count > NEXT_EARLY_BYTES / size ? NULL : early_malloc(count * size);
}

static void *early_realloc(void *p, size_t size)
{
	void *moved = early_malloc(size);
	size_t before = 0;

	if (p)
		memcpy(&before, (char *)p - sizeof before, sizeof before);
	if (moved && before)
		memcpy(moved, p, before < size ? before : size);
	return moved;
}

static int early_posix_memalign(void **p, size_t alignment, size_t size)
{
	*p = early_aligned(alignment, size);
	return *p ? 0 : ENOMEM;
}

static void early_free(void *p)
{
	(void)p;
}

HIDDEN struct allocator next = {
	.malloc = early_malloc,
	.calloc = early_calloc,
	.realloc = early_realloc,
	.posix_memalign = early_posix_memalign,
	.aligned_alloc = early_aligned,
	.memalign = early_aligned,
	.valloc = early_malloc,
	.pvalloc = early_malloc,
	.free = early_free,
};

/* ---- What an allocator may lack ---------------------------------------------------------------------------------- */

static void *without_reallocarray(void *p, size_t count, size_t size)
{
	size_t bytes;

	if (__builtin_mul_overflow(count, size, &bytes)) {
		errno = ENOMEM;
		return NULL;
	}
	return next.realloc(p, bytes);
}

static void without_free_sized(void *p, size_t size)
{
	(void)size;
	next.free(p);
}

static void without_free_aligned_sized(void *p, size_t alignment, size_t size)
{
	(void)alignment, (void)size;
	next.free(p);
}

/* ---- Finding it -------------------------------------------------------------------------------------------------- */

void *next_function(const char *name)
{
	return dlsym(RTLD_NEXT, name);
}

/* A pointer to a function from one to an object, as dlsym gives it; that of INSTEAD where there is none. */
#define FIND(field)                                                   \
	do {                                                          \
		void *p = next_function(#field);                      \
		if (p)                                                \
			memcpy(&found.field, &p, sizeof found.field); \
	} while (0)

void next_find(void)
{
	struct allocator found = {
		.reallocarray = without_reallocarray,
		.free_sized = without_free_sized,
		.free_aligned_sized = without_free_aligned_sized,
	};

	FIND(malloc);
	FIND(calloc);
	FIND(realloc);
	FIND(reallocarray);
	FIND(posix_memalign);
	FIND(aligned_alloc);
	FIND(memalign);
	FIND(valloc);
	FIND(pvalloc);
	FIND(free);
	FIND(free_sized);
	FIND(free_aligned_sized);
	next = found;
}
