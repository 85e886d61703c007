/* SPDX-License-Identifier: MIT */
/*
 * Each system call of the library fails, with each errno that its man page lists, at each step: the program goes on,
 * its data are intact, the memory goes back in another way or is kept, and the statistics say so.
 *
 * A case is a process of its own, as most of what may fail happens once: which call, which errno, and whether the
 * n-th of them fails or all from the n-th on. It says with NOT_REACHED that there were fewer than n.
 *
 * EVERY=1 in the environment tries every errno at every step (make check-errors), not only the first of each call;
 * CHECK_SAMPLE=2 tries no other than the first, and that once.
 */
#define CHECK_SECONDS 600
#include "api.h"
#include "block.h"
#include "inject.h"
#include "internals.h"
#include "proc.h"
#include "random.h"

#include "os/syscall.h"

#define SMALL       3000
#define LARGE       5
#define STEPS_MOST  60 /* of a call */
#define STEPS_FEW   12
#define AT_ONCE     4
#define NOT_REACHED 3
#define ERRNOS_MOST 26

struct call {
	const char *name, *conf;
	long nr;
	int errnos[ERRNOS_MOST];      /* the first stands for all where only one is tried at every step; 0 ends */
	enum { ONCE, FOR_EVER } last; /* FOR_EVER: and all from the n-th on */
	size_t remaps_fail;           /* so many times mapping anew fails as well: what follows a failure fails */
};

#define FILES "release:madvise,decay_ms:2"

