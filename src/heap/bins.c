/* SPDX-License-Identifier: MIT */
/* Lists of regions by their room. The lock of the arena is held. */
#include "heap/bins.h"

/* The length of the longest run of ones. */
static unsigned longest_run(uint32_t free)
{
	uint32_t runs[5] = {free}; /* bit per start of a run of 1, 2, 4, 8, 16 */
	uint32_t starts;
	unsigned log = 0, n;

	if (!(free & (free + (free & -free)))) /* all in one run, or none */
		return count_ones(free);
	for (; log < 4; log++) {
		runs[log + 1] = runs[log] & runs[log] >> (1 << log);
		if (!runs[log + 1])
			break;
	}
	starts = runs[log];
	n = 1u << log;
	while (log--) {
		uint32_t longer = starts & runs[log] >> n;

		if (longer) {
			starts = longer;
			n += 1u << log;
		}
	}
	return n;
}

/* The length of the run of ones that bit AT is in. */
static unsigned run_at(uint32_t free, unsigned at)
{
	return (unsigned)(__builtin_ctzll(~((uint64_t)free >> at)) + __builtin_clzll(~((uint64_t)free << (63 - at)))) -
	       1;
}

static enum bins_group group_of(const struct region *r, uint32_t used)
{
	return r->slabs ? SLABS : used & ~r->longs ? BLOCKS : LONG;
}

static inline __attribute__((always_inline)) void leave(struct bins *bins, struct region *r, enum bins_by by)
{
	struct region **list = &bins->lists[by][r->bin[by]], *next = r->in[by].next, *prev = r->in[by].prev;

	*(prev ? &prev->in[by].next : list) = next;
	if (next)
		next->in[by].prev = prev;
	if (!*list)
		bins->filled[by] &= ~((uint64_t)1 << r->bin[by]);
}

static inline __attribute__((always_inline)) void enter(struct bins *bins, struct region *r, enum bins_by by)
{
	struct region **list = &bins->lists[by][r->bin[by]];

	r->in[by].prev = NULL;
	r->in[by].next = *list;
	if (*list)
		(*list)->in[by].prev = r;
	*list = r;
	bins->filled[by] |= (uint64_t)1 << r->bin[by];
}

/* Inlined, as BY is a constant then: every slab that comes or goes passes here. */
static inline __attribute__((always_inline)) void move(struct bins *groups, struct region *r, enum bins_by by,
						       unsigned bin, enum bins_group group)
{
	if (group == (enum bins_group)r->group && bin == r->bin[by])
		return;
	if (r->bin[by])
		leave(&groups[r->group], r, by);
	r->bin[by] = (uint8_t)bin;
	if (bin)
		enter(&groups[group], r, by);
}

void bins_relist(struct bins *groups, struct region *r, uint32_t used, uint32_t freed)
{
	enum bins_group group = group_of(r, used);

	move(groups, r, BY_FREE, count_ones(~used), group);
	if (group != (enum bins_group)r->group || !~used || !r->bin[BY_RUN] ||
	    (freed && run_at(~used, (unsigned)__builtin_ctz(freed)) > r->bin[BY_RUN]))
		move(groups, r, BY_RUN, longest_run(~used), group);
	r->group = (uint8_t)group;
}

static struct region *fullest(struct bins *bins)
{
	uint64_t filled = bins->filled[BY_FREE];

	return filled ? bins->lists[BY_FREE][__builtin_ctzll(filled)] : NULL;
}

static struct region *tightest(struct bins *groups, enum bins_group group, size_t need)
{
	struct bins *bins = &groups[group];
	uint64_t filled;

	while ((filled = bins->filled[BY_RUN] >> need)) {
		struct region *r = bins->lists[BY_RUN][need + (size_t)__builtin_ctzll(filled)];
		uint32_t free = ~atomic_load_explicit(&r->used, memory_order_relaxed);

		if (bins_run_starts(free, need))
			return r;
		move(groups, r, BY_RUN, longest_run(free), group);
	}
	return NULL;
}

struct region *bins_pick(struct bins *groups, size_t count, size_t align, bool slab)
{
	static const enum bins_group orders[2][GROUPS] = {{BLOCKS, SLABS, LONG}, {SLABS, BLOCKS, LONG}};
	const enum bins_group *order = orders[slab];
	size_t need = count + align - 1;
	struct region *r = NULL;

	if (LIKELY(need == 1))
		return (r = fullest(&groups[order[0]])) || (r = fullest(&groups[order[1]])) ? r
											    : fullest(&groups[LONG]);
	for (int i = 0; i < GROUPS && !r; i++)
		r = tightest(groups, order[i], need);
	return r;
}
