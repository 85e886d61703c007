/* SPDX-License-Identifier: MIT */
#include "check/report.h"
#include "base/errno_name.h"
#include "check/stack.h"
#include "conf/options.h"
#include "os/lock.h"
#include "os/os.h"

#include <fcntl.h>

/* Nobody may have to wait for who reads from a pipe, and a terminal is not to become the process's. */
#define FILE_FLAGS (O_WRONLY | O_CREAT | O_APPEND | O_NONBLOCK | O_NOCTTY)

static struct lock lock; /* guards what follows */
static char buf[16 << 10];
static struct text text;

static void begin(const char *call, const void *p)
{
	text_init(&text, buf, sizeof buf - 1);
	text_put(&text, "pmdalloc: ");
	text_put(&text, call);
	text_put(&text, "(");
	text_put_hex(&text, (uintptr_t)p);
	text_put(&text, "): ");
}

struct text *report_begin(const char *call, const void *p)
{
	lock_take(&lock);
	begin(call, p);
	return &text;
}

struct text *report_begin_in_handler(const char *call, const void *p)
{
	uint32_t free = 0;

	if (!atomic_compare_exchange_strong_explicit(&lock.word, &free, 1, memory_order_acquire, memory_order_relaxed))
		return NULL;
	begin(call, p);
	return &text;
}

/* Returns 0 or an errno value. */
static int write_report(int fd)
{
	text.buf[text.len] = '\n';
	return os_write(fd, text.buf, text.len + 1);
}

/* After stderr, as a file may keep who writes to it waiting. */
static void file_report(void)
{
	int fd = os_open_file(options.report_file, FILE_FLAGS), error = fd < 0 ? -fd : write_report(fd);

	os_close_file(&fd);
	if (!error)
		return;
	text_init(&text, buf, sizeof buf - 1);
	text_put(&text, "pmdalloc:   not in report_file:");
	text_put(&text, options.report_file);
	text_put(&text, ", which cannot be written: ");
	text_put_errno(&text, error);
	write_report(2);
}

static void end(const struct stack *stack)
{
	text_put(&text, "\npmdalloc:   found in thread ");
	text_put_hex(&text, os_thread_id());
	text_put(&text, stack->count ? ", called from" : "");
	stack_put(&text, stack);
	write_report(2);
	if (options.report_file[0])
		file_report();
	lock_drop(&lock);
}

void report_end(void)
{
	struct stack stack;

	stack_capture(&stack);
	end(&stack);
	if (OPTION(abort) != ABORT_FALSE)
		os_abort();
}

void report_end_in_handler(const void *context)
{
	struct stack stack;

	stack_capture_context(&stack, context);
	end(&stack);
}

void report_after_fork(void)
{
	lock_reset(&lock);
}

static void put_asked(struct text *t, const struct slice *s, const void *p)
{
	struct seal seal;

	if (s->kind == SLICE_LARGE) {
		text_put(t, " (size ");
		text_put_number(t, (int64_t)large_asked(s).size);
		text_put(t, ", large)");
		return;
	}
	seal = seal_read(seal_word(s, p));
	text_put(t, " (");
	if (seal.state == SEAL_LIVE) {
		text_put(t, "size ");
		text_put_number(t, (int64_t)seal.size);
		text_put(t, ", ");
	}
	text_put(t, "class ");
	text_put_number(t, s->class);
	text_put(t, " of ");
	text_put_number(t, (int64_t)(s->block_size - SEAL_BYTES));
	text_put(t, " bytes)");
}

void report_damage(const char *call, const struct slice *s, const void *p, const char *what)
{
	struct text *t = report_begin(call, p);

	text_put(t, what);
	put_asked(t, s, p);
	report_end();
}

static const char *const allocated_by[] = {"malloc", "operator new", "operator new[]", ""};
static const char *const released_by[] = {"free", "operator delete", "operator delete[]", "free"};

static void say_told(const void *p, struct seal seal, struct told told, const char *what, size_t is, size_t said)
{
	struct text *t = report_begin(released_by[told.origin], p);

	text_put(t, "a block of ");
	text_put(t, allocated_by[seal.origin]);
	text_put(t, what);
	if (said) {
		text_put_number(t, (int64_t)is);
		text_put(t, ", not ");
		text_put_number(t, (int64_t)said);
	}
	report_end();
}

bool report_told_right(const void *p, struct seal seal, struct told told)
{
	if (UNLIKELY(told.origin != seal.origin && told.origin != ORIGIN_UNKNOWN))
		say_told(p, seal, told, " is released by another kind of function", 0, 0);
	else if (UNLIKELY(told.size != seal.size && told.size != SIZE_UNKNOWN))
		say_told(p, seal, told, " has another size than its release says: ", seal.size, told.size);
	else if (UNLIKELY(max_size(told.align, MIN_ALIGN) != seal.align && told.align != ALIGN_UNKNOWN))
		say_told(p, seal, told, " has another alignment than its release says: ", seal.align,
			 max_size(told.align, MIN_ALIGN));
	else
		return true;
	return false;
}
