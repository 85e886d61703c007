/* SPDX-License-Identifier: MIT */
/*
 * The loops whose instructions instructions.py counts: ordinary calls of malloc and free and nothing else.
 * Usage: pairs hot|batch SIZE PAIRS
 */
#include <stdlib.h>
#include <string.h>

enum { BLOCKS = 1000 };

static void hot(size_t size, unsigned long pairs)
{
	for (unsigned long i = 0; i < pairs; i++)
		free(malloc(size));
}

static void batch(size_t size, unsigned long pairs)
{
	static void *blocks[BLOCKS];

	for (unsigned long done = 0; done < pairs; done += BLOCKS) {
		for (unsigned i = 0; i < BLOCKS; i++)
			blocks[i] = malloc(size);
		for (unsigned i = 0; i < BLOCKS; i++)
			free(blocks[i]);
	}
}

int main(int argc, char **argv)
{
	if (argc != 4)
		return 2;
	(strcmp(argv[1], "batch") ? hot : batch)(strtoul(argv[2], NULL, 10), strtoul(argv[3], NULL, 10));
	return 0;
}
