/* SPDX-License-Identifier: MIT */
/*
 * The phase test, for kernel/check-kernel: memory is filled, all of it is freed, and the page tables that mapped it go
 * back.
 *
 * phase_guest small|large  by the background thread, after the decay; one line with VmPTE at the start, at the peak and
 *                          after, in kB. Of large blocks a sixteenth of the pages is touched: their page tables are all
 *                          there. Fails when more than 2 % of the peak are left, or more of VmRSS than most_memory.
 * phase_guest locks        by pmd_release, in this one thread: how often the lock of the address space was taken
 *                          meanwhile, by the kernel's own tracepoint. Fails when it was taken for writing where page
 *                          tables go back through madvise, or was not where they go back by mapping anew: then the
 *                          count is worth nothing.
 *
 * MIB in the environment says how much memory. It needs root, and a machine on which nothing else matters.
 */
#define CHECK_SECONDS 600
#include "api.h"
#include "internals.h"
#include "proc.h"
#include "random.h"

#include <ctype.h>

#include "release/release.h"

#define MOST_LEFT   2          /* percent of the peak, of page tables */
#define MOST_MEMORY (4 * 1024) /* kB: slabs that the thread keeps */
#define WAIT_MS     60000
#define TRACING     "/sys/kernel/tracing/"
#define EVENT       TRACING "events/mmap_lock/mmap_lock_start_locking/"

/* Their addresses; mapped while they live, so that it is no part of what is compared. */
struct blocks {
	void **list;
	size_t count, room; /* bytes */
};

/* --- the phase ---------------------------------------------------------------------------------------------------- */

static struct blocks make_room(size_t bytes, bool small)
{
	size_t room = (bytes / (small ? 2 * KIB : MIB) * 9 / 8 + 100) * sizeof(void *);

	return (struct blocks){.list = proc_table(room), .room = room};
}

static void fill(struct blocks *blocks, size_t bytes, bool small)
{
	struct rng rng = {11};

	for (size_t have = 0, size; have < bytes; have += size) {
		size = small ? rng_between(&rng, 16, 4 * KIB) : rng_between(&rng, 256 * KIB, 4 * MIB);
		char *p = t_malloc(size);
		CHECK(p);
		for (size_t i = 0; i < size; i += small ? 4 * KIB : 64 * KIB)
			p[i] = 1;
		p[size - 1] = 1;
		CHECK(blocks->count < blocks->room / sizeof(void *));
		blocks->list[blocks->count++] = p;
	}
	rng_shuffle(&rng, blocks->list, blocks->count);
}

static void drain(struct blocks *blocks)
{
	for (size_t i = 0; i < blocks->count; i++)
		t_free(blocks->list[i]);
	CHECK(munmap(blocks->list, blocks->room) == 0);
}

static size_t amount(size_t mib)
{
	return check_number("MIB", mib) * MIB;
}

struct usage {
	size_t pte_kb, rss_kb;
};

static struct usage usage(void)
{
	return (struct usage){proc_pte_kb(), proc_rss_kb()};
}

/*
 * A hundredth of the peak. Without madvise the descriptors of regions stay, 2 MiB for each GiB, and pages of slabs that
 * the thread keeps.
 */
static size_t most_memory(const struct usage *peak)
{
	size_t least = proc_has_madvise() ? MOST_MEMORY : 8 * MOST_MEMORY;

	return peak->rss_kb / 100 > least ? peak->rss_kb / 100 : least;
}

static bool is_back(const struct usage *start, const struct usage *peak)
{
	return proc_pte_kb() * 100 <= peak->pte_kb * MOST_LEFT && proc_rss_kb() <= start->rss_kb + most_memory(peak);
}

