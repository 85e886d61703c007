/* SPDX-License-Identifier: MIT */
/*
 * Strict overcommit (vm.overcommit_memory=2) charges only what is used. The mode belongs to the whole machine: this
 * test does not change it, and skips where it is another.
 */
#include "api.h"
#include "block.h"
#include "proc.h"

#define BLOCKS 256

/* The number in the first line of FILE that starts with KEY. */
static size_t number_in(const char *file, const char *key)
{
	char text[8192];
	int fd = open(file, O_RDONLY | O_CLOEXEC);
	CHECK(fd >= 0);
	ssize_t n = read(fd, text, sizeof text - 1);
	CHECK(n > 0);
	close(fd);
	text[n] = 0;
	const char *line = strstr(text, key);
	CHECK(line);
	return strtoul(line + strlen(key), NULL, 10);
}

int main(void)
{
	void *blocks[BLOCKS];
	if (number_in("/proc/sys/vm/overcommit_memory", "") != 2)
		SKIP("vm.overcommit_memory is not 2 here");
	size_t before = number_in("/proc/meminfo", "Committed_AS:");
	for (size_t i = 0; i < BLOCKS; i++) {
		blocks[i] = t_malloc(MIB);
		CHECK(blocks[i]);
		memset(blocks[i], 1, MIB);
	}
	size_t after = number_in("/proc/meminfo", "Committed_AS:");
	CHECK_SAY(after < before + 4 * BLOCKS * KIB, "%zu kB committed, then %zu", before, after);
	for (size_t i = 0; i < BLOCKS; i++)
		t_free(blocks[i]);
	return 0;
}
