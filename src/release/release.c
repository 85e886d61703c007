/* SPDX-License-Identifier: MIT */
/*
 * Which backend serves, and what falls back to what. The choice is made once, under choice_lock, by whoever releases
 * first. A forked child starts with its parent's choice.
 */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "conf/options.h"
#include "os/lock.h"
#include "os/os.h"
#include "release/backends.h"
#include "release/probe.h"
#include "release/uring.h"

static struct lock choice_lock;
static _Atomic int chosen;      /* enum release_backend; RELEASE_AUTO: nothing was probed yet */
static _Atomic int at_once;     /* the backend where an answer is waited for; never io_uring */
static _Atomic bool vectored;   /* process_madvise serves */
static _Atomic bool restricted; /* a sandbox */
static _Atomic bool merges_not; /* a forked child: what is mapped anew does not merge with its neighbours */

static const char *const names[RELEASE_BACKENDS] = {"auto",    "process_madvise", "io_uring",
						    "madvise", "remap",           "pt_advice"};

const char *release_name(enum release_backend b)
{
	return names[b];
}

/* ---- The choice -------------------------------------------------------------------------------------------------- */

/* Only the advice may be what frees the page table: the pages go in halves, which never does. */
static void advise_after_halves(enum release_backend b, const struct iovec *ranges, size_t n, int *errors)
{
	(void)b;
	for (size_t i = 0; i < n; i++) {
		char *base = ranges[i].iov_base;
		size_t half = ranges[i].iov_len / 2;

		os_drop(base, half);
		os_drop(base + half, half);
		errors[i] = os_advise(base, ranges[i].iov_len, backend_pt_advice());
	}
}

static void advise_ranges(enum release_backend b, const struct iovec *ranges, size_t n, int *errors)
{
	size_t done;
	int error = os_advise_ranges(ranges, n, MADV_DONTNEED, &done);

	(void)b;
	for (size_t i = 0; i < n; i++)
		errors[i] = i < done ? 0 : error ? error : EIO;
}

static void say_unusable(enum release_backend wanted, const char *why, enum release_backend used)
{
	char buf[256];
	struct text t;

	text_init(&t, buf, sizeof buf);
	text_put(&t, "release:");
	text_put(&t, names[wanted]);
	text_put(&t, " cannot be used here (");
	text_put(&t, why);
	text_put(&t, "): ");
	text_put(&t, names[used]);
	text_put(&t, " is used instead");
	os_message(&t);
}

/* The best that answers at once: what frees page tables, and of that what needs the fewest calls. */
static enum release_backend best_at_once(enum probe_result by_vector, bool advice)
{
	enum probe_result by_range;

	if (advice)
		return RELEASE_PT_ADVICE;
	if (by_vector == PROBE_FREES || by_vector == PROBE_UNKNOWN)
		return RELEASE_PROCESS_MADVISE;
	by_range = probe_backend(backend_run, RELEASE_MADVISE);
	/* A kernel that says neither yes nor no, and cannot advise ranges, is older than 6.14: it keeps page tables. */
	return by_range == PROBE_FREES ? RELEASE_MADVISE : RELEASE_REMAP;
}

static const char *why_not_uring(enum probe_result by_vector)
{
	int error = uring_open();

	if (error)
		return error == EPERM ? "forbidden" : error == ENOSYS ? "not available" : "the ring cannot be set up";
	uring_close();
	return by_vector == PROBE_KEEPS ? "this kernel's MADV_DONTNEED keeps page tables" : NULL;
}

/* NULL when WANTED can be used. */
static const char *why_not(enum release_backend wanted, enum probe_result by_vector, bool advice)
{
	if (wanted == RELEASE_PROCESS_MADVISE && by_vector == PROBE_REFUSED)
		return "the kernel refuses it";
	if (wanted == RELEASE_PT_ADVICE && !advice)
		return backend_pt_advice() ? "the advice frees no page table" : "no advice number is known";
	return wanted == RELEASE_IO_URING ? why_not_uring(by_vector) : NULL;
}

/* Asked for by name, madvise needs no probing: a program in a sandbox may not be able to. */
static void choose_madvise(void)
{
	atomic_store_explicit(&at_once, RELEASE_MADVISE, memory_order_relaxed);
	atomic_store_explicit(&chosen, RELEASE_MADVISE, memory_order_release);
}

static void choose(void)
{
	enum release_backend wanted = (enum release_backend)OPTION(release), best;
	enum probe_result by_vector = probe_backend(advise_ranges, RELEASE_PROCESS_MADVISE);
	bool advice = backend_pt_advice() && probe_backend(advise_after_halves, RELEASE_PT_ADVICE) == PROBE_FREES;
	const char *why = why_not(wanted, by_vector, advice);

	atomic_store_explicit(&vectored, by_vector != PROBE_REFUSED, memory_order_relaxed);
	best = wanted == RELEASE_AUTO || wanted == RELEASE_IO_URING || why ? best_at_once(by_vector, advice) : wanted;
	if (why)
		say_unusable(wanted, why, best);
	atomic_store_explicit(&at_once, best, memory_order_relaxed);
	atomic_store_explicit(&chosen, wanted == RELEASE_IO_URING && !why ? RELEASE_IO_URING : best,
			      memory_order_release);
}

