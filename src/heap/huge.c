/* SPDX-License-Identifier: MIT */
/*
 * The advice changes under advice_lock, innermost; the collapse of regions is the background thread's. What regions say
 * of themselves is atomic: huge, dense.
 */
#include <errno.h>
#include <sys/mman.h>

#include "conf/options.h"
#include "heap/arena.h"
#include "heap/huge.h"
#include "os/os.h"
#include "release/advice.h"
#include "release/release.h"

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25 /* since Linux 6.1 */
#endif
#ifndef MADV_COLD
#define MADV_COLD 20 /* since Linux 5.4 */
#endif

enum {
	SMALL_HEAP = 32 << 20, /* up to here a heap has no huge pages */
	FILL_MS = 100,         /* an arena that fills a region in less is filling fast */
	CALM_MS = 2000,        /* so long without is calm */
	LONG_REGIONS = 8,      /* a block of so many is as the machine's setting has it */
	HOST_MS = 1000,        /* how long what was read of that setting holds */
	FORK_MS = 60000,       /* after a fork nothing is collapsed: what is shared would be copied */
	BATCH = 64,
	TOUCHED_PAGES = 384, /* of 512 */
	TRUSTED_SHARE = 4, /* of the heap, that may come as huge pages before the next look at what is touched of it */
	TRUSTED_REGIONS = 32,
	DENSE_PAGES = 480, /* of 512 */
	DENSE_TICKS = 2,
	TRIED = UINT8_MAX,
	SHARE = 100,       /* of the time, one part for collapsing */
	BUDGET_US = 20000, /* at most so much at a time */
	REFUSALS = 4,      /* so often at first, and the kernel cannot do it */
	PAGES = REGION_BYTES >> PAGE_SHIFT,
};

static uint64_t now_ms(void)
{
	return os_now_us() / 1000;
}

/* ---- The machine's setting --------------------------------------------------------------------------------------- */

enum host { HOST_UNKNOWN, HOST_NEVER, HOST_MADVISE, HOST_ALWAYS };

static enum host read_host(void)
{
	char buf[64];
	size_t n = os_read_file("/sys/kernel/mm/transparent_hugepage/enabled", buf, sizeof buf);

	for (size_t i = 0; i + 1 < n; i++)
		if (buf[i] == '[')
			return buf[i + 1] == 'a' ? HOST_ALWAYS : buf[i + 1] == 'm' ? HOST_MADVISE : HOST_NEVER;
	return HOST_NEVER;
}

/* It takes some 20 microseconds to read, and may change. In a sandbox what was read before has to do. */
static enum host host_at(uint64_t now)
{
	static _Atomic int host;
	static _Atomic uint64_t read_ms;

	if (release_is_restricted())
		return (enum host)atomic_load_explicit(&host, memory_order_relaxed);
	if (atomic_load_explicit(&host, memory_order_relaxed) == HOST_UNKNOWN ||
	    now - atomic_load_explicit(&read_ms, memory_order_relaxed) > HOST_MS) {
		atomic_store_explicit(&host, read_host(), memory_order_relaxed);
		atomic_store_explicit(&read_ms, now, memory_order_relaxed);
	}
	return (enum host)atomic_load_explicit(&host, memory_order_relaxed);
}

/* ---- The advice -------------------------------------------------------------------------------------------------- */

_Atomic bool huge_wanted;
static struct lock advice_lock;
static _Atomic uint64_t calm_ms; /* when the advice is against huge pages again */

static void advise_all(bool huge)
{
	lock_take(&advice_lock);
	if (advice_is_huge() != huge) {
		advice_set(huge);
		for (int i = 0; i < HEAPS_MAX; i++) {
			struct heap *h = atomic_load_explicit(&heaps[i], memory_order_seq_cst);

			if (h)
				advice_apply(h->base, h->region_count * REGION_BYTES);
		}
	}
	lock_drop(&advice_lock);
}

static void calm_down(uint64_t now)
{
	if (advice_is_huge() && now >= atomic_load_explicit(&calm_ms, memory_order_relaxed))
		advise_all(false);
}

static void stir_up(uint64_t now)
{
	atomic_store_explicit(&calm_ms, now + CALM_MS, memory_order_relaxed);
	if (!advice_is_huge())
		advise_all(true);
}

/* The heap is large, and grows. If it still does after half the decay time, something in it may be dense by then. */
static void note_growth(uint64_t now)
{
	static _Atomic uint64_t since_ms;
	uint64_t since = atomic_load_explicit(&since_ms, memory_order_relaxed);

	if (since && (int64_t)(now - since) < OPTION(decay_ms) / 2)
		return;
	atomic_store_explicit(&since_ms, now, memory_order_relaxed);
	if (since && !advice_is_huge())
		atomic_store_explicit(&huge_wanted, true, memory_order_relaxed);
}

