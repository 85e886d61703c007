/* SPDX-License-Identifier: MIT */
/*
 * Runs one benchmark of the families in this folder and prints its name, nanoseconds per operation, the number of
 * operations and the file that serves malloc, separated by tabs. compare.py runs it for each allocator.
 *
 * The number of operations is raised until a run takes long enough; that run is the result and those before it are its
 * warm-up. Ahead of all, memory is touched and given back past the allocator: a virtual machine may have to fetch it
 * from its host, which would be charged to whoever comes first.
 */
#include "bench.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct bench *const families[] = {
	hot_benches, batch_benches, replace_benches, pipe_benches, larson_benches, grow_benches,
};

enum { FAMILIES = sizeof(families) / sizeof(families[0]) };

static void list(void)
{
	for (size_t f = 0; f < FAMILIES; f++)
		for (const struct bench *b = families[f]; b->name; b++)
			puts(b->name);
}

static const struct bench *find(const char *name)
{
	for (size_t f = 0; f < FAMILIES; f++)
		for (const struct bench *b = families[f]; b->name; b++)
			if (!strcmp(b->name, name))
				return b;
	return NULL;
}

/* Next number of operations, after OPS of them took NS: aims a fifth past MINIMUM, at most ten times more. */
static uint64_t next_ops(uint64_t ops, uint64_t ns, uint64_t minimum)
{
	uint64_t wanted = ns ? ops * (minimum + minimum / 5) / ns : ops * 10;

	if (wanted > ops * 10)
		return ops * 10;
	return wanted > ops ? wanted : ops + 1;
}

/* MINIMUM and FIXED_OPS: how long the measured run takes at least, or how many operations it does if not 0. */
static void measure(const struct bench *b, uint64_t minimum, uint64_t fixed_ops)
{
	size_t warm = (size_t)b->warm_mib << 20;
	uint64_t ops = fixed_ops ? fixed_ops : b->once ? 1 : 1000;
	uint64_t ns;

	if (warm)
		table_drop(table_new(warm), warm);
	ns = b->run(b, ops);
	while (!fixed_ops && !b->once && ns < minimum) {
		ops = next_ops(ops, ns, minimum);
		ns = b->run(b, ops);
	}
	printf("%s\t%.3f\t%llu\t%s\n", b->name, (double)ns / (double)ops, (unsigned long long)ops, allocator_file());
}

int main(int argc, char **argv)
{
	uint64_t minimum = 100, ops = 0;
	int i = 1;

	for (; i + 1 < argc && argv[i][0] == '-'; i += 2) {
		if (!strcmp(argv[i], "--ms"))
			minimum = strtoull(argv[i + 1], NULL, 10);
		else if (!strcmp(argv[i], "--ops"))
			ops = strtoull(argv[i + 1], NULL, 10);
		else
			break;
	}
	if (i + 1 == argc && !strcmp(argv[i], "--list")) {
		list();
		return 0;
	}
	if (i + 1 != argc || !find(argv[i])) {
		fprintf(stderr, "usage: bench [--ms MILLISECONDS] [--ops OPERATIONS] NAME\n       bench --list\n");
		return 2;
	}
	measure(find(argv[i]), minimum * 1000000, ops);
	return 0;
}
