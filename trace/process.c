/* SPDX-License-Identifier: MIT */
/*
 * When recording starts and ends, and the list of all threads' buffers. Guarded by wiped.is.start; wiped.is.file is
 * taken inside of it.
 *
 * A forked child finds the wiped page empty at its first event and starts anew, with a file of its own. A vfork child
 * shares all memory with its parent, which waits: what it allocates is its parent's, and noted as such; its end and the
 * program that it runs are not the parent's.
 *
 * Each buffer is written by its thread alone, up to what FILLED says, which is stored last: so whoever ends the
 * process, or takes over the buffer of a thread that is gone, can write out what others noted. A thread's last frees
 * come after the C library told that it ends; so its buffer stays until the kernel no longer knows the thread.
 */
#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/text.h"
#include "os/os.h"
#include "os/syscall.h"
#include "trace/recorder.h"

HIDDEN union wiped_page wiped __attribute__((aligned(4096)));

static struct buffer *buffers;
static uint32_t threads;
static pthread_key_t key;
/* Set once, by the first start; kept by forked children. */
static bool found, prepared;
static _Atomic bool stopped;

/*
 * What stands behind the functions here: looked up at the start, as a forked child may not wait for the loader's lock.
 */
static struct {
	void (*exit)(int);
	int (*execve)(const char *, char *const *, char *const *);
	int (*execv)(const char *, char *const *);
	int (*execvp)(const char *, char *const *);
	int (*execvpe)(const char *, char *const *, char *const *);
	int (*fexecve)(int, char *const *, char *const *);
	int (*execveat)(int, const char *, char *const *, char *const *, int);
} behind;

static int process_id(void)
{
	return (int)os_syscall(SYS_getpid, 0, 0, 0, 0, 0, 0);
}

static void set_recording(uint32_t state)
{
	atomic_store_explicit(&wiped.is.recording, state, memory_order_release);
}

/* Also in children, which would meet the same obstacle. */
static void stop(void)
{
	stopped = true;
	set_recording(OFF);
}

/* ---- Writing out ------------------------------------------------------------------------------------------------- */

/* Held: the file's lock. */
static void write_out(struct buffer *b)
{
	uint64_t filled = atomic_load_explicit(&b->filled, memory_order_acquire);

	if (!filled || wiped.is.recording != RECORDING)
		return;
	if (!file_write(b->chunk, CHUNK_OF_EVENTS, b->thread, b->base, (uint32_t)(filled >> 32), (uint32_t)filled))
		stop();
}

/* A forked child's file is made when it has something to say. */
static bool have_file(void)
{
	static int of;

	if (of != wiped.is.pid) {
		of = wiped.is.pid;
		if (!file_open(prepared))
			stop();
	}
	return !stopped;
}

static void take_file(void)
{
	me.locked++;
	atomic_signal_fence(memory_order_seq_cst);
	lock_take(&wiped.is.file);
}

static void drop_file(void)
{
	lock_drop(&wiped.is.file);
	atomic_signal_fence(memory_order_seq_cst);
	me.locked--;
}

static void take_start(void)
{
	me.locked++;
	atomic_signal_fence(memory_order_seq_cst);
	lock_take(&wiped.is.start);
}

static void drop_start(void)
{
	lock_drop(&wiped.is.start);
	atomic_signal_fence(memory_order_seq_cst);
	me.locked--;
}

void process_flush(struct buffer *b)
{
	int saved = errno;

	take_file();
	if (have_file()) {
		write_out(b);
		if (!stopped)
			buffer_reset(b);
	}
	drop_file();
	errno = saved;
}

static bool is_gone(const struct buffer *b)
{
	return !b->tid || (atomic_load_explicit(&b->retired, memory_order_relaxed) &&
			   os_syscall(SYS_tgkill, wiped.is.pid, b->tid, 0, 0, 0, 0) == -ESRCH);
}

/*
 * END: nothing more follows. Else the program may go on, as another one could not be started: then the buffers of other
 * threads, which add to them meanwhile, are left.
 */
