/* SPDX-License-Identifier: MIT */
/*
 * A large block that must move takes its pages along: mremap between 2 MiB aligned addresses moves whole PTE pages,
 * which is a thousand times faster than copying. MREMAP_DONTUNMAP leaves the old range mapped (and empty), so no
 * other thread's mmap can slip in. But where it arrives the range is a VMA of its own, as its page offset is
 * another's. To keep the heap from falling to pieces:
 *   - pieces[] says what VMAs a block consists of, as lengths in regions from its start; what follows them is the
 *     heap's own VMA;
 *   - such a block is mapped anew when it is freed, and then merges with its neighbours;
 *   - there are at most PIECES_MAX such VMAs in the process, and LARGE_PIECES in a block. Beyond that it is copied.
 * A block's descriptor is its owner's to use; pieces_in_use is atomic.
 */
#include <string.h>

#include "cache/large.h"
#include "cache/scavenger.h"
#include "conf/options.h"
#include "os/os.h"

enum { PIECES_MAX = 48 };

static _Atomic unsigned pieces_in_use;

static size_t slices_for(size_t size)
{
	return (max_size(size, 1) + SLICE_BYTES - 1) >> SLICE_SHIFT;
}

static struct slice *take(size_t size, size_t align, bool zero)
{
	struct cache *c = cache_get();
	struct arena *a = c ? c->arena : NULL;
	struct slice *s;

	if (c && (!a || a->retired))
		a = c->arena = arena_assign();
	s = a ? arena_take(a, slices_for(size), max_size(align >> SLICE_SHIFT, 1), zero, NULL) : NULL;
	if (!s)
		return NULL;
	memset(s->pieces, 0, sizeof s->pieces);
	s->bound = 0;
	s->kind = SLICE_LARGE;
	return s;
}

void *large_alloc(size_t size, size_t align, bool zero)
{
	struct slice *s = take(size, align, zero);

	return s ? s->base : NULL;
}

static unsigned count_pieces(const struct slice *s)
{
	unsigned n = 0;

	while (n < LARGE_PIECES && s->pieces[n])
		n++;
	return n;
}

/* Maps the moved part of the block anew. */
static void unify(struct slice *s)
{
	unsigned n = count_pieces(s);
	size_t regions = 0;

	for (unsigned i = 0; i < n; i++)
		regions += s->pieces[i];
	if (!regions)
		return;
	atomic_fetch_sub_explicit(&pieces_in_use, n, memory_order_relaxed);
	memset(s->pieces, 0, sizeof s->pieces);
	if (os_remap(s->base, regions << REGION_SHIFT))
		return; /* out of VMAs: it stays as it is, only in pieces */
	if (OPTION(thp) != OS_HUGE_DEFAULT)
		os_advise_huge(s->base, regions << REGION_SHIFT, (enum os_huge)OPTION(thp));
	arena_set_zero(s, regions);
}

void large_free(struct slice *s)
{
	if (__atomic_exchange_n(&s->kind, SLICE_FREE, __ATOMIC_ACQ_REL) != SLICE_LARGE)
		misuse("double free: free", s->base);
	unify(s);
	arena_put(s);
	scavenger_kick();
}

/*
 * What the pieces of TO will be when FROM's REGIONS whole regions are moved there; their number, 0 if that is too
 * many.
 */
static unsigned plan(const struct slice *from, size_t regions, uint16_t *pieces)
{
	unsigned n = count_pieces(from);
	size_t moved = 0;

	memset(pieces, 0, sizeof from->pieces);
	for (unsigned i = 0; i < n; i++) {
		pieces[i] = from->pieces[i];
		moved += pieces[i];
	}
	if (moved < regions) {
		if (n == LARGE_PIECES || regions - moved > UINT16_MAX)
			return 0;
		pieces[n++] = (uint16_t)(regions - moved);
	}
	return n;
}

static bool reserve_pieces(unsigned n)
{
	if (atomic_fetch_add_explicit(&pieces_in_use, n, memory_order_relaxed) + n <= PIECES_MAX)
		return true;
	atomic_fetch_sub_explicit(&pieces_in_use, n, memory_order_relaxed);
	return false;
}

/*
 * Moves the whole regions of FROM to TO, as far as the kernel agrees. Returns the bytes moved; the caller copies the
 * rest.
 */
static size_t move_pages(struct slice *from, struct slice *to)
{
	size_t regions = from->slices / SLICES_PER_REGION, at = 0;
	uint16_t pieces[LARGE_PIECES];
	unsigned n = plan(from, regions, pieces), done = 0;

	if (!n || from->base != from->region->base || to->base != to->region->base || !reserve_pieces(n))
		return 0;
	for (; done < n; at += (size_t)pieces[done++] << REGION_SHIFT)
		if (os_move(from->base + at, to->base + at, (size_t)pieces[done] << REGION_SHIFT)) {
			os_remap(to->base + at, (size_t)pieces[done] << REGION_SHIFT);
			break;
		}
	atomic_fetch_sub_explicit(&pieces_in_use, n - done, memory_order_relaxed);
	memcpy(to->pieces, pieces, done * sizeof pieces[0]);
	arena_set_zero(from, at >> REGION_SHIFT);
	COUNT_ADD(moved_bytes, at);
	return at;
}

static void *move(struct slice *from, size_t size)
{
	size_t old = large_usable(from), moved = 0;
	struct slice *to = take(size, 1, false);

	if (!to)
		return NULL;
	if (old >= (size_t)OPTION(mremap_mib) << 20 && to->slices >= from->slices)
		moved = move_pages(from, to);
	memcpy(to->base + moved, from->base + moved, min_size(old, large_usable(to)) - moved);
	large_free(from);
	return to->base;
}

void *large_realloc(struct slice *s, size_t size)
{
	size_t count = slices_for(size);

	if (count == s->slices)
		return s->base;
	/* A block in pieces gives nothing of them away: they would stay VMAs of their own. */
	if (count < s->slices && count_pieces(s))
		return count >= s->slices / 2 ? s->base : move(s, size);
	if (arena_resize(s, count)) {
		scavenger_kick();
		return s->base;
	}
	return move(s, size);
}
