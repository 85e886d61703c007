/* SPDX-License-Identifier: MIT */
/*
 * Reports of misuse: where a guarded block was allocated and freed and who met it, in all modes who misused it; the file that
 * they are appended to; going on with abort:false; sizes and alignments that a release is told wrong, with check:strict.
 */
#include "api.h"
#include "check.h"
#include "proc.h"

#include <ctype.h>
#include <pthread.h>
#include <sched.h>
#include <sys/stat.h>

#define CASE_SECONDS 20
#define CODE_BYTES   4096 /* no function here is longer */
#define PAGE         4096
#define SLAB         ((uintptr_t)64 << 10) /* where they begin */
#define LARGE        ((size_t)1 << 20)
#define STRICT       "check:strict"
#define NO_WAIT      "check:strict,quarantine:0"

struct check_case {
	const char *name;
	const char *conf;
	void (*run)(void);
	int status;           /* a signal, or minus an exit status */
	const char *words[4]; /* the report holds each */
	void *frames[3];      /* functions that lines name by an address in them, in this order */
};

static char *volatile block;

/* Callees that the compiler cannot make part of their callers, nor their last calls jumps. */
#ifdef __clang__
#define PART __attribute__((noinline))
#else
#define PART __attribute__((noinline, noclone))
#endif
static volatile int after_call;

PART static void allocator(size_t size)
{
	block = t_malloc(size);
	after_call = 1;
}

PART static void releaser(void)
{
	t_free(block);
	after_call = 2;
}

PART static void culprit(void)
{
	block[0] = 1;
	after_call = 3;
}

static void use_after_free(void)
{
	allocator(24);
	releaser();
	culprit();
}

static void double_free(void)
{
	allocator(24);
	releaser();
	releaser();
}

static void overflow(void)
{
	allocator(24);
	block[24]++;
	releaser();
}

static void never_freed(void)
{
	allocator(24);
	block[24]++;
}

static void zero_size(void)
{
	allocator(0);
	culprit();
}

static void go_on(void)
{
	double_free();
	allocator(100);
	memset(block, 1, 100);
	releaser();
	releaser();
	CHECK(t_malloc(100));
}

static void free_sized_wrong(void)
{
	allocator(24);
	t_free_sized(block, 25);
	after_call = 4;
}

/* What was asked for, not how the block lies. */
static void free_aligned_wrong(void)
{
	t_free_aligned_sized(t_aligned_alloc(64, 128), 64, 128);
	t_free_aligned_sized(t_aligned_alloc(8, 24), 8, 24);
	t_free_aligned_sized(t_malloc(24), 16, 24);
	block = t_aligned_alloc(1024, 24);
	t_free_aligned_sized(block, 64, 24);
}

#ifndef PMD_PREFIXED
extern void *new_aligned(size_t size, size_t align) __asm__("_ZnwmSt11align_val_t");
extern void delete_plain(void *p) __asm__("_ZdlPv");

static void delete_aligned(void)
{
	block = new_aligned(24, 64);
	delete_plain(block);
}
#endif

static void free_sized_aligned(void)
{
	block = t_aligned_alloc(64, 24);
	t_free_sized(block, 24);
}

static void sent_signal(void)
{
	raise(SIGSEGV);
}

static void null_pointer(void)
{
	block = NULL;
	culprit();
}

static void own_handler(int unused)
{
	(void)unused;
	_exit(5);
}

static void handled(void)
{
	signal(SIGSEGV, own_handler);
	use_after_free();
}

/* ---- Guarded blocks ---- */

static void access_far_behind(void)
{
	allocator(24);
	block += 2 * PAGE;
	culprit();
}

static void access_behind(void)
{
	allocator(24);
	block += PAGE / 2 + 100;
	culprit();
}

static void access_before(void)
{
	allocator(24);
	allocator(1000);
	block -= PAGE;
	culprit();
}

static void access_before_first(void)
{
	allocator(24);
	block -= PAGE;
	culprit();
}

/* The heap ends where it has grown to, and begins with a large block, the first of all. */
static void access_beyond_heap(void)
{
	allocator(24);
	block += GIB;
	culprit();
}

static void access_below_heap(void)
{
	struct pmd_stats stats = {.size = sizeof stats};

	allocator(4 * LARGE);
	CHECK(pmd_stats_get(&stats) == 0);
	block -= (uintptr_t)block % stats.heap_reserved + 1; /* the heap begins at a multiple of its size */
	culprit();
}

static void *allocate_large(void *unused)
{
	allocator(LARGE);
	return unused;
}

