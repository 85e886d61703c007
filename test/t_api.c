/* SPDX-License-Identifier: MIT */
/* Each function's contract, as POSIX.1-2024, C23 and glibc state it: results, errno, overflow and odd arguments. */
#include "api.h"
#include "check.h"

#include <stdint.h>

#define ODD 4321 /* an errno that nothing sets */

#ifdef PMD_FAULTS
#define FILLED ((size_t)16 * KIB) /* at each end: test/faults.py runs it a thousand times */
#else
#define FILLED SIZE_MAX
#endif

static const size_t sizes[] = {0,       1,    7,       8,        16,       24,       100,
			       1024,    4096, 5000,    32 * KIB, 64 * KIB, 100000,   256 * KIB,
			       1000000, MIB,  2 * MIB, 3000000,  4 * MIB,  16 * MIB, 17000001};

/* Sizes that no allocator may grant. */
static const size_t too_large[] = {(size_t)PTRDIFF_MAX + 1, SIZE_MAX,         SIZE_MAX - 1,       SIZE_MAX - 15,
				   SIZE_MAX - 4095,         SIZE_MAX - 65535, SIZE_MAX - 2 * MIB, SIZE_MAX / 2 + 2};

#define CHECK_ENOMEM(call)              \
	do {                            \
		errno = 0;              \
		CHECK((call) == NULL);  \
		CHECK(errno == ENOMEM); \
	} while (0)

static void check_block(void *p, size_t size, size_t alignment)
{
	CHECK_SAY(p, "%zu bytes", size);
	CHECK_SAY((uintptr_t)p % alignment == 0, "%p for %zu bytes is not aligned to %zu", p, size, alignment);
	size_t usable = t_usable(p);
	CHECK_SAY(usable >= size, "%zu usable of %zu", usable, size);
	if (usable / 2 <= FILLED) {
		memset(p, 0x3c, usable);
	} else {
		memset(p, 0x3c, FILLED);
		memset((char *)p + usable - FILLED, 0x3c, FILLED);
	}
	CHECK(t_usable(p) == usable);
}

static void test_malloc(void)
{
	for (size_t i = 0; i < LENGTH(sizes); i++) {
		void *p = t_malloc(sizes[i]);
		check_block(p, sizes[i], 16);
		errno = ODD;
		t_free(p);
		CHECK(errno == ODD);
	}
	for (size_t i = 0; i < LENGTH(too_large); i++)
		CHECK_ENOMEM(t_malloc(too_large[i]));
	CHECK_ENOMEM(t_malloc(PTRDIFF_MAX));
}

static void test_zero(void)
{
	void *zero[] = {t_malloc(0),    t_malloc(0),        t_calloc(0, 8),
			t_calloc(8, 0), t_realloc(NULL, 0), t_memalign(64, 0)};
	for (size_t i = 0; i < LENGTH(zero); i++) {
		check_block(zero[i], 0, 16);
		for (size_t j = 0; j < i; j++)
			CHECK(zero[i] != zero[j]);
	}
	for (size_t i = 0; i < LENGTH(zero); i++)
		t_free(zero[i]);
	errno = ODD;
	t_free(NULL);
	CHECK(errno == ODD);
	CHECK(t_usable(NULL) == 0);
}

static void test_calloc(void)
{
	const size_t half = (size_t)1 << (sizeof(size_t) * 4);
	for (size_t i = 0; i < LENGTH(sizes); i++) {
		unsigned char *p = t_calloc(1, sizes[i]);
		CHECK(p);
		for (size_t j = 0; j < sizes[i]; j++)
			CHECK(p[j] == 0);
		check_block(p, sizes[i], 16);
		t_free(p);
	}
	CHECK_ENOMEM(t_calloc(half, half));
	CHECK_ENOMEM(t_calloc(SIZE_MAX / 2, 3));
	CHECK_ENOMEM(t_calloc(SIZE_MAX, SIZE_MAX));
	CHECK_ENOMEM(t_calloc(half + 1, half));
	CHECK_ENOMEM(t_calloc(1, (size_t)PTRDIFF_MAX + 1));
	CHECK_ENOMEM(t_calloc((size_t)PTRDIFF_MAX / 8 + 1, 8));
}

