/* SPDX-License-Identifier: MIT */
/*
 * Something is done before and after each atomic operation of the library and of a test: both are compiled with
 * -fsanitize=thread, which turns atomics into calls, and linked not with the sanitizer but with these functions. Whoever
 * includes this file defines hook_before and hook_after first. It is itself compiled without that flag.
 *
 * Plain accesses are calls as well, which do nothing.
 */
#ifndef PMDALLOC_TEST_HOOKED_H
#define PMDALLOC_TEST_HOOKED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum hook { HOOK_LOAD, HOOK_STORE, HOOK_CHANGE };

static void hook_before(volatile void *p, size_t size, enum hook kind, int order);
static void hook_after(volatile void *p, size_t size, enum hook kind, int order);

#pragma GCC diagnostic ignored "-Wmissing-prototypes"

/* ---- Atomics ----------------------------------------------------------------------------------------------------- */

/* The order that was asked for is at least kept: the operations themselves are sequentially consistent. */
#define HOOKED_CHANGE(bits, type, name, builtin)                                   \
	type __tsan_atomic##bits##_##name(volatile type *p, type value, int order) \
	{                                                                          \
		type result;                                                       \
                                                                                   \
		hook_before(p, sizeof *p, HOOK_CHANGE, order);                     \
		result = builtin(p, value, __ATOMIC_SEQ_CST);                      \
		hook_after(p, sizeof *p, HOOK_CHANGE, order);                      \
		return result;                                                     \
	}

#define HOOKED_COMPARE(bits, type, name)                                                                             \
	int __tsan_atomic##bits##_compare_exchange_##name(volatile type *p, type *expected, type value, int order,   \
							  int failure)                                               \
	{                                                                                                            \
		int result;                                                                                          \
                                                                                                                     \
		(void)failure;                                                                                       \
		hook_before(p, sizeof *p, HOOK_CHANGE, order);                                                       \
		result = __atomic_compare_exchange_n(p, expected, value, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST); \
		hook_after(p, sizeof *p, HOOK_CHANGE, order);                                                        \
		return result;                                                                                       \
	}

#define HOOKED(bits, type)                                                                                      \
	type __tsan_atomic##bits##_load(const volatile type *p, int order)                                      \
	{                                                                                                       \
		volatile type *q = (volatile type *)(uintptr_t)p;                                               \
		type result;                                                                                    \
                                                                                                                \
		hook_before(q, sizeof *p, HOOK_LOAD, order);                                                    \
		result = __atomic_load_n(p, __ATOMIC_SEQ_CST);                                                  \
		hook_after(q, sizeof *p, HOOK_LOAD, order);                                                     \
		return result;                                                                                  \
	}                                                                                                       \
	void __tsan_atomic##bits##_store(volatile type *p, type value, int order)                               \
	{                                                                                                       \
		hook_before(p, sizeof *p, HOOK_STORE, order);                                                   \
		__atomic_store_n(p, value, __ATOMIC_SEQ_CST);                                                   \
		hook_after(p, sizeof *p, HOOK_STORE, order);                                                    \
	}                                                                                                       \
	type __tsan_atomic##bits##_compare_exchange_val(volatile type *p, type expected, type value, int order, \
							int failure)                                            \
	{                                                                                                       \
		(void)failure;                                                                                  \
		hook_before(p, sizeof *p, HOOK_CHANGE, order);                                                  \
		__atomic_compare_exchange_n(p, &expected, value, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);    \
		hook_after(p, sizeof *p, HOOK_CHANGE, order);                                                   \
		return expected;                                                                                \
	}                                                                                                       \
	HOOKED_COMPARE(bits, type, strong)                                                                      \
	HOOKED_COMPARE(bits, type, weak)                                                                        \
	HOOKED_CHANGE(bits, type, exchange, __atomic_exchange_n)                                                \
	HOOKED_CHANGE(bits, type, fetch_add, __atomic_fetch_add)                                                \
	HOOKED_CHANGE(bits, type, fetch_sub, __atomic_fetch_sub)                                                \
	HOOKED_CHANGE(bits, type, fetch_and, __atomic_fetch_and)                                                \
	HOOKED_CHANGE(bits, type, fetch_or, __atomic_fetch_or)                                                  \
	HOOKED_CHANGE(bits, type, fetch_xor, __atomic_fetch_xor)                                                \
	HOOKED_CHANGE(bits, type, fetch_nand, __atomic_fetch_nand)

HOOKED(8, uint8_t)
HOOKED(16, uint16_t)
HOOKED(32, uint32_t)
HOOKED(64, uint64_t)

void __tsan_atomic_thread_fence(int order)
{
	hook_before(NULL, 0, HOOK_CHANGE, order);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	hook_after(NULL, 0, HOOK_CHANGE, order);
}

void __tsan_atomic_signal_fence(int order)
{
	(void)order;
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
}

/* ---- What else the compiler calls -------------------------------------------------------------------------------- */

#define HOOKED_PLAIN(bytes)                              \
	void __tsan_read##bytes(void *p)                 \
	{                                                \
		(void)p;                                 \
	}                                                \
	void __tsan_write##bytes(void *p)                \
	{                                                \
		(void)p;                                 \
	}                                                \
	void __tsan_unaligned_read##bytes(void *p)       \
	{                                                \
		(void)p;                                 \
	}                                                \
	void __tsan_unaligned_write##bytes(void *p)      \
	{                                                \
		(void)p;                                 \
	}                                                \
	void __tsan_read_write##bytes(void *p)           \
	{                                                \
		(void)p;                                 \
	}                                                \
	void __tsan_unaligned_read_write##bytes(void *p) \
	{                                                \
		(void)p;                                 \
	}

HOOKED_PLAIN(1)
HOOKED_PLAIN(2)
HOOKED_PLAIN(4)
HOOKED_PLAIN(8)
HOOKED_PLAIN(16)

void __tsan_init(void)
{
}

void __tsan_func_entry(void *caller)
{
	(void)caller;
}

void __tsan_func_exit(void)
{
}

void __tsan_read_range(void *p, size_t size)
{
	(void)p, (void)size;
}

void __tsan_write_range(void *p, size_t size)
{
	(void)p, (void)size;
}

void *__tsan_memcpy(void *to, const void *from, size_t size)
{
	return memcpy(to, from, size);
}

void *__tsan_memmove(void *to, const void *from, size_t size)
{
	return memmove(to, from, size);
}

void *__tsan_memset(void *to, int byte, size_t size)
{
	return memset(to, byte, size);
}

#endif
