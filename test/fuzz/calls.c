/* SPDX-License-Identifier: MIT */
/*
 * Any sequence of calls of all allocating and freeing functions, and of those that control them, against a shadow model:
 * no block overlaps another (each has contents of its own, verified before it goes), alignment, usable size, zeroed memory
 * and what realloc keeps are right, NULL comes with the errno that is documented, and free changes none.
 *
 * Each input begins with an empty table, and ends with it: whatever is left is verified and freed.
 */
#include "api.h"
#include "block.h"
#include "check.h"
#include "input.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>

enum { SLOTS = 64, CALLS_MOST = 2000, BYTES_MOST = 64 << 20 };

static struct {
	struct block block;
	size_t usable, alignment, asked;
} slots[SLOTS];

static size_t bytes;
static bool limited; /* so that whatever is asked for may fail */
static int nowhere = -1;
static uint64_t generation;

/* Half of them small, some that cannot be. */
static size_t take_size(struct input *in)
{
	unsigned kind = input_byte(in);
	if (kind < 128)
		return input_byte(in) * (kind % 8 + 1);
	if (kind < 224)
		return (size_t)input_number(in, 2);
	if (kind < 250)
		return (size_t)(input_number(in, 3) & 0x3fffff);
	return (size_t)0 - input_number(in, kind % 4 + 1) * (kind % 2 ? 1 : 4096);
}

static bool too_much(size_t size)
{
	return size < (size_t)1 << 40 && bytes + size > BYTES_MOST;
}

static void verify(size_t i)
{
	CHECK_SAY(t_usable(slots[i].block.p) == slots[i].usable, "usable size of %p", slots[i].block.p);
	block_verify(&slots[i].block);
}

static void forget(size_t i)
{
	bytes -= slots[i].usable;
	slots[i].block.p = NULL;
}

static void free_slot(size_t i, unsigned way)
{
	void *p = slots[i].block.p;
	if (!p)
		return;
	verify(i);
	forget(i);
	errno = 4242;
	if (way == 1 && !slots[i].alignment)
		t_free_sized(p, slots[i].asked);
	else if (way == 2 && slots[i].alignment)
		t_free_aligned_sized(p, slots[i].alignment, slots[i].asked);
	else
		t_free(p);
	CHECK(errno == 4242);
}

static void *free_in_thread(void *slot)
{
	free_slot((size_t)slot, 0);
	return NULL;
}

static void free_elsewhere(size_t i)
{
	pthread_t thread;
	if (pthread_create(&thread, NULL, free_in_thread, (void *)i) == 0)
		CHECK(pthread_join(thread, NULL) == 0);
}

/* No block of so much can be had, here or anywhere. */
static bool is_absurd(size_t size)
{
	return size >= (size_t)1 << 40;
}

/* Not called for zero bytes, for which realloc frees. */
static bool is_right_without(size_t size, bool aligned, size_t alignment)
{
	if (aligned && errno == EINVAL)
		return alignment & (alignment - 1) || alignment == 0 || alignment > 1 << 30;
	return errno == ENOMEM && (is_absurd(size) || limited || (aligned && alignment > 1 << 30));
}

static void adopt(size_t i, void *p, size_t size, size_t alignment)
{
	size_t usable = t_usable(p);
	CHECK_SAY((uintptr_t)p % (alignment ? alignment : 16) == 0, "%p, alignment %zu", p, alignment);
	CHECK_SAY(usable >= size, "%zu usable of %zu", usable, size);
	bytes += usable;
	slots[i].block = (struct block){p, usable, ++generation};
	slots[i].usable = usable;
	slots[i].alignment = alignment;
	slots[i].asked = size;
	block_fill(&slots[i].block);
}

static void try_malloc(size_t i, struct input *in)
{
	size_t size = take_size(in);
	if (too_much(size))
		return;
	void *p = t_malloc(size);
	if (p)
		adopt(i, p, size, 0);
	else
		CHECK_SAY(is_right_without(size, false, 0), "malloc(%zu): NULL, errno %d", size, errno);
}

static void try_calloc(size_t i, struct input *in)
{
	size_t size = take_size(in), count = input_byte(in) % 5, product;
	bool overflows = __builtin_mul_overflow(count, size, &product);
	if (!overflows && too_much(product))
		return;
	void *p = t_calloc(count, size);
	CHECK_SAY(!p || !overflows, "calloc(%zu, %zu)", count, size);
	if (!p) {
		CHECK_SAY(overflows ? errno == ENOMEM : is_right_without(product, false, 0),
			  "calloc(%zu, %zu): NULL, errno %d", count, size, errno);
		return;
	}
	block_check_zero(p, product);
	adopt(i, p, product, 0);
}

