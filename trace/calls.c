/* SPDX-License-Identifier: MIT */
/*
 * The calls that are recorded. Each asks the allocator behind and notes what it was asked and what it answered: the
 * time of what is freed before the call, of what is allocated after it, so that by these times no address is live
 * twice.
 *
 * C++'s new and delete are seen where they come through malloc and free, as the C++ library's own do. An allocator
 * behind that defines them itself is called by the program directly.
 */
#include <errno.h>
#include <stdlib.h>

#include "trace/recorder.h"

void *reallocarray(void *p, size_t count, size_t size);
void *aligned_alloc(size_t alignment, size_t size);
void *memalign(size_t alignment, size_t size);
void *pvalloc(size_t size);
void free_sized(void *p, size_t size);
void free_aligned_sized(void *p, size_t alignment, size_t size);

HIDDEN __thread struct thread me;
HIDDEN bool clock_is_tsc;

/* ---- Encoding ---------------------------------------------------------------------------------------------------- */

void buffer_reset(struct buffer *b)
{
	b->address = 0;
	b->base = 0;
	atomic_store_explicit(&b->filled, 0, memory_order_release);
}

/* How long after the event before; a clock that went back stands still. */
static unsigned char *put_time(unsigned char *at, struct buffer *b, uint64_t time)
{
	if (time < b->time)
		time = b->time;
	at = put_number(at, time - b->time);
	b->time = time;
	return at;
}

static unsigned char *put_address(unsigned char *at, struct buffer *b, const void *p)
{
	at = put_number(at, fold_address((uintptr_t)p, b->address));
	b->address = (uintptr_t)p;
	return at;
}

static inline __attribute__((always_inline)) void put_event(struct buffer *b, struct call_event e)
{
	unsigned has = trace_calls[e.call].has, first = e.call;
	uint64_t filled = atomic_load_explicit(&b->filled, memory_order_relaxed);
	unsigned char *begin, *at;

	if (UNLIKELY((uint32_t)filled > BUFFER_ROOM - EVENT_MOST)) {
		process_flush(b);
		filled = atomic_load_explicit(&b->filled, memory_order_relaxed);
		if ((uint32_t)filled > BUFFER_ROOM - EVENT_MOST)
			return; /* recording has stopped */
	}
	begin = at = b->chunk + CHUNK_HEADER + (uint32_t)filled;
	if (!filled)
		b->base = b->time = has & HAS_BLOCK ? e.begin : e.end;
	if (has & HAS_BLOCK && !e.block)
		first |= EVENT_NO_BLOCK;
	if (has & HAS_RESULT && !e.result)
		first |= EVENT_NO_RESULT;
	*at++ = (unsigned char)first;
	if (has & HAS_BLOCK) {
		at = put_time(at, b, e.begin);
		if (e.block)
			at = put_address(at, b, e.block);
	}
	if (has & HAS_RESULT)
		at = put_time(at, b, e.end);
	if (has & HAS_COUNT)
		at = put_number(at, e.count);
	if (has & HAS_ALIGNMENT)
		at = put_number(at, e.alignment);
	if (has & HAS_SIZE)
		at = put_number(at, e.size);
	if (has & HAS_RESULT && e.result)
		at = put_address(at, b, e.result);
	atomic_store_explicit(&b->filled, filled + ((uint64_t)1 << 32) + (uint64_t)(at - begin), memory_order_release);
}

/* ---- The calls --------------------------------------------------------------------------------------------------- */

/* A function whose ASKED gives RESULT, noted with FIELDS of the event. */
#define RECORD_RESULT(asked, ...)                                                                          \
	do {                                                                                               \
		struct buffer *b = process_enter();                                                        \
		void *p = asked;                                                                           \
                                                                                                           \
		if (LIKELY(b)) {                                                                           \
			put_event(b, (struct call_event){.end = clock_after(), .result = p, __VA_ARGS__}); \
			process_leave();                                                                   \
		}                                                                                          \
		return p;                                                                                  \
	} while (0)

EXPORT void *malloc(size_t size)
{
	RECORD_RESULT(next.malloc(size), .call = CALL_MALLOC, .size = size);
}

