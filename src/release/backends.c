/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <sys/mman.h>

#include "conf/options.h"
#include "os/lock.h"
#include "os/os.h"
#include "release/advice.h"
#include "release/backends.h"

struct release_counters release_counters[RELEASE_BACKENDS];
_Atomic size_t release_errors[RELEASE_ERRNOS];
_Atomic size_t release_batches[RELEASE_SIZES];

static void add(_Atomic size_t *counter, size_t n)
{
	atomic_fetch_add_explicit(counter, n, memory_order_relaxed);
}

/* 0 for 0, else one more than the position of the highest bit, below LIMIT. */
static size_t bucket(uint64_t n, size_t limit)
{
	return min_size(n ? 64 - (size_t)__builtin_clzll(n) : 0, limit - 1);
}

void backend_count(enum release_backend b, uint64_t start, size_t ranges, size_t bytes)
{
	struct release_counters *c = &release_counters[b];
	uint64_t micros = os_now_us() - start;

	add(&c->calls, 1);
	add(&c->ranges, ranges);
	add(&c->bytes, bytes);
	add(&c->micros, micros);
	add(&c->latency[bucket(micros, RELEASE_BUCKETS)], 1);
}

void backend_count_failure(enum release_backend b, int error)
{
	add(&release_counters[b].failures, 1);
	add(&release_errors[error > 0 && error < RELEASE_ERRNOS ? error : 0], 1);
}

static size_t bytes_of(const struct iovec *ranges, size_t n)
{
	size_t bytes = 0;

	for (size_t i = 0; i < n; i++)
		bytes += ranges[i].iov_len;
	return bytes;
}

static int drop(enum release_backend b, const struct iovec *range)
{
	uint64_t start = os_now_us();
	int error = os_drop(range->iov_base, range->iov_len);

	backend_count(b, start, !error, error ? 0 : range->iov_len);
	if (error)
		backend_count_failure(b, error);
	return error;
}

/*
 * One call for all; what is refused by itself, not as one of several, is dropped by madvise, which knows of locked memory and
 * may be allowed where this is not; and the rest is tried again from behind it.
 */
static void by_process_madvise(const struct iovec *ranges, size_t n, int *errors)
{
	size_t at = 0, done;

	while (at < n) {
		uint64_t start = os_now_us();
		int error = os_advise_ranges(ranges + at, n - at, MADV_DONTNEED, &done);

		for (size_t i = 0; i < done; i++)
			errors[at + i] = 0;
		backend_count(RELEASE_PROCESS_MADVISE, start, done, bytes_of(ranges + at, done));
		at += done;
		if (at < n && !done) {
			if (error != EINVAL)
				backend_count_failure(RELEASE_PROCESS_MADVISE, error ? error : EIO);
			errors[at] = drop(RELEASE_MADVISE, &ranges[at]);
			at++;
		}
	}
}

static bool is_mapped(void *p)
{
	unsigned char resident;

	return os_resident(p, PAGE_BYTES, &resident) != ENOMEM;
}

/*
 * Until it has the advice, what is mapped anew is a VMA of its own and cuts the heap's in two: one at a time, so that
 * there are never more of those than two.
 */
static struct lock map_lock;

int release_map_anew(void *base, size_t bytes)
{
	int error;

	lock_take(&map_lock);
	error = os_remap(base, bytes);
	if (!error)
		advice_apply(base, bytes);
	lock_drop(&map_lock);
	return error;
}

void backend_after_fork(void)
{
	lock_reset(&map_lock);
}

/*
 * The pages are dropped first, so that mmap, which holds the whole address space's lock, finds little to do; a kernel built
 * without madvise leaves it all to mmap. Where that fails, the page table stays, and on some kernels nothing: the range may
 * have been unmapped already.
 */
static int by_remap(const struct iovec *range)
{
	uint64_t start = os_now_us();
	int dropped = os_advise(range->iov_base, range->iov_len, MADV_DONTNEED), error;

	if (dropped && dropped != ENOSYS)
		return drop(RELEASE_MADVISE, range); /* locked: a new mapping would be populated at once */
	error = release_map_anew(range->iov_base, range->iov_len);
	if (error)
		backend_count_failure(RELEASE_REMAP, error);
	backend_count(RELEASE_REMAP, start, 1, range->iov_len);
	add(&release_counters[RELEASE_REMAP].calls, 1);
	if (!error)
		return 0;
	return is_mapped(range->iov_base) ? dropped : RELEASE_LOST;
}

/* Not with MAP_FIXED: another thread's mmap may have found the hole. */
bool release_recover(void *base, size_t bytes)
{
	int error = os_reserve_at(base, bytes);

	if (!error && (error = os_commit(base, bytes)))
		os_unmap(base, bytes);
	if (error)
		backend_count_failure(RELEASE_REMAP, error);
	else
		advice_apply(base, bytes);
	return !error;
}

int backend_pt_advice(void)
{
#ifdef MADV_PT_RECLAIM
	return OPTION(pt_advice) ? (int)OPTION(pt_advice) : MADV_PT_RECLAIM;
#else
	return (int)OPTION(pt_advice);
#endif
}

/* Frees the page tables that dropping has left empty. That it fails costs nothing but them. */
static int by_pt_advice(const struct iovec *range)
{
	uint64_t start = os_now_us();
	int error = os_drop(range->iov_base, range->iov_len), refused = 0;

	if (!error)
		refused = os_advise(range->iov_base, range->iov_len, backend_pt_advice());
	backend_count(RELEASE_PT_ADVICE, start, !error, error ? 0 : range->iov_len);
	add(&release_counters[RELEASE_PT_ADVICE].calls, !error);
	if (error || refused)
		backend_count_failure(RELEASE_PT_ADVICE, error ? error : refused);
	return error;
}

void backend_run(enum release_backend b, const struct iovec *ranges, size_t n, int *errors)
{
	if (b == RELEASE_PROCESS_MADVISE) {
		by_process_madvise(ranges, n, errors);
		return;
	}
	for (size_t i = 0; i < n; i++) {
		if (b == RELEASE_REMAP)
			errors[i] = by_remap(&ranges[i]);
		else if (b == RELEASE_PT_ADVICE)
			errors[i] = by_pt_advice(&ranges[i]);
		else
			errors[i] = drop(RELEASE_MADVISE, &ranges[i]);
	}
}
