/* SPDX-License-Identifier: MIT */
/* Lists of regions by their room. The lock of the arena is held. */
#include "heap/bins.h"

/* The length of the longest run of ones. */
static unsigned longest_run(uint32_t free)
{
	uint32_t runs[5] = {free}; /* bit per start of a run of 1, 2, 4, 8, 16 */
	uint32_t starts;
	unsigned log = 0, n;

	if (!free)
		return 0;
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

static enum bins_group group_of(const struct region *r, uint32_t used)
{
	return r->slabs ? SLABS : used & ~r->longs ? BLOCKS : LONG;
}

static void leave(struct bins *bins, struct region *r, enum bins_by by)
{
	struct region **list = &bins->lists[by][r->bin[by]], *next = r->in[by].next, *prev = r->in[by].prev;

	*(prev ? &prev->in[by].next : list) = next;
	if (next)
		next->in[by].prev = prev;
	if (!*list)
		bins->filled[by] &= ~((uint64_t)1 << r->bin[by]);
}

static void enter(struct bins *bins, struct region *r, enum bins_by by)
{
	struct region **list = &bins->lists[by][r->bin[by]];

	r->in[by].prev = NULL;
	r->in[by].next = *list;
	if (*list)
		(*list)->in[by].prev = r;
	*list = r;
	bins->filled[by] |= (uint64_t)1 << r->bin[by];
}

void bins_relist(struct bins *groups, struct region *r, uint32_t used)
{
	unsigned bins[] = {[BY_FREE] = count_ones(~used), [BY_RUN] = longest_run(~used)};
	enum bins_group group = group_of(r, used), before = r->group;

	for (enum bins_by by = BY_FREE; by <= BY_RUN; by++) {
		if (group == before && bins[by] == r->bin[by])
			continue;
		if (r->bin[by])
			leave(&groups[before], r, by);
		r->bin[by] = (uint8_t)bins[by];
		if (bins[by])
			enter(&groups[group], r, by);
	}
	r->group = (uint8_t)group;
}

static struct region *tightest(struct bins *bins, enum bins_by by, size_t need)
{
	uint64_t filled = bins->filled[by] >> need;

	return filled ? bins->lists[by][need + (size_t)__builtin_ctzll(filled)] : NULL;
}

struct region *bins_pick(struct bins *groups, size_t count, size_t align, bool slab)
{
	size_t need = count + align - 1;
	enum bins_by by = need == 1 ? BY_FREE : BY_RUN;
	enum bins_group own = slab ? SLABS : BLOCKS, other = slab ? BLOCKS : SLABS;
	struct region *r = tightest(&groups[own], by, need);

	if (!r)
		r = tightest(&groups[other], by, need);
	return r ? r : tightest(&groups[LONG], by, need);
}