EXPORT void *calloc(size_t count, size_t size)
{
	RECORD_RESULT(next.calloc(count, size), .call = CALL_CALLOC, .count = count, .size = size);
}

EXPORT void *aligned_alloc(size_t alignment, size_t size)
{
	RECORD_RESULT(next.aligned_alloc(alignment, size), .call = CALL_ALIGNED_ALLOC, .alignment = alignment,
		      .size = size);
}

EXPORT void *memalign(size_t alignment, size_t size)
{
	RECORD_RESULT(next.memalign(alignment, size), .call = CALL_MEMALIGN, .alignment = alignment, .size = size);
}

EXPORT void *valloc(size_t size)
{
	RECORD_RESULT(next.valloc(size), .call = CALL_VALLOC, .size = size);
}

EXPORT void *pvalloc(size_t size)
{
	RECORD_RESULT(next.pvalloc(size), .call = CALL_PVALLOC, .size = size);
}

EXPORT int posix_memalign(void **p, size_t alignment, size_t size)
{
	struct buffer *b = process_enter();
	int error = next.posix_memalign(p, alignment, size);

	if (LIKELY(b)) {
		put_event(b, (struct call_event){.call = CALL_POSIX_MEMALIGN,
						 .end = clock_after(),
						 .alignment = alignment,
						 .size = size,
						 .result = error ? NULL : *p});
		process_leave();
	}
	return error;
}

/* What the loader had before the allocator was found moves to it. */
static void *leave_early(void *p, size_t size)
{
	void *moved = malloc(size);
	size_t before;

	memcpy(&before, (char *)p - sizeof before, sizeof before);
	if (moved)
		memcpy(moved, p, before < size ? before : size);
	return moved;
}

EXPORT void *realloc(void *p, size_t size)
{
	struct buffer *b;
	uint64_t begin;
	void *moved;

	if (UNLIKELY(next_is_early(p)))
		return leave_early(p, size);
	b = process_enter();
	begin = b ? clock_before() : 0;
	moved = next.realloc(p, size);
	if (LIKELY(b)) {
		put_event(b, (struct call_event){.call = CALL_REALLOC,
						 .begin = begin,
						 .end = clock_after(),
						 .size = size,
						 .block = p,
						 .result = moved});
		process_leave();
	}
	return moved;
}

EXPORT void *reallocarray(void *p, size_t count, size_t size)
{
	struct buffer *b;
	uint64_t begin;
	void *moved;

	if (UNLIKELY(next_is_early(p)))
		return size && count > SIZE_MAX / size ? NULL : leave_early(p, count * size);
	b = process_enter();
	begin = b ? clock_before() : 0;
	moved = next.reallocarray(p, count, size);
	if (LIKELY(b)) {
		put_event(b, (struct call_event){.call = CALL_REALLOCARRAY,
						 .begin = begin,
						 .end = clock_after(),
						 .count = count,
						 .size = size,
						 .block = p,
						 .result = moved});
		process_leave();
	}
	return moved;
}

#define RECORD_FREE(asked, ...)                                                                              \
	do {                                                                                                 \
		struct buffer *b;                                                                            \
                                                                                                             \
		if (UNLIKELY(next_is_early(p)))                                                              \
			return;                                                                              \
		b = process_enter();                                                                         \
		if (LIKELY(b))                                                                               \
			put_event(b, (struct call_event){.begin = clock_before(), .block = p, __VA_ARGS__}); \
		asked;                                                                                       \
		if (LIKELY(b))                                                                               \
			process_leave();                                                                     \
	} while (0)

EXPORT void free(void *p)
{
	RECORD_FREE(next.free(p), .call = CALL_FREE);
}

EXPORT void free_sized(void *p, size_t size)
{
	RECORD_FREE(next.free_sized(p, size), .call = CALL_FREE_SIZED, .size = size);
}

EXPORT void free_aligned_sized(void *p, size_t alignment, size_t size)
{
	RECORD_FREE(next.free_aligned_sized(p, alignment, size), .call = CALL_FREE_ALIGNED_SIZED,
		    .alignment = alignment, .size = size);
}
