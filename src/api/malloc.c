/* SPDX-License-Identifier: MIT */
/*
 * The entry points of C and POSIX. The fast paths of malloc and free are here; everything else is a tail call away.
 * They touch the cache and the slab of the calling thread only, so they need no lock and no atomic instruction.
 */
#include <string.h>

#include "api/fast.h"
#include "os/os.h"

static NOINLINE void *malloc_slow(size_t size)
{
	return allocate(size, MIN_ALIGN, false, ORIGIN_MALLOC);
}

static NOINLINE void *malloc_upper(size_t size)
{
	struct slice *s;

	if (size > SLAB_MAX)
		return malloc_slow(size);
	s = cache_self->current[class_of(size)];
	return LIKELY(s->free != NULL) ? slab_pop(s) : malloc_slow(size);
}

static NOINLINE void *malloc_medium(size_t size)
{
	struct slice *s;

	if (UNLIKELY(size > MEDIUM_MAX))
		return malloc_upper(size);
	s = cache_self->medium[(size + MEDIUM_STEP - 1) / MEDIUM_STEP];
	return LIKELY(s->free != NULL) ? slab_pop(s) : malloc_slow(size);
}

void *pmd_malloc(size_t size)
{
	struct slice *s;

	if (UNLIKELY(size > SMALL_MAX))
		return malloc_medium(size);
	s = cache_direct[(size + MIN_ALIGN - 1) / MIN_ALIGN];
	return LIKELY(s->free != NULL) ? slab_pop(s) : malloc_slow(size);
}

static NOINLINE void free_missed(void *p)
{
	if (UNLIKELY(!free_valid(p)))
		free_checked(p, (struct told){ORIGIN_MALLOC, SIZE_UNKNOWN, ALIGN_UNKNOWN});
}

void pmd_free(void *p)
{
	if (UNLIKELY(!fast_free(p)))
		free_missed(p);
}

void *pmd_calloc(size_t count, size_t size)
{
	size_t bytes;
	struct slice *s;

	if (UNLIKELY(__builtin_mul_overflow(count, size, &bytes)))
		return out_of_memory();
	if (LIKELY(bytes <= SMALL_MAX)) {
		s = cache_direct[(bytes + MIN_ALIGN - 1) / MIN_ALIGN];
		if (LIKELY(s->free != NULL))
			return memset(slab_pop(s), 0, s->block_size);
	} else if (bytes <= SLAB_MAX) {
		s = cache_self->current[class_of(bytes)];
		if (s->free)
			return memset(slab_pop(s), 0, s->block_size);
	}
	return allocate(bytes, MIN_ALIGN, true, ORIGIN_MALLOC);
}

/* P, of OLD bytes, moves to TO, which has SIZE. NULL if there is none. */
static void *move_to(void *to, void *p, size_t old, size_t size)
{
	if (!to)
		return size <= old ? p : NULL; /* to shrink nothing is needed */
	memcpy(to, p, min_size(old, size));
	pmd_free(p);
	return to;
}

static void *move(void *p, size_t old, size_t size)
{
	return move_to(pmd_malloc(size), p, old, size);
}

/* What grows is likely to grow again, and a large block may where it is. */
static void *grow(void *p, size_t old, size_t size)
{
	return size < BIG_FROM ? move(p, old, size) : move_to(large_alloc(size, MIN_ALIGN, false), p, old, size);
}

/* With check:strict, or under memcheck: blocks move, so that old pointers are noticed. */
static void *resize_special(struct slice *s, void *p, size_t size)
{
	size_t old;
	void *to;

	if (cache_strict && s->kind == SLICE_LARGE && size > SLAB_MAX)
		return strict_resize_large(s, size);
	old = block_usable("realloc", s, p);
	to = old == SIZE_UNKNOWN ? NULL : move(p, old, size);
	if (UNLIKELY(to == p && cache_strict)) /* there is no memory to move to */
		strict_shrink(s, p, size);
	return to;
}

static void *resize_plain(struct slice *s, void *p, size_t size)
{
	size_t old = block_usable("realloc", s, p);

	if (s->kind == SLICE_SLAB && UNLIKELY(((struct block *)p)->key == slab_key(s) && cache_is_free(s, p))) {
		misuse("realloc", p);
		return NULL;
	}
	if (s->kind == SLICE_LARGE && size >= BIG_FROM)
		return large_realloc(s, size);
	if (size <= old && size > old / 2)
		return p;
	return size > old ? grow(p, old, size) : move(p, old, size);
}

