/* SPDX-License-Identifier: MIT */
/*
 * A large block that must move takes its pages along: mremap between 2 MiB aligned addresses moves whole PTE pages,
 * which is a thousand times faster than copying. MREMAP_DONTUNMAP leaves the old range mapped (and empty), so no
 * other thread's mmap can slip in. But where it arrives the range is a VMA of its own, as its page offset is
 * another's. To keep the heap from falling to pieces:
 *   - pieces[] says what VMAs a block consists of, as lengths in regions from its start; what follows them is the
 *     heap's own VMA, which they cut in two: N pieces cost N + 1 VMAs;
 *   - what a piece leaves behind is mapped anew at once, and so is such a block when it is freed: it merges with its
 *     neighbours;
 *   - the process has at most MOVED_VMAS for it, and a block LARGE_PIECES. Beyond that it is copied;
 *   - nothing is moved to regions that a forked child inherited: the kernel merges nothing with them.
 * A block's descriptor is its owner's to use; moved_vmas is atomic.
 */
#include <string.h>

#include "cache/large.h"
#include "cache/relief.h"
#include "cache/scavenger.h"
#include "conf/options.h"
#include "heap/waiting.h"
#include "os/os.h"
#include "release/release.h"

enum {
	MOVED_VMAS = 4,
	SPARE_VMAS = 2, /* while a block moves: its first piece is in both places, then one of each two */
};

static _Atomic unsigned moved_vmas;

static size_t slices_for(size_t size)
{
	return (max_size(size, 1) + SLICE_BYTES - 1) >> SLICE_SHIFT;
}

/* The block of S holds SIZE bytes from now on. One that could not become shorter where it is says less than there is. */
static void set_size(struct slice *s, size_t size)
{
	SLICE_SET(s, spare, (uint8_t)min_size((large_room(s) - max_size(size, 1)) >> PAGE_SHIFT, UINT8_MAX));
}

static struct slice *take(size_t size, size_t align, bool zero, struct growth *g)
{
	struct cache *c = cache_get();
	struct arena *a = c ? c->arena : NULL;
	struct slice *s;

	if (c && (!a || a->retired))
		a = c->arena = arena_assign();
	s = a ? waiting_take(a, slices_for(size), max_size(align >> SLICE_SHIFT, 1), zero, g) : NULL;
	if (!s)
		return NULL;
	memset(s->pieces, 0, sizeof s->pieces);
	s->bound = 0;
	set_size(s, size);
	slice_set_kind(s, SLICE_LARGE);
	return s;
}

void *large_alloc(size_t size, size_t align, bool zero)
{
	struct growth g = {0};
	struct slice *s;

	while (!(s = take(size, align, zero, &g)) && relief(&g))
		;
	scavenger_grown();
	if (UNLIKELY(atomic_load_explicit(&heap_has_outgrown, memory_order_relaxed)))
		scavenger_kick();
	return s ? s->base : NULL;
}

static unsigned count_pieces(const struct slice *s)
{
	unsigned n = 0;

	while (n < LARGE_PIECES && s->pieces[n])
		n++;
	return n;
}

static unsigned vmas_of(unsigned pieces)
{
	return pieces ? pieces + 1 : 0;
}

static bool take_vmas(unsigned n)
{
	if (atomic_fetch_add_explicit(&moved_vmas, n, memory_order_relaxed) + n <= MOVED_VMAS)
		return true;
	atomic_fetch_sub_explicit(&moved_vmas, n, memory_order_relaxed);
	return false;
}

/* Puts fresh memory in the place of a moved range, which makes it one with the heap. */
static bool map_anew(char *p, size_t bytes)
{
	return !release_map_anew(p, bytes);
}

/* Maps the moved part of the block anew. False: it is lost, as the kernel has unmapped it and maps nothing there. */
static bool unify(struct slice *s)
{
	unsigned n = count_pieces(s);
	size_t regions = 0;

	for (unsigned i = 0; i < n; i++)
		regions += s->pieces[i];
	if (!regions)
		return true;
	memset(s->pieces, 0, sizeof s->pieces);
	if (!map_anew(s->base, regions << REGION_SHIFT)) /* it stays in pieces, if it is there at all */
		return !os_commit(s->base, regions << REGION_SHIFT);
	if (!heap_is_inherited(s->region))
		atomic_fetch_sub_explicit(&moved_vmas, vmas_of(n), memory_order_relaxed);
	arena_set_zero(s, regions, NULL);
	return true;
}

bool large_end(struct slice *s)
{
	if (__atomic_exchange_n(&s->kind, SLICE_FREE, __ATOMIC_ACQ_REL) == SLICE_LARGE)
		return true;
	misuse("double free: free", s->base);
	return false;
}

