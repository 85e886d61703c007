/* SPDX-License-Identifier: MIT */
/*
 * A thread's cache: made at its first request, torn down when it ends, left behind in a forked child by threads that are
 * gone. And the start of the library.
 */
#include <errno.h>
#include <pthread.h>
#include <string.h>

#include "base/errno_name.h"
#include "cache/cache.h"
#include "cache/held.h"
#include "cache/memcheck.h"
#include "cache/relief.h"
#include "cache/scavenger.h"
#include "cache/seal.h"
#include "cache/states.h"
#include "conf/options.h"
#include "heap/huge.h"
#include "os/asan.h"
#include "os/os.h"
#include "release/release.h"

/* Valgrind's tools keep notes of every 64 KiB that are mapped, used or not: 1.3 GB of them, and seconds, for 1 TiB. */
static const size_t reserve_for_valgrind = (size_t)16 << 30;

const struct slice slab_none = {.carved = 1};
struct cache cache_none = {
	.medium = {[0 ... MEDIUM - 1] = (struct slice *)&slab_none},
	.current = {[0 ... CLASSES - 1] = (struct slice *)&slab_none},
};

__thread struct slice *cache_direct[DIRECT]
	__attribute__((tls_model("initial-exec"))) = {[0 ... DIRECT - 1] = (struct slice *)&slab_none};
__thread struct cache *cache_self __attribute__((tls_model("initial-exec"))) = &cache_none;
__thread uintptr_t cache_id __attribute__((tls_model("initial-exec")));
__thread struct cache *cache_slow_self __attribute__((tls_model("initial-exec")));

/*
 * The thread's cache was torn down, and yet it goes on: late destructors. From then on it works under its cache's
 * lock only, so that what it leaves behind can be taken over by whoever comes next.
 */
static __thread bool ending __attribute__((tls_model("initial-exec")));

bool cache_instrumented, cache_strict, cache_special;
void (*cache_on_thread_exit)(struct cache *c);
void (*cache_on_fork)(void);

static struct lock beginning;   /* no thread begins while it is held, and caches_lock is taken after it */
static struct lock caches_lock; /* guards caches and in_use */
static struct cache *caches;
_Atomic uint32_t cache_generation;
static pthread_key_t exit_key;

static void clear_cache(struct cache *c)
{
	for (int i = 0; i < DIRECT; i++)
		cache_direct[i] = (struct slice *)&slab_none;
	memcpy(c->medium, cache_none.medium, sizeof c->medium);
	memcpy(c->current, cache_none.current, sizeof c->current);
	memset(c->partial, 0, sizeof c->partial);
	memset(c->kept, 0, sizeof c->kept);
	memset(c->sparse, 0, sizeof c->sparse);
	memset(c->shared, 0, sizeof c->shared);
	c->full = NULL;
}

/*
 * A cache for thread THREAD: what it left behind when it used malloc after its cache was torn down, a spare one, or
 * a new one. Caches of threads that a fork left behind are never used again.
 */
static struct cache *find_cache(uintptr_t thread, bool *again)
{
	struct cache *c, *spare = NULL;
	size_t count = 0;

	for (c = caches; c; c = c->next, count++) {
		if (c->generation != cache_generation)
			continue;
		if (c->in_use && c->thread == thread)
			break;
		if (!c->in_use)
			spare = c;
	}
	*again = c != NULL;
	if (!c && !(c = spare)) {
		c = count + 1 < ID_COUNT ? meta_alloc(sizeof *c) : NULL;
		if (!c)
			return NULL;
		c->id = (count + 1) << ID_SHIFT;
		c->generation = cache_generation;
		c->next = caches;
		__atomic_store_n(&caches, c, __ATOMIC_RELEASE);
	}
	c->in_use = true;
	c->thread = thread;
	return c;
}

static void disown_all(struct cache *c)
{
	for (unsigned class = 0; class < CLASSES; class += 1) {
		struct slice *s = c->current[class];

		if (s != &slab_none) {
			cache_set_current(c, class, (struct slice *)&slab_none);
			held_disown(s);
		}
		while ((s = cache_take_partial(c, class)))
			held_disown(s);
	}
	while (c->full) {
		struct slice *s = c->full;

		cache_unlist(c, s);
		held_disown(s);
	}
}