/* Another arena's first block, with memory below it that is in nobody's use. */
static void access_below_block(void)
{
	pthread_t thread;

	allocator(24);
	CHECK(pthread_create(&thread, NULL, allocate_large, NULL) == 0 && pthread_join(thread, NULL) == 0);
	block -= 1;
	culprit();
}

static void underrun(void)
{
	allocator(24);
	block[-1]++;
	releaser();
}

static void interior(void)
{
	allocator(100);
	block += 16;
	releaser();
}

static void freed_size(void)
{
	allocator(24);
	releaser();
	CHECK(t_usable(block) == 0);
}

static void freed_resize(void)
{
	allocator(24);
	releaser();
	CHECK(!t_realloc(block, 48));
}

static void keeps_size(void)
{
	allocator(24);
	CHECK(t_usable(block) == 24 && t_realloc(block, 24) == block);
}

/* ---- Links in free blocks, by default ---- */

enum { LISTED = 40 };

/* Blocks on one list, of which `block` is in the middle. */
static void list_free(void)
{
	static char *all[LISTED];
	for (size_t i = 0; i < LISTED; i++)
		all[i] = t_malloc(512);
	for (size_t i = 0; i < LISTED; i++)
		t_free(all[i]);
	block = all[LISTED / 2];
}

PART static void take_all(void)
{
	for (size_t i = 0; i < 4 * LISTED; i++)
		CHECK(t_malloc(512));
	after_call = 6;
}

static void link_cleared(void)
{
	list_free();
	memset(block, 0, 512);
	take_all();
}

static void link_wild(void)
{
	list_free();
	memset(block, 0x41, 8);
	take_all();
}

enum { FEW = 8, FEW_BYTES = 64 * KIB / FEW };

PART static void take_few(void)
{
	CHECK(t_malloc(FEW_BYTES));
	after_call = 6;
}

/* The slab that lost blocks is not left for another one, which has one again, before that is noticed. */
static void link_cleared_of_few(void)
{
	static char *all[3 * FEW];
	do
		all[0] = t_malloc(FEW_BYTES);
	while ((uintptr_t)all[0] % (64 * KIB));
	for (size_t i = 1; i < 3 * FEW; i++)
		all[i] = t_malloc(FEW_BYTES);
	for (size_t i = 3 * FEW - 4; i < 3 * FEW; i++)
		t_free(all[i]);
	block = all[3 * FEW - 1];
	memset(block, 0, 8);
	CHECK(t_malloc(FEW_BYTES) == block);
	t_free(all[0]);
	take_few();
}

static void *wait_for_ever(void *begun)
{
	t_free(t_malloc(1));
	pthread_barrier_wait(begun);
	for (;;)
		pause();
	return NULL;
}

PART static void take_shared(void)
{
	for (size_t i = 0; i < 2; i++)
		CHECK(t_malloc(FEW_BYTES - 1000));
	after_call = 6;
}

/* In a slab that threads share: main is not alone in its arena. */
static void link_written_shared(int value)
{
	pthread_barrier_t begun;
	pthread_t thread;
	char *all[FEW];
	CHECK(pthread_barrier_init(&begun, NULL, 2) == 0);
	CHECK(pthread_create(&thread, NULL, wait_for_ever, &begun) == 0);
	pthread_barrier_wait(&begun);
	for (size_t i = 0; i < FEW; i++)
		all[i] = t_malloc(FEW_BYTES - 1000);
	for (size_t i = 1; i < FEW; i++)
		t_free(all[i]);
	block = all[FEW - 1];
	memset(block, value, 8);
	take_shared();
}

static void link_cleared_shared(void)
{
	link_written_shared(0);
}

static void link_wild_shared(void)
{
	link_written_shared(0x41);
}

static void *take_and_free_all(void *unused)
{
	static char *all[LISTED];
	for (size_t i = 0; i < LISTED; i++)
		all[i] = t_malloc(512);
	block = all[LISTED / 2];
	for (size_t i = 0; i < LISTED; i += 2)
		t_free(all[i]);
	return unused;
}

/* A thread that has ended leaves a list that is to be purged: it leads nowhere, or in a circle. */
static void purge_written(bool circle)
{
	pthread_t thread;
	CHECK(pthread_create(&thread, NULL, take_and_free_all, NULL) == 0 && pthread_join(thread, NULL) == 0);
	if (circle)
		memcpy(block, (const void *)&block, sizeof(uintptr_t));
	else
		memset(block, 0x41, 8);
	pmd_release();
	after_call = 7;
}

