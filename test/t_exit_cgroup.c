/* SPDX-License-Identifier: MIT */
/*
 * handoff_cgroup: the cgroup of a process that has ended is empty while its helper is still there, in the cgroup that the
 * option names. Where the helper cannot be put there it is where it would be without the option, and one line says so; but
 * not where standard error is something else by then, or nobody reads it. Needs a place where cgroups of version 2 can be
 * made.
 */
#include "exits.h"
#include "inject.h"
#include "late.h"

#include <poll.h>
#include <sys/stat.h>

#define check_failed library_check_failed /* both have one */
#include "conf/options.h"
#undef check_failed
#include "os/pressure.h"

enum { HEAP = 2 * 1024 * 1024, SOON_MS = 20000, TEXT = 4096, KEPT = 50 };

static char service[640], teardown[640]; /* two cgroups */
static char self[] = "/proc/self/exe";

/* ---- Cgroups ----------------------------------------------------------------------------------------------------- */

static bool read_text(const char *path, char *text, size_t room)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, text, room - 1);
	if (fd >= 0)
		close(fd);
	text[n > 0 ? n : 0] = 0;
	return n >= 0;
}

static void read_in(const char *group, const char *name, char *text, size_t room)
{
	char path[720];
	snprintf(path, sizeof path, "%s/%s", group, name);
	CHECK_SAY(read_text(path, text, room), "%s", path);
}

static bool put_in(const char *group, const char *name, const char *text)
{
	char path[720];
	snprintf(path, sizeof path, "%s/%s", group, name);
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	bool done = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);
	if (fd >= 0)
		close(fd);
	return done;
}

static bool is_populated(const char *group)
{
	char text[TEXT];
	read_in(group, "cgroup.events", text, sizeof text);
	return strstr(text, "populated 1");
}

static void expect_empty(const char *group, const char *what)
{
	for (int waited = 0; is_populated(group); waited++) {
		CHECK_SAY(waited < SOON_MS, "%s: %s is not empty", what, group);
		proc_sleep_ms(1);
	}
}

/* The one process in GROUP. */
static pid_t process_in(const char *group, const char *what)
{
	char text[TEXT];
	read_in(group, "cgroup.procs", text, sizeof text);
	CHECK_SAY(strchr(text, '\n') && !strchr(text, '\n')[1], "%s: in %s: '%s'", what, group, text);
	return atoi(text);
}

static bool find_mount(char *mount, size_t room)
{
	char line[1024], place[400], type[64];
	FILE *mounts = fopen("/proc/self/mounts", "re");
	bool found = false;
	while (mounts && !found && fgets(line, sizeof line, mounts))
		found = sscanf(line, "%*s %399s %63s", place, type) == 2 && strcmp(type, "cgroup2") == 0;
	if (mounts)
		fclose(mounts);
	if (found)
		snprintf(mount, room, "%s", place);
	return found;
}

/* Below MOUNT and the process's own cgroup, or, where that cannot be seen, below MOUNT. */
static bool make_groups(const char *mount)
{
	char text[TEXT], own[201] = "";
	CHECK(read_text("/proc/self/cgroup", text, sizeof text));
	const char *line = strstr(text, "0::/");
	if (line)
		sscanf(line, "0::%200s", own);
	snprintf(service, sizeof service, "%s%s", mount, own);
	if (strcmp(own, "/") == 0 || access(service, W_OK))
		own[0] = 0;
	snprintf(service, sizeof service, "%s%s/pmdalloc-test-%d-service", mount, own, (int)getpid());
	snprintf(teardown, sizeof teardown, "%s%s/pmdalloc-test-%d-teardown", mount, own, (int)getpid());
	if (mkdir(service, 0700))
		return false;
	CHECK(mkdir(teardown, 0700) == 0);
	return true;
}

/* ---- The process that ends: this program again, in the cgroup of services ----------------------------------------- */

static void fill_pipe(void)
{
	static char text[TEXT];
	CHECK(fcntl(2, F_SETFL, O_NONBLOCK) == 0);
	while (write(2, text, sizeof text) > 0 || write(2, text, 1) > 0)
		;
	CHECK(errno == EAGAIN && fcntl(2, F_SETFL, 0) == 0);
}

/* As a daemon that closed standard error, and has a file of its own in its place. */
static void reuse(void)
{
	int fd = memfd_create("data", 0);
	CHECK(fd >= 0 && dup2(fd, 2) == 2 && dup2(fd, KEPT) == KEPT && close(fd) == 0);
}

static void check_kept(void)
{
	CHECK_SAY(lseek(KEPT, 0, SEEK_END) == 0, "a line was written into a file of the program's");
	stop_helper();
}

