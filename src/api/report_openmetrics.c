/* SPDX-License-Identifier: MIT */
/*
 * Reports as OpenMetrics 1.0 text. Samples of a family must stand together, so the outer loop is over columns; units
 * are base units, and the unit ends the family's name.
 */
#include "api/report.h"
#include "conf/options.h"

static bool ends_with(const char *s, const char *end)
{
	size_t n = text_length(s), m = text_length(end);

	return n >= m && text_equal(s + n - m, m, end) && (n == m || s[n - m - 1] == '_');
}

static void put_family(struct writer *w, const char *prefix, const char *name, const char *unit)
{
	writer_put(w, "pmdalloc_");
	writer_put(w, prefix);
	writer_put(w, name);
	if (unit && !ends_with(name, unit)) {
		writer_put(w, "_");
		writer_put(w, unit);
	}
}

static void put_about(struct writer *w, const char *what, const char *prefix, const char *name, const char *unit,
		      const char *value)
{
	writer_put(w, "# ");
	writer_put(w, what);
	writer_put(w, " ");
	put_family(w, prefix, name, unit);
	writer_put(w, " ");
	writer_put(w, value);
	writer_put(w, "\n");
}

static void put_head(struct writer *w, const char *prefix, const char *name, const char *unit, const char *type,
		     const char *meaning)
{
	put_about(w, "TYPE", prefix, name, unit, type);
	if (unit)
		put_about(w, "UNIT", prefix, name, unit, unit);
	put_about(w, "HELP", prefix, name, unit, meaning);
}

static void put_label(struct writer *w, const char *name, const char *value)
{
	writer_put(w, name);
	writer_put(w, "=");
	writer_put_quoted(w, value);
}

static void begin(struct writer *w)
{
	put_head(w, "", "build", NULL, "info", "the library that is running");
	writer_put(w, "pmdalloc_build_info{");
	put_label(w, "version", PMDALLOC_VERSION);
	writer_put(w, "} 1\n");
}

static void put_fact(struct writer *w, const char *name, const char *meaning, const char *key, const char *value)
{
	put_head(w, "", name, NULL, "info", meaning);
	put_family(w, "", name, NULL);
	writer_put(w, "_info{");
	put_label(w, key, value);
	writer_put(w, "} 1\n");
}

/* ---- Columns ----------------------------------------------------------------------------------------------------- */

static void put_row_label(struct writer *w, const struct section *s, size_t row)
{
	char buf[32];

	if (s->label)
		put_label(w, s->label, s->row_name(row, buf, sizeof buf));
}

static void put_sample(struct writer *w, const struct section *s, const struct column *c, size_t row, size_t n)
{
	put_family(w, s->prefix, c->name, c->unit);
	writer_put(w, c->kind == COUNTER ? "_total" : "");
	if (s->label) {
		writer_put(w, "{");
		put_row_label(w, s, row);
		writer_put(w, "}");
	}
	writer_put(w, " ");
	writer_put_number(w, n);
	writer_put(w, "\n");
}

static void put_column(struct writer *w, const struct section *s, const struct column *c, const void *report)
{
	put_head(w, s->prefix, c->name, c->unit, c->kind == COUNTER ? "counter" : "gauge", c->meaning);
	for (size_t i = 0; i < s->rows; i++)
		if (!s->label || !row_is_empty(s, row_at(s, report, i)))
			put_sample(w, s, c, i, number_at(row_at(s, report, i), c->offset));
}

/* ---- Histograms -------------------------------------------------------------------------------------------------- */

/* N microseconds as the shortest decimal number of seconds. */
static void put_seconds(struct writer *w, uint64_t n)
{
	char fraction[8] = ".000000";
	uint64_t left = n % 1000000;

	for (size_t at = 6; at; at--, left /= 10)
		fraction[at] = (char)('0' + left % 10);
	for (size_t at = 6; at > 1 && fraction[at] == '0'; at--)
		fraction[at] = 0;
	writer_put_number(w, n / 1000000);
	writer_put(w, fraction);
}

