/* SPDX-License-Identifier: MIT */
/*
 * fork with a large heap, of blocks of 16 B to 4 KiB.
 *   quiet   the child ends at once: what the fork itself and the child's end cost
 *   save    the child reads all blocks while its parent goes on replacing some, as a database that saves a snapshot;
 *           "parent_faults" are pages that the parent had to copy
 *   busy    the child allocates and frees as well
 * An operation is one child, from the fork to its end. The filling is not timed.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif
#include "bench.h"

#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

enum { HEAP_BLOCKS = 1 << 17, REPLACED = 2000, CHILD_BLOCKS = 2000 };

static void read_all(void **blocks)
{
	unsigned sum = 0;

	for (size_t i = 0; i < HEAP_BLOCKS; i++)
		sum += *(volatile unsigned char *)blocks[i];
	_exit(sum == 0);
}

static void allocate(const struct bench *b)
{
	static void *blocks[CHILD_BLOCKS];
	uint64_t random = RANDOM_SEED;

	for (size_t i = 0; i < CHILD_BLOCKS; i++)
		blocks[i] = touch(malloc(random_size(&random, b)));
	for (size_t i = 0; i < CHILD_BLOCKS; i++)
		free(blocks[i]);
	_exit(0);
}

static void replace(const struct bench *b, void **blocks, uint64_t *random)
{
	for (size_t i = 0; i < REPLACED; i++) {
		void **victim = &blocks[random_below(random, HEAP_BLOCKS)];

		free(*victim);
		*victim = touch(malloc(random_size(random, b)));
	}
}

static void quiet(const struct bench *b, void **blocks)
{
	(void)b;
	(void)blocks;
	_exit(0);
}

static void save(const struct bench *b, void **blocks)
{
	(void)b;
	read_all(blocks);
}

static void busy(const struct bench *b, void **blocks)
{
	(void)blocks;
	allocate(b);
}

static long own_faults(void)
{
	struct rusage usage;

	getrusage(RUSAGE_SELF, &usage);
	return usage.ru_minflt;
}

static uint64_t run(const struct bench *b, uint64_t ops, void (*child)(const struct bench *, void **), bool working)
{
	void **blocks = table_new(HEAP_BLOCKS * sizeof(*blocks));
	uint64_t random = RANDOM_SEED, ns;
	long faults;

	for (size_t i = 0; i < HEAP_BLOCKS; i++)
		blocks[i] = touch(malloc(random_size(&random, b)));
	faults = own_faults();
	ns = now_ns();
	for (uint64_t i = 0; i < ops; i++) {
		pid_t pid = fork();
		int status;

		if (pid < 0)
			die("no child");
		if (!pid)
			child(b, blocks);
		if (working)
			replace(b, blocks, &random);
		if (waitpid(pid, &status, 0) != pid || status)
			die("a child has failed");
	}
	ns = now_ns() - ns;
	tell("parent_faults", (double)(own_faults() - faults) / (double)ops);
	for (size_t i = 0; i < HEAP_BLOCKS; i++)
		free(blocks[i]);
	table_drop(blocks, HEAP_BLOCKS * sizeof(*blocks));
	return ns;
}

static uint64_t run_quiet(const struct bench *b, uint64_t ops)
{
	return run(b, ops, quiet, false);
}

static uint64_t run_save(const struct bench *b, uint64_t ops)
{
	return run(b, ops, save, true);
}

static uint64_t run_busy(const struct bench *b, uint64_t ops)
{
	return run(b, ops, busy, false);
}

#define FORK(text, how)                                                                                       \
	{                                                                                                     \
		.name = "fork/" text, .run = (how), .low = 16, .high = 4096, .warm_mib = 400, .fixed_ops = 20 \
	}

const struct bench fork_benches[] = {FORK("quiet", run_quiet), FORK("save", run_save), FORK("busy", run_busy), {0}};
