/* SPDX-License-Identifier: MIT */
/*
 * The end of a process that may not leave its heap to a helper: it drops it before it ends, where nobody can miss it. Whether
 * it did is seen at the last system call, which asks look_last() in this build. The exit status is right in any case, what
 * was written is whole, and who shares the memory, or may be shown it, never sees that it is gone.
 */
#include "ends.h"
#include "inject.h"
#include "variants.h"

#include <linux/filter.h>
#include <linux/io_uring.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <sched.h>
#include <sys/ptrace.h>
#include <sys/time.h>
#include <ucontext.h>

#include "os/pressure.h"

enum { SIZE = 32 * 1024 * 1024, STACK = 256 << 10, TRIES = 20, ANY = 2 };

/* What a process tells when it is about to be gone; shared with it. */
static struct seen {
	_Atomic pid_t process;
	_Atomic size_t ends, empty; /* its exit_group calls; blocks that read as zero by then */
	_Atomic size_t broken;      /* who looked before, and may do so, found something else than was written */
} * seen;

static char *blocks[SIZE / BLOCK];

static bool is_whole(const char *block)
{
	return block[0] == 7 && block[BLOCK - 1] == 7;
}

static void look_around(void)
{
	for (size_t i = 0; i < LENGTH(blocks); i++)
		seen->broken += blocks[i] && !is_whole(blocks[i]);
}

static bool look_last(const long args[6])
{
	(void)args;
	if (getpid() != seen->process) /* a helper */
		return false;
	seen->ends++;
	for (size_t i = 0; i < LENGTH(blocks); i++)
		seen->empty += blocks[i] && !blocks[i][0];
	return false;
}

static void fill_blocks(void)
{
	for (size_t i = 0; i < LENGTH(blocks); i++) {
		CHECK(blocks[i] = t_malloc(BLOCK));
		memset(blocks[i], 7, BLOCK);
	}
}

/* In a process under test, the heap of which is full then. */
static void prepare(const char *name, const char *value)
{
	CHECK(pmd_option_set(name, value) == 0);
	seen->process = getpid();
	inject_add((struct inject_rule){.nr = SYS_exit_group, .match = look_last});
	fill_blocks();
}

static pid_t begin_with(const char *name, const char *value)
{
	memset(seen, 0, sizeof *seen);
	pid_t pid = begin();
	if (pid == 0)
		prepare(name, value);
	return pid;
}

/* No helper is allowed, nothing else is wrong. */
static pid_t begin_alone(void)
{
	return begin_with("handoff_max", "1M");
}

/* DROPPED: 0 or 1, or ANY. */
static void expect_status(int status, int wanted, size_t dropped, const char *what)
{
	CHECK_SAY(status == wanted, "%s: wait status %#x", what, (unsigned)status);
	CHECK_SAY(!seen->broken, "%s: %zu blocks were gone too early", what, seen->broken);
	CHECK_SAY(seen->ends == 1, "%s: %zu ends", what, seen->ends);
	CHECK_SAY(dropped == ANY || !seen->empty == !dropped, "%s: %zu blocks were dropped", what, seen->empty);
}

static void expect(pid_t pid, size_t dropped, const char *what)
{
	expect_status(check_wait(pid), STATUS << 8, dropped, what);
}

/* ---- Ways to end ------------------------------------------------------------------------------------------------- */

static bool returns;

static void end_by_return(void)
{
	returns = true;
}

static const struct way {
	const char *name;
	void (*end)(void);
} ways[] = {
	{"return", end_by_return},    {"exit", end_by_exit},       {"_exit", end_by_exit_now},
	{"_Exit", end_by_other_name}, {"quick_exit", end_quickly}, {"exit_group", end_by_number},
};

static bool end_in_each_way(void)
{
	for (size_t i = 0; i < LENGTH(ways); i++) {
		pid_t pid = begin_alone();
		if (pid == 0) {
			ways[i].end();
			CHECK(returns);
			return true;
		}
		expect(pid, 1, ways[i].name);
		CHECK(helpers(ways[i].name) == 0);
	}
	return false;
}

/* ---- When there is no helper, and when there is ------------------------------------------------------------------ */

static void option(const char *name, const char *value, size_t dropped, size_t wanted)
{
	for (int i = 0;; i++) {
		pid_t pid = begin_with(name, value);
		if (pid == 0)
			_exit(STATUS);
		expect(pid, dropped, value);
		size_t found = helpers(value);
		if (found == wanted)
			return;
		/* On a busy machine it may come too late. */
		CHECK_SAY(found < wanted && i < TRIES, "%s:%s: %zu helpers", name, value, found);
	}
}

