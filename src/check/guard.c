/* SPDX-License-Identifier: MIT */
#include "check/guard.h"
#include "check/report.h"
#include "check/stack.h"
#include "conf/options.h"
#include "os/os.h"
#include "release/release.h"

#include <string.h>

enum {
	SLOTS = 64,
	SLOT_BYTES = 2 << PAGE_SHIFT,
	START = 64, /* requests of a process that may be sampled for being the first of their class */
	FIRST = 4,  /* of which so many are */
};

enum verdict { RIGHT, FREED, BESIDE, BEHIND, BEFORE };

enum slot_state { SLOT_UNUSED, SLOT_LIVE, SLOT_FREED };

struct event {
	uintptr_t thread; /* as debuggers show it */
	struct stack stack;
};

struct slot {
	enum slot_state state;
	char *p;
	size_t size;
	struct event allocated, freed;
};

bool guard_used;

/*
 * Made for the first sample, under the lock, and constant from then on. Who has a pointer into it has it from a thread that
 * knew of it; to anybody else it makes no difference whether it is there yet.
 */
static _Atomic(char *) base; /* the first page */
static struct slot *slots;
static bool by_marks; /* the kernel has marks for pages; else each is a mapping of its own */

static struct lock lock; /* guards the slots, and next */
static unsigned next;    /* slot at which to look first */
static bool retired;     /* no more samples: no room, or a forked child of a process in which the lock was held */

static _Atomic uint64_t seen[(CLASSES + 63) / 64]; /* a bit per class */
static _Atomic int first_left = FIRST, start_left = START;
static _Atomic bool begun;

void guard_init(void)
{
	guard_used = OPTION(guard_rate) != 0;
}

static char *pages(void)
{
	return atomic_load_explicit(&base, memory_order_relaxed);
}

/* A pool is there. The lock is held. */
static bool make_pool(void)
{
	size_t bytes = PAGE_BYTES + (size_t)SLOTS * SLOT_BYTES;
	char *p;

	if (LIKELY(pages() != NULL))
		return true;
	retired = true;
	if (!(slots = meta_alloc(sizeof *slots * SLOTS)) || !(p = meta_map(bytes)))
		return false;
	by_marks = !os_guard(p, bytes);
	if (!by_marks && (release_is_restricted() || os_forbid(p, bytes)))
		return false;
	/* From where the mapping lies, which is random, as a sandbox may not allow a system call that was not needed before. */
	seal_byte = (unsigned char)(((uintptr_t)p * (uint64_t)0x9e3779b97f4a7c15) >> 56 | 1);
	atomic_store_explicit(&base, p + PAGE_BYTES, memory_order_relaxed);
	retired = false;
	return true;
}

void guard_after_fork(void)
{
	if (!lock_held(&lock))
		return;
	retired = true;
	lock_reset(&lock);
}

/* ---- Which requests ---------------------------------------------------------------------------------------------- */

static bool is_first_of_class(size_t size)
{
	unsigned class = class_of(size);
	uint64_t bit = (uint64_t)1 << class % 64;
	_Atomic uint64_t *word = &seen[class / 64];

	return !(atomic_load_explicit(word, memory_order_relaxed) & bit) &&
	       !(atomic_fetch_or_explicit(word, bit, memory_order_relaxed) & bit) &&
	       atomic_fetch_sub_explicit(&first_left, 1, memory_order_relaxed) > 0;
}

/* Not to be guessed is not asked of it, but to need no system call: xorshift64*, of G. Marsaglia and S. Vigna. */
static uint64_t next_random(struct cache *c)
{
	uint64_t n = c->guard_seed ? c->guard_seed : c->id ^ (uintptr_t)c;

	n ^= n >> 12;
	n ^= n << 25;
	n ^= n >> 27;
	c->guard_seed = n;
	return (n * 0x2545f4914f6cdd1d) >> 32;
}

static bool is_start(void)
{
	return atomic_load_explicit(&start_left, memory_order_relaxed) > 0 &&
	       atomic_fetch_sub_explicit(&start_left, 1, memory_order_relaxed) > 0;
}

void guard_begin(void)
{
	if (guard_used)
		cache_set_aside();
	atomic_store_explicit(&begun, true, memory_order_relaxed);
}

