/* SPDX-License-Identifier: MIT */
/*
 * Free memory is not swapped out. A process writes 256 MiB and frees them, and still waits for its decay; then another
 * needs more than is left, in the same cgroup with a memory.max, or on the whole machine. Which pages went to swap is read
 * off the first one's pagemap: those that it had freed, and those of data that it keeps, which must be intact.
 *
 * It needs root, swap, and a machine on which nothing else matters: test/pressure.sh makes one.
 *
 * pressure_guest cgroup|machine small|large OPTIONS   one line; fails when freed pages were written to swap although the
 *                                                     options say pressure:on, or hardly any although they do not
 */
#include "api.h"
#include "proc.h"
#include "random.h"

#include <sys/stat.h>

#define FREED    (256 * MIB)
#define LIVE     (32 * MIB)
#define NEEDED   (256 * MIB) /* by the other process, in the cgroup */
#define LIMIT    (400 * MIB) /* of the cgroup: enough for both without what is free */
#define SPARE    (128 * MIB) /* of what is free, not needed by the other process on the machine */
#define PAGE     ((size_t)4096)
#define MANY     (64 * MIB / PAGE)
#define GROUP    "/sys/fs/cgroup/pressure"
#define PRESENT  ((uint64_t)1 << 63)
#define SWAPPED  ((uint64_t)1 << 62)
#define SETTLE_S 1

struct report {
	size_t freed, freed_present, freed_swapped, live_swapped; /* pages */
};

/* --- the process that has free memory --------------------------------------------------------------------------- */

struct block {
	unsigned char *p;
	size_t size;
};

struct blocks {
	struct block *list;
	size_t count;
};

static unsigned char pattern(const struct block *block, size_t i)
{
	return (unsigned char)(((uintptr_t)block->p >> 4) * 31 + i / PAGE * 7 + i);
}

static struct blocks fill(struct rng *rng, size_t bytes, bool small)
{
	size_t low = small ? 16 : 256 * KIB, high = small ? 4 * KIB : 4 * MIB;
	struct blocks blocks = {.list = proc_table((bytes / (small ? 1024 : low) + 1) * sizeof *blocks.list)};
	for (size_t have = 0; have < bytes; blocks.count++) {
		struct block *block = &blocks.list[blocks.count];
		block->size = rng_between(rng, low, high);
		block->p = t_malloc(block->size);
		CHECK(block->p);
		for (size_t i = 0; i < block->size; i += i % PAGE < 64 ? 1 : 64)
			block->p[i] = pattern(block, i);
		have += block->size;
	}
	return blocks;
}

static void check_intact(const struct blocks *blocks)
{
	for (size_t n = 0; n < blocks->count; n++) {
		const struct block *block = &blocks->list[n];
		for (size_t i = 0; i < block->size; i += i % PAGE < 64 ? 1 : 64)
			CHECK_SAY(block->p[i] == pattern(block, i), "live block %p of %zu, byte %zu", (void *)block->p,
				  block->size, i);
	}
}

struct pages {
	uintptr_t first, end; /* numbers of pages */
	unsigned char *kind;
};

enum { NOTHING, FREE_PAGE, LIVE_PAGE };

static void mark(struct pages *pages, const struct blocks *blocks, unsigned char kind)
{
	for (size_t n = 0; n < blocks->count; n++) {
		uintptr_t p = (uintptr_t)blocks->list[n].p;
		for (uintptr_t i = p / PAGE; i <= (p + blocks->list[n].size - 1) / PAGE; i++)
			pages->kind[i - pages->first] = kind;
	}
}

static void widen(struct pages *pages, const struct blocks *blocks)
{
	for (size_t n = 0; n < blocks->count; n++) {
		uintptr_t p = (uintptr_t)blocks->list[n].p, end = (p + blocks->list[n].size - 1) / PAGE + 1;
		pages->first = p / PAGE < pages->first ? p / PAGE : pages->first;
		pages->end = end > pages->end ? end : pages->end;
	}
}

