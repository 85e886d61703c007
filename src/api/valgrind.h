/* SPDX-License-Identifier: MIT */
/*
 * What Valgrind's memcheck is told when the library runs under it: which blocks live, how long they are as the
 * program sees it, and that everything else in the heap is out of bounds. Then every call takes the slow path, so
 * this costs others nothing.
 */
#ifndef PMD_API_VALGRIND_H
#define PMD_API_VALGRIND_H

#include "base/base.h"

struct slice;

void *valgrind_allocate(size_t size, size_t align, bool zero, void *(*plain)(size_t, size_t, bool));
void valgrind_free(void *p, void (*plain)(void *));

/* What PLAIN says of P, which reads what is hidden from leak checks. */
struct slice *valgrind_find(const char *call, const void *p, struct slice *(*plain)(const char *, const void *));

/* The size that was asked for P, whose block has USABLE bytes. */
size_t valgrind_usable(const void *p, size_t usable);

#endif
