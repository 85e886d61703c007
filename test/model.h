/* SPDX-License-Identifier: MIT */
/*
 * A shadow model of the heap: a set of blocks whose contents are known, changed by random calls of every allocating and
 * freeing function. One thread owns a model.
 *
 * Checked at each call: alignment, zeroed memory, the prefix that realloc keeps, the usable size, which may not change
 * while the block lives, and before a block goes, its contents.
 */
#ifndef PMDALLOC_TEST_MODEL_H
#define PMDALLOC_TEST_MODEL_H

#include "api.h"
#include "block.h"
#include "check.h"
#include "random.h"

#define MODEL_SLOTS 1024

struct model {
	struct rng rng;
	struct block slots[MODEL_SLOTS];
	size_t usable[MODEL_SLOTS];
	size_t bytes; /* sum of the slots' sizes */
	size_t limit; /* blocks are freed rather than allocated above it */
};

static inline void model_init(struct model *model, uint64_t seed, size_t limit)
{
	memset(model, 0, sizeof *model);
	model->rng.state = seed;
	model->limit = limit;
}

/* Mostly small, one in sixteen up to 8 MiB; every doubling as likely as the next. */
static inline size_t model_size(struct model *model)
{
	return rng_log_size(&model->rng, rng_below(&model->rng, 16) ? 15 : 23);
}

static inline size_t model_alignment(struct model *model)
{
	return (size_t)1 << rng_between(&model->rng, 4, rng_below(&model->rng, 16) ? 12 : 21);
}

static inline void model_check_new(const void *p, size_t size, size_t alignment)
{
	CHECK_SAY(p, "%zu bytes", size);
	CHECK_SAY((uintptr_t)p % alignment == 0, "%p is not aligned to %zu", p, alignment);
}

static inline void *model_calloc(struct model *model, size_t size)
{
	size_t count = 1 + rng_below(&model->rng, 4);
	void *p = t_calloc(count, (size + count - 1) / count);
	model_check_new(p, size, 16);
	block_check_zero(p, size);
	return p;
}

static inline void *model_aligned(struct model *model, size_t size)
{
	size_t alignment = model_alignment(model);
	void *p = NULL;
	switch (rng_below(&model->rng, 3)) {
	case 0:
		p = t_memalign(alignment, size);
		break;
	case 1:
		p = t_aligned_alloc(alignment, size);
		break;
	default:
		CHECK(t_posix_memalign(&p, alignment, size) == 0);
	}
	model_check_new(p, size, alignment);
	return p;
}

/* Fills the new block; every other time up to its usable size, which belongs to the caller as well. */
static inline void model_adopt(struct model *model, size_t slot, void *p, size_t size)
{
	size_t usable = t_usable(p);
	CHECK_SAY(usable >= size, "usable size %zu of a block of %zu bytes", usable, size);
	model->usable[slot] = usable;
	model->slots[slot] = (struct block){p, rng_below(&model->rng, 2) ? usable : size, rng_next(&model->rng)};
	model->bytes += model->slots[slot].size;
	block_fill(&model->slots[slot]);
}

static inline void model_allocate(struct model *model, size_t slot)
{
	size_t size = model_size(model);
	void *p;
	switch (rng_below(&model->rng, 8)) {
	case 0:
	case 1:
		p = model_calloc(model, size);
		break;
	case 2:
		p = model_aligned(model, size);
		break;
	default:
		p = t_malloc(size);
		model_check_new(p, size, 16);
	}
	model_adopt(model, slot, p, size);
}

static inline void model_verify(const struct model *model, size_t slot)
{
	CHECK(t_usable(model->slots[slot].p) == model->usable[slot]);
	block_verify(&model->slots[slot]);
}

/* Takes the block out of the model. */
static inline struct block model_take(struct model *model, size_t slot)
{
	struct block block = model->slots[slot];
	model_verify(model, slot);
	model->bytes -= block.size;
	model->slots[slot] = (struct block){NULL, 0, 0};
	return block;
}

static inline void model_free(struct model *model, size_t slot)
{
	struct block block = model_take(model, slot);
	errno = 4321;
	t_free(block.p);
	CHECK(errno == 4321);
}

static inline void model_realloc(struct model *model, size_t slot)
{
	size_t size = 1 + model_size(model);
	struct block old = model_take(model, slot);
	unsigned char *p = rng_below(&model->rng, 4) ? t_realloc(old.p, size) : t_reallocarray(old.p, 1, size);
	model_check_new(p, size, 16);
	old.p = p;
	block_verify_prefix(&old, size);
	model_adopt(model, slot, p, size);
}

/* One random operation. */
static inline void model_step(struct model *model)
{
	size_t slot = rng_below(&model->rng, MODEL_SLOTS);
	if (!model->slots[slot].p) {
		if (model->bytes < model->limit)
			model_allocate(model, slot);
	} else if (model->bytes < model->limit && rng_below(&model->rng, 3) == 0) {
		model_realloc(model, slot);
	} else {
		model_free(model, slot);
	}
}

/* Checks that no two blocks overlap. */
static inline void model_check_overlap(const struct model *model, size_t slot)
{
	const struct block *block = &model->slots[slot];
	for (size_t i = 0; i < MODEL_SLOTS; i++) {
		const struct block *other = &model->slots[i];
		if (!other->p || !block->p || i == slot)
			continue;
		CHECK_SAY(block->p + model->usable[slot] <= other->p || other->p + model->usable[i] <= block->p,
			  "%p (%zu bytes) and %p (%zu bytes) overlap", (void *)block->p, model->usable[slot],
			  (void *)other->p, model->usable[i]);
	}
}

static inline void model_verify_all(const struct model *model)
{
	for (size_t i = 0; i < MODEL_SLOTS; i++) {
		if (!model->slots[i].p)
			continue;
		model_verify(model, i);
		model_check_overlap(model, i);
	}
}

static inline void model_free_all(struct model *model)
{
	for (size_t i = 0; i < MODEL_SLOTS; i++)
		if (model->slots[i].p)
			model_free(model, i);
	CHECK(model->bytes == 0);
}

#endif
