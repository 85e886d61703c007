/* SPDX-License-Identifier: MIT */
/*
 * A service for the soak (soak.py): a store of values that are derived from their keys, served by many threads, forked,
 * saved and loaded. It knows no allocator: LD_PRELOAD decides who serves. Usage: keeper FILE KEYS THREADS
 *
 * It loads FILE when there is one, says "loaded EPOCH COUNT", and obeys the lines of stdin, each of which it answers
 * with a line:
 *
 *   fill        every key gets a value                            ok COUNT
 *   churn N     N changes by each thread                          ok COUNT
 *   drop N      N of 100 keys lose their value                    ok COUNT
 *   check       every byte of every value is looked at            ok COUNT
 *   fork        children do so while the threads change values    ok COUNT
 *   save EPOCH  a child writes everything to FILE                 saved EPOCH COUNT
 *
 * At the end of stdin it ends with 0. What is not as it was written ends it with 1 and a line that begins with "lost".
 *
 * Each thread of a command has a share of the keys, another one than in the command before: what one thread has
 * allocated another one frees, after the first has ended. A share belongs to one thread, everything belongs to the only
 * thread that there is between two commands, and to a child what it has inherited.
 *
 * SOAK_LEAK in the environment makes it leak a little in each drop, or do worse, on purpose: what the soak must find.
 */
#define _GNU_SOURCE 1
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../random.h"

enum { MOST_THREADS = 64, CHILDREN = 3, MAGIC = 0x6b656570 };

struct value {
	char *data; /* NULL: the key has none */
	uint32_t version;
};

struct record {
	uint32_t key, version;
	uint64_t size;
};

struct header {
	uint32_t magic, keys;
	uint64_t epoch, count;
};

struct worker {
	pthread_t thread;
	void (*work)(struct worker *);
	size_t share, number; /* number: the command's */
	struct rng rng;
};

static const char *file;
static struct value *values;
static size_t keys, threads, turn;

__attribute__((noreturn)) static void fail(const char *what, size_t key, size_t at)
{
	printf("lost: %s, key %zu, byte %zu, process %d\n", what, key, at, (int)getpid());
	fflush(stdout);
	_exit(1);
}

/* --- values ----------------------------------------------------------------------------------------------------- */

static struct rng rng_of(size_t key, uint32_t version)
{
	return (struct rng){((uint64_t)version << 32 | key) * 0x9e3779b97f4a7c15 + 1};
}

/*
 * Most are small, one in a thousand has up to megabytes. Those have the same size in all versions: as many bytes in all
 * make what is full at one time comparable with what is full at another.
 */
static size_t size_of(size_t key, uint32_t version)
{
	struct rng fixed = rng_of(key, 0), rng = rng_of(key, version);
	size_t kind = rng_below(&fixed, 1000);
	if (kind == 0)
		return 1 + rng_log_size(&fixed, 21);
	return 1 + rng_log_size(&rng, kind < 30 ? 16 : kind < 300 ? 12 : 9);
}

static uint64_t seed_of(size_t key, uint32_t version)
{
	struct rng rng = rng_of(key, ~version);
	return rng_next(&rng);
}

static char byte_of(uint64_t seed, size_t i)
{
	return (char)(seed >> (i % 8 * 8)) ^ (char)(i >> 3) ^ (char)(i >> 11);
}

static void write_bytes(char *data, uint64_t seed, size_t from, size_t to)
{
	for (size_t i = from; i < to; i++)
		data[i] = byte_of(seed, i);
}

static void check_bytes(const char *data, uint64_t seed, size_t size, size_t key)
{
	for (size_t i = 0; i < size; i++)
		if (data[i] != byte_of(seed, i))
			fail("another byte", key, i);
}

static void check_value(size_t key)
{
	const struct value *v = &values[key];
	if (v->data)
		check_bytes(v->data, seed_of(key, v->version), size_of(key, v->version), key);
}

static void drop_value(size_t key)
{
	check_value(key);
	free(values[key].data);
	values[key].data = NULL;
}

static char *allocate(struct rng *how, size_t size, size_t key)
{
	char *data = NULL;
	switch (rng_below(how, 4)) {
	case 0:
		data = calloc(1, size);
		for (size_t i = 0; data && i < size; i++)
			if (data[i])
				fail("calloc is not zero", key, i);
		return data;
	case 1:
		return posix_memalign((void **)&data, (size_t)16 << rng_below(how, 9), size) ? NULL : data;
	default:
		return malloc(size);
	}
}

