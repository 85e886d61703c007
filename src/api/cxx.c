/* SPDX-License-Identifier: MIT */
/*
 * The C++ operators new and delete (C++23 [new.delete]), under the names that the Itanium C++ ABI gives them. What
 * they need of the C++ runtime (the new-handler, throwing) is referred to weakly, so that the library needs none
 * itself; a runtime that the program loaded privately is found by name. Compiled with -fexceptions: the exception
 * passes through these frames.
 */
#include <stdlib.h>

#include "api/fast.h"
#include "api/runtime.h"
#include "os/os.h"

#define EXPORT __attribute__((visibility("default")))

typedef void (*handler_t)(void);

extern handler_t get_new_handler_abi(void) __asm__("_ZSt15get_new_handlerv") __attribute__((weak));
extern void throw_bad_alloc_abi(void) __asm__("_ZSt17__throw_bad_allocv") __attribute__((weak));
extern void *cxa_allocate_exception_abi(size_t) __asm__("__cxa_allocate_exception") __attribute__((weak));
extern void cxa_throw_abi(void *, void *, void (*)(void *)) __asm__("__cxa_throw") __attribute__((weak));
extern char bad_alloc_typeinfo[] __asm__("_ZTISt9bad_alloc") __attribute__((weak));
extern char bad_alloc_vtable[] __asm__("_ZTVSt9bad_alloc") __attribute__((weak));
extern void bad_alloc_destructor(void *) __asm__("_ZNSt9bad_allocD1Ev") __attribute__((weak));

static handler_t new_handler(void)
{
	handler_t (*get)(void) = get_new_handler_abi;

	if (!get)
		get = (handler_t(*)(void))runtime_find("_ZSt15get_new_handlerv");
	return get ? get() : NULL;
}

static void throw_bad_alloc(void)
{
	void (*thrower)(void) = throw_bad_alloc_abi;
	char buf[128];
	struct text t;

	if (!thrower && cxa_throw_abi && cxa_allocate_exception_abi) {
		void **exception = cxa_allocate_exception_abi(sizeof *exception);

		*exception = bad_alloc_vtable + 2 * sizeof(void *);
		cxa_throw_abi(exception, bad_alloc_typeinfo, bad_alloc_destructor);
	}
	if (!thrower)
		thrower = (void (*)(void))runtime_find("_ZSt17__throw_bad_allocv");
	if (thrower)
		thrower();
	text_init(&t, buf, sizeof buf);
	text_put(&t, "operator new is out of memory and finds no C++ runtime to throw std::bad_alloc with");
	os_message(&t);
	abort();
}

/* The last block was not for the fast path, or needs an alignment. */
static void *new_once(size_t size, size_t align, enum origin origin)
{
	size_t rounded = align_up(size ? size : 1, align);
	struct slice *s;

	if (!is_power_of_two(align))
		return pmd_aligned_alloc(align, size);
	if (size > SLAB_MAX || rounded > SLAB_MAX)
		return allocate(size, align, false, origin);
	s = cache_self->current[class_of(rounded)];
	return LIKELY(s->free != NULL) ? slab_pop(s) : allocate(size, align, false, origin);
}

/*
 * [new.delete.single]: tries, then calls the handler, until memory is found or there is no handler. With NOTHROW an exception
 * that the handler throws is the end of it, where it can be caught.
 */
static NOINLINE void *try_handlers(size_t size, size_t align, enum origin origin, bool nothrow)
{
	void *p = NULL;

	while (!p) {
		handler_t handler = new_handler();

		if (!handler)
			return NULL;
		if (!nothrow)
			handler();
		else if (!runtime_catches(handler))
			return NULL;
		p = new_once(size, align, origin);
	}
	return p;
}

static NOINLINE void *new_slow(size_t size, size_t align, enum origin origin)
{
	void *p = new_once(size, align, origin);

	if (UNLIKELY(!p) && !(p = try_handlers(size, align, origin, false)))
		throw_bad_alloc();
	return p;
}

/* A block of SIZE bytes if there is one at once. */
static inline void *new_fast(size_t size)
{
	struct slice *s;

	if (UNLIKELY(size > SMALL_MAX))
		return NULL;
	s = cache_direct[(size + MIN_ALIGN - 1) / MIN_ALIGN];
	return LIKELY(s->free != NULL) ? slab_pop(s) : NULL;
}

