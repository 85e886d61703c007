/* SPDX-License-Identifier: MIT */
#include "os/writer.h"
#include "os/os.h"

enum { DIGITS = 24 };

void writer_init(struct writer *w, int fd)
{
	w->fd = fd;
	w->error = 0;
	text_init(&w->text, w->buf, sizeof w->buf);
}

static void flush(struct writer *w)
{
	if (!w->error)
		w->error = os_write(w->fd, w->buf, w->text.len);
	text_init(&w->text, w->buf, sizeof w->buf);
}

void writer_put(struct writer *w, const char *s)
{
	for (size_t n = text_length(s); n;) {
		size_t some = min_size(n, sizeof w->buf - 1 - w->text.len);

		text_put_n(&w->text, s, some);
		s += some;
		n -= some;
		if (n)
			flush(w);
	}
}

void writer_put_quoted(struct writer *w, const char *s)
{
	char part[3] = {'\\', 0, 0};

	writer_put(w, "\"");
	for (; *s; s++) {
		bool plain = *s != '"' && *s != '\\';

		part[1] = *s;
		writer_put(w, part + plain);
	}
	writer_put(w, "\"");
}

static void digits_of(char *digits, uint64_t n)
{
	struct text t;

	text_init(&t, digits, DIGITS);
	text_put_number(&t, (int64_t)n);
}

void writer_put_number(struct writer *w, uint64_t n)
{
	writer_put_number_right(w, n, 0);
}

static void put_spaces(struct writer *w, size_t used, size_t width)
{
	for (; used < width; used++)
		writer_put(w, " ");
}

void writer_put_left(struct writer *w, const char *s, size_t width)
{
	writer_put(w, s);
	put_spaces(w, text_length(s), width);
}

void writer_put_right(struct writer *w, const char *s, size_t width)
{
	put_spaces(w, text_length(s), width);
	writer_put(w, s);
}

void writer_put_number_right(struct writer *w, uint64_t n, size_t width)
{
	char digits[DIGITS];

	digits_of(digits, n);
	writer_put_right(w, digits, width);
}

int writer_end(struct writer *w)
{
	flush(w);
	return w->error;
}
