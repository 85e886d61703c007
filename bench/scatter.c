/* SPDX-License-Identifier: MIT */
/*
 * Page tables under scattered survivors. A service allocates 55 GiB in the course of its life; nearly all of it is freed
 * soon, but now and then something stays: a session, an entry of a cache. At the end 590 MiB live, strewn over whatever
 * the allocator has used, and everything else is free. (A thousandth of a case seen on servers: VIRT 55t, RES 590g,
 * VmPTE 110g.) Measured is VmPTE after the decay, against the fewest PTE pages that could map the survivors: their bytes
 * / 2 MiB.
 *
 * What is freed is freed in one of these patterns; --window-mib is the most that lives besides the survivors:
 *   random    in random order, as much as is allocated
 *   fifo      in the order of allocation
 *   batch     all at once, each time the window is full
 *   tide      as random, while the window swings between an eighth and the whole, as by day and night
 *   service   requests of many small objects, a few buffers and a large response, which end in random order
 *   buffers   as random, of buffers of 64 KiB to 8 MiB; what survives is of the usual sizes
 *   drift     as random, but the sizes change: in each sixteenth of the time they are those of one doubling
 *   cache     as random; a quarter of all goes to a cache that is full from some time on and evicts at random
 * With --threads N so many threads do it, each its part; of eight groups that end, --remote are freed by another
 * thread. They sleep when they are done, unless --join 1.
 *
 * What stays is a record of several objects after each --every-kib of allocation; with --every-kib 0 any object, at
 * random. No allocator that cannot move blocks gets below the regions that were in use at the peak where survivors are
 * strewn at random, so a window that is larger than what survives cannot reach twice the fewest.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif
#include "measure.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum pattern { RANDOM, FIFO, BATCH, TIDE, SERVICE, BUFFERS, DRIFT, CACHE };

static const char *const pattern_words[] = {"random",  "fifo",  "batch", "tide", "service",
					    "buffers", "drift", "cache", NULL};

static struct {
	size_t mib, live_mib, window_mib, every_kib, low, high, pattern, threads, remote, join, wait_ms;
} options = {.mib = 56320,
	     .live_mib = 590,
	     .window_mib = 256,
	     .every_kib = 4096,
	     .low = 16,
	     .high = 32768,
	     .remote = 3,
	     .wait_ms = 12000};

enum { THREADS_MAX = 64, MAILBOX = 256 };

/* The start of each object: those of a group, which lives and ends together, are chained. */
struct object {
	struct object *next;
	size_t size;
};

/* Groups that may end: all that live but those that survive. */
struct window {
	struct object **groups;
	size_t capacity, first, count, bytes;
};

struct worker {
	pthread_t thread;
	uint64_t random;
	size_t allocated, kept, since_record;
	size_t total, live, most; /* its part of the whole, in bytes */
	struct window window, cache;
	pthread_mutex_t mutex; /* guards the mailbox: groups that others want freed here */
	struct object *mailbox[MAILBOX];
	size_t mail;
};

static struct worker workers[THREADS_MAX];
static atomic_size_t kept_in_all;
static pthread_barrier_t done;

/* ---- Objects and groups ------------------------------------------------------------------------------------------ */

/* Each doubling between LOW and HIGH is as likely as the next. */
static size_t size_between(struct worker *w, size_t low, size_t high)
{
	unsigned octaves = 63 - (unsigned)__builtin_clzll(high / low);
	size_t base = low << (octaves ? random_below(&w->random, octaves) : 0);

	return base + random_below(&w->random, base);
}

static size_t usual_size(struct worker *w)
{
	size_t octaves = (size_t)63 - (size_t)__builtin_clzll(options.high / options.low), base;

	if (options.pattern != DRIFT || !octaves)
		return size_between(w, options.low, options.high);
	/* Five is prime to most numbers of doublings: those that follow one another are not neighbours. */
	base = options.low << w->allocated / (w->total / 16 + 1) * 5 % octaves;
	return base + random_below(&w->random, base);
}

static struct object *object_new(struct worker *w, size_t size, struct object *next)
{
	struct object *o = malloc(size);

	if (!o)
		die("out of memory");
	memset(o, 0x5a, size);
	o->next = next;
	o->size = size;
	w->allocated += size;
	return o;
}

static size_t group_bytes(const struct object *o)
{
	size_t bytes = 0;

	for (; o; o = o->next)
		bytes += o->size;
	return bytes;
}

static void group_free(struct object *o)
{
	while (o) {
		struct object *next = o->next;

		free(o);
		o = next;
	}
}

/* Objects of the usual sizes, BYTES in all. */
static struct object *group_new(struct worker *w, size_t bytes)
{
	struct object *o = NULL;