static const struct call table[] = {
	{"madvise",
	 "release:madvise,decay_ms:2",
	 SYS_madvise,
	 {EINVAL, EACCES, EAGAIN, EBADF, EINTR, EIO, ENOMEM, EPERM},
	 FOR_EVER,
	 0},
	{"madvise", "release:pt_advice,pt_advice:4,decay_ms:2", SYS_madvise, {EINVAL, ENOMEM, EAGAIN}, FOR_EVER, 0},
	{"madvise", "release:remap,decay_ms:2", SYS_madvise, {EINVAL, ENOMEM, EAGAIN}, FOR_EVER, 0},
	{"madvise", "thp:always,decay_ms:2", SYS_madvise, {EINVAL}, FOR_EVER, 0},
	{"process_madvise",
	 "release:process_madvise,decay_ms:2",
	 SYS_process_madvise,
	 {EPERM, EBADF, EFAULT, EINVAL, ENOMEM, ESRCH, ENOSYS, EAGAIN, EINTR},
	 FOR_EVER,
	 0},
	{"io_uring_setup",
	 "release:io_uring,decay_ms:2",
	 SYS_io_uring_setup,
	 {EPERM, EFAULT, EINVAL, EMFILE, ENFILE, ENOMEM, ENOSYS},
	 FOR_EVER,
	 0},
	{"io_uring_enter",
	 "release:io_uring,decay_ms:2",
	 SYS_io_uring_enter,
	 {EAGAIN, EBADF, EBADFD, EBADR, EBUSY, EEXIST, EFAULT, EINVAL, ENXIO, EOPNOTSUPP, EINTR, EOWNERDEAD},
	 FOR_EVER,
	 0},
	{"io_uring's madvise",
	 "release:io_uring,decay_ms:2",
	 OS_COMPLETION,
	 {EINVAL, EACCES, EAGAIN, EBADF, EINTR, EIO, ENOMEM, EPERM, ECANCELED},
	 FOR_EVER,
	 0},
	{"mmap",
	 "release:remap,decay_ms:2",
	 SYS_mmap,
	 {ENOMEM, EACCES, EAGAIN, EBADF, EEXIST, EINVAL, ENFILE, ENODEV, EOVERFLOW, EPERM, ETXTBSY},
	 FOR_EVER,
	 0},
	{"mmap", "decay_ms:2", SYS_mmap, {ENOMEM}, FOR_EVER, 0},
	{"munmap", "decay_ms:2", SYS_munmap, {EINVAL, ENOMEM}, FOR_EVER, 0},
	{"mprotect", "decay_ms:2", SYS_mprotect, {ENOMEM, EACCES, EINVAL}, FOR_EVER, 0},
	{"mremap", "decay_ms:2,mremap_mib:2", SYS_mremap, {ENOMEM, EAGAIN, EFAULT, EINVAL}, FOR_EVER, 0},
	{"mremap", "decay_ms:2,mremap_mib:2", SYS_mremap, {ENOMEM}, FOR_EVER, 1},
	{"mremap", "decay_ms:2,mremap_mib:2", SYS_mremap, {EAGAIN}, FOR_EVER, 1000},
	{"mincore", "release:remap,decay_ms:2", SYS_mincore, {ENOMEM, EAGAIN, EFAULT, EINVAL}, FOR_EVER, 2},
	{"mincore", "release:remap,decay_ms:2", SYS_mincore, {ENOMEM}, FOR_EVER, 1000},
	{"clone",
	 "decay_ms:2",
	 SYS_clone,
	 {EAGAIN, EACCES, EBUSY, EEXIST, EINVAL, ENOMEM, ENOSPC, EOPNOTSUPP, EPERM, EUSERS},
	 FOR_EVER,
	 0},
	{"clone", "release:io_uring,decay_ms:0", SYS_clone, {EAGAIN}, FOR_EVER, 0},
	{"close_range", "decay_ms:2", SYS_close_range, {EINVAL, EMFILE, ENOMEM, ENOSYS}, FOR_EVER, 0},
	{"close_range", "release:io_uring,decay_ms:2", SYS_close_range, {ENOSYS}, FOR_EVER, 0},
	{"signalfd4", FILES, SYS_signalfd4, {EMFILE, EBADF, EINVAL, ENFILE, ENODEV, ENOMEM, ENOSYS}, FOR_EVER, 0},
	{"openat",
	 FILES,
	 SYS_openat,
	 {ENOENT,  EACCES, EBADF,      EBUSY,     EDQUOT,       EEXIST, EFAULT, EFBIG,  EINTR,
	  EINVAL,  EISDIR, ELOOP,      EMFILE,    ENAMETOOLONG, ENFILE, ENODEV, ENOMEM, ENOSPC,
	  ENOTDIR, ENXIO,  EOPNOTSUPP, EOVERFLOW, EPERM,        EROFS,  ETXTBSY},
	 FOR_EVER,
	 0},
	{"pread", FILES, SYS_pread64, {EIO, EAGAIN, EBADF, EFAULT, EINTR, EINVAL, EISDIR, ENXIO}, ONCE, 0},
	{"read", FILES, SYS_read, {EIO, EAGAIN, EBADF, EFAULT, EINTR, EINVAL, EISDIR, ENODEV}, ONCE, 0},
	{"write",
	 FILES,
	 SYS_write,
	 {EINVAL, EAGAIN, EBADF, EDESTADDRREQ, EDQUOT, EFAULT, EFBIG, EINTR, EIO, ENOSPC, EPERM, EPIPE},
	 ONCE,
	 0},
	{"close", FILES, SYS_close, {EINTR, EBADF, EIO, ENOSPC, EDQUOT}, FOR_EVER, 0},
	{"ppoll", "decay_ms:2", SYS_ppoll, {EFAULT, EINTR, EINVAL, ENOMEM}, ONCE, 0},
	{"ppoll", "release:io_uring,decay_ms:2", SYS_ppoll, {ENOMEM}, FOR_EVER, 0},
	{"futex",
	 "decay_ms:2",
	 SYS_futex,
	 {EINVAL, EAGAIN, EACCES, EFAULT, EINTR, ENFILE, ENOSYS, ETIMEDOUT},
	 FOR_EVER,
	 0},
	{"tgkill", "decay_ms:2", SYS_tgkill, {EAGAIN, EINVAL, EPERM, ESRCH}, FOR_EVER, 0},
	{"rt_sigprocmask", "decay_ms:2", SYS_rt_sigprocmask, {EINVAL, EFAULT}, ONCE, 0},
	{"getrandom", "decay_ms:2", SYS_getrandom, {EAGAIN, EFAULT, EINTR, EINVAL, ENOSYS}, FOR_EVER, 0},
	{"sched_getaffinity", "decay_ms:2", SYS_sched_getaffinity, {EINVAL, EFAULT, EPERM, ESRCH}, FOR_EVER, 0},
	{"faccessat", FILES, SYS_faccessat, {ENOENT, EACCES, ELOOP, ENOMEM}, FOR_EVER, 0},
	{"sysinfo", FILES, SYS_sysinfo, {EFAULT}, FOR_EVER, 0},
};

