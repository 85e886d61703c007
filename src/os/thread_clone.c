/* SPDX-License-Identifier: MIT */
/*
 * Threads without the C library: pthread_create would allocate and take the loader's locks, and it may not be called
 * from everywhere that free() is. The thread has a thread control block of its own that holds only what compiled
 * code reads (the pointer to itself and the stack protector's canary), so the creator may end before it. All signals
 * are blocked. The working directory is not shared: setns(2) refuses mount namespaces to processes that share it.
 *
 * And processes that share the address space, made in the same way.
 */
#include <errno.h>
#include <linux/sched.h>
#include <signal.h>

#include "os/os.h"
#include "os/process.h"
#include "os/syscall.h"

struct control_block {
	void *self; /* read through %fs:0 */
	uint64_t unused[4];
	uint64_t canary; /* %fs:0x28 */
	uint64_t rest[2];
};

#ifdef __x86_64__

enum {
	BOTH = CLONE_VM | CLONE_FILES | CLONE_SETTLS | CLONE_CHILD_CLEARTID,
	THREAD = BOTH | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM,
	/* No signal at its end: wait(2) does not see it, unless asked for such children. */
	PROCESS = BOTH | CLONE_UNTRACED,
};

/* clone (A: flags, B: the stack's top) or clone3. The new thread's or process's number, or a negated errno. */
static long start(long nr, long a, long b, void (*run)(void), struct control_block *tcb, _Atomic uint32_t *alive)
{
	long result;
	register _Atomic uint32_t *r10 __asm__("r10") = alive;
	register void *r8 __asm__("r8") = tcb;
	register void (*r9)(void) __asm__("r9") = run;

	/*
	 * The child comes back on an empty stack: it calls RUN from a register and ends without returning. One of our choice,
	 * as rbp is free for the compiler's where no frame pointer is kept.
	 */
	__asm__ volatile("syscall\n\t"
			 "test %%rax, %%rax\n\t"
			 "jnz 1f\n\t"
			 "xor %%ebp, %%ebp\n\t"
			 "call *%%r9\n\t"
			 "mov %[exit], %%eax\n\t"
			 "xor %%edi, %%edi\n\t"
			 "syscall\n\t"
			 "hlt\n"
			 "1:"
			 : "=a"(result)
			 : "a"(nr), "D"(a), "S"(b), "d"(0L), "r"(r10), "r"(r8), "r"(r9), [exit] "i"(SYS_exit)
			 : "rcx", "r11", "memory");
	return result;
}

/* CGROUP: a descriptor of the one to start in; -1: the caller's. */
static long start_in(int cgroup, long flags, void (*run)(void), char *stack, struct control_block *tcb,
		     _Atomic uint32_t *alive)
{
	struct clone_args args = {.flags = (uint64_t)flags | CLONE_INTO_CGROUP,
				  .child_tid = (uintptr_t)alive,
				  .stack = (uintptr_t)stack,
				  .stack_size = (uintptr_t)tcb - (uintptr_t)stack,
				  .tls = (uintptr_t)tcb,
				  .cgroup = (uint64_t)cgroup};
	long result;

	if (cgroup >= 0)
		return os_inject(SYS_clone3, &result) ? result
						      : start(SYS_clone3, (long)&args, sizeof args, run, tcb, alive);
	return os_inject(SYS_clone, &result) ? result : start(SYS_clone, flags, (long)tcb, run, tcb, alive);
}

static long start_blocked(int cgroup, long flags, void (*run)(void), char *stack, size_t stack_bytes,
			  _Atomic uint32_t *alive)
{
	uintptr_t top = ((uintptr_t)stack + stack_bytes - sizeof(struct control_block)) & ~(uintptr_t)63;
	struct control_block *tcb = (struct control_block *)top;
	uint64_t all = ~(uint64_t)0, saved;
	long result;

	*tcb = (struct control_block){.self = tcb, .canary = os_random()};
	if (os_syscall(SYS_rt_sigprocmask, SIG_BLOCK, (long)&all, (long)&saved, sizeof all, 0, 0))
		return -EPERM; /* it would take the program's signals, and die of the one that wakes it */
	__atomic_store_n((uint32_t *)alive, 1, __ATOMIC_RELEASE);
	result = start_in(cgroup, flags, run, stack, tcb, alive);
	os_syscall(SYS_rt_sigprocmask, SIG_SETMASK, (long)&saved, 0, sizeof saved, 0, 0);
	if (result < 0)
		__atomic_store_n((uint32_t *)alive, 0, __ATOMIC_RELEASE);
	return result;
}

int os_thread_start(void (*run)(void), char *stack, size_t stack_bytes, _Atomic uint32_t *alive)
{
	long result = start_blocked(-1, THREAD, run, stack, stack_bytes, alive);

	return result < 0 ? (int)-result : 0;
}

int os_sharer_start_in(int cgroup, void (*run)(void), char *stack, size_t stack_bytes, _Atomic uint32_t *alive,
		       int *number)
{
	long result = start_blocked(cgroup, PROCESS, run, stack, stack_bytes, alive);

	*number = result < 0 ? 0 : (int)result;
	return result < 0 ? (int)-result : 0;
}

#else

int os_thread_start(void (*run)(void), char *stack, size_t stack_bytes, _Atomic uint32_t *alive)
{
	(void)run, (void)stack, (void)stack_bytes, (void)alive;
	return ENOSYS;
}

int os_sharer_start_in(int cgroup, void (*run)(void), char *stack, size_t stack_bytes, _Atomic uint32_t *alive,
		       int *number)
{
	(void)cgroup, (void)run, (void)stack, (void)stack_bytes, (void)alive;
	*number = 0;
	return ENOSYS;
}

#endif

int os_sharer_start(void (*run)(void), char *stack, size_t stack_bytes, _Atomic uint32_t *alive, int *number)
{
	return os_sharer_start_in(-1, run, stack, stack_bytes, alive, number);
}

/* It was started without CLONE_FS: the directory is its own. */
void os_thread_leave_directory(void)
{
	os_syscall(SYS_chdir, (long)"/", 0, 0, 0, 0, 0);
}
