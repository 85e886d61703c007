/* SPDX-License-Identifier: MIT */
/* The kernel interface for Linux. Owns no state; may be called from any thread at any time. */
#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <linux/futex.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/types.h>
#include <time.h>

#include "os/os.h"
#include "os/syscall.h"

/* A kernel's answer as 0 or an errno. Macros, so that tests know by the function which call it is. */
static int error_of(long result)
{
	return result < 0 ? (int)-result : 0;
}

#define call(nr, a, b, c, d, e) error_of(os_syscall(nr, a, b, c, d, e, 0))

static int mapped(long result, void **out)
{
	if (result < 0 && result > -4096)
		return (int)-result;
	if (out)
		*out = (void *)result;
	return 0;
}

#define map(at, bytes, prot, flags, out) \
	mapped(os_syscall(SYS_mmap, (long)(at), (long)(bytes), prot, (flags) | MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), out)

int os_reserve(size_t bytes, void **out)
{
	return map(NULL, bytes, PROT_NONE, MAP_NORESERVE, out);
}

int os_reserve_at(void *p, size_t bytes)
{
	void *got;
	int error = map(p, bytes, PROT_NONE, MAP_NORESERVE | MAP_FIXED_NOREPLACE, &got);

	if (!error && got != p) { /* kernels before 4.17 take the address for a hint */
		os_unmap(got, bytes);
		return EEXIST;
	}
	return error;
}

int os_map(size_t bytes, void **p)
{
	return map(*p, bytes, PROT_READ | PROT_WRITE, 0, p);
}

int os_commit(void *p, size_t bytes)
{
	return call(SYS_mprotect, (long)p, (long)bytes, PROT_READ | PROT_WRITE, 0, 0);
}

int os_forbid(void *p, size_t bytes)
{
	return call(SYS_mprotect, (long)p, (long)bytes, PROT_NONE, 0, 0);
}

int os_unmap(void *p, size_t bytes)
{
	return call(SYS_munmap, (long)p, (long)bytes, 0, 0, 0);
}

enum { TRIES = 8 };

static bool worth_another_try(int error)
{
	return error == EAGAIN || error == EINTR;
}

int os_advise(void *p, size_t bytes, int advice)
{
	int error = EAGAIN;

	for (int i = 0; i < TRIES && worth_another_try(error); i++)
		error = call(SYS_madvise, (long)p, (long)bytes, advice, 0, 0);
	return error;
}

void os_dump(void *p, size_t bytes, bool dump)
{
	os_advise(p, bytes, dump ? MADV_DODUMP : MADV_DONTDUMP);
}

/* The kernel's PIDFD_SELF_THREAD_GROUP (6.14): this process, without a descriptor. */
#define PIDFD_OF_SELF (-10001)

static size_t ranges_within(const struct iovec *ranges, size_t count, size_t bytes)
{
	size_t n = 0;

	while (n < count && ranges[n].iov_len <= bytes)
		bytes -= ranges[n++].iov_len;
	return n;
}

int os_advise_ranges(const struct iovec *ranges, size_t count, int advice, size_t *done)
{
	long result = -EAGAIN;

	for (int i = 0; i < TRIES && worth_another_try((int)-result); i++)
		result = os_syscall(SYS_process_madvise, PIDFD_OF_SELF, (long)ranges, (long)count, advice, 0, 0);
	*done = result > 0 ? ranges_within(ranges, count, (size_t)result) : 0;
	return result < 0 ? (int)-result : 0;
}

#ifndef MADV_DONTNEED_LOCKED
#define MADV_DONTNEED_LOCKED 24 /* since Linux 5.18 */
#endif

int os_drop(void *p, size_t bytes)
{
	int error = os_advise(p, bytes, MADV_DONTNEED);

	return error == EINVAL ? os_advise(p, bytes, MADV_DONTNEED_LOCKED) : error;
}

#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102 /* since Linux 6.13 */
#define MADV_GUARD_REMOVE  103
#endif

int os_guard(void *p, size_t bytes)
{
	return os_advise(p, bytes, MADV_GUARD_INSTALL);
}

int os_unguard(void *p, size_t bytes)
{
	return os_advise(p, bytes, MADV_GUARD_REMOVE);
}

bool os_can_guard(void)
{
	void *page = NULL;
	bool can;

	if (os_map(PAGE_BYTES, &page))
		return false;
	can = !os_guard(page, PAGE_BYTES);
	os_unmap(page, PAGE_BYTES);
	return can;
}

int os_move(void *from, void *to, size_t bytes)
{
	return call(SYS_mremap, (long)from, (long)bytes, (long)bytes, MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP,
		    (long)to);
}