static void try_realloc(size_t i, struct input *in)
{
	size_t size = take_size(in), count = input_byte(in), total = size;
	bool is_array = count & 128, overflows;
	count = is_array ? count % 5 : 1;
	overflows = __builtin_mul_overflow(count, size, &total);
	if (!overflows && too_much(total))
		return;
	struct block old = slots[i].block;
	if (old.p)
		verify(i);
	errno = 0;
	void *p = is_array ? t_reallocarray(old.p, count, size) : t_realloc(old.p, size);
	if (p) {
		CHECK_SAY(!overflows, "reallocarray(%zu, %zu)", count, size);
		if (old.p) {
			forget(i);
			block_verify_prefix(&(struct block){p, old.size, old.seed},
					    total < old.size ? total : old.size);
		}
		adopt(i, p, total, 0);
	} else if (old.p && !overflows && total == 0) {
		forget(i);
	} else {
		CHECK_SAY(overflows ? errno == ENOMEM : is_right_without(total, false, 0),
			  "realloc to %zu times %zu: NULL, errno %d", count, size, errno);
		if (old.p)
			verify(i);
	}
}

static size_t take_alignment(struct input *in)
{
	unsigned kind = input_byte(in);
	return kind < 240 ? (size_t)1 << kind % 22 : (size_t)input_number(in, kind % 8 + 1);
}

static void *call_aligned(unsigned way, size_t *alignment, size_t size)
{
	void *p = NULL;
	int result;
	switch (way % 5) {
	case 0:
		return t_aligned_alloc(*alignment, size);
	case 1:
		result = t_posix_memalign(&p, *alignment, size);
		CHECK((result == 0) == (p != NULL));
		CHECK_SAY(result || (*alignment % sizeof p == 0 && *alignment), "posix_memalign to %zu", *alignment);
		if (result == EINVAL && *alignment < sizeof p)
			*alignment = 0;
		errno = result;
		return p;
	case 2:
		*alignment = 4096;
		return t_valloc(size);
	case 3:
		*alignment = 4096;
		return t_pvalloc(size);
	default:
		p = t_memalign(*alignment, size);
		while (p && *alignment & (*alignment - 1)) /* rounded up: at least what was asked for is sure */
			*alignment &= *alignment - 1;
		return p;
	}
}

static void try_aligned(size_t i, struct input *in)
{
	size_t alignment = take_alignment(in), size = take_size(in);
	unsigned way = input_byte(in);
	if (too_much(size) || (alignment < 1 << 30 && too_much(alignment)))
		return;
	void *p = call_aligned(way, &alignment, size);
	if (p && way % 5 == 3) /* pvalloc: whole pages are what is asked for */
		size = size ? (size + 4095) & ~(size_t)4095 : 4096;
	if (p)
		adopt(i, p, size, alignment);
	else
		CHECK_SAY(is_right_without(size, true, alignment), "%zu bytes at a multiple of %zu: NULL, errno %d",
			  size, alignment, errno);
}

static void set_limits(struct input *in)
{
	size_t soft = (size_t)input_byte(in) << 18, hard = (size_t)input_byte(in) << 18;
	int result = pmd_limit(soft, hard);
	CHECK(result == (soft && hard && soft > hard ? EINVAL : 0));
	if (result == 0)
		limited = hard;
}

static void control(struct input *in)
{
	static const char *const decay[] = {"0", "-1", "1", "10000"};
	struct pmd_stats stats = {.size = sizeof stats};
	switch (input_byte(in) % 8) {
	case 0:
		pmd_release();
		break;
	case 1:
		CHECK(pmd_option_set("decay_ms", decay[input_byte(in) % LENGTH(decay)]) == 0);
		break;
	case 2:
		set_limits(in);
		break;
	case 3:
		pmd_thread_flush();
		break;
	case 4:
		CHECK(pmd_thread_set_arena(input_byte(in) % pmd_arena_count()) == 0);
		break;
	case 5:
		CHECK(pmd_stats_print(nowhere, (enum pmd_format)(input_byte(in) % 3)) == 0);
		break;
	case 6:
		CHECK(pmd_stats_get(&stats) == 0);
		break;
	default:
		CHECK(pmd_good_size(input_byte(in)) >= 16);
	}
}

static void call(struct input *in)
{
	unsigned what = input_byte(in);
	size_t i = input_byte(in) % SLOTS;
	if (what % 16 < 9 && what % 16 != 5)
		free_slot(i, what / 16 % 3);
	switch (what % 16) {
	case 0:
	case 1:
		return;
	case 2:
	case 3:
	case 4:
		try_malloc(i, in);
		return;
	case 6:
		try_calloc(i, in);
		return;
	case 7:
	case 8:
		try_aligned(i, in);
		return;
	case 13:
		free_elsewhere(i);
		return;
	case 14:
		if (slots[i].block.p)
			verify(i);
		return;
	case 15:
		control(in);
		return;
	default:
		try_realloc(i, in);
	}
}

static void begin(void)
{
	if (nowhere < 0)
		nowhere = open("/dev/null", O_WRONLY);
	CHECK(pmd_limit(0, 0) == 0 && pmd_option_set("decay_ms", "10000") == 0);
	limited = false;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t length)
{
	struct input in = {data, data + length};
	begin();
	for (int i = 0; i < CALLS_MOST && input_left(&in); i++)
		call(&in);
	for (size_t i = 0; i < SLOTS; i++)
		free_slot(i, (unsigned)i % 3);
	CHECK_SAY(bytes == 0, "%zu bytes are left", bytes);
	return 0;
}
