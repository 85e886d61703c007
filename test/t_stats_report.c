/* SPDX-License-Identifier: MIT */
/*
 * Reports say what the program did: which class keeps which memory, what emptied and went back, what the kernel refused;
 * also while threads work, and in a child forked meanwhile.
 */
#include "api.h"
#include "proc.h"
#include "variants.h"

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#define REGION  (2 * MIB)
#define SIZE    ((size_t)208) /* a class of its own */
#define REGIONS ((size_t)40)
#define BLOCKS  (REGIONS * REGION / SIZE)

static char report[256 * KIB];

static struct pmd_stats stats(void)
{
	struct pmd_stats now = {.size = sizeof now};
	CHECK(pmd_stats_get(&now) == 0);
	return now;
}

static void print(enum pmd_format format)
{
	int fd = memfd_create("report", MFD_CLOEXEC);
	CHECK(fd >= 0);
	CHECK(pmd_stats_print(fd, format) == 0);
	ssize_t n = pread(fd, report, sizeof report - 1, 0);
	CHECK(n > 0 && (size_t)n < sizeof report - 1);
	report[n] = 0;
	close(fd);
}

/* The number NAME of the object that holds ROW in the report; 0 when there is no such object. */
static size_t figure(const char *row, const char *name)
{
	char key[64];
	const char *at = strstr(report, row), *end = at ? strchr(at, '}') : NULL;
	if (!at)
		return 0;
	snprintf(key, sizeof key, "\"%s\": ", name);
	at = strstr(at, key);
	CHECK_SAY(at && at < end, "%s has no %s", row, name);
	return strtoul(at + strlen(key), NULL, 10);
}

/* The sum of the numbers NAME in all objects. */
static size_t sum(const char *name)
{
	char key[64];
	size_t total = 0;
	snprintf(key, sizeof key, "\"%s\": ", name);
	for (const char *at = report; (at = strstr(at, key)); at += strlen(key))
		total += strtoul(at + strlen(key), NULL, 10);
	return total;
}

#define ROW "\"class\": \"208\""

static void **allocate(void)
{
	void **blocks = proc_table(BLOCKS * sizeof *blocks);
	for (size_t i = 0; i < BLOCKS; i++) {
		blocks[i] = t_malloc(SIZE);
		CHECK(blocks[i]);
		memset(blocks[i], 1, SIZE);
	}
	return blocks;
}

static uintptr_t region_of(const void *p)
{
	return (uintptr_t)p / REGION;
}

/* Frees all but the first block of each region; returns how many are left, at the start of BLOCKS. */
static size_t thin_out(void **blocks)
{
	size_t left = 0;
	for (size_t i = 0; i < BLOCKS; i++)
		if (left && region_of(blocks[left - 1]) == region_of(blocks[i]))
			t_free(blocks[i]);
		else
			blocks[left++] = blocks[i];
	return left;
}

static void check_pinned(size_t left)
{
	struct pmd_stats now = stats();
	print(PMD_FORMAT_JSON);
	size_t pinned = figure(ROW, "pinned_regions"), bytes = figure(ROW, "pinned_bytes");
	CHECK(figure(ROW, "live_blocks") == left && figure(ROW, "live_bytes") == left * SIZE);
	CHECK_SAY(figure(ROW, "regions") >= REGIONS - 1, "%zu regions", figure(ROW, "regions"));
	CHECK_SAY(pinned >= REGIONS - 3 && pinned <= figure(ROW, "regions"), "%zu pinned", pinned);
	/* Beside one block, what is left of a region is free, but for what does not divide. */
	CHECK_SAY(bytes >= pinned * (REGION - REGION / 64) && bytes < pinned * REGION, "%zu bytes pinned", bytes);
	CHECK(sum("pinned_bytes") == now.free_in_active_bytes);
	CHECK(sum("pinned_regions") == now.regions_active);
	CHECK(now.free_in_active_bytes >= bytes);
	CHECK(now.free_slice_bytes <= now.free_in_active_bytes);
}