/* Pages of freed blocks, but for those that live ones share with them. */
static struct pages pages_of(const struct blocks *freed, const struct blocks *live)
{
	struct pages pages = {.first = UINTPTR_MAX};
	widen(&pages, freed);
	widen(&pages, live);
	pages.kind = proc_table(pages.end - pages.first);
	mark(&pages, freed, FREE_PAGE);
	mark(&pages, live, LIVE_PAGE);
	return pages;
}

static struct report look_at(const struct pages *pages)
{
	struct report report = {0};
	int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	CHECK(fd >= 0);
	for (uintptr_t i = pages->first; i < pages->end;) {
		uint64_t entries[512];
		size_t count = pages->end - i < LENGTH(entries) ? pages->end - i : LENGTH(entries);
		CHECK(pread(fd, entries, count * 8, (off_t)(i * 8)) == (ssize_t)(count * 8));
		for (size_t n = 0; n < count; n++, i++) {
			unsigned char kind = pages->kind[i - pages->first];
			report.freed += kind == FREE_PAGE;
			report.freed_present += kind == FREE_PAGE && entries[n] & PRESENT;
			report.freed_swapped += kind == FREE_PAGE && entries[n] & SWAPPED;
			report.live_swapped += kind == LIVE_PAGE && entries[n] & SWAPPED;
		}
	}
	close(fd);
	return report;
}

/* Says when it has freed, and what became of it when told that it is time. */
static void hold(bool small)
{
	struct rng rng = {7};
	struct blocks live = fill(&rng, LIVE, small), freed = fill(&rng, FREED, small);
	struct pages pages = pages_of(&freed, &live);
	struct report report;
	char c;
	for (size_t i = 0; i < freed.count; i++)
		t_free(freed.list[i].p);
	CHECK(write(STDOUT_FILENO, "f", 1) == 1);
	CHECK(read(STDIN_FILENO, &c, 1) == 1);
	report = look_at(&pages);
	check_intact(&live);
	CHECK(write(STDOUT_FILENO, &report, sizeof report) == sizeof report);
}

/* --- the other process ------------------------------------------------------------------------------------------ */

static void need(size_t bytes)
{
	unsigned char *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(p != MAP_FAILED);
	for (size_t i = 0; i < bytes; i += PAGE)
		*(size_t *)(p + i) = i;
	CHECK(write(STDOUT_FILENO, "n", 1) == 1);
	pause();
}

/* --- both ------------------------------------------------------------------------------------------------------- */

struct process {
	pid_t pid;
	int to, from;
};

static void put(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0 || write(fd, text, strlen(text)) < 0)
		SKIP("%s: errno %d", path, errno);
	close(fd);
}

/* The number after KEY in the file PATH. */
static size_t number_in(const char *path, const char *key)
{
	char text[8192];
	const char *at;
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = 0, got;
	CHECK_SAY(fd >= 0, "%s", path);
	while ((got = read(fd, text + n, sizeof text - 1 - (size_t)n)) > 0)
		n += got;
	close(fd);
	text[n] = 0;
	at = strstr(text, key);
	CHECK_SAY(at, "%s in %s", key, path);
	return strtoul(at + strlen(key), NULL, 10);
}

static size_t swapped_of(pid_t pid)
{
	char path[64];
	snprintf(path, sizeof path, "/proc/%d/status", (int)pid);
	return number_in(path, "\nVmSwap:") * KIB / PAGE;
}

/* This program again, in the cgroup, as ROLE. */
static struct process start(const char *role, const char *what, const char *conf)
{
	struct process process;
	int to[2], from[2];
	char pid[32];
	CHECK(pipe2(to, O_CLOEXEC) == 0 && pipe2(from, O_CLOEXEC) == 0);
	process = (struct process){fork(), to[1], from[0]};
	CHECK(process.pid >= 0);
	if (process.pid == 0) {
		check_child(CHECK_SECONDS);
		snprintf(pid, sizeof pid, "%d", (int)getpid());
		put(GROUP "/cgroup.procs", pid);
		CHECK(setenv("PMDALLOC_CONF", conf, 1) == 0);
		CHECK(dup2(to[0], STDIN_FILENO) >= 0 && dup2(from[1], STDOUT_FILENO) >= 0);
		execl("/proc/self/exe", "pressure_guest", role, what, (char *)NULL);
		CHECK(!"exec");
	}
	close(to[0]);
	close(from[1]);
	return process;
}

