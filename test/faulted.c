/* SPDX-License-Identifier: MIT */
/*
 * What fails is read from the environment before the library's first act:
 *
 *     FAULTS=once,NR,SITE,ERRNO,N   the N-th call NR by the library's function SITE fails; on,...: all from there on
 *     FAULTS=random,SEED,CHANCE     every call fails CHANCE times in 65,536, with any of its errnos
 *     FAULTS_TABLE=FILE             of a page and a table of inject_site: what was called; shared with all children
 *     FAULTS_BUG=KIND               after a fault this does wrong what the test must find: errno, zero, crash, hang
 *
 * Each process counts its own calls.
 */
#include "faulted.h"

#include "block.h"
#include "calls.h"
#include "check.h"
#include "inject.h"

#include <fcntl.h>
#include <pmdalloc/pmdalloc.h>
#include <stdatomic.h>
#include <sys/mman.h>

#include "os/syscall.h"

#define PAGE      4096
#define SENTINEL  4711
#define NOT_ASKED ((size_t)1 << 40) /* so much nobody has, and tests ask for it to see it refused */

/* At the start of the table's file. */
struct faults_seen {
	_Atomic unsigned refused; /* requests that were given up */
};

static struct faults_seen none, *seen = &none;
static struct inject_site *table;
static size_t sites;

static void open_table(const char *path)
{
	int fd = open(path, O_RDWR | O_CLOEXEC);
	off_t length = fd < 0 ? 0 : lseek(fd, 0, SEEK_END);
	void *p = length > PAGE ? mmap(NULL, (size_t)length, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) : MAP_FAILED;

	CHECK_SAY(p != MAP_FAILED, "%s", path);
	close(fd);
	seen = p;
	table = (struct inject_site *)((char *)p + PAGE);
	sites = ((size_t)length - PAGE) / sizeof *table;
	inject_count_sites(table, sites);
}

static void fail_at(const char *text, bool on)
{
	static char site[36];
	long nr;
	int error;
	size_t n;

	CHECK_SAY(sscanf(text, "%ld,%35[a-z_0-9],%d,%zu", &nr, site, &error, &n) == 4, "%s", text);
	inject_add((struct inject_rule){
		.nr = nr, .site = site, .action = INJECT_FAIL, .error = error, .first = n, .last = on ? 0 : n});
}

static void fail_at_random(const char *text)
{
	unsigned chance;
	unsigned long seed;

	CHECK_SAY(sscanf(text, "%lu,%u", &seed, &chance) == 2, "%s", text);
	inject_seed(seed);
	for (size_t i = 0; i < CALLS; i++) {
		unsigned errnos = 0;

		while (all_calls[i].errnos[errnos])
			errnos++;
		for (unsigned e = 0; e < errnos; e++)
			inject_add((struct inject_rule){.nr = all_calls[i].nr,
							.action = INJECT_FAIL,
							.error = all_calls[i].errnos[e],
							.chance = chance / errnos + 1});
	}
	for (long point = OS_COMPLETION; point <= OS_POINT_ACCOUNT; point++)
		inject_add((struct inject_rule){.nr = point, .action = INJECT_FAIL, .error = ENOMEM, .chance = chance});
}

/* Before the library's own constructor, as this object is linked before it. */
__attribute__((constructor(101))) static void read_environment(void)
{
	const char *faults = getenv("FAULTS"), *file = getenv("FAULTS_TABLE");

	if (file)
		open_table(file);
	if (!faults)
		return;
	if (!strncmp(faults, "once,", 5))
		fail_at(faults + 5, false);
	else if (!strncmp(faults, "on,", 3))
		fail_at(faults + 3, true);
	else if (!strncmp(faults, "random,", 7))
		fail_at_random(faults + 7);
	else
		CHECK_SAY(false, "%s", faults);
}

/* ---- Requests ---------------------------------------------------------------------------------------------------- */

static bool was_hit(void)
{
	for (size_t i = 0; i < sites && atomic_load(&table[i].state); i++)
		if (atomic_load(&table[i].hits))
			return true;
	return false;
}

static bool has_bug(const char *kind)
{
	const char *wanted = getenv("FAULTS_BUG");

	return wanted && !strcmp(wanted, kind) && was_hit();
}