/* Whether the heap was dropped. On a busy machine the helper may not have said in time that it is none. */
static bool was_dropped(pid_t pid, const char *what)
{
	expect(pid, ANY, what);
	CHECK(helpers(what) == 0);
	return seen->empty;
}

/* The call with which a helper begins. */
static void no_helper(long nr, int error, const char *what)
{
	for (int i = 0;; i++) {
		pid_t pid = begin_with("handoff", "auto");
		if (pid == 0) {
			inject_add((struct inject_rule){
				.nr = nr, .action = INJECT_FAIL, .error = error, .first = 1, .last = 1});
			_exit(STATUS);
		}
		if (was_dropped(pid, what))
			return;
		CHECK_SAY(i < TRIES, "%s: the heap is not dropped", what);
	}
}

/* The kernel swaps out what a living process still has to drop. */
static void no_room(void)
{
	pid_t pid = begin_with("handoff", "auto");
	if (pid == 0) {
		pressure_root = "/nowhere";
		_exit(STATUS);
	}
	expect(pid, 0, "no room");
	CHECK(helpers("no room") == 0);
}

static void first_process(void)
{
	pid_t pid = begin_with("handoff", "auto");
	if (pid == 0) {
		inject_clear();
		if (unshare(CLONE_NEWPID))
			SKIP("no namespace of processes");
		pid_t inner = fork();
		CHECK(inner >= 0);
		if (inner == 0) {
			seen->process = getpid();
			inject_add((struct inject_rule){.nr = SYS_exit_group, .match = look_last});
			_exit(getpid() == 1 ? STATUS : 1);
		}
		CHECK(pmd_option_set("handoff", "off") == 0);
		_exit(check_wait(inner) >> 8);
	}
	int status = check_wait(pid);
	if (status != EXIT_SKIP << 8)
		expect_status(status, STATUS << 8, 1, "PID 1");
	CHECK(helpers("PID 1") == 0);
}

static void traced(void)
{
	pid_t pid = begin_alone();
	if (pid == 0) {
		CHECK(ptrace(PTRACE_TRACEME, 0, 0, 0) == 0);
		_exit(STATUS);
	}
	expect(pid, 0, "traced");
}

static void in_sandbox(void)
{
	static struct sock_filter all[] = {BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)};
	struct sock_fprog program = {LENGTH(all), all};
	pid_t pid = begin_alone();
	if (pid == 0) {
		CHECK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
		CHECK(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0) == 0);
		_exit(STATUS);
	}
	expect(pid, 0, "seccomp");
}

/* ---- Who may still want the memory ------------------------------------------------------------------------------- */

static void *look_always(void *unused)
{
	for (;;)
		look_around();
	return unused;
}

static void beside_threads(void)
{
	for (int i = 0; i < TRIES; i++) {
		pid_t pid = begin_alone();
		if (pid == 0) {
			pthread_t thread;
			CHECK(pthread_create(&thread, NULL, look_always, NULL) == 0);
			_exit(STATUS);
		}
		expect(pid, 0, "a thread");
	}
}

static void *end_from_here(void *unused)
{
	_exit(STATUS);
	return unused;
}

static void in_thread(void)
{
	pid_t pid = begin_alone();
	if (pid == 0) {
		pthread_t thread;
		CHECK(pthread_create(&thread, NULL, end_from_here, NULL) == 0);
		for (;;)
			look_around();
	}
	expect(pid, 0, "another thread's _exit");
}

static char sharer_stack[STACK] __attribute__((aligned(16)));

static int look_after_end(void *process)
{
	while (getppid() == *(pid_t *)process)
		proc_sleep_ms(1);
	proc_sleep_ms(100);
	look_around();
	return 0;
}

/* A process that shares the memory and goes on. */
static void beside_sharer(void)
{
	static pid_t process;
	pid_t pid = begin_alone();
	if (pid == 0) {
		process = getpid();
		CHECK(clone(look_after_end, sharer_stack + sizeof sharer_stack, CLONE_VM | SIGCHLD, &process) > 0);
		_exit(STATUS);
	}
	expect(pid, 0, "a sharer");
	CHECK(helpers("a sharer") == 1 && !seen->broken);
}

/* The child shares the memory, and ends while its parent goes on. */
static void in_vfork_child(void)
{
	pid_t pid = begin_alone();
	if (pid == 0) {
		pid_t child = vfork();
		if (child == 0)
			_exit(STATUS + 1);
		CHECK(check_wait(child) == (STATUS + 1) << 8);
		look_around();
		_exit(STATUS);
	}
	expect(pid, 1, "vfork");
}

