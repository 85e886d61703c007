/* SPDX-License-Identifier: MIT */
/*
 * The ring and what is outstanding in it. Guarded by nothing: one thread uses it (see release_regions). Memory that
 * the kernel has not answered for stays outstanding, even where the ring fails: an answer that is missing is no
 * permission to use it. Only when the thread is gone, nothing can come any more: its exit waits for the workers.
 */
#include "config.h"

#include <errno.h>

#include "release/uring.h"

#ifdef HAVE_LIBURING

#include <liburing.h>
#include <sys/mman.h>

#include "os/os.h"
#include "os/syscall.h"
#include "release/backends.h"

enum {
	ENTRIES = 64,
	FINISH_US = 10000000, /* for an answer that the ring does not deliver */
	CHANGE_MS = 100,      /* for a thread to come to its turn */
};

static struct io_uring ring;
static bool is_open;
static bool broken;          /* it failed once: nothing more is submitted, and it is closed when all is answered */
static bool abandoned;       /* its thread ended before all was answered */
static uint64_t outstanding; /* bit per entry of what the kernel has */
static _Atomic uintptr_t mapped[3]; /* where the ring is, or 0: read by others */
static _Atomic uint32_t changes;    /* of that: odd while one is under way */
static struct {
	struct iovec range;
	uint64_t start;
	release_answer *answer;
	void *arg;
} entries[ENTRIES];

static void answer_one(unsigned at, int result)
{
	struct iovec range = entries[at].range;
	int error = result < 0 ? -result : 0;

	outstanding &= ~((uint64_t)1 << at);
	backend_count(RELEASE_IO_URING, entries[at].start, !error, error ? 0 : range.iov_len);
	if (error)
		backend_count_failure(RELEASE_IO_URING, error);
	entries[at].answer(entries[at].arg, range.iov_base, range.iov_len, error);
}

/* The thread before this one is gone; what became of its requests is unknown. */
static void settle_abandoned(void)
{
	while (outstanding)
		answer_one((unsigned)__builtin_ctzll(outstanding), -ECANCELED);
	abandoned = false;
}

static void note_mappings(uintptr_t submissions, uintptr_t completions, uintptr_t requests)
{
	atomic_store(&mapped[0], submissions);
	atomic_store(&mapped[1], completions);
	atomic_store(&mapped[2], requests);
}

bool uring_is_at(uintptr_t address)
{
	for (int i = 0; i < 3; i++)
		if (address && atomic_load(&mapped[i]) == address)
			return true;
	return false;
}

/* A change is over in a moment, unless its thread was killed. */
uint32_t uring_changes(void)
{
	static _Atomic uint32_t nobody;

	for (int i = 0; i < CHANGE_MS && atomic_load(&changes) % 2; i++)
		os_wait(&nobody, 0, 1);
	return atomic_load(&changes);
}

static int set_up(void)
{
	long refused;
	int error = os_inject(SYS_io_uring_setup, &refused) ? (int)-refused : -io_uring_queue_init(ENTRIES, &ring, 0);

	if (error)
		return error;
	io_uring_ring_dontfork(&ring);
	note_mappings((uintptr_t)ring.sq.ring_ptr, (uintptr_t)ring.cq.ring_ptr, (uintptr_t)ring.sq.sqes);
	is_open = true;
	return 0;
}

int uring_open(void)
{
	int error;

	if (is_open)
		return 0;
	if (abandoned)
		settle_abandoned();
	atomic_fetch_add(&changes, 1);
	error = set_up();
	atomic_fetch_add(&changes, 1);
	return error;
}

static unsigned prepare(const struct iovec *range, release_answer *answer, void *arg)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&ring);
	unsigned at = (unsigned)__builtin_ctzll(~outstanding);

	entries[at].range = *range;
	entries[at].start = os_now_us();
	entries[at].answer = answer;
	entries[at].arg = arg;
	io_uring_prep_madvise(sqe, range->iov_base, (off_t)range->iov_len, MADV_DONTNEED);
	io_uring_sqe_set_data64(sqe, at);
	outstanding |= (uint64_t)1 << at;
	return at;
}

static int submit(void)
{
	long refused;

	return os_inject(SYS_io_uring_enter, &refused) ? (int)refused : io_uring_submit(&ring);
}

/*
 * What the kernel did not take, it never will, as nothing is submitted to this ring any more: the caller may give it
 * back in another way.
 */
size_t uring_submit(const struct iovec *ranges, size_t n, release_answer *answer, void *arg)
{
	unsigned order[ENTRIES];
	size_t given = 0;

	while (is_open && !broken && given < n && ~outstanding && io_uring_sq_space_left(&ring)) {
		order[given] = prepare(&ranges[given], answer, arg);
		given++;
	}
	if (!given || submit() == (int)given)
		return given;
	broken = true;
	for (size_t left = io_uring_sq_ready(&ring); left && given; left--)
		outstanding &= ~((uint64_t)1 << order[--given]);
	return given;
}

static void answer_all(void)
{
	struct io_uring_cqe *cqe;
	long refused;

	while (outstanding && !io_uring_peek_cqe(&ring, &cqe) && cqe) {
		unsigned at = (unsigned)io_uring_cqe_get_data64(cqe);
		int result = os_inject(OS_COMPLETION, &refused) ? (int)refused : cqe->res;

		io_uring_cqe_seen(&ring, cqe);
		answer_one(at, result);
	}
}

static void close_ring(void)
{
	atomic_fetch_add(&changes, 1);
	note_mappings(0, 0, 0); /* before something else can be mapped there */
	io_uring_queue_exit(&ring);
	atomic_fetch_add(&changes, 1);
	is_open = broken = false;
}

void uring_reap(bool finish)
{
	static _Atomic uint32_t nobody;
	uint64_t until;

	if (abandoned)
		settle_abandoned();
	if (!is_open)
		return;
	until = finish ? os_now_us() + FINISH_US : 0;
	answer_all();
	while (outstanding && finish && os_now_us() < until) {
		os_wait(&nobody, 0, 1);
		answer_all();
	}
	if (broken && !outstanding)
		close_ring();
}

int uring_fd(void)
{
	return is_open && outstanding ? ring.ring_fd : -1;
}

bool uring_close(void)
{
	uring_reap(true);
	if (is_open && !outstanding)
		close_ring();
	if (!is_open)
		return true;
	abandoned = true; /* the descriptor is closed with the thread's table; there is nobody to close it later */
	is_open = broken = false;
	return false;
}

void uring_after_fork(void)
{
	note_mappings(0, 0, 0);
	atomic_store(&changes, 0);
	is_open = broken = abandoned = false;
	outstanding = 0;
}

#else

int uring_open(void)
{
	return ENOSYS;
}

size_t uring_submit(const struct iovec *ranges, size_t n, release_answer *answer, void *arg)
{
	(void)ranges, (void)n, (void)answer, (void)arg;
	return 0;
}

void uring_reap(bool finish)
{
	(void)finish;
}

int uring_fd(void)
{
	return -1;
}

bool uring_close(void)
{
	return true;
}

bool uring_is_at(uintptr_t address)
{
	(void)address;
	return false;
}

uint32_t uring_changes(void)
{
	return 0;
}

void uring_after_fork(void)
{
}

#endif
