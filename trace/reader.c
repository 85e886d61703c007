/* SPDX-License-Identifier: MIT */
#include "trace/reader.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct chunk {
	const unsigned char *data;
	uint32_t bytes, events;
	uint64_t base;
	uint32_t next; /* of the same thread, + 1 */
};

static struct chunk *chunk_of(const struct reader *r, uint32_t number)
{
	return (struct chunk *)r->chunks.items + (number - 1);
}

static struct cursor *cursor_of(const struct reader *r, uint32_t thread)
{
	return (struct cursor *)r->threads.items + thread;
}

static _Noreturn void damaged(const struct reader *r, const void *at, const char *what)
{
	fail(r->path, "damaged at byte %zu: %s", (size_t)((const unsigned char *)at - r->file), what);
}

/* ---- The file ---------------------------------------------------------------------------------------------------- */

static void load(struct reader *r)
{
	int fd = open(r->path, O_RDONLY | O_CLOEXEC);
	struct stat s;
	size_t have = 0;

	if (fd < 0 || fstat(fd, &s))
		fail(r->path, "%s", strerror(errno));
	if (!S_ISREG(s.st_mode))
		fail(r->path, "is not a regular file");
	r->file = memory_new((size_t)s.st_size + 1);
	r->bytes = (size_t)s.st_size;
	while (have < r->bytes) {
		ssize_t n = read(fd, r->file + have, r->bytes - have);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			fail(r->path, "%s", strerror(errno));
		if (n == 0)
			break; /* it became shorter meanwhile */
		have += (size_t)n;
	}
	close(fd);
	r->cut = 0;
	if (have < r->bytes)
		memset(r->file + have, 0, r->bytes - have);
}

static void read_header(struct reader *r)
{
	const unsigned char *f = r->file;
	unsigned version;

	if (r->bytes < 8 || memcmp(f, TRACE_MAGIC, 8))
		fail(r->path, "is no trace of pmdalloc-trace");
	if (r->bytes < FILE_HEADER)
		fail(r->path, "is cut within its header: %zu bytes", r->bytes);
	version = (unsigned)get_fixed(f + FILE_VERSION, 2);
	if (version != TRACE_VERSION)
		fail(r->path, "has version %u; this program knows %u", version, TRACE_VERSION);
	if (get_fixed(f + FILE_SUM, 8) != trace_sum(f, FILE_SUM))
		damaged(r, f, "the header's checksum");
	r->flags = (uint32_t)get_fixed(f + FILE_FLAGS, 4);
	if (get_fixed(f + FILE_BYTES, 2) != FILE_HEADER || r->flags & ~(uint32_t)FLAGS_KNOWN)
		damaged(r, f, "the header");
	r->pid = (uint32_t)get_fixed(f + FILE_PID, 4);
	r->parent = (uint32_t)get_fixed(f + FILE_PARENT, 4);
	memcpy(r->name, f + FILE_NAME, FILE_NAME_BYTES);
	for (char *c = r->name; *c; c++)
		if (*c < ' ' || *c > '~' || *c == '"' || *c == '\\')
			*c = '?';
}

/* ---- Chunks ------------------------------------------------------------------------------------------------------ */

/* The threads that have been met, by their numbers: a table with more places than there can be chunks. */
struct met {
	struct {
		uint32_t number, place; /* in the list of threads + 1 */
	} * at;
	size_t places;
};

static void met_begin(struct met *m, size_t chunks)
{
	for (m->places = 64; m->places < 2 * chunks;)
		m->places *= 2;
	m->at = memory_new(m->places * sizeof *m->at);
}

static struct cursor *thread_of(struct reader *r, uint32_t number, struct met *m)
{
	size_t at = number * (size_t)0x9e3779b97f4a7c15 >> 20;
	struct cursor *c;

	for (;; at++) {
		at &= m->places - 1;
		if (!m->at[at].place)
			break;
		if (m->at[at].number == number)
			return cursor_of(r, m->at[at].place - 1);
	}
	c = vector_add(&r->threads, sizeof *c);
	m->at[at].number = number;
	m->at[at].place = (uint32_t)r->threads.used;
	c->event.thread = (uint32_t)r->threads.used - 1;
	return c;
}