static void test_realloc(void)
{
	const size_t half = (size_t)1 << (sizeof(size_t) * 4);
	for (size_t i = 0; i < LENGTH(sizes); i++) {
		unsigned char *p = t_realloc(NULL, sizes[i]);
		check_block(p, sizes[i], 16);
		size_t usable = t_usable(p);
		for (size_t j = 0; j < LENGTH(too_large); j++) {
			CHECK_ENOMEM(t_realloc(p, too_large[j]));
			CHECK_ENOMEM(t_reallocarray(p, too_large[j], 1));
		}
		CHECK_ENOMEM(t_reallocarray(p, half, half));
		CHECK_ENOMEM(t_reallocarray(p, half + 1, half));
		CHECK(t_usable(p) == usable);
		for (size_t j = 0; j < usable; j++)
			CHECK(p[j] == 0x3c || (j >= FILLED && j < usable - FILLED));
		errno = ODD;
		CHECK(t_realloc(p, 0) == NULL);
		CHECK(errno == ODD);
	}
	CHECK_ENOMEM(t_realloc(NULL, SIZE_MAX));
	void *p = t_reallocarray(NULL, 100, 7);
	check_block(p, 700, 16);
	CHECK(t_reallocarray(p, 0, 7) == NULL);
}

/* realloc to 0 freed the block. */
static void test_realloc_zero_frees(void)
{
	struct pmd_stats before = {.size = sizeof before}, after = {.size = sizeof after};
	CHECK(pmd_stats_get(&before) == 0);
	for (size_t i = 0; i < LENGTH(sizes); i++) {
		void *p = t_malloc(sizes[i]);
		CHECK(p);
		CHECK(t_realloc(p, 0) == NULL);
	}
	CHECK(pmd_stats_get(&after) == 0);
	CHECK(after.live_blocks == before.live_blocks && after.live_bytes == before.live_bytes);
}

static void test_aligned(void)
{
	for (size_t alignment = 1; alignment <= 64 * MIB; alignment *= 2) {
		size_t kept = alignment < 16 ? 16 : alignment;
		for (size_t i = 0; i<LENGTH(sizes); i += alignment> MIB ? 4 : 1) {
			void *p = t_aligned_alloc(alignment, sizes[i]);
			check_block(p, sizes[i], kept);
			void *q = t_memalign(alignment, sizes[i]);
			check_block(q, sizes[i], kept);
			errno = ODD;
			t_free_aligned_sized(p, alignment, sizes[i]);
			t_free(q);
			CHECK(errno == ODD);
		}
	}
	void *p = t_memalign(GIB, 100);
	check_block(p, 100, GIB);
	t_free(p);
}

static void test_bad_alignment(void)
{
	const size_t bad[] = {0, 3, 24, 48, 100, 4095, 4097, SIZE_MAX, (size_t)PTRDIFF_MAX};
	for (size_t i = 0; i < LENGTH(bad); i++) {
		errno = 0;
		CHECK_SAY(t_aligned_alloc(bad[i], 100) == NULL, "alignment %zu", bad[i]);
		CHECK(errno == EINVAL);
	}
	void *p = t_memalign(24, 100);
	check_block(p, 100, 32);
	t_free(p);
	p = t_memalign(4097, 100);
	check_block(p, 100, 8192);
	t_free(p);
	p = t_memalign(0, 100);
	check_block(p, 100, 16);
	t_free(p);
	errno = 0;
	CHECK(t_memalign(SIZE_MAX, 100) == NULL);
	CHECK(errno == EINVAL || errno == ENOMEM);
	errno = 0;
	CHECK(t_memalign(SIZE_MAX / 2 + 2, 100) == NULL);
	CHECK(errno == EINVAL || errno == ENOMEM);
}