static void purge_of_wild_link(void)
{
	purge_written(false);
}

static void purge_of_circle(void)
{
	purge_written(true);
}

/* ---- Blocks of slabs, with check:strict ---- */

static void link_overwritten(void)
{
	allocator(24);
	releaser();
	memset(block, 1, 8);
}

static void link_to_itself(void)
{
	allocator(24);
	releaser();
	*(char **)(void *)block = block;
}

static void key_overwritten(void)
{
	allocator(24);
	releaser();
	block[8]++;
}

static void link_used(void)
{
	link_overwritten();
	allocator(24);
	allocator(24);
}

static void rest_overwritten(void)
{
	allocator(200);
	releaser();
	block[100] = 1;
	allocator(200);
}

static void rest_overwritten_unseen(void)
{
	allocator(200);
	releaser();
	block[100] = 1;
}

static void before_first(void)
{
	allocator(24);
	block -= (uintptr_t)block % SLAB == 32 ? 1 : 0;
	CHECK((uintptr_t)block % SLAB == 31);
	block[0]++;
}

static void before_first_freed(void)
{
	before_first();
	block++;
	releaser();
}

static void begin_of_slab(void)
{
	allocator(24);
	block -= (uintptr_t)block % SLAB;
	releaser();
}

static void never_handed_out(void)
{
	allocator(24);
	block += 64;
	releaser();
}

static void seal_overwritten(void)
{
	allocator(24);
	memset(block + 24, 1, 8);
	releaser();
}

static void seal_overwritten_size(void)
{
	allocator(24);
	memset(block + 24, 1, 8);
	CHECK(t_usable(block) == 0);
}

static void seal_overwritten_unseen(void)
{
	allocator(24);
	memset(block + 24, 1, 8);
}

static void no_size_twice(void)
{
	allocator(0);
	releaser();
	releaser();
}

static void no_size_interior(void)
{
	allocator(0);
	block++;
	releaser();
}

static void no_size_freed(void)
{
	allocator(0);
	releaser();
	CHECK(t_usable(block) == 0);
}

static void no_size_grows(void)
{
	for (int i = 0; i < 200; i++)
		allocator(0);
	CHECK(t_usable(block) == 0);
	for (size_t align = 16; align <= 4 * PAGE; align *= 2) {
		char *p = t_memalign(align, 0);
		CHECK(p && (uintptr_t)p % align == 0);
		t_free(p);
	}
	block = t_realloc(block, 5);
	CHECK(block);
	block[4] = 1;
	releaser();
}

/* There is room for 65,536; more are blocks of slabs. */
static void no_size_many(void)
{
	static char *all[70000];
	for (size_t i = 0; i < LENGTH(all); i++) {
		all[i] = t_malloc(0);
		CHECK(all[i] && (!i || all[i] != all[i - 1]) && t_usable(all[i]) == 0);
	}
	for (size_t i = 0; i < LENGTH(all); i++)
		t_free(all[i]);
	block = all[LENGTH(all) - 1];
	releaser();
}

/* When a thread's data are destroyed its cache is gone already. */
static void free_late(void *p)
{
	char *q = t_malloc(50);
	CHECK(q && t_usable(p) == 40);
	memset(q, 1, 50);
	t_free(p);
	t_free(q);
}

static pthread_key_t late;

static void *leave_to_destructor(void *unused)
{
	char *p = t_malloc(40);
	CHECK(p && pthread_setspecific(late, p) == 0);
	memset(p, 1, 40);
	return unused;
}

static void *only_allocate(void *p)
{
	return t_realloc(p, 200);
}

static void threads_end(void)
{
	pthread_t thread;
	void *p = t_malloc(100);
	CHECK(p && pthread_key_create(&late, free_late) == 0);
	for (int i = 0; i < 20; i++) {
		CHECK(pthread_create(&thread, NULL, leave_to_destructor, NULL) == 0);
		CHECK(pthread_join(thread, NULL) == 0);
		CHECK(pthread_create(&thread, NULL, only_allocate, NULL) == 0);
		CHECK(pthread_join(thread, (void **)&block) == 0 && t_usable(block) == 200);
		releaser();
	}
	t_free(p);
}

enum { LOOKED_AT = 8000 };

static _Atomic bool ends;
static char *left[LOOKED_AT];

static void tell_end(void)
{
	ends = true;
}

static void *allocate_at_end(void *unused)
{
	while (!ends)
		sched_yield();
	for (char *p; (p = t_malloc(70000)); t_free(p))
		memset(p, 1, 70000);
	return unused;
}

