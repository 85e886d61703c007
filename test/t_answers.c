/* SPDX-License-Identifier: MIT */
/*
 * The library's inner parts where the kernel answers as this machine's does not: files that are cut short or say something
 * else, more CPUs and quotas, calls that are interrupted, that do half, or that fail at the one place where it matters.
 *
 * Each case is a process of its own, before whose end nothing else of the library's runs.
 */
#include "inject.h"
#include "internals.h"

#include <fcntl.h>
#include <linux/futex.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <sys/mman.h>
#include <sys/sysinfo.h>
#include <sys/uio.h>
#include <time.h>

#define LARGE_BYTES ((size_t)1 << 20)
#define MARK        102 /* MADV_GUARD_INSTALL, which this C library's headers need not know; MADV_GUARD_REMOVE is next */

#define check_failed library_check_failed
#include "api/alloc.h"
#include "base/errno_name.h"
#include "base/text.h"
#include "check/guard.h"
#include "conf/options.h"
#include "exit/conditions.h"
#include "exit/handoff.h"
#include "heap/limit.h"
#include "heap/pool.h"
#include "os/anchor.h"
#include "os/os.h"
#include "os/pressure.h"
#include "os/process.h"
#include "os/syscall.h"
#include "release/backends.h"
#include "release/probe.h"
#include "release/release.h"
#include "release/uring.h"
#undef check_failed

/* ---- Files ------------------------------------------------------------------------------------------------------- */

enum { FILES_MAX = 32 };

static struct {
	const char *path, *text; /* NULL: it is not there */
} files[FILES_MAX];

static size_t file_of(const long args[6])
{
	size_t i = 0;

	while (args && i < FILES_MAX && files[i].path && strcmp((const char *)args[1], files[i].path))
		i++;
	return args && i < FILES_MAX && files[i].path ? i : FILES_MAX;
}

static bool is_made(const long args[6])
{
	return file_of(args) < FILES_MAX;
}

static long open_made(const long args[6])
{
	const char *text = files[file_of(args)].text;
	int fd;

	if (!text)
		return -ENOENT;
	fd = (int)syscall(SYS_memfd_create, "made", MFD_CLOEXEC);
	CHECK(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text) && lseek(fd, 0, SEEK_SET) == 0);
	return fd;
}

/* From now on the library finds TEXT at PATH. */
static void put(const char *path, const char *text)
{
	size_t i = 0;

	while (i < FILES_MAX && files[i].path && strcmp(files[i].path, path))
		i++;
	CHECK(i < FILES_MAX);
	if (!i && !files[0].path)
		inject_add((struct inject_rule){
			.nr = SYS_openat, .match = is_made, .action = INJECT_ANSWER, .answer = open_made});
	files[i].path = path;
	files[i].text = text;
}

/* The process's, by either of the ways that lead there while it has one thread. */
static void put_status(const char *text)
{
	put("/proc/self/status", text);
	put("/proc/thread-self/status", text);
}

static void put_maps(const char *text)
{
	put("/proc/self/maps", text);
	put("/proc/thread-self/maps", text);
}

/* ---- Calls ------------------------------------------------------------------------------------------------------- */

static void fail(long nr, int error, size_t first, size_t last)
{
	inject_add((struct inject_rule){.nr = nr, .action = INJECT_FAIL, .error = error, .first = first, .last = last});
}

static void answer(long nr, long (*by)(const long args[6]))
{
	inject_add((struct inject_rule){.nr = nr, .action = INJECT_ANSWER, .answer = by});
}

static long one_byte(const long args[6])
{
	return os_syscall_kernel(SYS_write, args[0], args[1], 1, 0, 0, 0);
}

static long nothing(const long args[6])
{
	(void)args;
	return 0;
}

static void writing(void)
{
	char got[8] = "";
	int fds[2];

	CHECK(pipe(fds) == 0);
	fail(SYS_write, EINTR, 1, 1);
	answer(SYS_write, one_byte);
	CHECK(os_write(fds[1], "abc", 3) == 0);
	CHECK(read(fds[0], got, sizeof got) == 3 && !strcmp(got, "abc"));
	inject_clear();
	answer(SYS_write, nothing);
	CHECK(os_write(fds[1], "abc", 3) == EIO);
	inject_clear();
	CHECK(os_write(-1, "abc", 3) == EBADF);
}

static void reading(void)
{
	char got[8] = "";
	int fds[2], copy;

	CHECK(pipe(fds) == 0 && write(fds[1], "abc", 3) == 3);
	fail(SYS_read, EINTR, 1, 2);
	CHECK(os_read_on(fds[0], got, sizeof got) == 3 && !strcmp(got, "abc"));
	CHECK(os_read_on(-1, got, sizeof got) == -1);
	CHECK(os_copy_fd(-1) == -1);
	copy = os_copy_fd(fds[0]);
	CHECK(copy >= 100 && fcntl(copy, F_GETFD) == FD_CLOEXEC);
	os_close_file(&copy);
	CHECK(copy == -1);
}

/* ---- CPUs -------------------------------------------------------------------------------------------------------- */

static long eight_cpus(const long args[6])
{
	*(unsigned long *)args[2] = 0xff;
	return 128;
}

static void quotas(void)
{
	static const struct {
		const char *text;
		unsigned cpus;
	} cases[] = {
		{NULL, 8},
		{"max 100000\n", 8},
		{"200000 100000\n", 2},
		{"250000 100000\n", 3},
		{"800000 0\n", 8},
		{"1000", 8},
		{"1000 ", 8},
		{"x 100000\n", 8},
		{"100000 x\n", 8},
		{"", 8},
		{"1600000 100000", 8},
		{"0 100000\n", 8},
		{"100 -5\n", 8},
		{"100 100000\n", 1},
		{" 100000\n", 8},
	};

	answer(SYS_sched_getaffinity, eight_cpus);
	for (size_t i = 0; i < LENGTH(cases); i++) {
		put("/sys/fs/cgroup/cpu.max", cases[i].text);
		CHECK_SAY(os_cpus() == cases[i].cpus, "%u CPUs by '%s'", os_cpus(),
			  cases[i].text ? cases[i].text : "(no file)");
	}
}

static long far_cpu(const long args[6])
{
	*(unsigned *)args[0] = 5000;
	return 0;
}

static void no_affinity(void)
{
	struct cpu_mask before;

	fail(SYS_sched_getaffinity, EPERM, 1, 2);
	CHECK(os_cpus() == 1);
	os_stay_on_cpu(&before);
	CHECK(before.bytes <= 0);
	fail(SYS_getcpu, ENOSYS, 1, 1);
	os_stay_on_cpu(&before);
	CHECK(before.bytes == 0);
	answer(SYS_getcpu, far_cpu);
	os_stay_on_cpu(&before);
	CHECK(before.bytes == 0);
	inject_clear();
	fail(SYS_sched_setaffinity, EPERM, 1, 1);
	os_stay_on_cpu(&before);
	CHECK(before.bytes == 0);
	os_leave_cpu(&before);
	os_stay_on_cpu(&before);
	CHECK(before.bytes > 0 && os_cpus() >= 1);
	os_leave_cpu(&before);
}

static void machine_files(void)
{
	static const char online[] = "/sys/devices/system/cpu/online", load[] = "/proc/loadavg";

	put(online, "0-3,5-7\n");
	CHECK(os_machine_cpus() == 8);
	put(online, "0");
	CHECK(os_machine_cpus() == 1);
	put(online, "");
	CHECK(os_machine_cpus() == 0);
	put(online, "none:\n");
	CHECK(os_machine_cpus() == 0);
	put(online, "x7\n");
	CHECK(os_machine_cpus() == 8);
	put(online, "12\n");
	CHECK(os_machine_cpus() == 13);
	put(load, "0.00 0.01 0.05 17/80 4711\n");
	CHECK(os_running() == 17);
	put(load, "17/80 4711\n");
	CHECK(os_running() == 17);
	put(load, "0.00 0.01 0.05\n");
	CHECK(os_running() == 0);
	put(load, "0.00 x/80\n");
	CHECK(os_running() == 0);
	put(load, NULL);
	CHECK(os_running() == 0);
}

static void status_files(void)
{
	static const char path[] = "/proc/self/status";

	put(path, "Name:\tx\nVmPTE:\t      12 kB\nVmSwap:\t 1 kB\n");
	CHECK(os_page_table_bytes() == 12 << 10);
	put(path, "Name:\tx\nVmPTE:\t12");
	CHECK(os_page_table_bytes() == 12 << 10);
	put(path, "Name:\tx\nVmPTE:\t  ");
	CHECK(os_page_table_bytes() == 0);
	put(path, "Name:\tx\nVmPTE:\tkB\n");
	CHECK(os_page_table_bytes() == 0);
	put(path, "Name:\tx\n");
	CHECK(os_page_table_bytes() == 0);
	fail(SYS_prlimit64, EPERM, 1, 1);
	CHECK(!os_address_space_limited());
}

static bool same_rights(const char *process, const char *thread)
{
	struct os_rights r;
	bool same;

	put("/proc/self/status", process);
	put("/proc/thread-self/status", thread);
	for (int keep = 0; keep < 2; keep++) {
		os_rights_open(&r, keep);
		CHECK((r.process >= 0) == (keep && process));
		if (keep)
			CHECK(os_rights_same(&r) == same);
		same = os_rights_same(&r);
		os_rights_close(&r);
	}
	return same;
}

