/* SPDX-License-Identifier: MIT */
#include "trace/tool.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { FIRST_ROOM = 128 };

void fail(const char *file, const char *format, ...)
{
	char why[512];
	va_list list;

	va_start(list, format);
	vsnprintf(why, sizeof why, format, list);
	va_end(list);
	dprintf(STDERR_FILENO, "pmdalloc-replay: %s%s%s\n", file ? file : "", file ? ": " : "", why);
	_exit(1);
}

void *memory_new(size_t bytes)
{
	void *p = mmap(NULL, bytes ? bytes : 1, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		fail(NULL, "no memory for %zu bytes: %s", bytes, strerror(errno));
	madvise(p, bytes, MADV_NOHUGEPAGE);
	return p;
}

void memory_drop(void *p, size_t bytes)
{
	if (p)
		munmap(p, bytes ? bytes : 1);
}

static void grow(struct vector *v, size_t item_bytes)
{
	size_t room = v->room ? 2 * v->room : FIRST_ROOM;
	void *moved;

	if (!v->room) {
		v->items = memory_new(room * item_bytes);
		v->room = room;
		return;
	}
	moved = mremap(v->items, v->room * item_bytes, room * item_bytes, MREMAP_MAYMOVE);
	if (moved == MAP_FAILED)
		fail(NULL, "no memory for %zu bytes: %s", room * item_bytes, strerror(errno));
	v->items = moved;
	v->room = room;
}

void *vector_add(struct vector *v, size_t item_bytes)
{
	if (v->used == v->room)
		grow(v, item_bytes);
	return (char *)v->items + v->used++ * item_bytes;
}

void vector_drop(struct vector *v, size_t item_bytes)
{
	memory_drop(v->items, v->room * item_bytes);
	*v = (struct vector){0};
}
