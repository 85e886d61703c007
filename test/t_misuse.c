/* SPDX-License-Identifier: MIT */
/*
 * Every wrong free() is found by default, without any option: the process writes one report that holds the pointer and
 * says what it is, and aborts. Each case runs for each size in a process of its own; the matrix of results is printed.
 */
#include "api.h"
#include "check.h"
#include "proc.h"

#include <pthread.h>

#define CASE_SECONDS 20
#define NEIGHBOURS   8

/* What a case does to a block of SIZE bytes. It announces the pointer before it misuses it. */
struct misuse {
	const char *name;
	void (*run)(size_t size);
	const char *words; /* alternatives, one of which the message holds */
};

static const size_t sizes[] = {8, 100, 1024, 4096, 256 * KIB, 2 * MIB};

/* ---- In the process that misuses ---- */

/* Tells the parent the pointer that the message has to name. */
static void *announce(void *p)
{
	CHECK(write(STDOUT_FILENO, &p, sizeof p) == sizeof p);
	return p;
}

/* There is nothing to misuse: the allocator gave the block to someone else, to whom it belongs now. */
static void not_applicable(void)
{
	_exit(EXIT_SKIP);
}

static void bad_free(void *p)
{
	t_free(announce(p));
}

static void *block_of(size_t size)
{
	void *p = t_malloc(size);
	CHECK(p);
	memset(p, 0x5a, size);
	return p;
}

static void *thread_free(void *p)
{
	t_free(p);
	return NULL;
}

static void *thread_nothing(void *unused)
{
	return unused;
}

static void *thread_malloc(void *size)
{
	return block_of((size_t)size);
}

static void stack_pointer(size_t size)
{
	_Alignas(16) char array[4096];
	memset(array, 0, sizeof array);
	(void)size;
	bad_free(array + 64);
}

static void static_pointer(size_t size)
{
	_Alignas(16) static char array[4096];
	(void)size;
	bad_free(array + 64);
}

static void foreign_mapping(size_t size)
{
	size_t length = (size + 4095) & ~(size_t)4095;
	void *p = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(p != MAP_FAILED);
	bad_free(p);
}

static void unmapped_pointer(size_t size)
{
	t_free(block_of(size));
	bad_free((void *)0x1234560);
}

static void first_page(size_t size)
{
	t_free(block_of(size));
	bad_free((void *)16);
}

static void top_of_address_space(size_t size)
{
	t_free(block_of(size));
	bad_free((void *)~(uintptr_t)15);
}

static void one_byte_in(size_t size)
{
	bad_free((char *)block_of(size) + 1);
}

static void eight_bytes_in(size_t size)
{
	bad_free((char *)block_of(size) + 8);
}

static void sixteen_bytes_in(size_t size)
{
	if (size <= 16)
		not_applicable();
	bad_free((char *)block_of(size) + 16);
}

static void half_way(size_t size)
{
	bad_free((char *)block_of(size) + size / 2);
}

/* In a region of which the block has every slice, and in the last one, which others share. */
static void far_into_many_regions(size_t size)
{
	bad_free((char *)block_of(size + 64 * MIB) + 33 * MIB);
}

static void late_in_many_regions(size_t size)
{
	bad_free((char *)block_of(size + 64 * MIB) + 64 * MIB);
}

static void behind_many_regions(size_t size)
{
	bad_free((char *)block_of(64 * MIB + 64 * KIB) + 65 * MIB + (size & 15));
}

static void last_bytes(size_t size)
{
	if (size <= 16)
		not_applicable();
	bad_free((char *)block_of(size) + ((size - 1) & ~(size_t)15));
}

static void sixteen_kib_away(size_t size)
{
	bad_free((char *)block_of(size) + 16384);
}

static void one_gib_away(size_t size)
{
	bad_free((char *)block_of(size) + GIB);
}

static void below_the_block(size_t size)
{
	bad_free((char *)block_of(size) - 64 * KIB - 16);
}

static void never_allocated(size_t size)
{
	char *highest = NULL;
	for (int i = 0; i < NEIGHBOURS; i++) {
		char *p = block_of(size);
		if (p > highest)
			highest = p;
	}
	bad_free(highest + t_usable(highest));
}

