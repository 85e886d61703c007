/* SPDX-License-Identifier: MIT */
/*
 * What the library asks before each system call. Its background thread has no thread-local storage and a small stack:
 * nothing here uses the C library on the way of a call, nor locks that a fork could leave taken.
 *
 * Rules are only ever added, so that a call which looks at one while others are set does no harm: [oldest, newest) are
 * in force.
 */
#include "inject.h"

#include <errno.h>
#include <linux/futex.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <time.h>

#include "os/syscall.h"

enum {
	RULES = 8192,
	NRS = 512,
	LATE_CALLS = 4096,
	SLICE_MS = 2, /* waits look at the clock so often */
	REGION = 2 << 20,
};

struct entry {
	struct inject_rule rule;
	_Atomic size_t met, hits;
};

static struct entry entries[RULES];
static _Atomic size_t oldest, newest;
static _Atomic size_t calls[NRS];
static _Atomic uint64_t random_state, ahead_ms;

static uint64_t draw(void)
{
	uint64_t z = atomic_fetch_add_explicit(&random_state, 0x9e3779b97f4a7c15, memory_order_relaxed);

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
	z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
	return z ^ (z >> 31);
}

static long kernel(long nr, const long args[6])
{
	return os_syscall_kernel(nr, args[0], args[1], args[2], args[3], args[4], args[5]);
}

