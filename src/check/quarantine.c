/* SPDX-License-Identifier: MIT */
#include "check/quarantine.h"
#include "cache/scavenger.h"
#include "conf/options.h"
#include "heap/arena.h"
#include "os/os.h"

enum {
	MOST_BLOCKS = 1024, /* of a thread, a power of two */
	LARGE_BLOCKS = 16,
	LARGE_MOST = 64 << 20, /* bytes of them, in addresses */
};

struct held {
	void *p;
	size_t bytes;
};

struct quarantine {
	size_t bytes;
	unsigned oldest, count;
	struct held blocks[MOST_BLOCKS];
};

static void (*leave)(void *p);
static size_t most; /* constant after quarantine_init */

static struct {
	struct lock lock;
	struct slice *blocks[LARGE_BLOCKS];
	size_t bytes;
	unsigned oldest, count;
} large;

static void drop_oldest(struct quarantine *q)
{
	struct held *h = &q->blocks[q->oldest];

	q->oldest = (q->oldest + 1) % MOST_BLOCKS;
	q->count--;
	q->bytes -= h->bytes;
	leave(h->p);
}

void quarantine_hold(void *p, size_t bytes)
{
	struct cache *c = cache_get();
	struct quarantine *q = c && !c->slow ? c->quarantine : NULL;

	if (UNLIKELY(!q) && c && !c->slow)
		q = c->quarantine = meta_alloc(sizeof *q);
	if (UNLIKELY(!q) || bytes > most) {
		leave(p);
		return;
	}
	while (q->count == MOST_BLOCKS || q->bytes + bytes > most)
		drop_oldest(q);
	q->blocks[(q->oldest + q->count++) % MOST_BLOCKS] = (struct held){p, bytes};
	q->bytes += bytes;
}

/* The thread's cache is about to be torn down, and serves another thread next. */
static void empty(struct cache *c)
{
	while (c->quarantine && c->quarantine->count)
		drop_oldest(c->quarantine);
}

/* ---- Large blocks ------------------------------------------------------------------------------------------------ */

static size_t bytes_of(const struct slice *s)
{
	return (size_t)s->slices << SLICE_SHIFT;
}

static struct slice *take_oldest(void)
{
	struct slice *s = large.blocks[large.oldest];

	large.oldest = (large.oldest + 1) % LARGE_BLOCKS;
	large.count--;
	large.bytes -= bytes_of(s);
	return s;
}

static void end(struct slice *s)
{
	arena_put(s);
	scavenger_kick();
}

void quarantine_hold_large(struct slice *s)
{
	struct slice *leaving[LARGE_BLOCKS];
	unsigned n = 0;

	if (bytes_of(s) > LARGE_MOST || !arena_guard(s)) {
		os_unguard(s->base, bytes_of(s)); /* its end was guarded */
		end(s);
		return;
	}
	lock_take(&large.lock);
	while (large.count == LARGE_BLOCKS || large.bytes + bytes_of(s) > LARGE_MOST)
		leaving[n++] = take_oldest();
	large.blocks[(large.oldest + large.count++) % LARGE_BLOCKS] = s;
	large.bytes += bytes_of(s);
	lock_drop(&large.lock);
	for (unsigned i = 0; i < n; i++)
		end(leaving[i]);
}

void quarantine_after_fork(void)
{
	if (!lock_held(&large.lock))
		return;
	large.count = large.oldest = 0; /* whatever there was stays held */
	large.bytes = 0;
	lock_reset(&large.lock);
}

void quarantine_init(void (*how)(void *p))
{
	leave = how;
	most = (size_t)OPTION(quarantine) == (size_t)SIZE_NONE ? 0 : (size_t)OPTION(quarantine);
	cache_on_thread_exit = empty;
}