/* Which mappings hold more than a few pages, for whoever wonders why. */
static void say_what_is_left(void)
{
	FILE *smaps = fopen("/proc/self/smaps", "re");
	char line[512], mapping[512] = "";
	size_t kb;

	while (smaps && fgets(line, sizeof line, smaps))
		if (sscanf(line, "Rss: %zu", &kb) == 1 && kb >= 256)
			fprintf(stderr, "%zu kB in %s", kb, mapping);
		else if (!isupper((unsigned char)line[0])) /* an address, not a name */
			snprintf(mapping, sizeof mapping, "%s", line);
	if (smaps)
		fclose(smaps);
}

static void phase(const char *sizes)
{
	bool small = strcmp(sizes, "small") == 0;
	size_t bytes = amount(4096);
	struct blocks blocks;
	struct usage start, peak, after;

	t_free(t_malloc(1));
	start = usage();
	blocks = make_room(bytes, small);
	fill(&blocks, bytes, small);
	peak = usage();
	CHECK_SAY(peak.rss_kb >= bytes / KIB / (small ? 1 : 16) && peak.pte_kb >= bytes / (512 * KIB),
		  "VmRSS %zu kB, VmPTE %zu kB: nothing was filled", peak.rss_kb, peak.pte_kb);
	drain(&blocks);
	for (int waited = 0; waited < WAIT_MS && !is_back(&start, &peak); waited += 50)
		proc_sleep_ms(50);
	after = usage();
	printf("%s: VmPTE %zu %zu %zu kB, VmRSS %zu %zu %zu kB, by %s\n", sizes, start.pte_kb, peak.pte_kb,
	       after.pte_kb, start.rss_kb, peak.rss_kb, after.rss_kb, release_name(release_chosen()));
	fflush(stdout);
	if (!is_back(&start, &peak))
		say_what_is_left();
	CHECK_SAY(is_back(&start, &peak), "more is left than %d %% of the page tables or %zu kB of memory", MOST_LEFT,
		  most_memory(&peak));
}

/* --- the lock of the address space -------------------------------------------------------------------------------- */

static bool put(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_TRUNC | O_CLOEXEC);
	bool ok = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);

	if (fd >= 0)
		close(fd);
	return ok;
}

/* Lines of the trace that say so. */
static size_t count_in_trace(const char *word)
{
	FILE *trace = fopen(TRACING "trace", "re");
	char line[512];
	size_t count = 0;

	CHECK(trace);
	while (fgets(line, sizeof line, trace))
		count += strstr(line, "mmap_lock_start_locking:") && strstr(line, word);
	fclose(trace);
	return count;
}

static void begin_trace(void)
{
	char pid[32];

	snprintf(pid, sizeof pid, "%d", (int)getpid());
	if (access(EVENT "enable", W_OK))
		SKIP("this kernel has no tracepoint mmap_lock_start_locking");
	CHECK(put(TRACING "set_event_pid", pid));
	CHECK(put(EVENT "enable", "1"));
	CHECK(put(TRACING "trace", ""));
}

static void fill_and_drain(size_t bytes)
{
	struct blocks blocks = make_room(bytes, true);

	fill(&blocks, bytes, true);
	drain(&blocks);
}

/* After a first release, which tries what this kernel does on memory of its own. */
static void locks(void)
{
	size_t bytes = amount(256), reads, writes, freed;
	bool anew;

	fill_and_drain(8 * MIB);
	pmd_release();
	fill_and_drain(bytes);
	begin_trace();
	freed = pmd_release();
	CHECK(put(EVENT "enable", "0"));
	reads = count_in_trace("write=false");
	writes = count_in_trace("write=true");
	anew = release_chosen() == RELEASE_REMAP;
	printf("locks: %zu for writing, %zu for reading, %zu regions, by %s\n", writes, reads, freed / (2 * MIB),
	       release_name(release_chosen()));
	fflush(stdout);
	CHECK_SAY(freed >= bytes / 2, "%zu bytes were given back", freed);
	CHECK_SAY(anew == (writes > 0), "%zu times for writing", writes);
}

int main(int argc, char **argv)
{
	CHECK(argc == 2);
	if (strcmp(argv[1], "locks") == 0)
		locks();
	else
		phase(argv[1]);
	return 0;
}