static void twice_at_once(size_t size)
{
	void *p = block_of(size);
	t_free(p);
	bad_free(p);
}

static void twice_others_between(size_t size)
{
	void *p = block_of(size);
	void *others[NEIGHBOURS];
	for (int i = 0; i < NEIGHBOURS; i++)
		others[i] = block_of(size);
	t_free(p);
	for (int i = 0; i < NEIGHBOURS; i++)
		t_free(others[i]);
	bad_free(p);
}

static void twice_neighbours_live(size_t size)
{
	void *before = block_of(size);
	void *p = block_of(size);
	void *after = block_of(size);
	t_free(p);
	CHECK(before && after);
	bad_free(p);
}

/* The neighbours, freed later than the block, are allocated again first by most allocators. */
static void twice_neighbours_reused(size_t size)
{
	void *blocks[NEIGHBOURS];
	for (int i = 0; i < NEIGHBOURS; i++)
		blocks[i] = block_of(size);
	void *p = blocks[NEIGHBOURS / 2];
	t_free(p);
	for (int i = 0; i < NEIGHBOURS; i++)
		if (blocks[i] != p)
			t_free(blocks[i]);
	for (int i = 0; i < NEIGHBOURS / 2; i++)
		if (block_of(size) == p)
			not_applicable();
	bad_free(p);
}

static void twice_after_other_classes(size_t size)
{
	void *keep = block_of(size);
	void *p = block_of(size);
	t_free(p);
	for (size_t i = 0; i < 1000; i++) {
		size_t other = 16 + i * 37 % 8000;
		char *q = block_of(other + (other / 2 < size && size < other * 2 ? 4 * size + 4096 : 0));
		if (q <= (char *)p && (char *)p < q + t_usable(q))
			not_applicable();
	}
	CHECK(keep);
	bad_free(p);
}

static void twice_by_two_threads(size_t size)
{
	void *p = block_of(size);
	proc_in_thread(thread_free, p);
	announce(p);
	proc_in_thread(thread_free, p);
}

static void twice_other_thread_first(size_t size)
{
	void *p = block_of(size);
	proc_in_thread(thread_free, p);
	bad_free(p);
}

static void twice_owner_first(size_t size)
{
	void *keep = block_of(size);
	void *p = block_of(size);
	t_free(p);
	announce(p);
	proc_in_thread(thread_free, p);
	CHECK(keep);
}

static void twice_owner_gone(size_t size)
{
	void *p = proc_in_thread(thread_malloc, (void *)size);
	t_free(p);
	bad_free(p);
}

static void within_owner_gone(size_t size)
{
	bad_free((char *)proc_in_thread(thread_malloc, (void *)size) + 8);
}

/* To a size that it has room for. */
static void twice_by_realloc_in_place(size_t size)
{
	void *keep = block_of(size), *p = block_of(size);
	t_free(p);
	announce(p);
	CHECK(keep && t_realloc(p, size + size / 16) != p);
}

static void twice_by_realloc(size_t size)
{
	void *p = block_of(size);
	t_free(p);
	announce(p);
	void *q = t_realloc(p, 3 * size + 100);
	CHECK(q != p);
}

/* realloc moved the block: the old pointer is stale. */
static void twice_after_move(size_t size)
{
	void *p = block_of(size);
	void *barrier = block_of(size);
	void *q = t_realloc(p, 16 * size + 4096);
	CHECK(q && barrier);
	if (q == p)
		not_applicable();
	bad_free(p);
}

static void twice_aligned(size_t size)
{
	void *p = NULL;
	CHECK(t_posix_memalign(&p, 256, size) == 0);
	t_free(p);
	bad_free(p);
}

static void inside_aligned(size_t size)
{
	char *p = NULL;
	CHECK(t_posix_memalign((void **)&p, 4096, size + 512) == 0);
	bad_free(p + 256);
}

static void twice_after_release(size_t size)
{
	void *p = block_of(size);
	void *q = block_of(size);
	t_free(q);
	t_free(p);
	pmd_thread_flush();
	pmd_release();
	bad_free(p);
}