static void add_events(struct reader *r, const unsigned char *header, uint32_t bytes, struct met *met)
{
	uint32_t events = (uint32_t)get_fixed(header + CHUNK_EVENTS, 4);
	struct cursor *thread = thread_of(r, (uint32_t)get_fixed(header + CHUNK_THREAD, 4), met);
	struct chunk *chunk = vector_add(&r->chunks, sizeof *chunk);
	uint32_t number = (uint32_t)r->chunks.used;

	if (!events || events > bytes)
		damaged(r, header, "the number of events");
	*chunk = (struct chunk){header + CHUNK_HEADER, bytes, events, get_fixed(header + CHUNK_BASE, 8), 0};
	if (thread->last_chunk)
		chunk_of(r, thread->last_chunk)->next = number;
	else
		thread->chunk = number;
	thread->last_chunk = number;
	r->events += events;
	r->whole = false;
}

static uint64_t get_number(const struct reader *r, const unsigned char **at, const unsigned char *end)
{
	const unsigned char *begin = *at;
	uint64_t n = 0;

	for (unsigned shift = 0; shift < 70; shift += 7) {
		unsigned char byte;

		if (*at >= end)
			break;
		byte = *(*at)++;
		if (shift == 63 && byte > 1)
			break;
		n |= (uint64_t)(byte & 0x7f) << shift;
		if (!(byte & 0x80))
			return n;
	}
	damaged(r, begin, "a number");
}

static void add_end(struct reader *r, const unsigned char *header, uint32_t bytes)
{
	const unsigned char *at = header + CHUNK_HEADER, *end = at + bytes;

	if (get_number(r, &at, end) != r->events || at != end)
		damaged(r, header, "events are missing");
	r->whole = true;
}

/* The bytes of the chunk at AT with its header; 0 if it is cut. */
static size_t check_chunk(struct reader *r, const unsigned char *at, uint32_t number)
{
	size_t left = r->bytes - (size_t)(at - r->file);
	size_t bytes;

	if (left < CHUNK_HEADER)
		return 0;
	if (get_fixed(at + CHUNK_MAGIC, 4) != CHUNK_MAGIC_VALUE)
		damaged(r, at, "no chunk begins here");
	if (get_fixed(at + CHUNK_SUM, 8) != trace_sum(at, CHUNK_SUM))
		damaged(r, at, "the checksum of a chunk's header");
	bytes = get_fixed(at + CHUNK_BYTES, 4);
	if (bytes > CHUNK_MOST || get_fixed(at + CHUNK_KIND, 4) > CHUNK_OF_END)
		damaged(r, at, "a chunk's header");
	if (get_fixed(at + CHUNK_NUMBER, 4) != number)
		damaged(r, at, "a chunk is missing");
	if (left - CHUNK_HEADER < bytes)
		return 0;
	if (get_fixed(at + CHUNK_DATA_SUM, 8) != trace_sum(at + CHUNK_HEADER, bytes))
		damaged(r, at, "the checksum of a chunk's events");
	return CHUNK_HEADER + bytes;
}

static void read_chunks(struct reader *r)
{
	uint64_t start = get_fixed(r->file + FILE_MONOTONIC, 8), last = start;
	size_t at = FILE_HEADER;
	struct met met;

	met_begin(&met, r->bytes / CHUNK_HEADER + 1);
	for (uint32_t number = 0; at < r->bytes; number++) {
		unsigned char *header = r->file + at;
		size_t bytes = check_chunk(r, header, number);

		if (!bytes) {
			r->cut = r->bytes - at;
			r->whole = false;
			break;
		}
		if (get_fixed(header + CHUNK_KIND, 4) == CHUNK_OF_END)
			add_end(r, header, (uint32_t)(bytes - CHUNK_HEADER));
		else
			add_events(r, header, (uint32_t)(bytes - CHUNK_HEADER), &met);
		last = get_fixed(header + CHUNK_WRITTEN, 8);
		at += bytes;
	}
	r->recorded_ns = last > start ? last - start : 0;
	memory_drop(met.at, met.places * sizeof *met.at);
}

/* ---- Events ------------------------------------------------------------------------------------------------------ */

static bool begin_chunk(struct reader *r, struct cursor *c, uint32_t number)
{
	struct chunk *chunk;

	c->chunk = number;
	if (!number)
		return false;
	chunk = chunk_of(r, number);
	c->left = chunk->events;
	c->at = chunk->data;
	c->data_end = chunk->data + chunk->bytes;
	c->address = 0;
	if (chunk->base > c->time) /* a clock that goes back stands still */
		c->time = chunk->base;
	return true;
}

static uint64_t get_time(struct reader *r, struct cursor *c)
{
	uint64_t n = get_number(r, &c->at, c->data_end);

	if (__builtin_add_overflow(c->time, n, &c->time))
		damaged(r, c->at, "a time");
	return c->time;
}

static uint64_t get_address(struct reader *r, struct cursor *c)
{
	c->address = unfold_address(get_number(r, &c->at, c->data_end), c->address);
	if (!c->address)
		damaged(r, c->at, "an address");
	return c->address;
}

