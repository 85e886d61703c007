/* SPDX-License-Identifier: MIT */
/*
 * Any list of options, as in PMDALLOC_CONF, and any name and value given at run time: each wrong entry gets one line, no
 * more; every option has a value afterwards that it accepts, and the buffer for it is never written beyond.
 */
#include "check.h"
#include "input.h"

#include <errno.h>
#include <sys/mman.h>

#define check_failed library_check_failed /* both have one */
#include "conf/options.h"
#undef check_failed

enum { LIST_MOST = 1000, TEXT_MOST = 300 };

static int captured = -1, stderr_was = -1;

static void capture(void)
{
	if (captured < 0)
		captured = memfd_create("messages", MFD_CLOEXEC);
	CHECK(captured >= 0 && ftruncate(captured, 0) == 0 && lseek(captured, 0, SEEK_SET) == 0);
	stderr_was = dup(STDERR_FILENO);
	CHECK(stderr_was >= 0 && dup2(captured, STDERR_FILENO) >= 0);
}

static size_t lines(void)
{
	static char text[1 << 20];
	size_t count = 0;
	CHECK(dup2(stderr_was, STDERR_FILENO) >= 0 && close(stderr_was) == 0);
	ssize_t length = pread(captured, text, sizeof text - 1, 0);
	CHECK(length >= 0);
	text[length] = 0;
	for (char *line = text, *end; *line; line = end + 1, count++) {
		end = strchr(line, '\n');
		CHECK_SAY(end && strncmp(line, "pmdalloc: ", 10) == 0, "no whole line: %s", line);
	}
	return count;
}

static void check_value(void *unused, const char *name, const char *value)
{
	char buffer[OPTION_TEXT], small[4];
	(void)unused;
	CHECK(options_get(name, buffer, sizeof buffer) == 0 && strcmp(buffer, value) == 0);
	memset(small, '#', sizeof small);
	options_get(name, small, 3);
	CHECK(small[3] == '#');
	int result = options_set(name, value);
	CHECK_SAY(result == 0 || result == EPERM, "%s does not accept its own value %s: %d", name, value, result);
}

static void take_text(struct input *in, char *text, size_t most, char end)
{
	size_t length = 0;
	while (input_left(in) && length < most) {
		char c = (char)input_byte(in);
		if (c == end || !c)
			break;
		text[length++] = c;
	}
	text[length] = 0;
}

static size_t entries(const char *list)
{
	size_t count = 1;
	for (; *list; list++)
		count += *list == ',';
	return count;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t length)
{
	static char list[LIST_MOST + 1], name[TEXT_MOST + 1], value[TEXT_MOST + 1];
	struct input in = {data, data + length};
	size_t said;
	take_text(&in, list, LIST_MOST, '\n');
	CHECK(setenv("PMDALLOC_CONF", list, 1) == 0);
	capture();
	options_init();
	options_each(check_value, NULL);
	take_text(&in, name, TEXT_MOST, ':');
	take_text(&in, value, TEXT_MOST, 0);
	options_set(name, value);
	options_each(check_value, NULL);
	said = lines();
	CHECK_SAY(said <= entries(list), "%zu lines for '%s'", said, list);
	return 0;
}
