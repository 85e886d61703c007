/* SPDX-License-Identifier: MIT */
/*
 * What must be as without a handoff when a process with a large heap ends: what it writes and in which order, what it had
 * open, locked, mapped and bound, its process group, what its parent is told. And the options that say when there is one.
 */
#include "exits.h"
#include "variants.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sched.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/shm.h>
#include <sys/socket.h>

enum { RING_MS = 5000, CHILD_STATUS = 24 };

static bool is_auto;
static char place[] = "/tmp/t_exit.XXXXXX";

static void expect_helpers(size_t wanted, const char *what)
{
	size_t found = helpers(what);
	CHECK_SAY(is_count(found, is_auto ? wanted : 0), "%s: %s: %zu helpers", conf, what, found);
}

/* ---- What it writes ---------------------------------------------------------------------------------------------- */

static void say_first(void)
{
	printf("first handler, ");
	t_free(t_malloc(100000));
}

static void say_second(int status, void *unused)
{
	(void)unused;
	printf("second handler of %d, ", status);
}

static bool says; /* at the end, in the one process that is asked to */

__attribute__((destructor)) static void say_destructor(void)
{
	if (says)
		printf("destructor, ");
}

static void texts(void)
{
	static const char wanted[] = "begin, second handler of 23, first handler, destructor, ";
	char text[256] = "";
	int fds[2];
	CHECK(pipe(fds) == 0);
	pid_t pid = begin();
	if (pid == 0) {
		CHECK(dup2(fds[1], 1) == 1 && !close(fds[0]) && !close(fds[1]));
		setvbuf(stdout, t_malloc(1 * MIB), _IOFBF, 1 * MIB); /* what is written last is in our heap */
		says = true;
		atexit(say_first);
		on_exit(say_second, NULL);
		fill(2 * MIB);
		printf("begin, ");
		exit(STATUS);
	}
	close(fds[1]);
	expect_end(pid, "texts");
	CHECK(fcntl(fds[0], F_SETFL, O_NONBLOCK) == 0);
	CHECK_SAY(read(fds[0], text, sizeof text - 1) == (ssize_t)strlen(wanted) && strcmp(text, wanted) == 0,
		  "%s: '%s'", conf, text);
	/* Nobody has the other end any more: the end of the file, not EAGAIN. */
	CHECK_SAY(read(fds[0], text, sizeof text) == 0, "%s: a pipe is still open", conf);
	close(fds[0]);
	expect_helpers(1, "texts");
}

/* ---- What it had open -------------------------------------------------------------------------------------------- */

static int listen_at(struct sockaddr_in *address)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	socklen_t length = sizeof *address;
	CHECK(fd >= 0);
	if (bind(fd, (struct sockaddr *)address, sizeof *address) || listen(fd, 5) ||
	    getsockname(fd, (struct sockaddr *)address, &length)) {
		close(fd);
		return -1;
	}
	return fd;
}

static void ports(void)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int fd = listen_at(&address);
	CHECK(fd >= 0);
	pid_t pid = begin();
	if (pid == 0) {
		fill(2 * MIB);
		exit(STATUS);
	}
	close(fd);
	expect_end(pid, "ports");
	fd = listen_at(&address);
	CHECK_SAY(fd >= 0, "%s: the port is not free (errno %d)", conf, errno);
	close(fd);
	expect_helpers(1, "ports");
}

