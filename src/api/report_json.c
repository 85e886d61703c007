/* SPDX-License-Identifier: MIT */
/* Reports as one JSON document (RFC 8259). Names and values of ours are printable characters. */
#include "api/report.h"
#include "conf/options.h"

static void put_name(struct writer *w, const char *name)
{
	writer_put_quoted(w, name);
	writer_put(w, ": ");
}

/* The separator before a member or an element. */
static void next(struct writer *w, bool *any)
{
	if (*any)
		writer_put(w, ", ");
	*any = true;
}

static void begin(struct writer *w)
{
	writer_put(w, "{\n  \"version\": \"" PMDALLOC_VERSION "\"");
}

static void put_member(struct writer *w, const char *name)
{
	writer_put(w, ",\n  ");
	put_name(w, name);
}

static void put_fact(struct writer *w, const char *name, const char *meaning, const char *key, const char *value)
{
	(void)meaning, (void)key;
	put_member(w, name);
	writer_put_quoted(w, value);
}

static size_t last_used(const struct histogram *h, const void *row)
{
	size_t n = h->buckets;

	while (n && !buckets_at(h, row)[n - 1])
		n--;
	return n;
}

static void put_histogram(struct writer *w, const struct histogram *h, const void *row)
{
	size_t used = last_used(h, row);
	bool any = false;

	writer_put(w, "[");
	for (size_t i = 0; i < used; i++) {
		next(w, &any);
		writer_put(w, "{");
		put_name(w, h->bound);
		if (is_unbounded(h, i))
			writer_put(w, "null");
		else
			writer_put_number(w, h->upper(i));
		writer_put(w, ", \"count\": ");
		writer_put_number(w, buckets_at(h, row)[i]);
		writer_put(w, "}");
	}
	writer_put(w, "]");
}

static void put_columns(struct writer *w, const struct section *s, const void *row, bool any)
{
	for (size_t i = 0; i < s->column_count; i++) {
		if (s->label)
			next(w, &any);
		else
			writer_put(w, i ? ",\n    " : "\n    ");
		put_name(w, s->columns[i].name);
		writer_put_number(w, number_at(row, s->columns[i].offset));
	}
	if (s->histogram) {
		next(w, &any);
		put_name(w, s->histogram->name);
		put_histogram(w, s->histogram, row);
	}
}

static void put_rows(struct writer *w, const struct section *s, const void *report)
{
	bool any = false;
	char buf[32];

	writer_put(w, "[");
	for (size_t i = 0; i < s->rows; i++) {
		if (row_is_empty(s, row_at(s, report, i)))
			continue;
		writer_put(w, any ? ",\n    {" : "\n    {");
		any = true;
		put_name(w, s->label);
		writer_put_quoted(w, s->row_name(i, buf, sizeof buf));
		put_columns(w, s, row_at(s, report, i), true);
		writer_put(w, "}");
	}
	writer_put(w, "]");
}

/* A histogram alone is an array, not an object that holds one. */
static void put_section(struct writer *w, const struct section *s, const void *report)
{
	put_member(w, s->name);
	if (s->label) {
		put_rows(w, s, report);
	} else if (!s->column_count) {
		put_histogram(w, s->histogram, row_at(s, report, 0));
	} else {
		writer_put(w, "{");
		put_columns(w, s, row_at(s, report, 0), false);
		writer_put(w, "}");
	}
}

struct members {
	struct writer *w;
	bool any;
};

static void put_option(void *arg, const char *name, const char *value)
{
	struct members *m = arg;

	next(m->w, &m->any);
	put_name(m->w, name);
	writer_put_quoted(m->w, value);
}

static void put_options(struct writer *w)
{
	struct members m = {w, false};

	put_member(w, "options");
	writer_put(w, "{");
	options_each(put_option, &m);
	writer_put(w, "}");
}

static void end(struct writer *w)
{
	writer_put(w, "\n}\n");
}

const struct format format_json = {begin, put_fact, put_section, put_options, end};