static void expect(struct process *process, void *what, size_t bytes)
{
	CHECK_SAY(read(process->from, what, bytes) == (ssize_t)bytes, "process %d is gone", (int)process->pid);
}

static void make_group(bool limited)
{
	char limit[32];
	put("/sys/fs/cgroup/cgroup.subtree_control", "+memory");
	CHECK(mkdir(GROUP, 0755) == 0);
	snprintf(limit, sizeof limit, "%zu", LIMIT);
	put(GROUP "/memory.max", limited ? limit : "max");
}

static void end(struct process *process)
{
	kill(process->pid, SIGKILL);
	check_wait(process->pid);
}

static double seconds(void)
{
	struct timespec t;
	CHECK(clock_gettime(CLOCK_MONOTONIC, &t) == 0);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* What was written may have come back, or be somebody else's: a little is no matter. */
static void judge(const struct report *r, size_t written, const char *conf)
{
	if (strstr(conf, "pressure:off"))
		CHECK_SAY(r->freed_swapped >= MANY, "%zu pages of freed memory in swap: nothing is shown",
			  r->freed_swapped);
	else
		CHECK_SAY(r->freed_swapped == 0 && written < MANY / 4,
			  "%zu pages of freed memory in swap, %zu pages written there", r->freed_swapped, written);
}

static void conduct(const char *place, const char *sizes, const char *conf)
{
	bool limited = strcmp(place, "cgroup") == 0;
	struct process holder, other;
	struct report report;
	size_t before, written, other_swapped, bytes;
	char c, number[32];
	double since, took;

	make_group(limited);
	bytes = limited ? NEEDED : number_in("/proc/meminfo", "MemAvailable:") * KIB - LIVE - SPARE;
	holder = start("hold", sizes, conf);
	expect(&holder, &c, 1);
	proc_sleep_ms((long)check_number("SETTLE_MS", SETTLE_S * 1000));
	before = number_in("/proc/vmstat", "\npswpout ");
	snprintf(number, sizeof number, "%zu", bytes);
	since = seconds();
	other = start("need", number, "");
	expect(&other, &c, 1);
	took = seconds() - since;
	other_swapped = swapped_of(other.pid);
	CHECK(write(holder.to, "r", 1) == 1);
	expect(&holder, &report, sizeof report);
	written = number_in("/proc/vmstat", "\npswpout ") - before;
	CHECK(check_wait(holder.pid) == 0);
	end(&other);
	CHECK(rmdir(GROUP) == 0);
	printf("%-8s %-6s %-28s %9zu %9zu %9zu %9zu %9zu %7.2f\n", place, sizes, conf, report.freed,
	       report.freed_present, report.freed_swapped, report.live_swapped + other_swapped, written, took);
	fflush(stdout);
	judge(&report, written, conf);
}

int main(int argc, char **argv)
{
	if (argc == 3 && strcmp(argv[1], "hold") == 0) {
		hold(strcmp(argv[2], "small") == 0);
	} else if (argc == 3 && strcmp(argv[1], "need") == 0) {
		need(strtoul(argv[2], NULL, 10));
	} else if (argc == 4) {
		conduct(argv[1], argv[2], argv[3]);
	} else {
		printf("%-46s %39s\n", "", "pages: ");
		printf("%-8s %-6s %-28s %9s %9s %9s %9s %9s %7s\n", "place", "sizes", "options", "freed", "kept",
		       "swapped", "others'", "written", "s");
	}
	return 0;
}
