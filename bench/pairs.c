/* SPDX-License-Identifier: MIT */
/*
 * The loops whose instructions instructions.py counts: ordinary calls of malloc and free, or of their like, and nothing
 * else. Usage: pairs hot|batch|calloc|aligned|realloc SIZE PAIRS
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

static void cleared(size_t size, unsigned long pairs)
{
	for (unsigned long i = 0; i < pairs; i++)
		free(calloc(1, size));
}

static void aligned(size_t size, unsigned long pairs)
{
	for (unsigned long i = 0; i < pairs; i++)
		free(aligned_alloc(64, size));
}

/* A block that stays where it is; two calls are as one pair. */
static void resized(size_t size, unsigned long pairs)
{
	void *block = malloc(size);

	for (unsigned long i = 0; i < pairs; i++) {
		block = realloc(block, size - 1);
		block = realloc(block, size);
	}
	free(block);
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		void (*loop)(size_t size, unsigned long pairs);
	} kinds[] = {{"hot", hot}, {"batch", batch}, {"calloc", cleared}, {"aligned", aligned}, {"realloc", resized}};

	for (size_t i = 0; argc == 4 && i < sizeof(kinds) / sizeof(kinds[0]); i++)
		if (!strcmp(argv[1], kinds[i].name)) {
			kinds[i].loop(strtoul(argv[2], NULL, 10), strtoul(argv[3], NULL, 10));
			return 0;
		}
	return 2;
}
