/* SPDX-License-Identifier: MIT */
/*
 * The C++ operators new and delete (C++23 [new.delete]), under the names that the Itanium C++ ABI gives them. What
 * they need of the C++ runtime (the new-handler, throwing) is referred to weakly, so that the library needs none
 * itself; a runtime that the program loaded privately is found by name. Compiled with -fexceptions: the exception
 * passes through these frames.
 */
#include <stdlib.h>

#include "api/alloc.h"
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

/* [new.delete.single]: tries, then calls the handler, until memory is found or there is no handler. */
static NOINLINE void *try_handlers(size_t size, size_t align)
{
	void *p = NULL;

	while (!p) {
		handler_t handler = new_handler();

		if (!handler)
			return NULL;
		handler();
		p = align > MIN_ALIGN ? pmd_aligned_alloc(align, size) : pmd_malloc(size);
	}
	return p;
}

static NOINLINE void *new_slow(size_t size, size_t align)
{
	void *p = try_handlers(size, align);

	if (!p)
		throw_bad_alloc();
	return p;
}

static inline void *new_plain(size_t size)
{
	void *p = pmd_malloc(size);

	return LIKELY(p != NULL) ? p : new_slow(size, MIN_ALIGN);
}

static inline void *new_aligned(size_t size, size_t align)
{
	void *p = pmd_aligned_alloc(align, size);

	return LIKELY(p != NULL) ? p : new_slow(size, align);
}

/*
 * The forms that return null do what the throwing form does, but let no exception out. With a handler installed,
 * which may throw, that takes a catch block: the C++ runtime's own function has one, and calls our throwing form
 * from it.
 */
static NOINLINE void *new_nothrow_slow(size_t size, size_t align, const void *nothrow)
{
	void *(*plain)(size_t, const void *) = runtime_find("_ZnwmRKSt9nothrow_t");
	void *(*with_align)(size_t, size_t, const void *) = runtime_find("_ZnwmSt11align_val_tRKSt9nothrow_t");

	if (!new_handler())
		return NULL;
	if (align > MIN_ALIGN ? !with_align : !plain)
		return try_handlers(size, align);
	return align > MIN_ALIGN ? with_align(size, align, nothrow) : plain(size, nothrow);
}

static inline void *new_nothrow(size_t size, size_t align, const void *nothrow)
{
	void *p = align > MIN_ALIGN ? pmd_aligned_alloc(align, size) : pmd_malloc(size);

	return LIKELY(p != NULL) ? p : new_nothrow_slow(size, align, nothrow);
}

#pragma GCC diagnostic ignored "-Wmissing-prototypes"

EXPORT void *_Znwm(size_t size)
{
	return new_plain(size);
}

EXPORT void *_ZnwmSt11align_val_t(size_t size, size_t align)
{
	return new_aligned(size, align);
}

EXPORT void *_ZnwmRKSt9nothrow_t(size_t size, const void *nothrow)
{
	return new_nothrow(size, MIN_ALIGN, nothrow);
}

EXPORT void *_ZnwmSt11align_val_tRKSt9nothrow_t(size_t size, size_t align, const void *nothrow)
{
	return new_nothrow(size, align, nothrow);
}

EXPORT void _ZdlPv(void *p)
{
	pmd_free(p);
}

/* The array forms, and the deletes that are told what they need not know. */
#define SAME(type, name, target, ...) EXPORT type name(__VA_ARGS__) __attribute__((alias(target)))

SAME(void *, _Znam, "_Znwm", size_t);
SAME(void *, _ZnamSt11align_val_t, "_ZnwmSt11align_val_t", size_t, size_t);
SAME(void *, _ZnamRKSt9nothrow_t, "_ZnwmRKSt9nothrow_t", size_t, const void *);
SAME(void *, _ZnamSt11align_val_tRKSt9nothrow_t, "_ZnwmSt11align_val_tRKSt9nothrow_t", size_t, size_t, const void *);
SAME(void, _ZdaPv, "_ZdlPv", void *);
SAME(void, _ZdlPvm, "_ZdlPv", void *);
SAME(void, _ZdaPvm, "_ZdlPv", void *);
SAME(void, _ZdlPvSt11align_val_t, "_ZdlPv", void *);
SAME(void, _ZdaPvSt11align_val_t, "_ZdlPv", void *);
SAME(void, _ZdlPvmSt11align_val_t, "_ZdlPv", void *);
SAME(void, _ZdaPvmSt11align_val_t, "_ZdlPv", void *);
SAME(void, _ZdlPvRKSt9nothrow_t, "_ZdlPv", void *);
SAME(void, _ZdaPvRKSt9nothrow_t, "_ZdlPv", void *);
SAME(void, _ZdlPvSt11align_val_tRKSt9nothrow_t, "_ZdlPv", void *);
SAME(void, _ZdaPvSt11align_val_tRKSt9nothrow_t, "_ZdlPv", void *);