/* Now and then in two steps, so that realloc has to keep the first. */
static void set_value(struct rng *how, size_t key)
{
	struct value *v = &values[key];
	if (v->data)
		drop_value(key);
	v->version++;
	size_t size = size_of(key, v->version), first = rng_below(how, 4) ? size : size / 2 + 1;
	uint64_t seed = seed_of(key, v->version);
	char *data = allocate(how, first, key);
	if (!data)
		fail("no memory", key, size);
	write_bytes(data, seed, 0, first);
	if (first < size && !(data = realloc(data, size)))
		fail("no memory for more", key, size);
	write_bytes(data, seed, first < size ? first : size, size);
	v->data = data;
}

static size_t count_values(void)
{
	size_t count = 0;
	for (size_t key = 0; key < keys; key++)
		count += values[key].data != NULL;
	return count;
}

/* --- what threads do -------------------------------------------------------------------------------------------- */

static void do_fill(struct worker *w)
{
	for (size_t key = w->share; key < keys; key += threads)
		set_value(&w->rng, key);
}

static void do_churn(struct worker *w)
{
	size_t mine = keys / threads;
	for (size_t i = 0; i < w->number; i++) {
		size_t key = rng_below(&w->rng, mine) * threads + w->share;
		if (rng_below(&w->rng, 3))
			set_value(&w->rng, key);
		else if (values[key].data)
			drop_value(key);
	}
}

static void do_drop(struct worker *w)
{
	for (size_t key = w->share; key < keys; key += threads)
		if (values[key].data && rng_below(&w->rng, 100) < w->number)
			drop_value(key);
}

static void do_check(struct worker *w)
{
	for (size_t key = w->share; key < keys; key += threads)
		check_value(key);
}

static void *run_worker(void *worker)
{
	struct worker *w = worker;
	w->work(w);
	return NULL;
}

static struct worker workers[MOST_THREADS];

static void begin_threads(void (*work)(struct worker *), size_t number)
{
	static uint64_t seed;
	turn++;
	for (size_t t = 0; t < threads; t++) {
		workers[t] = (struct worker){.work = work,
					     .share = (t + turn) % threads,
					     .number = number,
					     .rng = {++seed * 0x2545f4914f6cdd1d}};
		if (pthread_create(&workers[t].thread, NULL, run_worker, &workers[t]))
			fail("no thread", t, 0);
	}
}

static void join_threads(void)
{
	for (size_t t = 0; t < threads; t++)
		pthread_join(workers[t].thread, NULL);
}

static void in_threads(void (*work)(struct worker *), size_t number)
{
	begin_threads(work, number);
	join_threads();
}

/* --- children --------------------------------------------------------------------------------------------------- */

/* Looks at all that it has inherited, and changes some of it, in threads of its own. */
__attribute__((noreturn)) static void be_child(void)
{
	in_threads(do_check, 0);
	in_threads(do_churn, 200);
	in_threads(do_check, 0);
	exit(0);
}

static pid_t fork_child(void)
{
	fflush(stdout);
	pid_t pid = fork();
	if (pid < 0)
		fail("no child", 0, 0);
	/* When the service is killed nobody may go on writing the file of the next one. */
	if (!pid && prctl(PR_SET_PDEATHSIG, SIGKILL))
		fail("no signal at the parent's death", 0, 0);
	return pid;
}

/* Where the kernel kills children as memory is short, it is as if it had been the service: who asked for it knows of that. */
static void wait_for(pid_t pid, bool may_be_killed)
{
	int status;
	if (waitpid(pid, &status, 0) != pid)
		fail("a child is not there", 0, 0);
	bool was_killed = WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
	if (was_killed && !may_be_killed)
		raise(SIGKILL);
	if (status && !was_killed)
		fail("a child ended badly", 0, (size_t)status);
}

/* Children at work while the parent's threads are; the last one is killed, whatever it is at. */
static void do_fork(void)
{
	pid_t children[CHILDREN];
	for (int i = 0; i < CHILDREN; i++)
		if (!(children[i] = fork_child()))
			be_child();
	begin_threads(do_churn, 2000);
	kill(children[CHILDREN - 1], SIGKILL);
	join_threads();
	for (int i = 0; i < CHILDREN; i++)
		wait_for(children[i], i == CHILDREN - 1);
}

/* --- the file --------------------------------------------------------------------------------------------------- */

static void put(const void *data, size_t size, FILE *f)
{
	if (fwrite(data, 1, size, f) != size)
		fail("the file takes no more", 0, size);
}

static void get(void *data, size_t size, FILE *f)
{
	if (fread(data, 1, size, f) != size)
		fail("the file ends early", 0, size);
}