static void beside_fork_child(void)
{
	pid_t pid = begin_alone();
	if (pid == 0) {
		pid_t process = getpid(), child = fork();
		CHECK(child >= 0);
		if (child == 0) {
			inject_clear();
			look_after_end(&process);
			CHECK(pmd_option_set("handoff", "off") == 0);
			_exit(0);
		}
		_exit(STATUS);
	}
	expect(pid, 1, "a fork child");
	CHECK(helpers("a fork child") == 1 && !seen->broken);
}

static void look_at_signal(int signal)
{
	(void)signal;
	look_around();
}

/* Handlers run until none can any more. */
static void beside_signals(void)
{
	const struct itimerval often = {{0, 50}, {0, 50}};
	for (int i = 0; i < TRIES; i++) {
		pid_t pid = begin_alone();
		if (pid == 0) {
			memset(blocks + 8, 0,
			       sizeof blocks - 8 * sizeof *blocks); /* a few are looked at: it is quick */
			signal(SIGALRM, look_at_signal);
			setitimer(ITIMER_REAL, &often, NULL);
			_exit(STATUS);
		}
		expect(pid, 1, "signals");
	}
}

static void end_at_signal(int signal)
{
	(void)signal;
	_exit(STATUS);
}

/* By a handler, on a stack as small as they come, or as wrong. */
static void in_handler(bool on_heap)
{
	pid_t pid = begin_alone();
	if (pid == 0) {
		static char small[16 << 10];
		const struct sigaction act = {.sa_handler = end_at_signal, .sa_flags = SA_ONSTACK};
		const stack_t stack = {.ss_sp = on_heap ? t_malloc(sizeof small) : small, .ss_size = sizeof small};
		CHECK(sigaltstack(&stack, NULL) == 0 && sigaction(SIGTERM, &act, NULL) == 0);
		raise(SIGTERM);
	}
	expect(pid, !on_heap, on_heap ? "a handler's stack in the heap" : "a handler");
}

static void on_own_stack(void)
{
	static ucontext_t here, there;
	pid_t pid = begin_alone();
	if (pid == 0) {
		CHECK(getcontext(&there) == 0);
		there.uc_stack.ss_sp = t_malloc(STACK);
		there.uc_stack.ss_size = STACK;
		there.uc_link = &here;
		makecontext(&there, end_by_exit_now, 0);
		CHECK(swapcontext(&here, &there) == 0);
	}
	expect(pid, 0, "a stack in the heap");
}

static pthread_mutex_t *make_robust(void *place)
{
	pthread_mutexattr_t attributes;
	CHECK(pthread_mutexattr_init(&attributes) == 0 && pthread_mutexattr_setpshared(&attributes, 1) == 0);
	CHECK(pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST) == 0);
	CHECK(pthread_mutex_init(place, &attributes) == 0);
	return place;
}

/* The kernel comes to the one that another process waits for through the one in the heap. */
static void with_robust_mutex(void)
{
	pthread_mutex_t *shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	CHECK(shared != MAP_FAILED);
	make_robust(shared);
	pid_t pid = begin_alone();
	if (pid == 0) {
		CHECK(pthread_mutex_lock(shared) == 0);
		CHECK(pthread_mutex_lock(make_robust(t_malloc(sizeof *shared))) == 0);
		_exit(STATUS);
	}
	expect(pid, 0, "a robust mutex");
	CHECK(pthread_mutex_lock(shared) == EOWNERDEAD);
	munmap(shared, 4096);
}

static void with_ring(bool mapped)
{
	pid_t pid = begin_alone();
	if (pid == 0) {
		struct io_uring_params parameters = {0};
		int fd = (int)syscall(SYS_io_uring_setup, 4, &parameters);
		if (fd < 0)
			SKIP("no io_uring");
		if (mapped) {
			CHECK(mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, IORING_OFF_SQ_RING) !=
			      MAP_FAILED);
			close(fd);
		}
		_exit(STATUS);
	}
	int status = check_wait(pid);
	if (status != EXIT_SKIP << 8)
		expect_status(status, STATUS << 8, 0, "io_uring");
}

static void with_descriptors(void)
{
	pid_t pid = begin_alone();
	if (pid == 0) {
		struct rlimit limit = {3000, 3000};
		CHECK(setrlimit(RLIMIT_NOFILE, &limit) == 0);
		while (open("/dev/null", O_RDONLY) >= 0)
			;
		_exit(STATUS);
	}
	expect(pid, 0, "more descriptors than are looked at");
}

