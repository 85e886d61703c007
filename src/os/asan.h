/* SPDX-License-Identifier: MIT */
/*
 * Whether AddressSanitizer watches the process, and what it can be told then: which memory the program must not touch, and where
 * its leak detector has to look for pointers. A library that is built with a sanitizer itself does not ask: it touches free
 * blocks, where it keeps links. (The interface is that of <sanitizer/asan_interface.h> and <sanitizer/lsan_interface.h>.)
 */
#ifndef PMD_OS_ASAN_H
#define PMD_OS_ASAN_H

#include <stdbool.h>
#include <stddef.h>

#ifdef PMD_SANITIZED

static inline bool asan_runs(void)
{
	return false;
}

static inline void asan_poison(const void *p, size_t bytes)
{
	(void)p, (void)bytes;
}

static inline void asan_unpoison(const void *p, size_t bytes)
{
	(void)p, (void)bytes;
}

static inline bool asan_add_root(const void *p, size_t bytes, const void *poisoned)
{
	(void)p, (void)bytes, (void)poisoned;
	return true;
}

#else

extern void __asan_poison_memory_region(const volatile void *p, size_t bytes) __attribute__((weak));
extern void __asan_unpoison_memory_region(const volatile void *p, size_t bytes) __attribute__((weak));
extern int __asan_address_is_poisoned(const volatile void *p) __attribute__((weak));
extern void __lsan_register_root_region(const void *p, size_t bytes) __attribute__((weak));

static inline bool asan_runs(void)
{
	return __asan_address_is_poisoned != NULL; /* the others are where this one is */
}

/*
 * Whether it has begun: before, what notes what is poisoned is not there. Its start asks for memory, which is ours where the program
 * has this library in itself.
 */
bool asan_ready(void);

static inline void asan_poison(const void *p, size_t bytes)
{
	if (asan_runs() && asan_ready())
		__asan_poison_memory_region(p, bytes);
}

static inline void asan_unpoison(const void *p, size_t bytes)
{
	if (asan_runs() && asan_ready())
		__asan_unpoison_memory_region(p, bytes);
}

/*
 * The leak detector takes pointers in P[0..BYTES) for the program's from now on. POISONED was made so: if that does not show,
 * AddressSanitizer is not ready yet, and its leak detector would end the process. False: to be tried again.
 */
static inline bool asan_add_root(const void *p, size_t bytes, const void *poisoned)
{
	if (!__lsan_register_root_region)
		return true;
	if (!asan_ready() || !__asan_address_is_poisoned(poisoned))
		return false;
	__lsan_register_root_region(p, bytes);
	return true;
}

#endif

#endif
