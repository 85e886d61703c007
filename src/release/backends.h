/* SPDX-License-Identifier: MIT */
/* The backends that answer at once. They own no state and may be called from any thread. */
#ifndef PMD_RELEASE_BACKENDS_H
#define PMD_RELEASE_BACKENDS_H

#include "release/release.h"

/* Gives back the N ranges by backend B and stores each one's answer in ERRORS. */
void backend_run(enum release_backend b, const struct iovec *ranges, size_t n, int *errors);

/* In a forked child. */
void backend_after_fork(void);

/* The advice number of MADV_PT_RECLAIM; 0 when none is known. */
int backend_pt_advice(void);

/* Counts a call of backend B that began at START and answered for RANGES ranges, of BYTES bytes. */
void backend_count(enum release_backend b, uint64_t start, size_t ranges, size_t bytes);
void backend_count_failure(enum release_backend b, int error);

#endif
