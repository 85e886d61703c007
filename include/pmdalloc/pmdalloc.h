/* SPDX-License-Identifier: MIT */
/*
 * pmdalloc: a malloc replacement that gives back memory and the page tables under it.
 *
 * Every function here may be called from any thread, and in the child after fork(2) of a program with many threads.
 * None is async-signal-safe. All have existed since version 0.1.
 *
 * A library built without --without-override also defines the standard names (malloc, free, ... and the C++ operators);
 * they are the same functions, and a block from either family may be given to either.
 */
#ifndef PMDALLOC_PMDALLOC_H
#define PMDALLOC_PMDALLOC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define PMDALLOC_VERSION_MAJOR 0
#define PMDALLOC_VERSION_MINOR 1
#define PMDALLOC_VERSION       "0.1.0"

#if defined(__GNUC__)
#define PMD_API         __attribute__((visibility("default")))
#define PMD_MALLOC_LIKE __attribute__((malloc, warn_unused_result))
#define PMD_SIZE1(n)    __attribute__((alloc_size(n)))
#define PMD_SIZE2(a, b) __attribute__((alloc_size(a, b)))
#else
#define PMD_API
#define PMD_MALLOC_LIKE
#define PMD_SIZE1(n)
#define PMD_SIZE2(a, b)
#endif

/* ---- The C library's functions, prefixed ------------------------------------------------------------------------- */

/*
 * Allocates SIZE bytes, aligned to 16. SIZE 0 gives a block of its own that must be freed.
 * Returns NULL with errno ENOMEM when memory is short or SIZE exceeds PTRDIFF_MAX. (C23 7.24.3.7, POSIX.1-2024)
 */
PMD_API PMD_MALLOC_LIKE PMD_SIZE1(1) void *pmd_malloc(size_t size);

/*
 * Allocates COUNT * SIZE zeroed bytes, aligned to 16. NULL with ENOMEM also when the product overflows. (C23
 * 7.24.3.2)
 */
PMD_API PMD_MALLOC_LIKE PMD_SIZE2(1, 2) void *pmd_calloc(size_t count, size_t size);

/*
 * Changes the block at P to SIZE bytes, in place or by moving it. P NULL: as pmd_malloc. SIZE 0 and P not NULL: frees P
 * and returns NULL, as glibc does. On failure (NULL, ENOMEM) the old block is unchanged. (C23 7.24.3.8)
 */
PMD_API PMD_SIZE1(2) void *pmd_realloc(void *p, size_t size) __attribute__((warn_unused_result));

/* pmd_realloc(P, COUNT * SIZE); NULL with ENOMEM, the block unchanged, when the product overflows. (POSIX.1-2024) */
PMD_API PMD_SIZE2(2, 3) void *pmd_reallocarray(void *p, size_t count, size_t size) __attribute__((warn_unused_result));

/*
 * Frees the block at P; NULL does nothing. errno is kept. A P that is not the start of a live block (double free,
 * interior, foreign) ends the process with a report on stderr and SIGABRT. (C23 7.24.3.3, POSIX.1-2024)
 */
PMD_API void pmd_free(void *p);

/*
 * pmd_free for a block whose requested size (and alignment) the caller knows; with the option check:strict it is reported if
 * they are others. (C23 7.24.3.4, 7.24.3.5)
 */
PMD_API void pmd_free_sized(void *p, size_t size);
PMD_API void pmd_free_aligned_sized(void *p, size_t alignment, size_t size);

/*
 * Allocates SIZE bytes at a multiple of ALIGNMENT, a power of two (any up to 1 GiB).
 * NULL with EINVAL when ALIGNMENT is not a power of two, with ENOMEM when memory is short. (C23 7.24.3.1)
 */
PMD_API PMD_MALLOC_LIKE PMD_SIZE1(2) void *pmd_aligned_alloc(size_t alignment, size_t size);

