/* SPDX-License-Identifier: MIT */
/*
 * What pmdalloc uses: the preloaded library itself is asked, and watched while it gives memory back and while a process
 * ends under it. Nothing here knows how it chooses.
 */
#include <dirent.h>
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "doctor.h"
#include "pmdalloc/pmdalloc.h"

enum {
	BLOCKS = 16,
	BLOCK_BYTES = 2 << 20,
	EXIT_BYTES = 48 << 20,
	THREAD_MS = 2000,
};

static struct {
	__typeof__(&pmd_stats_print) stats_print;
	__typeof__(&pmd_option_get) option_get;
	__typeof__(&pmd_option_set) option_set;
	__typeof__(&pmd_release) release;
	__typeof__(&pmd_version) version;
} library;

static bool find(const char *name, void *function)
{
	void *found = dlsym(RTLD_DEFAULT, name);

	memcpy(function, &found, sizeof found);
	return found;
}

static bool find_library(void)
{
	return find("pmd_stats_print", &library.stats_print) && find("pmd_option_get", &library.option_get) &&
	       find("pmd_option_set", &library.option_set) && find("pmd_release", &library.release) &&
	       find("pmd_version", &library.version);
}

static const char *option(const char *name, char *buf, size_t len)
{
	if (library.option_get(name, buf, len))
		snprintf(buf, len, "?");
	return buf;
}

/* The way that statistics name. */
static void ask_backend(char *name, size_t len)
{
	char line[256];
	FILE *text = tmpfile();

	snprintf(name, len, "unknown");
	if (!text)
		return;
	library.stats_print(fileno(text), PMD_FORMAT_TEXT);
	rewind(text);
	while (fgets(line, sizeof line, text)) {
		char key[32], word[64];

		if (sscanf(line, "%31s %63s", key, word) == 2 && !strcmp(key, "release")) {
			snprintf(name, len, "%s", word);
			break;
		}
	}
	fclose(text);
}

/* Whole regions are allocated, touched and freed: how many page tables then come back? */
static void watch_release(struct fact *f)
{
	long long start, full, after;
	char *blocks[BLOCKS];

	library.release();
	start = page_table_bytes();
	for (size_t i = 0; i < BLOCKS; i++) {
		blocks[i] = malloc(BLOCK_BYTES);
		for (size_t at = 0; blocks[i] && at < BLOCK_BYTES; at += 4096)
			*(volatile char *)(blocks[i] + at) = 1;
	}
	full = page_table_bytes();
	for (size_t i = 0; i < BLOCKS; i++)
		free(blocks[i]);
	library.release();
	after = page_table_bytes();
	if (start < 0)
		say_value(f, "unknown: no VmPTE");
	else
		say_value(f, after - start <= (full - start) / 8 ? "come back" : "stay");
	say_how(f, "%d MiB allocated, freed and released: VmPTE %lld -> %lld -> %lld kB", BLOCKS * (BLOCK_BYTES >> 20),
		start / 1024, full / 1024, after / 1024);
}

static void ask_release(void)
{
	struct fact *way = doctor_fact("release"), *tables = doctor_fact("heap's page tables");
	char backend[64], asked[64];

	watch_release(tables);
	ask_backend(backend, sizeof backend);
	say_value(way, "%s", backend);
	say_how(way, "its own statistics, after that; release:%s", option("release", asked, sizeof asked));
	if (!strcmp(backend, "remap") && kernel_frees_page_tables)
		doctor_advise(true, "Regions are mapped anew although this kernel's madvise frees page tables: leave "
				    "the option release as it is (auto).");
	if (strcmp(tables->value, "come back"))
		doctor_advise(true, "The heap's page tables do not come back.");
}

/* ---- Its thread -------------------------------------------------------------------------------------------------- */

static bool has_thread(void)
{
	DIR *tasks = opendir("/proc/self/task");
	char path[300], name[32];
	struct dirent *e;
	bool found = false;

	while (tasks && !found && (e = readdir(tasks))) {
		snprintf(path, sizeof path, "/proc/self/task/%s/comm", e->d_name);
		found = e->d_name[0] != '.' && atoi(e->d_name) != getpid() && read_text(path, name, sizeof name) &&
			!strcmp(name, "pmdalloc");
	}
	if (tasks)
		closedir(tasks);
	return found;
}

/* Freed memory calls the thread; it comes a moment later. */
static void ask_thread(void)
{
	const struct timespec moment = {0, 5000000};
	struct fact *f = doctor_fact("background thread");
	char setting[64];
	bool found = false;
	char *p = malloc(4 * BLOCK_BYTES);

	for (size_t at = 0; p && at < 4 * BLOCK_BYTES; at += 4096)
		*(volatile char *)(p + at) = 1;
	free(p);
	option("background", setting, sizeof setting);
	for (int ms = 0; !found && ms < THREAD_MS && strcmp(setting, "off") != 0; ms += 5) {
		found = has_thread();
		if (!found)
			nanosleep(&moment, NULL);
	}
	say_value(f, found ? "runs" : "none");
	say_how(f, "/proc/self/task, after a free; background:%s", setting);
	if (!found && strcmp(setting, "off"))
		doctor_advise(false, "No background thread could be started, so memory goes back only when the program "
				     "calls malloc or free.");
}

/* ---- Huge pages -------------------------------------------------------------------------------------------------- */

static void ask_huge_pages(void)
{
	struct fact *f = doctor_fact("thp");
	char setting[64];

	say_value(f, "%s", option("thp", setting, sizeof setting));
	say_how(f, "the option");
}

/* ---- Exit -------------------------------------------------------------------------------------------------------- */

/* A process with a heap that is large enough ends. If it handed over, the helper becomes a child of this process. */
static void end_with_heap(void)
{
	char *p;

	library.option_set("handoff_min", "1");
	p = malloc(EXIT_BYTES);
	for (size_t at = 0; p && at < EXIT_BYTES; at += 4096)
		*(volatile char *)(p + at) = 1;
	_exit(p ? 0 : 1);
}

static void watch_exit(void)
{
	struct fact *f = doctor_fact("handoff at exit");
	pid_t child, ended;
	char setting[64];
	int others = 0, status = -1, how;

	prctl(PR_SET_CHILD_SUBREAPER, 1);
	child = fork();
	if (child == 0)
		end_with_heap();
	while (child > 0 && (ended = waitpid(-1, &how, 0)) > 0)
		if (ended == child)
			status = how;
		else
			others++;
	prctl(PR_SET_CHILD_SUBREAPER, 0);
	say_value(f, child < 0 || status ? "unknown" : others ? "yes" : "no");
	say_how(f, "a process with %d MiB ended; handoff:%s", EXIT_BYTES >> 20,
		option("handoff", setting, sizeof setting));
}

void ask_library(void)
{
	struct fact *f = doctor_fact("library");
	Dl_info where = {0};
	void *address;

	if (!find_library()) {
		say_value(f, "not loaded");
		say_how(f, "run this by pmdalloc-run --doctor");
		doctor_advise(true, "The library could not be preloaded: see \"When the preload does nothing\" in "
				    "LD_PRELOAD/README.md.");
		return;
	}
	memcpy(&address, &library.version, sizeof address);
	dladdr(address, &where);
	say_value(f, "%s", library.version());
	say_how(f, "%s", where.dli_fname ? where.dli_fname : "?");
	ask_release();
	ask_thread();
	ask_huge_pages();
	watch_exit();
}