/* One survivor a region: the report tells which class keeps the memory, and what of it is still dirty. */
static void test_pinned(void)
{
	void **blocks = allocate();
	struct pmd_stats full = stats();
	print(PMD_FORMAT_JSON);
	CHECK(figure(ROW, "live_blocks") == BLOCKS);
	CHECK(figure(ROW, "slabs") >= BLOCKS / (64 * KIB / SIZE));
	CHECK(figure(ROW, "live_blocks") + figure(ROW, "free_blocks") == figure(ROW, "slabs") * (64 * KIB / SIZE));
	CHECK_SAY(figure("\"le_bytes\": 2097152", "count") >= REGIONS - 2, "%zu full regions",
		  figure("\"le_bytes\": 2097152", "count"));

	size_t left = thin_out(blocks);
	pmd_thread_flush();
	struct pmd_stats thin = stats();
	CHECK(thin.live_blocks == full.live_blocks - BLOCKS + left);
	CHECK(thin.free_in_active_dirty_bytes >= REGIONS / 2 * REGION);
	check_pinned(left);
	CHECK_SAY(figure("\"le_bytes\": 262144", "count") >= REGIONS - 2, "%zu sparse regions",
		  figure("\"le_bytes\": 262144", "count"));

	pmd_release();
	struct pmd_stats purged = stats();
	check_pinned(left);
	CHECK_SAY(purged.free_in_active_dirty_bytes < thin.free_in_active_dirty_bytes / 4,
		  "%zu of %zu dirty bytes left", purged.free_in_active_dirty_bytes, thin.free_in_active_dirty_bytes);
	CHECK(purged.pte_pages_held >= REGIONS - 1);

	for (size_t i = 0; i < left; i++)
		t_free(blocks[i]);
	pmd_thread_flush();
	struct pmd_stats empty = stats();
	CHECK(empty.regions_emptied >= purged.regions_emptied + REGIONS - 2);
	CHECK(empty.regions_active + REGIONS - 2 <= purged.regions_active);
	CHECK(empty.regions_dirty >= REGIONS - 2 && empty.regions_releasing == 0);
	print(PMD_FORMAT_JSON);
	CHECK(figure(ROW, "live_blocks") == 0);
	munmap(blocks, BLOCKS * sizeof *blocks);
}

static void test_page_tables(void)
{
	pmd_release();
	struct pmd_stats before = stats();
	char *p = t_malloc(REGIONS * REGION);
	CHECK(p);
	memset(p, 1, REGIONS * REGION);
	struct pmd_stats during = stats();
	CHECK(during.large_blocks == before.large_blocks + 1);
	CHECK(during.pte_pages_held >= before.pte_pages_held + REGIONS);
	print(PMD_FORMAT_JSON);
	CHECK(figure("\"class\": \"large\"", "live_bytes") >= REGIONS * REGION);
	CHECK(figure("\"class\": \"large\"", "regions") >= REGIONS);
	t_free(p);
	struct pmd_stats freed = stats();
	CHECK(freed.pte_pages_held == during.pte_pages_held);
	CHECK(freed.regions_emptied >= during.regions_emptied + REGIONS);
	pmd_release();
	struct pmd_stats after = stats();
	CHECK(after.pte_pages_held <= before.pte_pages_held + 1);
	CHECK(after.pte_pages_returned >= freed.pte_pages_returned + REGIONS);
	CHECK(after.regions_dirty == 0);
	print(PMD_FORMAT_JSON);
	CHECK(sum("ranges") >= 1 && sum("calls") == after.release_calls);
	CHECK(sum("bytes") >= after.releases * REGION);
}

/* ---- Refusals ---------------------------------------------------------------------------------------------------- */

#define REFUSE(number) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (number), 0, 1), BPF_STMT(BPF_RET | BPF_K, REFUSAL)
#define REFUSAL        (SECCOMP_RET_ERRNO | ESTALE)

/* From now on the kernel gives nothing back, and says ESTALE, as it never does. */
static void refuse(void)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		REFUSE(SYS_madvise),
		REFUSE(SYS_process_madvise),
		REFUSE(SYS_mmap),
		REFUSE(SYS_io_uring_setup),
		REFUSE(SYS_io_uring_enter),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = {LENGTH(code), code};
	CHECK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
	if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program))
		_exit(EXIT_SKIP);
}

static void in_refused_child(void)
{
	char *p = t_malloc(REGIONS * REGION);
	CHECK(p);
	memset(p, 1, REGIONS * REGION);
	refuse();
	struct pmd_stats before = stats();
	t_free(p);
	pmd_release();
	struct pmd_stats after = stats();
	CHECK(after.release_failures > before.release_failures);
	CHECK(after.releases == before.releases);
	CHECK(after.regions_dirty >= before.regions_dirty + REGIONS - 1);
	print(PMD_FORMAT_JSON);
	CHECK(figure("\"errno\": \"ESTALE\"", "refused") >= after.release_failures - before.release_failures);
	CHECK(sum("failures") == sum("refused"));
	print(PMD_FORMAT_OPENMETRICS);
	CHECK(strstr(report, "pmdalloc_release_refused_total{errno=\"ESTALE\"} "));
	print(PMD_FORMAT_TEXT);
	CHECK(strstr(report, "\n  ESTALE "));
	_exit(0);
}

