/* SPDX-License-Identifier: MIT */
/*
 * realloc keeps contents while a block grows from 16 B to 512 MiB and shrinks again, in place, by copying and by moving
 * pages; what it moves does not cut the heap into ever more mappings.
 */
#define CHECK_SECONDS 240
#include "api.h"
#include "block.h"
#include "proc.h"
#include "variants.h"

#define LARGEST    (512 * MIB)
#define ALTERNATE  (256 * MIB)
#define VMAS_MOST  12 /* those that a move may cost, and some for growth */
#define VMAS_AFTER 8

static size_t vmas_at_start;

static void check_vmas(size_t most, const char *when)
{
	size_t now = proc_vmas();
	/* A sanitizer maps memory for shadows of what is mapped. */
	CHECK_SAY(SANITIZED || now <= vmas_at_start + most, "%s: %zu mappings, %zu at the start", when, now,
		  vmas_at_start);
}

/* Changes BLOCK to SIZE bytes: what it keeps is checked, then all of it gets a new pattern. */
static void resize(struct block *block, size_t size)
{
	unsigned char *p = t_realloc(block->p, size);
	CHECK_SAY(p, "%zu bytes", size);
	CHECK((uintptr_t)p % 16 == 0 && t_usable(p) >= size);
	block->p = p;
	block_verify_prefix(block, size);
	block->size = size;
	block->seed++;
	block_fill(block);
}

static void grow_and_shrink(void)
{
	struct block block = {NULL, 0, 1};
	for (size_t size = 16; size < LARGEST; size += size / 2 + 3)
		resize(&block, size);
	resize(&block, LARGEST);
	for (size_t size = LARGEST; size > 16; size = size / 5 * 2)
		resize(&block, size + 1);
	block_verify(&block);
	t_free(block.p);
}

/* Two buffers that grow in turn stand in each other's way, so that each has to move again and again. */
static void alternate(void)
{
	struct block blocks[2] = {{NULL, 0, 2}, {NULL, 0, 3}};
	for (size_t size = MIB; size <= ALTERNATE; size += size / 4 + 4096) {
		resize(&blocks[0], size);
		resize(&blocks[1], size + 5000);
		check_vmas(VMAS_MOST, "while two blocks grow");
	}
	block_verify(&blocks[0]);
	block_verify(&blocks[1]);
	t_free(blocks[0].p);
	t_free(blocks[1].p);
	pmd_release();
	check_vmas(VMAS_AFTER, "after two blocks grew");
}

/* Many blocks that grow at once. */
static void many(void)
{
	enum { MANY = 50 };
	struct block blocks[MANY];
	for (size_t i = 0; i < MANY; i++)
		blocks[i] = (struct block){NULL, 0, 100 * i};
	for (size_t size = 64 * KIB; size <= 9 * MIB; size += size / 3) {
		for (size_t i = 0; i < MANY; i++)
			resize(&blocks[i], size + i * 100);
		check_vmas(VMAS_MOST, "while many blocks grow");
	}
	for (size_t i = 0; i < MANY; i++) {
		block_verify(&blocks[i]);
		t_free(blocks[i].p);
	}
	pmd_release();
	check_vmas(VMAS_AFTER, "after many blocks grew");
}

/* A block that something stands behind each time moves in ever more pieces, as far as that is allowed, and is copied then. */
static void in_pieces(void)
{
	enum { MOVES = 12 };
	struct block block = {NULL, 0, 4};
	void *behind[MOVES];
	for (size_t i = 0; i < MOVES; i++) {
		resize(&block, (2 + i) * 2 * MIB);
		behind[i] = t_malloc(block.size + 2 * MIB); /* fits into nothing that it has left */
		CHECK(behind[i]);
		check_vmas(VMAS_MOST, "while one block moves");
	}
	block_verify(&block);
	t_free(block.p);
	for (size_t i = 0; i < MOVES; i++)
		t_free(behind[i]);
}

/* What was moved and freed is as good as any other memory. */
static void zero_after_moves(void)
{
	void *blocks[8];
	for (size_t i = 0; i < LENGTH(blocks); i++) {
		blocks[i] = t_calloc(1, (i + 1) * 11 * MIB);
		CHECK(blocks[i]);
		block_check_zero(blocks[i], (i + 1) * 11 * MIB);
	}
	for (size_t i = 0; i < LENGTH(blocks); i++)
		t_free(blocks[i]);
}

/* Shrinking a little stays in place, and a block of some pages whose neighbour is free grows in place. */
static void in_place(void)
{
	for (size_t size = 32; size <= 64 * MIB; size *= 2) {
		void *p = t_malloc(size);
		CHECK(p);
		void *q = t_realloc(p, size - size / 16);
		CHECK_SAY(p == q, "a block of %zu bytes moved when it shrank by 1/16", size);
		CHECK(!t_realloc(q, (size_t)1 << 49) && errno == ENOMEM); /* more slices than can be counted */
		t_free(q);
	}
}

int main(int argc, char **argv)
{
	VARIANTS(argc, argv, "guard_rate:0", "guard_rate:0,mremap_mib:2,decay_ms:0",
		 "guard_rate:0,mremap_mib:1048576,decay_ms:-1");
	t_free(t_malloc(MIB));
	vmas_at_start = proc_vmas();
	grow_and_shrink();
	check_vmas(VMAS_AFTER, "after one block grew");
	alternate();
	many();
	in_pieces();
	zero_after_moves();
	in_place();
	return 0;
}
