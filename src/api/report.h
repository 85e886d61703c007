/* SPDX-License-Identifier: MIT */
/*
 * Reports: tables of numbers, described once (api/sections.c) and printed in every format.
 *
 *                text                    JSON                        OpenMetrics
 *   section      a table with a title    an array of objects         metric families
 *   row          a line                  an object                   the samples with one label
 *   column       a column                a member of the object      a family: gauge or counter
 *   histogram    lines below             a member, an array          a family: histogram or gaugehistogram
 *
 * A section without a label has one row: lines of text, one object, samples without a label. Of the others, rows in
 * which every number is 0 are left out.
 */
#ifndef PMD_API_REPORT_H
#define PMD_API_REPORT_H

#include "os/writer.h"
#include "pmdalloc/pmdalloc.h"

enum column_kind { GAUGE, COUNTER, CONSTANT }; /* the last is of no interest by itself, and no metric */

/* A size_t in the row. */
struct column {
	const char *name;
	const char *unit; /* of the metric, NULL if none; "bytes" may be missing from the name */
	const char *meaning;
	enum column_kind kind;
	size_t offset;
};

/* Numbers by the size of something: an array of size_t in the row, not cumulative. */
struct histogram {
	const char *name;
	const char *bound; /* what the buckets' upper bounds are called in JSON */
	const char *metric, *meaning;
	const char *unit; /* of the metric */
	enum column_kind kind;
	bool in_seconds;               /* the metric; bounds and sum are microseconds */
	bool unbounded;                /* the last bucket has no upper bound */
	uint64_t (*upper)(size_t i);   /* the upper bound of bucket I, which belongs to it */
	size_t buckets, offset, total; /* total: where the sum of what was counted is; NO_TOTAL if nobody knows */
};
#define NO_TOTAL SIZE_MAX

struct section {
	const char *name, *title;
	const char *prefix; /* of its metrics */
	const char *label;
	const char *(*row_name)(size_t row, char *buf, size_t len); /* may use the buffer */
	const struct column *columns;
	const struct histogram *histogram; /* may be NULL */
	size_t column_count;
	size_t offset, stride, rows; /* where the rows are in the report */
};

/* How one format says it. REPORT is what offsets of sections are counted from. */
struct format {
	void (*begin)(struct writer *w);
	void (*fact)(struct writer *w, const char *name, const char *meaning, const char *key, const char *value);
	void (*section)(struct writer *w, const struct section *s, const void *report);
	void (*options)(struct writer *w);
	void (*end)(struct writer *w);
};

extern HIDDEN const struct format format_text, format_json, format_openmetrics;

static inline size_t number_at(const void *row, size_t offset)
{
	return *(const size_t *)((const char *)row + offset);
}

static inline const void *row_at(const struct section *s, const void *report, size_t row)
{
	return (const char *)report + s->offset + row * s->stride;
}

static inline const size_t *buckets_at(const struct histogram *h, const void *row)
{
	return (const size_t *)((const char *)row + h->offset);
}

/* Whether bucket I of H holds all that is larger than the one before. */
static inline bool is_unbounded(const struct histogram *h, size_t i)
{
	return h->unbounded && i + 1 == h->buckets;
}

/* Whether every number of the row is 0. */
bool row_is_empty(const struct section *s, const void *row);
bool histogram_is_empty(const struct histogram *h, const void *row);

#endif