enum mode { MODE_ONCE, MODE_FOR_EVER, MODE_SHORT };

/* ---- One case ---------------------------------------------------------------------------------------------------- */

static struct {
	unsigned call, error, step, mode; /* numbers in the table, step from 1 */
} the_case;
static size_t rule;
static bool injecting;

static bool maps_anew(const long args[6])
{
	return args && args[3] & MAP_FIXED;
}

/* A kernel that says that it dropped a region, and did not: the bug that this test must find (test/self_inject.sh). */
static void set_fault(void)
{
	static const long calls[] = {SYS_madvise, SYS_process_madvise};

	for (size_t i = 0; getenv("FAULT") && i < LENGTH(calls); i++)
		inject_add((struct inject_rule){
			.nr = calls[i], .match = inject_is_release, .action = INJECT_LATE, .late_us = 600000000});
}

/* Before the library's own constructor, as this object is linked before it. */
__attribute__((constructor(101))) static void set_rule(void)
{
	const char *text = getenv("INJECT");
	const struct call *c;

	if (!text || sscanf(text, "%u,%u,%u,%u", &the_case.call, &the_case.error, &the_case.step, &the_case.mode) != 4)
		return;
	c = &table[the_case.call];
	injecting = true;
	rule = inject_add((struct inject_rule){.nr = c->nr,
					       .action = the_case.mode == MODE_SHORT ? INJECT_SHORT : INJECT_FAIL,
					       .error = c->errnos[the_case.error],
					       .first = the_case.step,
					       .last = the_case.mode == MODE_FOR_EVER ? 0 : the_case.step});
	if (c->remaps_fail)
		inject_add((struct inject_rule){.nr = SYS_mmap,
						.match = maps_anew,
						.action = INJECT_FAIL,
						.error = ENOMEM,
						.last = c->remaps_fail});
}

static struct rng rng = {5};
static struct block small[SMALL], large[LARGE], grown;

/* NULL is an answer when the system has no memory. */
static struct block get(size_t size, bool zero)
{
	struct block block = {zero ? t_calloc(1, size) : t_malloc(size), size, rng_next(&rng)};

	if (!block.p) {
		CHECK(errno == ENOMEM);
		return block;
	}
	if (zero)
		block_check_zero(block.p, size);
	block_fill(&block);
	return block;
}

static void put(struct block *block)
{
	if (block->p)
		block_verify(block);
	t_free(block->p);
	block->p = NULL;
}

/* By moving: the region behind it is taken meanwhile. */
static void grow(size_t size)
{
	static void *taken[500];
	const unsigned char *end = grown.p ? grown.p + t_usable(grown.p) : NULL;
	size_t n = 0;
	void *p;

	if (grown.p)
		block_verify(&grown);
	while (end && n < LENGTH(taken) && (!n || taken[n - 1] != end))
		taken[n++] = t_malloc(2 * MIB);
	p = t_realloc(grown.p, size);
	while (n)
		t_free(taken[--n]);
	if (!p) {
		CHECK(errno == ENOMEM);
		return;
	}
	if (grown.p) {
		grown.p = p;
		block_verify_prefix(&grown, size);
	}
	grown = (struct block){p, size, rng_next(&rng)};
	block_fill(&grown);
}

static void fill(bool zero)
{
	for (size_t i = 0; i < SMALL; i++)
		if (!small[i].p)
			small[i] = get(rng_between(&rng, 16, 4096), zero);
	for (size_t i = 0; i < LARGE; i++)
		if (!large[i].p)
			large[i] = get(rng_between(&rng, 64 * KIB, 3 * MIB), zero);
}

/* All but one in a hundred of the small ones. */
static void drain(void)
{
	for (size_t i = 0; i < SMALL; i++)
		if (i % 100)
			put(&small[i]);
	for (size_t i = 1; i < LARGE; i++)
		put(&large[i]);
}

