/* SPDX-License-Identifier: MIT */
/*
 * Everything else that a process may run out of, or do without: address space, data, mappings, processes, descriptors,
 * locked memory, a cgroup's memory; /proc, a root directory that can be written, any file at all. Where memory is what
 * there is no more of, requests fail with ENOMEM, what there is stays whole and can be freed, and then serves again;
 * otherwise all goes on as ever.
 *
 * A row of the table is a process of its own, for which the limit is there before the library's first act, or comes
 * while it runs. Rows that need rights which this process does not have are skipped, and said to be.
 */
#include "api.h"
#include "block.h"
#include "proc.h"
#include "random.h"

#include <grp.h>
#include <pthread.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>

#define LIMIT  (64 * MIB)
#define LEAST  (LIMIT / 3)
#define MOST   (LIMIT + LIMIT / 2) /* is taken where there should be an end, ... */
#define PLENTY (LEAST + MIB)       /* ... and where there is none */
#define NOBODY 65534

enum { BEFORE = 1, RUNNING = 2, BOTH = BEFORE | RUNNING };
enum memory { ENOUGH, LIMITED, LITTLE }; /* LIMITED: to about LIMIT; LITTLE: whatever is left */

struct row {
	const char *name;
	bool (*enter)(size_t n); /* false: it cannot be had here */
	size_t n;
	enum memory memory;
	unsigned when;
	const char *conf;
};

/* ---- What there may be too little of ----------------------------------------------------------------------------- */

static bool set_limit(__rlimit_resource_t resource, size_t n)
{
	const struct rlimit limit = {n, n};

	return !setrlimit(resource, &limit);
}

static bool address_space(size_t n)
{
	return set_limit(RLIMIT_AS, n);
}

static bool data(size_t n)
{
	return set_limit(RLIMIT_DATA, n);
}

static bool descriptors(size_t n)
{
	return set_limit(RLIMIT_NOFILE, n);
}

static bool be_nobody(void)
{
	return !setgroups(0, NULL) && !setresgid(NOBODY, NOBODY, NOBODY) && !setresuid(NOBODY, NOBODY, NOBODY);
}

/* Root has as many as it likes. */
static bool processes(size_t n)
{
	return (getuid() || be_nobody()) && set_limit(RLIMIT_NPROC, n);
}

/* Of which each page is counted, those that are only reserved as well. Raising it may be forbidden. */
static bool locked_memory(size_t n)
{
	struct rlimit now;

	return !getrlimit(RLIMIT_MEMLOCK, &now) && set_limit(RLIMIT_MEMLOCK, now.rlim_max < n ? now.rlim_max : n) &&
	       (getuid() || be_nobody()) && !mlockall(MCL_FUTURE);
}

/* N are left of those that the kernel allows a process: vm.max_map_count. Neighbours must differ, or they merge. */
static bool mappings(size_t n)
{
	static void *last[64];
	size_t count = 0;

	for (;; count++) {
		void *p = mmap(NULL, 4096, count % 2 ? PROT_READ : PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		if (p == MAP_FAILED)
			break;
		last[count % LENGTH(last)] = p;
		if (count > 300000)
			return false;
	}
	for (size_t i = 0; i < n; i++) /* its neighbours differ from each other no more, and stay two all the same */
		munmap(last[(count - 1 - i) % LENGTH(last)], 4096);
	return true;
}

/* ---- Control groups ---------------------------------------------------------------------------------------------- */

static char group[128]; /* of the row under way; made and removed by the process that starts the rows */

static bool write_to(const char *file, const char *text)
{
	char path[256];
	int fd;
	bool good;

	snprintf(path, sizeof path, "%s/%s", group, file);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	good = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);
	if (fd >= 0)
		close(fd);
	return good;
}

static bool join(void)
{
	char text[32];

	snprintf(text, sizeof text, "%d", (int)getpid());
	return write_to("cgroup.procs", text);
}

/* Under whichever version of control groups has CONTROLLER. */
static bool make_group(const char *controller)
{
	static const char *const roots[] = {"/sys/fs/cgroup/%s/pmdalloc-test.%d", "/sys/fs/cgroup/pmdalloc-test.%2$d"};

	for (size_t i = 0; i < LENGTH(roots); i++) {
		char file[256];

		snprintf(group, sizeof group, roots[i], controller, (int)getpid());
		if (mkdir(group, 0755))
			continue;
		snprintf(file, sizeof file, "%s/%s", group, controller[0] == 'p' ? "pids.max" : "cgroup.procs");
		if (!access(file, W_OK))
			return true;
		rmdir(group);
	}
	group[0] = 0;
	return false;
}

/* What is in it ends first; the last of it may take a moment. */
static void remove_group(void)
{
	for (int i = 0; group[0] && rmdir(group) && i < 1000; i++)
		proc_sleep_ms(10);
	group[0] = 0;
}

static bool pids(size_t n)
{
	char text[32];

	snprintf(text, sizeof text, "%zu", n);
	return group[0] && join() && write_to("pids.max", text);
}

