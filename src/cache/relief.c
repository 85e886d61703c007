/* SPDX-License-Identifier: MIT */
/*
 * Everything that is free goes back before the heap grows beyond its soft limit, and before a request is refused for
 * the hard one. One thread does it at a time: who comes meanwhile finds it done.
 */
#include "cache/relief.h"
#include "cache/cache.h"
#include "cache/held.h"
#include "cache/memcheck.h"
#include "cache/scavenger.h"
#include "conf/options.h"
#include "os/os.h"

enum {
	ROUNDS = 3,        /* so often for one request: others may take what came free */
	PATIENCE_MS = 100, /* so long for what other threads are giving back */
	SOFT_SHARE = 256,  /* less than this part of the heap is not worth a look at all of it for each step beyond */
};

static struct lock relief_lock; /* taken before any other */

static size_t free_bytes(void)
{
	size_t slices = atomic_load_explicit(&arena_dirty_slices, memory_order_relaxed) +
			atomic_load_explicit(&held_unexamined, memory_order_relaxed);

	return (COUNT_GET(dirty_regions) << REGION_SHIFT) + (slices << SLICE_SHIFT);
}

/* What other threads are giving back is nobody's, and not found by looking for what is free. */
static void wait_for_others(size_t before)
{
	static _Atomic uint32_t nobody;

	for (int i = 0; i < PATIENCE_MS && limit_held_bytes() >= before; i++) {
		if (!atomic_load_explicit(&limit_dropping, memory_order_relaxed))
			break;
		os_wait(&nobody, 0, 1);
	}
}

/* Returns whether the heap holds less than BEFORE. */
static bool give_back(size_t before)
{
	lock_take(&relief_lock);
	if (limit_held_bytes() >= before) {
		atomic_fetch_add_explicit(&limit_releases, 1, memory_order_relaxed);
		cache_flush();
		scavenger_release_all();
		wait_for_others(before);
	}
	lock_drop(&relief_lock);
	return limit_held_bytes() < before;
}

static void refuse(const struct growth *g)
{
	static _Atomic bool said;
	char buf[256];
	struct text t;

	atomic_fetch_add_explicit(&limit_refusals, 1, memory_order_relaxed);
	if (atomic_exchange_explicit(&said, true, memory_order_relaxed))
		return;
	text_init(&t, buf, sizeof buf);
	text_put(&t, "limit_hard:");
	text_put_bytes(&t, OPTION(limit_hard));
	text_put(&t, " is reached: the heap holds ");
	text_put_bytes(&t, (int64_t)limit_held_bytes());
	text_put(&t, ", what was free has been given back, and it may not grow by ");
	text_put_bytes(&t, (int64_t)(g->wanted << PAGE_SHIFT));
	text_put(&t, ": the request fails with ENOMEM (said once)");
	os_message(&t);
}

bool relief(struct growth *g)
{
	enum limit met = g->met;
	size_t held = g->held << PAGE_SHIFT;

	g->met = LIMIT_NONE;
	if (met == LIMIT_SOFT) {
		g->past_soft = true;
		if (free_bytes() >= held / SOFT_SHARE)
			give_back(held);
		return true;
	}
	if (met == LIMIT_HARD && g->rounds++ < ROUNDS && give_back(held))
		return true;
	if (met == LIMIT_HARD)
		refuse(g);
	return false;
}

void relief_after_change(void)
{
	size_t held = limit_held_bytes();

	memcheck_define(&held, sizeof held);
	if (held > (size_t)OPTION(limit) || held > (size_t)OPTION(limit_hard))
		give_back(held);
}

void relief_after_fork(void)
{
	lock_reset(&relief_lock);
}