static void test_refused(void)
{
	if (SANITIZED)
		return; /* its run-time library needs these calls */
	pid_t pid = fork();
	CHECK(pid >= 0);
	if (pid == 0) {
		check_child(30);
		in_refused_child();
	}
	int status = check_wait(pid);
	CHECK_SAY(status == 0 || (WIFEXITED(status) && WEXITSTATUS(status) == EXIT_SKIP), "status %#x",
		  (unsigned)status);
}

/* ---- Meanwhile --------------------------------------------------------------------------------------------------- */

enum { THREADS = 3 };
static _Atomic bool stop;

static void *work(void *arg)
{
	void *blocks[512] = {NULL};
	unsigned random = (unsigned)(uintptr_t)arg;
	while (!stop)
		for (size_t i = 0; i < LENGTH(blocks); i++) {
			random = random * 1103515245 + 12345;
			if (blocks[i])
				t_free(blocks[i]);
			blocks[i] = t_malloc(random >> 16 & (random & 0x100 ? 0xfff : 0x3ffff));
		}
	for (size_t i = 0; i < LENGTH(blocks); i++)
		t_free(blocks[i]);
	return NULL;
}

/* Figures taken while others work may be of different moments, but never out of the question. */
static void check_sane(void)
{
	struct pmd_stats now = stats();
	CHECK_SAY(now.live_bytes <= 512 * MIB, "%zu live bytes", now.live_bytes);
	CHECK(now.slab_bytes + now.large_bytes <= 512 * MIB);
	CHECK(now.free_in_active_dirty_bytes <= now.free_in_active_bytes);
	CHECK(now.free_in_active_bytes <= now.regions_active * REGION);
	CHECK(now.regions_active <= now.heap_committed / REGION);
	for (int format = PMD_FORMAT_TEXT; format <= PMD_FORMAT_OPENMETRICS; format++)
		print((enum pmd_format)format);
	CHECK(strstr(report, "\n# EOF\n"));
}

static void test_meanwhile(void)
{
	pthread_t threads[THREADS];
	size_t rounds = check_scaled(200);
	for (uintptr_t i = 0; i < THREADS; i++)
		CHECK(pthread_create(&threads[i], NULL, work, (void *)i) == 0);
	for (size_t i = 0; i < rounds; i++) {
		check_sane();
		if (i % 8)
			continue;
		pid_t pid = fork();
		CHECK(pid >= 0);
		if (pid == 0) {
			check_child(30);
			check_sane();
			_exit(0);
		}
		CHECK(check_wait(pid) == 0);
	}
	stop = true;
	for (size_t i = 0; i < THREADS; i++)
		CHECK(pthread_join(threads[i], NULL) == 0);
	CHECK(stats().live_bytes <= 16 * MIB);
}

/* Printing changes nothing and needs little stack. */
static void *print_in_thread(void *arg)
{
	(void)arg;
	int fd = open("/dev/null", O_WRONLY | O_CLOEXEC);
	struct pmd_stats before = stats();
	for (int format = PMD_FORMAT_TEXT; format <= PMD_FORMAT_OPENMETRICS; format++)
		CHECK(pmd_stats_print(fd, (enum pmd_format)format) == 0);
	struct pmd_stats after = stats();
	CHECK(before.live_blocks == after.live_blocks && before.live_bytes == after.live_bytes);
	close(fd);
	return NULL;
}

static void test_no_allocation(void)
{
	pthread_attr_t attr;
	pthread_t thread;
	CHECK(pthread_attr_init(&attr) == 0);
	CHECK(pthread_attr_setstacksize(&attr, (SANITIZED ? 512 : 32) * KIB) == 0);
	CHECK(pthread_create(&thread, &attr, print_in_thread, NULL) == 0);
	CHECK(pthread_join(thread, NULL) == 0);
	CHECK(pmd_stats_print(STDOUT_FILENO, (enum pmd_format)3) == EINVAL);
	for (int format = PMD_FORMAT_TEXT; format <= PMD_FORMAT_OPENMETRICS; format++)
		CHECK(pmd_stats_print(-1, (enum pmd_format)format) == EBADF);
}

/* Nothing is given back but where the test says so. */
#define QUIET "decay_ms:-1,pressure:off,background:off,guard_rate:0"

int main(int argc, char **argv)
{
	VARIANTS(argc, argv, QUIET, QUIET ",release:madvise", QUIET ",release:remap");
	test_pinned();
	test_page_tables();
	test_refused();
	test_no_allocation();
	test_meanwhile();
	return 0;
}
