/* SPDX-License-Identifier: MIT */
/*
 * The kernel wakes one waiter, if FUTEX_WAITERS says that there is one, in the way that crosses processes. The word is
 * the first of a mutex in every version of the C library; only it is used beside the documented functions.
 */
#include "os/anchor.h"

#include <errno.h>
#include <linux/futex.h>
#include <pthread.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "os/syscall.h"

static pthread_mutex_t anchor;

static uint32_t *word(void)
{
	return (uint32_t *)&anchor.__data.__lock;
}

static bool is_held(uint32_t value)
{
	return (value & FUTEX_TID_MASK) && !(value & FUTEX_OWNER_DIED);
}

bool os_anchor_is_held(void)
{
	return is_held(__atomic_load_n(word(), __ATOMIC_ACQUIRE));
}

bool os_anchor_hold(void)
{
	pthread_mutexattr_t robust;

	if (os_anchor_is_held())
		return true;
	os_anchor_forget();
	return !pthread_mutexattr_init(&robust) && !pthread_mutexattr_setrobust(&robust, PTHREAD_MUTEX_ROBUST) &&
	       !pthread_mutex_init(&anchor, &robust) && !pthread_mutex_lock(&anchor);
}

void os_anchor_forget(void)
{
	memset(&anchor, 0, sizeof anchor);
}

bool os_anchor_wait(void)
{
	uint32_t value = __atomic_fetch_or(word(), FUTEX_WAITERS, __ATOMIC_ACQ_REL) | FUTEX_WAITERS;
	long result = is_held(value) ? os_syscall(SYS_futex, (long)word(), FUTEX_WAIT, value, 0, 0, 0) : 0;

	return !result || result == -EAGAIN || result == -EINTR;
}

void os_anchor_wake(void)
{
	os_syscall(SYS_futex, (long)word(), FUTEX_WAKE, INT32_MAX, 0, 0, 0);
}

/* The kernel's list goes through the mutexes themselves, the last held one first, and ends where it begins. */
bool os_anchor_is_only_lock(void)
{
	struct robust_list_head *head = NULL;
	size_t bytes = 0;
	uintptr_t first, end;

	if (os_syscall(SYS_get_robust_list, 0, (long)&head, (long)&bytes, 0, 0, 0))
		return false;
	if (!head)
		return true;
	if (head->list_op_pending)
		return false;
	first = (uintptr_t)head->list.next;
	end = (uintptr_t)&head->list;
	return first == end || (first - (uintptr_t)&anchor < sizeof anchor && *(const uintptr_t *)first == end);
}
