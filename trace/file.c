/* SPDX-License-Identifier: MIT */
/*
 * The file that a process's trace goes to. Guarded by wiped.is.file.
 *
 * The descriptor is a high one, closed on exec, and looked at before each use: a program that closes all descriptors,
 * or uses the number for something else, makes it opened anew by its name. Written with signals blocked, so that what a
 * limit on file sizes or a pipe's end would send to the program can be taken back.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/limits.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/text.h"
#include "os/os.h"
#include "os/syscall.h"
#include "trace/recorder.h"

enum { DESCRIPTOR = 500, TRIES = 1000, KERNEL_SIGSET = 8 };

static char given[PATH_MAX]; /* a folder or a file */
static char path[PATH_MAX];  /* this process's file */
static int fd = -1;
static dev_t device; /* what FD must still be */
static ino_t inode;
static uint32_t chunks;
static uint64_t events;
static uint64_t bytes_written;

void file_set_path(const char *name)
{
	strncpy(given, name, sizeof given - 1);
}

void file_complain(const char *what, int error)
{
	const char *why = strerrordesc_np(error);
	char line[PATH_MAX + 256];
	struct text t;

	text_init(&t, line, sizeof line);
	text_put(&t, "pmdalloc-trace: ");
	text_put(&t, what);
	text_put(&t, ": ");
	text_put(&t, why ? why : "unknown error");
	text_put(&t, "; process ");
	text_put_number(&t, wiped.is.pid);
	text_put(&t, " is not recorded any further\n");
	os_write(2, line, t.len);
}

/* ---- Opening ----------------------------------------------------------------------------------------------------- */

static int open_for_writing(const char *name, int flags)
{
	return (int)os_syscall(SYS_openat, AT_FDCWD, (long)name, O_WRONLY | O_APPEND | O_CLOEXEC | O_NOCTTY | flags,
			       0666, 0, 0);
}

static bool status_of(int descriptor, struct stat *s)
{
	return os_syscall(SYS_newfstatat, descriptor, (long)"", (long)s, AT_EMPTY_PATH, 0, 0) == 0;
}

/* The first of our process to open GIVEN has it; the others, and those of a folder, have names of their own. */
static void name_file(struct text *t, bool folder, const char *name, int try)
{
	text_init(t, path, sizeof path);
	text_put(t, given);
	if (folder) {
		text_put(t, "/");
		text_put(t, name);
	}
	if (folder || try) {
		text_put(t, ".");
		text_put_number(t, wiped.is.pid);
	}
	if (try > 1) {
		text_put(t, ".");
		text_put_number(t, try);
	}
	if (folder)
		text_put(t, ".trace");
}

static bool is_folder(const char *name)
{
	struct stat s;

	return os_syscall(SYS_newfstatat, AT_FDCWD, (long)name, (long)&s, 0, 0, 0) == 0 && S_ISDIR(s.st_mode);
}

/* A device or a pipe is there already and is not made. */
static bool is_special(const char *name)
{
	struct stat s;

	return os_syscall(SYS_newfstatat, AT_FDCWD, (long)name, (long)&s, 0, 0, 0) == 0 && !S_ISREG(s.st_mode) &&
	       !S_ISDIR(s.st_mode);
}

static int open_new(const char *name)
{
	bool folder = is_folder(given);
	int result = -EEXIST;
	struct text t;

	for (int try = folder; result == -EEXIST && try < TRIES; try++) {
		name_file(&t, folder, name, try);
		if (t.len >= sizeof path - 1)
			return -ENAMETOOLONG;
		result = !folder && !try && is_special(path) ? open_for_writing(path, 0)
							     : open_for_writing(path, O_CREAT | O_EXCL);
	}
	return result;
}

/* Away from the numbers that programs give out again; as high as the limit allows. */
static int move_up(int descriptor)
{
	for (int at = DESCRIPTOR; at > 2; at /= 2) {
		int moved = (int)os_syscall(SYS_fcntl, descriptor, F_DUPFD_CLOEXEC, at, 0, 0, 0);

		if (moved >= 0) {
			os_syscall(SYS_close, descriptor, 0, 0, 0, 0, 0);
			return moved;
		}
	}
	return descriptor;
}

static bool keep(int descriptor)
{
	struct stat s;

	fd = move_up(descriptor);
	if (!status_of(fd, &s))
		return false;
	device = s.st_dev;
	inode = s.st_ino;
	return true;
}

static bool still_ours(void)
{
	struct stat s;

	return fd >= 0 && status_of(fd, &s) && s.st_dev == device && s.st_ino == inode;
}

/* 0 or an errno value. */
static int reopen(void)
{
	dev_t was_device = device;
	ino_t was_inode = inode;
	int again = open_for_writing(path, 0);

	if (again < 0)
		return -again;
	if (!keep(again))
		return EBADF;
	if (device == was_device && inode == was_inode)
		return 0;
	os_close_file(&fd);
	return ESTALE;
}

/* ---- Writing ----------------------------------------------------------------------------------------------------- */

