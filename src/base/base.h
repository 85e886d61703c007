/* SPDX-License-Identifier: MIT */
/* The words and small tools that every layer uses: sizes, attributes, alignment, assertions. Owns no state. */
#ifndef PMD_BASE_BASE_H
#define PMD_BASE_BASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	PAGE_SHIFT = 12,   /* the kernel's page */
	SLICE_SHIFT = 16,  /* 64 KiB: the unit in which a region is handed out */
	REGION_SHIFT = 21, /* 2 MiB: what one PMD entry, so one PTE page, maps */
	SLICES_PER_REGION = 1 << (REGION_SHIFT - SLICE_SHIFT),
	PAGES_PER_SLICE = 1 << (SLICE_SHIFT - PAGE_SHIFT),
};

#define PAGE_BYTES   ((size_t)1 << PAGE_SHIFT)
#define SLICE_BYTES  ((size_t)1 << SLICE_SHIFT)
#define REGION_BYTES ((size_t)1 << REGION_SHIFT)

#define LIKELY(x)   __builtin_expect(!!(x), 1)
#define UNLIKELY(x) __builtin_expect(!!(x), 0)
/* -fvisibility=hidden covers definitions only: data declared so is addressed without the GOT. */
#define HIDDEN     __attribute__((visibility("hidden")))
#define NOINLINE   __attribute__((noinline))
#define COLD       __attribute__((noinline, cold))
#define CACHE_LINE 64

/* Internal invariants: checked in --enable-debug builds, and always compiled. */
#define CHECK_DEBUG(cond)                                        \
	do {                                                     \
		if (PMD_DEBUG && UNLIKELY(!(cond)))              \
			check_failed(#cond, __FILE__, __LINE__); \
	} while (0)

/* Defined by the os layer, which can print: one line, then SIGABRT. */
_Noreturn void check_failed(const char *cond, const char *file, int line);

static inline size_t align_up(size_t n, size_t alignment)
{
	return (n + alignment - 1) & ~(alignment - 1);
}

static inline bool is_power_of_two(size_t n)
{
	return n && !(n & (n - 1));
}

/* Without the popcnt instruction, which not every CPU has, the compiler's own is a call. */
static inline unsigned count_ones(uint32_t n)
{
	n -= n >> 1 & 0x55555555;
	n = (n & 0x33333333) + (n >> 2 & 0x33333333);
	return ((n + (n >> 4)) & 0x0f0f0f0f) * 0x01010101 >> 24;
}

static inline size_t min_size(size_t a, size_t b)
{
	return a < b ? a : b;
}

static inline size_t max_size(size_t a, size_t b)
{
	return a > b ? a : b;
}

#endif
