/* SPDX-License-Identifier: MIT */
/* Sorting through frames of C code, past which a C++ exception has to travel. */
#ifndef PMDALLOC_TEST_THROUGH_C_H
#define PMDALLOC_TEST_THROUGH_C_H

#include <stddef.h>

#ifdef __cplusplus
extern "C"
#endif
	void
	through_c(void (*function)(void *), void *argument);

#endif
