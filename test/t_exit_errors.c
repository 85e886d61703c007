/* SPDX-License-Identifier: MIT */
/*
 * A handoff of which something fails, is slow or is killed; and handlers that run after it and do what they like. The exit
 * status is right, nothing hangs, and no helper is left.
 */
#include "exits.h"
#include "inject.h"
#include "late.h"

#include <sys/stat.h>

#include "os/pressure.h"

enum { ERRNOS = 12, EITHER = 9, HEAP = 2 * 1024 * 1024, WAITS = 25, TRIES = 5 };

/* ---- Calls that fail --------------------------------------------------------------------------------------------- */

static const struct call {
	const char *name;
	long nr;
	size_t helpers; /* when it fails; EITHER: it ends before or after the process does */
	int errnos[ERRNOS];
} calls[] = {
	{"clone",
	 SYS_clone,
	 0,
	 {EAGAIN, EACCES, EBUSY, EEXIST, EINVAL, ENOMEM, ENOSPC, ENOSYS, EOPNOTSUPP, EPERM, EUSERS}},
	{"pipe2", SYS_pipe2, 0, {EMFILE, ENFILE, EFAULT, EINVAL, ENOSYS, EPERM}},
	{"close_range", SYS_close_range, 0, {ENOSYS, EINVAL, EMFILE, ENOMEM, EPERM}},
	{"pidfd_open", SYS_pidfd_open, 0, {ENOSYS, EINVAL, EMFILE, ENFILE, ENODEV, ENOMEM, ESRCH, EPERM}},
	{"rt_sigprocmask", SYS_rt_sigprocmask, 0, {EFAULT, EINVAL, ENOSYS, EPERM}},
	{"openat", SYS_openat, 0, {ENOENT, EACCES, EMFILE, ENFILE, ENOMEM, ENOSYS, EPERM, EINTR}},
	{"read", SYS_read, 0, {EIO, EACCES, EINVAL, ENOSYS, EPERM, ESRCH}},
	{"getppid", SYS_getppid, 0, {ENOSYS, EPERM}},
	{"getpid", SYS_getpid, 0, {ENOSYS, EPERM}},
	{"ppoll", SYS_ppoll, EITHER, {ENOSYS, EFAULT, EINVAL, ENOMEM, EAGAIN, EPERM}},
	{"unshare", SYS_unshare, 1, {EINVAL, EPERM, ENOMEM, ENOSYS, ENOSPC}},
	{"setsid", SYS_setsid, 1, {EPERM, ENOSYS}},
	{"chdir", SYS_chdir, 1, {EACCES, ENOENT, ENOSYS, EPERM}},
	{"prctl", SYS_prctl, 1, {EFAULT, EINVAL, ENOSYS, EPERM}},
	{"madvise", SYS_madvise, 1, {EINVAL, EAGAIN, ENOMEM, ENOSYS, EPERM}},
	{"futex", SYS_futex, EITHER, {EAGAIN, EINVAL, ENOSYS, EPERM}},
	{"sched_getaffinity", SYS_sched_getaffinity, 1, {EFAULT, EINVAL, ENOSYS, EPERM}},
	{"sched_setaffinity", SYS_sched_setaffinity, 1, {EINVAL, EPERM, ENOSYS}},
	{"gettid", SYS_gettid, 1, {ENOSYS, EPERM}},
	{"sysinfo", SYS_sysinfo, 1, {EFAULT, ENOSYS, EPERM}},
	{"nanosleep", SYS_nanosleep, 1, {EINTR, EFAULT, EINVAL, ENOSYS, EPERM}},
	{"getcpu", SYS_getcpu, 1, {EFAULT, ENOSYS, EPERM}},
	{"sched_setscheduler", SYS_sched_setscheduler, 1, {EINVAL, EPERM, ENOSYS}},
	{"setpriority", SYS_setpriority, 1, {EACCES, EPERM, ENOSYS}},
	{"write", SYS_write, 1, {EINVAL, EACCES, EIO, EPERM}},
	{"close", SYS_close, 1, {EIO, EINVAL, EPERM}},
};

static size_t helpers_despite(const struct call *c, int error)
{
	pid_t pid = begin();
	if (pid == 0) {
		fill(HEAP);
		inject_add((struct inject_rule){.nr = c->nr,
						.action = INJECT_FAIL,
						.error = error,
						.first = 1,
						.last = error == EINTR ? 3 : 0});
		exit(STATUS);
	}
	expect_end(pid, c->name);
	return helpers(c->name);
}