static int open_file(void)
{
	char name[64];
	snprintf(name, sizeof name, "%s/file", place);
	int fd = open(name, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	CHECK(fd >= 0 && ftruncate(fd, 4096) == 0);
	return fd;
}

static void *no_map(int fd)
{
	(void)fd;
	return NULL;
}

static void *shared_map(int fd)
{
	return mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
}

static void *memory_map(int fd)
{
	(void)fd;
	return mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
}

/* A mapping of the file that is locked would keep the lock. */
static void locks_with(void *(*map)(int fd), size_t wanted, const char *what)
{
	struct flock all = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
	int fd = open_file();
	pid_t pid = begin();
	if (pid == 0) {
		int own = open_file(), other = open_file();
		CHECK(flock(own, LOCK_EX | LOCK_NB) == 0 && fcntl(other, F_SETLK, &all) == 0);
		CHECK(map(own) != MAP_FAILED);
		fill(2 * MIB);
		exit(STATUS);
	}
	expect_end(pid, what);
	CHECK_SAY(flock(fd, LOCK_EX | LOCK_NB) == 0, "%s: %s: flock still held", conf, what);
	CHECK_SAY(fcntl(fd, F_SETLK, &all) == 0, "%s: %s: lock still held", conf, what);
	close(fd);
	expect_helpers(wanted, what);
}

static void *private_map(int fd)
{
	return mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, fd, 0);
}

/* A lock of the open file, not of the process. */
static void *private_map_of_other_lock(int fd)
{
	struct flock none = {.l_type = F_UNLCK, .l_whence = SEEK_SET}, all = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
	CHECK(flock(fd, LOCK_UN) == 0 && fcntl(fd, F_SETLK, &none) == 0 && fcntl(fd, F_OFD_SETLK, &all) == 0);
	return private_map(fd);
}

static void locks(void)
{
	locks_with(no_map, 1, "locks");
	locks_with(memory_map, 1, "locks and shared memory");
	locks_with(shared_map, 0, "locks of a file that is mapped");
	locks_with(private_map, 0, "locks of a file that is mapped privately");
	locks_with(private_map_of_other_lock, 0, "OFD locks of a file that is mapped privately");
}