static struct cache *create(void)
{
	bool again;
	struct cache *c;

	if (!cache_init())
		return NULL;
	lock_take(&beginning);
	lock_take(&caches_lock);
	c = find_cache(os_thread_id(), &again);
	lock_drop(&caches_lock);
	lock_drop(&beginning);
	if (!c)
		return NULL;
	if (again) {
		lock_take(&c->lock);
		disown_all(c);
		lock_drop(&c->lock);
	}
	clear_cache(c);
	c->slow = cache_instrumented || ending;
	if (!again)
		c->arena = arena_assign();
	if (!c->arena) {
		c->in_use = false;
		return NULL;
	}
	cache_slow_self = c;
	if (!c->slow && !cache_strict) {
		cache_self = c;
		cache_id = c->id;
	}
	pthread_setspecific(exit_key, c); /* may allocate: the cache is ready */
	return c;
}

struct cache *cache_get(void)
{
	return LIKELY(cache_slow_self != NULL) ? cache_slow_self : create();
}

static void thread_exit(void *arg)
{
	struct cache *c = arg;

	if (c->generation != cache_generation)
		return;
	if (cache_on_thread_exit)
		cache_on_thread_exit(c);
	ending = true;
	cache_self = &cache_none;
	cache_id = 0;
	cache_slow_self = NULL;
	memcheck_silence();
	lock_take(&c->lock);
	disown_all(c);
	clear_cache(c);
	lock_drop(&c->lock);
	memcheck_resume();
	arena_unassign(c->arena);
	scavenger_kick();
	lock_take(&caches_lock);
	c->in_use = false; /* this thread changes nothing any more */
	c->thread = 0;
	lock_drop(&caches_lock);
}

void cache_flush(void)
{
	struct cache *c = cache_slow_self;

	if (!c)
		return;
	memcheck_silence();
	lock_take(&c->lock);
	for (unsigned class = 0; class < CLASSES; class += 1) {
		struct slice *s = c->current[class];

		if (s == &slab_none)
			continue;
		slab_collect(s);
		slab_set_mark(s, slab_live(s), slab_live(s) ? 0 : MARK_KEPT);
		cache_drop_kept(c, s);
	}
	for (int i = 0; i < KEPT + KEPT_BIG; i++)
		cache_drop_kept(c, c->kept[i]);
	for (int i = 0; i < SPARSE + SPARSE_BIG; i++)
		cache_give_up(c, c->sparse[i]);
	memset(c->kept, 0, sizeof c->kept);
	memset(c->sparse, 0, sizeof c->sparse);
	lock_drop(&c->lock);
	memcheck_resume();
}

void cache_set_aside(void)
{
	struct cache *c = cache_slow_self;

	if (!c)
		return;
	cache_flush();
	lock_take(&c->lock);
	for (unsigned class = 0; class < CLASSES; class += 1) {
		struct slice *s = c->current[class];

		if (s == &slab_none)
			continue;
		cache_set_current(c, class, (struct slice *)&slab_none);
		slab_set_mark(s, slab_live(s), 0);
		cache_make_partial(c, s);
	}
	lock_drop(&c->lock);
}

void cache_set_arena(struct cache *c, struct arena *a)
{
	lock_take(&c->lock);
	arena_unassign(c->arena);
	atomic_fetch_add_explicit(&a->threads, 1, memory_order_relaxed);
	c->arena = a;
	lock_drop(&c->lock);
}

unsigned cache_threads(void)
{
	unsigned n = 0;

	lock_take(&caches_lock);
	for (struct cache *c = caches; c; c = c->next)
		n += c->in_use && c->generation == cache_generation;
	lock_drop(&caches_lock);
	return n;
}

static bool is_only(void)
{
	unsigned n = 0;

	lock_take(&caches_lock);
	for (struct cache *c = caches; c; c = c->next)
		n += c->in_use;
	lock_drop(&caches_lock);
	return n == 1 && cache_slow_self && cache_slow_self->in_use;
}

bool cache_stay_only(void)
{
	lock_take(&beginning);
	if (is_only())
		return true;
	lock_drop(&beginning);
	return false;
}

void cache_let_begin(void)
{
	lock_drop(&beginning);
}

/* ---- Start and fork ---------------------------------------------------------------------------------------------- */