/* On a busy machine a helper may come too late, now and then: what is missing is tried again, what is too much is not. */
static void fails(const struct call *c, int error)
{
	size_t found = helpers_despite(c, error);

	for (int i = 0; i < TRIES && c->helpers == 1 && !found && error != EINTR; i++)
		found = helpers_despite(c, error);
	CHECK_SAY(found == c->helpers || (found <= 1 && (c->helpers == EITHER || error == EINTR)),
		  "%s, errno %d: %zu helpers", c->name, error, found);
}

/* Only the n-th call fails. */
static void fails_once(const struct call *c, int error)
{
	for (size_t n = 1; n <= 6; n++) {
		pid_t pid = begin();
		if (pid == 0) {
			fill(HEAP);
			inject_add((struct inject_rule){
				.nr = c->nr, .action = INJECT_FAIL, .error = error, .first = n, .last = n});
			exit(STATUS);
		}
		expect_end(pid, c->name);
		CHECK(helpers(c->name) <= 1);
	}
}

/* ---- Slow, and killed -------------------------------------------------------------------------------------------- */

static size_t waits_before;

/* The process has waited a fixed number of times, each a few milliseconds long, however slow the helper is. */
static void count_waits(void)
{
	size_t waits = inject_calls(SYS_futex) - waits_before;
	CHECK_SAY(waits <= WAITS, "the process waited %zu times", waits);
}

/* In a process that is about to end. */
static void expect_few_waits(void)
{
	waits_before = inject_calls(SYS_futex);
	late = count_waits;
}

/* Each call may take long: the process ends all the same, and so does the helper. */
static void slow(const struct call *c)
{
	pid_t pid = begin();
	if (pid == 0) {
		fill(HEAP);
		expect_few_waits();
		inject_seed((uint64_t)c->nr);
		inject_add((struct inject_rule){.nr = c->nr, .before_us = 300000, .last = 1});
		exit(STATUS);
	}
	expect_end(pid, c->name);
	CHECK(helpers(c->name) <= 1);
}

/* The helper is killed, or stopped, before it has answered. */
static void killed(long nr, int signal, const char *what)
{
	pid_t pid = begin(), helper = 0;
	if (pid == 0) {
		fill(HEAP);
		expect_few_waits();
		inject_seed(5);
		inject_add((struct inject_rule){.nr = nr, .before_us = 1000000, .last = 1});
		exit(STATUS);
	}
	while (!(helper = child_of(pid)) && waitpid(pid, NULL, WNOHANG | WNOWAIT) == 0)
		;
	if (helper)
		kill(helper, signal);
	expect_end(pid, what);
	if (helper && signal == SIGSTOP)
		kill(helper, SIGKILL);
	CHECK(helpers(what) <= 1);
}

/* The process is killed before the helper has answered. */
static void kills_itself(long nr, const char *what)
{
	pid_t pid = begin();
	if (pid == 0) {
		fill(HEAP);
		inject_seed(5);
		inject_add((struct inject_rule){.nr = nr, .before_us = 200000, .last = 1});
		exit(STATUS);
	}
	while (!child_of(pid) && waitpid(pid, NULL, WNOHANG | WNOWAIT) == 0)
		;
	kill(pid, SIGKILL);
	check_wait(pid);
	CHECK_SAY(helpers(what) <= 1, "%s", what);
}

/* ---- Handlers that run later ------------------------------------------------------------------------------------- */

static int tell[2];

static void use_heap(void)
{
	CHECK(t_malloc(10) != NULL);
	fill(HEAP);
}

static char self[] = "/proc/self/exe", word_wait[] = "wait";

static void exec_late(void)
{
	char *const args[] = {self, word_wait, NULL};
	dup2(tell[0], 0);
	execv(self, args);
	CHECK(!"execv");
}

static void wait_for_byte(void)
{
	char byte;
	CHECK(read(0, &byte, 1) >= 0);
}

static void fork_late(void)
{
	if (fork() == 0) {
		close(tell[1]);
		dup2(tell[0], 0);
		wait_for_byte();
		late = NULL;
		CHECK(pmd_option_set("handoff", "off") == 0);
		_exit(0);
	}
}

static void close_late(void)
{
	for (int fd = 3; fd < 100; fd++)
		close(fd);
	proc_sleep_ms(50);
	fill(HEAP);
}