/* As pmd_aligned_alloc, but an ALIGNMENT that is no power of two is rounded up to one, as glibc does. (SVID) */
PMD_API PMD_MALLOC_LIKE PMD_SIZE1(2) void *pmd_memalign(size_t alignment, size_t size);

/*
 * Stores a block of SIZE bytes at a multiple of ALIGNMENT in *OUT and returns 0. ALIGNMENT must be a power of two
 * and a multiple of sizeof(void *), else EINVAL; ENOMEM when memory is short. On failure *OUT, and always errno, are
 * untouched. (POSIX.1-2024)
 */
PMD_API int pmd_posix_memalign(void **out, size_t alignment, size_t size);

/* Page-aligned blocks; pmd_pvalloc also rounds SIZE up to whole pages. (BSD, SVID) */
PMD_API PMD_MALLOC_LIKE PMD_SIZE1(1) void *pmd_valloc(size_t size);
PMD_API PMD_MALLOC_LIKE void *pmd_pvalloc(size_t size);

/* Bytes that the caller may use at P (at least what was asked for, constant while the block lives); 0 for NULL. */
PMD_API size_t pmd_malloc_usable_size(const void *p);

/*
 * What pmd_malloc_usable_size would answer for a block of SIZE bytes, without allocating; 0 when SIZE is too large. Blocks that
 * are guarded (see Misuse in pmdalloc(3)) have no room beyond what was asked for; of one that pmd_realloc made longer it may be
 * less, but never less than what was asked for.
 */
PMD_API size_t pmd_good_size(size_t size);

/* ---- Giving memory back ------------------------------------------------------------------------------------------ */

/*
 * Gives every free page and page table back to the kernel now, whatever the decay time. Free blocks that other
 * threads keep in slabs of theirs stay. Returns the number of bytes given back. Takes the caller's time: about 60 us
 * per 1 MiB.
 */
PMD_API size_t pmd_release(void);

/*
 * Limits the memory that the heap holds: SOFT and HARD bytes, 0 for no limit. Counted is every page that was handed out,
 * touched or not, or is free and not given back yet; not the library's own tables (below 0.3 %), and not what huge pages
 * bring in beyond. Before the heap grows beyond SOFT, everything free is given back to the kernel. A request for which it
 * would have to hold more than HARD even then fails with ENOMEM; the first one gives a line on stderr. Blocks in use stay
 * when a limit is set below what they need. The same as the options limit and limit_hard; a forked child inherits them.
 * Returns 0, or EINVAL when both are given and SOFT is above HARD.
 */
PMD_API int pmd_limit(size_t soft, size_t hard);

/* ---- Thread caches and arenas ------------------------------------------------------------------------------------ */

/* Hands the calling thread's empty and idle slabs back to its arena. Useful before a thread sleeps for long. */
PMD_API void pmd_thread_flush(void);

/* The number of arenas in use so far, and the index of the calling thread's. */
PMD_API unsigned pmd_arena_count(void);
PMD_API unsigned pmd_thread_arena(void);

/*
 * Makes the calling thread take its new slabs and extents from arena INDEX, created if it does not exist yet.
 * Returns 0, or EINVAL when INDEX is above what is possible (255), ENOMEM when it cannot be created.
 */
PMD_API int pmd_thread_set_arena(unsigned index);

/* ---- Options ----------------------------------------------------------------------------------------------------- */

/*
 * Options are read once, at the first allocation, from the environment variable PMDALLOC_CONF
 * (name:value,name:value). pmd_option_get stores the value of option NAME as text in BUF (LEN bytes, always
 * terminated); returns 0, ENOENT for an unknown name, ERANGE when BUF is too short. pmd_option_set changes an option
 * that may change at run time; returns 0, ENOENT, EINVAL for a value that is not accepted, EPERM for an option that
 * is fixed at start.
 */
PMD_API int pmd_option_get(const char *name, char *buf, size_t len);
PMD_API int pmd_option_set(const char *name, const char *value);

