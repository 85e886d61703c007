/* SPDX-License-Identifier: MIT */
/*
 * Dropping the heap before the end, by several threads, as the kernel tears it down by one.
 *
 * Invariant: nothing is dropped that anybody reads afterwards. The program does not: this is called for _exit(2) alone (at
 * the end of exit(3) too, where the program is static), the calling thread is the only user of the address space, as the kernel
 * says, and takes no signal any more. A stack, a thread control block or a robust mutex in the heap, which the calling
 * thread or the kernel would still come to, forbid it; and so do descriptors and mappings by which the kernel or a device
 * may read memory on the program's behalf (io_uring, vhost, an RDMA or graphics device): what was sent from the heap must
 * not become zeros. Pages that the kernel holds itself (O_DIRECT, zero-copy sends) stay what they are without their mapping.
 *
 * A crash never comes here, so a core is complete. Owns no state but that of exit/helper.c, which is nobody's when no helper
 * runs.
 */
#include "exit/shorten.h"

#include "base/text.h"
#include "cache/scavenger.h"
#include "exit/conditions.h"
#include "exit/helper.h"
#include "heap/heap.h"
#include "heap/limit.h"
#include "os/anchor.h"
#include "os/os.h"
#include "os/process.h"

enum {
	PATIENCE_MS = 20,       /* for the background thread: the process's end would wait for what it does as well */
	DESCRIPTORS_MOST = 1000 /* that are looked at: a millisecond */
};

/* A heap's stack would go from under its thread; the compiler reads canaries, the kernel list heads in control blocks. */
static bool stands_on_heap(void)
{
	return heap_slice_anywhere(__builtin_frame_address(0)) || heap_slice_anywhere((const void *)os_thread_id());
}

static bool starts_with_any(const char *s, const char *const *words, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (text_starts_with(s, words[i]))
			return true;
	return false;
}

/* Of what is neither a file, a pipe nor a socket only this is known not to read memory later. */
static bool is_quiet(const char *name)
{
	static const char *const apart[] = {"/dev/", "anon_inode:"};
	static const char *const quiet[] = {"/dev/null",
					    "/dev/zero",
					    "/dev/full",
					    "/dev/random",
					    "/dev/urandom",
					    "/dev/tty",
					    "/dev/pts/",
					    "/dev/console",
					    "/dev/shm/",
					    "anon_inode:[event",
					    "anon_inode:[pidfd]",
					    "anon_inode:[signalfd]",
					    "anon_inode:[timerfd]",
					    "anon_inode:inotify"};

	return !starts_with_any(name, apart, sizeof apart / sizeof apart[0]) ||
	       starts_with_any(name, quiet, sizeof quiet / sizeof quiet[0]);
}

/* The background thread is gone, and what it had mapped. Nobody can come any more who is not there already. */
static bool is_certain(void)
{
	return os_is_alone() && os_anchor_is_only_lock() && os_each_descriptor(is_quiet, DESCRIPTORS_MOST) &&
	       conditions_no_device_mapped();
}

void shorten(bool sandbox)
{
	if (os_block_signals() && !stands_on_heap() && conditions_allow_threads(sandbox, limit_held_bytes()) &&
	    scavenger_leave(PATIENCE_MS) && is_certain())
		helper_drop_heap();
}