static bool group_memory(size_t n)
{
	char text[32];

	snprintf(text, sizeof text, "%zu", n);
	if (!group[0] || (!write_to("memory.max", text) && !write_to("memory.limit_in_bytes", text)))
		return false;
	write_to("memory.swap.max", "0");
	write_to("memory.memsw.limit_in_bytes", text);
	return join();
}

/* ---- Files ------------------------------------------------------------------------------------------------------- */

static bool own_mounts(void)
{
	if (unshare(CLONE_NEWNS) && unshare(CLONE_NEWUSER | CLONE_NEWNS))
		return false;
	return !mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL);
}

static bool no_proc(size_t unused)
{
	(void)unused;
	return own_mounts() && !mount("none", "/proc", "tmpfs", MS_RDONLY, NULL);
}

static bool no_sys(size_t unused)
{
	return no_proc(unused) && !mount("none", "/sys", "tmpfs", MS_RDONLY, NULL);
}

static bool read_only_root(size_t unused)
{
	(void)unused;
	if (!own_mounts() || mount("/", "/", NULL, MS_BIND, NULL) || chdir("/") || chroot("/"))
		return false;
	return !mount(NULL, "/", NULL, MS_REMOUNT | MS_BIND | MS_RDONLY, NULL) && access("/tmp", W_OK) &&
	       errno == EROFS;
}

/* Nothing is mounted on it. */
static bool empty_root(size_t unused)
{
	(void)unused;
	return own_mounts() && !mount("none", "/mnt", "tmpfs", MS_RDONLY, NULL) && !chroot("/mnt") && !chdir("/");
}

static bool nothing(size_t unused)
{
	(void)unused;
	return true;
}

/* ---- The rows ---------------------------------------------------------------------------------------------------- */

static const struct row rows[] = {
	{"nothing is missing", nothing, 0, ENOUGH, BOTH, ""},
	{"RLIMIT_AS", address_space, LIMIT, LIMITED, BEFORE, ""},
	{"RLIMIT_AS, below what is reserved", address_space, LIMIT, LITTLE, RUNNING, ""},
	{"RLIMIT_DATA", data, LIMIT, LIMITED, BOTH, ""},
	{"RLIMIT_DATA, nothing", data, 0, LITTLE, BOTH, ""},
	{"vm.max_map_count, 0 left", mappings, 0, LITTLE, BOTH, ""},
	{"vm.max_map_count, 3 left", mappings, 3, LITTLE, BOTH, "decay_ms:0"},
	{"vm.max_map_count, 12 left", mappings, 12, LITTLE, BOTH, "mremap_mib:2"},
	{"RLIMIT_NPROC", processes, 0, ENOUGH, BOTH, "decay_ms:10"},
	{"pids.max", pids, 1, ENOUGH, BOTH, "decay_ms:10"},
	{"no descriptors", descriptors, 0, ENOUGH, BOTH, "decay_ms:10"},
	{"no descriptors, io_uring", descriptors, 3, ENOUGH, BOTH, "decay_ms:0,release:io_uring"},
	{"RLIMIT_MEMLOCK and mlockall", locked_memory, 4 * LIMIT, LITTLE, BOTH, ""},
	{"no /proc", no_proc, 0, ENOUGH, BOTH, "decay_ms:10"},
	{"no /proc, no /sys", no_sys, 0, ENOUGH, BOTH, "decay_ms:10,handoff_min:1M"},
	{"read-only root", read_only_root, 0, ENOUGH, BOTH, "decay_ms:10"},
	{"empty root", empty_root, 0, ENOUGH, BOTH, "decay_ms:10,handoff_min:1M"},
	{"memory.max and limit_hard", group_memory, 2 * LIMIT, LIMITED, BOTH, "limit_hard:64M,thp:never"},
	{"memory.max, the OOM killer", group_memory, LIMIT, ENOUGH, BOTH, "thp:never"},
};

/* ---- One row ----------------------------------------------------------------------------------------------------- */

static const struct row *the_row;
static unsigned the_when;
static bool entered;

/* Before the constructors of all libraries; the C library's environ is not there yet. */
static void before_all(int argc, char **argv, char **environment)
{
	unsigned number;

	(void)argc, (void)argv;
	for (; *environment; environment++)
		if (sscanf(*environment, "EXHAUSTED=%u,%u,%127s", &number, &the_when, group) >= 2)
			the_row = &rows[number];
	entered = the_row && the_when == BEFORE && the_row->enter(the_row->n);
}

__attribute__((used, section(".preinit_array"))) static void (*const first)(int, char **, char **) = before_all;

struct list {
	struct list *next;
	struct block block;
};

static struct list *all;
static struct rng rng = {9};

static bool refused(void)
{
	CHECK_SAY(the_row->memory != ENOUGH, "%s: there is memory", the_row->name);
	CHECK_SAY(errno == ENOMEM, "%s: errno %d", the_row->name, errno);
	return false;
}

