/* SPDX-License-Identifier: MIT */
/*
 * A live block may hold the very words that a free one of its slab does: it is no double free, whoever frees or resizes it, and
 * it is had again once.
 */
#include "api.h"
#include "block.h"
#include "variants.h"

#include <pthread.h>

enum { AFTER = 64 };

static const size_t sizes[] = {16, 24, 64, 200, 1000, 4096, 9000, 40000, 80000};

static size_t size;
static void *block;

/* The words are the library's by now, which no checker but the library's own needs to know. */
static void copy_words(volatile uint64_t *to, const volatile uint64_t *from)
{
	to[0] = from[0];
	to[1] = from[1];
}

static void by_free(void)
{
	t_free(block);
}

static void by_free_sized(void)
{
	t_free_sized(block, size);
}

static void *free_it(void *unused)
{
	t_free(block);
	return unused;
}

static void in_thread(void *(*run)(void *))
{
	pthread_t thread;
	CHECK(pthread_create(&thread, NULL, run, NULL) == 0 && pthread_join(thread, NULL) == 0);
}

static void by_other_thread(void)
{
	in_thread(free_it);
}

/* The words go with it, to all sizes. */
static void by_realloc(void)
{
	static const size_t eighths[] = {8, 7, 16, 4, 2};
	uint64_t words[2] = {((uint64_t *)block)[0], ((uint64_t *)block)[1]};
	for (size_t i = 0; i < LENGTH(eighths); i++) {
		size_t to = size * eighths[i] / 8;
		block = t_realloc(block, to < sizeof words ? sizeof words : to);
		CHECK_SAY(block && memcmp(block, words, sizeof words) == 0, "realloc of %zu bytes to %zu", size, to);
	}
	t_free(block);
}

static void *resize_it(void *unused)
{
	by_realloc();
	return unused;
}

static void by_realloc_elsewhere(void)
{
	in_thread(resize_it);
}

static void (*const ways[])(void) = {by_free, by_free_sized, by_other_thread, by_realloc, by_realloc_elsewhere};

/* As many as a slab has free, each with contents of its own. */
static void use_again(void)
{
	struct block blocks[AFTER];
	for (size_t i = 0; i < AFTER; i++) {
		blocks[i] = (struct block){t_malloc(size), size, i};
		CHECK(blocks[i].p);
		block_fill(&blocks[i]);
	}
	for (size_t i = 0; i < AFTER; i++) {
		block_verify(&blocks[i]);
		t_free(blocks[i].p);
	}
}

/* FREE_ELSEWHERE: the words are those that another thread's free leaves. */
static void look_alike(void (*way)(void), bool free_elsewhere)
{
	void *keep = t_malloc(size), *freed = t_malloc(size);
	block = freed;
	void *same = t_malloc(size);
	CHECK(keep && freed && same);
	if (free_elsewhere)
		by_other_thread();
	else
		t_free(freed);
	copy_words(same, freed);
	block = same;
	way();
	use_again();
	t_free(keep);
}

int main(int argc, char **argv)
{
	if (SANITIZED)
		SKIP("sanitizers keep free blocks from being read");
	VARIANTS(argc, argv, "guard_rate:0", "guard_rate:0,check:off", "check:strict", "check:strict,quarantine:0");
	for (size_t i = 0; i < LENGTH(sizes); i++)
		for (size_t j = 0; j < LENGTH(ways); j++)
			for (int elsewhere = 0; elsewhere < 2; elsewhere++) {
				size = sizes[i];
				look_alike(ways[j], elsewhere);
			}
	return 0;
}
