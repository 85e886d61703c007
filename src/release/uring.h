/* SPDX-License-Identifier: MIT */
/*
 * IORING_OP_MADVISE: kernel workers do what the caller does not wait for. One ring, made and used by the one thread
 * that gives memory back; without liburing at build time every call here says that it cannot be had.
 */
#ifndef PMD_RELEASE_URING_H
#define PMD_RELEASE_URING_H

#include "release/release.h"

/* Sets the ring up, if that was not done. 0 or an errno value. */
int uring_open(void);

/*
 * Hands over up to N ranges. Returns how many; for them ANSWER is called by uring_reap. The others are the caller's
 * to give back in another way.
 */
size_t uring_submit(const struct iovec *ranges, size_t n, release_answer *answer, void *arg);

void uring_reap(bool finish);
int uring_fd(void);

/*
 * Waits for all answers, but not without end. False: some did not come. Then the calling thread must end: the thread
 * after it takes what became of them for unknown.
 */
bool uring_close(void);

/* Whether the ring, or a part of it, is mapped at ADDRESS. From any thread. */
bool uring_is_at(uintptr_t address);

/* Grows whenever that may have changed; waits, but not long, while it does. From any thread. */
uint32_t uring_changes(void);

/* In a forked child: the ring is the parent's. */
void uring_after_fork(void);

#endif