/* Below 1e-4 the canonical form of a number has an exponent. */
static void put_canonical_seconds(struct writer *w, uint64_t n)
{
	if (!n || n >= 100) {
		put_seconds(w, n);
		return;
	}
	writer_put_number(w, n < 10 ? n : n / 10);
	if (n >= 10 && n % 10) {
		writer_put(w, ".");
		writer_put_number(w, n % 10);
	}
	writer_put(w, n < 10 ? "e-06" : "e-05");
}

static void put_bound(struct writer *w, const struct histogram *h, size_t i)
{
	if (i == h->buckets || is_unbounded(h, i)) {
		writer_put(w, "+Inf");
	} else if (h->in_seconds) {
		put_canonical_seconds(w, h->upper(i));
	} else {
		writer_put_number(w, h->upper(i));
		writer_put(w, ".0");
	}
}

static void put_bucket(struct writer *w, const struct section *s, size_t row, size_t i, size_t count)
{
	put_family(w, "", s->histogram->metric, s->histogram->unit);
	writer_put(w, "_bucket{");
	put_row_label(w, s, row);
	writer_put(w, s->label ? ",le=\"" : "le=\"");
	put_bound(w, s->histogram, i);
	writer_put(w, "\"} ");
	writer_put_number(w, count);
	writer_put(w, "\n");
}

static void put_summary(struct writer *w, const struct section *s, size_t row, const char *suffix)
{
	put_family(w, "", s->histogram->metric, s->histogram->unit);
	writer_put(w, s->histogram->kind == COUNTER ? "_" : "_g");
	writer_put(w, suffix);
	if (s->label) {
		writer_put(w, "{");
		put_row_label(w, s, row);
		writer_put(w, "}");
	}
	writer_put(w, " ");
}

/* A count without a sum is not allowed. */
static void put_buckets(struct writer *w, const struct section *s, const void *report, size_t row)
{
	const struct histogram *h = s->histogram;
	const void *data = row_at(s, report, row);
	size_t count = 0;

	for (size_t i = 0; i < h->buckets + !h->unbounded; i++) {
		count += i < h->buckets ? buckets_at(h, data)[i] : 0;
		put_bucket(w, s, row, i, count);
	}
	if (h->total == NO_TOTAL)
		return;
	put_summary(w, s, row, "count");
	writer_put_number(w, count);
	writer_put(w, "\n");
	put_summary(w, s, row, "sum");
	if (h->in_seconds)
		put_seconds(w, number_at(data, h->total));
	else
		writer_put_number(w, number_at(data, h->total));
	writer_put(w, "\n");
}

static void put_section(struct writer *w, const struct section *s, const void *report)
{
	const struct histogram *h = s->histogram;

	for (size_t i = 0; i < s->column_count; i++)
		if (s->columns[i].kind != CONSTANT)
			put_column(w, s, &s->columns[i], report);
	if (!h)
		return;
	put_head(w, "", h->metric, h->unit, h->kind == COUNTER ? "histogram" : "gaugehistogram", h->meaning);
	for (size_t i = 0; i < s->rows; i++)
		if (!s->label || !row_is_empty(s, row_at(s, report, i)))
			put_buckets(w, s, report, i);
}

/* ---- Options ----------------------------------------------------------------------------------------------------- */

struct labels {
	struct writer *w;
	bool any;
};

static void put_option(void *arg, const char *name, const char *value)
{
	struct labels *l = arg;

	if (l->any)
		writer_put(l->w, ",");
	l->any = true;
	put_label(l->w, name, value);
}

static void put_options(struct writer *w)
{
	struct labels l = {w, false};

	put_head(w, "", "options", NULL, "info", "the options in force");
	writer_put(w, "pmdalloc_options_info{");
	options_each(put_option, &l);
	writer_put(w, "} 1\n");
}

static void end(struct writer *w)
{
	writer_put(w, "# EOF\n");
}

const struct format format_openmetrics = {begin, put_fact, put_section, put_options, end};
