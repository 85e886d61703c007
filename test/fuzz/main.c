/* SPDX-License-Identifier: MIT */
/*
 * Gives a fuzzer's entry the files that are named, and those in the folders that are named; without any, what comes on
 * standard input, as afl-fuzz has it. With --seconds N it goes on with random changes of those files for so long, which
 * needs no compiler's help, and finds less than a fuzzer that sees which branches were taken. Each input is written to
 * the file --last before it is tried: what is found there after a crash is what caused it.
 */
#include "check.h"
#include "input.h"
#include "random.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <time.h>

enum { INPUT_MOST = 4096, INPUTS_MOST = 1024 };

static struct {
	uint8_t *data;
	size_t length;
} inputs[INPUTS_MOST];

static size_t count;
static unsigned long tried;
static const char *last;

static void try(const uint8_t *data, size_t length)
{
	if (last) {
		int fd = open(last, O_WRONLY | O_CREAT | O_TRUNC, 0600);
		CHECK(fd >= 0 && write(fd, data, length) == (ssize_t)length);
		close(fd);
	}
	LLVMFuzzerTestOneInput(data, length);
	tried++;
}

/* Longer files count as if they ended there. */
static void read_from(int fd)
{
	static uint8_t buffer[INPUT_MOST];
	size_t length = 0;
	for (ssize_t n; length < INPUT_MOST && (n = read(fd, buffer + length, INPUT_MOST - length)) > 0;)
		length += (size_t)n;
	CHECK_SAY(count < INPUTS_MOST, "more than %d inputs", INPUTS_MOST);
	inputs[count].data = malloc(INPUT_MOST);
	CHECK(inputs[count].data);
	memcpy(inputs[count].data, buffer, length);
	inputs[count++].length = length;
}

static void read_path(const char *path)
{
	DIR *folder = opendir(path);
	for (const struct dirent *entry; folder && (entry = readdir(folder));) {
		int fd = openat(dirfd(folder), entry->d_name, O_RDONLY);
		struct stat status;
		if (fd >= 0 && fstat(fd, &status) == 0 && S_ISREG(status.st_mode))
			read_from(fd);
		close(fd);
	}
	if (folder) {
		closedir(folder);
		return;
	}
	int fd = open(path, O_RDONLY);
	CHECK_SAY(fd >= 0, "%s", path);
	read_from(fd);
	close(fd);
}

/* Overwrites, inserts, removes or takes from another input, a few times. */
static size_t change(struct rng *rng, uint8_t *data, size_t length)
{
	for (size_t times = 1 + rng_below(rng, 8); times--;) {
		size_t at = rng_below(rng, length + 1), bytes = rng_below(rng, 9), from;
		switch (rng_below(rng, 4)) {
		case 0:
			if (at < length)
				data[at] = (uint8_t)rng_next(rng);
			break;
		case 1:
			if (length + bytes > INPUT_MOST)
				break;
			memmove(data + at + bytes, data + at, length - at);
			for (size_t i = 0; i < bytes; i++)
				data[at + i] = (uint8_t)rng_next(rng);
			length += bytes;
			break;
		case 2:
			if (bytes > length - at)
				break;
			memmove(data + at, data + at + bytes, length - at - bytes);
			length -= bytes;
			break;
		default:
			from = rng_below(rng, count);
			bytes = rng_below(rng, inputs[from].length + 1);
			if (bytes > INPUT_MOST - at)
				break;
			memcpy(data + at, inputs[from].data, bytes);
			length = at + bytes > length ? at + bytes : length;
		}
	}
	return length;
}

static void go_on(time_t seconds, uint64_t seed)
{
	static uint8_t data[INPUT_MOST];
	struct rng rng = {seed};
	time_t end = time(NULL) + seconds;
	while (time(NULL) < end) {
		size_t i = rng_below(&rng, count);
		memcpy(data, inputs[i].data, inputs[i].length);
		try(data, change(&rng, data, inputs[i].length));
	}
}

int main(int argc, char **argv)
{
	long seconds = 0, seed = 1;
	bool is_path = false;
	for (int i = 1; i < argc; i++)
		if (strcmp(argv[i], "--seconds") == 0 && i + 1 < argc)
			seconds = strtol(argv[++i], NULL, 10);
		else if (strcmp(argv[i], "--seed") == 0 && i + 1 < argc)
			seed = strtol(argv[++i], NULL, 10);
		else if (strcmp(argv[i], "--last") == 0 && i + 1 < argc)
			last = argv[++i];
		else {
			read_path(argv[i]);
			is_path = true;
		}
	if (!is_path)
		read_from(STDIN_FILENO);
	CHECK_SAY(count, "no input");
	for (size_t i = 0; i < count; i++)
		try(inputs[i].data, inputs[i].length);
	if (seconds)
		go_on(seconds, (uint64_t)seed);
	printf("%lu inputs\n", tried);
	return tried ? 0 : 1;
}
