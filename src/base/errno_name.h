/* SPDX-License-Identifier: MIT */
/* Names of errors as the manual has them; strerrorname_np is younger than some C libraries in use. */
#ifndef PMD_BASE_ERRNO_NAME_H
#define PMD_BASE_ERRNO_NAME_H

/* "EINVAL" for EINVAL; NULL for numbers that no call of ours is known to answer. */
const char *errno_name(int error);

#endif
