/* SPDX-License-Identifier: MIT */
#include <string.h>

#include "cache/memcheck.h"
#include "cache/slab.h"

/* What is carved at once where the pages were touched before, of a class of which so many sixteenths are expected to be. */
enum { CARVE_DIRTY_BYTES = 32768, CARVE_DIRTY_FROM = 13 };

void slab_init(struct slice *s, unsigned class)
{
	uint32_t size = class_size(class);

	s->free = NULL;
	s->magic = ~(uint64_t)0 / size + 1 + is_power_of_two(size);
	s->last = (uintptr_t)s->base - size;
	slab_set_owner(s, SLOW_ID);
	SLICE_SET(s, block_size, size);
	s->capacity = (uint16_t)(((size_t)s->slices << SLICE_SHIFT) / size);
	s->bound = s->capacity * (size * s->magic);
	SLICE_SET(s, carved, 0);
	SLICE_SET(s, class, (uint8_t) class);
	purged_set(s, 0);
	s->notify_at = (uint16_t)max_size(s->capacity / 8, 1);
	s->head = s;
	s->next = s->prev = NULL;
	slab_set_mark(s, 0, 0);
	atomic_store_explicit(&s->remote, 0, memory_order_relaxed);
	slice_set_kind(s, SLICE_SLAB);
	for (unsigned i = 1; i < s->slices; i++) {
		slice_set_kind(&s[i], SLICE_INNER);
		s[i].head = s;
	}
}

static struct block *block_at(const struct slice *s, size_t i)
{
	return (struct block *)(s->base + i * s->block_size);
}

/* Puts blocks FROM to TO - 1 on the empty free list, in ascending order. */
static void chain(struct slice *s, size_t from, size_t to)
{
	char *last = (char *)block_at(s, to - 1), *next;
	ptrdiff_t size = s->block_size, back = -size;
	struct block *b = block_at(s, from);
	uint64_t key = slab_key(s);

	s->free = b;
	for (next = (char *)b + size; next <= last; next += size) {
		b = (struct block *)(next + back);
		b->next = (struct block *)next;
		b->key = key;
	}
	*(struct block *)last = (struct block){NULL, key};
}

/* Blocks that start in sixteenth number PART: from the first to one before *end. */
static size_t blocks_of_part(const struct slice *s, size_t part, size_t *end)
{
	unsigned shift = slice_sixteenth_shift(s);

	*end = min_size((((part + 1) << shift) + s->block_size - 1) / s->block_size, s->carved);
	return min_size(((part << shift) + s->block_size - 1) / s->block_size, *end);
}

/* How many purged sixteenths come back together: one from PART on, and those after it in which no block starts. */
static unsigned parts_together(const struct slice *s, unsigned part)
{
	unsigned n = 1;
	size_t from, to;

	for (; s->purged >> (part + n) & 1; n++) {
		from = blocks_of_part(s, part + n, &to);
		if (from < to)
			break;
	}
	return n;
}

static NOINLINE bool carve_purged(struct slice *s, struct growth *g)
{
	while (s->purged) {
		unsigned part = (unsigned)__builtin_ctz(s->purged), n = parts_together(s, part);
		size_t from, to;
		bool ok;

		limit_open();
		ok = limit_charge(g, (size_t)n * s->slices);
		if (ok)
			purged_set(s, (uint16_t)(s->purged & ~(((1u << n) - 1) << part)));
		limit_close();
		if (!ok)
			return false;
		from = blocks_of_part(s, part, &to);
		if (from < to) {
			chain(s, from, to);
			return true;
		}
	}
	return false;
}

static inline void set_carved(struct slice *s, size_t carved)
{
	uintptr_t last = (uintptr_t)s->base + (carved - 1) * s->block_size;

	SLICE_SET(s, carved, (uint16_t)carved);
	__atomic_store_n(&s->anchor, s->anchor + last - s->last, __ATOMIC_RELAXED);
	__atomic_store_n(&s->last, last, __ATOMIC_RELAXED);
}

/* Whether little of S is going to be needed. */
static inline bool is_modest(const struct slice *s)
{
	struct region *r = atomic_load_explicit(&s->region, memory_order_relaxed);

	return arena_expected(atomic_load_explicit(&r->arena, memory_order_relaxed), s->class) < CARVE_DIRTY_FROM;
}

bool slab_carve(struct slice *s, struct growth *g)
{
	size_t from = s->carved, at = from * s->block_size, to, edge;

	if (s->purged && carve_purged(s, g))
		return true;
	if (s->purged || from == s->capacity)
		return false;
	edge = align_up(at + 1, CARVE_DIRTY_BYTES);
	/* Where little will be needed, no more is carved than must be: it tells what the next slab of the class will need. */
	if (at < CARVE_DIRTY_BYTES && is_modest(s))
		edge = align_up(at + 1, PAGE_BYTES);
	else if (s->clean && edge > slab_clean_from(s))
		edge = max_size(slab_clean_from(s), align_up(at + 1, PAGE_BYTES));
	to = min_size(max_size(edge / s->block_size, from + 1), s->capacity);
	chain(s, from, to);
	set_carved(s, to);
	return true;
}

void *slab_carve_zero(struct slice *s)
{
	if (s->free || !slab_has_zero(s))
		return NULL;
	set_carved(s, (size_t)s->carved + 1);
	return block_at(s, (size_t)s->carved - 1);
}

