/* SPDX-License-Identifier: MIT */
/*
 * What a checker is told that watches the process, Valgrind's memcheck or AddressSanitizer: which blocks live, how long they are
 * as the program sees it, and that everything else in the heap is out of bounds. Then every call takes the slow path, so this
 * costs others nothing.
 */
#ifndef PMD_API_MARKS_H
#define PMD_API_MARKS_H

#include "base/base.h"

struct slice;

void *marks_allocate(size_t size, size_t align, bool zero, void *(*plain)(size_t, size_t, bool));
void marks_free(void *p, void (*plain)(void *));

/* What PLAIN says of P, which reads what is hidden from leak checks. */
struct slice *marks_find(const char *call, const void *p, struct slice *(*plain)(const char *, const void *));

/* The size that was asked for P, whose block has USABLE bytes. */
size_t marks_usable(const void *p, size_t usable);

#endif
