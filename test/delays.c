/* SPDX-License-Identifier: MIT */
/*
 * A randomised scheduler: before and after each atomic operation of the library (test/hooked.h) a thread goes on at once,
 * spins, gives its CPU away or sleeps, as DELAYS_SEED in the environment has it; so that what happens between two of
 * them, which is a few instructions otherwise, happens. The same seed gives the same numbers, but the kernel has its part.
 *
 * The library's own thread has no thread-local storage: nothing here needs it.
 */
#include "hooked.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>

#include "os/syscall.h"

static _Atomic uint64_t state = 1;

__attribute__((constructor(101))) static void seed(void)
{
	const char *text = getenv("DELAYS_SEED");

	if (text)
		atomic_store(&state, strtoul(text, NULL, 10) * 0x9e3779b97f4a7c15);
}

static uint64_t draw(void)
{
	uint64_t z = atomic_fetch_add_explicit(&state, 0x9e3779b97f4a7c15, memory_order_relaxed);

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
	z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
	return z ^ (z >> 31);
}

static void delay(void)
{
	uint64_t r = draw(), much = r >> 16;

	if (r % 8192 == 0) {
		struct timespec t = {0, (long)(much % 200000)};

		os_syscall(SYS_nanosleep, (long)&t, 0, 0, 0, 0, 0);
	} else if (r % 256 == 1) {
		os_syscall(SYS_sched_yield, 0, 0, 0, 0, 0, 0);
	} else if (r % 16 == 2) {
		for (uint64_t i = much % 400; i; i--)
			__asm__ volatile("" ::: "memory");
	}
}

static void hook_before(volatile void *p, size_t size, enum hook kind, int order)
{
	(void)p, (void)size, (void)kind, (void)order;
	delay();
}

static void hook_after(volatile void *p, size_t size, enum hook kind, int order)
{
	hook_before(p, size, kind, order);
}
