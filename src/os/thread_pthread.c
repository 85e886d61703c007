/* SPDX-License-Identifier: MIT */
/* Threads for sanitizer builds, whose run time must know of each: pthreads take the place of os/thread_clone.c. */
#include <errno.h>
#include <pthread.h>
#include <signal.h>

#include "os/os.h"
#include "os/process.h"
#include "os/syscall.h"

struct start {
	void (*run)(void);
	_Atomic uint32_t *alive;
};

static struct start pending; /* one thread at a time: the caller starts none while *ALIVE is not 0 */

static void *enter(void *arg)
{
	struct start s = *(struct start *)arg;

	s.run();
	*s.alive = 0;
	return NULL;
}

/* It begins with all signals blocked: a handler of the program's that it ran may leave by longjmp, for another's stack. */
int os_thread_start(void (*run)(void), char *stack, size_t stack_bytes, _Atomic uint32_t *alive)
{
	sigset_t all, saved;
	pthread_t thread;
	long result = 0;
	int error;

	(void)stack, (void)stack_bytes;
	if (os_inject(SYS_clone, &result))
		return (int)-result;
	*alive = 1;
	pending = (struct start){run, alive};
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &saved);
	error = pthread_create(&thread, NULL, enter, &pending);
	pthread_sigmask(SIG_SETMASK, &saved, NULL);
	if (error)
		*alive = 0;
	else
		pthread_detach(thread);
	return error;
}

/* It shares the program's. */
void os_thread_leave_directory(void)
{
}

/* A sanitizer's run time knows of threads only. */
int os_sharer_start_in(int cgroup, void (*run)(void), char *stack, size_t stack_bytes, _Atomic uint32_t *alive,
		       int *number)
{
	(void)cgroup, (void)run, (void)stack, (void)stack_bytes, (void)alive;
	*number = 0;
	return ENOSYS;
}

int os_sharer_start(void (*run)(void), char *stack, size_t stack_bytes, _Atomic uint32_t *alive, int *number)
{
	return os_sharer_start_in(-1, run, stack, stack_bytes, alive, number);
}