static void flush_all(bool end)
{
	bool was_busy = me.busy;
	int saved = errno;

	me.busy = true;
	take_start();
	take_file();
	if (wiped.is.recording == RECORDING && have_file()) {
		for (struct buffer *b = buffers; b; b = b->next)
			if (end || b == me.buffer || is_gone(b)) {
				write_out(b);
				if (!end)
					buffer_reset(b);
			}
		if (!stopped && !file_end())
			stop();
		if (end)
			set_recording(OFF);
	}
	drop_file();
	drop_start();
	me.busy = was_busy;
	errno = saved;
}

/* ---- Threads ----------------------------------------------------------------------------------------------------- */

static void thread_ends(void *buffer)
{
	struct buffer *b = buffer;

	me.busy = true;
	if (wiped.is.recording == RECORDING)
		process_flush(b);
	atomic_store_explicit(&b->retired, true, memory_order_relaxed);
	me.busy = false;
}

static struct buffer *buffer_of_the_dead(void)
{
	for (struct buffer *b = buffers; b; b = b->next)
		if (is_gone(b)) {
			if (atomic_load_explicit(&b->filled, memory_order_relaxed))
				process_flush(b);
			return b;
		}
	return NULL;
}

static struct buffer *buffer_new(void)
{
	void *p = NULL;
	int error = os_map(BUFFER_BYTES, &p);
	struct buffer *b = p;

	if (error) {
		file_complain("no memory for a thread's buffer", error);
		stop();
		return NULL;
	}
	b->next = buffers;
	buffers = b;
	return b;
}

/* Held: the lock of the start. */
static struct buffer *buffer_take(void)
{
	struct buffer *b = buffer_of_the_dead();

	if (!b)
		b = buffer_new();
	if (!b)
		return NULL;
	b->tid = (int)os_syscall(SYS_gettid, 0, 0, 0, 0, 0, 0);
	b->thread = threads++;
	atomic_store_explicit(&b->retired, false, memory_order_relaxed);
	buffer_reset(b);
	return b;
}

/* ---- The start, and a forked child's ----------------------------------------------------------------------------- */

/* Where the kernel keeps its own time by the TSC, it has found it the same on all processors, and steady. */
static bool tsc_is_the_clock(void)
{
	char source[32];

	os_read_file("/sys/devices/system/clocksource/clocksource0/current_clocksource", source, sizeof source);
#if defined(__x86_64__)
	return text_starts_with(source, "tsc\n");
#else
	return false;
#endif
}

/* What is noted in a child of what the parent's threads did belongs to the parent. */
static void forget_parent(void)
{
	file_forget();
	threads = 0;
	for (struct buffer *b = buffers; b; b = b->next) {
		buffer_reset(b);
		if (b == me.buffer) {
			b->thread = threads++;
			b->tid = wiped.is.pid;
		} else {
			b->tid = 0;
		}
	}
}

static bool prepare(void)
{
	const char *path = secure_getenv("PMDALLOC_TRACE");

	if (!path || !*path)
		return false;
	file_set_path(path);
	clock_is_tsc = tsc_is_the_clock();
	if (madvise(&wiped, sizeof wiped, MADV_WIPEONFORK)) {
		file_complain("the kernel cannot wipe a page in forked children", errno);
		return false;
	}
	if (pthread_key_create(&key, thread_ends)) {
		file_complain("the ends of threads cannot be noticed", EAGAIN);
		return false;
	}
	return true;
}

#define FIND(field, name)                                       \
	do {                                                    \
		void *p = next_function(name);                  \
		memcpy(&behind.field, &p, sizeof behind.field); \
	} while (0)

static void find_behind(void)
{
	FIND(exit, "_exit");
	FIND(execve, "execve");
	FIND(execv, "execv");
	FIND(execvp, "execvp");
	FIND(execvpe, "execvpe");
	FIND(fexecve, "fexecve");
	FIND(execveat, "execveat");
}

/* Held: the lock of the start. */
static void start(void)
{
	if (!found) {
		next_find();
		find_behind();
		found = true;
	}
	if (!environ) /* the loader, before the C library has begun */
		return;
	wiped.is.pid = process_id();
	if (prepared) {
		forget_parent();
	} else {
		take_file();
		stopped = !prepare() || !have_file();
		drop_file();
	}
	prepared = true;
	set_recording(stopped ? OFF : RECORDING);
}

/* Where it is known, the key's destructor can be called. */
static void tell_c_library(struct buffer *b)
{
	if (pthread_setspecific(key, b))
		file_complain("a thread's end will not be noticed", ENOMEM);
}

