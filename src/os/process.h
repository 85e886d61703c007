/* SPDX-License-Identifier: MIT */
/*
 * A second process that shares this one's address space, and what such a process asks of the kernel. No call touches
 * errno; those that can fail return 0 or an errno value, or -1 where a descriptor is returned.
 */
#ifndef PMD_OS_PROCESS_H
#define PMD_OS_PROCESS_H

#include <stdatomic.h>

#include "base/base.h"

/*
 * Starts a child that shares the address space and, until it says otherwise, the descriptors, and runs RUN on the
 * STACK_BYTES at STACK, as os_thread_start does. All signals are blocked in it, no tracer follows it, and its end is
 * reported to nobody. *ALIVE is 1 from before the call on, until somebody changes it; at the child's end the kernel sets
 * it to 0, if somebody is there who can see it. NUMBER is the child's.
 */
int os_sharer_start(void (*run)(void), char *stack, size_t stack_bytes, _Atomic uint32_t *alive, int *number);

/* The same in the cgroup that the descriptor CGROUP is of, as of os_open_cgroup; -1: in the caller's. */
int os_sharer_start_in(int cgroup, void (*run)(void), char *stack, size_t stack_bytes, _Atomic uint32_t *alive,
		       int *number);

/* Opens the directory PATH, which must be a cgroup of version 2; EINVAL: it is something else. */
int os_open_cgroup(const char *path, int *fd);

/* What a descriptor refers to, to be compared with what it refers to later. False where it is closed. */
struct os_identity {
	uint64_t device, number;
};
bool os_identify(int fd, struct os_identity *out);

/* Whether a write of a line to FD would neither wait nor find that nobody reads it. */
bool os_takes_text(int fd);

/* Takes note of the end of such a child, which must be near, so that nothing is left of it. */
void os_sharer_reap(int number);

/* A pipe that no other program inherits: FDS[0] to read, FDS[1] to write. */
int os_pipe(int fds[2]);

/*
 * Gives the calling process a descriptor table of its own with nothing in it but FD. False where the kernel cannot do it,
 * and then nothing may be assumed of that table.
 */
bool os_keep_descriptor(int fd);

/*
 * Calls USE with what each descriptor of the calling thread refers to, as /proc says it, until it answers false. False then,
 * and where there are more than MOST or not all can be seen. Needs 1 kB of stack.
 */
bool os_each_descriptor(bool (*use)(const char *target), size_t most);

/* From now on the calling thread takes no signal but those that cannot be blocked. False where that fails. */
bool os_block_signals(void);

/* The process that the calling one is a child of; 0 when that is in another pid namespace. */
uint32_t os_parent_id(void);

/* Sends process NUMBER a signal with VALUE in it. */
void os_tell(uint32_t number, int signal, uint64_t value);

/* A descriptor that is readable when process NUMBER has ended; -1 if it cannot be had. */
int os_process_descriptor(uint32_t number);

/*
 * Waits until PROCESS, as above, is readable, or nobody can write to PIPE any more (-1: whatever happens there), or for MS
 * milliseconds (-1: without end).
 */
enum end { END_UNKNOWN, END_OF_PROCESS, END_OF_PIPE, END_OF_TIME };
enum end os_wait_for_end(int process, int pipe, int64_t ms);

/* Whether nobody else uses the calling process's address space. False also where the kernel does not say. */
bool os_is_alone(void);

/*
 * Keeps the calling thread, and what it starts, on the CPU on which it runs, and lets it go again. Between processes that
 * wait for each other that saves waking another CPU, or waiting for one that is busy.
 */
struct cpu_mask {
	unsigned long words[1024 / (8 * sizeof(long))];
	long bytes; /* not more than 0: unknown, and nothing was changed */
};
void os_stay_on_cpu(struct cpu_mask *before);
void os_leave_cpu(const struct cpu_mask *before);

/* Lets others have the calling thread's CPU for some US microseconds. */
void os_rest(unsigned us);

/* Leaves the session, so that the process is in no process group of the program's. */
void os_leave_session(void);

/* Ordinary scheduling, after everything of usual priority. */
void os_lower_priority(void);

/* Makes this process the first that the kernel kills when there is no memory. */
void os_prefer_to_be_killed(void);

/* Processes and threads that run on some CPU or wait for one; 0 when that cannot be seen. */
unsigned os_running(void);

/* CPUs of the machine; 0 when that cannot be seen. */
unsigned os_machine_cpus(void);

/*
 * Waits, at most MS milliseconds, until *WORD is 0, as the kernel makes it at the end of a thread or process; see
 * os_sharer_start. Returns early at will.
 */
void os_wait_cleared(_Atomic uint32_t *word, int64_t ms);

/* Whatever happens to the calling process, no core of it is written. */
void os_leave_no_core(void);

/* Whether orphans below the calling process become its children; also where the kernel does not say. */
bool os_adopts_orphans(void);

/* Whether children of the calling thread begin in its own pid namespace; not where that cannot be seen. */
bool os_children_are_near(void);

_Noreturn void os_exit(int status);

#endif
