/* SPDX-License-Identifier: MIT */
/* calloc is zero where blocks of every size class were dirty before: reused at once, after release, after a move. */
#include "api.h"
#include "block.h"
#include "variants.h"

#ifdef PMD_FAULTS /* test/faults.py runs it a thousand times */
#define LARGEST  (768 * KIB)
#define PER_SIZE (16 * KIB)
#define MOVED    (3 * MIB)
#else
#define LARGEST  (4 * MIB)
#define PER_SIZE (256 * KIB) /* bytes of each size at a time, at least two blocks */
#define MOVED    (7 * MIB)
#endif
#define MOST      256
#define CLASS_MAX 1024

static size_t classes[CLASS_MAX];

/* One size of each class, what good_size answers grows in steps; and above them one of each number of slices. */
static size_t find_classes(void)
{
	size_t count = 0;
	for (size_t size = 1; size <= LARGEST && count < CLASS_MAX; count++) {
		size_t good = pmd_good_size(size);
		CHECK_SAY(good >= size, "good size of %zu is %zu", size, good);
		classes[count] = good;
		size = good + (good < 64 * KIB ? 1 : 60 * KIB + 1);
	}
	CHECK(count >= 50 && count < CLASS_MAX);
	return count;
}

static size_t blocks_of(size_t size)
{
	size_t count = PER_SIZE / size;
	return count < 2 ? 2 : count > MOST ? MOST : count;
}

static void dirty(size_t size)
{
	void *blocks[MOST];
	for (size_t i = 0; i < blocks_of(size); i++) {
		blocks[i] = t_malloc(size);
		CHECK(blocks[i]);
		memset(blocks[i], 0xff, t_usable(blocks[i]));
	}
	for (size_t i = 0; i < blocks_of(size); i++)
		t_free(blocks[i]);
}

static void check_zero(size_t size)
{
	void *blocks[MOST];
	for (size_t i = 0; i < blocks_of(size); i++) {
		blocks[i] = t_calloc(1, size);
		CHECK(blocks[i]);
		block_check_zero(blocks[i], size);
	}
	for (size_t i = 0; i < blocks_of(size); i++)
		t_free(blocks[i]);
}

/* Every class, again after memory was given back, so that zero, dirty and half-dirty memory are all met. */
static void each_class(size_t count)
{
	for (size_t i = 0; i < count; i++) {
		dirty(classes[i]);
		check_zero(classes[i]);
		dirty(classes[count - 1 - i]);
		check_zero(classes[i]);
	}
	for (size_t i = 0; i < count; i++)
		dirty(classes[i]);
	pmd_thread_flush();
	pmd_release();
	for (size_t i = 0; i < count; i++)
		check_zero(classes[i]);
}

/* What mremap left behind is zero, not what was there. */
static void after_moves(void)
{
	enum { ROUNDS = 4 };
	for (size_t i = 0; i < ROUNDS; i++) {
		size_t size = (i + 1) * MOVED;
		void *p = t_malloc(size);
		void *barrier = t_malloc(3 * MIB);
		CHECK(p && barrier);
		memset(p, 0xff, size);
		memset(barrier, 0xff, 3 * MIB);
		p = t_realloc(p, size * 3);
		CHECK(p);
		void *q = t_calloc(1, size);
		CHECK(q);
		block_check_zero(q, size);
		t_free(p);
		memset(q, 0xff, size);
		t_free(q);
		q = t_calloc(3, size);
		CHECK(q);
		block_check_zero(q, 3 * size);
		t_free(q);
		t_free(barrier);
	}
}

/* The end of a block that grew in place, or of one that shrank and whose rest was freed. */
static void after_resizing(void)
{
	for (size_t size = 64 * KIB; size <= 8 * MIB; size *= 2) {
		char *p = t_calloc(1, 2 * size);
		CHECK(p);
		memset(p, 0xff, 2 * size);
		p = t_realloc(p, size / 2);
		CHECK(p);
		void *q = t_calloc(1, size);
		CHECK(q);
		block_check_zero(q, size);
		t_free(p);
		t_free(q);
	}
}

int main(int argc, char **argv)
{
	VARIANTS(argc, argv, "", "decay_ms:0,mremap_mib:2", "decay_ms:-1");
	size_t count = find_classes();
	each_class(count);
	after_moves();
	after_resizing();
	return 0;
}
