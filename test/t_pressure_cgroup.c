/* SPDX-License-Identifier: MIT */
/*
 * Real cgroups: memory.events of one that is full of page cache and of one that is full of data, its stall trigger, and what
 * becomes of both when the process is moved and the cgroup removed. Needs root and a cgroup root that has the memory
 * controller switched on for its children; it switches nothing on. PRESSURE_CACHE names a file or device of 128 MiB.
 */
#include "os/pressure.h"
#include "proc.h"

#include <sys/stat.h>

#define ROOT  "/sys/fs/cgroup"
#define LIMIT (64 * MIB)
#define SOON  15000 /* ms */

static struct pressure p;
static char groups[2][64];

static bool try_put(const char *group, const char *name, const char *text)
{
	char path[128];
	snprintf(path, sizeof path, "%s/%s", group, name);
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	bool done = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);
	if (fd >= 0)
		close(fd);
	return done;
}

static void put(const char *group, const char *name, const char *text)
{
	CHECK_SAY(try_put(group, name, text), "%s to %s/%s", text, group, name);
}

static bool has_memory_controller(void)
{
	char text[256] = "";
	int fd = open(ROOT "/cgroup.subtree_control", O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	ssize_t n = read(fd, text, sizeof text - 1);
	close(fd);
	return n > 0 && strstr(text, "memory");
}

static void join(const char *group)
{
	put(group, "cgroup.procs", "0");
}

/* A child in this cgroup that writes BYTES over and over. */
static pid_t hog(size_t bytes, int rounds)
{
	pid_t pid = fork();
	CHECK(pid >= 0);
	if (pid > 0)
		return pid;
	check_child(60);
	char *data = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(data != MAP_FAILED);
	for (int round = 0; round < rounds; round++)
		for (size_t i = 0; i < bytes; i += 4096)
			*(size_t *)(data + i) = i + (size_t)round;
	pause();
	return 0;
}

static void end(pid_t pid)
{
	kill(pid, SIGKILL);
	check_wait(pid);
}

static void close_one(int *fd)
{
	close(*fd);
	*fd = -1;
}

/* As after the time without triggers. */
static void start(void)
{
	pressure_open(&p, true);
	p.triggers_at_ms = 1;
	CHECK(pressure_wait(&p, -1, 0) == WAIT_TIMEOUT);
}

static void quiet(void)
{
	start();
	CHECK_SAY(p.events >= 0 && strcmp(p.dir, groups[0]) == 0, "'%s'", p.dir);
	if (p.group < 0)
		check_say("no stall trigger here\n");
	CHECK(pressure_has_source(&p) && !pressure_check(&p));
	CHECK(pressure_wait(&p, -1, 300) == WAIT_TIMEOUT);
	pressure_close(&p);
}

/* Neither triggers nor samples of stalls. */
static void only_events(void)
{
	if (p.group >= 0)
		close_one(&p.group);
	if (p.machine >= 0)
		close_one(&p.machine);
	memset(&p.group_stall, 0, sizeof p.group_stall);
	memset(&p.machine_stall, 0, sizeof p.machine_stall);
}

/* The cgroup is at its limit again and again, by what the kernel can drop at any time. */
static void full_of_cache(void)
{
	static char buffer[64 * KIB];
	const char *path = getenv("PRESSURE_CACHE");
	int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
	if (fd < 0) {
		check_say("no PRESSURE_CACHE to read\n");
		return;
	}
	start();
	only_events();
	uint64_t seen = p.events_seen;
	for (int i = 0; i < 128 * 16; i++) {
		CHECK(read(fd, buffer, sizeof buffer) == sizeof buffer);
		if (i % 64 == 0)
			CHECK(!(pressure_wait(&p, -1, 0) & WAIT_PRESSURE));
	}
	CHECK(pressure_wait(&p, -1, 1200) == WAIT_TIMEOUT);
	CHECK_SAY(p.events_seen > seen, "the limit was not reached");
	CHECK(!pressure_check(&p));
	pressure_close(&p);
	close(fd);
}

static void full_of_data(void)
{
	start();
	only_events();
	pid_t pid = hog(LIMIT + LIMIT / 4, 1);
	CHECK(pressure_wait(&p, -1, SOON) == WAIT_PRESSURE);
	CHECK(pressure_check(&p));
	end(pid);
	CHECK(!pressure_check(&p));
	pressure_close(&p);
}

static void stalls(bool by_trigger)
{
	start();
	close_one(&p.events);
	if (p.machine >= 0)
		close_one(&p.machine);
	if (p.group >= 0) {
		if (!by_trigger)
			close_one(&p.group);
		pid_t pid = hog(2 * LIMIT, 1000);
		CHECK(pressure_wait(&p, -1, SOON) == WAIT_PRESSURE);
		end(pid);
	}
	pressure_close(&p);
}

static size_t cpu_ms(void)
{
	struct rusage used;
	CHECK(getrusage(RUSAGE_SELF, &used) == 0);
	return (size_t)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) * 1000 +
	       (size_t)(used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1000;
}

static void removed(void)
{
	start();
	CHECK(p.events >= 0);
	join(groups[1]);
	CHECK(rmdir(groups[0]) == 0);
	size_t before = cpu_ms();
	CHECK(pressure_wait(&p, -1, 2000) == WAIT_TIMEOUT);
	CHECK_SAY(cpu_ms() - before < 200, "%zu ms of CPU in a sleep of 2 s", cpu_ms() - before);
	CHECK_SAY(p.events == -1 && p.group == -1, "files of a removed cgroup are polled: %d %d", p.events, p.group);
	CHECK(!pressure_check(&p));
	CHECK_SAY(strcmp(p.dir, groups[1]) == 0, "'%s'", p.dir);
	CHECK(p.events == -1); /* no limit here */
	put(groups[1], "memory.high", "1G");
	CHECK(!pressure_check(&p) && p.events >= 0);
	pressure_close(&p);
}

static void run(void)
{
	join(groups[0]);
	quiet();
	full_of_cache();
	full_of_data();
	stalls(true);
	stalls(false);
	removed();
}

int main(void)
{
	char limit[32];
	if (!has_memory_controller())
		SKIP("no cgroup root (version 2) that has the memory controller switched on");
	for (int i = 0; i < 2; i++)
		snprintf(groups[i], sizeof groups[i], ROOT "/pmdalloc-test-%d-%d", (int)getpid(), i);
	if (mkdir(groups[0], 0755))
		SKIP("no cgroup can be made here: errno %d", errno);
	CHECK(mkdir(groups[1], 0755) == 0);
	snprintf(limit, sizeof limit, "%zu", LIMIT);
	put(groups[0], "memory.max", limit);
	pid_t pid = fork();
	CHECK(pid >= 0);
	if (pid == 0) {
		check_child(CHECK_SECONDS);
		run();
		_exit(0);
	}
	int status = check_wait(pid);
	for (int i = 0; i < 2; i++) {
		try_put(groups[i], "cgroup.kill", "1");
		for (int tries = 0; tries < 50 && rmdir(groups[i]) && errno == EBUSY; tries++)
			proc_sleep_ms(20);
	}
	return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}
