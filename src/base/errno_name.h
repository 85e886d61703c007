/* SPDX-License-Identifier: MIT */
/* Names of errors as the manual has them; strerrorname_np is younger than some C libraries in use. */
#ifndef PMD_BASE_ERRNO_NAME_H
#define PMD_BASE_ERRNO_NAME_H

#include "base/text.h"

/* "EINVAL" for EINVAL; NULL for numbers that no call of ours is known to answer. */
const char *errno_name(int error);

/* That, or the number. */
void text_put_errno(struct text *t, int error);

#endif
