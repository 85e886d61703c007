/* SPDX-License-Identifier: MIT */
/*
 * What tells that memory is short, on files made for it and on this machine's own: limits of cgroups, stalls, swap, waking,
 * what breaks, and what is not there. Triggers are replaced by sockets with urgent data, which poll like them.
 */
#include "os/pressure.h"
#include "proc.h"

#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysinfo.h>

static char root[] = "/tmp/t_pressure_wait.XXXXXX";
static struct pressure p;

/* --- a /proc and a /sys made for the test ----------------------------------------------------------------------- */

static void make_dirs(char *path)
{
	for (char *slash = strchr(path + strlen(root) + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
		*slash = 0;
		CHECK(mkdir(path, 0755) == 0 || errno == EEXIST);
		*slash = '/';
	}
}

static void put(const char *name, const char *text)
{
	char path[512];
	int fd;
	snprintf(path, sizeof path, "%s%s", root, name);
	make_dirs(path);
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	CHECK(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text));
	close(fd);
}

static void removed(const char *name)
{
	char path[512];
	snprintf(path, sizeof path, "%s%s", root, name);
	CHECK(unlink(path) == 0 || rmdir(path) == 0);
}

/* A cgroup at DIR, which may be the mount itself, with all of the files and no limit. */
static void put_group(const char *dir)
{
	static const char *const files[][2] = {
		{"cgroup.controllers", "memory\n"},
		{"cgroup.events", "populated 1\n"},
		{"memory.current", "0\n"},
		{"memory.high", "max\n"},
		{"memory.max", "max\n"},
		{"memory.swap.max", "max\n"},
		{"memory.stat", "inactive_file 0\n"},
		{"memory.pressure", ""},
		{"memory.events", "low 0\nhigh 0\nmax 0\noom 0\noom_kill 0\noom_group_kill 0\n"},
	};
	char name[256];
	for (size_t i = 0; i < LENGTH(files); i++) {
		snprintf(name, sizeof name, "%s/%s", dir, files[i][0]);
		put(name, files[i][1]);
	}
}

static void put_machine(size_t available_kb)
{
	char text[256];
	snprintf(text, sizeof text,
		 "MemTotal:  1000000 kB\nMemFree:  50000 kB\nMemAvailable:  %zu kB\nBuffers:  0 kB\n", available_kb);
	put("/proc/meminfo", text);
	put("/proc/pressure/memory", "");
}

static void remove_files(void)
{
	pid_t pid = fork();
	if (pid == 0) {
		execlp("rm", "rm", "-rf", root, NULL);
		_exit(127);
	}
	CHECK(pid > 0 && check_wait(pid) == 0);
}

