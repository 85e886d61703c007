/* SPDX-License-Identifier: MIT */
/* How the machine, the container and this process are set up, as the kernel's files tell. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "doctor.h"

#define THP "/sys/kernel/mm/transparent_hugepage/"

/* ---- Memory management ------------------------------------------------------------------------------------------- */

/* The word in brackets is the one that holds. */
static bool read_choice(const char *path, char *word, size_t len)
{
	char text[256], *from, *to;

	if (!read_text(path, text, sizeof text) || !(from = strchr(text, '[')) || !(to = strchr(from, ']')))
		return false;
	snprintf(word, len, "%.*s", (int)(to - from - 1), from + 1);
	return true;
}

static void read_huge_pages(void)
{
	struct fact *f = doctor_fact("huge pages");
	char enabled[32], defrag[32] = "unknown";

	if (!read_choice(THP "enabled", enabled, sizeof enabled)) {
		say_value(f, "not there");
		say_how(f, THP "enabled");
		return;
	}
	read_choice(THP "defrag", defrag, sizeof defrag);
	say_value(f, "%s", enabled);
	say_how(f, THP "enabled; defrag: %s%s", defrag,
		prctl(PR_GET_THP_DISABLE, 0, 0, 0, 0) > 0 ? "; switched off for this process" : "");
	if (!strcmp(enabled, "never"))
		doctor_advise(false, "With huge pages off, large heaps are touched and given back page by page: "
				     "echo madvise >" THP "enabled, unless they are off for a reason.");
}

static void read_setting(const char *name, const char *path, const char *meaning)
{
	struct fact *f = doctor_fact(name);
	char text[64];

	say_value(f, "%s", read_text(path, text, sizeof text) ? text : "unknown");
	say_how(f, "%s%s", path, meaning);
}

static void read_overcommit(void)
{
	const char *path = "/proc/sys/vm/overcommit_memory";
	char text[8] = "";

	read_text(path, text, sizeof text);
	read_setting("overcommit", path,
		     *text == '2'   ? ": address space in use is charged; the reservation is not"
		     : *text == '1' ? ": nothing is refused"
				    : ": only what cannot fit is refused");
	if (*text == '2')
		doctor_advise(false, "vm.overcommit_memory is 2: a program that forks needs room for its heap twice; "
				     "0 is what fits.");
}

static size_t mappings(void)
{
	FILE *file = fopen("/proc/self/maps", "re");
	size_t n = 0;
	int c;

	while (file && (c = getc(file)) != EOF)
		n += c == '\n';
	if (file)
		fclose(file);
	return n;
}

static void read_map_count(void)
{
	char meaning[128];

	snprintf(meaning, sizeof meaning, ": this process has %zu, about nine of them pmdalloc's, for any heap",
		 mappings());
	read_setting("max_map_count", "/proc/sys/vm/max_map_count", meaning);
}

static void read_swap(void)
{
	struct fact *f = doctor_fact("swap");
	long long kib = read_field("/proc/meminfo", "SwapTotal");
	char devices[1024] = "";

	if (kib < 0)
		say_value(f, "unknown");
	else if (!kib)
		say_value(f, "none");
	else
		say_value(f, "%lld kB", kib);
	read_text("/proc/swaps", devices, sizeof devices);
	say_how(f, "/proc/meminfo%s", strstr(devices, "/zram") ? "; on zram" : "");
}

static void read_rcu(void)
{
	struct fact *f = doctor_fact("RCU offloading");
	char line[4096] = "", *from;

	read_text("/proc/cmdline", line, sizeof line);
	from = strstr(line, "rcu_nocbs");
	if (!from)
		from = strstr(line, "nohz_full=");
	if (from)
		say_value(f, "%.*s", (int)strcspn(from, " "), from);
	else
		say_value(f, "not asked for");
	say_how(f, "/proc/cmdline: where callbacks are offloaded, freed page tables are reusable later");
}

/* ---- Pressure and limits ----------------------------------------------------------------------------------------- */

static const char *const trigger = "some 150000 2000000"; /* what anybody may ask for, since Linux 6.5 */

static void advise_stalls(void)
{
	doctor_advise(false, "The kernel does not tell when memory is short: CONFIG_PSI, and psi=1 at boot. Until then "
			     "free memory waits for its time, unless a cgroup's limit is near.");
}

static void read_stalls(void)
{
	const char *path = "/proc/pressure/memory";
	struct fact *f = doctor_fact("stalls (PSI)");
	int fd = open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC);
	char text[256];

	say_how(f, "%s", path);
	if (!read_text(path, text, sizeof text)) {
		say_value(f, access(path, F_OK) ? "not there" : "off");
		advise_stalls();
	} else if (fd >= 0 && write(fd, trigger, strlen(trigger) + 1) > 0) {
		say_value(f, "on, with triggers");
	} else {
		say_value(f, "on, read only (%s)", strerrorname_np(errno));
	}
	if (fd >= 0)
		close(fd);
}

/* The path behind "0::" (version 2), or of the memory controller (version 1), in /proc/self/cgroup. */
static int own_cgroup(char *path, size_t len)
{
	FILE *file = fopen("/proc/self/cgroup", "re");
	char line[4096], *names, *rest;
	int version = 0;

	while (file && fgets(line, sizeof line, file)) {
		line[strcspn(line, "\n")] = 0;
		names = strchr(line, ':');
		rest = names ? strchr(names + 1, ':') : NULL;
		if (!rest)
			continue;
		*rest++ = 0;
		if (!strcmp(names, ":") && !version)
			version = 2;
		else if (strstr(names, "memory"))
			version = 1;
		else
			continue;
		snprintf(path, len, "%s", rest);
	}
	if (file)
		fclose(file);
	return version;
}

