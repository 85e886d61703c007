/* SPDX-License-Identifier: MIT */
/*
 * The last look: when a process exits, what was written where it should not have been shows in blocks that nobody has freed
 * or asked for since. With check:fast in guarded ones; with check:strict in all, where no other thread can be in the middle of
 * a change, or was when this process was forked; the scavenger waits.
 */
#include "cache/held.h"
#include "cache/scavenger.h"
#include "cache/states.h"
#include "check/guard.h"
#include "check/report.h"

#include <stdlib.h>

static const char call[] = "exit";

static bool is_purged(const struct slice *s, const void *p)
{
	return purged_get(s) >> (((uintptr_t)p - (uintptr_t)s->base) >> slice_sixteenth_shift(s)) & 1;
}

static void look_at_block(const struct slice *s, const char *p)
{
	struct seal seal = seal_read(seal_word(s, p));
	size_t room = s->block_size - SEAL_BYTES, links = seal.state == SEAL_HELD ? 0 : sizeof(struct block);

	if (seal.state == SEAL_BROKEN)
		report_damage(call, s, p, "the bytes behind this block were written to");
	else if (seal.state == SEAL_LIVE && !seal_all(p + seal.size, seal_byte, seal_pad(room, seal.size)))
		report_damage(call, s, p, "the bytes behind this block were written to");
	else if (seal.state != SEAL_LIVE && seal.state != SEAL_FRESH && !seal_all(p + links, 0, room - links))
		report_damage(call, s, p, "this free block was written to after its release");
}

/*
 * Whether a thread was purging S, and may have been in the middle of it, when this process was forked. Here that thread is
 * not, and never will S be anything else.
 */
static bool was_being_purged(const struct slice *s)
{
	return slab_get_state(s) == SLAB_PURGING;
}

/* A link that was written over leads elsewhere, or nowhere. */
static void look_at_list(const struct slice *s)
{
	int32_t left = s->carved - 1 - slab_live(s);
	const struct block *b = s->free;

	for (; left > 0 && b && slab_block_valid(s, b) && b->key == slab_key(s); left--)
		b = b->next;
	if (left || b)
		report_damage(call, s, s->base, "the links in free blocks here were written over");
}

static void look_at_slab(const struct slice *s)
{
	if (!s->carved)
		return;
	if (!seal_end_intact(s, s->base))
		report_damage(call, s, s->base, "the bytes before the first block here were written to");
	for (size_t i = 1; i < s->carved; i++)
		if (!is_purged(s, s->base + i * s->block_size))
			look_at_block(s, s->base + i * s->block_size);
	if (!s->purged && !was_being_purged(s))
		look_at_list(s);
}

static void look_at_region(struct region *r)
{
	for (int i = 0; i < SLICES_PER_REGION; i++) {
		struct slice *s = r->slices + i;

		if (s->kind == SLICE_SLAB)
			look_at_slab(s);
		else if (s->kind == SLICE_LARGE)
			strict_look_at_large(s, call);
	}
}

static void look(void *unused)
{
	bool paused;

	(void)unused;
	guard_look(call);
	if (!cache_strict || !cache_stay_only())
		return;
	paused = scavenger_pause();
	for (int i = 0; i < HEAPS_MAX; i++) {
		struct heap *h = atomic_load_explicit(&heaps[i], memory_order_acquire);
		size_t top = h ? atomic_load_explicit(&h->top, memory_order_acquire) : 0;

		for (size_t at = 0; at < top; at++)
			if (heap_region(h, at)->state == REGION_ACTIVE)
				look_at_region(heap_region(h, at));
	}
	scavenger_resume(paused);
	cache_let_begin();
}

/* The C library's, as C++ compilers call it. LIBRARY: NULL, none. */
int __cxa_atexit(void (*handler)(void *), void *argument, void *library);

/* After the program's own handlers: see exit/at_exit.c. */
__attribute__((constructor(104))) static void start(void)
{
	if (cache_strict || guard_used)
		__cxa_atexit(look, NULL, NULL);
}