int os_remap(void *p, size_t bytes)
{
	return map(p, bytes, PROT_READ | PROT_WRITE, MAP_FIXED | MAP_NORESERVE, NULL);
}

int os_resident(void *p, size_t bytes, unsigned char *out)
{
	return call(SYS_mincore, (long)p, (long)bytes, (long)out, 0, 0);
}

int os_advise_huge(void *p, size_t bytes, bool huge)
{
	return call(SYS_madvise, (long)p, (long)bytes, huge ? MADV_HUGEPAGE : MADV_NOHUGEPAGE, 0, 0);
}

bool os_wait(_Atomic uint32_t *word, uint32_t value, int64_t ms)
{
	struct timespec t = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};

	return call(SYS_futex, (long)word, FUTEX_WAIT_PRIVATE, value, ms < 0 ? 0 : (long)&t, 0) == ETIMEDOUT;
}

void os_wake(_Atomic uint32_t *word)
{
	call(SYS_futex, (long)word, FUTEX_WAKE_PRIVATE, 1, 0, 0);
}

void os_yield(void)
{
	call(SYS_sched_yield, 0, 0, 0, 0, 0);
}

int os_copy_fd(int fd)
{
	long copy = os_syscall(SYS_fcntl, fd, F_DUPFD_CLOEXEC, 100, 0, 0, 0);

	return copy < 0 ? -1 : (int)copy;
}

void os_thread_name(const char *name)
{
	call(SYS_prctl, PR_SET_NAME, (long)name, 0, 0, 0);
}

int os_thread_number(void)
{
	return (int)os_syscall(SYS_gettid, 0, 0, 0, 0, 0, 0);
}

uint32_t os_process_id(void)
{
	return (uint32_t)os_syscall(SYS_getpid, 0, 0, 0, 0, 0, 0);
}

bool os_thread_exists(int number)
{
	return !call(SYS_tgkill, os_process_id(), number, 0, 0, 0);
}

static const char *const status_paths[] = {"/proc/self/status", "/proc/thread-self/status"};

void os_rights_open(struct os_rights *r, bool keep)
{
	r->process = keep ? os_open_file(status_paths[0], O_RDONLY) : -1;
	r->thread = keep ? os_open_file(status_paths[1], O_RDONLY) : -1;
}

void os_rights_close(struct os_rights *r)
{
	os_close_file(&r->process);
	os_close_file(&r->thread);
}

static void read_status(int fd, const char *path, char *buf, size_t len)
{
	if (!os_read_open_file(fd, buf, len))
		os_read_file(path, buf, len);
}

bool os_rights_same(const struct os_rights *r)
{
	static const char *const keys[] = {"Uid:", "Gid:", "Groups:", "CapPrm:", "CapEff:", "CapBnd:"};
	char process[4096], thread[4096];
	bool same = true;

	read_status(r->process, status_paths[0], process, sizeof process);
	read_status(r->thread, status_paths[1], thread, sizeof thread);
	for (size_t i = 0; same && i < sizeof keys / sizeof keys[0]; i++) {
		const char *a = text_value(process, keys[i]), *b = text_value(thread, keys[i]);

		while (a && b && *a && *a == *b && *a != '\n')
			a++, b++;
		same = !a || !b || *a == *b || !*a || !*b; /* cut short: as far as it was read */
	}
	return same;
}

bool os_forget_descriptors(void)
{
	return !call(SYS_close_range, 0, (long)UINT32_MAX, CLOSE_RANGE_UNSHARE, 0, 0);
}

int os_write(int fd, const char *buf, size_t len)
{
	while (len) {
		long n = os_syscall(SYS_write, fd, (long)buf, (long)len, 0, 0, 0);

		if (n == -EINTR)
			continue;
		if (n <= 0)
			return n ? (int)-n : EIO;
		buf += n;
		len -= (size_t)n;
	}
	return 0;
}