void huge_pass_tick(void)
{
	if (OPTION(thp) == THP_AUTO)
		calm_down(now_ms());
}

void huge_rest(void)
{
	if (OPTION(thp) == THP_AUTO && advice_is_huge())
		advise_all(false);
}

/* ---- How full a region is ---------------------------------------------------------------------------------------- */

/* Estimates: what is in the region may change meanwhile. */
struct content {
	size_t bytes;   /* of live blocks */
	size_t touched; /* of those, what programs use for certain: of a block of many pages one */
};

static struct content content_of(struct region *r)
{
	struct content c = {0};

	for (uint32_t left = atomic_load_explicit(&r->used, memory_order_relaxed); left; left &= left - 1) {
		const struct slice *s = r->slices + __builtin_ctz(left);
		enum slice_kind kind = slice_kind(s);
		int32_t live = kind == SLICE_SLAB ? slice_live(s) : 0;
		size_t size = kind == SLICE_SLAB ? SLICE_GET(s, block_size) : 0;

		if (kind == SLICE_SLAB) {
			c.bytes += (size_t)(live > 0 ? live : 0) * size;
			c.touched += (size_t)(live > 0 ? live : 0) * min_size(size, PAGE_BYTES);
		} else if (kind != SLICE_INNER) {
			c.bytes += SLICE_BYTES;
		}
	}
	return c;
}

static size_t live_bytes(struct region *r)
{
	return content_of(r).bytes;
}

static size_t resident_pages(struct region *r)
{
	unsigned char pages[PAGES];
	size_t n = 0;

	if (os_resident(r->base, REGION_BYTES, pages))
		return 0;
	for (size_t i = 0; i < PAGES; i++)
		n += pages[i] & 1;
	return n;
}

static bool is_mostly_full(struct region *r)
{
	return live_bytes(r) >= REGION_BYTES / 4 * 3;
}

static bool is_huge(struct region *r)
{
	return atomic_load_explicit(&r->huge, memory_order_relaxed);
}

bool huge_keeps_whole(struct region *r)
{
	return is_huge(r) && is_mostly_full(r);
}

void huge_split(struct region *r, void *page)
{
	if (!is_huge(r) || !atomic_exchange_explicit(&r->huge, false, memory_order_relaxed))
		return;
	atomic_store_explicit(&r->dense, 0, memory_order_relaxed);
	/* That a page is cold says nothing that matters; but the kernel splits a huge one to say it of a part. */
	if (!release_is_restricted())
		os_advise(page, PAGE_BYTES, MADV_COLD);
}

/* ---- While the heap grows ---------------------------------------------------------------------------------------- */

/* Regions that wait for reuse have their pages. */
static bool is_growth(size_t regions)
{
	return OPTION(thp) == THP_AUTO && COUNT_GET(dirty_regions) < regions;
}

static void advise(bool fast, uint64_t now)
{
	if (fast)
		stir_up(now);
	else
		calm_down(now);
}

enum filled { SPARSE, UNTOUCHED, DENSE };

static bool is_touched(struct filling *f, struct region *r)
{
	size_t held = limit_held_bytes() >> REGION_SHIFT;

	if (!(f->small >> f->next & 1))
		return f->trusted && f->trusted--;
	f->trusted = !release_is_restricted() && resident_pages(r) >= TOUCHED_PAGES
			     ? (unsigned)max_size(held / TRUSTED_SHARE, TRUSTED_REGIONS)
			     : 0;
	return f->trusted;
}

static enum filled how_filled(struct filling *f)
{
	struct region *r = f->fetched[f->next];
	struct content c = r ? content_of(r) : (struct content){0};

	if (c.bytes < REGION_BYTES / 2)
		return SPARSE;
	return c.touched >= REGION_BYTES / 2 || is_touched(f, r) ? DENSE : UNTOUCHED;
}

void huge_before_take(struct filling *f)
{
	uint64_t now, before = f->fetched_ms;
	enum filled filled = SPARSE;

	if (!is_growth(1) || limit_held_bytes() < SMALL_HEAP)
		return;
	f->fetched_ms = now = now_ms();
	note_growth(now);
	if (now - before <= FILL_MS && host_at(now) >= HOST_MADVISE)
		filled = how_filled(f);
	if (filled == UNTOUCHED)
		huge_rest();
	else
		advise(filled == DENSE, now);
}

void huge_after_take(struct filling *f, struct region *r)
{
	f->fetched[f->next] = r;
	f->small = (f->small & ~(1u << f->next)) | (unsigned)!advice_is_huge() << f->next;
	f->next = (f->next + 1) % FILLING_REGIONS;
}

void huge_before_long_take(size_t regions)
{
	uint64_t now;

	if (!is_growth(regions) || regions < LONG_REGIONS)
		return;
	now = now_ms();
	note_growth(now);
	advise(host_at(now) == HOST_ALWAYS, now);
}