/* Size and alignment whose sum wraps around. */
static void test_aligned_overflow(void)
{
	for (size_t alignment = 16; alignment <= GIB; alignment *= 2) {
		for (size_t less = 0; less < 4; less++) {
			CHECK_ENOMEM(t_memalign(alignment, SIZE_MAX - less * alignment));
			CHECK_ENOMEM(t_aligned_alloc(alignment, SIZE_MAX - alignment + less));
			CHECK_ENOMEM(t_memalign(alignment, (size_t)PTRDIFF_MAX - less * alignment));
			CHECK_ENOMEM(t_aligned_alloc(alignment, (size_t)PTRDIFF_MAX - alignment + less));
		}
	}
	for (size_t shift = 31; shift < 63; shift++) {
		errno = 0;
		CHECK(t_memalign((size_t)1 << shift, SIZE_MAX - ((size_t)1 << shift)) == NULL);
		CHECK(errno == ENOMEM || errno == EINVAL);
	}
}

static void test_posix_memalign(void)
{
	const size_t bad[] = {0, 1, 2, 4, 3, 12, 24, 100, SIZE_MAX};
	void *const mark = (void *)&errno;
	void *p = mark;
	for (size_t i = 0; i < LENGTH(bad); i++) {
		errno = ODD;
		CHECK_SAY(t_posix_memalign(&p, bad[i], 100) == EINVAL, "alignment %zu", bad[i]);
		CHECK(p == mark && errno == ODD);
	}
	for (size_t i = 0; i < LENGTH(too_large); i++) {
		CHECK(t_posix_memalign(&p, 64, too_large[i]) == ENOMEM);
		CHECK(p == mark && errno == ODD);
	}
	CHECK(t_posix_memalign(&p, GIB, SIZE_MAX - GIB) == ENOMEM);
	CHECK(p == mark && errno == ODD);
	for (size_t alignment = sizeof(void *); alignment <= 8 * MIB; alignment *= 2) {
		CHECK(t_posix_memalign(&p, alignment, 1000) == 0);
		CHECK(errno == ODD);
		check_block(p, 1000, alignment);
		t_free(p);
	}
}

static void test_pages(void)
{
	for (size_t i = 0; i < LENGTH(sizes); i++) {
		void *p = t_valloc(sizes[i]);
		check_block(p, sizes[i], 4096);
		t_free(p);
		p = t_pvalloc(sizes[i]);
		check_block(p, (sizes[i] + 4095) & ~(size_t)4095, 4096);
		t_free(p);
	}
	for (size_t i = 0; i < LENGTH(too_large); i++) {
		CHECK_ENOMEM(t_valloc(too_large[i]));
		CHECK_ENOMEM(t_pvalloc(too_large[i]));
	}
	CHECK_ENOMEM(t_pvalloc(SIZE_MAX - 100));
	CHECK_ENOMEM(t_pvalloc((size_t)PTRDIFF_MAX - 100));
}

static void test_free_sized(void)
{
	for (size_t i = 0; i < LENGTH(sizes); i++) {
		errno = ODD;
		t_free_sized(t_malloc(sizes[i]), sizes[i]);
		t_free_sized(t_calloc(1, sizes[i]), sizes[i]);
		CHECK(errno == ODD);
	}
	t_free_sized(NULL, 10);
	t_free_aligned_sized(NULL, 16, 10);
}

/* errno survives a free that gives memory back to the kernel. */
static void test_errno_of_release(void)
{
	CHECK(pmd_option_set("decay_ms", "0") == 0);
	for (size_t i = 0; i < LENGTH(sizes); i++) {
		void *p = t_malloc(sizes[i]);
		check_block(p, sizes[i], 16);
		errno = ODD;
		t_free(p);
		CHECK(errno == ODD);
	}
	CHECK(pmd_option_set("decay_ms", "10000") == 0);
}

int main(void)
{
	test_malloc();
	test_zero();
	test_calloc();
	test_realloc();
	test_realloc_zero_frees();
	test_aligned();
	test_bad_alignment();
	test_aligned_overflow();
	test_posix_memalign();
	test_pages();
	test_free_sized();
	test_errno_of_release();
	return 0;
}