static void twice_by_free_sized(size_t size)
{
	void *p = block_of(size);
	t_free_sized(p, size);
	announce(p);
	t_free_sized(p, size);
}

static void twice_in_full_slabs(size_t size)
{
	enum { MANY = 64 };
	void *blocks[MANY];
	for (int i = 0; i < MANY; i++)
		blocks[i] = block_of(size);
	t_free(blocks[17]);
	t_free(blocks[40]);
	t_free(blocks[18]);
	bad_free(blocks[17]);
}

#define FOREIGN  "did not hand out"
#define INTERIOR "bytes into"
#define NO_BLOCK INTERIOR "|" FOREIGN "|no block was allocated|free memory"
#define DOUBLE   "double free|already freed"

static const struct misuse cases[] = {
	{"stack", stack_pointer, FOREIGN},
	{"static data", static_pointer, FOREIGN},
	{"foreign mapping", foreign_mapping, FOREIGN},
	{"unmapped 0x1234560", unmapped_pointer, FOREIGN},
	{"address 16", first_page, FOREIGN},
	{"address -16", top_of_address_space, FOREIGN},
	{"p + 1", one_byte_in, INTERIOR},
	{"p + 8", eight_bytes_in, INTERIOR},
	{"p + 16", sixteen_bytes_in, NO_BLOCK},
	{"p + size / 2", half_way, NO_BLOCK},
	{"p + size - 16", last_bytes, NO_BLOCK},
	{"p + 33 of 64 MiB", far_into_many_regions, NO_BLOCK},
	{"p + 64 of 64 MiB", late_in_many_regions, NO_BLOCK},
	{"64 MiB, p + 65 MiB", behind_many_regions, NO_BLOCK},
	{"p + 16 KiB", sixteen_kib_away, NO_BLOCK},
	{"p + 1 GiB", one_gib_away, NO_BLOCK},
	{"p - 64 KiB - 16", below_the_block, NO_BLOCK},
	{"never allocated", never_allocated, NO_BLOCK "|" DOUBLE},
	{"inside aligned", inside_aligned, NO_BLOCK},
	{"twice: at once", twice_at_once, DOUBLE},
	{"twice: others between", twice_others_between, DOUBLE},
	{"twice: neighbours live", twice_neighbours_live, DOUBLE},
	{"twice: neighbours reused", twice_neighbours_reused, DOUBLE},
	{"twice: 1000 others", twice_after_other_classes, DOUBLE},
	{"twice: two threads", twice_by_two_threads, DOUBLE},
	{"twice: other, owner", twice_other_thread_first, DOUBLE},
	{"twice: owner, other", twice_owner_first, DOUBLE},
	{"twice: owner is gone", twice_owner_gone, DOUBLE},
	{"p + 8, owner is gone", within_owner_gone, INTERIOR},
	{"twice: realloc in place", twice_by_realloc_in_place, DOUBLE},
	{"twice: realloc", twice_by_realloc, DOUBLE},
	{"twice: after a move", twice_after_move, DOUBLE},
	{"twice: aligned", twice_aligned, DOUBLE},
	{"twice: after release", twice_after_release, NO_BLOCK "|" DOUBLE},
	{"twice: free_sized", twice_by_free_sized, DOUBLE},
	{"twice: of many", twice_in_full_slabs, DOUBLE},
};

/* ---- In the process that watches ---- */

struct outcome {
	int status;
	void *pointer;
	char message[2048];
};

static void read_all(int fd, char *buffer, size_t size)
{
	size_t length = 0;
	for (ssize_t n; length < size - 1 && (n = read(fd, buffer + length, size - 1 - length)) > 0;)
		length += (size_t)n;
	buffer[length] = 0;
	close(fd);
}