/* ---- Collapse ---------------------------------------------------------------------------------------------------- */

static _Atomic bool impossible;        /* the kernel cannot do it */
static _Atomic uint64_t not_before_ms; /* a fork */
static uint64_t last_us;               /* the background thread's, as what follows */
static int64_t budget_us;
static size_t next_heap, next_region; /* where the search goes on */

/* Whether R, which is looked at once a tick, has been dense for long enough, as far as its slices tell. */
static bool has_aged(struct region *r)
{
	uint8_t dense = atomic_load_explicit(&r->dense, memory_order_relaxed);

	if (dense == TRIED || is_huge(r) || heap_is_inherited(r))
		return false;
	if (r->state != REGION_ACTIVE || ~atomic_load_explicit(&r->used, memory_order_relaxed)) {
		if (dense)
			atomic_store_explicit(&r->dense, 0, memory_order_relaxed);
		return false;
	}
	if (dense < DENSE_TICKS)
		atomic_store_explicit(&r->dense, dense + 1, memory_order_relaxed);
	return dense >= DENSE_TICKS;
}

/* All regions are aged; the first of them that may be collapsed, from where the last search ended, are stored. */
static size_t find_dense(struct region **batch)
{
	size_t n = 0, heap_at = next_heap, region_at = next_region;

	for (size_t i = 0; i < HEAPS_MAX; i++) {
		struct heap *h = atomic_load_explicit(&heaps[i], memory_order_acquire);
		size_t top = h ? atomic_load_explicit(&h->top, memory_order_acquire) : 0;

		for (size_t k = 0; k < top; k++) {
			bool passed = i < heap_at || (i == heap_at && k < region_at);

			if (!has_aged(heap_region(h, k)) || passed || n == BATCH)
				continue;
			batch[n++] = heap_region(h, k);
			next_heap = i;
			next_region = k + 1;
		}
	}
	if (n < BATCH)
		next_heap = next_region = 0;
	return n;
}

static bool collapse(struct region *r)
{
	static unsigned refused;
	int error;

	if (resident_pages(r) < DENSE_PAGES || !is_mostly_full(r)) {
		atomic_store_explicit(&r->dense, 0, memory_order_relaxed); /* not yet */
		return false;
	}
	atomic_store_explicit(&r->dense, TRIED, memory_order_relaxed);
	error = os_advise(r->base, REGION_BYTES, MADV_COLLAPSE);
	if (error) {
		COUNT_ADD(collapse_failures, 1);
		if (error == EINVAL && !COUNT_GET(collapsed) && ++refused >= REFUSALS)
			atomic_store_explicit(&impossible, true, memory_order_relaxed);
		return false;
	}
	atomic_store_explicit(&r->huge, true, memory_order_relaxed);
	COUNT_ADD(collapsed, 1);
	arena_filled(r);
	return true;
}

static void add_to_budget(void)
{
	uint64_t now = os_now_us(), passed = last_us ? now - last_us : 0;

	last_us = now;
	budget_us += (int64_t)min_size(passed / SHARE, BUDGET_US);
	if (budget_us > BUDGET_US)
		budget_us = BUDGET_US;
}

/* Counts on the budget what it takes. */
static size_t collapse_batch(struct region **batch, size_t n, bool *rest)
{
	size_t bytes = 0, i;
	uint64_t start = os_now_us();
	int64_t left = budget_us;

	advise_all(true);
	for (i = 0; i < n && left > 0 && !atomic_load_explicit(&impossible, memory_order_relaxed); i++) {
		bytes += collapse(batch[i]) ? REGION_BYTES : 0;
		left = budget_us - (int64_t)(os_now_us() - start);
	}
	calm_down(now_ms());
	budget_us = left;
	*rest = i < n || n == BATCH;
	if (i < n) {
		next_heap = 0;
		next_region = 0;
	}
	return bytes;
}

size_t huge_collapse(bool *rest)
{
	struct region *batch[BATCH];
	uint64_t now = now_ms();
	size_t n;

	*rest = false;
	if (OPTION(thp) != THP_AUTO || atomic_load_explicit(&impossible, memory_order_relaxed) ||
	    release_is_restricted())
		return 0;
	add_to_budget();
	n = find_dense(batch);
	if (!n || budget_us <= 0 || now < atomic_load_explicit(&not_before_ms, memory_order_relaxed) ||
	    host_at(now) < HOST_MADVISE) {
		*rest = n && budget_us <= 0;
		return 0;
	}
	return collapse_batch(batch, n, rest);
}

/* ---- Fork -------------------------------------------------------------------------------------------------------- */

void huge_after_fork_in_parent(void)
{
	atomic_store_explicit(&not_before_ms, now_ms() + FORK_MS, memory_order_relaxed);
}

void huge_after_fork(void)
{
	budget_us = 0;
	lock_reset(&advice_lock);
}