static void save_value(size_t key, FILE *f)
{
	uint32_t version = values[key].version;
	struct record r = {.key = (uint32_t)key, .version = version, .size = size_of(key, version)};
	put(&r, sizeof r, f);
	put(values[key].data, r.size, f);
}

static void save(uint64_t epoch)
{
	char name[4096];
	snprintf(name, sizeof name, "%s.new", file);
	FILE *f = fopen(name, "we");
	struct header h = {.magic = MAGIC, .keys = (uint32_t)keys, .epoch = epoch, .count = count_values()};
	if (!f)
		fail("the file cannot be made", 0, 0);
	put(&h, sizeof h, f);
	for (size_t key = 0; key < keys; key++)
		if (values[key].data)
			save_value(key, f);
	if (fclose(f) || rename(name, file))
		fail("the file cannot be written", 0, 0);
}

static void do_save(uint64_t epoch)
{
	size_t count = count_values();
	pid_t pid = fork_child();
	if (!pid) {
		save(epoch);
		exit(0);
	}
	in_threads(do_churn, 200);
	wait_for(pid, false);
	printf("saved %llu %zu\n", (unsigned long long)epoch, count);
}

static void load_value(FILE *f)
{
	struct record r;
	get(&r, sizeof r, f);
	if (r.key >= keys || r.size != size_of(r.key, r.version))
		fail("another size in the file", r.key, r.size);
	values[r.key] = (struct value){.data = malloc(r.size), .version = r.version};
	if (!values[r.key].data)
		fail("no memory", r.key, r.size);
	get(values[r.key].data, r.size, f);
	check_value(r.key);
}

static void load(void)
{
	struct header h = {0};
	FILE *f = fopen(file, "re");
	if (f) {
		get(&h, sizeof h, f);
		if (h.magic != MAGIC || h.keys != keys)
			fail("not such a file", 0, 0);
		for (size_t i = 0; i < h.count; i++)
			load_value(f);
		fclose(f);
	}
	printf("loaded %llu %zu\n", (unsigned long long)h.epoch, count_values());
}

/* --- leaks, on purpose ------------------------------------------------------------------------------------------ */

static void *sleep_for_ever(void *unused)
{
	for (;;)
		pause();
	return unused;
}

/* Bytes: as much as a hundredth of what a fill allocates. */
static void leak(void)
{
	static unsigned times;
	const char *what = getenv("SOAK_LEAK");
	pthread_t thread;
	if (!what)
		return;
	times++;
	if (!strcmp(what, "bytes"))
		for (size_t key = times % 100; key < keys; key += 100) {
			size_t size = size_of(key, times);
			memset(malloc(size), 1, size);
		}
	else if (!strcmp(what, "descriptors"))
		(void)!open("/dev/null", O_RDONLY | O_CLOEXEC);
	else if (!strcmp(what, "threads"))
		(void)!pthread_create(&thread, NULL, sleep_for_ever, NULL);
	else if (!strcmp(what, "vmas"))
		for (int i = 0; i < 4; i++)
			mmap(NULL, 4096, i % 2 ? PROT_READ : PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	else if (!strcmp(what, "death") && times == 2)
		abort();
	else if (!strcmp(what, "data"))
		for (size_t key = 0; key < keys; key++)
			if (values[key].data && times == 2) {
				values[key].data[0] ^= 1;
				break;
			}
}

/* --- commands --------------------------------------------------------------------------------------------------- */

static void obey(const char *line)
{
	unsigned long long number = 0;
	char word[16] = "";
	sscanf(line, "%15s %llu", word, &number);
	if (!strcmp(word, "save")) {
		do_save(number);
		return;
	}
	if (!strcmp(word, "fill"))
		in_threads(do_fill, 0);
	else if (!strcmp(word, "churn"))
		in_threads(do_churn, number);
	else if (!strcmp(word, "drop"))
		in_threads(do_drop, number), leak();
	else if (!strcmp(word, "check"))
		in_threads(do_check, 0);
	else if (!strcmp(word, "fork"))
		do_fork();
	else
		fail("no such command", 0, 0);
	printf("ok %zu\n", count_values());
}

int main(int argc, char **argv)
{
	char line[64];
	if (argc != 4)
		return 2;
	file = argv[1];
	keys = strtoul(argv[2], NULL, 10);
	threads = strtoul(argv[3], NULL, 10);
	if (!threads || threads > MOST_THREADS || keys < threads || !(values = calloc(keys, sizeof *values)))
		return 2;
	setvbuf(stdout, NULL, _IOLBF, 0);
	load();
	while (fgets(line, sizeof line, stdin))
		obey(line);
	return 0;
}
