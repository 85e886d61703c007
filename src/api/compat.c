/* SPDX-License-Identifier: MIT */
/*
 * What programs written for glibc call besides: mallopt, mallinfo, malloc_trim, malloc_stats, malloc_info. See
 * mallopt(3) and malloc_info(3); figures are ours, in glibc's fields where there is a like.
 */
#include <limits.h>
#include <malloc.h>
#include <stdio.h>

#include "api/alloc.h"
#include "api/stats.h"

#define EXPORT __attribute__((visibility("default")))

/*
 * The parameters that glibc documents are accepted and have no effect: none is needed here, and programs stop at a
 * refusal.
 */
EXPORT int mallopt(int parameter, int value)
{
	(void)value;
	switch (parameter) {
	case M_MXFAST:
	case M_TRIM_THRESHOLD:
	case M_TOP_PAD:
	case M_MMAP_THRESHOLD:
	case M_MMAP_MAX:
	case M_CHECK_ACTION:
	case M_PERTURB:
	case M_ARENA_TEST:
	case M_ARENA_MAX:
		return 1;
	default:
		return 0;
	}
}

/*
 * Gives back what is free; PAD, what glibc would keep at the top of its heap, has no like. 1 if anything was given
 * back.
 */
EXPORT int malloc_trim(size_t pad)
{
	(void)pad;
	return pmd_release() != 0;
}

EXPORT struct mallinfo2 mallinfo2(void)
{
	struct pmd_stats stats;

	stats_collect(&stats);
	return (struct mallinfo2){
		.arena = stats.slab_bytes + stats.dirty_bytes,
		.ordblks = stats.regions_active + stats.regions_dirty,
		.hblkhd = stats.large_bytes,
		.uordblks = stats.live_bytes - stats.large_bytes,
		.fordblks = stats.slab_bytes + stats.dirty_bytes - (stats.live_bytes - stats.large_bytes),
		.keepcost = stats.dirty_bytes,
	};
}

static int saturate(size_t n)
{
	return n > INT_MAX ? INT_MAX : (int)n;
}

EXPORT struct mallinfo mallinfo(void)
{
	struct mallinfo2 m = mallinfo2();

	return (struct mallinfo){
		.arena = saturate(m.arena),
		.ordblks = saturate(m.ordblks),
		.hblkhd = saturate(m.hblkhd),
		.uordblks = saturate(m.uordblks),
		.fordblks = saturate(m.fordblks),
		.keepcost = saturate(m.keepcost),
	};
}

EXPORT void malloc_stats(void)
{
	pmd_stats_print(2, PMD_FORMAT_TEXT);
}

EXPORT int malloc_info(int options, FILE *stream)
{
	struct pmd_stats stats;

	if (options) {
		errno = EINVAL;
		return -1;
	}
	stats_collect(&stats);
	fprintf(stream,
		"<malloc version=\"pmdalloc-%s\">\n"
		"<total type=\"live\" count=\"%zu\" size=\"%zu\"/>\n"
		"<total type=\"large\" size=\"%zu\"/>\n"
		"<total type=\"rest\" count=\"%zu\" size=\"%zu\"/>\n"
		"<system type=\"current\" size=\"%zu\"/>\n"
		"<aspace type=\"total\" size=\"%zu\"/>\n"
		"</malloc>\n",
		PMDALLOC_VERSION, stats.live_blocks, stats.live_bytes, stats.large_bytes, stats.regions_dirty,
		stats.dirty_bytes, stats.heap_committed, stats.heap_reserved);
	return 0;
}