/* Whether a request that failed with ERROR is made again. What nobody can have, and what is wrong, is the test's matter. */
static bool try_again(unsigned *tries, size_t size, int error)
{
	if (size >= NOT_ASKED || error == EINVAL || error == 0 || !was_hit())
		return false;
	CHECK_SAY(error == ENOMEM, "errno is wrong after a request of %zu bytes: %d", size, error);
	if (++*tries < FAULTS_AT_A_TIME)
		return true;
	atomic_fetch_add(&seen->refused, 1);
	_exit(EXIT_REFUSED);
}

/* CALL until it returns a block or is not to be made again; errno is kept where it does. */
#define REQUEST(size, call)                                           \
	do {                                                          \
		int before = errno;                                   \
		unsigned tries = 0;                                   \
		void *got;                                            \
                                                                      \
		do {                                                  \
			errno = 0;                                    \
			got = (call);                                 \
		} while (!got && try_again(&tries, (size), (errno))); \
		errno = got || !errno ? before : errno;               \
		return got;                                           \
	} while (0)

void *faulted_malloc(size_t size)
{
	if (has_bug("crash"))
		abort();
	while (has_bug("hang"))
		pause();
	REQUEST(size, pmd_malloc(size));
}

/* Up to a few MiB all of it, and of more a word in each page. */
static void check_zero(const void *p, size_t size)
{
	if (size <= 4 * MIB) {
		block_check_zero(p, size);
		return;
	}
	for (size_t at = 0; at + sizeof(long) <= size; at += PAGE)
		block_check_zero((const char *)p + at, sizeof(long));
}

static void *zeroed(size_t n, size_t size)
{
	char *p = pmd_calloc(n, size);

	if (p && n > 0 && size > 0 && has_bug("zero"))
		p[n * size - 1] = 1;
	if (p)
		check_zero(p, n * size);
	return p;
}

static size_t product(size_t n, size_t size)
{
	size_t bytes;

	return __builtin_mul_overflow(n, size, &bytes) ? SIZE_MAX : bytes;
}

void *faulted_calloc(size_t n, size_t size)
{
	REQUEST(product(n, size), zeroed(n, size));
}

void *faulted_realloc(void *p, size_t size)
{
	REQUEST(size, pmd_realloc(p, size));
}

void *faulted_reallocarray(void *p, size_t n, size_t size)
{
	REQUEST(product(n, size), pmd_reallocarray(p, n, size));
}

void *faulted_aligned_alloc(size_t alignment, size_t size)
{
	REQUEST(size | alignment, pmd_aligned_alloc(alignment, size));
}

void *faulted_memalign(size_t alignment, size_t size)
{
	REQUEST(size | alignment, pmd_memalign(alignment, size));
}

/* It does not set errno, which tests look at. */
int faulted_posix_memalign(void **out, size_t alignment, size_t size)
{
	unsigned tries = 0;
	int error;

	do
		error = pmd_posix_memalign(out, alignment, size);
	while (error && try_again(&tries, size | alignment, error));
	return error;
}

void *faulted_valloc(size_t size)
{
	REQUEST(size, pmd_valloc(size));
}

void *faulted_pvalloc(size_t size)
{
	REQUEST(size, pmd_pvalloc(size));
}

/* ---- Frees ------------------------------------------------------------------------------------------------------- */

#define KEEPING_ERRNO(call)                                                           \
	do {                                                                          \
		int before = errno;                                                   \
                                                                                      \
		errno = SENTINEL;                                                     \
		call;                                                                 \
		CHECK_SAY(errno == SENTINEL, "errno was changed by free: %d", errno); \
		errno = before;                                                       \
	} while (0)

static void free_badly(void *p)
{
	pmd_free(p);
	if (has_bug("errno"))
		errno = ENOMEM;
}

void faulted_free(void *p)
{
	KEEPING_ERRNO(free_badly(p));
}

void faulted_free_sized(void *p, size_t size)
{
	KEEPING_ERRNO(pmd_free_sized(p, size));
}

void faulted_free_aligned_sized(void *p, size_t alignment, size_t size)
{
	KEEPING_ERRNO(pmd_free_aligned_sized(p, alignment, size));
}