struct buffer *process_enter_slowly(void)
{
	bool is_new = false;
	int saved = errno;

	if (me.busy || wiped.is.recording == OFF)
		return NULL;
	me.busy = true;
	take_start();
	if (wiped.is.recording == STARTING)
		start();
	if (wiped.is.recording == RECORDING && !me.buffer) {
		me.buffer = buffer_take();
		is_new = me.buffer;
	}
	drop_start();
	if (is_new)
		tell_c_library(me.buffer);
	errno = saved;
	if (wiped.is.recording == RECORDING && me.buffer)
		return me.buffer;
	me.busy = false;
	return NULL;
}

/* ---- The end ----------------------------------------------------------------------------------------------------- */

/* Not of a vfork child, nor of a forked one that did nothing yet, nor in a handler that came while a lock was held. */
static bool is_recorded(void)
{
	return atomic_load_explicit(&wiped.is.recording, memory_order_acquire) == RECORDING &&
	       wiped.is.pid == process_id() && !me.locked;
}

static void last_act(void)
{
	if (is_recorded())
		flush_all(true);
}

static void last_handler(void *unused)
{
	(void)unused;
	last_act();
}

/* The C library's, as C++ compilers call it. LIBRARY: NULL, none. */
int __cxa_atexit(void (*handler)(void *), void *argument, void *library);

/* Before the C library registers the loader's own handler, so that this one comes after every destructor. */
__attribute__((constructor(101))) static void register_last_act(void)
{
	if (process_enter())
		process_leave();
	__cxa_atexit(last_handler, NULL, NULL);
	at_quick_exit(last_act);
}

EXPORT _Noreturn void _exit(int status);
EXPORT _Noreturn void _Exit(int status);

void _exit(int status)
{
	last_act();
	behind.exit(status);
	__builtin_unreachable();
}

void _Exit(int status)
{
	_exit(status);
}

/* ---- Another program in this process ----------------------------------------------------------------------------- */

static void before_exec(void)
{
	if (is_recorded())
		flush_all(false);
}

EXPORT int execve(const char *path, char *const argv[], char *const envp[])
{
	before_exec();
	return behind.execve(path, argv, envp);
}

EXPORT int execv(const char *path, char *const argv[])
{
	before_exec();
	return behind.execv(path, argv);
}

EXPORT int execvp(const char *file, char *const argv[])
{
	before_exec();
	return behind.execvp(file, argv);
}

EXPORT int execvpe(const char *file, char *const argv[], char *const envp[])
{
	before_exec();
	return behind.execvpe(file, argv, envp);
}

EXPORT int fexecve(int fd, char *const argv[], char *const envp[])
{
	before_exec();
	return behind.fexecve(fd, argv, envp);
}

EXPORT int execveat(int fd, const char *path, char *const argv[], char *const envp[], int flags)
{
	before_exec();
	return behind.execveat(fd, path, argv, envp, flags);
}

/* The arguments after FIRST, counted by one pass and, in ARGV of that many and one more, stored by the next. */
static size_t collect(va_list list, const char *first, char **argv)
{
	size_t n = 0;

	for (const char *a = first; a; a = va_arg(list, const char *), n++)
		if (argv)
			argv[n] = (char *)(uintptr_t)a;
	if (argv)
		argv[n] = NULL;
	return n;
}

/* ARGV of what follows FIRST, on the stack. LAST: what comes after the terminating NULL. */
#define COLLECT(first, argv, last)                               \
	va_list list;                                            \
	size_t arguments;                                        \
	char **argv;                                             \
                                                                 \
	va_start(list, first);                                   \
	arguments = collect(list, first, NULL);                  \
	va_end(list);                                            \
	argv = __builtin_alloca((arguments + 1) * sizeof *argv); \
	va_start(list, first);                                   \
	collect(list, first, argv);                              \
	last;                                                    \
	va_end(list)

EXPORT int execl(const char *path, const char *first, ...)
{
	COLLECT(first, argv, );
	return execv(path, argv);
}

EXPORT int execlp(const char *file, const char *first, ...)
{
	COLLECT(first, argv, );
	return execvp(file, argv);
}

EXPORT int execle(const char *path, const char *first, ...)
{
	char *const *envp;

	COLLECT(first, argv, envp = va_arg(list, char *const *));
	return execve(path, argv, envp);
}
