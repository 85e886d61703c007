/* SPDX-License-Identifier: MIT */
/*
 * The file format that pmdalloc-trace writes and pmdalloc-replay reads: doc/trace-format.md describes it. All numbers
 * of fixed width are little-endian, whatever the machine.
 */
#ifndef TRACE_FORMAT_H
#define TRACE_FORMAT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define TRACE_MAGIC   "pmdtrace"
#define TRACE_VERSION 1

/* The file's header: where its fields are. */
enum {
	FILE_MAGIC = 0,
	FILE_VERSION = 8, /* 16 bits */
	FILE_BYTES = 10,  /* 16 bits: the header's own length */
	FILE_FLAGS = 12,
	FILE_PID = 16,
	FILE_PARENT = 20,
	FILE_TICKS = 24, /* 64 bits each, from here on */
	FILE_MONOTONIC = 32,
	FILE_REALTIME = 40,
	FILE_NAME = 48, /* 16 characters */
	FILE_SUM = 64,
	FILE_HEADER = 72,
	FILE_NAME_BYTES = 16,
};

enum { FLAG_TSC = 1, FLAG_FORKED = 2, FLAGS_KNOWN = 3 };

/* A chunk's header. */
#define CHUNK_MAGIC_VALUE 0x4b484350u /* "PCHK" */
enum {
	CHUNK_MAGIC = 0,
	CHUNK_KIND = 4,
	CHUNK_THREAD = 8,
	CHUNK_BYTES = 12, /* of what follows the header */
	CHUNK_EVENTS = 16,
	CHUNK_NUMBER = 20, /* its place in the file */
	CHUNK_BASE = 24,   /* 64 bits each, from here on */
	CHUNK_WRITTEN = 32,
	CHUNK_DATA_SUM = 40,
	CHUNK_SUM = 48,
	CHUNK_HEADER = 56,
	CHUNK_MOST = 1 << 20, /* more than this a chunk may not hold */
};

enum { CHUNK_OF_EVENTS, CHUNK_OF_END };

/* The calls. An event begins with a byte: the call, and flags. */
enum call {
	CALL_MALLOC,
	CALL_CALLOC,
	CALL_REALLOC,
	CALL_REALLOCARRAY,
	CALL_POSIX_MEMALIGN,
	CALL_ALIGNED_ALLOC,
	CALL_MEMALIGN,
	CALL_VALLOC,
	CALL_PVALLOC,
	CALL_FREE,
	CALL_FREE_SIZED,
	CALL_FREE_ALIGNED_SIZED,
	CALLS
};

enum {
	EVENT_CALL = 0x0f,
	EVENT_NO_BLOCK = 0x10,  /* what is freed or resized is NULL */
	EVENT_NO_RESULT = 0x20, /* NULL was returned */
	EVENT_RESERVED = 0xc0,
	EVENT_MOST = 80, /* bytes that no event exceeds: the first, and seven numbers of 64 bits */
};

/* ---- What a call has: one table for who writes and who reads ----------------------------------------------------- */

enum {
	HAS_COUNT = 1,     /* how many of that size */
	HAS_ALIGNMENT = 2, /* */
	HAS_SIZE = 4,
	HAS_BLOCK = 8,   /* that ends with it */
	HAS_RESULT = 16, /* that begins with it */
};

static const struct {
	const char *name;
	unsigned has;
} trace_calls[CALLS] = {
	[CALL_MALLOC] = {"malloc", HAS_SIZE | HAS_RESULT},
	[CALL_CALLOC] = {"calloc", HAS_COUNT | HAS_SIZE | HAS_RESULT},
	[CALL_REALLOC] = {"realloc", HAS_SIZE | HAS_BLOCK | HAS_RESULT},
	[CALL_REALLOCARRAY] = {"reallocarray", HAS_COUNT | HAS_SIZE | HAS_BLOCK | HAS_RESULT},
	[CALL_POSIX_MEMALIGN] = {"posix_memalign", HAS_ALIGNMENT | HAS_SIZE | HAS_RESULT},
	[CALL_ALIGNED_ALLOC] = {"aligned_alloc", HAS_ALIGNMENT | HAS_SIZE | HAS_RESULT},
	[CALL_MEMALIGN] = {"memalign", HAS_ALIGNMENT | HAS_SIZE | HAS_RESULT},
	[CALL_VALLOC] = {"valloc", HAS_SIZE | HAS_RESULT},
	[CALL_PVALLOC] = {"pvalloc", HAS_SIZE | HAS_RESULT},
	[CALL_FREE] = {"free", HAS_BLOCK},
	[CALL_FREE_SIZED] = {"free_sized", HAS_SIZE | HAS_BLOCK},
	[CALL_FREE_ALIGNED_SIZED] = {"free_aligned_sized", HAS_ALIGNMENT | HAS_SIZE | HAS_BLOCK},
};

/* ---- Numbers ----------------------------------------------------------------------------------------------------- */

static inline void put_fixed(unsigned char *at, uint64_t n, unsigned bytes)
{
	for (unsigned i = 0; i < bytes; i++)
		at[i] = (unsigned char)(n >> 8 * i);
}

static inline uint64_t get_fixed(const unsigned char *at, unsigned bytes)
{
	uint64_t n = 0;

	for (unsigned i = 0; i < bytes; i++)
		n |= (uint64_t)at[i] << 8 * i;
	return n;
}

/* Seven bits a byte, the lowest first; the highest bit says that more follow. */
static inline unsigned char *put_number(unsigned char *at, uint64_t n)
{
	for (; n >= 0x80; n >>= 7)
		*at++ = (unsigned char)(n | 0x80);
	*at++ = (unsigned char)n;
	return at;
}

/* Addresses are differences to the one before, either way, a multiple of 16 mostly: turned so that few bits are set. */
static inline uint64_t fold_address(uint64_t address, uint64_t before)
{
	uint64_t d = address - before;

	d = d >> 4 | d << 60;
	return d << 1 ^ (uint64_t)((int64_t)d >> 63);
}

static inline uint64_t unfold_address(uint64_t n, uint64_t before)
{
	uint64_t d = n >> 1 ^ (0 - (n & 1));

	return (d << 4 | d >> 60) + before;
}

/* ---- Checksums: a change of any one word of eight bytes is always seen ------------------------------------------- */

static inline uint64_t trace_sum(const unsigned char *data, size_t bytes)
{
	uint64_t h = 0x706d64616c6c6f63 ^ bytes;

	for (size_t at = 0; at < bytes; at += 8) {
		h = (h ^ get_fixed(data + at, bytes - at < 8 ? (unsigned)(bytes - at) : 8)) * 0x9e3779b97f4a7c15;
		h ^= h >> 32;
	}
	return h;
}

#endif
