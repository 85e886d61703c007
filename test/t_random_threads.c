/* SPDX-License-Identifier: MIT */
/*
 * Random operations of eight threads, each with a shadow model of its own, that hand blocks on to each other: what one
 * thread allocated another verifies and frees.
 */
#include "model.h"
#include "variants.h"

#include <pthread.h>
#include <stdatomic.h>

#define THREADS 8
#define RING    64

/* Blocks on their way from one thread to the next. One writer, one reader; each index belongs to one of them. */
struct ring {
	_Atomic size_t head; /* written by the reader */
	_Atomic size_t tail; /* written by the writer */
	struct block blocks[RING];
};

static struct ring rings[THREADS];
static struct model models[THREADS];
static pthread_barrier_t all_done;
static size_t steps;

static bool ring_put(struct ring *ring, struct block block)
{
	size_t tail = atomic_load_explicit(&ring->tail, memory_order_relaxed);
	if (tail - atomic_load_explicit(&ring->head, memory_order_acquire) == RING)
		return false;
	ring->blocks[tail % RING] = block;
	atomic_store_explicit(&ring->tail, tail + 1, memory_order_release);
	return true;
}

static bool ring_get(struct ring *ring, struct block *block)
{
	size_t head = atomic_load_explicit(&ring->head, memory_order_relaxed);
	if (head == atomic_load_explicit(&ring->tail, memory_order_acquire))
		return false;
	*block = ring->blocks[head % RING];
	atomic_store_explicit(&ring->head, head + 1, memory_order_release);
	return true;
}

/* Frees a block of the thread before, sometimes after a realloc, which frees it as well. */
static void receive(struct model *model, struct ring *ring)
{
	struct block block;
	if (!ring_get(ring, &block))
		return;
	block_verify(&block);
	if (rng_below(&model->rng, 4) == 0) {
		size_t size = 1 + model_size(model);
		block.p = t_realloc(block.p, size);
		CHECK(block.p);
		block_verify_prefix(&block, size);
	}
	t_free(block.p);
}

static void hand_on(struct model *model, struct ring *ring)
{
	size_t slot = rng_below(&model->rng, MODEL_SLOTS);
	if (!model->slots[slot].p)
		return;
	struct block block = model_take(model, slot);
	if (!ring_put(ring, block))
		t_free(block.p);
}

static void *run(void *argument)
{
	size_t me = (size_t)argument;
	struct model *model = &models[me];
	struct ring *in = &rings[me];
	struct ring *out = &rings[(me + 1) % THREADS];
	for (size_t i = 0; i < steps; i++) {
		model_step(model);
		if (i % 2)
			hand_on(model, out);
		receive(model, in);
	}
	model_free_all(model);
	pthread_barrier_wait(&all_done);
	for (size_t i = 0; i < RING; i++)
		receive(model, in);
	return NULL;
}

int main(int argc, char **argv)
{
	const char *conf = VARIANTS(argc, argv, "", "decay_ms:0,arenas:1,mremap_mib:2", "decay_ms:-1,arenas:16",
				    "decay_ms:5,background:off,thp:never");
	pthread_t threads[THREADS];
	steps = check_scaled(check_number("STEPS", 200000)) / THREADS;
	CHECK(pthread_barrier_init(&all_done, NULL, THREADS) == 0);
	for (size_t i = 0; i < THREADS; i++)
		model_init(&models[i], strlen(conf) * 1000 + i, 24 * MIB);
	for (size_t i = 0; i < THREADS; i++)
		CHECK(pthread_create(&threads[i], NULL, run, (void *)i) == 0);
	for (size_t i = 0; i < THREADS; i++)
		CHECK(pthread_join(threads[i], NULL) == 0);
	for (size_t i = 0; i < THREADS; i++)
		CHECK(rings[i].head == rings[i].tail);
	return 0;
}
