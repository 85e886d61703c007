/* SPDX-License-Identifier: MIT */
/*
 * Any sequence of calls of all allocating and freeing functions and operators, and of those that control them, against a shadow model:
 * no block overlaps another (each has contents of its own, verified before it goes), alignment, usable size, zeroed memory
 * and what realloc keeps are right, NULL comes with the errno that is documented, and free changes none.
 *
 * Each input begins with an empty table, and ends with it: whatever is left is verified and freed.
 */
#include "api.h"
#include "block.h"
#include "check.h"
#include "input.h"
#include "operators.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>

enum { SLOTS = 64, CALLS_MOST = 2000, BYTES_MOST = 64 << 20 };
enum origin { OF_MALLOC, OF_NEW, OF_NEW_ARRAY };

static struct slot {
	struct block block;
	size_t usable, alignment, asked;
	enum origin origin;
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

#if HAS_OPERATORS
#define DELETES(name)                                                                                      \
	{                                                                                                  \
		name##v, name##vm, name##vRKSt9nothrow_t, name##vSt11align_val_t, name##vmSt11align_val_t, \
			name##vSt11align_val_tRKSt9nothrow_t                                               \
	}

static const struct {
	void (*plain)(void *p);
	void (*sized)(void *p, size_t size);
	void (*nothrow)(void *p, const void *nothrow);
	void (*aligned)(void *p, size_t align);
	void (*sized_aligned)(void *p, size_t size, size_t align);
	void (*aligned_nothrow)(void *p, size_t align, const void *nothrow);
} deletes[] = {[OF_NEW] = DELETES(_ZdlP), [OF_NEW_ARRAY] = DELETES(_ZdaP)};

static void delete (void *p, const struct slot *s, unsigned way)
{
	switch (way + (s->alignment ? 3 : 0)) {
	case 0:
		deletes[s->origin].plain(p);
		return;
	case 1:
		deletes[s->origin].sized(p, s->asked);
		return;
	case 2:
		deletes[s->origin].nothrow(p, "");
		return;
	case 3:
		deletes[s->origin].aligned(p, s->alignment);
		return;
	case 4:
		deletes[s->origin].sized_aligned(p, s->asked, s->alignment);
		return;
	default:
		deletes[s->origin].aligned_nothrow(p, s->alignment, "");
	}
}
#else
static void delete (void *p, const struct slot *s, unsigned way)
{
	CHECK_SAY(false, "%p: %d, %u", p, (int)s->origin, way);
}
#endif

/* WAY: up to 2. */
static void free_slot(size_t i, unsigned way)
{
	void *p = slots[i].block.p;
	if (!p)
		return;
	verify(i);
	forget(i);
	errno = 4242;
	if (slots[i].origin)
		delete (p, &slots[i], way);
	else if (way == 1 && !slots[i].alignment)
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
	slots[i].origin = OF_MALLOC;
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
	if (slots[i].origin)
		free_slot(i, 0);
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
		if (p && *alignment & (*alignment - 1)) /* rounded up */
			*alignment = (size_t)1 << (64 - __builtin_clzl(*alignment));
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

#if HAS_OPERATORS
#define NEWS(name)                                                                                           \
	{                                                                                                    \
		name##m, name##mSt11align_val_t, name##mRKSt9nothrow_t, name##mSt11align_val_tRKSt9nothrow_t \
	}

static const struct {
	void *(*plain)(size_t size);
	void *(*aligned)(size_t size, size_t align);
	void *(*nothrow)(size_t size, const void *nothrow);
	void *(*aligned_nothrow)(size_t size, size_t align, const void *nothrow);
} news[] = {[OF_NEW] = NEWS(_Znw), [OF_NEW_ARRAY] = NEWS(_Zna)};

/* There is nobody here to catch what the others throw. */
static void *call_new(enum origin origin, size_t size, size_t alignment, bool nothrow)
{
	if (nothrow || limited || is_absurd(size))
		return alignment ? news[origin].aligned_nothrow(size, alignment, "") : news[origin].nothrow(size, "");
	return alignment ? news[origin].aligned(size, alignment) : news[origin].plain(size);
}

static void try_new(size_t i, struct input *in)
{
	unsigned way = input_byte(in);
	enum origin origin = way & 1 ? OF_NEW : OF_NEW_ARRAY;
	size_t size = take_size(in), alignment = way & 2 ? (size_t)1 << way / 8 % 22 : 0;
	if (too_much(size) || too_much(alignment))
		return;
	void *p = call_new(origin, size, alignment, way & 4);
	if (!p) {
		CHECK_SAY(limited || is_absurd(size), "new of %zu bytes at a multiple of %zu", size, alignment);
		return;
	}
	adopt(i, p, size, alignment);
	slots[i].origin = origin;
}
#else
static void try_new(size_t i, struct input *in)
{
	try_malloc(i, in);
}
#endif

static void set_limits(struct input *in)
{
	size_t soft = (size_t)input_byte(in) << 18, hard = (size_t)input_byte(in) << 18;
	int result = pmd_limit(soft, hard);
	CHECK(result == (soft && hard && soft > hard ? EINVAL : 0));
	if (result == 0)
		limited = hard;
}

/* What programs written for glibc call besides. */
static void glibc_control(struct input *in)
{
#ifdef PMD_PREFIXED
	(void)in;
#else
	struct mallinfo2 info;
	FILE *sink;
	switch (input_byte(in) % 4) {
	case 0:
		malloc_trim(input_byte(in));
		break;
	case 1:
		info = mallinfo2();
		CHECK(info.uordblks + info.hblkhd >= bytes / 2);
		break;
	case 2:
		CHECK(mallopt(M_MMAP_THRESHOLD, input_byte(in)) == 1 && mallopt(-1000, 0) == 0);
		break;
	default:
		CHECK((sink = fopen("/dev/null", "w")) && malloc_info(0, sink) == 0 && fclose(sink) == 0);
	}
#endif
}

static void control(struct input *in)
{
	static const char *const decay[] = {"0", "-1", "1", "10000"};
	struct pmd_stats stats = {.size = sizeof stats};
	char text[32];
	switch (input_byte(in) % 16) {
	case 0:
	case 8:
		pmd_release();
		break;
	case 1:
	case 9:
		CHECK(pmd_option_set("decay_ms", decay[input_byte(in) % LENGTH(decay)]) == 0);
		break;
	case 2:
	case 10:
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
	case 7:
		CHECK(pmd_option_get("decay_ms", text, sizeof text) == 0);
		break;
	case 11:
		CHECK(pmd_thread_arena() < pmd_arena_count());
		break;
	case 12:
		glibc_control(in);
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
	case 12:
		free_slot(i, what / 16 % 3);
		try_new(i, in);
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