/* ---- What is written ----------------------------------------------------------------------------------------------- */

/* From the heap, through a buffer in the heap, into a file and into a pipe that is read late. */
static void texts(void)
{
	enum { LONG = 40000 };
	static char text[LONG + 1];
	FILE *file = tmpfile();
	int fds[2];
	CHECK(file && pipe(fds) == 0);
	int fd = fileno(file);
	pid_t pid = begin_alone();
	if (pid == 0) {
		FILE *own = fdopen(dup(fd), "w");
		CHECK(own && setvbuf(own, t_malloc(1 * MIB), _IOFBF, 1 * MIB) == 0);
		CHECK(fwrite(blocks[0], 1, LONG, own) == LONG);
		CHECK(write(fds[1], blocks[1], LONG) == LONG);
		exit(STATUS);
	}
	close(fds[1]);
	expect(pid, 1, "texts");
	CHECK(pread(fd, text, sizeof text, 0) == LONG);
	for (size_t i = 0; i < LONG; i++)
		CHECK(text[i] == 7);
	size_t length = 0;
	memset(text, 0, sizeof text);
	for (ssize_t n; (n = read(fds[0], text + length, sizeof text - length)) > 0;)
		length += (size_t)n;
	CHECK(length == LONG);
	for (size_t i = 0; i < LONG; i++)
		CHECK(text[i] == 7);
	close(fds[0]);
	fclose(file);
}

/* ---- The library's own thread, and calls that fail ----------------------------------------------------------------- */

/* It ends first. On a busy machine it is not waited for. */
static void beside_background(void)
{
	for (int i = 0;; i++) {
		pid_t pid = begin_alone();
		if (pid == 0) {
			t_free(memset(t_malloc(16 * MIB), 1, 16 * MIB));
			_exit(STATUS);
		}
		expect(pid, ANY, "the background thread");
		if (seen->empty)
			return;
		CHECK_SAY(i < TRIES, "the background thread keeps the heap");
	}
}

static void fails(long nr, int error, size_t dropped, const char *what)
{
	pid_t pid = begin_alone();
	if (pid == 0) {
		inject_add((struct inject_rule){.nr = nr, .action = INJECT_FAIL, .error = error, .first = 1});
		_exit(STATUS);
	}
	expect(pid, dropped, what);
}

static void failures(void)
{
	fails(SYS_rt_sigprocmask, EPERM, 0, "rt_sigprocmask");
	fails(SYS_openat, ENOENT, 0, "openat");
	fails(SYS_openat, EMFILE, 0, "openat");
	fails(SYS_read, EIO, 0, "read");
	fails(SYS_get_robust_list, ENOSYS, 0, "get_robust_list");
	fails(SYS_getdents64, EIO, 0, "getdents64");
	fails(SYS_readlinkat, EACCES, 0, "readlinkat");
	fails(SYS_unshare, EINVAL, 0, "unshare");
	fails(SYS_getpid, ENOSYS, 0, "getpid");
	fails(SYS_madvise, EINVAL, 0, "madvise");
	fails(SYS_clone, EAGAIN, 1, "clone"); /* of threads: what one can do */
}

int main(int argc, char **argv)
{
	if (SANITIZED)
		SKIP("no thread of the library's own beside a sanitizer");
	conf = VARIANTS(argc, argv, "handoff_min:1M,handoff_despite:load,thp:never");
	CHECK(prctl(PR_SET_CHILD_SUBREAPER, 1) == 0);
	seen = mmap(NULL, sizeof *seen, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	CHECK(seen != MAP_FAILED);
	if (end_in_each_way())
		return STATUS;
	option("handoff", "off", 0, 0);
	option("handoff", "auto", 0, 1);
	option("handoff_min", "1G", 0, 0);
	no_helper(SYS_clone, EAGAIN, "no process");
	no_helper(SYS_pipe2, EMFILE, "no pipe");
	no_helper(SYS_close_range, ENOSYS, "no close_range");
	no_helper(SYS_pidfd_open, ENOSYS, "no pidfd_open");
	no_room();
	first_process();
	traced();
	in_sandbox();
	beside_threads();
	in_thread();
	beside_sharer();
	in_vfork_child();
	beside_fork_child();
	beside_signals();
	in_handler(false);
	in_handler(true);
	on_own_stack();
	with_robust_mutex();
	with_ring(true);
	with_ring(false);
	with_descriptors();
	texts();
	beside_background();
	failures();
	CHECK(pmd_option_set("handoff", "off") == 0);
	return 0;
}