bool guard_is_due(size_t size, size_t align)
{
	struct cache *c = cache_slow_self;
	bool fits = size <= PAGE_BYTES && align <= PAGE_BYTES, due;

	if (guard_used && !atomic_load_explicit(&begun, memory_order_relaxed))
		return false;
	if (guard_used && is_start())
		return fits && is_first_of_class(size);
	if (!c)
		return false;
	due = guard_used && fits && !c->until_special; /* below zero: there was no wait yet */
	c->until_special =
		guard_used ? 1 + (int64_t)(next_random(c) % (uint64_t)(2 * OPTION(guard_rate) - 1)) : INT64_MAX;
	return due;
}

/* ---- Pages ------------------------------------------------------------------------------------------------------- */

static char *page_of(const struct slot *slot)
{
	return pages() + (size_t)(slot - slots) * SLOT_BYTES;
}

/* Without marks pages are opened and closed by mprotect(2), for which a sandbox may kill. */
static bool is_forbidden(void)
{
	return !by_marks && release_is_restricted();
}

static bool open_page(char *page)
{
	if (is_forbidden())
		return false;
	return !(by_marks ? os_unguard(page, PAGE_BYTES) : os_commit(page, PAGE_BYTES));
}

static void close_page(char *page)
{
	if (by_marks)
		os_guard(page, PAGE_BYTES);
	else if (!is_forbidden() && !os_drop(page, PAGE_BYTES))
		os_forbid(page, PAGE_BYTES);
}

/* What is not the block's own on its page. */
static void fill(const struct slot *slot)
{
	memset(page_of(slot), seal_byte, (size_t)(slot->p - page_of(slot)));
	memset(slot->p, 0, slot->size); /* it is, unless the page is locked */
	memset(slot->p + slot->size, seal_byte, (size_t)(page_of(slot) + PAGE_BYTES - slot->p) - slot->size);
}

static enum verdict damage_of(const struct slot *slot)
{
	const char *page = page_of(slot), *end = slot->p + slot->size;

	if (!seal_all(end, seal_byte, (size_t)(page + PAGE_BYTES - end)))
		return BEHIND;
	return seal_all(page, seal_byte, (size_t)(slot->p - page)) ? RIGHT : BEFORE;
}

/* ---- Slots ------------------------------------------------------------------------------------------------------- */

bool guard_has(const void *p)
{
	const char *first = pages();

	return (uintptr_t)p - (uintptr_t)first < (size_t)SLOTS * SLOT_BYTES && first;
}

bool guard_reaches(const void *p)
{
	return guard_has(p) || guard_has((const char *)p + PAGE_BYTES);
}

static struct slot *slot_of(const void *p)
{
	return &slots[((uintptr_t)p - (uintptr_t)pages()) / SLOT_BYTES];
}

static void note(struct event *event)
{
	event->thread = os_thread_id();
	stack_capture(&event->stack);
}

/* The slot that has been free for the longest time; NULL: all are in use. */
static struct slot *find_free(void)
{
	for (unsigned i = 0; i < SLOTS; i++) {
		struct slot *slot = &slots[(next + i) % SLOTS];

		if (slot->state == SLOT_LIVE)
			continue;
		next = (next + i + 1) % SLOTS;
		return slot;
	}
	return NULL;
}

void *guard_take(size_t size, size_t align)
{
	struct event event;
	struct slot *slot;

	note(&event);
	lock_take(&lock);
	slot = !retired && make_pool() ? find_free() : NULL;
	if (slot && !open_page(page_of(slot)))
		slot = NULL;
	if (slot) {
		slot->size = size;
		slot->p = page_of(slot) + ((PAGE_BYTES - size) & ~(max_size(align, MIN_ALIGN) - 1));
		slot->allocated = event;
		slot->state = SLOT_LIVE;
		fill(slot);
	}
	lock_drop(&lock);
	return slot ? slot->p : NULL;
}

static void put_event(struct text *t, const char *what, const struct event *event)
{
	text_put(t, "\npmdalloc:   ");
	text_put(t, what);
	text_put(t, " by thread ");
	text_put_hex(t, event->thread);
	text_put(t, event->stack.count ? ", called from" : "");
	stack_put(t, &event->stack);
}