/* Decodes the next event of a thread; false at its end. */
static bool decode(struct reader *r, struct cursor *c)
{
	struct event *e = &c->event;
	unsigned first, has;

	if (!c->left) {
		if (c->at != c->data_end)
			damaged(r, c->at, "more than the chunk's events");
		if (!begin_chunk(r, c, chunk_of(r, c->chunk)->next))
			return false;
	}
	if (c->at == c->data_end)
		damaged(r, c->at, "fewer than the chunk's events");
	first = *c->at++;
	c->left--;
	if (first & EVENT_RESERVED || (first & EVENT_CALL) >= CALLS)
		damaged(r, c->at - 1, "an unknown event");
	e->call = (enum call)(first & EVENT_CALL);
	has = trace_calls[e->call].has;
	if ((first & EVENT_NO_BLOCK && !(has & HAS_BLOCK)) || (first & EVENT_NO_RESULT && !(has & HAS_RESULT)))
		damaged(r, c->at - 1, "an unknown event");
	e->block = e->result = e->begin = e->end = e->alignment = e->size = 0;
	e->count = 1;
	if (has & HAS_BLOCK) {
		e->begin = get_time(r, c);
		e->block = first & EVENT_NO_BLOCK ? 0 : get_address(r, c);
	}
	if (has & HAS_RESULT)
		e->end = get_time(r, c);
	if (has & HAS_COUNT)
		e->count = get_number(r, &c->at, c->data_end);
	if (has & HAS_ALIGNMENT)
		e->alignment = get_number(r, &c->at, c->data_end);
	if (has & HAS_SIZE)
		e->size = get_number(r, &c->at, c->data_end);
	if (has & HAS_RESULT)
		e->result = first & EVENT_NO_RESULT ? 0 : get_address(r, c);
	if (__builtin_mul_overflow(e->count, e->size, &e->bytes))
		e->bytes = UINT64_MAX;
	c->ended_block = !(has & HAS_BLOCK);
	return true;
}

/* ---- The merge --------------------------------------------------------------------------------------------------- */

static uint64_t time_of(const struct cursor *c)
{
	return c->ended_block ? c->event.end : c->event.begin;
}

/* Whether A comes before B. At the same time what ends goes first. */
static bool earlier(const struct reader *r, uint32_t a, uint32_t b)
{
	const struct cursor *x = cursor_of(r, a), *y = cursor_of(r, b);

	if (time_of(x) != time_of(y))
		return time_of(x) < time_of(y);
	if (x->ended_block != y->ended_block)
		return y->ended_block;
	return a < b;
}

static void sift_down(struct reader *r, size_t at)
{
	for (;;) {
		size_t least = at;
		uint32_t moved = r->heap[at];

		for (size_t child = 2 * at + 1; child <= 2 * at + 2; child++)
			if (child < r->heap_used && earlier(r, r->heap[child], r->heap[least]))
				least = child;
		if (least == at)
			return;
		r->heap[at] = r->heap[least];
		r->heap[least] = moved;
		at = least;
	}
}

void reader_open(struct reader *r, const char *path)
{
	*r = (struct reader){.path = path};
	load(r);
	read_header(r);
	read_chunks(r);
	r->heap = memory_new(r->threads.used * sizeof *r->heap);
	for (uint32_t i = 0; i < r->threads.used; i++) {
		begin_chunk(r, cursor_of(r, i), cursor_of(r, i)->chunk);
		if (decode(r, cursor_of(r, i)))
			r->heap[r->heap_used++] = i;
	}
	for (size_t i = r->heap_used; i > 0; i--)
		sift_down(r, i - 1);
}

enum half reader_next(struct reader *r, struct event *event, bool *thread_done)
{
	struct cursor *c;
	enum half half;

	*thread_done = false;
	if (!r->heap_used)
		return HALF_NONE;
	c = cursor_of(r, r->heap[0]);
	*event = c->event;
	half = c->ended_block ? HALF_BEGINS : HALF_ENDS;
	if (half == HALF_ENDS && trace_calls[event->call].has & HAS_RESULT) {
		c->ended_block = true;
	} else if (!decode(r, c)) {
		r->heap[0] = r->heap[--r->heap_used];
		*thread_done = true;
	}
	if (r->heap_used)
		sift_down(r, 0);
	return half;
}

void reader_close(struct reader *r)
{
	memory_drop(r->heap, r->threads.used * sizeof *r->heap);
	memory_drop(r->file, r->bytes + 1);
	vector_drop(&r->chunks, sizeof(struct chunk));
	vector_drop(&r->threads, sizeof(struct cursor));
}