void large_free(struct slice *s)
{
	if (!large_end(s))
		return;
	if (unify(s))
		waiting_put(s);
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

/* The move to P failed, which may have unmapped it. */
static void repair(char *p, size_t bytes)
{
	struct text t;
	char buf[128];

	if (map_anew(p, bytes) || !os_commit(p, bytes))
		return;
	text_init(&t, buf, sizeof buf);
	text_put(&t, "the kernel has unmapped a part of the heap and maps nothing there");
	os_message(&t);
	os_abort();
}

/*
 * Moves N pieces, the last of which is the heap's own in FROM if FROM has fewer. Returns how many were moved, and the
 * bytes of them.
 */
static unsigned move_pieces(struct slice *from, struct slice *to, const uint16_t *pieces, unsigned n, size_t *bytes)
{
	unsigned done = 0, old = count_pieces(from);

	for (*bytes = 0; done < n; done++) {
		size_t length = (size_t)pieces[done] << REGION_SHIFT;

		if (os_move(from->base + *bytes, to->base + *bytes, length)) {
			repair(to->base + *bytes, length);
			break;
		}
		if (done < old)
			map_anew(from->base + *bytes, length);
		*bytes += length;
	}
	return done;
}

/*
 * Moves the whole regions of FROM to TO, as far as the kernel agrees. Returns the bytes moved; the caller copies the
 * rest.
 */
static size_t move_pages(struct slice *from, struct slice *to, struct growth *g)
{
	size_t regions = from->slices / SLICES_PER_REGION, bytes;
	uint16_t pieces[LARGE_PIECES];
	unsigned n = plan(from, regions, pieces), old = vmas_of(count_pieces(from)), done;

	if (!n || from->base != from->region->base || to->base != to->region->base || heap_is_inherited(to->region) ||
	    !take_vmas(SPARE_VMAS))
		return 0;
	done = move_pieces(from, to, pieces, n, &bytes);
	memcpy(to->pieces, pieces, done * sizeof pieces[0]);
	if (done == n && !heap_is_inherited(from->region)) {
		memset(from->pieces, 0, sizeof from->pieces);
		atomic_fetch_sub_explicit(&moved_vmas, old, memory_order_relaxed);
	}
	atomic_fetch_add_explicit(&moved_vmas, vmas_of(done) - SPARE_VMAS, memory_order_relaxed);
	arena_set_zero(from, bytes >> REGION_SHIFT, g);
	COUNT_ADD(moved_bytes, bytes);
	return bytes;
}

/* Whether move_pages is worth a try, to a block of SIZE bytes. A sandbox may kill for mremap(2). */
static bool is_movable(const struct slice *from, size_t size)
{
	uint16_t pieces[LARGE_PIECES];

	return large_room(from) >= (size_t)OPTION(mremap_mib) << 20 && !release_is_restricted() &&
	       slices_for(size) >= from->slices && from->base == from->region->base &&
	       plan(from, from->slices / SLICES_PER_REGION, pieces);
}

/*
 * A block of SIZE bytes to which FROM's whole regions have moved, *MOVED bytes of them; NULL: none, and nothing has
 * changed. What moves is charged already.
 */
static struct slice *take_moved(struct slice *from, size_t size, size_t *moved, struct growth *g)
{
	struct slice *to;

	g->credit = from->slices / SLICES_PER_REGION * (REGION_BYTES >> PAGE_SHIFT);
	limit_open();
	to = take(size, 1, false, g);
	if (to) {
		*moved = move_pages(from, to, g);
		/* If some have moved it is too late to give up, and the rest is copied even beyond the limit. */
		if (!limit_settle(g) && !*moved) {
			large_free(to);
			to = NULL;
		}
	}
	limit_close();
	g->credit = 0;
	return to;
}

static void *move(struct slice *from, size_t size, struct growth *g)
{
	size_t end, moved = 0;
	struct slice *to = is_movable(from, size) ? take_moved(from, size, &moved, g) : take(size, 1, false, g);

	if (!to)
		return NULL;
	end = min_size(large_usable(from), large_usable(to));
	if (end > moved)
		memcpy(to->base + moved, from->base + moved, end - moved);
	large_free(from);
	return to->base;
}

/*
 * A block in pieces gives nothing of them away: they would stay VMAs of their own. A block of several regions that
 * becomes a short one would keep one of them, and moves in with others. NULL: not here.
 */
static void *shrink_by_copy(struct slice *s, size_t size, struct growth *g)
{
	bool in_pieces = count_pieces(s);
	size_t count = slices_for(size), most = in_pieces ? s->slices / 2 - 1 : SLICES_PER_REGION / 2;
	void *p = count <= most && s->slices >= SLICES_PER_REGION ? move(s, size, g) : NULL;

	return p || !in_pieces ? p : s->base;
}

static void *resize(struct slice *s, size_t size, struct growth *g)
{
	size_t count = slices_for(size);

	if (count > s->slices)
		waiting_flush(atomic_load_explicit(&s->region->arena, memory_order_relaxed));
	if (arena_resize(s, count, g)) {
		set_size(s, size);
		scavenger_kick();
		return s->base;
	}
	return g->met ? NULL : move(s, size, g);
}

void *large_realloc(struct slice *s, size_t size)
{
	size_t count = slices_for(size);
	struct growth g = {0};
	void *p;

	if (count == s->slices) {
		set_size(s, size);
		return s->base;
	}
	if (count < s->slices && (p = shrink_by_copy(s, size, &g)))
		return p;
	while (!(p = resize(s, size, &g)) && relief(&g))
		;
	return p;
}