static void abort_late(void)
{
	abort();
}

static pid_t begin_with(void (*handler)(void))
{
	CHECK(pipe2(tell, O_CLOEXEC) == 0);
	pid_t pid = begin();
	if (pid == 0) {
		close(tell[1]);
		late = handler;
		fill(HEAP);
		exit(STATUS);
	}
	return pid;
}

/* Whether there was a helper. The same for what follows. */
static bool uses_heap(void)
{
	expect_end(begin_with(use_heap), "a late use of the heap");
	return helpers("a late use of the heap") == 1;
}

static bool closes(void)
{
	expect_end(begin_with(close_late), "a late close");
	return helpers("a late close") == 1;
}

static bool aborts(void)
{
	int status = check_wait(begin_with(abort_late));
	CHECK_SAY(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT, "a late abort: %#x", (unsigned)status);
	return helpers("a late abort") == 1;
}

/* The new program goes on; the old memory must not. */
static bool execs(void)
{
	pid_t pid = begin_with(exec_late), helper = 0;
	int waited;
	for (waited = 0; waited < HELPER_MS && !(helper = child_of(pid)); waited++)
		proc_sleep_ms(1);
	CHECK_SAY(helper, "no helper before a late exec");
	for (; waited < HELPER_MS && state_of(helper) != 'Z'; waited++)
		proc_sleep_ms(1);
	CHECK_SAY(state_of(helper) == 'Z', "after a late exec the helper goes on");
	CHECK(write(tell[1], "", 1) == 1);
	expect_end(pid, "a late exec");
	return helpers("a late exec") == 1;
}

/* A child that was forked late holds the pipe. The helper does not wait for it. */
static bool forks(void)
{
	size_t ended = 0;
	int status;
	pid_t pid = begin_with(fork_late);
	expect_end(pid, "a late fork");
	for (int waited = 0; waited < HELPER_MS && !ended; waited++) {
		ended += waitpid(-1, &status, WNOHANG | __WALL) > 0;
		proc_sleep_ms(1);
	}
	CHECK_SAY(ended == 1, "the helper waits for a child that was forked late");
	CHECK(write(tell[1], "", 1) == 1);
	return helpers("a late fork") == 1;
}

static void handlers(void)
{
	static const struct {
		bool (*had_helper)(void);
		const char *what;
	} all[] = {{uses_heap, "a late use of the heap"},
		   {closes, "a late close"},
		   {aborts, "a late abort"},
		   {execs, "a late exec"},
		   {forks, "a late fork"}};
	for (size_t i = 0; i < LENGTH(all); i++)
		for (int tries = 0;; tries++) { /* on a busy machine one may come too late, now and then */
			bool had_helper = all[i].had_helper();
			close(tell[0]);
			close(tell[1]);
			if (had_helper)
				break;
			CHECK_SAY(tries < TRIES, "%s: no helper", all[i].what);
		}
}

/* ---- Cores ------------------------------------------------------------------------------------------------------- */

/* Bytes of the core of a process that aborts when its helper, if it has one, is there; -1: none. */
static off_t core_size(const char *handoff)
{
	const struct rlimit all = {RLIM_INFINITY, RLIM_INFINITY};
	char dir[] = "/tmp/t_exit_errors.XXXXXX", name[64];
	struct stat info = {.st_size = -1};
	CHECK(mkdtemp(dir));
	pid_t pid = fork();
	CHECK(pid >= 0);
	if (pid == 0) {
		check_time_limit(30);
		CHECK(setrlimit(RLIMIT_CORE, &all) == 0 && chdir(dir) == 0);
		CHECK(pmd_option_set("handoff", handoff) == 0);
		late = abort_late;
		fill(HEAP);
		exit(STATUS);
	}
	int status = check_wait(pid);
	CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
	snprintf(name, sizeof name, "%s/core", dir);
	if (stat(name, &info)) {
		snprintf(name, sizeof name, "%s/core.%d", dir, (int)pid);
		stat(name, &info);
	}
	CHECK(WCOREDUMP(status) || info.st_size < 0);
	unlink(name);
	rmdir(dir);
	helpers("a core");
	return info.st_size;
}

/* Where there are cores, and they are files. */
static void cores(void)
{
	off_t plain = core_size("off"), beside = core_size("auto");
	CHECK_SAY(llabs((long long)plain - beside) < 1 << 18, "a core of %lld bytes instead of %lld", (long long)beside,
		  (long long)plain);
	if (plain < (off_t)(2 * MIB))
		check_say("no core with the heap in it is written here\n");
}