unsigned slab_collect(struct slice *s)
{
	uint64_t word = atomic_exchange_explicit(&s->remote, 0, memory_order_acquire);
	struct block *first = remote_first(word), *last = first;
	unsigned n = remote_count(word);

	if (!n)
		return 0;
	if (s->free) {
		/* Where a link was written over, what follows is lost: cache_refill will notice. */
		for (unsigned i = 1; i < n && slab_block_valid(s, last->next); i++)
			last = last->next;
		last->next = s->free;
	}
	s->free = first;
	slab_set_mark(s, slab_live(s) - (int32_t)n, 0);
	return n;
}

void slab_warm(const struct slice *s, unsigned many)
{
	size_t step = max_size(s->block_size, CACHE_LINE);

	if (s->purged || many < s->carved / 2)
		return;
	for (uintptr_t at = (uintptr_t)s->base; at <= s->last; at += step)
		prefetch_to_write((const void *)at);
}

static size_t index_of(const struct slice *s, const void *p)
{
	return (size_t)((const char *)p - s->base) / s->block_size;
}

void *slab_block_of(const struct slice *s, const void *p)
{
	return block_at(s, index_of(s, p));
}

static bool on_list(const struct slice *s, const struct block *b, const void *p)
{
	for (unsigned n = 0; b && n < s->capacity; n++) {
		if (b == p)
			return true;
		if (!slab_block_valid(s, b))
			return false;
		b = __atomic_load_n(&b->next, __ATOMIC_RELAXED);
	}
	return false;
}

bool slab_is_free(const struct slice *s, const void *p)
{
	return on_list(s, __atomic_load_n((struct block **)&s->free, __ATOMIC_RELAXED), p) ||
	       on_list(s, remote_first(atomic_load_explicit(&s->remote, memory_order_acquire)), p);
}

/* ---- Purge ------------------------------------------------------------------------------------------------------- */

static bool test(const uint64_t *bits, size_t i)
{
	return bits[i / 64] >> i % 64 & 1;
}

/* Sixteenths in which every carved block is free, or purged before, or nothing was carved. */
static uint16_t idle_parts(const struct slice *s, const uint64_t *free)
{
	unsigned shift = slice_sixteenth_shift(s);
	uint32_t busy = 0;

	for (size_t i = 0; i < s->carved; i++) {
		size_t start = i * s->block_size, end = start + s->block_size - 1;

		if (test(free, i) || (s->purged >> (start >> shift) & 1))
			continue;
		for (size_t part = start >> shift; part <= end >> shift; part++)
			busy |= 1u << part;
	}
	return (uint16_t)~busy;
}

/* Keeps only those blocks on the free list that do not start in GONE. */
static void filter(struct slice *s, uint16_t gone)
{
	struct block *b = s->free, **tail = (struct block **)&s->free;

	while (b) {
		struct block *next = b->next;

		if (!(gone >> ((uintptr_t)((char *)b - s->base) >> slice_sixteenth_shift(s)) & 1)) {
			*tail = b;
			tail = &b->next;
		}
		b = next;
	}
	*tail = NULL;
}

size_t slab_purge(struct slice *s, struct iovec *ranges)
{
	uint64_t free[SLICE_BYTES / MIN_ALIGN / 64] = {0};
	unsigned shift = slice_sixteenth_shift(s);
	uint16_t gone;
	size_t n = 0, listed = 0;

	for (struct block *b = s->free; b; b = b->next) {
		/* A link was written over: that is for a thread to meet and report. */
		if (UNLIKELY(!slab_block_valid(s, b) || ++listed > s->carved))
			return 0;
		free[index_of(s, b) / 64] |= (uint64_t)1 << index_of(s, b) % 64;
	}
	gone = idle_parts(s, free) & (uint16_t)~s->purged;
	/* What is above the last carved block holds nothing, but may be dirty from an earlier use of the slices. */
	gone &= (uint16_t)((1u << slice_dirty_parts(s)) - 1);
	memcheck_define(&gone, sizeof gone);
	filter(s, gone);
	purged_set(s, s->purged | gone);
	for (uint32_t left = gone; left;) {
		unsigned at = (unsigned)__builtin_ctz(left), run = (unsigned)__builtin_ctz(~(left >> at));

		ranges[n++] = (struct iovec){s->base + ((size_t)at << shift), (size_t)run << shift};
		left &= ~(((1u << run) - 1) << at);
	}
	return n;
}

/* Puts the carved blocks that start in PARTS back on the free list. */
static void unfilter(struct slice *s, uint32_t parts)
{
	for (; parts; parts &= parts - 1) {
		size_t to, i = blocks_of_part(s, (size_t)__builtin_ctz(parts), &to);

		for (; i < to; i++) {
			struct block *b = block_at(s, i);

			b->next = s->free;
			b->key = slab_key(s);
			s->free = b;
		}
	}
}

void slab_end_purge(struct slice *s, const struct iovec *range, bool dropped)
{
	unsigned shift = slice_sixteenth_shift(s);
	size_t first = (size_t)((char *)range->iov_base - s->base) >> shift, count = range->iov_len >> shift;
	uint32_t parts = ((1u << count) - 1) << first;

	if (dropped) {
		limit_sub(range->iov_len >> PAGE_SHIFT);
		return;
	}
	purged_set(s, (uint16_t)(s->purged & ~parts));
	unfilter(s, parts);
}
