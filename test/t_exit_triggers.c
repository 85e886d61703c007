/* SPDX-License-Identifier: MIT */
/*
 * A background thread that listens to stall triggers makes its process's parent wait for an RCU grace period. So where the
 * end is handed off it has none, but looks at the stalls all the same.
 */
#include "api.h"
#include "proc.h"

#include <ctype.h>
#include <dirent.h>
#include <limits.h>

enum { KEPT = 16 << 20, FREED = 32 << 20, START_MS = 40000, SOON_MS = 60000, STEP_MS = 50 };

/* How the file that descriptor FD of thread TASK refers to is open; -1: it is not, or is no longer. */
static long flags_of(const char *task, const char *fd)
{
	char path[PATH_MAX], text[256] = "";
	snprintf(path, sizeof path, "/proc/self/task/%s/fdinfo/%s", task, fd);
	int info = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = info < 0 ? -1 : read(info, text, sizeof text - 1);
	if (info >= 0)
		close(info);
	const char *flags = n > 0 ? strstr(text, "flags:") : NULL;
	return flags ? strtol(flags + strlen("flags:"), NULL, 8) : -1;
}

/* Descriptors of the thread TASK that a stall file is open by: for writing, as triggers are, or for reading. */
static void count_stalls(const char *task, int *triggers, int *readers)
{
	char path[PATH_MAX], target[PATH_MAX];
	snprintf(path, sizeof path, "/proc/self/task/%s/fd", task);
	DIR *dir = opendir(path);
	for (struct dirent *entry; dir && (entry = readdir(dir));) {
		snprintf(path, sizeof path, "/proc/self/task/%s/fd/%s", task, entry->d_name);
		ssize_t n = readlink(path, target, sizeof target - 1);
		target[n < 0 ? 0 : n] = 0;
		if (!strstr(target, "/proc/pressure/memory") && !strstr(target, "memory.pressure"))
			continue;
		long flags = flags_of(task, entry->d_name);
		*triggers += flags >= 0 && (flags & O_ACCMODE) == O_RDWR;
		*readers += flags >= 0 && (flags & O_ACCMODE) == O_RDONLY;
	}
	if (dir)
		closedir(dir);
}

/* Of all threads but this one, which has none. */
static void stalls(int *triggers, int *readers)
{
	DIR *tasks = opendir("/proc/self/task");
	CHECK(tasks);
	*triggers = *readers = 0;
	for (struct dirent *entry; (entry = readdir(tasks));)
		if (isdigit((unsigned char)entry->d_name[0]) && atoi(entry->d_name) != getpid())
			count_stalls(entry->d_name, triggers, readers);
	closedir(tasks);
}

/* Whether there are triggers, or, with WANTED false, none but a file to read, within MS. */
static bool become(bool wanted, int ms)
{
	int triggers, readers;
	for (int waited = 0; waited < ms; waited += STEP_MS) {
		stalls(&triggers, &readers);
		if (wanted ? triggers > 0 : !triggers && readers > 0)
			return true;
		proc_sleep_ms(STEP_MS);
	}
	check_say("%d triggers, %d other files of stalls\n", triggers, readers);
	return false;
}

int main(void)
{
	if (access("/proc/pressure/memory", R_OK))
		SKIP("this kernel tells of no stalls");
	CHECK(pmd_option_set("handoff", "off") == 0 && pmd_option_set("handoff_min", "1M") == 0);
	CHECK(pmd_option_set("decay_ms", "100000") == 0);
	char *kept = t_malloc(KEPT), *freed = t_malloc(FREED);
	CHECK(kept && freed);
	memset(kept, 1, KEPT);
	memset(freed, 1, FREED);
	t_free(freed);
	if (!become(true, START_MS))
		SKIP("no triggers are set here");
	CHECK(pmd_option_set("handoff", "auto") == 0);
	CHECK_SAY(become(false, SOON_MS), "the process's end would take long");
	t_free(kept);
	return 0;
}
