/* SPDX-License-Identifier: MIT */
/* Calls of and around a process that shares the address space. Owns no state; os_sharer_start is in os/thread_clone.c. */
#include "os/process.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <linux/futex.h>
#include <linux/magic.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <time.h>

#include "base/text.h"
#include "os/os.h"
#include "os/syscall.h"

enum { LOW_PRIORITY = 10 }; /* nice value: a tenth of a CPU beside one other process, so some seconds at worst */

void os_sharer_reap(int number)
{
	long result;

	do
		result = os_syscall(SYS_wait4, number, 0, __WCLONE, 0, 0, 0);
	while (result == -EINTR);
}

int os_pipe(int fds[2])
{
	long result = os_syscall(SYS_pipe2, (long)fds, O_CLOEXEC, 0, 0, 0, 0);

	return result < 0 ? (int)-result : 0;
}

/* What is above goes first: of a table that is not copied whole only the part below FD is. */
bool os_keep_descriptor(int fd)
{
	if (os_syscall(SYS_close_range, fd + 1, (long)UINT32_MAX, CLOSE_RANGE_UNSHARE, 0, 0, 0))
		return false;
	return !fd || !os_syscall(SYS_close_range, 0, fd - 1, 0, 0, 0, 0);
}

int os_open_cgroup(const char *path, int *fd)
{
	struct statfs system;
	long result = os_syscall(SYS_openat, AT_FDCWD, (long)path, O_PATH | O_DIRECTORY | O_CLOEXEC, 0, 0, 0);

	if (result < 0)
		return (int)-result;
	*fd = (int)result;
	result = os_syscall(SYS_fstatfs, *fd, (long)&system, 0, 0, 0, 0);
	if (!result && (unsigned long)system.f_type == CGROUP2_SUPER_MAGIC)
		return 0;
	os_close_file(fd);
	return result ? (int)-result : EINVAL;
}

bool os_identify(int fd, struct os_identity *out)
{
	struct stat info;

	if (os_syscall(SYS_fstat, fd, (long)&info, 0, 0, 0, 0))
		return false;
	out->device = info.st_dev;
	out->number = info.st_ino;
	return true;
}

bool os_takes_text(int fd)
{
	struct pollfd one = {.fd = fd, .events = POLLOUT};
	struct timespec at_once = {0, 0};

	return os_syscall(SYS_ppoll, (long)&one, 1, (long)&at_once, 0, 0, 0) == 1 && one.revents == POLLOUT;
}

uint32_t os_parent_id(void)
{
	return (uint32_t)os_syscall(SYS_getppid, 0, 0, 0, 0, 0, 0);
}

void os_tell(uint32_t number, int signal, uint64_t value)
{
	siginfo_t info = {.si_code = SI_QUEUE};

	info.si_pid = (pid_t)os_process_id();
	info.si_value.sival_ptr = (void *)(uintptr_t)value;
	os_syscall(SYS_rt_sigqueueinfo, number, signal, (long)&info, 0, 0, 0);
}

int os_process_descriptor(uint32_t number)
{
	long fd = os_syscall(SYS_pidfd_open, number, 0, 0, 0, 0, 0);

	return fd < 0 ? -1 : (int)fd;
}

enum end os_wait_for_end(int process, int pipe, int64_t ms)
{
	struct pollfd fds[] = {{.fd = process, .events = POLLIN}, {.fd = pipe}};
	struct timespec t = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};
	long result;

	do
		result = os_syscall(SYS_ppoll, (long)fds, 2, ms < 0 ? 0 : (long)&t, 0, 0, 0);
	while (result == -EINTR);
	if (result <= 0)
		return result ? END_UNKNOWN : END_OF_TIME;
	return fds[0].revents ? END_OF_PROCESS : END_OF_PIPE;
}

/* That needs no right and changes nothing: the kernel looks for other users, as it could not part from them. */
bool os_is_alone(void)
{
	return !os_syscall(SYS_unshare, CLONE_VM, 0, 0, 0, 0, 0);
}

void os_stay_on_cpu(struct cpu_mask *before)
{
	struct cpu_mask here = {.bytes = 0};
	unsigned cpu = 0;

	before->bytes = os_syscall(SYS_sched_getaffinity, 0, sizeof before->words, (long)before->words, 0, 0, 0);
	if (before->bytes <= 0 || os_syscall(SYS_getcpu, (long)&cpu, 0, 0, 0, 0, 0) || cpu >= 8 * sizeof here.words) {
		before->bytes = 0;
		return;
	}
	here.words[cpu / (8 * sizeof(long))] = 1ul << cpu % (8 * sizeof(long));
	if (os_syscall(SYS_sched_setaffinity, 0, sizeof here.words, (long)here.words, 0, 0, 0))
		before->bytes = 0;
}

void os_leave_cpu(const struct cpu_mask *before)
{
	if (before->bytes > 0)
		os_syscall(SYS_sched_setaffinity, 0, before->bytes, (long)before->words, 0, 0, 0);
}

void os_rest(unsigned us)
{
	const struct timespec t = {.tv_sec = us / 1000000, .tv_nsec = us % 1000000 * 1000};

	os_syscall(SYS_nanosleep, (long)&t, 0, 0, 0, 0, 0);
}