static void put_slot(struct text *t, const struct slot *slot)
{
	text_put(t, " (a guarded block at ");
	text_put_hex(t, (uintptr_t)slot->p);
	text_put(t, ", size ");
	text_put_number(t, (int64_t)slot->size);
	text_put(t, ")");
	put_event(t, "allocated", &slot->allocated);
	if (slot->state == SLOT_FREED)
		put_event(t, "freed", &slot->freed);
}

/* What there is to say of P, the slot's, of which somebody says that it is a live block. */
static enum verdict judge(const struct slot *slot, const void *p)
{
	if (slot->state == SLOT_UNUSED || p != slot->p)
		return BESIDE;
	return slot->state == SLOT_FREED ? FREED : damage_of(slot);
}

static void complain(const char *call, const void *p, const struct slot *slot, enum verdict verdict)
{
	struct text *t = report_begin(call, p);

	switch (verdict) {
	case FREED:
		text_put(t, "not a live block: already freed");
		break;
	case BESIDE:
		text_put(t, "not a live block, but ");
		text_put_number(t, (const char *)p - slot->p);
		text_put(t, " bytes into one");
		break;
	default:
		text_put(t, verdict == BEHIND ? "the bytes behind this block were written to"
					      : "the bytes before this block were written to");
	}
	put_slot(t, slot);
	report_end();
}

void guard_free(void *p)
{
	struct slot *slot = slot_of(p), copy;
	enum verdict verdict = RIGHT;
	struct event event;

	note(&event);
	lock_take(&lock);
	if (!retired)
		verdict = judge(slot, p);
	copy = *slot;
	if (verdict == RIGHT && !retired) {
		close_page(page_of(slot));
		slot->freed = event;
		slot->state = SLOT_FREED;
	}
	lock_drop(&lock);
	if (UNLIKELY(verdict != RIGHT))
		complain(verdict == FREED ? "double free: free" : "free", p, &copy, verdict);
}

size_t guard_size(const char *call, const void *p)
{
	struct slot *slot = slot_of(p), copy;
	enum verdict verdict;

	if (LIKELY(slot->state == SLOT_LIVE && slot->p == p)) /* a live block's own thread looks at it */
		return slot->size;
	lock_take(&lock);
	verdict = judge(slot, p);
	copy = *slot;
	lock_drop(&lock);
	if (verdict == RIGHT)
		return copy.size;
	complain(call, p, &copy, verdict);
	return SIZE_UNKNOWN;
}

void guard_describe(struct text *t, const void *p)
{
	const struct slot *slot = guard_has(p) ? slot_of(p) : slots;

	/* What lies below a page belongs to the slot before it; the one meant may as well be the next. */
	if (guard_has(p) && (uintptr_t)p >= (uintptr_t)page_of(slot) + PAGE_BYTES + PAGE_BYTES / 2 &&
	    slot + 1 < slots + SLOTS && slot[1].state != SLOT_UNUSED)
		slot++;
	if (slot->state == SLOT_UNUSED) {
		text_put(t, "memory between guarded blocks");
		return;
	}
	text_put(t, slot->state == SLOT_FREED    ? "a block after its release"
		    : (const char *)p >= slot->p ? "memory behind a block"
						 : "memory before a block");
	put_slot(t, slot);
}

void guard_each(void (*count)(void *arg, unsigned class), void *arg)
{
	lock_take(&lock);
	for (unsigned i = 0; pages() && i < SLOTS; i++)
		if (slots[i].state == SLOT_LIVE)
			count(arg, class_of(slots[i].size));
	lock_drop(&lock);
}

void guard_look(const char *call)
{
	for (unsigned i = 0; pages() && !retired && i < SLOTS; i++) {
		struct slot copy;
		enum verdict verdict = RIGHT;

		lock_take(&lock);
		if (slots[i].state == SLOT_LIVE)
			verdict = damage_of(&slots[i]);
		copy = slots[i];
		lock_drop(&lock);
		if (verdict != RIGHT)
			complain(call, copy.p, &copy, verdict);
	}
}