/* Where version VERSION is mounted, and which part of it that is. */
static bool find_mount(int version, char *point, char *root, size_t len)
{
	FILE *file = fopen("/proc/self/mountinfo", "re");
	char line[4096], a[1024], b[1024], *rest;
	bool found = false;

	while (file && !found && fgets(line, sizeof line, file)) {
		rest = strstr(line, " - ");
		if (!rest || sscanf(line, "%*d %*d %*s %1023s %1023s", a, b) != 2)
			continue;
		found = version == 2 ? !strncmp(rest, " - cgroup2 ", 11)
				     : !strncmp(rest, " - cgroup ", 10) && strstr(rest, "memory");
		if (found && (size_t)snprintf(root, len, "%s", a) < len)
			snprintf(point, len, "%s", b);
	}
	if (file)
		fclose(file);
	return found;
}

/* The least of FILE from the own group up to the root; *WHERE is the file it is in. -1: none. */
static long long least_limit(char *dir, size_t top, const char *name, char *where, size_t len)
{
	long long least = -1, value;
	char path[2200], text[64], *end;

	for (;;) {
		snprintf(path, sizeof path, "%s/%s", dir, name);
		if (read_text(path, text, sizeof text)) {
			value = strtoll(text, &end, 10);
			if (end != text && value < 1LL << 60 && (least < 0 || value < least)) {
				least = value;
				snprintf(where, len, "%s", path);
			}
		}
		if (strlen(dir) <= top || !(end = strrchr(dir, '/')) || (size_t)(end - dir) < top)
			return least;
		*end = 0;
	}
}

static void read_limit(const char *fact_name, const char *dir, size_t top, const char *file)
{
	struct fact *f = doctor_fact(fact_name);
	char copy[2100], where[2200] = "";
	long long least;

	snprintf(copy, sizeof copy, "%s", dir);
	least = least_limit(copy, top, file, where, sizeof where);
	if (least < 0) {
		say_value(f, "none");
		say_how(f, "%s, of this group and those above it", file);
		return;
	}
	say_value(f, "%lld", least);
	say_how(f, "%.200s", where);
}

static void read_cgroup(void)
{
	struct fact *f = doctor_fact("cgroup");
	char path[1024] = "", point[1024] = "", root[1024] = "", dir[2100];
	int version = own_cgroup(path, sizeof path);
	const char *below = path;

	if (!version) {
		say_value(f, "none");
		say_how(f, "/proc/self/cgroup");
		return;
	}
	say_value(f, "version %d, %.200s", version, path);
	if (!find_mount(version, point, root, sizeof point)) {
		say_how(f, "/proc/self/cgroup; not mounted: its limits are unknown");
		return;
	}
	say_how(f, "/proc/self/cgroup; mounted at %.200s", point);
	if (strcmp(root, "/") && !strncmp(path, root, strlen(root)))
		below += strlen(root);
	snprintf(dir, sizeof dir, "%s%s", point, strcmp(below, "/") ? below : "");
	if (version == 1) {
		read_limit("memory limit", dir, strlen(point), "memory.limit_in_bytes");
		doctor_advise(false, "Version 1 of cgroups tells nothing of pressure: boot with cgroup_no_v1=all, or "
				     "systemd.unified_cgroup_hierarchy=1.");
		return;
	}
	read_limit("memory limit", dir, strlen(point), "memory.max");
	read_limit("memory.high", dir, strlen(point), "memory.high");
}

static void read_seccomp(void)
{
	struct fact *f = doctor_fact("seccomp");
	long long mode = read_field("/proc/self/status", "Seccomp");
	long long filters = read_field("/proc/self/status", "Seccomp_filters");

	say_value(f, mode < 0 ? "unknown" : mode == 0 ? "none" : mode == 1 ? "strict" : "filter");
	if (filters > 0)
		say_how(f, "/proc/self/status: %lld filters", filters);
	else
		say_how(f, "/proc/self/status");
	if (mode > 0)
		doctor_advise(false,
			      "A seccomp filter is active, so a process that ends does not hand its memory over "
			      "to a helper. Where the filter answers with errors instead of killing, as those of "
			      "container engines do: -o handoff_despite:seccomp.");
}

static void read_address_space(void)
{
	struct fact *f = doctor_fact("address space");
	struct rlimit limit;

	say_how(f, "RLIMIT_AS");
	if (getrlimit(RLIMIT_AS, &limit))
		say_value(f, "unknown");
	else if (limit.rlim_cur == RLIM_INFINITY)
		say_value(f, "not limited");
	else {
		say_value(f, "%llu kB", (unsigned long long)limit.rlim_cur / 1024);
		doctor_advise(false, "ulimit -v counts reserved address space, so the heap reserves less and may end "
				     "sooner: limit memory by a cgroup (MemoryMax=) instead.");
	}
}

void read_settings(void)
{
	read_huge_pages();
	read_stalls();
	read_cgroup();
	read_seccomp();
	read_overcommit();
	read_map_count();
	read_address_space();
	read_swap();
	read_rcu();
}
