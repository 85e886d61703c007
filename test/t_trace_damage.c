/* SPDX-License-Identifier: MIT */
/*
 * What is left of a trace that was cut or damaged: the replayer says so in one line, or replays what is whole, and
 * never crashes or hangs. Bytes are changed with the checksums as they were, which must be noticed, and with checksums
 * that fit, so that what is behind them is tried as well.
 */
#include "check.h"
#include "random.h"

#include <fcntl.h>
#include <spawn.h>

#include "trace/format.h"

enum { ROOM = 1 << 16, CHUNKS = 6, THREADS = 3, EVENTS = 60, ROUNDS = 400 };

extern char **environ;

static unsigned char good[ROOM], bad[ROOM];
static size_t good_bytes;
static size_t chunk_at[CHUNKS + 2];
static char file[64], replay[4096];
static struct rng rng = {1};

/* ---- A good trace: each thread allocates, and the next one frees ------------------------------------------------- */

struct encoder {
	unsigned char *at;
	uint64_t time, address;
};

static void put_end(struct encoder *e, enum call call, uint64_t time, uint64_t address)
{
	*e->at++ = (unsigned char)call;
	e->at = put_number(e->at, time - e->time);
	e->at = put_number(e->at, fold_address(address, e->address));
	e->time = time;
	e->address = address;
}

static void put_begin(struct encoder *e, enum call call, uint64_t time, uint64_t size, uint64_t address)
{
	*e->at++ = (unsigned char)call;
	e->at = put_number(e->at, time - e->time);
	if (trace_calls[call].has & HAS_COUNT)
		e->at = put_number(e->at, 3);
	if (trace_calls[call].has & HAS_ALIGNMENT)
		e->at = put_number(e->at, 64);
	e->at = put_number(e->at, size);
	e->at = put_number(e->at, fold_address(address, e->address));
	e->time = time;
	e->address = address;
}

static void seal(unsigned char *chunk)
{
	put_fixed(chunk + CHUNK_DATA_SUM, trace_sum(chunk + CHUNK_HEADER, get_fixed(chunk + CHUNK_BYTES, 4)), 8);
	put_fixed(chunk + CHUNK_SUM, trace_sum(chunk, CHUNK_SUM), 8);
}

static unsigned char *put_chunk(unsigned char *at, unsigned number)
{
	static const enum call calls[] = {CALL_MALLOC, CALL_CALLOC, CALL_POSIX_MEMALIGN, CALL_VALLOC};
	struct encoder e = {at + CHUNK_HEADER, number * 10000, 0};

	chunk_at[number] = (size_t)(at - good);
	memset(at, 0, CHUNK_HEADER);
	put_fixed(at + CHUNK_MAGIC, CHUNK_MAGIC_VALUE, 4);
	put_fixed(at + CHUNK_THREAD, number % THREADS, 4);
	put_fixed(at + CHUNK_EVENTS, number ? 2 * EVENTS : EVENTS, 4);
	put_fixed(at + CHUNK_NUMBER, number, 4);
	put_fixed(at + CHUNK_BASE, e.time, 8);
	for (uint64_t i = 0; i < EVENTS; i++) {
		if (number)
			put_end(&e, CALL_FREE, e.time + 3, 0x10000 + number * 0x100000 - 0x100000 + i * 0x1000);
		put_begin(&e, calls[i % LENGTH(calls)], e.time + 200, 8 * i, 0x10000 + number * 0x100000 + i * 0x1000);
	}
	put_fixed(at + CHUNK_BYTES, (uint64_t)(e.at - at - CHUNK_HEADER), 4);
	seal(at);
	return e.at;
}

static void make_good(void)
{
	unsigned char *at = good + FILE_HEADER, *end;

	memcpy(good, TRACE_MAGIC, 8);
	put_fixed(good + FILE_VERSION, TRACE_VERSION, 2);
	put_fixed(good + FILE_BYTES, FILE_HEADER, 2);
	put_fixed(good + FILE_PID, 123, 4);
	memcpy(good + FILE_NAME, "made", 4);
	put_fixed(good + FILE_SUM, trace_sum(good, FILE_SUM), 8);
	for (unsigned i = 0; i < CHUNKS; i++)
		at = put_chunk(at, i);
	chunk_at[CHUNKS] = (size_t)(at - good);
	memset(at, 0, CHUNK_HEADER);
	put_fixed(at + CHUNK_MAGIC, CHUNK_MAGIC_VALUE, 4);
	put_fixed(at + CHUNK_KIND, CHUNK_OF_END, 4);
	put_fixed(at + CHUNK_NUMBER, CHUNKS, 4);
	end = put_number(at + CHUNK_HEADER, EVENTS + (CHUNKS - 1) * 2 * EVENTS);
	put_fixed(at + CHUNK_BYTES, (uint64_t)(end - at - CHUNK_HEADER), 4);
	seal(at);
	good_bytes = (size_t)(end - good);
	CHECK(good_bytes < ROOM);
}

/* ---- The replayer ------------------------------------------------------------------------------------------------ */

