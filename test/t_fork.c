/* SPDX-License-Identifier: MIT */
/*
 * fork while other threads are inside malloc and inside stdio. Neither parent nor child may hang, and the child has the
 * use of the whole allocator: it frees and reallocs what it inherited, allocates, and starts threads.
 *
 * FORKS in the environment says how often (make check-fork: 10,000).
 */
#define CHECK_SECONDS 600
#include "api.h"
#include "block.h"
#include "random.h"
#include "variants.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>

#ifdef PMD_FAULTS
#define HAMMERS 2 /* test/faults.py runs it a thousand times */
#else
#define HAMMERS 4
#endif
#define CHILD_SECONDS 20
#define INHERITED     64

static _Atomic bool stop;
static struct block inherited[INHERITED];
static void *_Atomic exchanged[INHERITED]; /* freed by whichever thread takes them */

static void hammer_malloc(struct rng *rng)
{
	void *mine[32];
	for (size_t i = 0; i < LENGTH(mine); i++) {
		mine[i] = t_malloc(rng_log_size(rng, i % 8 ? 12 : 20));
		CHECK(mine[i]);
	}
	for (size_t i = 0; i < LENGTH(mine); i++) {
		if (i % 4 == 0)
			mine[i] = atomic_exchange(&exchanged[rng_below(rng, INHERITED)], mine[i]);
		t_free(mine[i]);
	}
}

/* Not with a sanitizer, whose own malloc may stay locked in the child. */
static void hammer_stdio(struct rng *rng)
{
	FILE *null = fopen("/dev/null", "w");
	CHECK(null);
	fprintf(null, "%zu %s\n", rng_below(rng, 1000), "words");
	fclose(null);
	printf("%zu\n", rng_below(rng, 1000));
}

static void *hammer(void *argument)
{
	struct rng rng = {(uint64_t)(uintptr_t)argument};
	while (!atomic_load(&stop)) {
		hammer_malloc(&rng);
		if (!SANITIZED)
			hammer_stdio(&rng);
	}
	return NULL;
}

static void use_new_blocks(struct rng *rng)
{
	struct block blocks[50];
	for (size_t i = 0; i < LENGTH(blocks); i++) {
		size_t size = rng_log_size(rng, i % 10 ? 12 : 19);
		blocks[i] = (struct block){t_malloc(size), size, rng_next(rng)};
		CHECK(blocks[i].p);
		block_fill(&blocks[i]);
	}
	for (size_t i = 0; i < LENGTH(blocks); i++) {
		block_verify(&blocks[i]);
		t_free(blocks[i].p);
	}
}

static void *child_thread(void *argument)
{
	struct rng rng = {(uint64_t)(uintptr_t)argument};
	use_new_blocks(&rng);
	t_free(t_calloc(100, 100));
	return NULL;
}

/* Half of the inherited blocks are freed, half grow; the blocks in exchange belong to threads that are gone here. */
static void use_inherited_blocks(void)
{
	for (size_t i = 0; i < INHERITED; i++) {
		struct block *block = &inherited[i];
		block_verify(block);
		if (i % 2) {
			size_t size = block->size * 2 + 1;
			block->p = t_realloc(block->p, size);
			CHECK(block->p);
			block_verify(block);
		}
		t_free(block->p);
		t_free(atomic_exchange(&exchanged[i], NULL));
	}
}

static void run_child(size_t number)
{
	struct rng rng = {number};
	pthread_t thread;
	check_child(CHILD_SECONDS);
	use_new_blocks(&rng);
	use_inherited_blocks();
	CHECK(pthread_create(&thread, NULL, child_thread, (void *)(number + 1)) == 0);
	CHECK(pthread_join(thread, NULL) == 0);
	hammer_stdio(&rng);
	_exit(0);
}

static void make_inherited(void)
{
	struct rng rng = {99};
	for (size_t i = 0; i < INHERITED; i++) {
		size_t size = 1 + rng_log_size(&rng, i % 8 ? 12 : 21);
		inherited[i] = (struct block){t_malloc(size), size, rng_next(&rng)};
		CHECK(inherited[i].p);
		block_fill(&inherited[i]);
	}
}

int main(int argc, char **argv)
{
	if (SANITIZED)
		SKIP("a sanitizer's run time does not survive the fork of a program whose threads are inside it");
	const char *conf = VARIANTS(argc, argv, "", "decay_ms:0,arenas:1");
	size_t forks = check_scaled(check_number("FORKS", 1000)) / (conf[0] ? 2 : 1);
	pthread_t hammers[HAMMERS];
	int null = open("/dev/null", O_WRONLY);
	CHECK(null >= 0 && dup2(null, STDOUT_FILENO) == STDOUT_FILENO);
	make_inherited();
	for (size_t i = 0; i < HAMMERS; i++)
		CHECK(pthread_create(&hammers[i], NULL, hammer, (void *)(i + 1)) == 0);
	for (size_t i = 0; i < forks; i++) {
		pid_t pid = fork();
		CHECK(pid >= 0);
		if (pid == 0)
			run_child(i);
		int status = check_wait(pid);
		CHECK_SAY(status == 0, "child %zu of %zu, wait status %#x%s", i, forks, (unsigned)status,
			  WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM ? ": it hung" : "");
	}
	atomic_store(&stop, true);
	for (size_t i = 0; i < HAMMERS; i++)
		CHECK(pthread_join(hammers[i], NULL) == 0);
	for (size_t i = 0; i < INHERITED; i++) {
		block_verify(&inherited[i]);
		t_free(inherited[i].p);
		t_free(exchanged[i]);
	}
	return 0;
}