static void start_child(size_t which, size_t size, const int *out, const int *err)
{
	char case_text[24], size_text[24];
	char program[] = "t_misuse";
	char *const args[] = {program, case_text, size_text, NULL};
	check_child(CASE_SECONDS);
	snprintf(case_text, sizeof case_text, "%zu", which);
	snprintf(size_text, sizeof size_text, "%zu", size);
	dup2(out[1], STDOUT_FILENO);
	dup2(err[1], STDERR_FILENO);
	for (int i = 0; i < 2; i++) {
		close(out[i]);
		close(err[i]);
	}
	execv("/proc/self/exe", args);
	_exit(126);
}

static void watch(size_t which, size_t size, struct outcome *outcome)
{
	int out[2], err[2];
	CHECK(pipe(out) == 0 && pipe(err) == 0);
	pid_t pid = fork();
	CHECK(pid >= 0);
	if (pid == 0)
		start_child(which, size, out, err);
	close(out[1]);
	close(err[1]);
	outcome->pointer = NULL;
	CHECK(read(out[0], &outcome->pointer, sizeof outcome->pointer) >= 0);
	close(out[0]);
	read_all(err[0], outcome->message, sizeof outcome->message);
	outcome->status = check_wait(pid);
}

static bool holds_one_of(const char *message, const char *words)
{
	char list[256];
	snprintf(list, sizeof list, "%s", words);
	for (char *rest = list, *word; (word = strsep(&rest, "|"));)
		if (strcasestr(message, word))
			return true;
	return false;
}

/* Lines that all say whose they are, the first of them alone not indented. */
static bool is_one_block(const char *message)
{
	static const char start[] = "pmdalloc: ";
	size_t blocks = 0;
	for (const char *line = message; *line; line++) {
		if (strncmp(line, start, strlen(start)) != 0)
			return false;
		blocks += line[strlen(start)] != ' ';
		if (!(line = strchr(line, '\n')))
			return false;
	}
	return blocks == 1;
}

/* NULL when the outcome is what a user wants to see, or what is wrong with it. */
static const char *judge(const struct misuse *misuse, const struct outcome *outcome)
{
	char pointer[32];
	if (WIFEXITED(outcome->status) && WEXITSTATUS(outcome->status) == EXIT_SKIP)
		return "n/a";
	if (WIFEXITED(outcome->status))
		return "missed";
	if (WTERMSIG(outcome->status) == SIGALRM)
		return "hung";
	if (WTERMSIG(outcome->status) != SIGABRT)
		return "crashed";
	snprintf(pointer, sizeof pointer, "%p", outcome->pointer);
	if (!strstr(outcome->message, pointer))
		return "pointer?";
	if (!is_one_block(outcome->message))
		return "lines?";
	if (!holds_one_of(outcome->message, misuse->words))
		return "words?";
	return NULL;
}

/* Runs one cell of the matrix; returns whether it is as it should be. */
static bool run_cell(const struct misuse *misuse, size_t size)
{
	static struct outcome outcome;
	watch((size_t)(misuse - cases), size, &outcome);
	const char *wrong = judge(misuse, &outcome);
	printf(" %8s", wrong ? wrong : "found");
	if (!wrong || strcmp(wrong, "n/a") == 0)
		return true;
	fflush(stdout);
	check_say("%s, %zu bytes: %s; the message was: %s\n", misuse->name, size, wrong, outcome.message);
	return false;
}

int main(int argc, char **argv)
{
	size_t failed = 0;
	if (argc == 3) {
		/* What the C library allocates for a first thread must not land where a block was freed. */
		proc_in_thread(thread_nothing, NULL);
		cases[strtoul(argv[1], NULL, 10)].run(strtoul(argv[2], NULL, 10));
		return 0;
	}
	unsetenv("PMDALLOC_CONF");
	printf("%-26s", "bytes");
	for (size_t i = 0; i < LENGTH(sizes); i++)
		printf(" %8zu", sizes[i]);
	for (size_t i = 0; i < LENGTH(cases); i++) {
		printf("\n%-26s", cases[i].name);
		for (size_t j = 0; j < LENGTH(sizes); j++)
			failed += !run_cell(&cases[i], sizes[j]);
	}
	printf("\n%zu of %zu cases failed\n", failed, LENGTH(cases) * LENGTH(sizes));
	fflush(stdout);
	CHECK(failed == 0);
	return 0;
}
