/* SPDX-License-Identifier: MIT */
/* Small tools of the programs in this folder. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif
#include "bench.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

noreturn void die(const char *what)
{
	dprintf(STDERR_FILENO, "%s: %s\n", program_invocation_short_name, what);
	_exit(2);
}

uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

void *table_new(size_t bytes)
{
	void *table = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

	if (table == MAP_FAILED)
		die("no memory for a table");
	return table;
}

void table_drop(void *table, size_t bytes)
{
	munmap(table, bytes);
}

const char *allocator_file(void)
{
	void *address = dlsym(RTLD_DEFAULT, "malloc");
	Dl_info info;

	return address && dladdr(address, &info) && info.dli_fname ? info.dli_fname : "?";
}

size_t status_kb(const char *field)
{
	char text[8192];
	int fd = open("/proc/self/status", O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
	char *found;

	close(fd);
	if (n <= 0)
		die("no /proc/self/status");
	text[n] = '\0';
	found = strstr(text, field);
	return found ? strtoul(found + strlen(field), NULL, 10) : 0;
}