uint64_t os_now_us(void)
{
	struct timespec t = {0};
	long injected;

	if (os_inject(SYS_clock_gettime, &injected))
		return (uint64_t)injected;
	/* The C library's, which makes no system call where the vDSO serves, and touches errno only when it fails. */
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

size_t os_page_table_bytes(void)
{
	static const char name[] = "\nVmPTE:";
	char buf[2048];
	size_t n = os_read_file("/proc/self/status", buf, sizeof buf), at = 0, len = 0;
	int64_t kb;

	while (at < n && __builtin_memcmp(buf + at, name, min_size(sizeof name - 1, n - at)))
		at++;
	for (at += sizeof name - 1; at < n && (buf[at] == ' ' || buf[at] == '\t'); at++)
		;
	while (at + len < n && buf[at + len] >= '0' && buf[at + len] <= '9')
		len++;
	return at < n && text_parse_number(buf + at, len, &kb) ? (size_t)kb << 10 : 0;
}

int os_open_file(const char *path, int flags)
{
	return (int)os_syscall(SYS_openat, AT_FDCWD, (long)path, flags | O_CLOEXEC, 0644, 0, 0);
}

void os_close_file(int *fd)
{
	if (*fd >= 0)
		call(SYS_close, *fd, 0, 0, 0, 0);
	*fd = -1;
}

size_t os_read_open_file(int fd, char *buf, size_t len)
{
	long n = fd < 0 ? 0 : os_syscall(SYS_pread64, fd, (long)buf, (long)len - 1, 0, 0, 0);

	buf[n > 0 ? n : 0] = 0;
	return n > 0 ? (size_t)n : 0;
}

long os_read_on(int fd, char *buf, size_t len)
{
	long n;

	do
		n = os_syscall(SYS_read, fd, (long)buf, (long)len, 0, 0, 0);
	while (n == -EINTR);
	return n < 0 ? -1 : n;
}

size_t os_read_file(const char *path, char *buf, size_t len)
{
	int fd = os_open_file(path, O_RDONLY);
	size_t have = 0;

	while (fd >= 0 && have + 1 < len) {
		long n = os_syscall(SYS_read, fd, (long)(buf + have), (long)(len - 1 - have), 0, 0, 0);

		if (n == -EINTR)
			continue;
		if (n <= 0)
			break;
		have += (size_t)n;
	}
	os_close_file(&fd);
	buf[have] = 0;
	return have;
}

uint64_t os_random(void)
{
	uint64_t r = 0;
	struct timespec t;

	if (os_syscall(SYS_getrandom, (long)&r, sizeof r, 1 /* GRND_NONBLOCK */, 0, 0, 0) != sizeof r) {
		call(SYS_clock_gettime, CLOCK_MONOTONIC, (long)&t, 0, 0, 0);
		r = ((uint64_t)t.tv_nsec << 32 ^ (uintptr_t)&r) * 0x9e3779b97f4a7c15u;
	}
	return r;
}

/* The CPU quota of the cgroup (version 2) this process is in, rounded up; 0 when there is none. */
static unsigned quota_cpus(void)
{
	char buf[64];
	int64_t quota, period;
	size_t n = os_read_file("/sys/fs/cgroup/cpu.max", buf, sizeof buf), space = 0, end = n;

	while (space < n && buf[space] != ' ')
		space++;
	while (end > space && buf[end - 1] == '\n')
		end--;
	if (space >= end || !text_parse_number(buf, space, &quota) ||
	    !text_parse_number(buf + space + 1, end - space - 1, &period) || period <= 0)
		return 0;
	return (unsigned)((quota + period - 1) / period);
}

enum { FEW_CPUS = 4 }; /* so many at most are not worth the time to look for a quota */

unsigned os_cpus(void)
{
	unsigned long mask[1024 / (8 * sizeof(long))] = {0};
	unsigned cpus = 0, quota;
	long bytes = os_syscall(SYS_sched_getaffinity, 0, sizeof mask, (long)mask, 0, 0, 0);

	for (long i = 0; i < bytes / (long)sizeof mask[0]; i++)
		cpus += (unsigned)__builtin_popcountl(mask[i]);
	quota = cpus > FEW_CPUS ? quota_cpus() : 0;
	if (quota && quota < cpus)
		cpus = quota;
	return cpus ? cpus : 1;
}

bool os_address_space_limited(void)
{
	struct rlimit limit;

	return !call(SYS_prlimit64, 0, RLIMIT_AS, 0, (long)&limit, 0) && limit.rlim_cur != RLIM_INFINITY;
}

void os_message(const struct text *t)
{
	char line[1024];
	struct text out;

	text_init(&out, line, sizeof line - 1);
	text_put(&out, "pmdalloc: ");
	text_put_n(&out, t->buf, t->len);
	line[out.len] = '\n';
	os_write(2, line, out.len + 1);
}

void os_abort(void)
{
	abort();
}

void check_failed(const char *cond, const char *file, int line)
{
	char buf[512];
	struct text t;

	text_init(&t, buf, sizeof buf);
	text_put(&t, "internal check failed: ");
	text_put(&t, cond);
	text_put(&t, " at ");
	text_put(&t, file);
	text_put(&t, ":");
	text_put_number(&t, line);
	os_message(&t);
	os_abort();
}
