/* SPDX-License-Identifier: MIT */
#include "trace/play.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

enum { PAGE = 4096, SAMPLES = 512, STACK = 256 << 10, SPINS = 200, YIELDS = 200, NAP_NS = 50000 };

struct slot {
	void *block;
	size_t size;
	_Atomic uint32_t turn;
};

static struct plan plan;
static struct slot *slots;
static enum touch touching;
static bool in_threads;
static uint64_t sample_every; /* steps; 0: never */
static _Atomic uint64_t refused;
static _Atomic uint32_t ended; /* lanes */

/* ---- Memory ------------------------------------------------------------------------------------------------------ */

static int status_fd;
static struct memory start;
static _Atomic uint64_t rss_peak, rss_sum, pte_peak, pte_sum, samples;

static uint64_t field(const char *text, const char *name)
{
	const char *at = strstr(text, name);

	return at ? strtoull(at + strlen(name), NULL, 10) : 0;
}

static struct memory memory_now(uint64_t *peak_rss)
{
	char text[4096];
	ssize_t n = pread(status_fd, text, sizeof text - 1, 0);

	text[n > 0 ? n : 0] = 0;
	if (peak_rss)
		*peak_rss = field(text, "\nVmHWM:");
	return (struct memory){field(text, "\nVmRSS:"), field(text, "\nVmPTE:")};
}

static uint64_t above(uint64_t value, uint64_t base)
{
	return value > base ? value - base : 0;
}

static void raise_to(_Atomic uint64_t *most, uint64_t value)
{
	uint64_t seen = *most;

	while (value > seen && !atomic_compare_exchange_weak(most, &seen, value))
		;
}

static void sample(void)
{
	struct memory now = memory_now(NULL);
	uint64_t rss = above(now.rss_kb, start.rss_kb), pte = above(now.pte_kb, start.pte_kb);

	raise_to(&rss_peak, rss);
	raise_to(&pte_peak, pte);
	rss_sum += rss;
	pte_sum += pte;
	samples++;
}

/* The kernel's own note of the most there was begins anew; false where it does not let us. */
static bool forget_peak(void)
{
	int fd = open("/proc/self/clear_refs", O_WRONLY | O_CLOEXEC);
	bool fine = fd >= 0 && write(fd, "5", 1) == 1;

	close(fd);
	return fine;
}

/* ---- Steps ------------------------------------------------------------------------------------------------------- */

/* Writes to P what a program would: all of it from FROM on, or a byte of each page. */
static void touch(unsigned char *p, size_t from, size_t size)
{
	if (from >= size)
		return;
	if (touching == TOUCH_ALL) {
		memset(p + from, 1, size - from);
		return;
	}
	for (size_t at = from; at < size; at += PAGE)
		((volatile unsigned char *)p)[at] = 1;
	((volatile unsigned char *)p)[size - 1] = 1;
}

static void *allocate(const struct step *s)
{
	void *p = NULL;

	switch (s->operation) {
	case DO_MALLOC:
		return malloc(s->size);
	case DO_CALLOC:
		return calloc(1, s->size);
	default:
		return posix_memalign(&p, (size_t)1 << s->shift, s->size) ? NULL : p;
	}
}

static void refuse(const struct step *s)
{
	if (s->size)
		refused++;
}

static void resize(const struct step *s, struct slot *slot)
{
	void *p = realloc(slot->block, s->size);

	if (!p) {
		refuse(s);
		if (s->size) /* the block is as it was */
			return;
		slot->size = 0;
	}
	slot->block = p;
	if (touching)
		touch(p, slot->size, s->size);
	slot->size = s->size;
}

static inline void do_step(const struct step *s, struct slot *slot)
{
	switch (s->operation) {
	case DO_FREE:
		free(slot->block);
		slot->block = NULL;
		slot->size = 0;
		break;
	case DO_REALLOC:
		resize(s, slot);
		break;
	default:
		slot->block = allocate(s);
		if (__builtin_expect(!slot->block, 0)) {
			refuse(s);
			break;
		}
		if (touching)
			touch(slot->block, 0, s->size);
		slot->size = s->size;
	}
}

/* ---- Threads ----------------------------------------------------------------------------------------------------- */

static void rest(unsigned round)
{
	const struct timespec nap = {0, NAP_NS};

	if (round < SPINS) {
#if defined(__x86_64__)
		__builtin_ia32_pause();
#endif
	} else if (round < SPINS + YIELDS) {
		sched_yield();
	} else {
		nanosleep(&nap, NULL);
	}
}

static void *run_lane(void *lane);

