/* SPDX-License-Identifier: MIT */
/*
 * What Valgrind's memcheck is told when the library runs under it: which blocks live, how long they are as the program sees it,
 * and that everything else in the heap is out of bounds. Then every call takes the slow path, so this costs others nothing.
 */
#ifndef PMD_API_VALGRIND_H
#define PMD_API_VALGRIND_H

#include "base/base.h"

void *valgrind_allocate(size_t size, size_t align, bool zero, void *(*plain)(size_t, size_t, bool));
void valgrind_free(void *p, void (*plain)(void *));

/* The size that was asked for P, whose block has USABLE bytes. */
size_t valgrind_usable(const void *p, size_t usable);

#endif