static size_t dirty(void)
{
	return atomic_load(&heap_counters.dirty_regions);
}

/* Wakes the background thread. */
static void change_options(void)
{
	CHECK(pmd_option_set("dirty_max", "0") == 0);
	CHECK(pmd_option_set("dirty_max", "none") == 0);
}

/* Time passes, as fast as it can, until what is free is given back. */
static void wait_for_release(void)
{
	for (int i = 0; i < 15 && (dirty() || atomic_load(&heap_counters.releasing_regions)); i++) {
		change_options();
		proc_sleep_ms(1);
		inject_advance_ms(100);
		t_free(t_malloc(40000));
	}
}

static void scenario(void)
{
	fill(false);
	grow(2 * MIB);
	drain();
	wait_for_release();
	fill(true);
	grow(5 * MIB);
	drain();
	change_options();
	pmd_release();
	grow(8 * MIB);
	fill(true);
	drain();
	wait_for_release();
	grow(100);
}

/* What is kept even when it is asked for is kept because the kernel refused, and that must be seen. */
static void check_statistics(void)
{
	const struct call *c = &table[the_case.call];
	size_t counted, kept = dirty();

	for (int i = 0; i < 3 && kept; i++) { /* a purge under way may empty another region */
		pmd_release();
		kept = dirty();
	}
	counted = atomic_load(&release_errors[c->errnos[the_case.error]]);
	CHECK_SAY(counted || !kept, "%zu regions are kept, no failure is counted", kept);
	CHECK_SAY(!kept || c->nr != SYS_process_madvise, "%zu regions are kept, madvise was not asked", kept);
}

/* Where the heap could not grow there was little; what is a hole, by mincore's word, is given up. */
static size_t fewest_releases(void)
{
	switch (table[the_case.call].nr) {
	case SYS_mincore:
		return 0;
	case SYS_mprotect:
		return 1;
	default:
		return 4;
	}
}

/* With a kernel that does its work again, everything can be given back. */
static void check_end(void)
{
	struct pmd_stats stats = {.size = sizeof stats};
	bool all = false;

	inject_clear();
	for (size_t i = 0; i < SMALL; i++)
		put(&small[i]);
	for (size_t i = 0; i < LARGE; i++)
		put(&large[i]);
	put(&grown);
	for (int i = 0; i < 100 && !all; i++) {
		pmd_release();
		all = !dirty() && !atomic_load(&heap_counters.releasing_regions);
		inject_advance_ms(1000); /* the thread's purges may empty further regions */
	}
	CHECK(pmd_stats_get(&stats) == 0);
	CHECK_SAY(all, "%zu dirty, %zu releasing in the end", dirty(), atomic_load(&heap_counters.releasing_regions));
	CHECK_SAY(stats.releases >= fewest_releases(), "%zu regions were released", stats.releases);
}

static int run_case(void)
{
	void *p = t_malloc(1);

	if (!p) { /* there was no memory for a heap: so it stays */
		CHECK(errno == ENOMEM && inject_hits(rule));
		return 0;
	}
	t_free(p);
	release_prepare(); /* the fault is not to be found by what looks whether the kernel does as it says */
	set_fault();
	scenario();
	if (!inject_hits(rule))
		return NOT_REACHED;
	check_statistics();
	check_end();
	return 0;
}

/* ---- All cases --------------------------------------------------------------------------------------------------- */

static struct {
	pid_t pid;
	int said; /* what it writes to stderr; shown when it failed */
	unsigned call, error, step, mode;
} running[AT_ONCE];

static size_t cases, reached;

static void start(size_t slot, unsigned call, unsigned error, unsigned step, unsigned mode)
{
	char text[64];
	int ends[2];
	pid_t pid;

	CHECK(pipe2(ends, O_CLOEXEC) == 0);
	pid = fork();
	CHECK(pid >= 0);
	if (pid == 0) {
		check_child(60);
		dup2(ends[1], 2);
		snprintf(text, sizeof text, "%u,%u,%u,%u", call, error, step, mode);
		setenv("INJECT", text, 1);
		setenv("TSAN_OPTIONS", "atexit_sleep_ms=0", 0); /* a second for each case otherwise */
		setenv("PMDALLOC_CONF", table[call].conf, 1);
		execl("/proc/self/exe", "t_release_errors", NULL);
		_exit(126);
	}
	close(ends[1]);
	running[slot].pid = pid;
	running[slot].said = ends[0];
	running[slot].call = call;
	running[slot].error = error;
	running[slot].step = step;
	running[slot].mode = mode;
	cases++;
}

