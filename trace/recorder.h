/* SPDX-License-Identifier: MIT */
/*
 * The recorder's parts. calls.c stands before malloc and its like, next.c finds the allocator behind it, buffer.c
 * encodes what a thread did, file.c writes it out, process.c knows when a process starts, forks, runs another program
 * and ends.
 *
 * Nothing here allocates, takes a lock of the C library's or changes errno once it has started.
 */
#ifndef TRACE_RECORDER_H
#define TRACE_RECORDER_H

#include <stdatomic.h>
#include <time.h>

#include "base/base.h"
#include "os/lock.h"
#include "trace/format.h"

#if defined(__x86_64__)
#include <x86intrin.h>
#endif

#define EXPORT __attribute__((visibility("default")))

/* ---- The allocator behind the recorder --------------------------------------------------------------------------- */

struct allocator {
	void *(*malloc)(size_t);
	void *(*calloc)(size_t, size_t);
	void *(*realloc)(void *, size_t);
	void *(*reallocarray)(void *, size_t, size_t);
	int (*posix_memalign)(void **, size_t, size_t);
	void *(*aligned_alloc)(size_t, size_t);
	void *(*memalign)(size_t, size_t);
	void *(*valloc)(size_t);
	void *(*pvalloc)(size_t);
	void (*free)(void *);
	void (*free_sized)(void *, size_t);
	void (*free_aligned_sized)(void *, size_t, size_t);
};

/* Until it was found, a few bytes of the recorder's own, for the loader that looks for it. */
extern HIDDEN struct allocator next;

void next_find(void);

/* The definition of NAME behind the recorder's own; NULL if there is none. */
void *next_function(const char *name);

/* Whether P is one of those bytes. */
extern HIDDEN char next_early[];
enum { NEXT_EARLY_BYTES = 16384 };

static inline bool next_is_early(const void *p)
{
	return (uintptr_t)p - (uintptr_t)next_early < NEXT_EARLY_BYTES;
}

/* ---- A thread's buffer ------------------------------------------------------------------------------------------- */

enum { BUFFER_BYTES = 64 << 10 };

struct buffer {
	struct buffer *next;  /* in the list of all, from which none is removed; process.c's */
	int tid;              /* whose it is; 0: nobody's */
	_Atomic bool retired; /* its thread is about to end, or has ended */
	uint32_t thread;      /* as the file numbers them */
	/* The owner's: */
	uint64_t time, address; /* of the event before */
	uint64_t base;
	/* Events << 32 | bytes: what may be written out. The owner adds; set to 0 with the file's lock held only. */
	_Atomic uint64_t filled;
	unsigned char chunk[]; /* a chunk's header, then its events */
};

enum { BUFFER_ROOM = BUFFER_BYTES - (int)sizeof(struct buffer) - CHUNK_HEADER };

/*
 * Of the calling thread. BUSY: it is inside of the recorder or of the allocator behind; what it calls there is no
 * event. LOCKED: how many locks it holds, or is about to take.
 */
struct thread {
	struct buffer *buffer;
	bool busy;
	unsigned char locked;
};
extern HIDDEN __thread struct thread me __attribute__((tls_model("initial-exec")));

struct call_event {
	enum call call;
	uint64_t begin, end; /* times; END where there is a result */
	uint64_t count, alignment, size;
	const void *block, *result;
};

/* Makes B empty. */
void buffer_reset(struct buffer *b);

/* ---- Time -------------------------------------------------------------------------------------------------------- */

extern HIDDEN bool clock_is_tsc;

static inline uint64_t clock_ns(clockid_t id)
{
	struct timespec t = {0};

	clock_gettime(id, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

/* Before the call of free: nobody else can have the block yet, as stores are seen in order. */
static inline uint64_t clock_before(void)
{
#if defined(__x86_64__)
	if (LIKELY(clock_is_tsc))
		return __rdtsc();
#endif
	return clock_ns(CLOCK_MONOTONIC);
}

/* After the allocator returned: the fence keeps the counter from being read before the block was had. */
static inline uint64_t clock_after(void)
{
#if defined(__x86_64__)
	if (LIKELY(clock_is_tsc)) {
		_mm_lfence();
		return __rdtsc();
	}
#endif
	return clock_ns(CLOCK_MONOTONIC);
}

/* ---- The file ---------------------------------------------------------------------------------------------------- */

/* Where to, before anything else; a folder's name or a file's. */
void file_set_path(const char *path);

/* Opens the process's file. FORKED: it is a child's. False after a message. With the file's lock held, as all here. */
bool file_open(bool forked);

/* In a forked child: the parent's file is none of its business. */
void file_forget(void);

/* Writes a chunk of the first BYTES of what follows the header in CHUNK. False after a message. */
bool file_write(unsigned char *chunk, int kind, uint32_t thread, uint64_t base, uint32_t events, uint32_t bytes);

/* Says that all was written. */
bool file_end(void);

/* One line: what failed, why, and that recording stops. */
void file_complain(const char *what, int error);

/* ---- The process ------------------------------------------------------------------------------------------------- */

/*
 * What a forked child must not have: the kernel wipes this page in it, however it was forked. So the first event there
 * finds STARTING, and free locks.
 */
enum recording { STARTING, RECORDING, OFF };
struct wiped {
	_Atomic uint32_t recording;
	struct lock start; /* starting, and the list of buffers */
	struct lock file;  /* the file, and emptying of buffers */
	int pid;
};
union wiped_page {
	struct wiped is;
	char bytes[4096];
};
extern HIDDEN union wiped_page wiped;

/* The calling thread's buffer, after which it is busy; NULL where nothing is to be recorded. */
struct buffer *process_enter_slowly(void);

static inline struct buffer *process_enter(void)
{
	if (LIKELY(me.buffer && !me.busy &&
		   atomic_load_explicit(&wiped.is.recording, memory_order_relaxed) == RECORDING)) {
		me.busy = true;
		atomic_signal_fence(memory_order_seq_cst);
		return me.buffer;
	}
	return process_enter_slowly();
}

static inline void process_leave(void)
{
	atomic_signal_fence(memory_order_seq_cst);
	me.busy = false;
}

/* Writes out what is in B, the calling thread's own, which is full. */
void process_flush(struct buffer *b);

#endif