static const struct way {
	const char *name;
	void (*prepare)(void);
	int error; /* of clone3; 0: none */
} ways[] = {
	{"plain", NULL, 0},
	{"full", fill_pipe, EACCES},
	{"unread", NULL, EACCES},
	{"reused", reuse, EACCES},
	{"EACCES", NULL, EACCES},
	{"EAGAIN", NULL, EAGAIN},
	{"EBADF", NULL, EBADF},
	{"EBUSY", NULL, EBUSY},
	{"EINVAL", NULL, EINVAL},
	{"ENODEV", NULL, ENODEV},
	{"ENOMEM", NULL, ENOMEM},
	{"ENOSYS", NULL, ENOSYS},
	{"EOPNOTSUPP", NULL, EOPNOTSUPP},
	{"EPERM", NULL, EPERM},
};

static int end_as(const char *name)
{
	for (size_t i = 0; i < LENGTH(ways); i++)
		if (strcmp(name, ways[i].name) == 0) {
			if (ways[i].prepare)
				ways[i].prepare();
			if (ways[i].error)
				inject_add((struct inject_rule){
					.nr = SYS_clone3, .action = INJECT_FAIL, .error = ways[i].error, .first = 1});
			late = ways[i].prepare == reuse ? check_kept : stop_helper;
			fill(HEAP);
			return STATUS;
		}
	return EXIT_SKIP;
}

/* Its standard error is the pipe ERR. GROUP: the option's value. */
static pid_t begin_in_service(const char *group, const char *way, int err[2])
{
	char conf_now[1024], name[32];
	char *const args[] = {self, name, NULL};
	snprintf(conf_now, sizeof conf_now, "handoff_min:1M,handoff_despite:load,thp:never,handoff_cgroup:%s", group);
	snprintf(name, sizeof name, "%s", way);
	CHECK(pipe2(err, O_CLOEXEC) == 0);
	pid_t pid = begin();
	if (pid == 0) {
		CHECK(put_in(service, "cgroup.procs", "0") && setenv("PMDALLOC_CONF", conf_now, 1) == 0);
		CHECK(dup2(err[1], 2) == 2);
		execv(self, args);
		CHECK(!"execv");
	}
	close(err[1]);
	return pid;
}

/* Whether the line for ERROR was said, COUNT times, and nothing else. */
static void expect_said(int fd, const char *error, size_t count, const char *what)
{
	char text[TEXT];
	size_t found = 0, length = 0;
	for (ssize_t n; length < sizeof text - 1 && (n = read(fd, text + length, sizeof text - 1 - length)) > 0;)
		length += (size_t)n;
	close(fd);
	text[length] = 0;
	for (const char *line = text; *line; line = strchr(line, '\n') + 1) {
		CHECK_SAY(strncmp(line, "pmdalloc: handoff_cgroup: ", 26) == 0 && strchr(line, '\n'), "%s: said: %s",
			  what, text);
		CHECK_SAY(strstr(line, error), "%s: said: %s", what, text);
		found++;
	}
	CHECK_SAY(found == count, "%s: said: '%s'", what, text);
}

/* ---- Cases ------------------------------------------------------------------------------------------------------- */

/* When the process is gone its helper, stopped, is in the cgroup of services, or in the other one, but not in both. */
static void expect_helper(pid_t pid, bool elsewhere, const char *what)
{
	expect_end(pid, what);
	pid_t helper = process_in(elsewhere ? teardown : service, what);
	CHECK_SAY(state_of(helper) == 'T', "%s: process %d is no helper", what, (int)helper);
	if (elsewhere)
		expect_empty(service, what);
	else
		CHECK_SAY(!is_populated(teardown), "%s: somebody is in the other cgroup", what);
	CHECK(kill(helper, SIGCONT) == 0);
	CHECK(helpers(what) == 1);
	expect_empty(service, what);
	expect_empty(teardown, what);
}

static void elsewhere(const char *group, const char *what)
{
	int err[2];
	pid_t pid = begin_in_service(group, "plain", err);
	expect_helper(pid, true, what);
	expect_said(err[0], "", 0, what);
}

/* SAID: how often the line is to be seen. */
static void at_home(const char *group, const char *way, const char *error, size_t said, const char *what)
{
	int err[2];
	pid_t pid = begin_in_service(group, way, err);
	expect_helper(pid, false, what);
	expect_said(err[0], error, said, what);
}

static void refusals(void)
{
	for (size_t i = 0; i < LENGTH(ways); i++)
		if (ways[i].name[0] == 'E')
			at_home(teardown, ways[i].name, ways[i].name, 1, ways[i].name);
	at_home("/nowhere/at/all", "plain", "ENOENT", 2, "a cgroup that is not there");
	at_home("/tmp", "plain", "EINVAL", 2, "a directory that is no cgroup");
	at_home("/dev/null", "plain", "ENOTDIR", 2, "no directory");
}

/* What is said at the end must neither hold the process up nor end it, nor go into a file of the program's. */
static void silence(void)
{
	char text[TEXT] = "";
	int err[2];
	pid_t pid = begin_in_service(teardown, "full", err);
	expect_helper(pid, false, "a full pipe");
	while (read(err[0], text, sizeof text - 1) > 0)
		CHECK_SAY(!strchr(text, '\n'), "said into a full pipe: %s", text);
	close(err[0]);
	pid = begin_in_service(teardown, "unread", err);
	close(err[0]);
	expect_helper(pid, false, "a pipe that nobody reads");
	at_home(teardown, "reused", "", 0, "another file as standard error");
}