static void show(int fd)
{
	char text[4096];

	for (ssize_t n; (n = read(fd, text, sizeof text)) > 0;)
		CHECK(write(2, text, (size_t)n) == n);
}

/* Waits for one case to end. Returns its slot; *was_reached: the call that was to fail was made. */
static size_t finish(bool *was_reached)
{
	static const char *const modes[] = {"fails once", "fails from there on", "is short"};
	int status = 0;
	pid_t pid = wait(&status);
	size_t slot = 0;

	CHECK(pid > 0);
	while (slot < AT_ONCE && running[slot].pid != pid)
		slot++;
	CHECK(slot < AT_ONCE);
	if (!WIFEXITED(status) || WEXITSTATUS(status) == 1)
		show(running[slot].said);
	close(running[slot].said);
	CHECK_SAY(WIFEXITED(status) && (!WEXITSTATUS(status) || WEXITSTATUS(status) == NOT_REACHED),
		  "%s number %u %s, errno %d, options %s: wait status %#x (INJECT=%u,%u,%u,%u)",
		  table[running[slot].call].name, running[slot].step, modes[running[slot].mode],
		  table[running[slot].call].errnos[running[slot].error], table[running[slot].call].conf,
		  (unsigned)status, running[slot].call, running[slot].error, running[slot].step, running[slot].mode);
	*was_reached = !WEXITSTATUS(status);
	reached += *was_reached;
	running[slot].pid = 0;
	return slot;
}

static size_t free_slot(bool *more)
{
	for (size_t i = 0; i < AT_ONCE; i++)
		if (!running[i].pid)
			return i;
	bool was_reached;
	size_t slot = finish(&was_reached);

	*more = *more && was_reached;
	return slot;
}

static void finish_all(void)
{
	bool ignored;

	for (size_t i = 0; i < AT_ONCE; i++)
		while (running[i].pid)
			finish(&ignored);
}

/* Steps 1, 2, ... until there are no more. Returns how many cases met their call. */
static size_t try_steps(unsigned call, unsigned error, unsigned mode, unsigned steps)
{
	size_t before = reached;
	bool more = true;

	for (unsigned step = 1; step <= steps && more; step++) {
		size_t slot = free_slot(&more);

		if (more)
			start(slot, call, error, step, mode);
	}
	finish_all();
	return reached - before;
}

static bool sampled(void)
{
	return check_number("CHECK_SAMPLE", 1) > 1;
}

static void try_call(unsigned call)
{
	const struct call *c = &table[call];
	bool every = check_number("EVERY", 0);
	size_t met = 0;

	for (unsigned i = 0; i < (sampled() ? 1 : ERRNOS_MOST) && c->errnos[i]; i++) {
		met += try_steps(call, i, MODE_ONCE,
				 every || !i ? (unsigned)check_scaled(every ? STEPS_MOST : STEPS_FEW) : 1);
		if (c->last == FOR_EVER && !sampled() && (every || i < 2))
			met += try_steps(call, i, MODE_FOR_EVER, every ? STEPS_MOST : 1);
	}
	if (c->nr == SYS_process_madvise)
		met += try_steps(call, 0, MODE_SHORT, every ? STEPS_MOST : STEPS_FEW);
	check_say("%s, options %s: %zu cases\n", c->name, c->conf, met);
}

int main(void)
{
	if (!proc_has_madvise())
		SKIP(NO_MADVISE);
	if (injecting)
		return run_case();
	for (unsigned i = 0; i < LENGTH(table); i++)
		try_call(i);
	check_say("%zu cases, the call was made in %zu of them\n", cases, reached);
	CHECK(reached > (sampled() ? 20 : 100));
	return 0;
}
