/* SPDX-License-Identifier: MIT */
/*
 * What the kernel says about this process, read without the C library's streams: reading allocates nothing, and so
 * neither changes what it measures nor wakes the allocator up.
 */
#ifndef PMDALLOC_TEST_PROC_H
#define PMDALLOC_TEST_PROC_H

#include "check.h"

#include <fcntl.h>
#include <pthread.h>
#include <sys/mman.h>
#include <time.h>

/* What the file says, as far as there is room for it; 0 when it cannot be opened. */
static inline size_t proc_read(const char *path, char *text, size_t room)
{
	size_t length = 0;
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return 0;
	for (ssize_t n; (n = read(fd, text + length, room - 1 - length)) > 0;)
		length += (size_t)n;
	close(fd);
	text[length] = 0;
	return length;
}

/* The figure, in kB, of the line of /proc/self/status that starts with KEY ("VmRSS:"). */
static inline size_t proc_kb(const char *key)
{
	char text[8192];
	CHECK(proc_read("/proc/self/status", text, sizeof text));
	const char *line = strstr(text, key);
	CHECK(line);
	size_t value = 0;
	for (line += strlen(key); *line == ' ' || *line == '\t'; line++)
		;
	for (; *line >= '0' && *line <= '9'; line++)
		value = value * 10 + (size_t)(*line - '0');
	return value;
}

static inline size_t proc_rss_kb(void)
{
	return proc_kb("VmRSS:");
}

static inline size_t proc_pte_kb(void)
{
	return proc_kb("VmPTE:");
}

/* The number of mappings of this process. */
static inline size_t proc_vmas(void)
{
	char text[4096];
	size_t lines = 0;
	int fd = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
	CHECK(fd >= 0);
	for (ssize_t n; (n = read(fd, text, sizeof text)) > 0;)
		for (ssize_t i = 0; i < n; i++)
			lines += text[i] == '\n';
	close(fd);
	return lines;
}

/* Whether a mapping of this process is called so, or some such. */
static inline bool proc_maps_has(const char *name)
{
	static char text[256 << 10];
	CHECK(proc_read("/proc/self/maps", text, sizeof text));
	return strstr(text, name);
}

static inline void proc_sleep_ms(long ms)
{
	struct timespec rest = {ms / 1000, ms % 1000 * 1000000};
	while (nanosleep(&rest, &rest) && errno == EINTR)
		;
}

/* Whether MADV_DONTNEED frees page tables here (Linux 6.14 and later with CONFIG_PT_RECLAIM): tried, not looked up. */
static inline bool proc_frees_page_tables(void)
{
	const size_t length = 64 * MIB;
	char *p = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	CHECK(p != MAP_FAILED);
	madvise(p, length, MADV_NOHUGEPAGE);
	for (size_t i = 0; i < length; i += 2 * MIB)
		p[i] = 1;
	size_t full = proc_pte_kb();
	madvise(p, length, MADV_DONTNEED);
	size_t empty = proc_pte_kb();
	munmap(p, length);
	return full > empty + 64;
}

/*
 * False on a kernel without CONFIG_ADVISE_SYSCALLS: only whole regions go back there, by mapping them anew, and none in
 * forked children.
 */
static inline bool proc_has_madvise(void)
{
	return madvise(NULL, 0, MADV_NORMAL) == 0 || errno != ENOSYS;
}

#define NO_MADVISE "this kernel has no madvise: what is free in regions in use stays"

/* Memory for a test's own tables, which are no business of the allocator, touched so that it is part of the start. */
static inline void *proc_table(size_t bytes)
{
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	CHECK(p != MAP_FAILED);
	return p;
}

/* The first child of process PID; 0: none. */
static inline pid_t child_of(pid_t pid)
{
	char name[64], text[64] = "";
	snprintf(name, sizeof name, "/proc/%d/task/%d/children", (int)pid, (int)pid);
	int fd = open(name, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? 0 : read(fd, text, sizeof text - 1);
	if (fd >= 0)
		close(fd);
	return n > 0 ? atoi(text) : 0;
}

/* What FUNCTION returns when a thread of its own calls it. */
static inline void *proc_in_thread(void *(*function)(void *), void *argument)
{
	pthread_t thread;
	void *result;
	CHECK(pthread_create(&thread, NULL, function, argument) == 0);
	CHECK(pthread_join(thread, &result) == 0);
	return result;
}

#endif