static long change_mask(const uint64_t *mask, uint64_t *before)
{
	return os_syscall(SYS_rt_sigprocmask, SIG_SETMASK, (long)mask, (long)before, KERNEL_SIGSET, 0, 0);
}

static void take_back(int signal)
{
	const uint64_t set = (uint64_t)1 << (signal - 1);
	const struct timespec at_once = {0, 0};

	os_syscall(SYS_rt_sigtimedwait, (long)&set, 0, (long)&at_once, KERNEL_SIGSET, 0, 0);
}

/* Writes it all or, where that can be, nothing of it. */
static int write_whole(const unsigned char *data, size_t bytes)
{
	uint64_t all = ~(uint64_t)0, before, pending = 0;
	int error;

	change_mask(&all, &before);
	os_syscall(SYS_rt_sigpending, (long)&pending, KERNEL_SIGSET, 0, 0, 0, 0);
	error = os_write(fd, (const char *)data, bytes);
	if (error == EFBIG && !(pending & (uint64_t)1 << (SIGXFSZ - 1)))
		take_back(SIGXFSZ);
	if (error == EPIPE && !(pending & (uint64_t)1 << (SIGPIPE - 1)))
		take_back(SIGPIPE);
	if (error)
		os_syscall(SYS_ftruncate, fd, (long)bytes_written, 0, 0, 0, 0);
	else
		bytes_written += bytes;
	change_mask(&before, NULL);
	return error;
}

static bool put_out(const unsigned char *data, size_t bytes)
{
	int error = still_ours() ? 0 : reopen();

	if (!error)
		error = write_whole(data, bytes);
	if (error)
		file_complain(path, error);
	return !error;
}

bool file_open(bool forked)
{
	unsigned char header[FILE_HEADER] = {0};
	char name[FILE_NAME_BYTES];
	size_t length = os_read_file("/proc/self/comm", name, sizeof name);
	int opened;

	if (length && name[length - 1] == '\n')
		name[length - 1] = 0;
	for (char *c = name; *c; c++)
		if (*c == '/' || (unsigned char)*c < ' ')
			*c = '_';
	chunks = 0;
	events = bytes_written = 0;
	opened = open_new(name[0] ? name : "program");
	if (opened < 0 || !keep(opened)) {
		file_complain(path[0] ? path : given, opened < 0 ? -opened : EBADF);
		return false;
	}
	memcpy(header + FILE_MAGIC, TRACE_MAGIC, 8);
	put_fixed(header + FILE_VERSION, TRACE_VERSION, 2);
	put_fixed(header + FILE_BYTES, FILE_HEADER, 2);
	put_fixed(header + FILE_FLAGS, (clock_is_tsc ? FLAG_TSC : 0) | (forked ? FLAG_FORKED : 0), 4);
	put_fixed(header + FILE_PID, (uint32_t)wiped.is.pid, 4);
	put_fixed(header + FILE_PARENT, (uint32_t)os_syscall(SYS_getppid, 0, 0, 0, 0, 0, 0), 4);
	put_fixed(header + FILE_TICKS, clock_after(), 8);
	put_fixed(header + FILE_MONOTONIC, clock_ns(CLOCK_MONOTONIC), 8);
	put_fixed(header + FILE_REALTIME, clock_ns(CLOCK_REALTIME), 8);
	memcpy(header + FILE_NAME, name, strnlen(name, FILE_NAME_BYTES));
	put_fixed(header + FILE_SUM, trace_sum(header, FILE_SUM), 8);
	return put_out(header, sizeof header);
}

void file_forget(void)
{
	if (still_ours())
		os_close_file(&fd);
	fd = -1;
}

bool file_write(unsigned char *chunk, int kind, uint32_t thread, uint64_t base, uint32_t count, uint32_t bytes)
{
	put_fixed(chunk + CHUNK_MAGIC, CHUNK_MAGIC_VALUE, 4);
	put_fixed(chunk + CHUNK_KIND, (uint64_t)kind, 4);
	put_fixed(chunk + CHUNK_THREAD, thread, 4);
	put_fixed(chunk + CHUNK_BYTES, bytes, 4);
	put_fixed(chunk + CHUNK_EVENTS, count, 4);
	put_fixed(chunk + CHUNK_NUMBER, chunks++, 4);
	put_fixed(chunk + CHUNK_BASE, base, 8);
	put_fixed(chunk + CHUNK_WRITTEN, clock_ns(CLOCK_MONOTONIC), 8);
	put_fixed(chunk + CHUNK_DATA_SUM, trace_sum(chunk + CHUNK_HEADER, bytes), 8);
	put_fixed(chunk + CHUNK_SUM, trace_sum(chunk, CHUNK_SUM), 8);
	events += count;
	return put_out(chunk, CHUNK_HEADER + (size_t)bytes);
}

bool file_end(void)
{
	unsigned char chunk[CHUNK_HEADER + 16];
	unsigned char *end = put_number(chunk + CHUNK_HEADER, events);

	return file_write(chunk, CHUNK_OF_END, 0, 0, 0, (uint32_t)(end - chunk - CHUNK_HEADER));
}
