/* SPDX-License-Identifier: MIT */
/* What a pointer is that was misused. Reads descriptors as they are, without locks. */
#include "cache/states.h"
#include "check/none.h"
#include "check/report.h"
#include "os/os.h"

static void put_block(struct text *t, const struct slice *s, const void *p)
{
	const char *block = slab_block_of(s, p);
	size_t offset = (size_t)((const char *)p - block);

	if (offset) {
		text_put_number(t, (int64_t)offset);
		text_put(t, " bytes into the block at ");
		text_put_hex(t, (uintptr_t)block);
		text_put(t, " (");
	} else {
		text_put(t, (uintptr_t)p > s->last ? "a place where no block was allocated yet ("
						   : "a free block (already freed: ");
	}
	text_put(t, "size ");
	text_put_number(t, s->block_size);
	text_put(t, ", class ");
	text_put_number(t, s->class);
	text_put(t, ", owner ");
	if (slab_cache(s))
		text_put(t, slab_cache(s) == cache_slow_self ? "this thread" : "another thread");
	else
		text_put(t, "none");
	text_put(t, ")");
}

/* The large block that covers the slice of descriptor S but does not begin there, NULL if there is none. */
static const struct slice *covering(const struct slice *s)
{
	const struct slice *first = (const struct slice *)((uintptr_t)s & ~(PAGE_BYTES - 1)), *at = s;
	struct region *r = NULL;

	for (; at >= first; at--)
		if (at->kind == SLICE_LARGE)
			return at + at->slices > s ? at : NULL;
	for (int i = 0; i < HEAPS_MAX && heaps[i]; i++)
		if (s >= heaps[i]->slices && s < heaps[i]->slices + heaps[i]->slice_count)
			r = heap_region(heaps[i], (size_t)(s - heaps[i]->slices) / SLICES_PER_REGION);
	at = r ? r->spanning : NULL;
	return at && at->kind == SLICE_LARGE && at + at->slices > s ? at : NULL;
}

void misuse_describe(struct text *t, const void *p)
{
	const struct slice *s = heap_slice_anywhere(p), *large;

	if (none_has(p)) {
		text_put(t, "a block of no size (already freed, or never handed out)");
		return;
	}
	if (!s && heap_slice_anywhere((const void *)((uintptr_t)p + PAGE_BYTES))) {
		text_put(t, "memory before the first block of all");
		return;
	}
	if (!s) {
		text_put(t, "memory that this allocator did not hand out");
		return;
	}
	if (s->kind == SLICE_INNER)
		s = s->head;
	if (s->kind == SLICE_SLAB) {
		put_block(t, s, p);
		return;
	}
	large = s->kind == SLICE_LARGE ? s : covering(s);
	if (!large) {
		text_put(t, "free memory (already freed?)");
		return;
	}
	text_put_number(t, (const char *)p - large->base);
	text_put(t, " bytes into the block at ");
	text_put_hex(t, (uintptr_t)large->base);
	text_put(t, " (size ");
	text_put_number(t, (int64_t)large_usable(large));
	text_put(t, ", large)");
}

static const char after_release[] = "a link in a free block was written over after its release (";

static void put_class(struct text *t, const struct slice *s)
{
	text_put(t, "class ");
	text_put_number(t, s->class);
	text_put(t, " of ");
	text_put_number(t, s->block_size);
	text_put(t, " bytes");
}

void misuse_describe_torn(struct text *t, const struct slice *s)
{
	text_put(t, after_release);
	put_class(t, s);
	text_put(t, ", slab at ");
	text_put_hex(t, (uintptr_t)s->base);
	text_put(t, ")");
}

void misuse_list(const struct slice *s, int32_t missing)
{
	struct text *t = report_begin("malloc", s->base);

	text_put(t, after_release);
	put_class(t, s);
	text_put(t, "; free blocks missing in this slab: ");
	text_put_number(t, missing);
	text_put(t, ")");
	report_end();
}

void misuse(const char *what, const void *p)
{
	struct text *t = report_begin(what, p);

	text_put(t, "not a live block, but ");
	misuse_describe(t, p);
	report_end();
}
