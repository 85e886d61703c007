/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <sys/auxv.h>
#include <unistd.h>

#include "conf/options.h"
#include "os/os.h"

struct options options;

struct option {
	enum { KIND_NUMBER, KIND_CHOICE, KIND_SIZE, KIND_TEXT } kind;
	const char *name, *words, *unit;
	int64_t fallback, low, high;
	_Atomic int64_t *value;
	bool live;
	char *text;
};

#define NUMBER(name, fallback, low, high, live, unit, help) \
	{KIND_NUMBER, #name, NULL, unit, fallback, low, high, &options.name, live, NULL},
#define CHOICE(name, fallback, live, words, help) \
	{KIND_CHOICE, #name, words, NULL, fallback, 0, 0, &options.name, live, NULL},
#define SIZE(name, fallback, low, high, live, help) \
	{KIND_SIZE, #name, NULL, NULL, fallback, low, high, &options.name, live, NULL},
#define TEXT(name, form, help) {KIND_TEXT, #name, NULL, form, 0, 0, 0, NULL, false, options.name},
#define KIB(n)                 ((int64_t)(n) << 10)
#define MIB(n)                 ((int64_t)(n) << 20)
#define GIB(n)                 ((int64_t)(n) << 30)
#define TIB(n)                 ((int64_t)(n) << 40)
static const struct option table[] = {
#include "conf/options.def"
};
#undef NUMBER
#undef CHOICE
#undef SIZE
#undef TEXT

enum { OPTIONS = sizeof table / sizeof table[0] };

static const struct option *find(const char *name, size_t len)
{
	for (int i = 0; i < OPTIONS; i++)
		if (text_equal(name, len, table[i].name))
			return &table[i];
	return NULL;
}

/* The N-th of the words in LIST ("a,b,c"), as a slice of it. */
static size_t word_at(const char *list, int64_t n, const char **out)
{
	size_t len = 0;

	for (; n > 0 && *list; list++)
		n -= *list == ',';
	*out = list;
	while (list[len] && list[len] != ',')
		len++;
	return n ? 0 : len;
}

static bool parse_choice(const struct option *o, const char *s, size_t len, int64_t *out)
{
	const char *word;
	size_t n;

	for (*out = 0; (n = word_at(o->words, *out, &word)); ++*out) {
		bool same = n == len;

		for (size_t i = 0; same && i < n; i++)
			same = word[i] == s[i];
		if (same)
			return true;
	}
	return false;
}

/* What it is, is left where it stands. */
static bool parse_text(const char *s, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (s[i] <= ' ' || s[i] > '~')
			return false;
	return len && len < OPTION_TEXT;
}

static bool parse(const struct option *o, const char *s, size_t len, int64_t *out)
{
	if (o->kind == KIND_CHOICE)
		return parse_choice(o, s, len, out);
	if (o->kind == KIND_TEXT)
		return parse_text(s, len);
	if (o->kind == KIND_SIZE && text_equal(s, len, "none")) {
		*out = SIZE_NONE;
		return true;
	}
	if (o->kind == KIND_SIZE ? !text_parse_bytes(s, len, out) : !text_parse_number(s, len, out))
		return false;
	return *out >= o->low && *out <= o->high;
}

static void store_text(const struct option *o, const char *s, size_t len)
{
	if (text_equal(s, len, "none"))
		len = 0;
	__builtin_memcpy(o->text, s, len);
	o->text[len] = 0;
}

static int64_t value_of(const struct option *o)
{
	return o->text ? o->text[0] != 0 : atomic_load_explicit(o->value, memory_order_relaxed);
}

static void put_value(struct text *t, const struct option *o, int64_t value)
{
	const char *word;
	size_t n;

	switch (o->kind) {
	case KIND_CHOICE:
		n = word_at(o->words, value, &word);
		text_put_n(t, word, n);
		break;
	case KIND_SIZE:
		if (value == SIZE_NONE)
			text_put(t, "none");
		else
			text_put_bytes(t, value);
		break;
	case KIND_TEXT:
		text_put(t, value ? o->text : "none");
		break;
	default:
		text_put_number(t, value);
	}
}

static void put_accepted(struct text *t, const struct option *o)
{
	if (o->kind == KIND_CHOICE) {
		text_put(t, o->words);
		return;
	}
	if (o->kind == KIND_TEXT) {
		text_put(t, o->unit);
		text_put(t, " of at most ");
		text_put_number(t, OPTION_TEXT - 1);
		text_put(t, " printable characters, or none");
		return;
	}
	put_value(t, o, o->low);
	text_put(t, " to ");
	put_value(t, o, o->high);
	text_put(t, " ");
	text_put(t, o->kind == KIND_SIZE ? "bytes (suffixes K, M, G, T), or none" : o->unit);
}

static void say_unknown(const char *name, size_t len)
{
	char buf[512];
	struct text t;

	text_init(&t, buf, sizeof buf);
	text_put(&t, "PMDALLOC_CONF: unknown option '");
	text_put_n(&t, name, len);
	text_put(&t, "' is ignored; accepted: ");
	for (int i = 0; i < OPTIONS; i++) {
		text_put(&t, i ? ", " : "");
		text_put(&t, table[i].name);
	}
	os_message(&t);
}

static void say_bad(const struct option *o, const char *value, size_t len)
{
	char buf[512];
	struct text t;

	text_init(&t, buf, sizeof buf);
	text_put(&t, "PMDALLOC_CONF: ");
	text_put(&t, o->name);
	text_put(&t, " does not accept '");
	text_put_n(&t, value, len);
	text_put(&t, "' and stays ");
	put_value(&t, o, value_of(o));
	text_put(&t, "; accepted: ");
	put_accepted(&t, o);
	os_message(&t);
}

static void apply(const char *entry, size_t len)
{
	size_t colon = 0, start;
	const struct option *o;
	int64_t value = 0; /* none, of a text */

	while (colon < len && entry[colon] != ':')
		colon++;
	o = find(entry, colon);
	start = colon < len ? colon + 1 : len;
	if (!o)
		say_unknown(entry, colon);
	else if (!parse(o, entry + start, len - start, &value))
		say_bad(o, entry + start, len - start);
	else if (o->text)
		store_text(o, entry + start, len - start);
	else
		atomic_store_explicit(o->value, value, memory_order_relaxed);
}

static void apply_list(const char *list)
{
	while (*list) {
		size_t len = 0;

		while (list[len] && list[len] != ',')
			len++;
		if (len)
			apply(list, len);
		list += len + (list[len] == ',');
	}
}

/* The value of PMDALLOC_CONF. Before the C library has set environ, it is read from the kernel into BUF. */
static const char *find_setting(char *buf, size_t room)
{
	static const char name[] = "PMDALLOC_CONF=";
	size_t n, len = sizeof name - 1;

	for (char **e = environ; e && *e; e++)
		if (!__builtin_strncmp(*e, name, len))
			return *e + len;
	if (environ)
		return "";
	n = os_read_file("/proc/self/environ", buf, room);
	for (size_t i = 0; i + len < n; i += text_length(buf + i) + 1)
		if (!__builtin_strncmp(buf + i, name, len))
			return buf + i + len;
	return "";
}

void options_init(void)
{
	char buf[4096];

	for (int i = 0; i < OPTIONS; i++)
		if (table[i].value)
			atomic_store_explicit(table[i].value, table[i].fallback, memory_order_relaxed);
	if (!getauxval(AT_SECURE))
		apply_list(find_setting(buf, sizeof buf));
}

int options_get(const char *name, char *buf, size_t len)
{
	const struct option *o = find(name, text_length(name));
	char value[OPTION_TEXT];
	struct text t;

	if (!o)
		return ENOENT;
	text_init(&t, value, sizeof value);
	put_value(&t, o, value_of(o));
	if (t.len >= len)
		return ERANGE;
	__builtin_memcpy(buf, value, t.len + 1);
	return 0;
}

int options_set(const char *name, const char *value)
{
	const struct option *o = find(name, text_length(name));
	int64_t n;

	if (!o)
		return ENOENT;
	if (!parse(o, value, text_length(value), &n))
		return EINVAL;
	if (!o->live)
		return EPERM;
	atomic_store_explicit(o->value, n, memory_order_relaxed);
	return 0;
}

void options_each(void (*say)(void *arg, const char *name, const char *value), void *arg)
{
	char value[OPTION_TEXT];
	struct text t;

	for (int i = 0; i < OPTIONS; i++) {
		text_init(&t, value, sizeof value);
		put_value(&t, &table[i], value_of(&table[i]));
		say(arg, table[i].name, value);
	}
}
