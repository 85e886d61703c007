/* SPDX-License-Identifier: MIT */
/* What is said of a program that misuses its memory: where that ends it, nothing here returns. See also misuse(). */
#ifndef PMD_CHECK_REPORT_H
#define PMD_CHECK_REPORT_H

#include "check/strict.h"

struct text;

/*
 * One report, which begins with CALL and P; the rest is for the caller to add, without a line break at its end. Until
 * report_end, which says where that was found, other threads that have something to report wait.
 */
struct text *report_begin(const char *call, const void *p);
void report_end(void);

/*
 * The same for a signal's handler: NULL if a report is under way, maybe below on the same stack. CONTEXT is what the handler
 * was given; nothing ends the process.
 */
struct text *report_begin_in_handler(const char *call, const void *p);
void report_end_in_handler(const void *context);

void report_after_fork(void);

/* Says what P is. */
void misuse_describe(struct text *t, const void *p);

/* Says that a link in a free block of S was written over: what stands there is S's first free block now, and is none. */
void misuse_describe_torn(struct text *t, const struct slice *s);

/* What was found, in CALL, of the block P of S. */
void report_damage(const char *call, const struct slice *s, const void *p, const char *what);

/* Whether who releases P, of which SEAL speaks, has TOLD the truth; else it is reported. */
bool report_told_right(const void *p, struct seal seal, struct told told);

#endif