/* P is no block of a slab or of the heap's slices. */
static void *resize_apart(void *p, size_t size)
{
	size_t old = check_size("realloc", p);

	if (UNLIKELY(old == SIZE_UNKNOWN)) /* and abort:false */
		return NULL;
	return size == old ? p : move(p, old, size);
}

static void *resize_checked(void *p, size_t size)
{
	struct slice *s;

	if (UNLIKELY(check_has(p)))
		return resize_apart(p, size);
	s = block_slice("realloc", p);
	if (UNLIKELY(!s)) /* and abort:false */
		return NULL;
	return cache_special ? resize_special(s, p, size) : resize_plain(s, p, size);
}

static NOINLINE void *resize(void *p, size_t size)
{
	void *to = resize_checked(p, size);

	return to ? to : out_of_memory();
}

void *pmd_realloc(void *p, size_t size)
{
	const struct slice *s = heap_first_slice(p);

	/* Half a block or more stays; what is smaller moves, so that the rest is not lost. */
	if (fast_owns(s, p) && size <= s->block_size && size > s->block_size / 2 &&
	    ((struct block *)p)->key != slab_key(s))
		return p;
	if (!p)
		return pmd_malloc(size);
	if (!size) {
		pmd_free(p);
		return NULL;
	}
	if (too_large(size))
		return out_of_memory();
	return resize(p, size);
}

void *pmd_reallocarray(void *p, size_t count, size_t size)
{
	size_t bytes;

	if (UNLIKELY(__builtin_mul_overflow(count, size, &bytes)))
		return out_of_memory();
	return pmd_realloc(p, bytes);
}

void pmd_free_sized(void *p, size_t size)
{
	if (UNLIKELY(!fast_free(p)))
		free_checked(p, (struct told){ORIGIN_MALLOC, size, MIN_ALIGN});
}

void pmd_free_aligned_sized(void *p, size_t alignment, size_t size)
{
	if (UNLIKELY(!fast_free(p)))
		free_checked(p, (struct told){ORIGIN_MALLOC, size, alignment});
}

static void *aligned(size_t alignment, size_t size)
{
	if (alignment <= MIN_ALIGN)
		return pmd_malloc(size);
	/* The class of a multiple of the alignment has blocks that are aligned so. */
	if (alignment <= SLAB_MAX && size <= SLAB_MAX - alignment && !cache_special)
		return pmd_malloc(align_up(size ? size : 1, alignment));
	return allocate(size, alignment, false, ORIGIN_MALLOC);
}

void *pmd_aligned_alloc(size_t alignment, size_t size)
{
	if (!is_power_of_two(alignment)) {
		errno = EINVAL;
		return NULL;
	}
	return aligned(alignment, size);
}

void *pmd_memalign(size_t alignment, size_t size)
{
	if (alignment > PTRDIFF_MAX / 2 + 1) {
		errno = EINVAL;
		return NULL;
	}
	if (!is_power_of_two(alignment))
		alignment = alignment ? (size_t)1 << (64 - __builtin_clzl(alignment)) : 1;
	return aligned(alignment, size);
}

int pmd_posix_memalign(void **out, size_t alignment, size_t size)
{
	int saved = errno;
	void *p;

	if (!is_power_of_two(alignment) || alignment % sizeof(void *))
		return EINVAL;
	p = aligned(alignment, size);
	if (!p) {
		errno = saved;
		return ENOMEM;
	}
	*out = p;
	return 0;
}

void *pmd_valloc(size_t size)
{
	return aligned(PAGE_BYTES, size);
}

void *pmd_pvalloc(size_t size)
{
	if (too_large(size))
		return out_of_memory();
	return aligned(PAGE_BYTES, align_up(size ? size : 1, PAGE_BYTES));
}

static size_t usable_of(const char *call, const void *p)
{
	struct slice *s;
	size_t size;

	if (UNLIKELY(check_has(p)))
		size = check_size(call, p);
	else
		size = LIKELY((s = block_slice(call, p)) != NULL) ? block_usable(call, s, p) : SIZE_UNKNOWN;
	return size == SIZE_UNKNOWN ? 0 : size;
}

size_t pmd_malloc_usable_size(const void *p)
{
	const struct slice *s = heap_first_slice(p);

	if (LIKELY(fast_owns(s, p)))
		return s->block_size;
	return p ? usable_of("malloc_usable_size", p) : 0;
}

size_t pmd_good_size(size_t size)
{
	if (size > PTRDIFF_MAX - SLICE_BYTES)
		return 0;
	return size <= SLAB_MAX ? class_size(class_of(size)) : align_up(size, PAGE_BYTES);
}

#ifdef PMD_OVERRIDE
#include "api/override.h"
#endif