/* ---- Room for another heap ----------------------------------------------------------------------------------------- */

static const char *const folders[] = {"",        "/proc",          "/proc/self",          "/sys",
				      "/sys/fs", "/sys/fs/cgroup", "/sys/fs/cgroup/full", "/sys/fs/cgroup/empty"};
static const char *const files[][2] = {
	{"/proc/meminfo", "MemTotal: 100000000 kB\nMemAvailable: 90000000 kB\n"},
	{"/sys/fs/cgroup/cgroup.controllers", "memory\n"},
	{"/sys/fs/cgroup/full/memory.max", "10000000\n"},
	{"/sys/fs/cgroup/full/memory.current", "9999999\n"},
	{"/proc/self/cgroup", "0::/empty\n"},
};
static char root[] = "/tmp/t_exit_cgroup.XXXXXX";

static void make_root(void)
{
	char path[720];
	CHECK(mkdtemp(root));
	for (size_t i = 1; i < LENGTH(folders); i++) {
		snprintf(path, sizeof path, "%s%s", root, folders[i]);
		CHECK(mkdir(path, 0700) == 0);
	}
	for (size_t i = 0; i < LENGTH(files); i++) {
		snprintf(path, sizeof path, "%s%s", root, files[i][0]);
		int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
		CHECK(fd >= 0 && close(fd) == 0 && put_in(root, files[i][0], files[i][1]));
	}
}

static void remove_root(void)
{
	char path[720];
	for (size_t i = 0; i < LENGTH(files); i++) {
		snprintf(path, sizeof path, "%s%s", root, files[i][0]);
		unlink(path);
	}
	for (size_t i = LENGTH(folders); i-- > 0;) {
		snprintf(path, sizeof path, "%s%s", root, folders[i]);
		rmdir(path);
	}
}

/* It is the process's cgroup that counts, as of which GROUP is told, and not the helper's. NULL: it is not told. */
static void room(const char *group, size_t wanted)
{
	char folder[64], path[128], text[64];
	pid_t pid = begin();
	if (pid == 0) {
		pressure_root = root;
		CHECK(strlen(teardown) < sizeof options.handoff_cgroup);
		strcpy(options.handoff_cgroup, teardown);
		fill(HEAP);
		snprintf(folder, sizeof folder, "%s/proc/%d", root, (int)getpid());
		snprintf(path, sizeof path, "%s/cgroup", folder);
		if (group) {
			CHECK(mkdir(folder, 0700) == 0);
			int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
			int length = snprintf(text, sizeof text, "0::/%s\n", group);
			CHECK(fd >= 0 && write(fd, text, (size_t)length) == length && close(fd) == 0);
		}
		exit(STATUS);
	}
	snprintf(folder, sizeof folder, "%s/proc/%d", root, (int)pid);
	snprintf(path, sizeof path, "%s/cgroup", folder);
	expect_end(pid, "room");
	unlink(path);
	rmdir(folder);
	size_t found = helpers("room");
	CHECK_SAY(found == wanted, "the process's cgroup is %s: %zu helpers", group ? group : "unknown", found);
}

static void rooms(void)
{
	CHECK(pmd_option_set("handoff_min", "1M") == 0 && pmd_option_set("handoff_despite", "load") == 0);
	room("empty", 1);
	room("full", 0);
	room(NULL, 0);
	CHECK(pmd_option_set("handoff_despite", "all") == 0);
	room("full", 1);
	CHECK(pmd_option_set("handoff", "off") == 0);
}

static void test(const char *mount)
{
	CHECK(prctl(PR_SET_CHILD_SUBREAPER, 1) == 0);
	elsewhere(teardown, "in another cgroup");
	if (strcmp(mount, "/sys/fs/cgroup") == 0 || strcmp(mount, "/sys/fs/cgroup/unified") == 0)
		elsewhere(teardown + strlen(mount) + 1, "below the mount");
	at_home("none", "plain", "", 0, "without the option");
	refusals();
	silence();
	rooms();
}

/* Nobody is left in them, even when the test has failed. */
static void remove_group(const char *group)
{
	put_in(group, "cgroup.kill", "1");
	for (int waited = 0; waited < SOON_MS && rmdir(group) && errno == EBUSY; waited++)
		proc_sleep_ms(1);
}

int main(int argc, char **argv)
{
	char mount[400];
	if (SANITIZED)
		SKIP("no handoff beside a sanitizer");
	if (argc > 1)
		return end_as(argv[1]);
	if (!find_mount(mount, sizeof mount))
		SKIP("no cgroups of version 2 here");
	if (!make_groups(mount))
		SKIP("no cgroup can be made below %s", mount);
	make_root();
	check_time_limit(CHECK_SECONDS + 60);
	pid_t pid = fork();
	CHECK(pid >= 0);
	if (pid == 0) {
		check_child(CHECK_SECONDS);
		test(mount);
		return 0;
	}
	int status = check_wait(pid);
	remove_group(service);
	remove_group(teardown);
	remove_root();
	return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}