static void *free_at_end(void *unused)
{
	while (!ends)
		sched_yield();
	for (size_t i = LOOKED_AT; i-- > 0;)
		t_free(left[i]);
	return unused;
}

/* Threads that ask for nothing, and free nothing, before the last handler of the program's has run. */
static void begin_at_end(void)
{
	pthread_t threads[2];
	for (size_t i = 0; i < LOOKED_AT; i++)
		CHECK((left[i] = t_malloc(i % 100 ? 10000 : LARGE)));
	for (size_t i = 0; i < LOOKED_AT; i += 2) {
		t_free(left[i]); /* what is free is looked at in full, which takes its time */
		left[i] = NULL;
	}
	CHECK(pthread_create(&threads[0], NULL, allocate_at_end, NULL) == 0 && pthread_detach(threads[0]) == 0);
	CHECK(pthread_create(&threads[1], NULL, free_at_end, NULL) == 0 && pthread_detach(threads[1]) == 0);
	CHECK(atexit(tell_end) == 0);
}

static void no_memory(void)
{
	static char *all[100000];
	size_t n = 0;
	char *large = t_malloc(LARGE);
	CHECK(large);
	memset(large, 7, LARGE);
	while (n < LENGTH(all) && (all[n] = t_malloc(1000)))
		memset(all[n++], 1, 1000);
	CHECK(n < LENGTH(all) && errno == ENOMEM && n > 1000);
	while (t_malloc(100) || t_malloc(600))
		;
	CHECK(t_realloc(large, 100) == large); /* to shrink no memory is needed */
	CHECK(large[0] == 7 && large[99] == 7 && t_usable(large) == 100);
	CHECK(t_realloc(all[0], 600) == all[0] && t_usable(all[0]) == 600);
	t_free_sized(all[0], 600);
	while (n > 1)
		t_free(all[--n]);
	t_free_sized(large, 100);
	CHECK((large = t_malloc(LARGE)));
	t_free(large);
}

/* What was shrunk where it lay ends where it was shrunk to. */
static void no_memory_overrun(void)
{
	char *first = t_malloc(1000);
	while (t_malloc(1000))
		;
	while (t_malloc(600))
		;
	CHECK(first && t_realloc(first, 600) == first);
	first[600] = 0;
	block = first;
	releaser();
}

/* ---- Large ones ---- */

static void large_shrinks(void)
{
	allocator(LARGE);
	memset(block, 3, LARGE);
	block = t_realloc(block, 1000);
	CHECK(block && t_usable(block) == 1000);
	for (int i = 0; i < 1000; i++)
		CHECK(block[i] == 3);
	block[1000]++;
	releaser();
}

static void large_overrun(void)
{
	allocator(LARGE + 5);
	block[LARGE + 5]++;
	releaser();
}

static void large_overrun_resized(void)
{
	allocator(LARGE + 5);
	block[LARGE + 5]++;
	CHECK(!t_realloc(block, 2 * LARGE));
}

static void large_told_wrong(void)
{
	allocator(LARGE);
	t_free_sized(block, LARGE);
	block = t_aligned_alloc(4 * PAGE, LARGE);
	t_free_aligned_sized(block, 4 * PAGE, LARGE);
	allocator(LARGE);
	t_free_sized(block, LARGE - 1);
	after_call = 5;
}

static void large_aligned_wrong(void)
{
	allocator(LARGE);
	t_free_aligned_sized(block, PAGE, LARGE);
}

/* What realloc returns is as if malloc did. */
static void large_aligned_resized(void)
{
	block = t_realloc(t_aligned_alloc(4 * PAGE, LARGE), 2 * LARGE);
	t_free_sized(block, 2 * LARGE);
}

static void large_twice(void)
{
	allocator(LARGE);
	releaser();
	releaser();
}

static void large_interior(void)
{
	allocator(8 * LARGE);
	block += 5 * LARGE + 16;
	releaser();
}

static void large_all_right(void)
{
	for (size_t i = 1; i < 40; i++) {
		allocator(i * LARGE);
		block[0] = block[i * LARGE - 1] = 1;
		CHECK(!t_realloc(block, (size_t)1 << 46));
		CHECK(t_usable(block) == i * LARGE);
		block = t_realloc(block, (i + 1) * LARGE);
		CHECK(block && block[0] == 1 && block[i * LARGE - 1] == 1);
		releaser();
	}
	allocator(70 * LARGE); /* more than is held back */
	releaser();
}