static void rights(void)
{
	static const char root[] = "Uid:\t0\t0\nGid:\t0\nGroups:\t0 \nCapPrm:\t0f\nCapEff:\t0f\nCapBnd:\t0f\n";

	CHECK(same_rights(root, root));
	CHECK(!same_rights(root, "Uid:\t0\t5\nGid:\t0\nGroups:\t0 \nCapPrm:\t0f\nCapEff:\t0f\nCapBnd:\t0f\n"));
	CHECK(!same_rights(root, "Uid:\t0\t0\nGid:\t0\nGroups:\t0 \nCapPrm:\t0f\nCapEff:\t0f\nCapBnd:\t0e\n"));
	CHECK(!same_rights("Uid:\t0\n", "Uid:\t0\t0\n"));
	/* What is not there, or was not read to its end, is as it may be. */
	CHECK(same_rights(root, "Name:\tx\n"));
	CHECK(same_rights("Name:\tx\n", root));
	CHECK(same_rights("Uid:\t0\t0", root));
	CHECK(same_rights(root, "Uid:\t0\t0"));
	CHECK(same_rights("Uid:\t0\t", root));
	CHECK(same_rights(root, "Uid:\t0\t"));
}

/* ---- Processes --------------------------------------------------------------------------------------------------- */

static bool any(const char *target)
{
	return target[0] != 0;
}

static bool none(const char *target)
{
	return !target[0];
}

static void descriptors(void)
{
	struct os_identity id;
	int fd = -1, fds[2];

	CHECK(os_each_descriptor(any, 1000));
	CHECK(!os_each_descriptor(any, 0) && !os_each_descriptor(none, 1000));
	put("/proc/thread-self/fd", NULL);
	CHECK(!os_each_descriptor(any, 1000));
	CHECK(!os_identify(-1, &id) && os_identify(2, &id));
	CHECK(os_open_cgroup("/nowhere/at/all", &fd) == ENOENT);
	CHECK(os_open_cgroup("/tmp", &fd) == EINVAL && fd == -1);
	fail(SYS_fstatfs, ENOSYS, 1, 1);
	CHECK(os_open_cgroup("/tmp", &fd) == ENOSYS && fd == -1);
	fail(SYS_pipe2, EMFILE, 1, 1);
	CHECK(os_pipe(fds) == EMFILE);
	fail(SYS_pidfd_open, ENOSYS, 1, 1);
	CHECK(os_process_descriptor((uint32_t)getpid()) == -1);
}

static void keeping_descriptors(void)
{
	fail(SYS_close_range, ENOSYS, 1, 1);
	CHECK(!os_keep_descriptor(2) && fcntl(0, F_GETFD) >= 0);
	CHECK(dup2(2, 0) == 0 && os_keep_descriptor(0));
	CHECK(fcntl(0, F_GETFD) >= 0 && fcntl(1, F_GETFD) < 0 && fcntl(2, F_GETFD) < 0);
}

static void waiting(void)
{
	_Atomic uint32_t word = 0;
	int fds[2];

	CHECK(pipe(fds) == 0);
	fail(SYS_ppoll, EINTR, 1, 2);
	fail(SYS_ppoll, ENOSYS, 2, 2);
	CHECK(os_wait_for_end(fds[0], fds[0], 0) == END_OF_TIME);
	CHECK(os_wait_for_end(fds[0], fds[0], 0) == END_UNKNOWN);
	CHECK(write(fds[1], "x", 1) == 1);
	CHECK(os_wait_for_end(fds[0], -1, 1000) == END_OF_PROCESS);
	close(fds[1]);
	CHECK(os_wait_for_end(-1, fds[0], -1) == END_OF_PIPE);
	os_wait_cleared(&word, 60000); /* it is */
	fail(SYS_wait4, EINTR, 1, 3);
	os_sharer_reap(0x7fffffff); /* there is none */
	CHECK(inject_calls(SYS_wait4) == 4);
	fail(SYS_readlink, EACCES, 2, 2);
	CHECK(os_children_are_near() == false && os_children_are_near());
	fail(SYS_readlink, EACCES, 1, 1);
	CHECK(!os_children_are_near());
	if (unshare(CLONE_NEWPID) == 0)
		CHECK(!os_children_are_near());
}

/* ---- The anchor -------------------------------------------------------------------------------------------------- */

static void *hold_and_end(void *unused)
{
	CHECK(os_anchor_hold() && os_anchor_hold() && os_anchor_is_held());
	CHECK(os_anchor_is_only_lock());
	return unused;
}

/* The anchor last, which is then the first on the list. */
static void *hold_both(void *other)
{
	CHECK(pthread_mutex_lock(other) == 0 && os_anchor_hold());
	CHECK(!os_anchor_is_only_lock());
	return NULL;
}

static long list_with_pending(const long args[6])
{
	static struct robust_list_head head;

	head.list.next = head.list_op_pending = &head.list; /* the thread is about to take another */
	*(struct robust_list_head **)args[1] = &head;
	return 0;
}

static void anchor(void)
{
	pthread_mutexattr_t robust;
	static pthread_mutex_t other;
	pthread_t thread;

	CHECK(!os_anchor_is_held() && os_anchor_is_only_lock() && os_anchor_wait());
	os_anchor_forget();
	CHECK(pthread_create(&thread, NULL, hold_and_end, NULL) == 0 && pthread_join(thread, NULL) == 0);
	CHECK(!os_anchor_is_held() && os_anchor_wait()); /* its owner died */

	CHECK(os_anchor_hold());
	fail(SYS_futex, EAGAIN, 1, 1);
	fail(SYS_futex, EINTR, 1, 1);
	fail(SYS_futex, ENOSYS, 1, 1);
	CHECK(os_anchor_wait() && os_anchor_wait() && !os_anchor_wait());
	fail(SYS_get_robust_list, ENOSYS, 1, 1);
	CHECK(!os_anchor_is_only_lock() && os_anchor_is_only_lock());
	inject_add((struct inject_rule){
		.nr = SYS_get_robust_list, .action = INJECT_ANSWER, .answer = list_with_pending, .last = 1});
	CHECK(!os_anchor_is_only_lock());
	CHECK(pthread_mutexattr_init(&robust) == 0 && pthread_mutexattr_setrobust(&robust, PTHREAD_MUTEX_ROBUST) == 0);
	CHECK(pthread_mutex_init(&other, &robust) == 0 && pthread_mutex_lock(&other) == 0);
	CHECK(!os_anchor_is_only_lock());
	CHECK(pthread_mutex_unlock(&other) == 0 && os_anchor_is_only_lock());
	os_anchor_forget();
	CHECK(pthread_create(&thread, NULL, hold_both, &other) == 0 && pthread_join(thread, NULL) == 0);
	answer(SYS_get_robust_list, nothing); /* no list */
	CHECK(os_anchor_is_only_lock());
}

/* ---- Text -------------------------------------------------------------------------------------------------------- */

static void check_bytes(const char *text, int64_t expected)
{
	int64_t n = -1;
	bool good = text_parse_bytes(text, strlen(text), &n);

	CHECK_SAY(good == (expected >= 0) && (!good || n == expected), "'%s': %lld", text, (long long)n);
}

static void texts(void)
{
	char buf[64];
	struct text t;

	check_bytes("7", 7);
	check_bytes("7b", -1);
	check_bytes("7kb", 7 << 10);
	check_bytes("7KiB", 7 << 10);
	check_bytes("7g", (int64_t)7 << 30);
	check_bytes("8388607T", (int64_t)8388607 << 40);
	check_bytes("8388608T", -1);
	check_bytes("7{", -1);
	check_bytes("B", -1);
	check_bytes("iB", -1);
	check_bytes("", -1);
	check_bytes("-1", -1);
	check_bytes("9223372036854775807", INT64_MAX);
	check_bytes("9223372036854775808", -1);
	check_bytes("92233720368547758070", -1);
	text_init(&t, buf, sizeof buf);
	text_put_bytes(&t, (int64_t)3 << 50);
	CHECK_SAY(!strcmp(buf, "3072T"), "%s", buf);
	CHECK(!errno_name(0) && !errno_name(-1) && !errno_name(100000) && !strcmp(errno_name(EINTR), "EINTR"));
}

/* ---- Giving back ------------------------------------------------------------------------------------------------- */

enum { SOME = 3 };

static struct iovec ranges[SOME];