/* How often, when it ends so, it prints lines to stderr: returns its exit status. */
static int run(size_t bytes, const char *how, const char *value, unsigned *lines)
{
	char *arguments[] = {replay, (char *)(uintptr_t)how, (char *)(uintptr_t)value, file, NULL};
	posix_spawn_file_actions_t actions;
	char said[4096];
	int fd = open(file, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600), status, ends[2];
	pid_t pid;

	CHECK(fd >= 0);
	CHECK(write(fd, bad, bytes) == (ssize_t)bytes);
	close(fd);
	CHECK(!pipe2(ends, O_CLOEXEC));
	CHECK(!posix_spawn_file_actions_init(&actions));
	CHECK(!posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0));
	CHECK(!posix_spawn_file_actions_adddup2(&actions, ends[1], 2));
	CHECK(!posix_spawn(&pid, replay, &actions, NULL, arguments, environ));
	posix_spawn_file_actions_destroy(&actions);
	close(ends[1]);
	*lines = 0;
	for (ssize_t n; (n = read(ends[0], said, sizeof said - 1)) > 0;)
		for (ssize_t i = 0; i < n; i++)
			*lines += said[i] == '\n';
	close(ends[0]);
	status = check_wait(pid);
	CHECK_SAY(WIFEXITED(status) && WEXITSTATUS(status) <= 1, "wait status %#x", (unsigned)status);
	CHECK_SAY(*lines == (unsigned)WEXITSTATUS(status), "%u lines with status %d", *lines, WEXITSTATUS(status));
	return WEXITSTATUS(status);
}

static void restore(void)
{
	memcpy(bad, good, good_bytes);
}

static void whole(void)
{
	unsigned lines;

	restore();
	CHECK(run(good_bytes, "--info", "--json", &lines) == 0);
	CHECK(run(good_bytes, "--threads", "single", &lines) == 0);
	CHECK(run(good_bytes, "--threads", "recorded", &lines) == 0);
}

/* Cut within its header it is none; cut anywhere else, what is whole is replayed. */
static void cut(void)
{
	unsigned lines;

	restore();
	for (size_t i = 0; i < check_scaled(ROUNDS) / 4; i++) {
		size_t bytes = rng_below(&rng, i % 4 ? good_bytes : 2 * FILE_HEADER);
		int status = run(bytes, i % 8 ? "--info" : "--threads", i % 8 ? "--json" : "recorded", &lines);
		CHECK_SAY(status == (bytes < FILE_HEADER), "%zu bytes: status %d", bytes, status);
	}
}

/* Every change is noticed. */
static void flipped(void)
{
	unsigned lines;

	for (size_t i = 0; i < check_scaled(ROUNDS); i++) {
		size_t at = rng_below(&rng, good_bytes);
		restore();
		bad[at] ^= (unsigned char)(1 << rng_below(&rng, 8));
		CHECK_SAY(run(good_bytes, "--info", "--json", &lines) == 1, "byte %zu", at);
	}
}

/* Where the checksums were made to fit, it is damaged, or another trace. */
static void forged(void)
{
	unsigned lines;

	for (size_t i = 0; i < check_scaled(ROUNDS); i++) {
		size_t chunk = rng_below(&rng, CHUNKS + 1), end = chunk < CHUNKS ? chunk_at[chunk + 1] : good_bytes;
		size_t changes = rng_between(&rng, 1, 4), bytes;
		restore();
		for (size_t k = 0; k < changes; k++) {
			size_t at = rng_below(&rng, 3) ? rng_between(&rng, chunk_at[chunk] + CHUNK_HEADER, end - 1)
						       : chunk_at[chunk] + rng_below(&rng, CHUNK_DATA_SUM);
			bad[at] = (unsigned char)rng_next(&rng);
		}
		/* Where it says that it is longer than the file there is nothing to seal. */
		bytes = get_fixed(bad + chunk_at[chunk] + CHUNK_BYTES, 4);
		if (bytes <= good_bytes - chunk_at[chunk] - CHUNK_HEADER)
			seal(bad + chunk_at[chunk]);
		run(good_bytes, "--info", "--json", &lines);
		if (i % 4 == 0) /* sizes may be anything: nothing is touched */
			run(good_bytes, "--touch=none", i % 8 ? "--threads=single" : "--threads=recorded", &lines);
	}
}

int main(void)
{
	const char *build = getenv("PMD_BUILD");

	snprintf(replay, sizeof replay, "%s/trace/pmdalloc-replay", build ? build : ".");
	if (access(replay, X_OK))
		SKIP("no %s", replay);
	snprintf(file, sizeof file, "/tmp/pmdalloc-damage.%d", (int)getpid());
	/* A size that was made up is refused, not a reason to stop. */
	setenv("ASAN_OPTIONS", "allocator_may_return_null=1:detect_leaks=0", 1);
	setenv("TSAN_OPTIONS", "allocator_may_return_null=1", 1);
	make_good();
	whole();
	cut();
	flipped();
	forged();
	unlink(file);
	return 0;
}