static void foreign(void)
{
	static char here[64];
	block = here;
	releaser();
	CHECK(t_usable(block) == 0 && !t_realloc(block, 5));
}

static void all_right(void)
{
	for (size_t i = 1; i < 3000; i++) {
		char *p = t_malloc(i), *q = t_calloc(i, 3);
		CHECK(p && q && !q[0] && !q[3 * i - 1]);
		memset(p, 1, i);
		p = t_realloc(p, 2 * i);
		CHECK(p && p[0] == 1 && p[i - 1] == 1);
		CHECK(t_usable(p) >= 2 * i);
		t_free_sized(q, 3 * i);
		t_free(p);
	}
}

static const struct check_case cases[] = {
	{"use after free",
	 "guard_rate:1",
	 use_after_free,
	 SIGSEGV,
	 {"a block after its release", "guarded block", "size 24"},
	 {allocator, releaser, culprit}},
	{"double free",
	 "guard_rate:1",
	 double_free,
	 SIGABRT,
	 {"double free: free(", "already freed"},
	 {allocator, releaser, releaser}},
	{"overflow", "guard_rate:1", overflow, SIGABRT, {"behind this block"}, {allocator, releaser}},
	{"never freed", "guard_rate:1", never_freed, SIGABRT, {"exit(", "behind this block"}, {allocator}},
	{"no size", "guard_rate:1", zero_size, SIGSEGV, {"behind a block", "size 0"}, {allocator, culprit}},
	{"use after free, strict", "check:strict", use_after_free, SIGABRT, {"after its release"}, {NULL}},
	{"double free, strict", "check:strict", double_free, SIGABRT, {"double free: free("}, {releaser}},
	{"overflow, strict", "check:strict", overflow, SIGABRT, {"behind this block", "24 bytes"}, {releaser}},
	{"no size, strict", "check:strict", zero_size, SIGSEGV, {"of no size"}, {culprit}},
	{"another size", "check:strict", free_sized_wrong, SIGABRT, {"another size", "24, not 25"}, {free_sized_wrong}},
	{"another alignment", STRICT, free_aligned_wrong, SIGABRT, {"another alignment", "1024, not 64"}, {NULL}},
#ifndef PMD_PREFIXED
	{"alignment untold, delete", STRICT, delete_aligned, SIGABRT, {"operator delete(", "64, not 16"}, {NULL}},
#endif
	{"alignment untold", STRICT, free_sized_aligned, SIGABRT, {"another alignment", "64, not 16"}, {NULL}},
	{"double free, off", "check:off", double_free, SIGABRT, {"double free: free("}, {releaser}},
	{"goes on", "guard_rate:1,abort:false", go_on, 0, {"double free"}, {NULL}},
	{"goes on, off", "check:off,abort:false", go_on, 0, {"double free"}, {NULL}},
	{"goes on, strict", "check:strict,abort:false", go_on, 0, {"double free"}, {NULL}},
	{"signal that was sent", "", sent_signal, SIGSEGV, {NULL}, {NULL}},
	{"signal that was sent, strict", "check:strict", sent_signal, SIGSEGV, {NULL}, {NULL}},
	{"null pointer", "check:strict", null_pointer, SIGSEGV, {NULL}, {NULL}},
	{"use after free, ignored", "guard_rate:1", use_after_free, SIGSEGV, {NULL}, {NULL}},
	{"the program's own handler", "guard_rate:1", handled, -5, {NULL}, {NULL}},
	{"far behind", "guard_rate:1", access_far_behind, SIGSEGV, {"memory between guarded blocks"}, {culprit}},
	{"behind", "guard_rate:1", access_behind, SIGSEGV, {"behind a block", "size 24"}, {allocator, culprit}},
	{"before", "guard_rate:1", access_before, SIGSEGV, {"memory before a block"}, {allocator, culprit}},
	{"before the first guarded",
	 "guard_rate:1",
	 access_before_first,
	 SIGSEGV,
	 {"memory before a block", "size 24"},
	 {allocator, culprit}},
	{"beyond the heap", STRICT, access_beyond_heap, SIGSEGV, {"access(", "did not hand out"}, {culprit}},
	{"below a block", STRICT ",arenas:2", access_below_block, SIGSEGV, {"access(", "free memory"}, {culprit}},
	{"below the heap", STRICT, access_below_heap, SIGSEGV, {"access(", "before the first block"}, {culprit}},
	{"link, cleared", "guard_rate:0", link_cleared, SIGABRT, {"malloc(", "a link in", "missing"}, {take_all}},
	{"link, cleared, goes on", "guard_rate:0,abort:false", link_cleared, 0, {"malloc(", "missing"}, {take_all}},
	{"link, cleared, few",
	 "guard_rate:0",
	 link_cleared_of_few,
	 SIGABRT,
	 {"malloc(", "a link in", "missing"},
	 {take_few}},
	{"link, cleared, shared",
	 "guard_rate:0,arenas:1",
	 link_cleared_shared,
	 SIGABRT,
	 {"malloc(", "a link in", "missing"},
	 {take_shared}},
	{"link, wild, shared",
	 "guard_rate:0,arenas:1",
	 link_wild_shared,
	 SIGABRT,
	 {"malloc(", "a link in", "missing"},
	 {take_shared}},
	{"link, wild",
	 "guard_rate:1000000",
	 link_wild,
	 SIGSEGV,
	 {"malloc(0x4141414141414141)", "a link in"},
	 {take_all}},
	{"link, purged", "guard_rate:0", purge_of_wild_link, 0, {NULL}, {NULL}},
	{"link, purged, circle", "guard_rate:0", purge_of_circle, 0, {NULL}, {NULL}},
	{"underrun", "guard_rate:1", underrun, SIGABRT, {"the bytes before this block"}, {allocator, releaser}},
	{"interior", "guard_rate:1", interior, SIGABRT, {"16 bytes into one"}, {allocator, releaser}},
	{"freed, size",
	 "guard_rate:1",
	 freed_size,
	 SIGABRT,
	 {"malloc_usable_size(", "already freed"},
	 {allocator, releaser}},
	{"freed, resize",
	 "guard_rate:1,abort:false",
	 freed_resize,
	 0,
	 {"realloc(", "already freed"},
	 {allocator, releaser}},
	{"keeps size", "guard_rate:1", keeps_size, 0, {NULL}, {NULL}},
	{"link", NO_WAIT, link_overwritten, SIGABRT, {"exit(", "links in free blocks"}, {NULL}},
	{"link to itself", NO_WAIT, link_to_itself, SIGABRT, {"exit(", "links in free blocks"}, {NULL}},
	{"key", NO_WAIT, key_overwritten, SIGABRT, {"exit(", "links in free blocks"}, {NULL}},
	{"link, used", NO_WAIT, link_used, SIGABRT, {"malloc(", "links in this free block"}, {allocator}},
	{"rest", NO_WAIT, rest_overwritten, SIGABRT, {"malloc(", "written to after its release"}, {allocator}},
	{"rest, unseen", NO_WAIT, rest_overwritten_unseen, SIGABRT, {"exit(", "written to after its release"}, {NULL}},
	{"rest, held back",
	 STRICT,
	 rest_overwritten_unseen,
	 SIGABRT,
	 {"exit(", "written to after its release"},
	 {NULL}},
	{"before the first", STRICT, before_first, SIGABRT, {"exit(", "before the first block"}, {NULL}},
	{"before the first, freed", STRICT, before_first_freed, SIGABRT, {"bytes before this block"}, {releaser}},
	{"begin of a slab", STRICT, begin_of_slab, SIGABRT, {"begin of a slab"}, {releaser}},
	{"never handed out", STRICT, never_handed_out, SIGABRT, {"free(", "not a live block"}, {releaser}},
	{"seal", STRICT, seal_overwritten, SIGABRT, {"free(", "behind this block"}, {releaser}},
	{"seal, size", STRICT ",abort:false", seal_overwritten_size, 0, {"malloc_usable_size("}, {NULL}},
	{"seal, unseen", STRICT, seal_overwritten_unseen, SIGABRT, {"exit(", "behind this block"}, {NULL}},
	{"freed, size, strict", STRICT ",abort:false", freed_size, 0, {"malloc_usable_size(", "not a live"}, {NULL}},
	{"freed, resize, strict", STRICT ",abort:false", freed_resize, 0, {"realloc(", "not a live block"}, {NULL}},
	{"no size, twice", STRICT, no_size_twice, SIGABRT, {"double free: free(", "of no size"}, {releaser}},
	{"no size, interior", STRICT, no_size_interior, SIGABRT, {"free(", "of no size"}, {releaser}},
	{"no size, freed", STRICT ",abort:false", no_size_freed, 0, {"malloc_usable_size(", "of no size"}, {NULL}},
	{"no size, grows", STRICT, no_size_grows, 0, {NULL}, {NULL}},
	{"no size, many", STRICT, no_size_many, SIGABRT, {"double free: free("}, {releaser}},
	{"threads end", STRICT, threads_end, 0, {NULL}, {NULL}},
	{"threads begin at the end", STRICT, begin_at_end, 0, {NULL}, {NULL}},
	{"no memory", STRICT ",limit_hard:16M", no_memory, 0, {"limit_hard:16M is reached"}, {NULL}},
	{"no memory, overrun",
	 STRICT ",limit_hard:16M",
	 no_memory_overrun,
	 SIGABRT,
	 {"free(", "behind this block", "size 600"},
	 {releaser}},
	{"large, shrinks", STRICT, large_shrinks, SIGABRT, {"free(", "behind this block"}, {releaser}},
	{"large, overrun", STRICT, large_overrun, SIGABRT, {"free(", "behind this block", "large"}, {releaser}},
	{"large, resized", STRICT ",abort:false", large_overrun_resized, 0, {"realloc(", "behind this block"}, {NULL}},
	{"large, told wrong", STRICT, large_told_wrong, SIGABRT, {"another size"}, {large_told_wrong}},
	{"large, another alignment", STRICT, large_aligned_wrong, SIGABRT, {"16, not 4096"}, {NULL}},
	{"large, aligned, resized", STRICT, large_aligned_resized, 0, {NULL}, {NULL}},
	{"large, twice", STRICT, large_twice, SIGABRT, {"free(", "not a live block"}, {releaser}},
	{"large, interior", "", large_interior, SIGABRT, {"5242896 bytes into the block", "large"}, {releaser}},
	{"large, all right", STRICT, large_all_right, 0, {NULL}, {NULL}},
	{"foreign", "abort:false", foreign, 0, {"free(", "realloc(", "did not hand out"}, {releaser}},
	{"all right", "guard_rate:1", all_right, 0, {NULL}, {NULL}},
	{"all right, strict", "check:strict", all_right, 0, {NULL}, {NULL}},
};