/* ---- Too little memory ------------------------------------------------------------------------------------------- */

static void write_file(const char *dir, const char *name, const char *text)
{
	char path[256];
	snprintf(path, sizeof path, "%s%s", dir, name);
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	CHECK(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text));
	close(fd);
}

static size_t helpers_with(const char *dir, const char *what)
{
	pid_t pid = begin();
	if (pid == 0) {
		pressure_root = dir;
		fill(HEAP);
		exit(STATUS);
	}
	expect_end(pid, what);
	return helpers(what);
}

static void room(const char *dir, size_t wanted, const char *what)
{
	size_t found = helpers_with(dir, what);

	for (int i = 0; i < TRIES && found < wanted; i++)
		found = helpers_with(dir, what);
	CHECK_SAY(found == wanted, "%s: %zu helpers", what, found);
}

static _Atomic size_t *drops; /* shared with the processes under test and their helpers */

static bool count_drop(const long args[6])
{
	(void)args;
	++*drops;
	return false;
}

/* Who wants a helper all the same has one; it leaves the memory to the kernel if there still is no room when it is its turn. */
static void room_despite(const char *dir, bool dropped, const char *what)
{
	size_t found = 0;
	drops = mmap(NULL, sizeof *drops, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	CHECK(drops != MAP_FAILED);
	for (int i = 0; !found; i++) { /* on a busy machine it may come too late, now and then */
		CHECK_SAY(i < TRIES, "%s: no helper", what);
		pid_t pid = begin();
		if (pid == 0) {
			CHECK(pmd_option_set("handoff_despite", "all") == 0);
			pressure_root = dir;
			fill(HEAP);
			inject_add((struct inject_rule){.nr = SYS_madvise, .match = count_drop});
			exit(STATUS);
		}
		expect_end(pid, what);
		found = helpers(what);
	}
	CHECK_SAY(found == 1 && !*drops == !dropped, "%s: %zu calls of madvise by %zu helpers", what, *drops, found);
	munmap((void *)drops, sizeof *drops);
}

/* ---- What takes long --------------------------------------------------------------------------------------------- */

static bool count_reading(const long args[6])
{
	*drops += strcmp((const char *)args[1], "/proc/locks") == 0;
	return false;
}

static void map_file(void)
{
	char name[] = "/tmp/t_exit_errors.XXXXXX";
	int fd = mkstemp(name);
	CHECK(fd >= 0 && unlink(name) == 0 && ftruncate(fd, BLOCK) == 0);
	CHECK(mmap(NULL, BLOCK, PROT_READ, MAP_PRIVATE, fd, 0) != MAP_FAILED);
	close(fd);
}

/* The kernel makes a reader of /proc/locks wait for 15 ms: that is for those who have mapped what could be locked. */
static void reading_locks(bool mapped, const char *what)
{
	drops = mmap(NULL, sizeof *drops, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	CHECK(drops != MAP_FAILED);
	for (int i = 0;; i++) {
		CHECK_SAY(i < TRIES, "%s: no helper", what);
		pid_t pid = begin();
		if (pid == 0) {
			if (mapped)
				map_file();
			fill(HEAP);
			inject_add((struct inject_rule){.nr = SYS_openat, .match = count_reading});
			exit(STATUS);
		}
		expect_end(pid, what);
		if (helpers(what))
			break;
	}
	CHECK_SAY(!*drops == !mapped, "%s: /proc/locks was read %zu times", what, *drops);
	munmap((void *)drops, sizeof *drops);
}

static void rooms(void)
{
	static const char *const folders[] = {"/proc",
					      "/proc/self",
					      "/sys",
					      "/sys/fs",
					      "/sys/fs/cgroup",
					      "/sys/fs/cgroup/a",
					      "/sys/fs/cgroup/a/b",
					      "/sys/fs/cgroup/memory",
					      "/sys/fs/cgroup/memory/x"};
	static const char *const files[] = {"/proc/meminfo",
					    "/proc/self/cgroup",
					    "/sys/fs/cgroup/cgroup.controllers",
					    "/sys/fs/cgroup/a/memory.max",
					    "/sys/fs/cgroup/a/memory.current",
					    "/sys/fs/cgroup/a/memory.stat",
					    "/sys/fs/cgroup/memory/memory.limit_in_bytes",
					    "/sys/fs/cgroup/memory/memory.usage_in_bytes",
					    "/sys/fs/cgroup/memory/x/memory.limit_in_bytes",
					    "/sys/fs/cgroup/memory/x/memory.usage_in_bytes",
					    "/sys/fs/cgroup/memory/x/memory.stat"};
	char dir[] = "/tmp/t_exit_errors.XXXXXX", path[256];
	CHECK(mkdtemp(dir));
	for (size_t i = 0; i < LENGTH(folders); i++) {
		snprintf(path, sizeof path, "%s%s", dir, folders[i]);
		CHECK(mkdir(path, 0700) == 0);
	}
	room(dir, 0, "no file that says how much memory there is");
	write_file(dir, files[0], "MemTotal: 100000000 kB\nMemAvailable: 1000 kB\n");
	room(dir, 0, "a machine without memory");
	room_despite(dir, false, "a machine without memory, all the same");
	write_file(dir, files[0], "MemTotal: 100000000 kB\nMemAvailable: 9000000 kB\n");
	room(dir, 1, "a machine with memory");
	room_despite(dir, true, "a machine with memory, all the same");
	write_file(dir, files[1], "1:memory:/x\n0::/a/b\n");
	write_file(dir, files[2], "memory\n");
	room(dir, 1, "a cgroup without a limit");
	write_file(dir, files[3], "10000000\n");
	write_file(dir, files[4], "9999999\n");
	write_file(dir, files[5], "anon 1\ninactive_file 0\n");
	room(dir, 0, "a cgroup close to its limit");
	write_file(dir, files[5], "anon 1\ninactive_file 8000000\n");
	room(dir, 1, "a cgroup close to its limit for file pages");
	write_file(dir, files[6], "9223372036854771712\n");
	write_file(dir, files[7], "5000000000\n");
	write_file(dir, files[8], "10000000\n");
	write_file(dir, files[9], "9999999\n");
	room(dir, 0, "a cgroup of version 1 close to its limit");
	write_file(dir, files[10], "inactive_file 1\ntotal_inactive_file 8000000\n");
	room(dir, 1, "a cgroup of version 1 close to its limit for file pages");
	write_file(dir, files[6], "5000000001\n");
	room(dir, 0, "a cgroup of version 1 in one that is close to its limit");
	write_file(dir, files[1], "3:cpu,memory:/elsewhere\n");
	room(dir, 0, "a cgroup of version 1 that is the root here");
	write_file(dir, files[1], "3:cpu,memory2:/x\n2:name=memory:/x\n");
	room(dir, 1, "no cgroup of the memory controller");
	for (size_t i = 0; i < LENGTH(files); i++) {
		snprintf(path, sizeof path, "%s%s", dir, files[i]);
		unlink(path);
	}
	for (size_t i = LENGTH(folders); i-- > 0;) {
		snprintf(path, sizeof path, "%s%s", dir, folders[i]);
		rmdir(path);
	}
	rmdir(dir);
}

int main(int argc, char **argv)
{
	if (SANITIZED)
		SKIP("no handoff beside a sanitizer");
	if (argc > 1 && strcmp(argv[1], word_wait) == 0) {
		wait_for_byte();
		return STATUS;
	}
	CHECK(prctl(PR_SET_CHILD_SUBREAPER, 1) == 0);
	CHECK(pmd_option_set("handoff_min", "1M") == 0 && pmd_option_set("handoff_despite", "load") == 0);
	for (size_t i = 0; i < LENGTH(calls); i++) {
		for (size_t j = 0; j < ERRNOS && calls[i].errnos[j]; j++)
			fails(&calls[i], calls[i].errnos[j]);
		fails_once(&calls[i], calls[i].errnos[0]);
		slow(&calls[i]);
	}
	killed(SYS_close_range, SIGKILL, "killed before it parts");
	killed(SYS_pidfd_open, SIGKILL, "killed before it looks");
	killed(SYS_close_range, SIGSTOP, "stopped");
	kills_itself(SYS_close_range, "a process that is killed early");
	kills_itself(SYS_pidfd_open, "a process that is killed late");
	handlers();
	if (geteuid() == 0) /* the limit is none already */
		cores();
	rooms();
	reading_locks(false, "nothing mapped");
	reading_locks(true, "a file mapped privately");
	CHECK(pmd_option_set("handoff", "off") == 0);
	return 0;
}
