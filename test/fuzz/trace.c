/* SPDX-License-Identifier: MIT */
/*
 * Any file as a trace: the reader takes it or says in one line what is wrong with it. Where the first byte is odd the
 * checksums are made to fit, so that what comes behind them is reached.
 */
#include "check.h"
#include "input.h"

#include <setjmp.h>
#include <stdarg.h>
#include <sys/mman.h>

#include "trace/reader.h"

enum { FILE_MOST = 1 << 16, EVENTS_MOST = 100000, PIECES_MOST = 1000 };

static jmp_buf refused;
static void *pieces[PIECES_MOST];
static size_t piece_count;

/* ---- In place of the replayer's tools, which end the program and leave its memory to the kernel ------------------ */

void *memory_new(size_t bytes)
{
	void *p = calloc(1, bytes ? bytes : 1);
	CHECK(p && piece_count < PIECES_MOST);
	return pieces[piece_count++] = p;
}

/* Everything goes when the input has been read. */
void memory_drop(void *p, size_t bytes)
{
	(void)p;
	(void)bytes;
}

void *vector_add(struct vector *v, size_t item_bytes)
{
	if (v->used == v->room) {
		size_t room = v->room ? 2 * v->room : 4;
		void *items = memory_new(room * item_bytes);
		if (v->used)
			memcpy(items, v->items, v->used * item_bytes);
		v->items = items;
		v->room = room;
	}
	return (char *)v->items + item_bytes * v->used++;
}

void vector_drop(struct vector *v, size_t item_bytes)
{
	(void)item_bytes;
	*v = (struct vector){0};
}

static void drop_all(void)
{
	while (piece_count)
		free(pieces[--piece_count]);
}

void fail(const char *file, const char *format, ...)
{
	char line[512];
	va_list list;
	va_start(list, format);
	int length = vsnprintf(line, sizeof line, format, list);
	va_end(list);
	CHECK_SAY(length > 0 && !strchr(line, '\n'), "%s: not one line: %s", file ? file : "", line);
	longjmp(refused, 1);
}

static void seal(uint8_t *file, size_t length)
{
	size_t at = FILE_HEADER;
	if (length < FILE_HEADER)
		return;
	put_fixed(file + FILE_SUM, trace_sum(file, FILE_SUM), 8);
	while (length - at >= CHUNK_HEADER) {
		uint8_t *chunk = file + at;
		size_t bytes = get_fixed(chunk + CHUNK_BYTES, 4);
		if (bytes > length - at - CHUNK_HEADER)
			return;
		put_fixed(chunk + CHUNK_DATA_SUM, trace_sum(chunk + CHUNK_HEADER, bytes), 8);
		put_fixed(chunk + CHUNK_SUM, trace_sum(chunk, CHUNK_SUM), 8);
		at += CHUNK_HEADER + bytes;
	}
}

static void read_all(struct reader *r, const char *path)
{
	struct event event;
	bool done;
	reader_open(r, path);
	for (int i = 0; i < EVENTS_MOST && reader_next(r, &event, &done) != HALF_NONE; i++)
		CHECK(event.call < CALLS);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t length)
{
	static uint8_t file[FILE_MOST];
	static struct reader r;
	static int fd = -1;
	char path[32];
	if (length == 0 || length > FILE_MOST)
		return 0;
	memcpy(file, data + 1, length - 1);
	if (data[0] & 1)
		seal(file, length - 1);
	if (fd < 0)
		fd = memfd_create("trace", MFD_CLOEXEC);
	CHECK(fd >= 0 && ftruncate(fd, 0) == 0 && pwrite(fd, file, length - 1, 0) == (ssize_t)length - 1);
	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	memset(&r, 0, sizeof r);
	if (!setjmp(refused))
		read_all(&r, path);
	reader_close(&r);
	drop_all();
	return 0;
}