/* ---- In the process that watches ---- */

static size_t read_file(int fd, char *text, size_t room)
{
	size_t length = 0;
	for (ssize_t n; length < room - 1 && (n = read(fd, text + length, room - 1 - length)) > 0;)
		length += (size_t)n;
	text[length] = 0;
	close(fd);
	return length;
}

static char file[] = "/tmp/t_check.XXXXXX";

/* Runs CASE in a process of its own; what it says is in TEXT. */
static int watch(const struct check_case *c, char *text, size_t room)
{
	char conf[256], number[8];
	char program[] = "t_check";
	char *const args[] = {program, number, NULL};
	int fds[2];
	CHECK(pipe(fds) == 0);
	pid_t pid = fork();
	CHECK(pid >= 0);
	if (pid == 0) {
		check_child(CASE_SECONDS);
		dup2(fds[1], STDERR_FILENO);
		close(fds[0]);
		close(fds[1]);
		snprintf(conf, sizeof conf, "%s,report_file:%s", c->conf, file);
		snprintf(number, sizeof number, "%d", (int)(c - cases));
		setenv("PMDALLOC_CONF", conf, 1);
		signal(SIGSEGV,
		       strstr(c->name, "ignored") ? SIG_IGN : SIG_DFL); /* as the program finds it at its start */
		execv("/proc/self/exe", args);
		_exit(126);
	}
	close(fds[1]);
	read_file(fds[0], text, room);
	return check_wait(pid);
}

