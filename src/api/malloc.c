/* SPDX-License-Identifier: MIT */
/*
 * The entry points of C and POSIX. The fast paths of malloc and free are here; everything else is a tail call away.
 * They touch the cache and the slab of the calling thread only, so they need no lock and no atomic instruction.
 */
#include <string.h>

#include "api/alloc.h"
#include "os/os.h"

static inline void *pop(struct slice *s)
{
	struct block *b = s->free;

	s->free = b->next;
	count_increment(s);
	b->key = 0;
	return b;
}

static NOINLINE void *malloc_slow(size_t size)
{
	return allocate(size, MIN_ALIGN, false);
}

static NOINLINE void *malloc_upper(size_t size)
{
	struct slice *s;

	if (size > SLAB_MAX)
		return malloc_slow(size);
	s = cache_self->current[class_of(size)];
	return LIKELY(s->free != NULL) ? pop(s) : malloc_slow(size);
}

static NOINLINE void *malloc_medium(size_t size)
{
	struct slice *s;

	if (UNLIKELY(size > MEDIUM_MAX))
		return malloc_upper(size);
	s = cache_self->medium[(size + MEDIUM_STEP - 1) / MEDIUM_STEP];
	return LIKELY(s->free != NULL) ? pop(s) : malloc_slow(size);
}

void *pmd_malloc(size_t size)
{
	struct slice *s;

	if (UNLIKELY(size > SMALL_MAX))
		return malloc_medium(size);
	s = cache_direct[(size + MIN_ALIGN - 1) / MIN_ALIGN];
	return LIKELY(s->free != NULL) ? pop(s) : malloc_slow(size);
}

void pmd_free(void *p)
{
	struct slice *s = heap_first_slice(p);
	struct block *b = p;

#ifdef PMD_SANITIZED
	if (!p) /* leads to some descriptor, of which nothing it may hold accepts NULL; to a sanitizer that is a race */
		return;
#endif
	if (UNLIKELY(!slab_block_of_thread(s, p, cache_id) || b->key == slab_key(s))) {
		free_checked(p);
		return;
	}
	b->key = slab_key(s);
	b->next = s->free;
	s->free = b;
	if (UNLIKELY(count_decrement(s)))
		cache_event(s);
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
			return memset(pop(s), 0, s->block_size);
	} else if (bytes <= SLAB_MAX) {
		s = cache_self->current[class_of(bytes)];
		if (s->free)
			return memset(pop(s), 0, s->block_size);
	}
	return allocate(bytes, MIN_ALIGN, true);
}

static void *move(void *p, size_t old, size_t size)
{
	void *to = pmd_malloc(size);

	if (!to)
		return size <= old ? p : NULL; /* to shrink nothing is needed */
	memcpy(to, p, min_size(old, size));
	pmd_free(p);
	return to;
}

static void *resize(void *p, size_t size)
{
	struct slice *s = block_slice("realloc", p);
	size_t old = block_usable(s, p);
	void *to;

	if (cache_instrumented)
		return move(p, old, size);
	if (s->kind == SLICE_SLAB && UNLIKELY(((struct block *)p)->key == slab_key(s) && cache_is_free(s, p)))
		misuse("realloc", p);
	if (s->kind == SLICE_LARGE && size > SLAB_MAX) {
		to = large_realloc(s, size);
		return to ? to : out_of_memory();
	}
	if (size <= old && size > old / 2)
		return p;
	return move(p, old, size);
}

void *pmd_realloc(void *p, size_t size)
{
	const struct slice *s = heap_first_slice(p);

	/* Half a block or more stays; what is smaller moves, so that the rest is not lost. */
	if (slab_block_of_thread(s, p, cache_id) && size <= s->block_size && size > s->block_size / 2 &&
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
	(void)size;
	pmd_free(p);
}

void pmd_free_aligned_sized(void *p, size_t alignment, size_t size)
{
	(void)alignment, (void)size;
	pmd_free(p);
}

static void *aligned(size_t alignment, size_t size)
{
	if (alignment <= MIN_ALIGN)
		return pmd_malloc(size);
	/* The class of a multiple of the alignment has blocks that are aligned so. */
	if (alignment <= SLAB_MAX && size <= SLAB_MAX - alignment && !cache_instrumented)
		return pmd_malloc(align_up(size ? size : 1, alignment));
	return allocate(size, alignment, false);
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

size_t pmd_malloc_usable_size(const void *p)
{
	const struct slice *s = heap_first_slice(p);

	if (LIKELY(slab_block_of_thread(s, p, cache_id)))
		return s->block_size;
	return p ? block_usable(block_slice("malloc_usable_size", p), p) : 0;
}

size_t pmd_good_size(size_t size)
{
	if (size > PTRDIFF_MAX - SLICE_BYTES)
		return 0;
	return size <= SLAB_MAX ? class_size(class_of(size)) : align_up(size, SLICE_BYTES);
}

#ifdef PMD_OVERRIDE
#include "api/override.h"
#endif