static void start_lane(const struct step *s)
{
	struct lane *lane = (struct lane *)plan.lanes.items + s->slot;
	pthread_attr_t attributes;
	pthread_t thread;
	int error;

	for (unsigned round = 0; ended < s->turn; round++)
		rest(round);
	pthread_attr_init(&attributes);
	pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
	pthread_attr_setstacksize(&attributes, STACK);
	error = pthread_create(&thread, &attributes, run_lane, lane);
	pthread_attr_destroy(&attributes);
	if (error)
		fail(NULL, "cannot start a thread: %s", strerror(error));
}

static void run_in_turn(const struct step *s)
{
	struct slot *slot = slots + s->slot;

	for (unsigned round = 0; atomic_load_explicit(&slot->turn, memory_order_acquire) != s->turn; round++)
		rest(round);
	do_step(s, slot);
	atomic_store_explicit(&slot->turn, s->turn + 1, memory_order_release);
}

static void *run_lane(void *lane)
{
	const struct vector *steps = &((struct lane *)lane)->steps;
	const struct step *s = steps->items, *end = s + steps->used;
	uint64_t until = sample_every;

	for (; s < end; s++) {
		if (!in_threads)
			do_step(s, slots + s->slot);
		else if (s->operation == DO_START)
			start_lane(s);
		else
			run_in_turn(s);
		if (__builtin_expect(until && !--until, 0)) {
			sample();
			until = sample_every;
		}
	}
	ended++;
	return NULL;
}

/* ---- A pass ------------------------------------------------------------------------------------------------------ */

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static uint64_t faults_now(void)
{
	struct rusage usage;

	getrusage(RUSAGE_SELF, &usage);
	return (uint64_t)usage.ru_minflt;
}

static void run_all(struct played *result)
{
	struct lane *lanes = plan.lanes.items;
	uint64_t faults = faults_now(), begin = now_ns();

	if (plan.facts.threads)
		run_lane(lanes + plan.first_lane);
	for (unsigned round = 0; plan.facts.threads && ended < plan.lanes.used; round++)
		rest(round);
	result->ns = now_ns() - begin;
	result->faults = faults_now() - faults;
}

static void name_allocator(char *name, size_t room)
{
	void *address = dlsym(RTLD_DEFAULT, "malloc");
	Dl_info info;

	if (address && dladdr(address, &info) && info.dli_fname)
		strncpy(name, info.dli_fname, room - 1);
}

/* So that no page of it is first touched while time is taken. */
static void *slots_new(size_t count)
{
	char *p = memory_new(count * sizeof(struct slot));

	for (size_t at = 0; at < count * sizeof(struct slot); at += PAGE)
		((volatile char *)p)[at] = 0;
	return p;
}

/*
 * A machine fetches memory that was free for a while from its host, slowly: so it does before, not while time is taken.
 */
static void warm_up(uint64_t bytes)
{
	uint64_t most = (uint64_t)sysconf(_SC_AVPHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE) / 2;
	void *p;

	bytes = bytes < most ? bytes : most;
	p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	if (p != MAP_FAILED)
		munmap(p, bytes);
}

void play(struct played *result, const char *path, enum threads threads, enum touch touch_how, enum pass pass)
{
	uint64_t kernels_peak = 0;
	bool has_peak;

	*result = (struct played){0};
	name_allocator(result->allocator, sizeof result->allocator);
	touching = touch_how;
	in_threads = threads == THREADS_RECORDED;
	plan_make(&plan, path, threads, true, NULL);
	slots = slots_new(plan.slots);
	result->facts = plan.facts;
	warm_up(plan.facts.live_peak);
	if (pass == PASS_MEMORY)
		sample_every = plan.facts.steps / SAMPLES + 1;
	status_fd = open("/proc/self/status", O_RDONLY | O_CLOEXEC);
	if (status_fd < 0)
		fail(NULL, "cannot read /proc/self/status: %s", strerror(errno));
	has_peak = forget_peak();
	start = memory_now(NULL);
	run_all(result);
	if (pass == PASS_MEMORY)
		sample();
	result->end = memory_now(&kernels_peak);
	result->end.rss_kb = above(result->end.rss_kb, start.rss_kb);
	result->end.pte_kb = above(result->end.pte_kb, start.pte_kb);
	if (has_peak)
		raise_to(&rss_peak, above(kernels_peak, start.rss_kb));
	result->refused = refused;
	result->samples = samples;
	result->peak = (struct memory){rss_peak, pte_peak};
	if (samples)
		result->average = (struct memory){rss_sum / samples, pte_sum / samples};
}