/* So many that what the kernel says of them is some megabytes. */
static void mappings(void)
{
	pid_t pid = begin();
	if (pid == 0) {
		size_t count = 30000, page = 4096;
		char *p = mmap(NULL, 2 * count * page, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		CHECK(p != MAP_FAILED);
		for (size_t i = 0; i < count; i++) /* each cuts one out */
			CHECK(mprotect(p + 2 * i * page, page, PROT_NONE) == 0);
		CHECK(proc_vmas() > count);
		fill(2 * MIB);
		exit(STATUS);
	}
	expect_end(pid, "mappings");
	expect_helpers(1, "mappings");
}

static void attachments(void)
{
	int id = shmget(IPC_PRIVATE, 4096, IPC_CREAT | 0600);
	struct shmid_ds info;
	if (id < 0)
		return;
	pid_t pid = begin();
	if (pid == 0) {
		CHECK(shmat(id, NULL, 0) != (void *)-1);
		fill(2 * MIB);
		exit(STATUS);
	}
	expect_end(pid, "attachments");
	CHECK(shmctl(id, IPC_STAT, &info) == 0 && shmctl(id, IPC_RMID, NULL) == 0);
	CHECK_SAY(info.shm_nattch == 0, "%s: a segment is still attached", conf);
	expect_helpers(0, "attachments");
}

/* ---- What its parent is told ------------------------------------------------------------------------------------- */

static volatile sig_atomic_t told;

static void count_signal(int signal)
{
	(void)signal;
	told++;
}

/* A parent that adopts nobody sees one child, and one signal; and the process group is empty at once. */
static void parents(void)
{
	pid_t parent = begin();
	if (parent == 0) {
		signal(SIGCHLD, count_signal);
		pid_t pid = begin();
		if (pid == 0) {
			setpgid(0, 0);
			fill(2 * MIB);
			exit(STATUS);
		}
		struct rusage usage;
		int status;
		CHECK(wait4(pid, &status, 0, &usage) == pid && status == STATUS << 8);
		CHECK_SAY(kill(-pid, 0) < 0 && errno == ESRCH, "%s: its process group is not empty", conf);
		CHECK_SAY(usage.ru_maxrss > 2048, "%s: ru_maxrss %ld", conf, usage.ru_maxrss);
		proc_sleep_ms(100);
		CHECK_SAY(told == 1, "%s: %d signals", conf, (int)told);
		CHECK(waitpid(-1, &status, WNOHANG | __WALL) < 0 && errno == ECHILD);
		CHECK(pmd_option_set("handoff", "off") == 0);
		exit(STATUS);
	}
	expect_end(parent, "a parent");
	expect_helpers(1, "a parent");
}

/* What it shares with a child copy-on-write is the child's, whoever drops it here. */
static void children(void)
{
	char *p;
	pid_t pid = begin();
	if (pid == 0) {
		fill(2 * MIB);
		p = t_malloc(BLOCK);
		memset(p, 7, BLOCK);
		pid_t process = getpid(), child = fork();
		CHECK(child >= 0);
		if (child == 0) {
			check_time_limit(30);
			while (getppid() == process)
				proc_sleep_ms(1);
			proc_sleep_ms(300);
			for (size_t i = 0; i < BLOCK; i++)
				CHECK(p[i] == 7);
			CHECK(pmd_option_set("handoff", "off") == 0);
			_exit(CHILD_STATUS);
		}
		exit(STATUS);
	}
	expect_end(pid, "children");
	int status, good = 0;
	while (waitpid(-1, &status, __WALL) > 0)
		good += status == CHILD_STATUS << 8;
	CHECK_SAY(good == 1, "%s: a child's memory", conf);
}

/*
 * The library's background thread has descriptors of its own and may be the last to leave; the helper still does the work,
 * which is seen by the time that it has used.
 */
static void background(void)
{
	pid_t pid = begin();
	if (pid == 0) {
		char *p = t_malloc(16 * MIB);
		memset(p, 1, 16 * MIB);
		t_free(p);
		fill(128 * MIB);
		exit(STATUS);
	}
	expect_end(pid, "background");
	struct rusage usage;
	long us = 0;
	size_t count = 0;
	int status;
	for (pid_t helper; (helper = wait4(-1, &status, __WALL | WNOHANG, &usage)) >= 0 && count < is_auto;)
		if (helper) {
			missed |= status == NO_HELPER << 8;
			us = (usage.ru_stime.tv_sec + usage.ru_utime.tv_sec) * 1000000 + usage.ru_stime.tv_usec +
			     usage.ru_utime.tv_usec;
			count++;
		} else {
			proc_sleep_ms(1);
		}
	CHECK(count == is_auto);
	CHECK_SAY(!is_auto || us > 1000 || missed, "%s: the helper has worked for %ld us", conf, us);
}

/* Other processes keep all CPUs busy, so that the thread has to wait for its turn to end. */
static void backgrounds(void)
{
	pid_t spinners[64];
	size_t count = (size_t)sysconf(_SC_NPROCESSORS_ONLN) % (LENGTH(spinners) + 1);
	for (size_t i = 0; i < count; i++) {
		spinners[i] = begin();
		for (; spinners[i] == 0;)
			;
	}
	for (size_t i = 0; i < check_scaled(10); i++)
		background();
	/* So little memory is torn down before a helper has its turn. */
	pid_t pid = begin();
	if (pid == 0) {
		CHECK(pmd_option_set("handoff_despite", "nothing") == 0);
		fill(2 * MIB);
		exit(STATUS);
	}
	expect_end(pid, "busy CPUs");
	for (size_t i = 0; i < count; i++) {
		kill(spinners[i], SIGKILL);
		check_wait(spinners[i]);
	}
	expect_helpers(0, "busy CPUs");
}

/* Another process in the same memory, which goes on: nothing of it may be dropped. */
static char *shared;
static char sharer_stack[64 << 10] __attribute__((aligned(16)));

static int check_shared(void *process)
{
	while (getppid() == *(pid_t *)process)
		proc_sleep_ms(1);
	proc_sleep_ms(300);
	for (size_t i = 0; i < 2 * MIB; i++)
		if (shared[i] != 7)
			return CHILD_STATUS;
	return 0;
}

static void sharers(void)
{
	static pid_t process;
	pid_t pid = begin();
	if (pid == 0) {
		shared = t_malloc(2 * MIB);
		memset(shared, 7, 2 * MIB);
		process = getpid();
		CHECK(clone(check_shared, sharer_stack + sizeof sharer_stack, CLONE_VM | SIGCHLD, &process) > 0);
		exit(STATUS);
	}
	expect_end(pid, "sharers");
	int status, count = 0;
	for (pid_t other; (other = waitpid(-1, &status, __WALL)) > 0; count++)
		CHECK_SAY(status == 0 || status == NO_HELPER << 8, "%s: what another process shares was dropped (%#x)",
			  conf, (unsigned)status);
	CHECK(count == (is_auto ? 2 : 1));
}

/* ---- The ring of release:io_uring -------------------------------------------------------------------------------- */

static void wait_for_ring(void)
{
	for (int waited = 0; !proc_maps_has("anon_inode:[io_uring]"); waited++) {
		if (waited == RING_MS)
			SKIP("no ring comes to be here");
		proc_sleep_ms(1);
	}
}

/* The library's own, with requests in it, is none of the mappings that must go with the process. */
static void ring(const char *handoff, int signal)
{
	pid_t pid = begin();
	if (pid == 0) {
		CHECK(pmd_option_set("handoff", handoff) == 0);
		t_free(memset(t_malloc(16 * MIB), 1, 16 * MIB));
		wait_for_ring();
		char *p = memset(t_malloc(32 * MIB), 1, 32 * MIB);
		fill(2 * MIB);
		settle();
		t_free(p);
		raise(signal);
		exit(STATUS);
	}
	int status = check_wait(pid);
	if (status == EXIT_SKIP << 8)
		SKIP("io_uring is not to be had");
	CHECK_SAY(status == (signal ? signal : STATUS << 8), "%s: a ring: wait status %#x", conf, (unsigned)status);
	size_t found = helpers("a ring");
	CHECK_SAY(is_count(found, 1), "%s, handoff:%s, signal %d: a ring: %zu helpers", conf, handoff, signal, found);
}

static void ring_at_exit(void)
{
	ring("auto", 0);
}

static void ring_armed(void)
{
	ring("armed", 0);
}

static void ring_killed(void)
{
	ring("armed", SIGKILL);
}

static void rings(void)
{
	for (size_t i = 0; i < check_scaled(10); i++) {
		in_time(ring_at_exit);
		in_time(ring_armed);
		in_time(ring_killed);
	}
}

/* ---- Options ----------------------------------------------------------------------------------------------------- */

static void option(const char *name, const char *value, size_t wanted)
{
	pid_t pid = begin();
	if (pid == 0) {
		CHECK(pmd_option_set(name, value) == 0);
		fill(2 * MIB);
		exit(STATUS);
	}
	expect_end(pid, value);
	expect_helpers(wanted, name);
}

static void options(void)
{
	option("handoff", "off", 0);
	option("handoff_min", "1G", 0);
	option("handoff_min", "1500K", 1);
	option("handoff_max", "1500K", 0);
	option("handoff_max", "1G", 1);
	option("handoff_max", "none", 1);
	option("handoff_despite", "all", 1);
}

int main(int argc, char **argv)
{
	if (SANITIZED)
		SKIP("no handoff beside a sanitizer");
	conf = VARIANTS(argc, argv, "handoff_min:1M,handoff_despite:load,thp:never", "handoff_min:1M,handoff:off",
			"handoff_min:1M,handoff_despite:load,decay_ms:0,release:io_uring");
	is_auto = !strstr(conf, "handoff:off");
	CHECK(prctl(PR_SET_CHILD_SUBREAPER, 1) == 0);
	if (strstr(conf, "io_uring")) {
		rings();
		CHECK(pmd_option_set("handoff", "off") == 0);
		return 0;
	}
	CHECK(mkdtemp(place));
	in_time(texts);
	in_time(ports);
	in_time(locks);
	in_time(mappings);
	in_time(attachments);
	in_time(parents);
	in_time(children);
	in_time(sharers);
	in_time(backgrounds);
	if (is_auto)
		in_time(options);
	char name[64];
	snprintf(name, sizeof name, "%s/file", place);
	unlink(name);
	rmdir(place);
	CHECK(pmd_option_set("handoff", "off") == 0);
	return 0;
}