bool release_is_restricted(void)
{
	return atomic_load_explicit(&restricted, memory_order_relaxed);
}

void release_prepare(void)
{
	if (release_is_restricted() || atomic_load_explicit(&chosen, memory_order_acquire) != RELEASE_AUTO)
		return;
	lock_take(&choice_lock);
	if (OPTION(release) == RELEASE_MADVISE)
		choose_madvise();
	else if (atomic_load_explicit(&chosen, memory_order_relaxed) == RELEASE_AUTO)
		choose();
	lock_drop(&choice_lock);
}

enum release_backend release_chosen(void)
{
	return release_is_restricted() ? RELEASE_MADVISE
				       : (enum release_backend)atomic_load_explicit(&chosen, memory_order_acquire);
}

static enum release_backend backend_at_once(void)
{
	enum release_backend b = (enum release_backend)atomic_load_explicit(&at_once, memory_order_relaxed);

	if (release_is_restricted() || (b == RELEASE_REMAP && atomic_load_explicit(&merges_not, memory_order_relaxed)))
		return RELEASE_MADVISE;
	return b;
}

/* ---- Giving back ------------------------------------------------------------------------------------------------- */

static void count_batch(const struct iovec *ranges, size_t n)
{
	size_t regions = 0;

	for (size_t i = 0; i < n; i++)
		regions += ranges[i].iov_len >> REGION_SHIFT;
	atomic_fetch_add_explicit(&release_batches[min_size(63 - (size_t)__builtin_clzll(regions), RELEASE_SIZES - 1)],
				  1, memory_order_relaxed);
}

enum {
	RUN_IN_VECTOR = 4,
	RUN_ALONE = 32,
};

size_t release_run_regions(void)
{
	release_prepare();
	return release_chosen() == RELEASE_PROCESS_MADVISE ? RUN_IN_VECTOR : RUN_ALONE;
}

/* Pages and regions in one vector. */
static void run_together(const struct release_request *q, int *errors)
{
	struct iovec all[2 * RELEASE_RANGES];
	int results[2 * RELEASE_RANGES];

	memcpy(all, q->pages, q->n_pages * sizeof all[0]);
	memcpy(all + q->n_pages, q->ranges, q->n * sizeof all[0]);
	backend_run(RELEASE_PROCESS_MADVISE, all, q->n_pages + q->n, results);
	memcpy(errors, results + q->n_pages, q->n * sizeof errors[0]);
}

void release_regions(const struct release_request *q, bool later)
{
	int errors[RELEASE_RANGES];
	size_t given = 0;

	release_prepare();
	count_batch(q->ranges, q->n);
	if (later && release_chosen() == RELEASE_IO_URING && !uring_open()) {
		release_pages(q->pages, q->n_pages, NULL);
		given = uring_submit(q->ranges, q->n, q->answer, q->arg);
		backend_run(backend_at_once(), q->ranges + given, q->n - given, errors + given);
	} else if (backend_at_once() == RELEASE_PROCESS_MADVISE) {
		run_together(q, errors);
	} else {
		release_pages(q->pages, q->n_pages, NULL);
		backend_run(backend_at_once(), q->ranges, q->n, errors);
	}
	for (size_t i = given; i < q->n; i++)
		q->answer(q->arg, q->ranges[i].iov_base, q->ranges[i].iov_len, errors[i]);
}

void release_reap(bool finish)
{
	uring_reap(finish);
}

int release_poll_fd(void)
{
	return uring_fd();
}

bool release_close(void)
{
	return uring_close();
}

/* Advises ranges in as few calls as can be; those refused alone are tried by OS_DROP where that may help. */
static size_t advise_each(const struct iovec *ranges, size_t n, int advice, uint64_t *refused)
{
	bool together = atomic_load_explicit(&vectored, memory_order_relaxed) && !release_is_restricted();
	size_t bytes = 0, done;

	for (size_t i = 0; i < n; i += done) {
		done = 0;
		if (together)
			os_advise_ranges(ranges + i, n - i, advice, &done);
		for (size_t k = 0; k < done; k++)
			bytes += ranges[i + k].iov_len;
		if (done)
			continue;
		done = 1;
		if (!(advice == MADV_DONTNEED ? os_drop(ranges[i].iov_base, ranges[i].iov_len)
					      : os_advise(ranges[i].iov_base, ranges[i].iov_len, advice)))
			bytes += ranges[i].iov_len;
		else if (refused)
			refused[i / 64] |= (uint64_t)1 << i % 64;
	}
	return bytes;
}

size_t release_pages(const struct iovec *ranges, size_t n, uint64_t *refused)
{
	return advise_each(ranges, n, MADV_DONTNEED, refused);
}

size_t release_lazily(const struct iovec *ranges, size_t n)
{
	return advise_each(ranges, n, MADV_FREE, NULL);
}

/* ---- Sandbox and fork -------------------------------------------------------------------------------------------- */

void release_restrict(void)
{
	atomic_store_explicit(&restricted, true, memory_order_relaxed);
}

void release_after_fork(void)
{
	uring_after_fork();
	lock_reset(&choice_lock);
	backend_after_fork();
	atomic_store_explicit(&merges_not, true, memory_order_relaxed);
}
