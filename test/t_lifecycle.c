/* SPDX-License-Identifier: MIT */
/*
 * The life of the background thread, as the program can notice it: it is there only while there is something to give
 * back, does not outlive fork, exec or exit, and is out of the way where the kernel wants a process to be alone
 * (unshare, setns), where every thread must change (credentials), and in a sandbox.
 */
#include "api.h"
#include "proc.h"
#include "variants.h"

#include <dirent.h>
#include <grp.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <sys/syscall.h>

#define NOBODY   65534
#define WAIT_MS  30000
#define FREED    (16 * MIB)
#define PART_MAX 4096

static const char *conf;

/* Threads as /proc/self/task lists them; *OTHER is the number of one that is not the first, 0 if there is none. */
static size_t list_threads(int *other)
{
	char text[4096];
	size_t count = 0;
	int fd = open("/proc/self/task", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	CHECK(fd >= 0);
	*other = 0;
	for (long n; (n = syscall(SYS_getdents64, fd, text, sizeof text)) > 0;)
		for (long at = 0; at < n;) {
			const struct dirent *entry = (const struct dirent *)(const void *)(text + at);
			int number = atoi(entry->d_name);
			at += entry->d_reclen;
			count += number != 0;
			if (number && number != getpid())
				*other = number;
		}
	close(fd);
	return count;
}

static size_t threads(void)
{
	int other;
	size_t count = list_threads(&other);
	/* Between the two looks one may have come or gone. */
	return count == proc_kb("Threads:") ? count : list_threads(&other);
}

static void wait_for_threads(size_t count)
{
	for (int waited = 0; waited < WAIT_MS && threads() != count; waited += 5)
		proc_sleep_ms(5);
	CHECK_SAY(threads() == count, "%s: %zu threads, not %zu", conf, threads(), count);
}

/* In blocks that fit into a region: nothing is given back at once, and the kernel needs no thread for that. */
static void free_much(void)
{
	enum { BLOCKS = 16 };
	void *blocks[BLOCKS];
	for (size_t i = 0; i < BLOCKS; i++) {
		blocks[i] = t_malloc(FREED / BLOCKS);
		CHECK(blocks[i]);
		memset(blocks[i], 1, FREED / BLOCKS);
	}
	for (size_t i = 0; i < BLOCKS; i++)
		t_free(blocks[i]);
}

/* From now on there is a background thread, which has to do for seconds. */
static void begin_thread(void)
{
	CHECK(pmd_option_set("decay_ms", "60000") == 0);
	free_much();
	wait_for_threads(2);
}

static void expect_success(pid_t pid, const char *what)
{
	int status = check_wait(pid);
	CHECK_SAY(status == 0 || status == EXIT_SKIP << 8, "%s: %s: wait status %#x", conf, what, (unsigned)status);
}

/* Each case in a process of its own. */
static void run_case(void (*run)(void), const char *what)
{
	pid_t pid = fork();
	CHECK(pid >= 0);
	if (pid == 0) {
		check_child(60);
		run();
		_exit(0);
	}
	expect_success(pid, what);
}

static void counts(void)
{
	CHECK(threads() == 1);
	for (size_t i = 0; i < 1000; i++)
		t_free(t_malloc(i * 10));
	CHECK_SAY(threads() == 1, "%s: a thread without work", conf);
	CHECK(pmd_option_set("decay_ms", "200") == 0);
	free_much();
	wait_for_threads(2);
	wait_for_threads(1); /* it is done, and gone */
	free_much();
	wait_for_threads(2);
	wait_for_threads(1);
}

static void forks(void)
{
	begin_thread();
	pid_t pid = fork();
	CHECK(pid >= 0);
	if (pid == 0) {
		check_child(60);
		CHECK_SAY(threads() == 1, "%s: %zu threads in the child", conf, threads());
		free_much();
		wait_for_threads(2);
		_exit(0);
	}
	expect_success(pid, "the child of a fork");
	CHECK(threads() == 2);
}

static char path[] = "/proc/self/exe";
static char word_count[] = "count threads", word_exit[] = "exit";

static _Atomic bool finished;

static void *wake_up(void *unused)
{
	while (!atomic_load(&finished))
		free_much();
	return unused;
}

/* The background thread's number; 0: it is not there. */
static int number_of_thread(void)
{
	char text[64];
	int number = 0;
	DIR *tasks = opendir("/proc/self/task");
	CHECK(tasks);
	for (const struct dirent *entry; (entry = readdir(tasks));) {
		snprintf(text, sizeof text, "/proc/self/task/%.20s/comm", entry->d_name);
		int fd = open(text, O_RDONLY | O_CLOEXEC);
		ssize_t n = fd < 0 ? 0 : read(fd, text, sizeof text - 1);
		if (fd >= 0)
			close(fd);
		text[n > 0 ? n : 0] = 0;
		if (!strcmp(text, "pmdalloc\n"))
			number = atoi(entry->d_name);
	}
	closedir(tasks);
	return number;
}

/* The parent's other threads go on meanwhile, and wake the background thread, which must not take it for its own end. */
static void vforks_beside(void)
{
	pthread_t thread;
	int number;

	if (!strcmp(conf, "release:io_uring")) /* its workers have the thread's name at first, and come and go */
		return;
	begin_thread();
	CHECK(pmd_option_set("dirty_max", "0") == 0);
	CHECK(pthread_create(&thread, NULL, wake_up, NULL) == 0);
	while (!(number = number_of_thread()))
		proc_sleep_ms(1);
	for (size_t i = 0; i < 100; i++) {
		pid_t pid = vfork();
		if (pid == 0) {
			for (int k = 0; k < 20; k++)
				if (setgid(getgid()))
					_exit(3);
			_exit(0);
		}
		CHECK(pid > 0);
		expect_success(pid, "the child of a vfork");
	}
	CHECK_SAY(number_of_thread() == number, "%s: thread %d, then %d", conf, number, number_of_thread());
	atomic_store(&finished, true);
	CHECK(pthread_join(thread, NULL) == 0);
}

/* The child frees much, which is its parent's memory, and leaves nothing behind that keeps its parent from doing so. */
static void vfork_frees(void)
{
	pid_t pid;

	CHECK(pmd_option_set("decay_ms", "200") == 0);
	wait_for_threads(1);
	pid = vfork();
	if (pid == 0) {
		free_much();
		_exit(0);
	}
	CHECK(pid > 0);
	expect_success(pid, "the child of a vfork");
	free_much();
	wait_for_threads(2);
}

/* The child changes what is its own, and execs a program that is alone. */
static void vforks(void)
{
	char *const args[] = {path, word_count, NULL};
	begin_thread();
	for (size_t i = 0; i < 20; i++) {
		pid_t pid = vfork();
		if (pid == 0) {
			if (geteuid() == 0 && (setgid(NOBODY) || setuid(NOBODY)))
				_exit(3);
			unshare(CLONE_NEWUSER);
			execv(path, args);
			_exit(4);
		}
		CHECK(pid > 0);
		expect_success(pid, "the child of a vfork");
		CHECK_SAY(threads() == 2, "%s: the parent's thread is gone", conf);
	}
	free_much();
}

static void execs(void)
{
	char *const args[] = {path, word_count, NULL};
	begin_thread();
	execv(path, args);
	CHECK(!"execv");
}

/* The ways out; a thread that hangs on would let the time limit pass. */
static void exits(void)
{
	for (int way = 0; way < 4; way++) {
		pid_t pid = fork();
		CHECK(pid >= 0);
		if (pid == 0) {
			char *const args[] = {path, word_exit, NULL};
			check_child(30);
			begin_thread();
			switch (way) {
			case 0:
				exit(5);
			case 1:
				_exit(5);
			case 2:
				quick_exit(5);
			default:
				execv(path, args);
				_exit(6);
			}
		}
		int status = check_wait(pid);
		CHECK_SAY(WIFEXITED(status) && WEXITSTATUS(status) == 5, "%s: exit number %d: wait status %#x", conf,
			  way, (unsigned)status);
	}
}

/* The thread does not keep the directory that the program has left, and uses no descriptor of the program's. */
static void places(void)
{
	char name[64], place[256] = "";
	int other, fd = open("/", O_RDONLY | O_DIRECTORY);
	CHECK(fd >= 0 && chdir("/proc") == 0);
	begin_thread();
	list_threads(&other);
	snprintf(name, sizeof name, "/proc/self/task/%d/cwd", other);
	for (int waited = 0; waited < WAIT_MS && strcmp(place, "/") != 0; waited += 5) {
		ssize_t length = readlink(name, place, sizeof place - 1);
		CHECK(length > 0);
		place[length] = 0;
		proc_sleep_ms(5);
	}
	CHECK_SAY(strcmp(place, "/") == 0, "%s: its directory is %s", conf, place);
	snprintf(name, sizeof name, "/proc/self/task/%d/fd/%d", other, fd);
	CHECK_SAY(readlink(name, place, sizeof place) < 0 || fd > 2, "%s: it has %s open", conf, place);
	CHECK(getcwd(place, sizeof place) && strcmp(place, "/proc") == 0);
}

#ifndef PMD_PREFIXED

/* Whether RUN, in a process that uses no allocator, succeeds: what the machine does not allow is no failure of ours. */
static bool is_possible(bool (*run)(void))
{
	pid_t pid = fork();
	CHECK(pid >= 0);
	if (pid == 0) {
		check_child(30);
		_exit(!run());
	}
	return check_wait(pid) == 0;
}

static bool new_user(void)
{
	return unshare(CLONE_NEWUSER) == 0;
}

static bool new_user_by_number(void)
{
	return syscall(SYS_unshare, CLONE_NEWUSER) == 0;
}

static bool new_user_and_mounts(void)
{
	return unshare(CLONE_NEWUSER | CLONE_NEWNS) == 0;
}

static int namespace; /* another process's user namespace */

static bool enter_user(void)
{
	return setns(namespace, CLONE_NEWUSER) == 0;
}

static bool enter_any(void)
{
	return syscall(SYS_setns, namespace, 0) == 0;
}

static void with_thread(bool (*run)(void), const char *what)
{
	if (!is_possible(run)) {
		check_say("%s: not possible here (errno %d)\n", what, errno);
		return;
	}
	for (size_t i = 0; i < 20; i++) {
		pid_t pid = fork();
		CHECK(pid >= 0);
		if (pid == 0) {
			check_child(60);
			begin_thread();
			CHECK_SAY(run(), "%s: %s with a background thread", conf, what);
			/* It comes back, into the same namespace. */
			free_much();
			wait_for_threads(2);
			_exit(0);
		}
		expect_success(pid, what);
	}
}

static void namespaces(void)
{
	char name[64];
	int ready[2], done[2];
	char byte;
	with_thread(new_user, "unshare(CLONE_NEWUSER)");
	with_thread(new_user_by_number, "syscall(SYS_unshare)");
	with_thread(new_user_and_mounts, "unshare(CLONE_NEWUSER | CLONE_NEWNS)");
	CHECK(pipe(ready) == 0 && pipe(done) == 0);
	pid_t pid = fork();
	CHECK(pid >= 0);
	if (pid == 0) {
		check_child(60);
		if (unshare(CLONE_NEWUSER))
			_exit(EXIT_SKIP);
		CHECK(write(ready[1], "", 1) == 1);
		close(done[1]);
		_exit(read(done[0], &byte, 1) != 0);
	}
	close(ready[1]);
	close(done[0]);
	if (read(ready[0], &byte, 1) == 1) {
		snprintf(name, sizeof name, "/proc/%d/ns/user", (int)pid);
		namespace = open(name, O_RDONLY | O_CLOEXEC);
		CHECK(namespace >= 0);
		with_thread(enter_user, "setns(CLONE_NEWUSER)");
		with_thread(enter_any, "syscall(SYS_setns)");
	}
	close(done[1]);
	expect_success(pid, "the owner of a namespace");
}

/* The line of thread NUMBER's status that begins with KEY. */
static void status_line(int number, const char *key, char *line, size_t size)
{
	char name[64], text[PART_MAX];
	snprintf(name, sizeof name, "/proc/self/task/%d/status", number);
	int fd = open(name, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd >= 0 ? read(fd, text, sizeof text - 1) : 0;
	if (fd >= 0)
		close(fd);
	text[n > 0 ? n : 0] = 0;
	const char *at = strstr(text, key), *end = at ? strchr(at, '\n') : NULL;
	snprintf(line, size, "%.*s", end ? (int)(end - at) : 0, at ? at : "");
}

/* Whether every thread that there is has the credentials of the first. */
static bool is_same(char *line, size_t size)
{
	static const char *const keys[] = {"Uid:", "Gid:", "Groups:", "CapEff:"};
	char own[256];
	int other;
	list_threads(&other);
	for (size_t i = 0; other && i < LENGTH(keys); i++) {
		status_line(getpid(), keys[i], own, sizeof own);
		status_line(other, keys[i], line, size);
		if (line[0] && strcmp(own, line) != 0)
			return false;
	}
	return true;
}

static void check_same(const char *what)
{
	char line[256], name[64] = "";
	int other;
	bool same = is_same(line, sizeof line);
	if (!same && list_threads(&other) > 1)
		status_line(other, "Name:", name, sizeof name);
	CHECK_SAY(same, "%s: after %s a thread (%s) has %s", conf, what, name, line);
}

#ifndef PMD_STATIC

static _Atomic bool stop;

/* Frees enough to start a background thread all the time. */
static void *free_on(void *unused)
{
	while (!atomic_load(&stop))
		free_much();
	return unused;
}

#define CHANGE(call)                                           \
	do {                                                   \
		begin_thread();                                \
		CHECK_SAY((call) == 0, "%s: %s", conf, #call); \
		check_same(#call);                             \
		free_much();                                   \
		wait_for_threads(2);                           \
		check_same(#call);                             \
	} while (0)

static void credentials(void)
{
	const gid_t groups[] = {NOBODY, 7};
	if (geteuid() != 0)
		SKIP("only root can change who it is");
	CHANGE(setgroups(2, groups));
	CHANGE(initgroups("nobody", NOBODY));
	CHANGE(setegid(NOBODY));
	CHANGE(setregid(NOBODY, 0));
	CHANGE(setresgid(NOBODY, NOBODY, 0));
	CHANGE(setgid(NOBODY));
	CHANGE(seteuid(NOBODY));
	CHANGE(seteuid(0));
	CHANGE(setreuid(NOBODY, 0));
	CHANGE(setresuid(NOBODY, 0, 0));
	CHANGE(setuid(NOBODY));
	CHECK(setuid(0) < 0 && errno == EPERM);
}

/* While another thread of the program frees: the thread that begins meanwhile is no exception. */
static void credentials_beside(void)
{
	pthread_t thread;
	if (geteuid() != 0)
		SKIP("only root can change who it is");
	CHECK(pthread_create(&thread, NULL, free_on, NULL) == 0);
	proc_sleep_ms(20);
	CHECK(setgid(NOBODY) == 0);
	CHECK(setuid(NOBODY) == 0);
	atomic_store(&stop, true);
	CHECK(pthread_join(thread, NULL) == 0);
	check_same("setuid beside a thread that frees");
}

#endif

/*
 * Not noticed as it happens: by a system call, or in a static program. The thread sees it for itself, within a second or
 * so, and while there is work another takes its place.
 */
static void credentials_unseen(void)
{
	char line[256];
	if (geteuid() != 0)
		SKIP("only root can change who it is");
	begin_thread();
	CHECK(pmd_option_set("decay_ms", "2000") == 0);
#ifdef PMD_STATIC
	CHECK(setuid(NOBODY) == 0);
#elif defined(__x86_64__)
	long result;
	__asm__ volatile("syscall" : "=a"(result) : "a"((long)SYS_setuid), "D"((long)NOBODY) : "rcx", "r11", "memory");
	CHECK(result == 0);
#else
	SKIP("no system call without the library's");
#endif
	for (int waited = 0; waited < 10000 && !is_same(line, sizeof line); waited += 50) {
		free_much();
		proc_sleep_ms(50);
	}
	check_same("a change that is not announced");
}

static void sandbox(void)
{
	begin_thread();
	CHECK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
	CHECK_SAY(threads() == 1, "%s: a thread in the sandbox", conf);
	CHECK(pmd_option_set("decay_ms", "100") == 0);
	size_t before = proc_rss_kb();
	free_much();
	for (int waited = 0; waited < WAIT_MS && proc_rss_kb() > before; waited += 20) {
		proc_sleep_ms(20);
		t_free(t_malloc(MIB)); /* who frees does the work */
	}
	CHECK_SAY(proc_rss_kb() <= before, "%s: %zu kB, %zu before", conf, proc_rss_kb(), before);
	CHECK_SAY(threads() == 1, "%s: a thread in the sandbox", conf);
}

/* As launchers do, for the program that the child is about to execute. */
static void vfork_sandbox(void)
{
	pid_t pid;

	begin_thread();
	pid = vfork();
	if (pid == 0)
		_exit(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ? 3 : 0);
	CHECK(pid > 0);
	expect_success(pid, "the child of a vfork");
	CHECK_SAY(threads() == 2, "%s: the parent's thread is gone", conf);
	CHECK(pmd_option_set("decay_ms", "200") == 0);
	wait_for_threads(1);
	free_much();
	wait_for_threads(2);
}

#endif

#define CASE(name) run_case(name, #name)

int main(int argc, char **argv)
{
	if (SANITIZED)
		SKIP("sanitizers have threads of their own");
	if (!proc_has_madvise())
		SKIP(NO_MADVISE ", so that the thread always has something to wait for");
	if (argc > 1 && strcmp(argv[1], word_count) == 0)
		return threads() != 1;
	if (argc > 1 && strcmp(argv[1], word_exit) == 0) {
		begin_thread();
		return 5;
	}
	conf = VARIANTS(argc, argv, "thp:never", "release:madvise", "release:io_uring", "release:remap,pressure:off");
	CASE(counts);
	CASE(forks);
	CASE(vforks);
	CASE(vfork_frees);
	CASE(vforks_beside);
	CASE(execs);
	CASE(exits);
	CASE(places);
#ifndef PMD_PREFIXED
	CASE(namespaces);
#ifndef PMD_STATIC
	CASE(credentials);
	CASE(credentials_beside);
#endif
	CASE(credentials_unseen);
	CASE(sandbox);
	CASE(vfork_sandbox);
#endif
	return 0;
}