/* A block and what it is known by, which is a block as well. */
static bool take(size_t size, size_t kind)
{
	struct list *item = t_malloc(sizeof *item);

	if (!item)
		return refused();
	*item = (struct list){all, {NULL, size, rng_next(&rng)}};
	item->block.p = kind % 3 == 0 ? t_malloc(size) : kind % 3 == 1 ? t_calloc(1, size) : t_memalign(4096, size);
	if (!item->block.p) {
		refused();
		t_free(item);
		return false;
	}
	if (kind % 3 == 1)
		block_check_zero(item->block.p, size);
	block_fill(&item->block);
	all = item;
	return true;
}

/* One grows, or stays what it is. */
static void grow(struct block *block)
{
	size_t size = block->size * 2;
	void *p = t_realloc(block->p, size);

	if (!p) {
		refused();
		block_verify(block);
		return;
	}
	block->p = p;
	block_verify_prefix(block, size);
	*block = (struct block){p, size, rng_next(&rng)};
	block_fill(block);
}

/* The kernel's answer to more than there is, where it does not say no. */
static bool is_killed(const struct row *row)
{
	return row->enter == group_memory && row->memory == ENOUGH;
}

/* Returns the bytes of what could be had. */
static size_t take_all(void)
{
	size_t taken = 0, kind = 0, most = the_row->memory == ENOUGH && !is_killed(the_row) ? PLENTY : MOST;

	for (size_t bits = 22; bits > 4; bits -= 3)
		for (size_t n = 0; taken < most && n < 3000; n++) {
			size_t size = 1 + rng_log_size(&rng, (unsigned)bits);

			if (!take(size, kind++))
				break;
			taken += size;
			if (kind % 64 == 0)
				grow(&all->block);
		}
	return taken;
}

static void give_all(void)
{
	while (all) {
		struct list *item = all;

		all = item->next;
		block_verify(&item->block);
		errno = 4711;
		t_free(item->block.p);
		t_free(item);
		CHECK(errno == 4711);
	}
}

static void *in_a_thread(void *unused)
{
	take_all();
	give_all();
	return unused;
}

/* There may be no thread, nor memory for its stack. */
static void try_thread(void)
{
	pthread_attr_t attr;
	pthread_t thread;

	CHECK(pthread_attr_init(&attr) == 0 && pthread_attr_setstacksize(&attr, 128 * KIB) == 0);
	if (pthread_create(&thread, &attr, in_a_thread, NULL) == 0)
		CHECK(pthread_join(thread, NULL) == 0);
}

static void fill_and_empty(void)
{
	size_t taken, again;

	taken = take_all();
	CHECK_SAY(the_row->memory == LITTLE || taken >= LEAST, "%zu bytes", taken);
	give_all();
	pmd_release();
	proc_sleep_ms(20); /* the background thread comes, or not */
	again = take_all();
	CHECK_SAY(again >= taken - taken / 4, "%zu bytes, then %zu", taken, again);
	give_all();
	if (the_row->memory != ENOUGH)
		CHECK(!t_malloc(PTRDIFF_MAX / 2) && errno == ENOMEM);
}

static int run_row(void)
{
	if (the_when == RUNNING) {
		void *p = t_malloc(10 * MIB);

		CHECK(p);
		memset(p, 1, 10 * MIB);
		take(1000, 0);
		take(100000, 1);
		t_free(p);
		entered = the_row->enter(the_row->n);
	}
	if (!entered)
		return EXIT_SKIP;
	fill_and_empty();
	try_thread();
	fill_and_empty();
	return 0;
}

/* ---- All rows ---------------------------------------------------------------------------------------------------- */

static int try_row(unsigned number, unsigned when)
{
	const struct row *row = &rows[number];
	char text[256];
	pid_t pid;
	int status;

	if (row->enter == pids)
		make_group("pids");
	if (row->enter == group_memory)
		make_group("memory");
	pid = fork();
	CHECK(pid >= 0);
	if (pid == 0) {
		check_child(60);
		snprintf(text, sizeof text, "%u,%u,%s", number, when, group);
		setenv("EXHAUSTED", text, 1);
		setenv("PMDALLOC_CONF", row->conf, 1);
		execl("/proc/self/exe", "t_exhausted", NULL);
		_exit(126);
	}
	status = check_wait(pid);
	remove_group();
	return status;
}

/* Whether it went as it should. */
static bool judge(const struct row *row, unsigned when, int status)
{
	bool skipped = WIFEXITED(status) && WEXITSTATUS(status) == EXIT_SKIP, good;

	if (is_killed(row))
		good = WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
	else
		good = WIFEXITED(status) && !WEXITSTATUS(status);
	check_say("%-36s%-16s%s\n", row->name, when == BEFORE ? "from the start" : "while running",
		  skipped ? "skipped: cannot be had here"
		  : good  ? "ok"
			  : "FAILED");
	if (!skipped && !good)
		check_say("wait status %#x\n", (unsigned)status);
	return skipped || good;
}

int main(void)
{
	bool good = true;

	if (SANITIZED)
		SKIP("a sanitizer needs more address space, mappings and files than that");
	if (the_row)
		return run_row();
	for (unsigned i = 0; i < LENGTH(rows); i++)
		for (unsigned when = BEFORE; when <= RUNNING; when <<= 1)
			if (rows[i].when & when)
				good &= judge(&rows[i], when, try_row(i, when));
	return !good;
}
