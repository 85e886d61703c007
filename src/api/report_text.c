/* SPDX-License-Identifier: MIT */
/* Reports for people: aligned tables, without the rows in which all is 0. */
#include "api/report.h"
#include "conf/options.h"

enum { NAME_WIDTH = 28, NUMBER_WIDTH = 16, LABEL_WIDTH = 18, MEANING_COLUMN = 2 };

static void begin(struct writer *w)
{
	writer_put(w, "pmdalloc " PMDALLOC_VERSION " statistics\n");
}

static void put_fact(struct writer *w, const char *name, const char *meaning, const char *key, const char *value)
{
	(void)key;
	writer_put(w, "  ");
	writer_put_left(w, name, NAME_WIDTH);
	writer_put_right(w, value, NUMBER_WIDTH);
	writer_put_left(w, "", MEANING_COLUMN);
	writer_put(w, meaning);
	writer_put(w, "\n");
}

static void put_figures(struct writer *w, const struct section *s, const void *row)
{
	for (size_t i = 0; i < s->column_count; i++) {
		writer_put(w, "  ");
		writer_put_left(w, s->columns[i].name, NAME_WIDTH);
		writer_put_number_right(w, number_at(row, s->columns[i].offset), NUMBER_WIDTH);
		writer_put_left(w, "", MEANING_COLUMN);
		writer_put(w, s->columns[i].meaning);
		writer_put(w, "\n");
	}
}

static bool is_shown(const struct section *s, size_t column)
{
	return s->columns[column].kind != CONSTANT;
}

static size_t digits(size_t n)
{
	size_t count = 1;

	while (n /= 10)
		count++;
	return count;
}

/* Two spaces and the widest of the name and the numbers. */
static size_t width_of(const struct section *s, const void *report, size_t column)
{
	size_t width = text_length(s->columns[column].name);

	for (size_t i = 0; i < s->rows; i++)
		width = max_size(width, digits(number_at(row_at(s, report, i), s->columns[column].offset)));
	return width + 2;
}

static void put_head(struct writer *w, const struct section *s, const void *report)
{
	writer_put(w, "\n");
	writer_put(w, s->title);
	writer_put(w, "\n  ");
	writer_put_left(w, s->label, LABEL_WIDTH);
	for (size_t i = 0; i < s->column_count; i++)
		if (is_shown(s, i))
			writer_put_right(w, s->columns[i].name, width_of(s, report, i));
	writer_put(w, "\n");
}

static void put_line(struct writer *w, const struct section *s, const void *report, size_t row)
{
	char buf[32];

	writer_put(w, "  ");
	writer_put_left(w, s->row_name(row, buf, sizeof buf), LABEL_WIDTH);
	for (size_t i = 0; i < s->column_count; i++)
		if (is_shown(s, i))
			writer_put_number_right(w, number_at(row_at(s, report, row), s->columns[i].offset),
						width_of(s, report, i));
	writer_put(w, "\n");
}

static void put_table(struct writer *w, const struct section *s, const void *report)
{
	bool any = false;

	for (size_t i = 0; i < s->rows; i++) {
		if (row_is_empty(s, row_at(s, report, i)))
			continue;
		if (!any)
			put_head(w, s, report);
		any = true;
		put_line(w, s, report, i);
	}
}

static void put_bucket(struct writer *w, const struct histogram *h, size_t i, size_t count)
{
	writer_put(w, is_unbounded(h, i) ? "  above   " : "  up to   ");
	writer_put_number_right(w, h->upper(is_unbounded(h, i) ? i - 1 : i), LABEL_WIDTH - 8);
	writer_put(w, " ");
	writer_put_number_right(w, count, NUMBER_WIDTH - 1);
	writer_put(w, "\n");
}

static void put_histogram(struct writer *w, const struct section *s, const void *row, const char *row_name)
{
	const struct histogram *h = s->histogram;

	if (histogram_is_empty(h, row))
		return;
	writer_put(w, "\n");
	if (row_name) {
		writer_put(w, row_name);
		writer_put(w, ": ");
	}
	writer_put(w, h->meaning);
	writer_put(w, h->in_seconds ? ", in microseconds\n" : "\n");
	for (size_t i = 0; i < h->buckets; i++)
		if (buckets_at(h, row)[i])
			put_bucket(w, h, i, buckets_at(h, row)[i]);
}

static void put_section(struct writer *w, const struct section *s, const void *report)
{
	char buf[32];

	if (s->label)
		put_table(w, s, report);
	else
		put_figures(w, s, row_at(s, report, 0));
	for (size_t i = 0; s->histogram && i < s->rows; i++)
		put_histogram(w, s, row_at(s, report, i), s->label ? s->row_name(i, buf, sizeof buf) : NULL);
}

struct options_line {
	struct writer *w;
	bool any;
};

static void put_option(void *arg, const char *name, const char *value)
{
	struct options_line *o = arg;

	writer_put(o->w, o->any ? "," : "\noptions ");
	writer_put(o->w, name);
	writer_put(o->w, ":");
	writer_put(o->w, value);
	o->any = true;
}

static void put_options(struct writer *w)
{
	struct options_line o = {w, false};

	options_each(put_option, &o);
}

static void end(struct writer *w)
{
	writer_put(w, "\n");
}

const struct format format_text = {begin, put_fact, put_section, put_options, end};
