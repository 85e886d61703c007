/* SPDX-License-Identifier: MIT */
/* What the running kernel does, found out on a scratch region and not by its version. */
#ifndef PMD_RELEASE_PROBE_H
#define PMD_RELEASE_PROBE_H

#include "release/release.h"

enum probe_result {
	PROBE_REFUSED, /* the kernel refuses, or does not drop the contents */
	PROBE_KEEPS,   /* the contents go, the page tables stay */
	PROBE_UNKNOWN, /* the contents go; what becomes of the page tables cannot be seen */
	PROBE_FREES,   /* contents and page tables go */
};

/* Gives back the N ranges; answers as in backend_run. */
typedef void probe_subject(enum release_backend b, const struct iovec *ranges, size_t n, int *errors);

enum probe_result probe_backend(probe_subject *subject, enum release_backend b);

#endif
