/* SPDX-License-Identifier: MIT */
#include "os/lock.h"
#include "os/os.h"

enum {
	SPINS = 64,   /* critical sections are short; longer waiting only burns the holder's CPU */
	WAIT_MS = 50, /* the kernel may have refused to wake (a filter does): then who waits looks again by itself */
	STUCK_WAITS = 10000 / WAIT_MS,
};

/* Who holds the lock may be this thread: no owner is noted, which would be an instruction more wherever a lock is taken. */
static COLD void say_stuck(void)
{
	static _Atomic bool said;
	static const char what[] =
		"a thread has waited 10 s for a lock of malloc's: whoever holds it stands still, or a signal's "
		"handler left malloc by longjmp, after which only _exit, fork and exec may be called "
		"(said once)";

	if (!atomic_exchange_explicit(&said, true, memory_order_relaxed))
		os_message(&(struct text){(char *)(uintptr_t)what, sizeof what - 1, sizeof what});
}

void lock_wait(struct lock *l)
{
	int waits = 0;

	for (int i = 0; i < SPINS; i++) {
		uint32_t free = 0;

		if (!lock_held(l) && atomic_compare_exchange_weak_explicit(&l->word, &free, 1, memory_order_acquire,
									   memory_order_relaxed))
			return;
#ifdef __x86_64__
		__builtin_ia32_pause();
#endif
	}
	while (atomic_exchange_explicit(&l->word, 2, memory_order_acquire)) {
		waits += os_wait(&l->word, 2, WAIT_MS);
		if (waits == STUCK_WAITS)
			say_stuck();
	}
}

void lock_wake(struct lock *l)
{
	os_wake(&l->word);
}