	for (size_t have = 0, size; have < bytes; have += size) {
		size = usual_size(w);
		if (size > bytes - have)
			size = bytes - have > sizeof(*o) ? bytes - have : sizeof(*o);
		o = object_new(w, size, o);
	}
	return o;
}

/* A buffer to read into, what was parsed from it, and the answer. */
static struct object *request_new(struct worker *w)
{
	struct object *o = object_new(w, 16384, NULL);

	for (size_t n = 20 + random_below(&w->random, 180); n; n--)
		o = object_new(w, size_between(w, 16, 1024), o);
	for (size_t n = random_below(&w->random, 8); n; n--)
		o = object_new(w, size_between(w, 1024, 8192), o);
	return object_new(w, size_between(w, 4096, 524288), o);
}

static struct object *next_group(struct worker *w)
{
	if (options.pattern == SERVICE)
		return request_new(w);
	if (options.pattern == BUFFERS)
		return object_new(w, size_between(w, 65536, 8 << 20), NULL);
	return object_new(w, usual_size(w), NULL);
}

/* ---- Windows ----------------------------------------------------------------------------------------------------- */

/* Mapped by itself: it must not count as the allocator's. */
static void window_map(struct window *w, size_t bytes)
{
	w->capacity = bytes / options.low + 4096;
	w->groups = mmap(NULL, w->capacity * sizeof(*w->groups), PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (w->groups == MAP_FAILED)
		die("no memory for a table");
}

static void window_unmap(struct window *w)
{
	munmap(w->groups, w->capacity * sizeof(*w->groups));
}

static void window_put(struct window *w, struct object *group)
{
	if (w->count == w->capacity)
		die("a window that is too small");
	w->groups[(w->first + w->count++) % w->capacity] = group;
	w->bytes += group_bytes(group);
}

static struct object *window_take_oldest(struct window *w)
{
	struct object *group = w->groups[w->first];

	w->first = (w->first + 1) % w->capacity;
	w->count--;
	w->bytes -= group_bytes(group);
	return group;
}

static struct object *window_take_any(struct window *w, uint64_t *random)
{
	struct object **at = &w->groups[(w->first + random_below(random, w->count)) % w->capacity];
	struct object *group = *at;

	*at = w->groups[(w->first + --w->count) % w->capacity];
	w->bytes -= group_bytes(group);
	return group;
}

/* ---- The work ---------------------------------------------------------------------------------------------------- */

static void drain_mail(struct worker *w)
{
	struct object *taken[MAILBOX];
	size_t n;

	pthread_mutex_lock(&w->mutex);
	n = w->mail;
	memcpy(taken, w->mailbox, n * sizeof(*taken));
	w->mail = 0;
	pthread_mutex_unlock(&w->mutex);
	while (n)
		group_free(taken[--n]);
}

static bool post(struct worker *to, struct object *group)
{
	bool room;

	pthread_mutex_lock(&to->mutex);
	room = to->mail < MAILBOX;
	if (room)
		to->mailbox[to->mail++] = group;
	pthread_mutex_unlock(&to->mutex);
	return room;
}

static void end_group(struct worker *w, struct object *group)
{
	size_t self = (size_t)(w - workers);

	if (options.threads < 2 || random_below(&w->random, 8) >= options.remote ||
	    !post(&workers[(self + 1) % options.threads], group))
		group_free(group);
}

static size_t window_limit(const struct worker *w)
{
	size_t wave = w->total / 8, at = w->allocated % wave, high = at < wave / 2 ? at : wave - at;

	return options.pattern == TIDE
		       ? w->most / 8 + (size_t)((double)w->most * 7 / 8 * (double)high * 2 / (double)wave)
		       : w->most;
}

static void end_some(struct worker *w)
{
	size_t limit = window_limit(w);

	if (w->window.bytes <= limit)
		return;
	if (options.pattern == BATCH)
		limit = 0;
	while (w->window.bytes > limit)
		end_group(w, options.pattern == FIFO ? window_take_oldest(&w->window)
						     : window_take_any(&w->window, &w->random));
}

static void cache_put(struct worker *w, struct object *group)
{
	window_put(&w->cache, group);
	while (w->cache.bytes > w->live)
		end_group(w, window_take_any(&w->cache, &w->random));
}

static bool survives(struct worker *w)
{
	return !options.every_kib && options.pattern != CACHE &&
	       random_below(&w->random, options.mib) < options.live_mib;
}

static void step(struct worker *w)
{
	struct object *group = next_group(w);

	if (options.pattern == CACHE && random_below(&w->random, 4) == 0)
		cache_put(w, group);
	else if (survives(w))
		w->kept += group_bytes(group);
	else
		window_put(&w->window, group);
	end_some(w);
}

/* Allocates what survives of the last --every-kib. */
static void keep_record(struct worker *w)
{
	size_t record = (options.every_kib << 10) * options.live_mib / options.mib;

	if (!options.every_kib || options.pattern == CACHE || w->allocated - w->since_record < options.every_kib << 10)
		return;
	w->since_record += options.every_kib << 10;
	w->kept += group_bytes(group_new(w, record));
}

static void work(struct worker *w)
{
	size_t steps = 0;

	while (w->allocated < w->total) {
		step(w);
		keep_record(w);
		if (++steps % 64 == 0 && options.threads > 1)
			drain_mail(w);
	}
	while (w->window.count)
		end_group(w, window_take_any(&w->window, &w->random));
	w->kept += w->cache.bytes;
}

static void begin(struct worker *w, size_t parts)
{
	w->random = 88172645463325252 + 7 * (uint64_t)(w - workers);
	w->total = (options.mib << 20) / parts;
	w->live = (options.live_mib << 20) / parts;
	w->most = (options.window_mib << 20) / parts;
	pthread_mutex_init(&w->mutex, NULL);
	window_map(&w->window, w->most);
	window_map(&w->cache, options.pattern == CACHE ? w->live : 0);
}

static void end(struct worker *w)
{
	window_unmap(&w->window);
	window_unmap(&w->cache);
	atomic_fetch_add(&kept_in_all, w->kept);
}

static void *run_worker(void *argument)
{
	struct worker *w = argument;

	work(w);
	pthread_barrier_wait(&done); /* nobody posts any more */
	drain_mail(w);
	end(w);
	pthread_barrier_wait(&done);
	while (!options.join)
		pause();
	return NULL;
}

/* ---- The measure ------------------------------------------------------------------------------------------------- */

static size_t most_pte_kb;
static _Atomic bool finished;

static void *watch(void *unused)
{
	while (!atomic_load(&finished)) {
		size_t now = status_kb("VmPTE:");

		most_pte_kb = now > most_pte_kb ? now : most_pte_kb;
		sleep_ms(20);
	}
	return unused;
}

static void run_threads(void)
{
	pthread_barrier_init(&done, NULL, (unsigned)options.threads + 1);
	for (size_t i = 0; i < options.threads; i++)
		begin(&workers[i], options.threads);
	for (size_t i = 0; i < options.threads; i++)
		if (pthread_create(&workers[i].thread, NULL, run_worker, &workers[i]))
			die("no thread");
	pthread_barrier_wait(&done);
	pthread_barrier_wait(&done);
	for (size_t i = 0; options.join && i < options.threads; i++)
		pthread_join(workers[i].thread, NULL);
}

static void run(void)
{
	if (options.threads) {
		run_threads();
		return;
	}
	begin(&workers[0], 1);
	work(&workers[0]);
	end(&workers[0]);
}

static void report(size_t start_pte_kb)
{
	size_t kept = atomic_load(&kept_in_all), fewest = (kept + (2 << 20) - 1) / (2 << 20) * 4;
	size_t pte = status_kb("VmPTE:");

	result_begin();
	result_text("pattern", pattern_words[options.pattern]);
	result_number("live_kb", (double)(kept >> 10));
	result_number("rss_kb", (double)status_kb("VmRSS:"));
	result_number("rss_peak_kb", (double)status_kb("VmHWM:"));
	result_number("virt_kb", (double)status_kb("VmSize:"));
	result_number("pte_start_kb", (double)start_pte_kb);
	result_number("pte_peak_kb", (double)most_pte_kb);
	result_number("pte_kb", (double)pte);
	result_number("pte_fewest_kb", (double)fewest);
	result_number("pte_ratio", (double)pte / (double)fewest);
	result_pmd();
	result_end();
}

static void parse(int argc, char **argv)
{
	const struct option_of known[] = {
		{"--pattern", &options.pattern, pattern_words},
		{"--mib", &options.mib, NULL},
		{"--live-mib", &options.live_mib, NULL},
		{"--window-mib", &options.window_mib, NULL},
		{"--every-kib", &options.every_kib, NULL},
		{"--low", &options.low, NULL},
		{"--high", &options.high, NULL},
		{"--threads", &options.threads, NULL},
		{"--remote", &options.remote, NULL},
		{"--join", &options.join, NULL},
		{"--wait-ms", &options.wait_ms, NULL},
		{0},
	};

	options_parse(argc, argv, known);
	if (options.low < sizeof(struct object) || options.high < options.low || options.mib < 8 || !options.live_mib ||
	    options.threads > THREADS_MAX)
		die("senseless sizes or too many threads");
}

int main(int argc, char **argv)
{
	size_t start_pte_kb;
	pthread_t watcher;

	parse(argc, argv);
	start_pte_kb = status_kb("VmPTE:");
	if (pthread_create(&watcher, NULL, watch, NULL))
		die("no thread");
	run();
	atomic_store(&finished, true);
	pthread_join(watcher, NULL);
	sleep_ms(options.wait_ms);
	report(start_pte_kb);
	return 0;
}
