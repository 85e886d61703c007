/* SPDX-License-Identifier: MIT */
/*
 * What the replayer's parts share: messages, and memory of its own, so that the allocator that is measured sees nothing
 * but the recorded calls.
 */
#ifndef TRACE_TOOL_H
#define TRACE_TOOL_H

#include <stddef.h>
#include <stdint.h>

/* One line on standard error, with the file's name if there is one, and the end, with status 1. */
_Noreturn void fail(const char *file, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Zeroed memory, without huge pages, which would come and go while memory is measured. */
void *memory_new(size_t bytes);
void memory_drop(void *p, size_t bytes);

/* What grows at its end, and moves then. */
struct vector {
	void *items;
	size_t used, room; /* in items */
};

/* The place of a new item of ITEM_BYTES; zeroed. */
void *vector_add(struct vector *v, size_t item_bytes);
void vector_drop(struct vector *v, size_t item_bytes);

#endif
