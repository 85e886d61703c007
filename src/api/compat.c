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
	size_t small;

	stats_collect(&stats, NULL);
	small = stats.live_bytes - stats.large_bytes;
	return (struct mallinfo2){
		.arena = stats.slab_bytes + stats.dirty_bytes,
		.ordblks = stats.free_blocks,
		.hblks = stats.large_blocks,
		.hblkhd = stats.large_bytes,
		.uordblks = small,
		.fordblks = stats.slab_bytes + stats.dirty_bytes -
			    min_size(small, stats.slab_bytes), /* some are in no slab */
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
		.hblks = saturate(m.hblks),
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

/* Free blocks by size, as glibc's bins. */
static void put_sizes(FILE *stream, const struct stats_detail *detail)
{
	fputs("<sizes>\n", stream);
	for (unsigned class = 0; class < CLASSES; class += 1) {
		const struct stats_holder *h = &detail->holders[class];

		if (h->free_blocks)
			fprintf(stream, "  <size from=\"%zu\" to=\"%zu\" total=\"%zu\" count=\"%zu\"/>\n",
				class ? detail->holders[class - 1].block_bytes + 1 : 1, h->block_bytes, h->free_bytes,
				h->free_blocks);
	}
	fputs("</sizes>\n", stream);
}

/* Parts of glibc's document that have no like here are left out; the type live is ours. */
EXPORT int malloc_info(int options, FILE *stream)
{
	struct pmd_stats stats;
	struct stats_detail detail;

	if (options) {
		errno = EINVAL;
		return -1;
	}
	stats_collect(&stats, &detail);
	fprintf(stream, "<malloc version=\"pmdalloc-%s\">\n<heap nr=\"0\">\n", PMDALLOC_VERSION);
	put_sizes(stream, &detail);
	fprintf(stream,
		"</heap>\n"
		"<total type=\"live\" count=\"%zu\" size=\"%zu\"/>\n"
		"<total type=\"rest\" count=\"%zu\" size=\"%zu\"/>\n"
		"<total type=\"mmap\" count=\"%zu\" size=\"%zu\"/>\n"
		"<system type=\"current\" size=\"%zu\"/>\n"
		"<aspace type=\"total\" size=\"%zu\"/>\n"
		"<aspace type=\"mprotect\" size=\"%zu\"/>\n"
		"</malloc>\n",
		stats.live_blocks, stats.live_bytes, stats.free_blocks,
		stats.free_in_active_bytes + (stats.regions_dirty << REGION_SHIFT), stats.large_blocks,
		stats.large_bytes, stats.resident_bytes, stats.heap_reserved, stats.heap_committed);
	return 0;
}
