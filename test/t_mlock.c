/* SPDX-License-Identifier: MIT */
/*
 * mlockall: what is reserved is not faulted in, and memory that the kernel refuses to give back (MADV_DONTNEED on
 * locked pages is EINVAL) is not taken for zero.
 */
#include "api.h"
#include "block.h"
#include "proc.h"
#include "variants.h"

#define USED     (32 * MIB)
#define SLACK_KB (96 * 1024)

static void dirty_and_free(size_t size)
{
	void *blocks[64];
	size_t count = USED / size < LENGTH(blocks) ? USED / size : LENGTH(blocks);
	for (size_t i = 0; i < count; i++) {
		blocks[i] = t_malloc(size);
		CHECK(blocks[i]);
		memset(blocks[i], 0xff, size);
	}
	for (size_t i = 0; i < count; i++)
		t_free(blocks[i]);
}

static void check_zero(size_t size)
{
	void *blocks[64];
	size_t count = USED / size < LENGTH(blocks) ? USED / size : LENGTH(blocks);
	for (size_t i = 0; i < count; i++) {
		blocks[i] = t_calloc(1, size);
		CHECK(blocks[i]);
		block_check_zero(blocks[i], size);
	}
	for (size_t i = 0; i < count; i++)
		t_free(blocks[i]);
}

int main(int argc, char **argv)
{
	if (SANITIZED)
		SKIP("a sanitizer's shadow memory cannot be locked");
	VARIANTS(argc, argv, "", "decay_ms:0", "decay_ms:0,thp:always");
	if (mlockall(MCL_CURRENT | MCL_FUTURE))
		SKIP("mlockall: errno %d", errno);
	size_t start = proc_rss_kb();
	t_free(t_malloc(100));
	CHECK_SAY(proc_rss_kb() <= start + SLACK_KB, "VmRSS %zu kB, %zu at the start", proc_rss_kb(), start);
	for (size_t size = 64; size <= USED / 2; size = size * 3 / 2 + 1000) {
		dirty_and_free(size);
		pmd_release();
		check_zero(size);
	}
	CHECK_SAY(proc_rss_kb() <= start + 4 * USED / KIB + SLACK_KB, "VmRSS %zu kB, %zu at the start", proc_rss_kb(),
		  start);
	return 0;
}