enum { MREMAP_NEVER = 1 << 20 }; /* MiB: pages that are moved would take their guards along */

/* Under memcheck there is no need: it sees more. */
static void be_strict(void)
{
	cache_strict = true;
	cache_special = true;
	seal_init();
	arena_guards = os_can_guard();
	atomic_store_explicit(&options.mremap_mib, MREMAP_NEVER, memory_order_relaxed);
	atomic_store_explicit(&options.thp, THP_NEVER,
			      memory_order_relaxed); /* a page that is guarded is none of a huge one */
}

/* Makes what each allocation needs. Returns 0, or an errno value and in *WHAT what there is none of. */
static int make(const char **what)
{
	int error;

	*what = "heap";
	if ((error = heap_init()))
		return error;
	*what = "arena";
	if (!arena_get(0))
		return ENOMEM;
	*what = "key for what a thread ends with";
	return pthread_key_create(&exit_key, thread_exit);
}

/* Where the reason may lie. */
static const char *hint(int error)
{
	switch (error) {
	case ENOMEM:
		return "look at RLIMIT_AS and RLIMIT_DATA (ulimit -v and -d), vm.max_map_count and "
		       "vm.overcommit_memory";
	case EAGAIN:
		return "look at how many keys for threads the program makes (PTHREAD_KEYS_MAX), and at RLIMIT_MEMLOCK";
	default:
		return "look at system call filters (seccomp)";
	}
}

static void complain(const char *what, int error)
{
	char buf[256];
	struct text t;

	text_init(&t, buf, sizeof buf);
	text_put(&t, "no ");
	text_put(&t, what);
	text_put(&t, " can be made, so every allocation fails: ");
	text_put_errno(&t, error);
	text_put(&t, "; ");
	text_put(&t, hint(error));
	os_message(&t);
}

static bool init_locked(void)
{
	const char *what;
	int error;

	options_init();
	arena_init();
	scavenger_init();
	cache_instrumented = cache_special = memcheck_runs() || asan_runs();
	heap_has_fast_path = !cache_instrumented;
	if (OPTION(check) == CHECK_STRICT && !cache_instrumented)
		be_strict();
	if (memcheck_runs())
		release_restrict(); /* memcheck does not know newer system calls */
	if (valgrind_runs())
		heap_reserve_most = reserve_for_valgrind;
	if ((error = make(&what))) {
		complain(what, error);
		return false;
	}
	check_init();
	return true;
}

bool cache_init(void)
{
	static struct lock lock;
	static _Atomic int state; /* 0 not tried, 1 ready, -1 failed */
	int now = atomic_load_explicit(&state, memory_order_acquire);

	if (now)
		return now > 0;
	lock_take(&lock);
	if (!atomic_load_explicit(&state, memory_order_relaxed))
		atomic_store_explicit(&state, init_locked() ? 1 : -1, memory_order_release);
	lock_drop(&lock);
	return state > 0;
}

/*
 * In the child of a fork only this thread is left, and it was not inside the allocator. Locks that are held were
 * held by others, in the middle of a change: what they guard is given up. Slabs of other threads stay as they are:
 * the generation tells, and no thread will have their ids.
 */
static void after_fork_in_child(void)
{
	struct cache *c = cache_slow_self;
	bool heap_torn = heap_after_fork(), arena_torn = arena_after_fork();

	limit_after_fork(heap_torn || arena_torn);
	huge_after_fork();
	relief_after_fork();
	if (cache_on_fork)
		cache_on_fork();
	scavenger_after_fork();
	lock_reset(&beginning);
	lock_reset(&caches_lock);
	atomic_store_explicit(&cache_generation, cache_generation + 1, memory_order_relaxed);
	if (!c)
		return;
	if (lock_held(&c->lock)) {
		lock_reset(&c->lock);
		for (int i = 0; i < DIRECT; i++)
			cache_direct[i] = (struct slice *)&slab_none;
		cache_self = &cache_none;
		cache_id = 0;
		cache_slow_self = NULL;
		return;
	}
	c->generation = cache_generation;
	if (c->arena)
		atomic_fetch_add_explicit(&c->arena->threads, 1, memory_order_relaxed);
}

__attribute__((constructor(101))) static void start(void)
{
	cache_init();
	pthread_atfork(NULL, huge_after_fork_in_parent, after_fork_in_child);
}