static uint64_t real_us(void)
{
	struct timespec t = {0, 0};

	os_syscall_kernel(SYS_clock_gettime, CLOCK_MONOTONIC, (long)&t, 0, 0, 0, 0);
	return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

static void sleep_us(uint64_t us)
{
	struct timespec t = {(time_t)(us / 1000000), (long)(us % 1000000 * 1000)};

	os_syscall_kernel(SYS_clock_nanosleep, CLOCK_MONOTONIC, 0, (long)&t, 0, 0, 0);
}

static void delay(unsigned most_us)
{
	uint64_t us = most_us ? draw() % (most_us + 1) : 0;

	if (us)
		sleep_us(us);
}

/* ---- The clock --------------------------------------------------------------------------------------------------- */

static uint64_t now_ms(void)
{
	return real_us() / 1000 + atomic_load(&ahead_ms);
}

void inject_advance_ms(uint64_t ms)
{
	atomic_fetch_add(&ahead_ms, ms);
}

/* A wait whose time limit is argument number LIMIT: in slices, as the clock may jump. */
static long wait_in_slices(long nr, const long args[6], int limit, long timed_out)
{
	const struct timespec *t = (const struct timespec *)args[limit];
	uint64_t now = now_ms(), end = now + (uint64_t)t->tv_sec * 1000 + (uint64_t)t->tv_nsec / 1000000;

	for (;;) {
		uint64_t ms = end <= now ? 0 : end - now < SLICE_MS ? end - now : SLICE_MS;
		struct timespec slice = {0, (long)ms * 1000000};
		long changed[6], result;

		memcpy(changed, args, sizeof changed);
		changed[limit] = (long)&slice;
		result = kernel(nr, changed);
		now = now_ms();
		if (result != timed_out || now >= end)
			return result;
	}
}

static bool is_timed(long nr, const long args[6])
{
	if (nr == SYS_ppoll)
		return args[2];
	return nr == SYS_futex && (args[1] & FUTEX_CMD_MASK) == FUTEX_WAIT && args[3];
}

static bool is_clock(long nr, const long args[6])
{
	return nr == SYS_clock_gettime && args[0] == CLOCK_MONOTONIC;
}

static long read_clock(struct timespec *t)
{
	uint64_t us = real_us() + atomic_load(&ahead_ms) * 1000;

	*t = (struct timespec){(time_t)(us / 1000000), (long)(us % 1000000 * 1000)};
	return 0;
}

static long ask(long nr, const long args[6])
{
	if (is_clock(nr, args))
		return read_clock((struct timespec *)args[1]);
	if (!is_timed(nr, args))
		return kernel(nr, args);
	return nr == SYS_ppoll ? wait_in_slices(nr, args, 2, 0) : wait_in_slices(nr, args, 3, -ETIMEDOUT);
}

/* ---- Calls that are put off -------------------------------------------------------------------------------------- */

static struct {
	_Atomic bool taken; /* guards the rest */
	size_t count;
	long process; /* whose thread it is: a forked child has none */
	struct late {
		long nr, args[6];
		uint64_t due_us;
	} calls[LATE_CALLS];
} late;

static void late_lock(void)
{
	while (atomic_exchange_explicit(&late.taken, true, memory_order_acquire))
		os_syscall_kernel(SYS_sched_yield, 0, 0, 0, 0, 0, 0);
}

static void late_unlock(void)
{
	atomic_store_explicit(&late.taken, false, memory_order_release);
}

static bool put_off(long nr, const long args[6], unsigned us)
{
	bool ok;

	if (late.process != os_syscall_kernel(SYS_getpid, 0, 0, 0, 0, 0, 0))
		return false;
	late_lock();
	ok = late.count < LATE_CALLS;
	if (ok) {
		late.calls[late.count] = (struct late){.nr = nr, .due_us = real_us() + us};
		memcpy(late.calls[late.count++].args, args, sizeof late.calls[0].args);
	}
	late_unlock();
	return ok;
}

static bool make_late_call(void)
{
	uint64_t now = real_us();
	struct late call = {.nr = -1};

	late_lock();
	for (size_t i = 0; i < late.count && call.nr < 0; i++)
		if (late.calls[i].due_us <= now) {
			call = late.calls[i];
			late.calls[i] = late.calls[--late.count];
		}
	late_unlock();
	if (call.nr >= 0)
		kernel(call.nr, call.args);
	return call.nr >= 0;
}

static void *make_late_calls(void *unused)
{
	for (;;)
		if (!make_late_call())
			sleep_us(50);
	return unused;
}

static void start_late_thread(void)
{
	long process = os_syscall_kernel(SYS_getpid, 0, 0, 0, 0, 0, 0);
	pthread_t thread;

	if (late.process == process)
		return;
	late.process = process;
	if (pthread_create(&thread, NULL, make_late_calls, NULL) || pthread_detach(thread))
		abort();
}

void inject_settle(void)
{
	bool done;

	do {
		sleep_us(1000);
		late_lock();
		done = !late.count;
		late_unlock();
	} while (!done);
	sleep_us(10000); /* the last may be under way */
}

/* Answers as if the call had been made. */
static long answer_late(long nr, const long args[6], unsigned us)
{
	const struct iovec *ranges = (const struct iovec *)args[1];
	long bytes = 0;

	if (nr == SYS_mmap)
		return put_off(nr, args, us) ? args[0] : kernel(nr, args);
	if (nr != SYS_process_madvise)
		return put_off(nr, args, us) ? 0 : kernel(nr, args);
	for (long i = 0; i < args[2]; i++) {
		const long one[6] = {(long)ranges[i].iov_base, (long)ranges[i].iov_len, args[3]};

		if (!put_off(SYS_madvise, one, us))
			kernel(SYS_madvise, one);
		bytes += (long)ranges[i].iov_len;
	}
	return bytes;
}

/* ---- Rules ------------------------------------------------------------------------------------------------------- */

size_t inject_add(struct inject_rule rule)
{
	size_t n = atomic_load(&newest);

	if (n == RULES)
		abort();
	if (rule.action == INJECT_LATE)
		start_late_thread();
	entries[n].rule = rule;
	atomic_store(&newest, n + 1);
	return n;
}

void inject_clear(void)
{
	atomic_store(&oldest, atomic_load(&newest));
}

void inject_seed(uint64_t seed)
{
	atomic_store(&random_state, seed);
}

size_t inject_met(size_t rule)
{
	return atomic_load(&entries[rule].met);
}

size_t inject_hits(size_t rule)
{
	return atomic_load(&entries[rule].hits);
}

size_t inject_calls(long nr)
{
	return atomic_load(&calls[nr]);
}

static bool is_regions(uintptr_t base, size_t bytes)
{
	return base && bytes && base % REGION == 0 && bytes % REGION == 0;
}

bool inject_is_release(const long args[6])
{
	const struct iovec *ranges;

	if (!args || !args[0])
		return false;
	if (args[0] > 4096) /* an address; or else a descriptor */
		return is_regions((uintptr_t)args[0], (size_t)args[1]);
	ranges = (const struct iovec *)args[1]; /* process_madvise; descriptors go along with their regions */
	for (long i = 0; i < args[2]; i++)
		if (is_regions((uintptr_t)ranges[i].iov_base, ranges[i].iov_len))
			return true;
	return false;
}

/* ---- Sites ------------------------------------------------------------------------------------------------------- */

static struct inject_site *_Atomic site_table;
static size_t site_count;

void inject_count_sites(struct inject_site *table, size_t sites)
{
	site_count = sites;
	atomic_store(&site_table, table);
}

/* Not the C library's: its own may be chosen at the first call, by the dynamic loader. */
static bool same_name(const char *a, const char *b)
{
	if (a == b)
		return true;
	while (*a && *a == *b)
		a++, b++;
	return *a == *b;
}

static void name_place(struct inject_site *place, const char *site, long nr)
{
	size_t i = 0;

	for (; site[i] && i + 1 < sizeof place->name; i++)
		place->name[i] = site[i];
	place->name[i] = 0;
	place->nr = nr;
	atomic_store_explicit(&place->state, INJECT_READY, memory_order_release);
}

/* A place for SITE and NR, the one that is there or a new one; NULL when the table is full. */
static struct inject_site *place_of(const char *site, long nr)
{
	struct inject_site *table = atomic_load(&site_table);

	for (size_t i = 0; table && i < site_count; i++) {
		unsigned state = INJECT_FREE;

		if (atomic_compare_exchange_strong(&table[i].state, &state, INJECT_BEING_MADE))
			name_place(&table[i], site, nr);
		while (atomic_load_explicit(&table[i].state, memory_order_acquire) != INJECT_READY)
			os_syscall_kernel(SYS_sched_yield, 0, 0, 0, 0, 0, 0);
		if (table[i].nr == nr && same_name(table[i].name, site))
			return &table[i];
	}
	return NULL;
}

static bool applies(struct entry *e, const char *site, long nr, const long args[6])
{
	const struct inject_rule *r = &e->rule;
	size_t number;

	if (r->nr != nr || (r->site && !same_name(r->site, site)) || (r->match && !r->match(args)))
		return false;
	number = atomic_fetch_add_explicit(&e->met, 1, memory_order_relaxed) + 1;
	if (number < r->first || (r->last && number > r->last))
		return false;
	if (r->every && (number - r->first) % r->every)
		return false;
	if (r->chance && draw() % 65536 >= r->chance)
		return false;
	atomic_fetch_add_explicit(&e->hits, 1, memory_order_relaxed);
	return true;
}

/* The rule for this call, if there is one. */
static const struct inject_rule *find(const char *site, long nr, const long args[6])
{
	size_t end = atomic_load(&newest);
	struct inject_site *place = place_of(site, nr);

	if (nr >= 0 && nr < NRS)
		atomic_fetch_add_explicit(&calls[nr], 1, memory_order_relaxed);
	if (place)
		atomic_fetch_add_explicit(&place->calls, 1, memory_order_relaxed);
	for (size_t i = atomic_load(&oldest); i < end; i++)
		if (applies(&entries[i], site, nr, args)) {
			if (place)
				atomic_fetch_add_explicit(&place->hits, 1, memory_order_relaxed);
			return &entries[i].rule;
		}
	return NULL;
}

static long ask_short(long nr, const long args[6])
{
	const struct iovec *ranges = (const struct iovec *)args[1];
	struct iovec half = {ranges[0].iov_base, ranges[0].iov_len / 2 & ~(size_t)4095};
	long changed[6];

	memcpy(changed, args, sizeof changed);
	changed[2] = args[2] > 1 ? args[2] / 2 : 1;
	if (args[2] == 1)
		changed[1] = (long)&half;
	return kernel(nr, changed);
}

static long act(const struct inject_rule *rule, long nr, const long args[6])
{
	switch (rule->action) {
	case INJECT_FAIL:
		return -rule->error;
	case INJECT_SHORT:
		return nr == SYS_process_madvise ? ask_short(nr, args) : ask(nr, args);
	case INJECT_LATE:
		return answer_late(nr, args, rule->late_us);
	case INJECT_ANSWER:
		return rule->answer(args);
	default:
		return ask(nr, args);
	}
}

bool inject_syscall(const char *site, long nr, const long args[6], long *result)
{
	const struct inject_rule *rule = find(site, nr, args);

	if (!rule && !is_timed(nr, args) && !is_clock(nr, args))
		return false;
	if (!rule) {
		*result = ask(nr, args);
		return true;
	}
	delay(rule->before_us);
	*result = act(rule, nr, args);
	delay(rule->after_us);
	return true;
}

bool inject_elsewhere(const char *site, long nr, long *result)
{
	const struct inject_rule *rule;

	if (nr == SYS_clock_gettime) {
		*result = (long)now_ms() * 1000;
		return true;
	}
	rule = find(site, nr, NULL);
	if (!rule)
		return false;
	delay(rule->before_us);
	*result = -rule->error;
	return rule->action == INJECT_FAIL;
}
