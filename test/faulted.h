/* SPDX-License-Identifier: MIT */
/*
 * A test program with faults: compiled once more with -DPMD_FAULTS, and linked with libpmdinject.a, in which system calls
 * of the library fail as the environment says (test/faulted.c). Its calls of malloc and so on come here first.
 *
 * The kernel's refusals may be passed on: a request is made again after ENOMEM, and when it fails for good the program
 * ends with EXIT_REFUSED, as it does not know what to do about it. What may not be is looked at at each call: free keeps
 * errno, a block of calloc is zero, a failure says ENOMEM.
 */
#ifndef PMDALLOC_TEST_FAULTED_H
#define PMDALLOC_TEST_FAULTED_H

#include <stddef.h>

#define EXIT_REFUSED     4
#define FAULTS_AT_A_TIME 3 /* so often a request is made again */

void *faulted_malloc(size_t size);
void *faulted_calloc(size_t n, size_t size);
void *faulted_realloc(void *p, size_t size);
void *faulted_reallocarray(void *p, size_t n, size_t size);
void *faulted_aligned_alloc(size_t alignment, size_t size);
void *faulted_memalign(size_t alignment, size_t size);
int faulted_posix_memalign(void **out, size_t alignment, size_t size);
void *faulted_valloc(size_t size);
void *faulted_pvalloc(size_t size);
void faulted_free(void *p);
void faulted_free_sized(void *p, size_t size);
void faulted_free_aligned_sized(void *p, size_t alignment, size_t size);

#endif
