/* SPDX-License-Identifier: MIT */
/* The part of the prefixed interface that glibc has no like of: release, arenas, options. */
#include "api/alloc.h"
#include "cache/relief.h"
#include "cache/scavenger.h"
#include "conf/options.h"
#include "exit/armed.h"

const char *pmd_version(void)
{
	return PMDALLOC_VERSION;
}

size_t pmd_release(void)
{
	if (!cache_init())
		return 0;
	cache_flush();
	return scavenger_release_all();
}

void pmd_thread_flush(void)
{
	cache_flush();
	scavenger_kick();
}

unsigned pmd_arena_count(void)
{
	return arena_count();
}

unsigned pmd_thread_arena(void)
{
	struct cache *c = cache_get();

	return c ? c->arena->index : 0;
}

int pmd_thread_set_arena(unsigned index)
{
	struct cache *c;
	struct arena *a;

	if (index >= ARENAS_MAX)
		return EINVAL;
	c = cache_get();
	a = c ? arena_get(index) : NULL;
	if (!a || a->retired)
		return ENOMEM;
	cache_set_arena(c, a);
	return 0;
}

int pmd_option_get(const char *name, char *buf, size_t len)
{
	cache_init();
	return options_get(name, buf, len);
}

int pmd_option_set(const char *name, const char *value)
{
	int error;

	cache_init();
	error = options_set(name, value);
	if (!error) {
		relief_after_change();
		scavenger_options_changed();
		armed_options_changed(name);
	}
	return error;
}

static int64_t limit_of(size_t bytes)
{
	return bytes && bytes <= PTRDIFF_MAX ? (int64_t)bytes : SIZE_NONE;
}

int pmd_limit(size_t soft, size_t hard)
{
	if (soft && hard && soft > hard)
		return EINVAL;
	cache_init();
	atomic_store_explicit(&options.limit, limit_of(soft), memory_order_relaxed);
	atomic_store_explicit(&options.limit_hard, limit_of(hard), memory_order_relaxed);
	relief_after_change();
	return 0;
}
