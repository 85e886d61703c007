/* SPDX-License-Identifier: MIT */
/*
 * Tells Valgrind's helgrind, which knows no atomics, what each atomic operation of the library (test/hooked.h) means: what
 * a release stores happens before what an acquire that loads from there does, and the word itself is no race. Nothing is
 * said about plain memory, and nothing suppressed.
 */
#include "hooked.h"

#if __has_include(<valgrind/helgrind.h>)
#include <valgrind/helgrind.h>
#else /* test/helgrind.sh finds no Valgrind either */
#define VALGRIND_HG_DISABLE_CHECKING(p, size) ((void)(p), (void)(size))
#define VALGRIND_HG_ENABLE_CHECKING(p, size)  ((void)(p), (void)(size))
#define ANNOTATE_HAPPENS_BEFORE(p)            ((void)(p))
#define ANNOTATE_HAPPENS_AFTER(p)             ((void)(p))
#endif

static bool acquires(int order)
{
	return order != __ATOMIC_RELAXED && order != __ATOMIC_RELEASE;
}

static bool releases(int order)
{
	return order != __ATOMIC_RELAXED && order != __ATOMIC_ACQUIRE && order != __ATOMIC_CONSUME;
}

/*
 * Called instead of os_commit, by the linker's --wrap: helgrind does not look at memory that was reserved without rights,
 * whatever rights it has later.
 */
int __real_os_commit(void *p, size_t bytes);

int __wrap_os_commit(void *p, size_t bytes)
{
	int error = __real_os_commit(p, bytes);

	if (!error)
		VALGRIND_HG_ENABLE_CHECKING(p, bytes);
	return error;
}

/* Stands for all fences: what is before one of them is before what is after the next. */
static char fence;

static void hook_before(volatile void *p, size_t size, enum hook kind, int order)
{
	void *place = p ? (void *)(uintptr_t)p : &fence;

	if (p)
		VALGRIND_HG_DISABLE_CHECKING(place, size);
	if (kind != HOOK_LOAD && releases(order))
		ANNOTATE_HAPPENS_BEFORE(place);
}

static void hook_after(volatile void *p, size_t size, enum hook kind, int order)
{
	void *place = p ? (void *)(uintptr_t)p : &fence;

	(void)size;
	if (kind != HOOK_STORE && acquires(order))
		ANNOTATE_HAPPENS_AFTER(place);
}