/*
 * The forms that return null do what the throwing form does, but let no exception out. With a handler installed,
 * which may throw, that takes a catch block: the C++ runtime's own function has one, and calls our throwing form
 * from it. In a static program there is none, and runtime_catches is one.
 */
static NOINLINE void *new_nothrow_again(size_t size, size_t align, const void *nothrow, enum origin origin)
{
	static const char *const names[][2] = {{"_ZnwmRKSt9nothrow_t", "_ZnwmSt11align_val_tRKSt9nothrow_t"},
					       {"_ZnamRKSt9nothrow_t", "_ZnamSt11align_val_tRKSt9nothrow_t"}};
	const char *const *name = names[origin == ORIGIN_NEW_ARRAY];
	void *(*plain)(size_t, const void *) = runtime_find(name[0]);
	void *(*with_align)(size_t, size_t, const void *) = runtime_find(name[1]);

	if (!new_handler())
		return NULL;
	if (align > MIN_ALIGN ? !with_align : !plain)
		return try_handlers(size, align, origin, true);
	return align > MIN_ALIGN ? with_align(size, align, nothrow) : plain(size, nothrow);
}

static NOINLINE void *new_nothrow(size_t size, size_t align, const void *nothrow, enum origin origin)
{
	void *p = new_once(size, align, origin);

	return LIKELY(p != NULL) ? p : new_nothrow_again(size, align, nothrow, origin);
}

#pragma GCC diagnostic ignored "-Wmissing-prototypes"

#define NEW(name, origin)                                                                                 \
	EXPORT void *name##m(size_t size)                                                                 \
	{                                                                                                 \
		void *p = new_fast(size);                                                                 \
                                                                                                          \
		return LIKELY(p != NULL) ? p : new_slow(size, MIN_ALIGN, origin);                         \
	}                                                                                                 \
	EXPORT void *name##mSt11align_val_t(size_t size, size_t align)                                    \
	{                                                                                                 \
		return new_slow(size, align, origin);                                                     \
	}                                                                                                 \
	EXPORT void *name##mRKSt9nothrow_t(size_t size, const void *nothrow)                              \
	{                                                                                                 \
		void *p = new_fast(size);                                                                 \
                                                                                                          \
		return LIKELY(p != NULL) ? p : new_nothrow(size, MIN_ALIGN, nothrow, origin);             \
	}                                                                                                 \
	EXPORT void *name##mSt11align_val_tRKSt9nothrow_t(size_t size, size_t align, const void *nothrow) \
	{                                                                                                 \
		return new_nothrow(size, align, nothrow, origin);                                         \
	}

/* What a delete is told matters to check:strict alone. */
#define DELETE(name, origin)                                                                         \
	EXPORT void name##v(void *p)                                                                 \
	{                                                                                            \
		if (UNLIKELY(!fast_free(p)))                                                         \
			free_checked(p, (struct told){origin, SIZE_UNKNOWN, MIN_ALIGN});             \
	}                                                                                            \
	EXPORT void name##vm(void *p, size_t size)                                                   \
	{                                                                                            \
		if (UNLIKELY(!fast_free(p)))                                                         \
			free_checked(p, (struct told){origin, size, MIN_ALIGN});                     \
	}                                                                                            \
	EXPORT void name##vSt11align_val_t(void *p, size_t align)                                    \
	{                                                                                            \
		if (UNLIKELY(!fast_free(p)))                                                         \
			free_checked(p, (struct told){origin, SIZE_UNKNOWN, align});                 \
	}                                                                                            \
	EXPORT void name##vmSt11align_val_t(void *p, size_t size, size_t align)                      \
	{                                                                                            \
		if (UNLIKELY(!fast_free(p)))                                                         \
			free_checked(p, (struct told){origin, size, align});                         \
	}                                                                                            \
	EXPORT void name##vRKSt9nothrow_t(void *p, const void *nothrow)                              \
	{                                                                                            \
		(void)nothrow;                                                                       \
		name##v(p);                                                                          \
	}                                                                                            \
	EXPORT void name##vSt11align_val_tRKSt9nothrow_t(void *p, size_t align, const void *nothrow) \
	{                                                                                            \
		(void)nothrow;                                                                       \
		name##vSt11align_val_t(p, align);                                                    \
	}

NEW(_Znw, ORIGIN_NEW)
NEW(_Zna, ORIGIN_NEW_ARRAY)
DELETE(_ZdlP, ORIGIN_NEW)
DELETE(_ZdaP, ORIGIN_NEW_ARRAY)