static int descriptors(void)
{
	int n = 0;
	for (int fd = 0; fd < 256; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

/* As after the time without them. */
static void set_triggers(void)
{
	CHECK(p.triggers_at_ms > 0);
	p.triggers_at_ms = 1;
	CHECK(pressure_wait(&p, -1, 0) == WAIT_TIMEOUT && p.triggers_at_ms == 0);
}

/* --- files ------------------------------------------------------------------------------------------------------ */

static void nothing_there(void)
{
	pressure_open(&p, true);
	CHECK(p.group == -1 && p.machine == -1 && p.events == -1 && p.dir_len == 0);
	CHECK(!pressure_check(&p));
	CHECK(pressure_wait(&p, -1, 20) == WAIT_TIMEOUT);
	CHECK(!pressure_has_source(&p));
	pressure_close(&p);
}

/* Without descriptors of its own the thread opens nothing, at no time. */
static void not_listening(void)
{
	int before = descriptors();
	memset(&p, 0, sizeof p);
	put("/proc/self/cgroup", "0::/a\n");
	put_group("/sys/fs/cgroup/a");
	put("/sys/fs/cgroup/a/memory.max", "0\n");
	pressure_open(&p, false);
	CHECK(!pressure_has_source(&p) && !pressure_check(&p));
	CHECK(descriptors() == before);
	CHECK(pressure_wait(&p, -1, 20) == WAIT_TIMEOUT);
	pressure_wake(&p);
	CHECK(pressure_wait(&p, -1, -1) == WAIT_WOKEN);
	pressure_close(&p);
}

static void limits(void)
{
	const char *const dir = "/sys/fs/cgroup/a.slice/b.service";
	put("/proc/self/cgroup", "12:memory:/x\n0::/a.slice/b.service\n");
	put_group("/sys/fs/cgroup");
	put_group("/sys/fs/cgroup/a.slice");
	put_group(dir);
	pressure_open(&p, true);
	CHECK(p.group == -1 && p.machine == -1 && p.events == -1);
	set_triggers();
	CHECK(p.group >= 0 && p.machine >= 0 && p.events == -1);
	CHECK(strcmp(p.dir + strlen(root), dir) == 0);
	CHECK(!pressure_check(&p));

	put("/sys/fs/cgroup/a.slice/b.service/memory.max", "16000000\n");
	put("/sys/fs/cgroup/a.slice/b.service/memory.current", "14999999\n");
	CHECK(!pressure_check(&p));
	CHECK(p.events >= 0 && p.limit_len == p.dir_len);
	put("/sys/fs/cgroup/a.slice/b.service/memory.current", "15000000\n");
	CHECK(pressure_check(&p));
	put("/sys/fs/cgroup/a.slice/b.service/memory.stat", "anon 5\ninactive_anon 7\ninactive_file 4096\n");
	CHECK(!pressure_check(&p));
	put("/sys/fs/cgroup/a.slice/b.service/memory.high", "8000000\n");
	CHECK(pressure_check(&p));
	put("/sys/fs/cgroup/a.slice/b.service/memory.current", "7000000\n");
	CHECK(!pressure_check(&p));

	put("/sys/fs/cgroup/a.slice/memory.high", "32000000\n");
	put("/sys/fs/cgroup/a.slice/memory.current", "31000000\n");
	CHECK(pressure_check(&p));
	put("/sys/fs/cgroup/a.slice/memory.high", "max\n");
	CHECK(!pressure_check(&p));
	put("/sys/fs/cgroup/memory.max", "64000000\n");
	put("/sys/fs/cgroup/memory.current", "64000000\n");
	CHECK(pressure_check(&p));
	put("/sys/fs/cgroup/memory.max", "0\n");
	CHECK(pressure_check(&p));
	put("/sys/fs/cgroup/memory.max", "max\n");
	put("/sys/fs/cgroup/memory.current", "");
	CHECK(!pressure_check(&p));
	pressure_close(&p);
}

static void swap(void)
{
	struct sysinfo info;
	CHECK(sysinfo(&info) == 0);
	pressure_open(&p, true);
	CHECK(pressure_swap_present(&p) == (info.totalswap > 0));
	put("/sys/fs/cgroup/a.slice/memory.swap.max", "0\n");
	CHECK(!pressure_swap_present(&p));
	put("/sys/fs/cgroup/a.slice/memory.swap.max", "max\n");
	pressure_close(&p);
}

/* Another cgroup, one that is not below the mount, one outside the namespace, a removed one, and a machine without. */
static void moving(void)
{
	const char *const elsewhere[] = {"0::/../../x\n", "0::/not/there\n", "0::/a.slice (deleted)\n", "0::/\n"};
	int first;
	put("/proc/self/cgroup", "0::/a.slice\n");
	pressure_open(&p, true);
	set_triggers();
	first = p.group;
	CHECK(first >= 0 && strcmp(p.dir + strlen(root), "/sys/fs/cgroup/a.slice") == 0);
	put("/sys/fs/cgroup/c/memory.max", "1000\n");
	put("/sys/fs/cgroup/c/memory.current", "990\n");
	put("/proc/self/cgroup", "0::/c\n");
	CHECK(pressure_check(&p));
	CHECK(strcmp(p.dir + strlen(root), "/sys/fs/cgroup/c") == 0 && p.group == -1 && p.limit_len == p.dir_len);
	for (size_t i = 0; i < LENGTH(elsewhere); i++) {
		put("/proc/self/cgroup", elsewhere[i]);
		CHECK(!pressure_check(&p));
		CHECK_SAY(strcmp(p.dir + strlen(root), "/sys/fs/cgroup") == 0, "%s", p.dir);
		CHECK(p.limit_len == 0 && p.events == -1);
	}
	removed("/sys/fs/cgroup/cgroup.events"); /* the real root has none */
	put("/proc/self/cgroup", "0::/a.slice\n");
	CHECK(!pressure_check(&p) && p.group >= 0);
	put("/proc/self/cgroup", "0::/\n");
	CHECK(!pressure_check(&p) && p.group == -1 && p.dir_len);
	put("/proc/self/cgroup", "4:memory:/only/version/1\n");
	CHECK(!pressure_check(&p) && p.dir_len == 0 && p.group == -1);
	pressure_close(&p);
}

/* Version 2 beside version 1. */
static void hybrid(void)
{
	removed("/sys/fs/cgroup/cgroup.controllers");
	put_group("/sys/fs/cgroup/unified/s");
	put("/sys/fs/cgroup/unified/cgroup.controllers", "");
	put("/proc/self/cgroup", "1:name=systemd:/\n0::/s\n");
	pressure_open(&p, true);
	set_triggers();
	CHECK(strcmp(p.dir + strlen(root), "/sys/fs/cgroup/unified/s") == 0 && p.group >= 0);
	pressure_close(&p);
	put("/sys/fs/cgroup/cgroup.controllers", "memory\n");
}

static void long_path(void)
{
	char text[1500] = "0::/";
	memset(text + 4, 'x', sizeof text - 6);
	text[sizeof text - 2] = '\n';
	put("/proc/self/cgroup", text);
	pressure_open(&p, true);
	CHECK(strcmp(p.dir + strlen(root), "/sys/fs/cgroup") == 0);
	CHECK(!pressure_check(&p));
	pressure_close(&p);
}

/* Where triggers are forbidden, the stalls themselves are looked at. */
static void sampling(void)
{
	struct pressure_stall *const stalls[] = {&p.group_stall, &p.machine_stall};
	const char *const files[] = {"/sys/fs/cgroup/a.slice/memory.pressure", "/proc/pressure/memory"};
	put("/proc/self/cgroup", "0::/a.slice\n");
	put("/sys/fs/cgroup/a.slice/cgroup.events", "");
	put_machine(10000);
	put("/proc/pressure/memory", "some avg10=0.00 avg60=0.00 avg300=0.00 total=5000\n");
	pressure_open(&p, true);
	CHECK(pressure_has_source(&p));
	memset(&p.machine_stall, 0, sizeof p.machine_stall);
	for (int i = 0; i < 2; i++) {
		put(files[i], "some avg10=0.00 avg60=0.00 avg300=0.00 total=5000\nfull avg10=0.00 total=900000000\n");
		CHECK(!pressure_check(&p) && stalls[i]->total_us == 5000);
		put(files[i], "some avg10=0.00 avg60=0.00 avg300=0.00 total=905000\nfull avg10=0.00 total=900000000\n");
		CHECK(!pressure_check(&p)); /* too soon to tell */
		stalls[i]->at_ms -= 10000;
		CHECK(pressure_check(&p)); /* 900 ms of 10 s */
		CHECK(!pressure_check(&p));
		put(files[i],
		    "some avg10=0.00 avg60=0.00 avg300=0.00 total=1505000\nfull avg10=0.00 total=900000000\n");
		stalls[i]->at_ms -= 10000;
		CHECK(!pressure_check(&p)); /* 600 ms of 10 s */
		put(files[i], "some avg10=0.00 avg60=0.00 avg300=0.00 total=3505000\n");
		stalls[i]->at_ms -= 10000;
		p.sample_at_ms = 1;
		CHECK(pressure_wait(&p, -1, 0) == WAIT_PRESSURE);
		CHECK(p.sample_at_ms > 1 && pressure_wait(&p, -1, 0) == WAIT_TIMEOUT);
		put(files[i], "some avg10=0.00\n");
		stalls[i]->at_ms -= 10000;
		CHECK(!pressure_check(&p));
	}
	put("/proc/pressure/memory", "some avg10=0.00 avg60=0.00 avg300=0.00 total=90000000\n");
	put_machine(500000);
	stalls[1]->at_ms -= 10000;
	CHECK(!pressure_check(&p)); /* somebody else's limit: the machine has memory */
	pressure_close(&p);
}

static bool refuses;

static bool refuse(void)
{
	return refuses;
}

/* Whoever shall end at once has no triggers: not at the time for them, and not any more. Stalls are looked at instead. */
static void without_triggers(void)
{
	const char *machine = "/proc/pressure/memory";
	put_machine(10000);
	put(machine, "some avg10=0.00 avg60=0.00 avg300=0.00 total=5000\n");
	for (int late = 0; late < 2; late++) {
		memset(&p, 0, sizeof p);
		p.refuses_triggers = refuse;
		refuses = !late;
		pressure_open(&p, true);
		set_triggers();
		CHECK_SAY((p.machine >= 0) == late && (p.group >= 0) == late, "triggers: %d %d", p.machine, p.group);
		put(machine, "some avg10=0.00 avg60=0.00 avg300=0.00 total=5000\n");
		p.machine_stall.at_ms -= 10000;
		pressure_do_without_triggers(&p);
		if (!late) /* nothing to do */
			pressure_check(&p);
		CHECK(p.machine == -1 && p.group == -1 && p.machine_stall.total_us == 5000);
		put(machine, "some avg10=0.00 avg60=0.00 avg300=0.00 total=3505000\n");
		p.machine_stall.at_ms -= 10000;
		p.sample_at_ms = 1;
		CHECK(pressure_wait(&p, -1, 0) == WAIT_PRESSURE);
		pressure_close(&p);
	}
	memset(&p, 0, sizeof p);
	pressure_open(&p, false);
	pressure_do_without_triggers(&p);
	CHECK(!pressure_has_source(&p));
	pressure_close(&p);
	memset(&p, 0, sizeof p);
}

/* --- what is polled --------------------------------------------------------------------------------------------- */

/* A connection over the loopback device: FDS[1] has urgent data (POLLPRI) while fire() was called since drained(). */
static void connected(int fds[2])
{
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof at;
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (listener < 0 || bind(listener, (struct sockaddr *)&at, sizeof at) || listen(listener, 1))
		SKIP("no loopback device: errno %d", errno);
	CHECK(getsockname(listener, (struct sockaddr *)&at, &len) == 0);
	fds[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	CHECK(fds[0] >= 0 && connect(fds[0], (struct sockaddr *)&at, sizeof at) == 0);
	fds[1] = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	CHECK(fds[1] >= 0);
	close(listener);
}

static void fire(int fds[2])
{
	struct pollfd ready = {.fd = fds[1], .events = POLLPRI};
	CHECK(send(fds[0], "!", 1, MSG_OOB) == 1);
	CHECK(poll(&ready, 1, 5000) == 1);
}

static void drained(int fds[2])
{
	char c;
	CHECK(recv(fds[1], &c, 1, MSG_OOB) == 1);
}

static void triggers(void)
{
	int a[2], b[2], broken[2];
	put_machine(10000);
	pressure_open(&p, true);
	set_triggers();
	CHECK(p.group >= 0 && p.machine >= 0);
	connected(a);
	connected(b);
	CHECK(dup2(a[1], p.group) == p.group && dup2(b[1], p.machine) == p.machine);
	CHECK(pressure_wait(&p, -1, 10) == WAIT_TIMEOUT);
	fire(a);
	CHECK(pressure_wait(&p, -1, 5000) == WAIT_PRESSURE);
	drained(a);
	CHECK(pressure_wait(&p, -1, 10) == WAIT_TIMEOUT);
	fire(b);
	CHECK(pressure_wait(&p, -1, 5000) == WAIT_PRESSURE);
	put_machine(500000);
	CHECK(pressure_wait(&p, -1, 10) == WAIT_TIMEOUT);
	drained(b);

	CHECK(pipe(broken) == 0 && dup2(broken[1], p.group) == p.group && dup2(broken[1], p.machine) == p.machine);
	close(broken[0]);
	close(broken[1]);
	CHECK(pressure_wait(&p, -1, 10) == WAIT_TIMEOUT);
	CHECK_SAY(p.group == -1 && p.machine == -1, "broken triggers are kept: %d %d", p.group, p.machine);
	pressure_close(&p);
	close(a[0]), close(a[1]), close(b[0]), close(b[1]);
}

/* One that cannot be read any more, as its cgroup is gone, is closed and not polled again. */
static void events(void)
{
	const char *const file = "/sys/fs/cgroup/a.slice/memory.events";
	int a[2];
	put("/sys/fs/cgroup/a.slice/memory.max", "1600\n");
	put("/sys/fs/cgroup/a.slice/memory.current", "1550\n");
	put(file, "low 0\nhigh 0\nmax 3\noom 0\noom_kill 0\n");
	pressure_open(&p, true);
	CHECK(p.events >= 0 && p.events_seen == 3);
	CHECK(pressure_wait(&p, -1, 10) == WAIT_TIMEOUT);
	connected(a);
	fire(a);
	CHECK(dup2(a[1], p.events) == p.events);
	CHECK(pressure_wait(&p, -1, 10) == WAIT_TIMEOUT && p.events == -1);
	pressure_close(&p);
	close(a[0]), close(a[1]);
	put("/sys/fs/cgroup/a.slice/memory.max", "max\n");
}

/* --- waking ----------------------------------------------------------------------------------------------------- */

enum { WAKES = 2000, WAKERS = 3 };

static _Atomic unsigned rounds;
static _Atomic bool listening, finished;

static uint64_t clock_ms(void)
{
	struct timespec t;
	CHECK(clock_gettime(CLOCK_MONOTONIC, &t) == 0);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static void *wake_often(void *unused)
{
	for (unsigned i = 0; i < WAKES; i++) {
		unsigned seen = atomic_load(&rounds);
		pressure_wake(&p);
		for (uint64_t since = clock_ms(); atomic_load(&rounds) == seen; sched_yield())
			CHECK_SAY(clock_ms() - since < 20000, "wake-up %u was lost", i);
	}
	return unused;
}

static void *listen_to_wakers(void *by_futex)
{
	sigset_t all;
	sigfillset(&all);
	CHECK(pthread_sigmask(SIG_BLOCK, &all, NULL) == 0);
	pressure_open(&p, true);
	if (by_futex) {
		atomic_store(&p.tid, 0);
		close(p.wake);
		p.wake = -1;
	}
	atomic_store(&listening, true);
	while (!atomic_load(&finished)) {
		CHECK(pressure_wait(&p, -1, -1) == WAIT_WOKEN);
		atomic_fetch_add(&rounds, 1);
	}
	pressure_close(&p);
	return NULL;
}

static void waking(bool by_futex)
{
	pthread_t listener, wakers[WAKERS];
	memset(&p, 0, sizeof p);
	atomic_store(&finished, false);
	atomic_store(&listening, false);
	pressure_wake(&p); /* before there is a listener */
	CHECK(pthread_create(&listener, NULL, listen_to_wakers, by_futex ? &p : NULL) == 0);
	while (!atomic_load(&listening))
		sched_yield();
	for (int i = 0; i < WAKERS; i++)
		CHECK(pthread_create(&wakers[i], NULL, wake_often, NULL) == 0);
	for (int i = 0; i < WAKERS; i++)
		CHECK(pthread_join(wakers[i], NULL) == 0);
	atomic_store(&finished, true);
	pressure_wake(&p);
	CHECK(pthread_join(listener, NULL) == 0);
	CHECK(p.tid == 0 && p.wakers == 0);
	pressure_wake(&p); /* after it is gone */
}

static void extra(void)
{
	int ends[2];
	memset(&p, 0, sizeof p);
	pressure_open(&p, true);
	CHECK(pipe(ends) == 0);
	CHECK(pressure_wait(&p, ends[0], 10) == WAIT_TIMEOUT);
	CHECK(write(ends[1], "x", 1) == 1);
	CHECK(pressure_wait(&p, ends[0], 5000) == WAIT_EXTRA);
	pressure_wake(&p);
	CHECK(pressure_wait(&p, ends[0], 5000) == (WAIT_EXTRA | WAIT_WOKEN));
	CHECK(pressure_wait(&p, -1, 0) == WAIT_TIMEOUT);
	uint64_t start_ms = clock_ms();
	CHECK(pressure_wait(&p, -1, 60) == WAIT_TIMEOUT);
	CHECK(clock_ms() - start_ms >= 59);
	pressure_close(&p);
	close(ends[0]), close(ends[1]);
}

/* In the child of a fork nothing is left of the parent's thread, and nobody is sent a signal that kills. */
static void after_fork(void)
{
	pid_t pid;
	memset(&p, 0, sizeof p);
	pressure_open(&p, true);
	pid = fork();
	CHECK(pid >= 0);
	if (pid == 0) {
		check_child(20);
		pressure_after_fork(&p);
		pressure_wake(&p);
		pressure_open(&p, true);
		CHECK(pressure_wait(&p, -1, 1000) == WAIT_WOKEN);
		pressure_close(&p);
		_exit(0);
	}
	CHECK(check_wait(pid) == 0);
	CHECK(pressure_wait(&p, -1, 0) == WAIT_TIMEOUT);
	pressure_close(&p);
}

/* Too few descriptors for anything: the futex serves. */
static void no_descriptors(void)
{
	pid_t pid = fork();
	CHECK(pid >= 0);
	if (pid == 0) {
		struct rlimit none = {0, 0};
		check_child(20);
		CHECK(setrlimit(RLIMIT_NOFILE, &none) == 0);
		memset(&p, 0, sizeof p);
		pressure_open(&p, true);
		CHECK(p.wake == -1 && p.group == -1 && p.machine == -1 && p.events == -1);
		CHECK(!pressure_check(&p));
		CHECK(pressure_wait(&p, -1, 20) == WAIT_TIMEOUT);
		pressure_wake(&p);
		CHECK(pressure_wait(&p, -1, -1) == WAIT_WOKEN);
		pressure_close(&p);
		_exit(0);
	}
	CHECK(check_wait(pid) == 0);
}

static void this_machine(void)
{
	pressure_root = "";
	memset(&p, 0, sizeof p);
	pressure_open(&p, true);
	set_triggers();
	check_say("cgroup '%s', trigger %s, machine's trigger %s, memory.events %s, swap %s\n", p.dir,
		  p.group >= 0 ? "yes" : "no", p.machine >= 0 ? "yes" : "no", p.events >= 0 ? "yes" : "no",
		  pressure_swap_present(&p) ? "yes" : "no");
	pressure_check(&p);
	pressure_wait(&p, -1, 100);
	pressure_close(&p);
}

static void run(void)
{
	int before = descriptors();
	pressure_root = root;
	nothing_there();
	not_listening();
	put_machine(500000);
	limits();
	swap();
	moving();
	hybrid();
	long_path();
	sampling();
	without_triggers();
	triggers();
	events();
	waking(false);
	waking(true);
	extra();
	after_fork();
	no_descriptors();
	this_machine();
	CHECK_SAY(descriptors() == before, "%d descriptors, %d at the start", descriptors(), before);
}

/* In a child, so that the files are removed in any case. */
int main(void)
{
	sigset_t all;
	int status;
	sigfillset(&all);
	sigdelset(&all, SIGALRM);
	CHECK(sigprocmask(SIG_BLOCK, &all, NULL) == 0);
	CHECK(mkdtemp(root));
	pid_t pid = fork();
	CHECK(pid >= 0);
	if (pid == 0) {
		check_child(CHECK_SECONDS);
		run();
		_exit(0);
	}
	status = check_wait(pid);
	remove_files();
	return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}
