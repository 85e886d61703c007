/* SPDX-License-Identifier: MIT */
/* Text of any length to a descriptor, through a small buffer: nothing is allocated, nothing is cut. */
#ifndef PMD_OS_WRITER_H
#define PMD_OS_WRITER_H

#include "base/text.h"

struct writer {
	int fd;
	int error; /* of the first write that failed; from then on nothing is written */
	struct text text;
	char buf[1024];
};

void writer_init(struct writer *w, int fd);
void writer_put(struct writer *w, const char *s);
void writer_put_number(struct writer *w, uint64_t n);

/* S between quotation marks, with a backslash before each that is in it, and before each backslash. */
void writer_put_quoted(struct writer *w, const char *s);

/* S, or N, in a column of WIDTH characters. */
void writer_put_left(struct writer *w, const char *s, size_t width);
void writer_put_right(struct writer *w, const char *s, size_t width);
void writer_put_number_right(struct writer *w, uint64_t n, size_t width);

/* Writes what is left. Returns 0 or an errno value. */
int writer_end(struct writer *w);

#endif
