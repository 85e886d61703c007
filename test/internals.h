/* SPDX-License-Identifier: MIT */
/* The library's own headers, for programs that are linked with libpmdinject.a. After check.h. */
#ifndef PMDALLOC_TEST_INTERNALS_H
#define PMDALLOC_TEST_INTERNALS_H

#include "check.h"

#define check_failed library_check_failed /* both have one */
#include "heap/heap.h"
#include "release/release.h"
#undef check_failed

#endif