/* The functions' addresses differ from process to process, but not their distance from main. */
int main(int argc, char **argv);

static bool is_in(uintptr_t offset, void *function)
{
	return offset - (uintptr_t)function < CODE_BYTES;
}

/* What follows "the program+" is the address less where the program was loaded; so is it for main here. */
static const char *find_frame(const char *text, void *function)
{
	static const char before[] = "(the program+0x";
	extern char __executable_start;
	while ((text = strstr(text, before))) {
		uintptr_t offset = strtoul(text + strlen(before), NULL, 16);
		text += strlen(before);
		if (is_in(offset + (uintptr_t)&__executable_start, function))
			return text;
	}
	return NULL;
}

static bool has_stacks(void)
{
#ifdef __x86_64__
	extern int _dl_find_object(void *, void *) __attribute__((weak));
	return _dl_find_object && !SANITIZED;
#else
	return false;
#endif
}

static void judge(const struct check_case *c, int status, const char *text, const char *filed)
{
	int expected = c->status > 0 ? c->status : -c->status << 8;
	const char *at = text;
	if (SANITIZED && c->status == SIGSEGV) { /* the sanitizer's handler is there already */
		CHECK(status);
		return;
	}
	CHECK_SAY((status & ~0x80) == expected, "%s: status %x, %.150s", c->name, (unsigned)status, text);
	if (!strstr(text, " is reached: ")) /* which is no report of misuse */
		CHECK_SAY(strcmp(text, filed) == 0, "%s: the file has %.100s", c->name, filed);
	CHECK_SAY(c->words[0] || !*text, "%s: said %.150s", c->name, text);
	for (size_t i = 0; i < LENGTH(c->words) && c->words[i]; i++)
		CHECK_SAY(strstr(text, c->words[i]), "%s: no '%s' in %.150s", c->name, c->words[i], text);
	for (size_t i = 0; has_stacks() && i < LENGTH(c->frames) && c->frames[i]; i++) {
		at = find_frame(at, c->frames[i]);
		CHECK_SAY(at, "%s: frame %zu is not in %.150s", c->name, i, text);
	}
}

