/* SPDX-License-Identifier: MIT */
/* What programs written for glibc call besides the standard functions; and that both families of names are one. */
#include "check.h"

#ifdef PMD_PREFIXED

int main(void)
{
	SKIP("this library has only the prefixed names");
}

#else

#include "api.h"
#include "variants.h"

extern void cfree(void *p);

static void test_mallopt(void)
{
	const int known[] = {M_MXFAST,       M_TRIM_THRESHOLD, M_TOP_PAD,    M_MMAP_THRESHOLD, M_MMAP_MAX,
			     M_CHECK_ACTION, M_PERTURB,        M_ARENA_TEST, M_ARENA_MAX};
	for (size_t i = 0; i < LENGTH(known); i++)
		CHECK_SAY(mallopt(known[i], 2) == 1, "parameter %d", known[i]);
	CHECK(mallopt(12345, 1) == 0);
	CHECK(mallopt(-12345, 1) == 0);
}

static void test_mallinfo(void)
{
	const size_t held = 64 * MIB;
	struct mallinfo2 before = mallinfo2();
	void *p = t_malloc(held);
	memset(p, 1, held);
	struct mallinfo2 during = mallinfo2();
	CHECK(during.uordblks + during.hblkhd >= before.uordblks + before.hblkhd + held);
	CHECK(during.hblks == before.hblks + 1 && during.hblkhd >= before.hblkhd + held);
	CHECK(during.arena == during.uordblks + during.fordblks);
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"
	struct mallinfo small = mallinfo();
#pragma GCC diagnostic pop
	CHECK((size_t)small.uordblks + (size_t)small.hblkhd >= held);
	t_free(p);
	struct mallinfo2 after = mallinfo2();
	CHECK(after.uordblks + after.hblkhd < before.uordblks + before.hblkhd + held);
	CHECK(malloc_trim(0) == 1);
	CHECK(malloc_trim(0) == 0 || malloc_trim(0) == 0);
}

static void test_malloc_info(void)
{
	static char text[65536];
	FILE *stream = fmemopen(text, sizeof text, "w");
	CHECK(stream);
	void *keep = t_malloc(1);
	for (int i = 0; i < 4; i++) { /* so that there are free blocks, whatever is sampled */
		t_free(t_malloc(100));
		t_free(t_malloc(1));
	}
	CHECK(malloc_info(0, stream) == 0);
	CHECK(fclose(stream) == 0);
	CHECK(strncmp(text, "<malloc version=", 16) == 0);
	CHECK(strstr(text, "</malloc>"));
	CHECK(strstr(text, "<sizes>") && strstr(text, "<size from=\"1\" to=\"16\" total=\""));
	CHECK(strstr(text, "<size from=\"97\" to=\"112\" total=\""));
	t_free(keep);
	CHECK(strstr(text, "<total type=\"mmap\" count=\"") && strstr(text, "<system type=\"current\" size=\""));
	errno = 0;
	CHECK(malloc_info(1, stdout) == -1 && errno == EINVAL);
}

/* malloc_stats writes to stderr, as glibc's does. */
static void test_malloc_stats(void)
{
	char text[4096];
	int out[2], saved = dup(STDERR_FILENO);
	CHECK(saved >= 0 && pipe(out) == 0 && dup2(out[1], STDERR_FILENO) >= 0);
	malloc_stats();
	CHECK(dup2(saved, STDERR_FILENO) >= 0);
	CHECK(read(out[0], text, sizeof text) > 20);
	close(out[0]);
	close(out[1]);
	close(saved);
}

/* A block from either family may be given to either. */
static void test_both_families(void)
{
	for (size_t size = 1; size <= 8 * MIB; size = size * 3 + 1) {
		void *p = t_malloc(size);
		CHECK(pmd_malloc_usable_size(p) == t_usable(p));
		pmd_free(p);
		p = pmd_malloc(size);
		CHECK(pmd_malloc_usable_size(p) == t_usable(p));
		t_free(p);
		p = pmd_realloc(t_malloc(size), 2 * size);
		p = t_realloc(p, 3 * size);
		CHECK(p);
		cfree(p);
		CHECK(pmd_good_size(size) >= size);
		p = t_malloc(size);
		CHECK(pmd_good_size(size) == t_usable(p));
		t_free(p);
	}
	CHECK(pmd_good_size(SIZE_MAX) == 0);
}

/* What grew beyond 32 KiB ends with the page in which it does, wherever it grows and shrinks to: programs count it. */
static void large_sizes(void)
{
	char *p = NULL;
	for (size_t i = 0, size = 33000; i < 2000; i++, size = 33000 + i * 7919 % (3 << 20)) {
		p = t_realloc(p, size);
		CHECK(p && t_usable(p) >= size && t_usable(p) - size < 4096);
		CHECK(pmd_good_size(size) == t_usable(p) || (size < 80 * KIB && pmd_good_size(size) > t_usable(p)));
		p[0] = p[size - 1] = 1;
	}
	t_free(p);
}

int main(int argc, char **argv)
{
	VARIANTS(argc, argv, "guard_rate:0"); /* the usable size of a sample is another */
	test_mallopt();
	test_mallinfo();
	test_malloc_info();
	test_malloc_stats();
	test_both_families();
	large_sizes();
	return 0;
}

#endif
