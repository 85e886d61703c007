/* SPDX-License-Identifier: MIT */
#include "check/strict.h"
#include "check/none.h"
#include "check/quarantine.h"
#include "check/report.h"
#include "os/os.h"

#include <string.h>

/* ---- Blocks of slabs --------------------------------------------------------------------------------------------- */

static size_t room_of(const struct slice *s)
{
	return s->block_size - SEAL_BYTES;
}

/* What free() wrote into P is there still, and nothing else: P is about to be handed out. */
static bool is_untouched(const struct slice *s, const void *p, struct seal seal)
{
	if (seal.state == SEAL_FRESH)
		return true;
	return seal.state == SEAL_FREE &&
	       seal_all((const char *)p + sizeof(struct block), 0, room_of(s) - sizeof(struct block));
}

static void *hand_out(struct slice *s, struct block *b, size_t size, size_t align, enum origin origin)
{
	uint64_t *word = seal_word(s, b);
	size_t room = room_of(s);

	*b = (struct block){NULL, 0};
	if (UNLIKELY(!is_untouched(s, b, seal_read(word)))) {
		report_damage("malloc", s, b, "this free block was written to after its release");
		memset(b, 0, room);
	}
	memset((char *)b + size, seal_byte, seal_pad(room, size));
	seal_write(word, (struct seal){SEAL_LIVE, origin, size, align});
	return b;
}

/* The first block of the free list, of which S's owner is the calling thread. */
static struct block *pop(struct slice *s)
{
	struct block *b = s->free;

	s->free = b->next;
	count_increment(s);
	if (UNLIKELY((s->free && !slab_block_valid(s, s->free)) || b->key != slab_key(s))) {
		report_damage("malloc", s, b, "the links in this free block were written over after its release");
		s->free = NULL; /* the rest of the list is lost */
	}
	return b;
}

static void *allocate_small(unsigned class, size_t size, size_t align, enum origin origin)
{
	struct cache *c = cache_slow_self;
	struct slice *s = LIKELY(c && !c->slow) ? c->current[class] : (struct slice *)&slab_none;
	struct block *b;

	if (LIKELY(s->free != NULL))
		return hand_out(s, pop(s), size, align, origin);
	b = cache_refill(class, false);
	if (!b)
		return NULL;
	s = heap_slice_anywhere(b);
	return hand_out(s->kind == SLICE_INNER ? s->head : s, b, size, align, origin);
}

/* Whether what lies around P, a live block that SEAL speaks of, is as it was left. */
static bool is_intact(const struct slice *s, void *p, struct seal seal)
{
	if (UNLIKELY(!seal_all((char *)p + seal.size, seal_byte, seal_pad(room_of(s), seal.size)))) {
		report_damage("free", s, p, "the bytes behind this block were written to");
		return false;
	}
	if (UNLIKELY(p != s->base && !seal_end_intact(s, (char *)p - s->block_size))) {
		report_damage("free", s, p, "the bytes before this block were written to");
		return false;
	}
	return true;
}

static void shrink_small(const struct slice *s, char *p, size_t size)
{
	uint64_t *word = seal_word(s, p);
	size_t room = room_of(s);

	memset(p + size, 0, room - size);
	memset(p + size, seal_byte, seal_pad(room, size));
	seal_write(word, (struct seal){SEAL_LIVE, seal_read(word).origin, size, MIN_ALIGN});
}

/* From the quarantine to the free list. */
static void let_go(void *p)
{
	struct slice *s = heap_slice_anywhere(p);
	struct cache *c = cache_slow_self;
	struct block *b = p;

	s = s->kind == SLICE_INNER ? s->head : s;
	if (UNLIKELY(b->next || b->key)) {
		report_damage("free", s, p, "this free block was written to after its release");
		*b = (struct block){NULL, 0};
	}
	seal_write(seal_word(s, p), (struct seal){.state = SEAL_FREE});
	if (UNLIKELY(!c || !cache_owns(c, s, p))) {
		cache_free_slow(s, p);
		return;
	}
	b->key = slab_key(s);
	b->next = s->free;
	s->free = b;
	if (UNLIKELY(count_decrement(s)))
		cache_event(s);
}