/* Reports that cannot be written somewhere are written elsewhere, and the program ends as it would have. */

enum { CLOSED, FULL, GOOD };

static void end_badly(const char *report_file, int where, int fd)
{
	char conf[256];
	char program[] = "t_check", number[] = "double free";
	char *const args[] = {program, number, NULL, NULL};
	check_child(CASE_SECONDS);
	snprintf(conf, sizeof conf, "guard_rate:0,report_file:%s", report_file);
	setenv("PMDALLOC_CONF", conf, 1);
	if (where == FULL)
		fd = open("/dev/full", O_WRONLY);
	if (where == CLOSED)
		close(STDERR_FILENO);
	else
		dup2(fd, STDERR_FILENO);
	execv("/proc/self/exe", args);
	_exit(126);
}

static void hold_report(int fd, bool wanted, bool unfiled, const char *where)
{
	char text[4096];
	read_file(fd, text, sizeof text);
	CHECK_SAY(wanted == !!strstr(text, "double free: free("), "%s has %s", where, text);
	CHECK_SAY(unfiled == !!strstr(text, "not in report_file:"), "%s has %s", where, text);
}

static void elsewhere(const char *report_file, bool good, int where)
{
	int fds[2], status;
	pid_t pid;
	CHECK(pipe(fds) == 0 && (pid = fork()) >= 0);
	if (pid == 0)
		end_badly(report_file, where, fds[1]);
	close(fds[1]);
	status = check_wait(pid);
	CHECK_SAY(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT, "%s, %d: %x", report_file, where, status);
	hold_report(fds[0], where == GOOD, where == GOOD && !good, "stderr");
	if (good) {
		int fd = open(report_file, O_RDONLY);
		CHECK(fd >= 0);
		hold_report(fd, true, false, report_file);
		CHECK(truncate(report_file, 0) == 0);
	}
}

/* A pipe that nobody reads would keep who opens it waiting. */
static void unwritable(void)
{
	char pipe_name[] = "/tmp/t_check.pipe.XXXXXX";
	CHECK(mkdtemp(pipe_name) && rmdir(pipe_name) == 0 && mkfifo(pipe_name, 0600) == 0);
	for (int where = CLOSED; where <= GOOD; where++) {
		elsewhere("/no/such/directory/file", false, where);
		elsewhere("/dev/full", false, where);
		elsewhere(pipe_name, false, where);
		elsewhere("/tmp", false, where);
		elsewhere(file, true, where);
	}
	unlink(pipe_name);
}

int main(int argc, char **argv)
{
	static char text[1 << 16], filed[1 << 16];
	if (argc == 2 && !isdigit((unsigned char)argv[1][0])) {
		double_free();
		return 0;
	}
	if (argc == 2) {
		cases[strtoul(argv[1], NULL, 10)].run();
		return 0;
	}
	int fd = mkstemp(file);
	CHECK(fd >= 0);
	for (const struct check_case *c = cases; c < cases + LENGTH(cases); c++) {
		CHECK(ftruncate(fd, 0) == 0);
		int status = watch(c, text, sizeof text);
		int again = open(file, O_RDONLY);
		CHECK(again >= 0);
		read_file(again, filed, sizeof filed);
		printf("%s: %x\n", c->name, (unsigned)status);
		fflush(stdout);
		judge(c, status, text, filed);
	}
	CHECK(ftruncate(fd, 0) == 0);
	unwritable();
	close(fd);
	unlink(file);
	return 0;
}