void os_leave_session(void)
{
	os_syscall(SYS_setsid, 0, 0, 0, 0, 0, 0);
}

void os_lower_priority(void)
{
	const struct sched_param none = {0};

	os_syscall(SYS_sched_setscheduler, 0, SCHED_BATCH, (long)&none, 0, 0, 0);
	os_syscall(SYS_setpriority, PRIO_PROCESS, 0, LOW_PRIORITY, 0, 0, 0);
}

void os_prefer_to_be_killed(void)
{
	static const char most[] = "1000";
	int fd = os_open_file("/proc/self/oom_score_adj", O_WRONLY);

	if (fd < 0)
		return;
	os_write(fd, most, sizeof most - 1);
	os_close_file(&fd);
}

/* The fourth figure of "0.00 0.01 0.05 1/80 4711". */
unsigned os_running(void)
{
	char buf[64];
	int64_t running;
	size_t start, end = 0, n = os_read_file("/proc/loadavg", buf, sizeof buf);

	while (end < n && buf[end] != '/')
		end++;
	for (start = end; start > 0 && buf[start - 1] != ' ';)
		start--;
	return end < n && text_parse_number(buf + start, end - start, &running) ? (unsigned)running : 0;
}

/* One more than the last number of "0-3,5-7": what is missing between is rare, and would not matter. */
unsigned os_machine_cpus(void)
{
	char buf[64];
	int64_t last;
	size_t start, end = os_read_file("/sys/devices/system/cpu/online", buf, sizeof buf);

	while (end && (buf[end - 1] < '0' || buf[end - 1] > '9'))
		end--;
	for (start = end; start && buf[start - 1] >= '0' && buf[start - 1] <= '9';)
		start--;
	return text_parse_number(buf + start, end - start, &last) ? (unsigned)last + 1 : 0;
}

void os_wait_cleared(_Atomic uint32_t *word, int64_t ms)
{
	struct timespec t = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};
	uint32_t value = atomic_load_explicit(word, memory_order_acquire);

	if (value)
		os_syscall(SYS_futex, (long)word, FUTEX_WAIT, value, (long)&t, 0, 0);
}

/* With 1 not even whoever takes cores through a pipe is called. */
void os_leave_no_core(void)
{
	const struct rlimit none = {1, 1};

	os_syscall(SYS_prlimit64, 0, RLIMIT_CORE, (long)&none, 0, 0, 0);
}

bool os_adopts_orphans(void)
{
	int does = 1;

	return os_syscall(SYS_prctl, PR_GET_CHILD_SUBREAPER, (long)&does, 0, 0, 0, 0) || does;
}

static long read_link(const char *path, char *buf, size_t len)
{
	return os_syscall(SYS_readlink, (long)path, (long)buf, (long)len, 0, 0, 0);
}

/* The number of those that were looked at among the entries TEXT[0..LEN) of a directory; SIZE_MAX: USE said no. */
static size_t each_link(int dir, const char *text, size_t len, bool (*use)(const char *target))
{
	size_t count = 0;

	for (size_t at = 0; at < len;) {
		const struct linux_dirent64 {
			uint64_t inode;
			int64_t next;
			unsigned short length;
			unsigned char type;
			char name[];
		} *entry = (const void *)(text + at);
		char target[32];
		long n;

		at += entry->length;
		if (entry->name[0] == '.')
			continue;
		n = os_syscall(SYS_readlinkat, dir, (long)entry->name, (long)target, sizeof target - 1, 0, 0);
		if (n < 0)
			return SIZE_MAX;
		target[n] = 0;
		if (!use(target))
			return SIZE_MAX;
		count++;
	}
	return count;
}

bool os_each_descriptor(bool (*use)(const char *target), size_t most)
{
	char buf[512] __attribute__((aligned(8)));
	int dir = os_open_file("/proc/thread-self/fd", O_RDONLY | O_DIRECTORY);
	size_t count = 0, seen = 0;
	long n = -1;

	while (dir >= 0 && seen != SIZE_MAX && count <= most) {
		n = os_syscall(SYS_getdents64, dir, (long)buf, sizeof buf, 0, 0, 0);
		if (n <= 0)
			break;
		seen = each_link(dir, buf, (size_t)n, use);
		count += seen;
	}
	os_close_file(&dir);
	return !n;
}

bool os_block_signals(void)
{
	uint64_t all = ~(uint64_t)0;

	return !os_syscall(SYS_rt_sigprocmask, SIG_BLOCK, (long)&all, 0, sizeof all, 0, 0);
}

/* Links like "pid:[4026531836]". */
bool os_children_are_near(void)
{
	char own[64], theirs[64];
	long n = read_link("/proc/thread-self/ns/pid", own, sizeof own);

	return n > 0 && read_link("/proc/thread-self/ns/pid_for_children", theirs, sizeof theirs) == n &&
	       !__builtin_memcmp(own, theirs, (size_t)n);
}

void os_exit(int status)
{
	for (;;) {
		os_syscall(SYS_exit_group, status, 0, 0, 0, 0, 0);
		os_syscall(SYS_exit, status, 0, 0, 0, 0, 0);
	}
}
