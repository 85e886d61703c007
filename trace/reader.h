/* SPDX-License-Identifier: MIT */
/*
 * Reads a trace: checks it, decodes it and merges its threads by time. What is damaged ends the program with one line;
 * what is cut off at the end is left out.
 */
#ifndef TRACE_READER_H
#define TRACE_READER_H

#include "trace/format.h"
#include "trace/tool.h"

struct event {
	enum call call;
	uint32_t thread; /* 0, 1, ... in the order of their first chunks */
	uint64_t begin, end;
	uint64_t count, alignment, size;
	uint64_t block, result; /* addresses; 0: NULL */
	uint64_t bytes;         /* COUNT * SIZE, or as much as fits */
};

struct cursor {
	uint32_t chunk; /* its place in the list of chunks + 1; 0: the thread has ended */
	uint32_t left;  /* events left in it */
	const unsigned char *at, *data_end;
	uint64_t time, address;
	bool ended_block; /* the first half of EVENT was told already */
	struct event event;
	uint32_t last_chunk; /* while loading: where to add the next one */
};

struct reader {
	const char *path;
	unsigned char *file;
	size_t bytes;
	char name[FILE_NAME_BYTES + 1];
	uint32_t pid, parent, flags;
	uint64_t recorded_ns; /* from the start to the last chunk */
	uint64_t events;
	bool whole; /* it ends as it should */
	size_t cut; /* bytes of an incomplete chunk that were left out */
	struct vector chunks;
	struct vector threads; /* struct cursor */
	uint32_t *heap;        /* threads that have something left, the earliest on top */
	size_t heap_used;
};

/* A half of an event: the end of a block, or the beginning of one. A realloc has both. */
enum half { HALF_NONE, HALF_ENDS, HALF_BEGINS };

void reader_open(struct reader *r, const char *path);

/* The next half in the order of time; HALF_NONE at the end. *THREAD_DONE: it was its thread's last. */
enum half reader_next(struct reader *r, struct event *event, bool *thread_done);

void reader_close(struct reader *r);

#endif
