/* SPDX-License-Identifier: MIT */
/*
 * Runs a command and tells what it took, with all that it starts: time, processor time, page faults, and, where
 * --sample-us asks for it, resident memory and page tables, looked at again and again from outside: the most of both
 * together, the most of each, and the mean. One line of JSON goes to the file --out, the command's output where this
 * program's goes. --preload serves the command and not this program; --warm-mib is touched and given back before.
 *
 * A process that shares its parent's address space (a child of vfork, a helper that ends it) is not counted again.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif
#include "bench.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/kcmp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* In KiB, of a whole tree of processes at one moment. */
struct memory {
	size_t rss, pte;
};

static struct {
	const char *preload, *out;
	unsigned long sample_us, warm_mib;
	char **command;
} options;

static struct {
	struct memory peak;
	size_t both_peak;
	double both_sum;
	size_t samples;
} seen;

/* ---- What a tree of processes has ---------------------------------------------------------------------------------- */

/* The text of a file in /proc; empty where its process is gone. */
static void read_text(const char *path, char *text, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? 0 : read(fd, text, size - 1);

	if (fd >= 0)
		close(fd);
	text[n > 0 ? n : 0] = '\0';
}

static size_t field(const char *text, const char *name)
{
	const char *found = strstr(text, name);

	return found ? strtoul(found + strlen(name), NULL, 10) : 0;
}

/*
 * Whether the address space of PID's child is PID's, or was: who ends parts from it before he is gone, and the helper that
 * tears it down has it still.
 */
static bool has_memory_of(pid_t child, pid_t pid)
{
	char path[64], text[4096];

	if (syscall(SYS_kcmp, pid, child, KCMP_VM, 0, 0) == 0)
		return true;
	snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
	read_text(path, text, sizeof(text));
	return !field(text, "\nVmRSS:");
}

static void add_process(pid_t pid, struct memory *sum);

static void add_children(pid_t pid, const char *task, struct memory *sum)
{
	char path[64], text[4096], *at = text, *end;

	snprintf(path, sizeof(path), "/proc/%d/task/%.16s/children", (int)pid, task);
	read_text(path, text, sizeof(text));
	for (long child; (child = strtol(at, &end, 10)) > 0 && end != at; at = end)
		if (!has_memory_of((pid_t)child, pid))
			add_process((pid_t)child, sum);
}

static void add_process(pid_t pid, struct memory *sum)
{
	char path[64], text[4096];
	struct dirent *entry;
	DIR *tasks;

	snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
	read_text(path, text, sizeof(text));
	sum->rss += field(text, "\nVmRSS:");
	sum->pte += field(text, "\nVmPTE:");
	snprintf(path, sizeof(path), "/proc/%d/task", (int)pid);
	tasks = opendir(path);
	while (tasks && (entry = readdir(tasks)))
		if (entry->d_name[0] != '.')
			add_children(pid, entry->d_name, sum);
	if (tasks)
		closedir(tasks);
}

static void sample(pid_t pid)
{
	struct memory now = {0, 0};

	add_process(pid, &now);
	if (!now.rss)
		return;
	seen.samples++;
	seen.both_sum += (double)(now.rss + now.pte);
	if (now.rss > seen.peak.rss)
		seen.peak.rss = now.rss;
	if (now.pte > seen.peak.pte)
		seen.peak.pte = now.pte;
	if (now.rss + now.pte > seen.both_peak)
		seen.both_peak = now.rss + now.pte;
}

static void sample_until_end(pid_t pid)
{
	struct pollfd end = {.fd = (int)syscall(SYS_pidfd_open, pid, 0), .events = POLLIN};
	struct timespec pause = {.tv_sec = (time_t)(options.sample_us / 1000000),
				 .tv_nsec = (long)(options.sample_us % 1000000) * 1000};

	if (end.fd < 0)
		die("no pidfd_open");
	/* On a busy machine it would come too late. Who may not ask for this goes without. */
	setpriority(PRIO_PROCESS, 0, -15);
	do
		sample(pid);
	while (!ppoll(&end, 1, &pause, NULL));
	close(end.fd);
}

/* ---- The command --------------------------------------------------------------------------------------------------- */

/* Small pages, then huge ones where they are allowed; in a process that ends, so that this one stays small. */
static void warm_up(void)
{
	size_t bytes = options.warm_mib << 20;
	pid_t pid = bytes ? fork() : 0;

	if (bytes && !pid) {
		void *huge;

		table_drop(table_new(bytes), bytes);
		huge = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (huge != MAP_FAILED && !madvise(huge, bytes, MADV_HUGEPAGE))
			touch_pages(huge, bytes);
		_exit(0);
	}
	if (bytes)
		waitpid(pid, NULL, 0);
}

static pid_t start(void)
{
	pid_t pid = fork();

	if (pid < 0)
		die("no process");
	if (pid)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (options.preload)
		setenv("LD_PRELOAD", options.preload, 1);
	execvp(options.command[0], options.command);
	die("the command cannot be started");
}

static double seconds(struct timeval t)
{
	return (double)t.tv_sec + (double)t.tv_usec / 1e6;
}

static void tell_all(uint64_t ns, const struct rusage *used)
{
	int fd = options.out ? open(options.out, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644) : STDOUT_FILENO;

	if (fd < 0)
		die("the file of --out cannot be written");
	dprintf(fd, "{\"ns\": %llu, \"cpu_ns\": %.0f, \"faults\": %ld, \"rss_largest_kib\": %ld",
		(unsigned long long)ns, (seconds(used->ru_utime) + seconds(used->ru_stime)) * 1e9, used->ru_minflt,
		used->ru_maxrss);
	if (seen.samples)
		dprintf(fd,
			", \"rss_kib\": %zu, \"pte_kib\": %zu, \"rss_pte_kib\": %zu, \"rss_pte_mean_kib\": %.0f, "
			"\"samples\": %zu",
			seen.peak.rss, seen.peak.pte, seen.both_peak, seen.both_sum / (double)seen.samples,
			seen.samples);
	dprintf(fd, "}\n");
	close(fd);
}

/* ---- The command line ---------------------------------------------------------------------------------------------- */

static noreturn void usage(void)
{
	dprintf(STDERR_FILENO,
		"usage: watch [--preload FILE] [--out FILE] [--sample-us N] [--warm-mib N] -- COMMAND...\n");
	_exit(2);
}

static unsigned long number(const char *text)
{
	char *end;
	unsigned long n = strtoul(text, &end, 10);

	if (*end || end == text)
		usage();
	return n;
}

static void parse(char **argv)
{
	while (*++argv && strcmp(*argv, "--")) {
		if (!argv[1])
			usage();
		if (!strcmp(*argv, "--preload"))
			options.preload = *++argv;
		else if (!strcmp(*argv, "--out"))
			options.out = *++argv;
		else if (!strcmp(*argv, "--sample-us"))
			options.sample_us = number(*++argv);
		else if (!strcmp(*argv, "--warm-mib"))
			options.warm_mib = number(*++argv);
		else
			usage();
	}
	if (!*argv || !argv[1])
		usage();
	options.command = argv + 1;
}

int main(int argc, char **argv)
{
	struct rusage used;
	uint64_t begun;
	int status;
	pid_t pid;

	(void)argc;
	parse(argv);
	warm_up();
	begun = now_ns();
	pid = start();
	if (options.sample_us)
		sample_until_end(pid);
	while (wait4(pid, &status, 0, &used) < 0)
		if (errno != EINTR)
			die("the command is gone");
	tell_all(now_ns() - begun, &used);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}