/* ---- Statistics -------------------------------------------------------------------------------------------------- */

struct pmd_stats {
	size_t size;             /* of this structure, set by the caller: later versions append fields */
	size_t heap_reserved;    /* bytes of address space reserved for the heap */
	size_t heap_committed;   /* bytes of it made readable and writable so far */
	size_t metadata_bytes;   /* bytes of metadata in use (committed) */
	size_t live_bytes;       /* usable bytes of live blocks, those in thread-owned slabs included */
	size_t live_blocks;      /* number of live blocks */
	size_t slab_bytes;       /* bytes of slices that are cut into slabs */
	size_t large_bytes;      /* usable bytes of large blocks */
	size_t dirty_bytes;      /* free bytes not yet given back */
	size_t regions_active;   /* regions that hold at least one slab or large block */
	size_t regions_dirty;    /* empty regions that wait for release */
	size_t regions_clean;    /* empty regions that are released or were never touched */
	size_t releases;         /* regions released, with their page table */
	size_t release_calls;    /* system calls made for it */
	size_t release_failures; /* ranges that the kernel refused to take: the memory was kept */
	size_t purged_bytes;     /* bytes purged from regions and slabs that stay in use */
	size_t moved_bytes;      /* bytes that realloc moved by mremap instead of copying */
	size_t threads;          /* thread caches in use */
	size_t arenas;           /* arenas in use */
	size_t heaps;            /* address-space reservations */
	size_t vm_pte_bytes;     /* VmPTE of the process, from /proc/self/status; 0 when that cannot be read */
	size_t resident_bytes;   /* bytes that the heap holds, handed out or not given back: what limits are about */
	size_t limit_refusals;   /* requests refused for the hard limit */
	size_t limit_releases;   /* how often everything free was given back because of a limit */

	size_t regions_releasing;          /* empty regions that the kernel has not answered for yet */
	size_t regions_untouched;          /* regions made writable and never used so far */
	size_t regions_emptied;            /* times that the last block of a region was freed */
	size_t pte_pages_held;             /* regions handed out since their last release: each may have a page table */
	size_t pte_pages_returned;         /* page tables given back, with the regions released */
	size_t large_blocks;               /* live blocks that are no slab's */
	size_t free_blocks;                /* blocks of slabs that are free, those never used so far included */
	size_t free_in_active_bytes;       /* free bytes in regions in use: free slices, and free blocks of slabs */
	size_t free_slice_bytes;           /* of free_in_active_bytes: in free slices */
	size_t free_in_active_dirty_bytes; /* of free_in_active_bytes: touched, and not given back since */
	size_t slabs_waiting;              /* slabs of no thread that wait to have their idle pages given back */
	size_t lazy_bytes;                 /* bytes, ever, that the kernel may take at will instead of swapping them */
	size_t collapsed;                  /* dense regions made one huge page in the background */
	size_t collapse_failures;          /* dense regions of which the kernel refused to make one */
};

/*
 * Fills *STATS (whose size member must be set). Returns 0, or EINVAL when size is 0. Figures of other threads' slabs
 * are as of some moment during the call.
 */
PMD_API int pmd_stats_get(struct pmd_stats *stats);

enum pmd_format {
	PMD_FORMAT_TEXT = 0,
	PMD_FORMAT_JSON = 1,
	PMD_FORMAT_OPENMETRICS = 2 /* OpenMetrics 1.0 text */
};

/*
 * Writes statistics and options in FORMAT to the descriptor FD, in pieces. Returns 0, or an errno value: EINVAL for a
 * FORMAT that is none. Allocates nothing; takes 16 KiB of stack. What is written is described in pmdalloc(3).
 */
PMD_API int pmd_stats_print(int fd, enum pmd_format format);

/* The version of the library that is running, "0.1.0". */
PMD_API const char *pmd_version(void);

#ifdef __cplusplus
}
#endif

#endif