static void free_small(struct slice *s, void *p, struct told told)
{
	uint64_t *word = seal_word(s, p);
	struct seal seal = seal_read(word);

	switch (seal.state) {
	case SEAL_LIVE:
		break;
	case SEAL_FREE:
	case SEAL_HELD:
		misuse("double free: free", p);
		return;
	case SEAL_FRESH:
		misuse("free", p);
		return;
	default:
		report_damage("free", s, p,
			      p == s->base ? "no block, but the begin of a slab"
					   : "the bytes behind this block were written to");
		return;
	}
	if (UNLIKELY(!is_intact(s, p, seal) || !report_told_right(p, seal, told)))
		return;
	seal_write(word, (struct seal){.state = SEAL_HELD});
	memset(p, 0, seal.size + seal_pad(room_of(s), seal.size));
	quarantine_hold(p, s->block_size);
}

/* ---- Large blocks ------------------------------------------------------------------------------------------------ */

/* Where the pages begin that cannot be reached; where there are no such pages, they are ordinary ones. */
static size_t guard_at(size_t size)
{
	return align_up(size, PAGE_BYTES);
}

static size_t large_pad(size_t size)
{
	return seal_pad(arena_guards ? guard_at(size) : size + PAGE_BYTES, size);
}

static void *begin_large(struct slice *s, size_t size, size_t align, enum origin origin)
{
	memset(s->base + size, seal_byte, large_pad(size));
	large_set_asked(s, size, align, origin);
	if (arena_guards)
		os_guard(s->base + guard_at(size), large_room(s) - guard_at(size));
	return s->base;
}

static void *allocate_large(size_t size, size_t align, bool zero, enum origin origin)
{
	char *p = large_alloc(size + PAGE_BYTES, align, zero);

	return p ? begin_large(heap_slice_anywhere(p), size, align, origin) : NULL;
}

bool strict_look_at_large(const struct slice *s, const char *call)
{
	size_t size = large_asked(s).size;

	if (LIKELY(seal_all(s->base + size, seal_byte, large_pad(size))))
		return true;
	report_damage(call, s, s->base, "the bytes behind this block were written to");
	return false;
}

static void free_large(struct slice *s, struct told told)
{
	if (!strict_look_at_large(s, "free") || !report_told_right(s->base, large_asked(s), told))
		return;
	if (!arena_guards) {
		large_free(s);
	} else if (large_end(s)) {
		quarantine_hold_large(s);
	}
}

void *strict_resize_large(struct slice *s, size_t size)
{
	struct seal asked = large_asked(s);
	size_t guard = guard_at(asked.size);
	char *p;

	cache_get();
	if (!strict_look_at_large(s, "realloc"))
		return NULL;
	os_unguard(s->base + guard, large_room(s) - guard);
	p = large_realloc(s, size + PAGE_BYTES);
	if (p)
		return begin_large(heap_slice_anywhere(p), size, MIN_ALIGN, asked.origin);
	begin_large(s, asked.size, asked.align, asked.origin);
	return NULL;
}

/* ---- Both -------------------------------------------------------------------------------------------------------- */

void *strict_allocate(size_t size, size_t align, bool zero, enum origin origin)
{
	size_t rounded = align_up(max_size(size + SEAL_BYTES, SEAL_LEAST), align);
	void *p;

	if (!size && align <= MIN_ALIGN && (p = none_take()))
		return p;
	if (rounded <= SLAB_MAX)
		return allocate_small(class_of(rounded), size, align, origin);
	return allocate_large(size, align, zero, origin);
}

void strict_shrink(struct slice *s, void *p, size_t size)
{
	if (s->kind == SLICE_LARGE)
		begin_large(s, size, MIN_ALIGN, large_asked(s).origin);
	else
		shrink_small(s, p, size);
}

/* Who changes a block has a cache: where only one thread has, the look at the end finds none that is half changed. */
void strict_free(struct slice *s, void *p, struct told told)
{
	cache_get();
	if (s->kind == SLICE_LARGE)
		free_large(s, told);
	else
		free_small(s, p, told);
}

size_t strict_size(const char *call, struct slice *s, const void *p)
{
	struct seal seal;

	if (s->kind == SLICE_LARGE)
		return large_asked(s).size;
	seal = seal_read(seal_word(s, p));
	if (LIKELY(seal.state == SEAL_LIVE))
		return seal.size;
	if (seal.state == SEAL_BROKEN)
		report_damage(call, s, p, "the bytes behind this block were written to");
	else
		misuse(call, p);
	return SIZE_UNKNOWN;
}

void strict_init(void)
{
	none_init();
	quarantine_init(let_go);
}