/* Each a region with something in it, and one between two of them. */
static void make_ranges(void)
{
	char *base =
		mmap(NULL, 2 * (SOME + 1) * REGION_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	CHECK(base != MAP_FAILED);
	base = (char *)align_up((uintptr_t)base, REGION_BYTES);
	for (size_t i = 0; i < SOME; i++) {
		ranges[i] = (struct iovec){base + 2 * i * REGION_BYTES, REGION_BYTES};
		*(char *)ranges[i].iov_base = 1;
	}
}

/* That backend B gives all of them back, whoever refuses what. */
static void gives_back(enum release_backend b)
{
	int errors[SOME] = {-5, -5, -5};

	make_ranges();
	backend_run(b, ranges, SOME, errors);
	for (size_t i = 0; i < SOME; i++)
		CHECK_SAY(!errors[i] && !*(char *)ranges[i].iov_base, "%s, range %zu: %d", release_name(b), i,
			  errors[i]);
	inject_clear();
}

static size_t failures(int error)
{
	return atomic_load(&release_errors[error]);
}

static void backends(void)
{
	gives_back(RELEASE_PROCESS_MADVISE);
	fail(SYS_process_madvise, EPERM, 1, 0);
	gives_back(RELEASE_PROCESS_MADVISE);
	CHECK(failures(EPERM) == SOME);
	fail(SYS_process_madvise, EINVAL, 2, 2);
	inject_add((struct inject_rule){.nr = SYS_process_madvise, .action = INJECT_SHORT, .last = 1});
	gives_back(RELEASE_PROCESS_MADVISE);
	CHECK(failures(EINVAL) == 0); /* locked memory, which is no failure */
	answer(SYS_process_madvise, nothing);
	gives_back(RELEASE_PROCESS_MADVISE);
	CHECK(failures(EIO) == SOME);
	fail(SYS_madvise, ENOSYS, 1, SOME);
	gives_back(RELEASE_REMAP);
	fail(SYS_madvise, EACCES, 2, 2); /* the advice, not the dropping */
	gives_back(RELEASE_PT_ADVICE);
	CHECK(failures(EACCES) == 1);
	CHECK(release_counters[RELEASE_PT_ADVICE].failures >= 1);
	backend_count_failure(RELEASE_MADVISE, 0);
	backend_count_failure(RELEASE_MADVISE, RELEASE_ERRNOS);
	CHECK(failures(0) == 2);
}

static void drops_refused(void)
{
	int errors[SOME];

	make_ranges();
	fail(SYS_madvise, ENOMEM, 1, 0);
	backend_run(RELEASE_PT_ADVICE, ranges, SOME, errors);
	for (size_t i = 0; i < SOME; i++)
		CHECK(errors[i] == ENOMEM && *(char *)ranges[i].iov_base == 1);
	CHECK(release_counters[RELEASE_PT_ADVICE].failures == SOME);
}

/* A hole in the heap is filled, or stays one where that fails. */
static void holes(void)
{
	unsigned char resident;
	void *p;

	make_ranges();
	p = ranges[0].iov_base;
	CHECK(!release_recover(p, REGION_BYTES)); /* it is none */
	CHECK(munmap(p, REGION_BYTES) == 0);
	fail(SYS_mprotect, ENOMEM, 1, 1);
	CHECK(!release_recover(p, REGION_BYTES));
	CHECK(mincore(p, 4096, &resident) == -1 && errno == ENOMEM);
	CHECK(release_recover(p, REGION_BYTES) && !*(char *)p);
	*(char *)p = 1;
}

static long elsewhere(const long args[6])
{
	return os_syscall_kernel(SYS_mmap, 0, args[1], args[2], args[3] & ~MAP_FIXED_NOREPLACE, -1, 0);
}

/* A kernel that takes the address for a hint. */
static void hints(void)
{
	static char here[4096];

	answer(SYS_mmap, elsewhere);
	CHECK(os_reserve_at((void *)((uintptr_t)here & ~(uintptr_t)4095), 4096) == EEXIST);
	CHECK(inject_calls(SYS_munmap) == 1);
}

/* ---- Probing ----------------------------------------------------------------------------------------------------- */

static void drop_them(enum release_backend b, const struct iovec *all, size_t n, int *errors)
{
	backend_run(b, all, n, errors);
}

static void drop_none(enum release_backend b, const struct iovec *all, size_t n, int *errors)
{
	(void)b, (void)all;
	memset(errors, 0, n * sizeof *errors);
}

static void refuse_all(enum release_backend b, const struct iovec *all, size_t n, int *errors)
{
	(void)b, (void)all;
	for (size_t i = 0; i < n; i++)
		errors[i] = EPERM;
}

static void probing(void)
{
	CHECK(probe_backend(drop_none, RELEASE_MADVISE) == PROBE_REFUSED);
	CHECK(probe_backend(refuse_all, RELEASE_MADVISE) == PROBE_REFUSED);
	put("/proc/self/status", "VmPTE:\t");
	CHECK(probe_backend(drop_them, RELEASE_MADVISE) == PROBE_UNKNOWN);
	put("/proc/self/status", "Name:\tx\nVmPTE:\t 4000 kB\n");
	CHECK(probe_backend(drop_them, RELEASE_MADVISE) == PROBE_KEEPS);
	fail(SYS_mmap, ENOMEM, 1, 1);
	CHECK(probe_backend(drop_them, RELEASE_MADVISE) == PROBE_UNKNOWN);
	fail(SYS_mprotect, ENOMEM, 1, 1);
	CHECK(probe_backend(drop_them, RELEASE_MADVISE) == PROBE_UNKNOWN);
}

static const char *const growing[] = {"Name:\tx\nVmPTE:\t 4000 kB\n", "Name:\tx\nVmPTE:\t 8000 kB\n"};

static long open_growing(const long args[6])
{
	static size_t n;
	(void)args;
	files[0].text = growing[n++ % 2];
	return open_made((const long[6]){0, (long)files[0].path});
}

/* Others map and unmap at the same time: nothing can be told. */
static void probing_amid_others(void)
{
	files[0].path = "/proc/self/status";
	inject_add((struct inject_rule){
		.nr = SYS_openat, .match = is_made, .action = INJECT_ANSWER, .answer = open_growing});
	CHECK(probe_backend(drop_them, RELEASE_MADVISE) == PROBE_UNKNOWN);
}

/* ---- The ring ---------------------------------------------------------------------------------------------------- */

static size_t answered, refused;

static void note_answer(void *arg, void *base, size_t bytes, int error)
{
	CHECK(arg == &answered && base && bytes == 4096);
	answered++;
	refused += error != 0;
}

enum { MANY = 100 };

static struct iovec pages[MANY];

static void open_ring(void)
{
	char *base = mmap(NULL, MANY * 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int error = uring_open();

	if (error)
		SKIP("no io_uring: errno %d", error);
	CHECK(base != MAP_FAILED && uring_open() == 0);
	for (size_t i = 0; i < MANY; i++) {
		pages[i] = (struct iovec){base + i * 8192, 4096};
		base[i * 8192] = 1;
	}
}

static void ring(void)
{
	size_t given;

	CHECK(uring_close());
	uring_reap(false);
	CHECK(!uring_submit(pages, 1, note_answer, &answered));
	open_ring();
	CHECK(!uring_is_at(0) && !uring_is_at(4096) && uring_changes() % 2 == 0);
	given = uring_submit(pages, MANY, note_answer, &answered);
	CHECK_SAY(given && given < MANY, "%zu at once", given);
	CHECK(uring_fd() >= 0);
	CHECK(uring_submit(pages + given, 1, note_answer, &answered) <= 1);
	uring_reap(true);
	CHECK(answered >= given && !refused);
	for (size_t i = 0; i < given; i++)
		CHECK(!*(char *)pages[i].iov_base);
	CHECK(uring_fd() == -1 && uring_close() && uring_close());
}

/* The kernel takes nothing, and no more is asked of it, until the ring is made anew. */
static void ring_that_is_broken(void)
{
	open_ring();
	fail(SYS_io_uring_enter, EBUSY, 1, 1);
	CHECK(uring_submit(pages, 5, note_answer, &answered) == 0);
	CHECK(uring_submit(pages, 5, note_answer, &answered) == 0);
	uring_reap(false);
	CHECK(!answered && *(char *)pages[0].iov_base == 1);
	CHECK(uring_open() == 0 && uring_submit(pages, 5, note_answer, &answered) == 5);
	fail(OS_COMPLETION, EAGAIN, 2, 2);
	uring_reap(true);
	CHECK(answered == 5 && refused == 1);
	CHECK(uring_close());
}

static void *pass_time(void *unused)
{
	for (;;) {
		usleep(1000);
		inject_advance_ms(1000);
	}
	return unused;
}

/* What a ring never answers is settled when there is a new one. */
static void ring_that_is_stuck(void)
{
	pthread_t thread;

	open_ring();
	CHECK(pthread_create(&thread, NULL, pass_time, NULL) == 0);
	fail(SYS_io_uring_enter, -5, 1, 1); /* the answer is that it took five */
	CHECK(uring_submit(pages, 5, note_answer, &answered) == 5);
	CHECK(!uring_close() && !answered);
	CHECK(uring_open() == 0 && answered == 5 && refused == 5);
	fail(SYS_io_uring_enter, -5, 1, 1);
	CHECK(uring_submit(pages, 5, note_answer, &answered) == 5);
	CHECK(!uring_close() && answered == 5);
	uring_reap(false);
	CHECK(answered == 10 && refused == 10);
}

/* ---- A lock that is never dropped ------------------------------------------------------------------------------- */

static jmp_buf away;
static int heard; /* the end of a pipe that is in stderr's place */

static long leave(const long args[6])
{
	(void)args;
	longjmp(away, 1);
}

static void *hear(void *unused)
{
	char line[512] = "";

	CHECK(read(heard, line, sizeof line - 1) > 0);
	CHECK_SAY(strstr(line, "pmdalloc: ") == line && strstr(line, " 10 s ") && strstr(line, "longjmp"), "%s", line);
	_exit(0);
	return unused;
}

/* As from a signal's handler, in the middle of growth: the same thread waits for what it holds itself. */
static void left_by_longjmp(void)
{
	const size_t more = (heap_first.committed + 1) * 2 * MIB;
	pthread_t threads[2];
	int fds[2];

	CHECK(pipe(fds) == 0);
	heard = fds[0];
	CHECK(pthread_create(&threads[0], NULL, pass_time, NULL) == 0);
	CHECK(pthread_create(&threads[1], NULL, hear, NULL) == 0);
	inject_add((struct inject_rule){.nr = SYS_mprotect,
					.site = "os_commit",
					.action = INJECT_ANSWER,
					.answer = leave,
					.first = 1,
					.last = 1});
	CHECK(dup2(fds[1], STDERR_FILENO) == STDERR_FILENO);
	(void)setjmp(away);
	pmd_free(pmd_malloc(more));
	_exit(1);
}

/* ---- Limits ------------------------------------------------------------------------------------------------------ */

static void limits(void)
{
	struct growth g = {.met = LIMIT_NONE};
	size_t held;

	free(malloc(1));
	CHECK(pmd_option_set("limit_hard", "1G") == 0);
	held = limit_held_bytes() >> 12;
	CHECK(!limit_forbids(&g, 10) && limit_charge(&g, 10) && limit_held == held + 10);
	CHECK(limit_forbids(&g, ((size_t)1 << 18) + 1) && g.met == LIMIT_HARD && g.wanted == ((size_t)1 << 18) + 1);
	g = (struct growth){.credit = 20};
	CHECK(!limit_forbids(&g, 20) && limit_charge(&g, 20) && limit_held == held + 10);
	CHECK(limit_settle(&g) && limit_held == held + 30 && limit_settle(&g) && limit_held == held + 30);
	g = (struct growth){.credit = (size_t)1 << 18};
	CHECK(!limit_settle(&g) && g.met == LIMIT_HARD);
	limit_sub((size_t)1 << 18);
	CHECK(!limit_charge(&g, (size_t)1 << 18) && g.met == LIMIT_HARD);
	CHECK(pmd_option_set("limit_hard", "none") == 0);
	limit_sub(30);
}

/* ---- Heaps ------------------------------------------------------------------------------------------------------- */

/* Where call NR is refused from the first, the second, ... on. */
static void grow_where_refused(long nr)
{
	for (size_t step = 1; step <= 6; step++) {
		size_t before = heap_first.top, wanted = heap_first.committed + 4000, rule;

		rule = inject_add(
			(struct inject_rule){.nr = nr, .action = INJECT_FAIL, .error = ENOMEM, .first = step});
		CHECK(heap_grow(&heap_first, wanted) == !inject_hits(rule));
		CHECK(heap_first.top == (inject_hits(rule) ? before : wanted));
		CHECK(step > 1 || inject_hits(rule));
		inject_clear();
	}
}

static void growth(void)
{
	void *p = pmd_malloc(1);

	CHECK(p && !heap_grow(&heap_first, heap_first.region_count + 1));
	grow_where_refused(SYS_mprotect);
	p = pmd_malloc(5 << 20);
	CHECK(p);
	memset(p, 1, 5 << 20);
	pmd_free(p);
}

/* Nothing but mmap, munmap and madvise. */
static void growth_in_sandbox(void)
{
	size_t calls;
	char *p = pmd_malloc(1);

	CHECK(p);
	release_restrict();
	calls = inject_calls(SYS_mprotect);
	grow_where_refused(SYS_mmap);
	p = pmd_malloc(5 << 20);
	CHECK(p && inject_calls(SYS_mprotect) == calls);
	memset(p, 1, 5 << 20);
	pmd_free(p);
}

static void moves_in_sandbox(void)
{
	size_t calls;
	char *p = pmd_malloc(64 << 20);

	CHECK(p);
	p[0] = p[(64 << 20) - 1] = 1;
	CHECK(pmd_malloc(100 << 20)); /* in the way */
	release_restrict();
	calls = inject_calls(SYS_mremap);
	p = pmd_realloc(p, 500 << 20);
	CHECK(p && p[0] == 1 && p[(64 << 20) - 1] == 1 && !p[(64 << 20) - 2] && inject_calls(SYS_mremap) == calls);
	pmd_free(p);
}

/* A block of 64 MiB that cannot grow where it is. */
static char *block_to_move(void)
{
	char *p = pmd_malloc(64 << 20);

	CHECK(p && pmd_malloc(100 << 20));
	p[0] = p[(64 << 20) - 1] = 1;
	return p;
}

/* What the kernel may have unmapped it maps no more. */
static void moves_irreparably(void)
{
	pid_t pid = fork();
	char *p;

	CHECK(pid >= 0);
	if (pid == 0) {
		p = block_to_move();
		pmd_free(pmd_malloc(500 << 20)); /* there is memory */
		fail(SYS_mremap, EFAULT, 1, 0);
		fail(SYS_mmap, ENOMEM, 1, 0);
		fail(SYS_mprotect, ENOMEM, 1, 0);
		p = pmd_realloc(p, 500 << 20);
		_exit(0);
	}
	CHECK(check_wait(pid) == SIGABRT);
}

/* Old and new do not fit into the limit together, which they need not where pages can be moved. */
static void moves_within_limit(void)
{
	char *p = block_to_move();

	pmd_free(pmd_malloc(500 << 20));
	pmd_release();
	CHECK(pmd_limit(0, 350 << 20) == 0);
	fail(SYS_mremap, EFAULT, 1, 0);
	CHECK(!pmd_realloc(p, 220 << 20) && errno == ENOMEM && p[0] == 1 && p[(64 << 20) - 1] == 1);
	inject_clear();
	CHECK((p = pmd_realloc(p, 220 << 20)) && p[0] == 1 && p[(64 << 20) - 1] == 1);
	CHECK(pmd_limit(0, 0) == 0);
	pmd_free(p);
}

static void heaps_without_end(void)
{
	int known = 1;

	pmd_free(pmd_malloc(1));
	CHECK(heap_add(1, 1, 0)); /* there is one */
	CHECK(!heap_add(1, 1, HEAPS_MAX));
	CHECK(!heap_add((size_t)1 << 26, 1, 1)); /* all of the address space */
	fail(SYS_mmap, ENOMEM, 1, 0);
	CHECK(!heap_add(1, 1, 1) && !heaps[1]);
	inject_clear();
	fail(SYS_mprotect, ENOMEM, 1, 0);
	CHECK(!heap_add(1, 1, 1) && !heaps[1]);
	inject_clear();
	fail(SYS_mmap, EEXIST, 1, 1); /* the place is taken */
	while (known < HEAPS_MAX && heap_add(1, 1, known))
		known++;
	CHECK_SAY(known == HEAPS_MAX, "%d heaps", known);
	CHECK(!heap_slice_anywhere(&known) && meta_bytes());
	for (size_t i = 0; i < 2000; i++) {
		void *p = pmd_malloc(i * 100);

		CHECK(p);
		memset(p, 1, i * 100);
		pmd_free(p);
	}
	pmd_release();
	pool_count_again();
	limit_after_fork(true);
	CHECK(limit_held_bytes() < (size_t)64 << 20);
}

static void lazily(void)
{
	void *p = pmd_malloc(64 << 20);

	CHECK(p);
	memset(p, 1, 64 << 20);
	pmd_free(p);
	heap_make_lazy(&heap_first);
	CHECK(!heap_first.dirty.count && !atomic_load(&heap_counters.releasing_regions));
	p = pmd_calloc(1, 64 << 20); /* whatever the kernel has taken by now */
	CHECK(p);
	for (size_t i = 0; i < 64 << 20; i += 4096)
		CHECK(!((char *)p)[i]);
	memset(p, 1, 64 << 20);
	pmd_free(p);
	heap_make_lazy(&heap_first);
	pmd_release();
	CHECK(!heap_first.lazy.count);
}

/* ---- Conditions of a handoff ------------------------------------------------------------------------------------- */

static const char quiet[] = "Name:\tx\nThreads:\t1\nTracerPid:\t0\nSeccomp:\t0\n";

static void set_despite(const char *what)
{
	CHECK(pmd_option_set("handoff_despite", what) == 0);
}

static void sandboxes(void)
{
	static const char load[] = "/proc/loadavg";

	pmd_free(pmd_malloc(1));
	put(load, "0.00 0.01 0.05 1/80 4711\n");
	put_status(quiet);
	CHECK(conditions_allow(false, 1 << 30) && !conditions_allow(true, 1 << 30));
	set_despite("seccomp");
	CHECK(conditions_allow(true, 1 << 30));
	set_despite("nothing");
	put_status("TracerPid:\t77\nSeccomp:\t0\n");
	CHECK(!conditions_allow(false, 1 << 30));
	set_despite("ptrace");
	CHECK(conditions_allow(false, 1 << 30));
	put_status("TracerPid:\t77\nSeccomp:\t2\n");
	CHECK(!conditions_allow(false, 1 << 30));
	set_despite("all");
	CHECK(conditions_allow(false, 1 << 30));
	put_status(NULL);
	CHECK(!conditions_allow(false, 1 << 30));
	set_despite("nothing");
	put_status("TracerPid: 0\nSeccomp:\t00\n");
	CHECK(!conditions_allow(false, 1 << 30));
	put_status("TracerPid:\t0\n"); /* a kernel without filters: not known */
	CHECK(!conditions_allow(false, 1 << 30));

	put_status(quiet);
	put(load, "9.00 9.01 9.05 900/950 4711\n");
	CHECK(!conditions_allow(false, 1 << 20));
	CHECK(conditions_allow(false, (size_t)1 << 40));
	put("/sys/devices/system/cpu/online", "");
	CHECK(!conditions_allow(false, 1 << 20));
	/* 50 MiB take 3 ms, eight others' turns 6 ms on eight CPUs, and less where the machine has more than those. */
	answer(SYS_sched_getaffinity, eight_cpus);
	put("/sys/fs/cgroup/cpu.max", NULL);
	put(load, "9.00 9.01 9.05 9/950 4711\n");
	CHECK(!conditions_allow(false, 50 << 20));
	put("/sys/devices/system/cpu/online", "0-63\n");
	CHECK(conditions_allow(false, 50 << 20));
	put(load, "9.00 9.01 9.05 900/950 4711\n");
	CHECK(!conditions_allow(false, 1 << 20));
	set_despite("load");
	CHECK(conditions_allow(false, 1 << 20));
}

static void threads_of_its_own(void)
{
	static const char load[] = "/proc/loadavg", memory[] = "/proc/meminfo";

	pmd_free(pmd_malloc(1));
	answer(SYS_sched_getaffinity, eight_cpus);
	put("/sys/fs/cgroup/cpu.max", NULL);
	put(load, "0.00 0.01 0.05 1/80 4711\n");
	put(memory, "MemTotal: 1000000 kB\nMemAvailable: 1000000 kB\n");
	put_status(quiet);
	CHECK(conditions_allow_threads(false, 1 << 20) && !conditions_allow_threads(true, 1 << 20));
	CHECK(!conditions_allow_threads(false, (size_t)1 << 40));
	set_despite("memory");
	CHECK(conditions_allow_threads(false, (size_t)1 << 40));
	set_despite("nothing");
	put_status("Threads:\t2\nTracerPid:\t0\nSeccomp:\t0\n");
	CHECK(conditions_allow_threads(false, 1 << 20));
	put_status("Threads:\t3\nTracerPid:\t0\nSeccomp:\t0\n");
	CHECK(!conditions_allow_threads(false, 1 << 20));
	put_status("Threads:\t12\nTracerPid:\t0\nSeccomp:\t0\n");
	CHECK(!conditions_allow_threads(false, 1 << 20));
	put_status("TracerPid:\t0\nSeccomp:\t0\n");
	CHECK(!conditions_allow_threads(false, 1 << 20));
	put_status("Threads: 1\nTracerPid:\t0\nSeccomp:\t0\n");
	CHECK(!conditions_allow_threads(false, 1 << 20));
	put_status(quiet);
	put(load, "0.00 0.01 0.05 8/80 4711\n");
	CHECK(!conditions_allow_threads(false, 1 << 20));
	set_despite("load");
	CHECK(conditions_allow_threads(false, 1 << 20));
	set_despite("nothing");
	put(load, NULL);
	CHECK(!conditions_allow_threads(false, 1 << 20));
}

#define PROGRAM "1000-2000 r-xp 00000000 08:01 7          /bin/x\n"

static void mappings(void)
{
	static char too_many[150000];
	static const struct {
		const char *text;
		bool no_device;
	} cases[] = {
		{PROGRAM, true},
		{PROGRAM "3000-4000 rw-s 0 0:5 9 /dev/zero (deleted)\n", true},
		{PROGRAM "3000-4000 rw-s 0 0:5 9 /dev/shm/x\n", true},
		{PROGRAM "3000-4000 rw-s 0 0:5 9 /dev/dri/card0\n", false},
		{PROGRAM "3000-4000 rw-s 0 0:5 9 anon_inode:[io_uring]\n", false},
		{"", false},
	};

	for (size_t i = 0; i < LENGTH(cases); i++) {
		put_maps(cases[i].text);
		CHECK_SAY(conditions_no_device_mapped() == cases[i].no_device, "%s", cases[i].text);
	}
	put_maps(NULL);
	CHECK(!conditions_no_device_mapped());
	put_maps(PROGRAM "cut short");
	CHECK(!conditions_no_device_mapped());
	memset(too_many, '\n', sizeof too_many - 1);
	put_maps(too_many);
	CHECK(!conditions_no_device_mapped());
}

static const char *long_text(const char *head, char c, size_t n, const char *tail)
{
	static char text[12 << 10];

	CHECK(strlen(head) + n + strlen(tail) < sizeof text);
	strcpy(text, head);
	memset(text + strlen(head), c, n);
	strcpy(text + strlen(head) + n, tail);
	return text;
}

static bool helper_allowed(const char *maps, const char *locks)
{
	put_maps(maps);
	put("/proc/locks", locks);
	return conditions_allow_helper(0, 0);
}

static void locks(void)
{
	static const char data[] = PROGRAM "3000-4000 r--p 0 08:02 99   /srv/data\n";
	char many[70 * 64] = "";

	CHECK(helper_allowed(PROGRAM, NULL)); /* not read */
	CHECK(helper_allowed(data, "1: FLOCK  ADVISORY  WRITE 5 08:02:98 0 EOF\n"));
	CHECK(helper_allowed(
		data, "1: POSIX  ADVISORY  WRITE 5 08:02:99 0 EOF\n1: -> FLOCK ADVISORY WRITE 5 08:02:99 0 EOF\n"));
	CHECK(!helper_allowed(data, "1: FLOCK  ADVISORY  WRITE 5 08:02:99 0 EOF\n"));
	CHECK(helper_allowed(data, "1: FLOCK  ADVISORY  WRITE 5 08:02:9 0 EOF\n"));
	CHECK(!helper_allowed(PROGRAM "3000-4000 r--p 0 08:02 99\n", "1: FLOCK  ADVISORY  WRITE 5 08:02:99 0 EOF\n"));
	CHECK(!helper_allowed(PROGRAM "3000-4000 r--p 0 08:02 99\n", "1: FLOCK  ADVISORY  WRITE 5 08:02:99"));
	CHECK(helper_allowed(data, "1: FLOCK  ADVISORY  WRITE 5 08:02:999 0 EOF\n"));
	CHECK(!helper_allowed(data, NULL));
	CHECK(!helper_allowed(data, long_text("1: FLOCK  ADVISORY  WRITE 5 ", '7', 50, " 0 EOF\n")));
	for (int i = 0; i < 65; i++)
		snprintf(many + strlen(many), 64, "%d: FLOCK  ADVISORY  WRITE 5 08:02:98 0 EOF\n", i);
	CHECK(!helper_allowed(data, many)); /* more than are looked at */
	CHECK(!helper_allowed(PROGRAM "3000-4000 rw-s 0 0:5 9 /SYSV00000001 (deleted)\n", ""));
	CHECK(!helper_allowed(PROGRAM "zz-4000 rw-s 0 0:5 9 /srv/data\n", ""));
	CHECK(helper_allowed(PROGRAM "3000-4000 rw-s 0 0:5 9 /memfd:x (deleted)\n", ""));
	CHECK(!helper_allowed(PROGRAM "3000-4000 rw-s 0 0:5 9 /srv/data\n", ""));
	CHECK(!helper_allowed(long_text(PROGRAM "3000-4000 rw-p 0 0:5 9 /", 'x', 5000, ""), ""));
	CHECK(!helper_allowed("", ""));
	CHECK(!helper_allowed(long_text(PROGRAM "3000-4000 r--p 0 08:02 ", '9', 60, " /srv/data\n"), NULL));
	CHECK(helper_allowed(long_text(PROGRAM "3000-4000 r--p 0 08:02 ", '9', 60, " /srv/data\n"), ""));
}

/* ---- Memory pressure --------------------------------------------------------------------------------------------- */

static long with_swap(const long args[6])
{
	((struct sysinfo *)args[0])->totalswap = 5;
	return 0;
}

static void no_poll(void)
{
	static struct pressure p;
	uint64_t start = os_now_us();

	pressure_open(&p, true);
	answer(SYS_sysinfo, with_swap);
	CHECK(pressure_swap_present(&p) || p.dir_len);
	fail(SYS_ppoll, ENOSYS, 3, 0);
	fail(SYS_ppoll, EINTR, 1, 2);
	CHECK(pressure_wait(&p, -1, 20) == WAIT_TIMEOUT); /* the futex serves */
	CHECK(os_now_us() - start >= 19000 && p.wake == -1);
	pressure_wake(&p);
	CHECK(pressure_wait(&p, -1, -1) == WAIT_WOKEN);
	pressure_close(&p);
}

/* Its end comes all the same. */
static void interrupted_for_ever(void)
{
	static struct pressure p;
	uint64_t start = os_now_us();

	pressure_open(&p, true);
	fail(SYS_ppoll, EINTR, 1, 0);
	CHECK(pressure_wait(&p, -1, 20) == WAIT_TIMEOUT && os_now_us() - start >= 19000);
	pressure_close(&p);
}

/* Programs close what they did not open. */
static void closed_by_others(void)
{
	static struct pressure p;
	static const char root[] = "/nowhere";

	pressure_root = root;
	pressure_open(&p, true);
	if (p.wake < 0)
		SKIP("no signalfd");
	p.events = fcntl(2, F_DUPFD_CLOEXEC, 200);
	close(p.events);
	CHECK(pressure_wait(&p, -1, 10) == WAIT_TIMEOUT && p.events == -1);
	close(p.wake);
	CHECK(pressure_wait(&p, -1, 10) == WAIT_TIMEOUT && p.wake == -1);
	pressure_wake(&p);
	CHECK(pressure_wait(&p, -1, -1) == WAIT_WOKEN);
	pressure_close(&p);
}

static long exists_made(const long args[6])
{
	size_t i = file_of(args);

	return i < FILES_MAX && files[i].text ? 0 : -ENOENT;
}

#define GROUP "/sys/fs/cgroup/a"
#define OLD   "/sys/fs/cgroup/memory/b"

static void put_groups(void)
{
	answer(SYS_faccessat, exists_made);
	put("/proc/self/cgroup", "5:cpu:/c\n4:hugetlb,memory:/b\n0::/a\n");
	put("/proc/meminfo", "MemTotal: 1000000 kB\nMemAvailable: 1000000 kB\n");
	put("/sys/fs/cgroup/cgroup.controllers", "memory\n");
	put(GROUP, "");
	put(GROUP "/cgroup.events", "");
	put(OLD, "");
}

static bool has_room(const char *used, const char *stat, uint64_t bytes)
{
	put(GROUP "/memory.current", used);
	put(GROUP "/memory.stat", stat);
	return pressure_has_room(bytes, 0);
}

static bool has_old_room(const char *used, const char *stat, uint64_t bytes)
{
	put(OLD "/memory.usage_in_bytes", used);
	put(OLD "/memory.stat", stat);
	return pressure_has_room(bytes, 0);
}

static long no_memory(const long args[6])
{
	*(struct sysinfo *)args[0] = (struct sysinfo){.totalram = 1600, .freeram = 99, .mem_unit = 4096};
	return 0;
}

static const char *long_group(const char *begin)
{
	static char line[1700];

	snprintf(line, sizeof line, "%s/%0*d\n", begin, (int)sizeof line - 50, 0);
	return line;
}

static void room(void)
{
	put_groups();
	answer(SYS_sysinfo, no_memory);
	CHECK(pressure_machine_has_room(1000000ull << 10) && !pressure_machine_has_room((1000000ull << 10) + 1));
	CHECK(has_room("900000\n", "", 1 << 20)); /* no limit */
	put(GROUP "/memory.max", "1000000\n");
	CHECK(has_room("900000\n", "inactive_file 50000\n", 100000));
	CHECK(has_room("900000\n", "inactive_file 50000\n", 150000));
	CHECK(!has_room("900000\n", "inactive_file 50000\n", 150001));
	CHECK(!has_room("1100000\n", "", 1) && has_room("1100000\n", "inactive_file 200000\n", 100000));
	CHECK(has_room("1100000\n", "inactive_file 9999999\n", 1000000));
	CHECK(has_room(NULL, "", 1 << 20));
	put(OLD "/memory.limit_in_bytes", "1000000\n");
	CHECK(has_old_room("900000\n", "total_inactive_file 50000\n", 150000));
	CHECK(!has_old_room("900000\n", "total_inactive_file 50000\n", 150001));
	put("/proc/self/cgroup",
	    "x\n\n5:cpu\n5:cpu:/c\n4:memory:/b"); /* cut short: the root, which has no limit here */
	CHECK(pressure_has_room(1 << 20, 0));
	put("/proc/self/cgroup", "5:memory");
	CHECK(pressure_has_room(1 << 20, 0));
	put("/proc/self/cgroup", long_group("0::")); /* longer than there is room for: the root */
	CHECK(pressure_has_room(1 << 20, 0));
	put("/proc/self/cgroup", long_group("4:memory:"));
	CHECK(pressure_has_room(1 << 20, 0));
	put("/proc/77/cgroup", "4:memory:/b\n");
	CHECK(!pressure_has_room(150001, 77) && pressure_has_room(150000, 77));
	put("/proc/77/cgroup", NULL);
	CHECK(!pressure_has_room(1, 77)); /* it is gone */
}

static short fired[5];

static long poll_made(const long args[6])
{
	struct pollfd *fds = (struct pollfd *)args[0];
	long n = 0;

	for (long i = 0; i < args[1]; i++) {
		fds[i].revents = fds[i].fd >= 0 ? fired[i] : 0;
		n += fds[i].revents != 0;
	}
	return n;
}

static void change(int fd, const char *text)
{
	CHECK(ftruncate(fd, 0) == 0 && pwrite(fd, text, strlen(text), 0) == (ssize_t)strlen(text));
}

static void listening(void)
{
	static struct pressure p;

	put_groups();
	put(GROUP "/memory.max", "1000000\n");
	put(GROUP "/memory.current", "990000\n");
	put(GROUP "/memory.events", "low 0\nhigh 5\nmax 0\noom 0\n");
	put(GROUP "/memory.pressure", "full avg10=0.00\n");
	put("/proc/pressure/memory", "full avg10=0.00\n");
	pressure_open(&p, true);
	CHECK(p.events >= 0 && p.events_seen == 5 && pressure_has_source(&p));

	/* The limit was met, and is near; met, and far again. */
	answer(SYS_ppoll, poll_made);
	fired[3] = POLLPRI | POLLERR;
	change(p.events, "low 0\nhigh 9\nmax 0\noom 0\n");
	CHECK(pressure_wait(&p, -1, 0) == WAIT_PRESSURE);
	p.events_from_ms = 0;
	put(GROUP "/memory.current", "500000\n");
	change(p.events, "low 0\nhigh 9\nmax 1\noom 0\n");
	CHECK(pressure_wait(&p, -1, 0) == WAIT_TIMEOUT && p.events_seen == 10);

	/* Triggers of which neither is taken, one, both; one that says so of a machine whose size is unknown. */
	fired[3] = 0;
	for (int refused_writes = 4; refused_writes >= 0; refused_writes -= 2) {
		os_close_file(&p.group);
		os_close_file(&p.machine);
		if (refused_writes)
			fail(SYS_write, EINVAL, 1, (size_t)refused_writes);
		p.triggers_at_ms = 1;
		CHECK(pressure_wait(&p, -1, 0) == WAIT_TIMEOUT);
		CHECK((p.group >= 0) == (refused_writes < 2) && (p.machine >= 0) == (refused_writes < 4));
		inject_clear();
		inject_add((struct inject_rule){
			.nr = SYS_openat, .match = is_made, .action = INJECT_ANSWER, .answer = open_made});
		answer(SYS_faccessat, exists_made);
		answer(SYS_ppoll, poll_made);
	}
	CHECK(pressure_has_source(&p));
	fired[2] = POLLPRI;
	put("/proc/meminfo", "");
	CHECK(pressure_wait(&p, -1, 0) == WAIT_TIMEOUT);
	put("/proc/meminfo", "MemTotal: 1000000 kB\nMemAvailable: 1000 kB\n");
	CHECK(pressure_wait(&p, -1, 0) == WAIT_PRESSURE);
	fired[2] = 0;

	p.triggers_at_ms = 1; /* those that are there are kept */
	CHECK(pressure_wait(&p, -1, 0) == WAIT_TIMEOUT && p.group >= 0 && p.machine >= 0);
	os_close_file(&p.group);
	CHECK(pressure_has_source(&p));

	/* Nearly all of it is what the kernel drops at once. */
	put(GROUP "/memory.current", "990000\n");
	CHECK(pressure_check(&p));
	put(GROUP "/memory.stat", "inactive_file 9999999\n");
	CHECK(!pressure_check(&p));
	put(GROUP "/memory.stat", NULL);

	/* A limit without figures, and one that says nothing; the group's name alone, and another one's. */
	put(GROUP "/memory.current", NULL);
	CHECK(!pressure_check(&p));
	put(GROUP "/memory.current", "990000 bytes\n");
	CHECK(pressure_check(&p));
	put(GROUP "/memory.max", "-1\n");
	CHECK(!pressure_check(&p) && !p.limit_len);
	put("/sys/fs/cgroup/d", "");
	put("/sys/fs/cgroup/d/memory.max", "1000000:\n");
	put("/sys/fs/cgroup/d/memory.current", "990000\n");
	put("/proc/self/cgroup", "0::/d\n");
	CHECK(pressure_check(&p));
	put("/proc/self/cgroup", "0::/a");
	CHECK(!pressure_check(&p) && !strcmp(p.dir, "/sys/fs/cgroup"));
	put("/proc/self/cgroup", "0::/a\n");
	CHECK(!pressure_check(&p) && !strcmp(p.dir, GROUP));

	/* No triggers, and files that say nothing. */
	pressure_close(&p);
	put(GROUP "/memory.pressure", NULL);
	CHECK(!pressure_check(&p));
	answer(SYS_sysinfo, with_swap);
	CHECK(pressure_swap_present(&p));
	put(GROUP "/memory.swap.max", "0\n");
	CHECK(!pressure_swap_present(&p));
	pressure_close(&p);
}

/* There is nothing that tells of pressure, and no end is set: until somebody wakes it, or something else comes. */

static struct pressure quiet_one;
static _Atomic bool is_open;

/* It is told by a signal, and has all of them blocked, as the background thread. */
static void *wait_without_end(void *fd)
{
	sigset_t all;
	unsigned got;

	sigfillset(&all);
	CHECK(pthread_sigmask(SIG_BLOCK, &all, NULL) == 0);
	pressure_open(&quiet_one, true);
	CHECK(!pressure_has_source(&quiet_one));
	atomic_store(&is_open, true);
	got = pressure_wait(&quiet_one, (int)(intptr_t)fd, -1);
	pressure_close(&quiet_one);
	return (void *)(uintptr_t)got;
}

static void start_waiting(pthread_t *thread, int fd)
{
	atomic_store(&is_open, false);
	CHECK(pthread_create(thread, NULL, wait_without_end, (void *)(intptr_t)fd) == 0);
	while (!atomic_load(&is_open))
		usleep(1000);
	usleep(20000);
}

static void waiting_without_end(void)
{
	int fds[2];
	pthread_t thread;
	void *got;

	pressure_root = "/nowhere";
	CHECK(pipe(fds) == 0);
	start_waiting(&thread, -1);
	pressure_wake(&quiet_one);
	CHECK(pthread_join(thread, &got) == 0 && (uintptr_t)got == WAIT_WOKEN);
	start_waiting(&thread, fds[0]);
	CHECK(write(fds[1], "", 1) == 1);
	CHECK(pthread_join(thread, &got) == 0 && ((uintptr_t)got & WAIT_EXTRA));
}

/* ---- Who measures the end ---------------------------------------------------------------------------------------- */

static void end_is_told(void)
{
	const struct timespec at_once = {0, 0}, long_enough = {20, 0};
	siginfo_t info;
	sigset_t set;
	pid_t pid;

	sigemptyset(&set);
	sigaddset(&set, SIGURG);
	CHECK(sigprocmask(SIG_BLOCK, &set, NULL) == 0);
	pid = fork();
	CHECK(pid >= 0);
	if (pid == 0) {
		check_child(20);
		atomic_store(&options.time_exit, 1); /* not its parent */
		handoff_begin();
		atomic_store(&options.time_exit, getpid());
		pid = (pid_t)syscall(SYS_fork); /* of which the library was not told */
		if (pid == 0) {
			handoff_begin();
			_exit(0);
		}
		CHECK(check_wait(pid) == 0 && sigtimedwait(&set, &info, &at_once) == -1);
		atomic_store(&options.time_exit, getppid());
		handoff_begin();
		handoff_begin();
		_exit(0);
	}
	CHECK(sigtimedwait(&set, &info, &long_enough) == SIGURG && info.si_pid == pid);
	CHECK((uintptr_t)info.si_value.sival_ptr <= os_now_us());
	CHECK(check_wait(pid) == 0 && sigtimedwait(&set, &info, &at_once) == -1);
}

static void refused_options(void)
{
	char text[OPTION_TEXT + 1] = "";

	CHECK(pmd_option_set("handoff_cgroup", "") == EINVAL && pmd_option_set("handoff_cgroup", "a b") == EINVAL);
	CHECK(pmd_option_set("handoff_cgroup", "a\177") == EINVAL);
	memset(text, 'x', OPTION_TEXT);
	CHECK(pmd_option_set("handoff_cgroup", text) == EINVAL);
	text[OPTION_TEXT - 1] = 0;
	CHECK(pmd_option_set("handoff_cgroup", text) == EPERM); /* good, but only at the start */
	CHECK(pmd_limit(SIZE_MAX, SIZE_MAX) == 0 && pmd_limit(2, 1) == EINVAL && pmd_limit(0, 0) == 0);
	CHECK(pmd_thread_set_arena(100000) == EINVAL);
	CHECK(pmd_stats_print(2, (enum pmd_format)77) == EINVAL);
}

/* ---- No memory for tables ---------------------------------------------------------------------------------------- */

/* The next COUNT first requests of a class. */
static size_t sampled(size_t from, size_t count)
{
	size_t n = 0;

	for (size_t i = from; i < from + count; i++) {
		char *p = pmd_malloc(20 * i);

		CHECK(p);
		memset(p, 1, 20 * i);
		n += guard_has(p);
		pmd_free(p);
	}
	return n;
}

static void *end_at_once(void *unused)
{
	pmd_free(pmd_malloc(1));
	return unused;
}

static void *without_cache(void *p)
{
	errno = 0;
	CHECK(!pmd_malloc(100) && errno == ENOMEM && !pmd_calloc(3, 3));
	pmd_free(pmd_malloc(100000)); /* which may be had */
	CHECK(!pmd_thread_arena() && pmd_thread_set_arena(0) == ENOMEM);
	CHECK(pmd_malloc_usable_size(p) >= 100);
	pmd_free(p);
	return NULL;
}

static void run_thread(void *(*run)(void *), void *argument)
{
	pthread_t thread;

	CHECK(pthread_create(&thread, NULL, run, argument) == 0 && pthread_join(thread, NULL) == 0);
}

/* What there is goes on to serve; a thread without a cache frees, and has nothing. */
static void no_tables(void)
{
	void *p = pmd_malloc(100);

	CHECK(p && sampled(1, 5)); /* and no more is */
	fail(OS_POINT_TABLES, ENOMEM, 1, 0);
	run_thread(without_cache, p);
	CHECK(pmd_thread_set_arena(7) == ENOMEM && !heap_add(1, 1, 1));
	p = pmd_malloc(100);
	CHECK(p);
	pmd_free(p);
	inject_clear();
	run_thread(end_at_once, NULL);
}

/* ---- Guarded blocks where the kernel has no marks for pages ------------------------------------------------------ */

static bool is_mark(const long args[6])
{
	return !args || args[2] == MARK || args[2] == MARK + 1;
}

static bool is_closing(const long args[6])
{
	return !args || args[2] == PROT_NONE;
}

static void refuse_marks(void)
{
	inject_add((struct inject_rule){.nr = SYS_madvise, .match = is_mark, .action = INJECT_FAIL, .error = EINVAL});
}

static void guards_by_mappings(void)
{
	refuse_marks();
	CHECK(sampled(1, 3) == 3);
}

static void guards_refused(void)
{
	refuse_marks();
	inject_add(
		(struct inject_rule){.nr = SYS_mprotect, .match = is_closing, .action = INJECT_FAIL, .error = ENOMEM});
	CHECK(sampled(1, 3) == 0);
}

static void guards_without_memory(void)
{
	fail(OS_POINT_TABLES, ENOMEM, 1, 1);
	CHECK(sampled(1, 3) == 0);
}

static void guards_in_sandbox(void)
{
	refuse_marks();
	release_restrict();
	CHECK(sampled(1, 3) == 0);
}

/* The sandbox comes when there are some: they are freed without a call that it forbids, and no more are made. */
static void guards_before_sandbox(void)
{
	size_t calls;
	char *p;

	refuse_marks();
	p = pmd_malloc(20);
	CHECK(p && guard_has(p));
	release_restrict();
	calls = inject_calls(SYS_mprotect);
	pmd_free(p);
	CHECK(sampled(2, 3) == 0 && inject_calls(SYS_mprotect) == calls);
}

/* ---- The background thread --------------------------------------------------------------------------------------- */

static void *dirty_memory(void)
{
	void *p = pmd_malloc(64 << 20);

	CHECK(p);
	memset(p, 1, 64 << 20);
	pmd_free(p);
	return p;
}

/* Time passes until COUNT's value is reached, or not. */
static bool comes_to(const _Atomic size_t *count, bool zero)
{
	for (int i = 0; i < 5000; i++) {
		if (!atomic_load(count) == zero)
			return true;
		inject_advance_ms(100);
		usleep(2000);
	}
	return false;
}

/* Where there is swap, what is free is marked so that it is not written there. */
static void swap(void)
{
	pressure_root = "/nowhere";
	answer(SYS_sysinfo, with_swap);
	CHECK(pmd_option_set("decay_ms", "3600000") == 0);
	dirty_memory();
	CHECK(comes_to(&heap_counters.lazy_bytes, false) && atomic_load(&heap_counters.dirty_regions));
	pmd_release();
	CHECK(!atomic_load(&heap_counters.dirty_regions));
}

/* Nothing decays and nothing tells of pressure: what may stay, stays, and there is nothing to wake for. */
static void blind(void)
{
	pressure_root = "/nowhere";
	CHECK(pmd_option_set("decay_ms", "-1") == 0);
	for (int i = 0; i < 3; i++) {
		dirty_memory();
		inject_advance_ms(100000);
		usleep(20000);
		CHECK(atomic_load(&heap_counters.dirty_regions));
	}
	CHECK(pmd_option_set("dirty_max", "0") == 0);
	dirty_memory();
	CHECK(comes_to(&heap_counters.dirty_regions, true));
}

static void *touched(size_t bytes)
{
	void *p = pmd_malloc(bytes);

	CHECK(p);
	return memset(p, 1, bytes);
}

static void pass_tick(void)
{
	uint32_t now = atomic_load(&heap_tick);

	for (int i = 0; i < 10000 && atomic_load(&heap_tick) == now; i++) {
		inject_advance_ms(50);
		usleep(500);
	}
	CHECK(atomic_load(&heap_tick) != now);
}

/* For SWINGS ticks there is free memory that is wanted again each time; what is free for good after that goes, and nobody calls. */
static void swing(int swings)
{
	void *more = touched(64 << 20), *p = touched(64 << 20);

	for (int i = 0; i < swings; i++) {
		pmd_free(p);
		pass_tick();
		p = touched(64 << 20);
	}
	pmd_free(p);
	pmd_free(more);
	CHECK_SAY(comes_to(&heap_counters.dirty_regions, true), "after %d ticks %zu regions stay", swings,
		  atomic_load(&heap_counters.dirty_regions));
}

static void swings(void)
{
	pressure_root = "/nowhere";
	CHECK(pmd_option_set("decay_ms", "1000") == 0);
	for (int n = 26; n < 34; n++)
		swing(n);
}

/* ---- No memory for a heap ---------------------------------------------------------------------------------------- */

#define KEYS (-1L) /* no system call: the program has made as many keys for data of threads as there may be */

/* Before the library's own constructors, wherever the linker puts them; the C library's environ is not there yet. */
static void refuse_heap(int argc, char **argv, char **environment)
{
	const char *text = NULL;
	long nr;
	int error;
	size_t first, last;
	pthread_key_t key;

	(void)argc, (void)argv;
	for (; *environment; environment++)
		if (!strncmp(*environment, "NO_HEAP=", 8))
			text = *environment + 8;
	if (!text || sscanf(text, "%ld,%d,%zu,%zu", &nr, &error, &first, &last) != 4)
		return;
	if (nr == KEYS)
		while (!pthread_key_create(&key, NULL))
			;
	else
		fail(nr, error, first, last);
}

#if SANITIZED /* whose run-time library is not ready before */
__attribute__((constructor(101))) static void before_all(void)
{
	refuse_heap(0, NULL, environ);
}
#else
__attribute__((used, section(".preinit_array"))) static void (*const before_all)(int, char **, char **) = refuse_heap;
#endif

static int without_heap(void)
{
	struct pmd_stats stats = {.size = sizeof stats};
	void *p = &stats;

	for (int i = 0; i < 2; i++) {
		errno = 0;
		CHECK(!pmd_malloc(1) && errno == ENOMEM);
		CHECK(!pmd_calloc(1, 1) && !pmd_realloc(NULL, 5 << 20) && !pmd_aligned_alloc(1 << 20, 1));
		CHECK(pmd_posix_memalign(&p, 64, 1) == ENOMEM && p == &stats);
	}
	pmd_free(NULL);
	CHECK(!pmd_release() && !pmd_thread_arena() && pmd_thread_set_arena(0) == ENOMEM);
	pmd_thread_flush();
	CHECK(pmd_stats_get(&stats) == 0 && !stats.live_bytes);
	CHECK(pmd_limit(0, 0) == 0 && pmd_option_set("decay_ms", "5") == 0);
	handoff_begin_last();
	return 0;
}

/* As far as it goes: what is not refused can be used. */
static void *use_little(void *arena)
{
	static const size_t sizes[] = {1, 100, 5000, 100000, 3 << 20, 70 << 20};

	pmd_thread_set_arena((unsigned)(uintptr_t)arena);
	for (size_t i = 0; i < LENGTH(sizes); i++) {
		char *p = pmd_calloc(1, sizes[i]), *q;

		CHECK(p || errno == ENOMEM);
		if (!p)
			continue;
		CHECK(!p[0] && !p[sizes[i] - 1]);
		memset(p, 1, sizes[i]);
		q = pmd_realloc(p, 3 * sizes[i]);
		CHECK(q || errno == ENOMEM);
		p = q ? q : p;
		CHECK(p[0] == 1 && p[sizes[i] - 1] == 1);
		pmd_free(p);
	}
	return NULL;
}

static void *in_first_arena(void *unused)
{
	void *p = pmd_malloc(100);

	CHECK(p && !pmd_thread_arena());
	pmd_free(p);
	return unused;
}

/* A thread has a cache, and for its arena there is no room: another thread's serves. */
static int without_arena(void)
{
	pmd_free(pmd_malloc(1));
	fail(OS_POINT_TABLES, ENOMEM, 2, 0);
	run_thread(in_first_arena, NULL);
	CHECK(pmd_arena_count() == 1);
	return 0;
}

static int with_little(void)
{
	char value[32];

	CHECK(pmd_option_get("decay_ms", value, sizeof value) == 0 && !strcmp(value, "7"));
	for (uintptr_t arena = 0; arena < 4; arena++) {
		use_little((void *)arena);
		run_thread(use_little, (void *)(arena + 4));
	}
	pmd_release();
	inject_clear();
	return 0;
}

static char said[4096];

/* This program once more, with CONF and calls that fail from its start on. In SAID what it writes to stderr. */
static void start(const char *argument, const char *conf, long nr, int error, size_t first, size_t last)
{
	char text[32], *at = said;
	size_t room = sizeof said;
	int ends[2];
	pid_t pid;

	CHECK(pipe(ends) == 0 && (pid = fork()) >= 0);
	if (pid == 0) {
		check_child(20);
		CHECK(dup2(ends[1], 2) == 2);
		snprintf(text, sizeof text, "%ld,%d,%zu,%zu", nr, error, first, last);
		setenv("NO_HEAP", text, 1);
		setenv("PMDALLOC_CONF", conf, 1);
		execl("/proc/self/exe", "t_answers", argument, NULL);
		_exit(126);
	}
	close(ends[1]);
	for (ssize_t n; (n = read(ends[0], at, room - 1)) > 0; at += n, room -= (size_t)n)
		;
	*at = 0;
	close(ends[0]);
	CHECK_SAY(check_wait(pid) == 0, "%s, system call %ld from number %zu on: %s", conf, nr, first, said);
}

static void start_without_heap(long nr, int error, size_t first)
{
	start(NULL, ",,decay_ms:7,,", nr, error, first, 0);
}

static void no_heap(void)
{
	static const struct {
		int error;
		const char *words[3];
	} rows[] = {
		{ENOMEM, {"no heap can be made", ": ENOMEM; ", "RLIMIT_DATA"}},
		{EAGAIN, {"no heap can be made", ": EAGAIN; ", "RLIMIT_MEMLOCK"}},
		{EPERM, {"no heap can be made", ": EPERM; ", "seccomp"}},
	};
	static const long calls[] = {SYS_mmap, SYS_mprotect};

	for (size_t i = 0; i < LENGTH(rows); i++)
		for (size_t call = 0; call < LENGTH(calls); call++) {
			start_without_heap(calls[call], rows[i].error, 1);
			for (size_t word = 0; word < LENGTH(rows[i].words); word++)
				CHECK_SAY(strstr(said, rows[i].words[word]), "%s: %s", rows[i].words[word], said);
		}
	for (size_t first = 2; first < 16; first++)
		start_without_heap(SYS_mprotect, ENOMEM, first);
	for (size_t first = 2; first < 5; first++)
		start_without_heap(SYS_mmap, ENOMEM, first);
	start_without_heap(OS_POINT_TABLES, ENOMEM, 1);
	CHECK_SAY(strstr(said, "no arena can be made, so every allocation fails: ENOMEM; "), "%s", said);
	start("no arena", "arenas:2,background:off,guard_rate:0", SYS_madvise, EINVAL, 10000, 10000);
	start_without_heap(KEYS, 0, 0);
	CHECK_SAY(
		strstr(said, "so every allocation fails: EAGAIN; look at how many keys for threads the program makes"),
		"%s", said);
}

/* ---- check:strict ------------------------------------------------------------------------------------------------ */

enum { SMALL = 1000, SMALL_ONES = 2000, SLAB_LOG = 16 };

static bool is_guarding(const long args[6])
{
	return !args || args[2] == MARK;
}

static long half_guarded(const long args[6])
{
	CHECK(!os_syscall_kernel(SYS_madvise, args[0], args[1] / 2, args[2], 0, 0, 0));
	return -ENOMEM;
}

/* Free slices are to be inaccessible, and the kernel does a part and refuses the rest: they are handed out again all the same. */
static int slices_half_guarded(void)
{
	static char *all[SMALL_ONES];
	char *large = pmd_malloc(LARGE_BYTES);
	size_t rule;

	CHECK(large);
	memset(large, 1, LARGE_BYTES);
	for (size_t i = 0; i < SMALL_ONES; i++)
		CHECK((all[i] = pmd_malloc(SMALL)));
	for (size_t i = 0; i < SMALL_ONES; i++)
		if ((uintptr_t)all[i] >> SLAB_LOG & 1) {
			pmd_free(all[i]);
			all[i] = NULL;
		}
	pmd_thread_flush();
	rule = inject_add((struct inject_rule){
		.nr = SYS_madvise, .match = is_guarding, .action = INJECT_ANSWER, .answer = half_guarded});
	pmd_free(large);
	pmd_release();
	CHECK(inject_hits(rule) > 2);
	inject_clear();
	CHECK((large = pmd_malloc(LARGE_BYTES)));
	memset(large, 1, LARGE_BYTES);
	pmd_free(large);
	for (size_t i = 0; i < SMALL_ONES; i++)
		if (!all[i])
			CHECK((all[i] = pmd_malloc(SMALL)));
	for (size_t i = 0; i < SMALL_ONES; i++) {
		memset(all[i], 1, SMALL);
		pmd_free(all[i]);
	}
	return 0;
}

static void overrun(size_t size, size_t by)
{
	pid_t pid = fork();
	int status;

	CHECK(pid >= 0);
	if (pid == 0) {
		char *p = pmd_malloc(size);

		check_child(20);
		p[size + by]++;
		pmd_free(p);
		_exit(0);
	}
	status = check_wait(pid);
	CHECK_SAY(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT, "%zu bytes, %zu behind: %x", size, by,
		  (unsigned)status);
}

/* No page can be made inaccessible: the bytes behind a block are looked at instead. */
static int strict_without_marks(void)
{
	for (size_t i = 0; i < 3; i++) {
		overrun(LARGE_BYTES, i * 7);
		overrun(LARGE_BYTES + 5, i * 7);
		overrun(100, i);
	}
	return with_little();
}

static void strict(void)
{
	start("half guarded", "check:strict,quarantine:0,decay_ms:-1,background:off", SYS_madvise, EINVAL, 10000,
	      10000);
	start("no marks", "check:strict,decay_ms:7", SYS_madvise, EINVAL, 1, 0);
	for (size_t n = 1; n < 6; n++) /* the n-th mapping alone cannot be had */
		start(NULL, "check:strict,decay_ms:7", SYS_mmap, ENOMEM, n, n);
}

/* ---- Started again ----------------------------------------------------------------------------------------------- */

static const struct {
	const char *name;
	int (*run)(void);
} again[] = {
	{"half guarded", slices_half_guarded},
	{"no marks", strict_without_marks},
	{"no arena", without_arena},
};

static int run_again(const char *name)
{
	for (size_t i = 0; i < LENGTH(again); i++)
		if (!strcmp(again[i].name, name))
			return again[i].run();
	return 126;
}

/* ---- All --------------------------------------------------------------------------------------------------------- */

#define CASE(name)          \
	{                   \
#name, name \
	}

static const struct {
	const char *name;
	void (*run)(void);
} cases[] = {
	CASE(writing),
	CASE(reading),
	CASE(quotas),
	CASE(no_affinity),
	CASE(machine_files),
	CASE(status_files),
	CASE(rights),
	CASE(descriptors),
	CASE(waiting),
	CASE(keeping_descriptors),
	CASE(anchor),
	CASE(texts),
	CASE(backends),
	CASE(drops_refused),
	CASE(holes),
	CASE(hints),
	CASE(probing),
	CASE(ring),
	CASE(ring_that_is_broken),
	CASE(left_by_longjmp),
	CASE(limits),
	CASE(growth),
	CASE(heaps_without_end),
	CASE(lazily),
	CASE(sandboxes),
	CASE(threads_of_its_own),
	CASE(mappings),
	CASE(locks),
	CASE(no_poll),
	CASE(interrupted_for_ever),
	CASE(closed_by_others),
	CASE(room),
	CASE(listening),
	CASE(end_is_told),
	CASE(refused_options),
	CASE(ring_that_is_stuck),
	CASE(swap),
	CASE(blind),
	CASE(swings),
	CASE(no_heap),
	CASE(no_tables),
	CASE(guards_by_mappings),
	CASE(guards_refused),
	CASE(guards_in_sandbox),
	CASE(guards_without_memory),
	CASE(moves_in_sandbox),
	CASE(moves_irreparably),
	CASE(moves_within_limit),
	CASE(growth_in_sandbox),
	CASE(waiting_without_end),
	CASE(guards_before_sandbox),
	CASE(strict),
	CASE(probing_amid_others),
};

int main(int argc, char **argv)
{
	unsigned failed = 0;

	if (THREAD_SANITIZED)
		SKIP("threads end in the middle, and where memory lies is the sanitizer's matter");
	if (argc > 1)
		return run_again(argv[1]);
	if (getenv("NO_HEAP"))
		return pmd_malloc(1) ? with_little() : without_heap();
	guard_begin(); /* as the library's constructor does, which is not linked here */
	for (size_t i = 0; i < LENGTH(cases); i++) {
		pid_t pid = fork();
		int status;

		CHECK(pid >= 0);
		if (pid == 0) {
			check_child(60);
			cases[i].run();
			_exit(0);
		}
		status = check_wait(pid);
		if (!WIFEXITED(status) || (WEXITSTATUS(status) && WEXITSTATUS(status) != EXIT_SKIP)) {
			check_say("%s: wait status %#x\n", cases[i].name, (unsigned)status);
			failed++;
		}
	}
	return failed != 0;
}
