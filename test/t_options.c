/* SPDX-License-Identifier: MIT */
/*
 * Options: good ones take effect; a bad one gets exactly one line on stderr, which names it and what would be accepted,
 * and the option stays as it was.
 */
#include "api.h"
#include "check.h"

#include <fcntl.h>
#include <sys/auxv.h>
#include <sys/stat.h>

struct option_case {
	const char *conf;
	const char *name;     /* option whose value is looked at */
	const char *value;    /* what it must be */
	const char *words[4]; /* the line on stderr holds each; none: no line */
};

#define NAMES "decay_ms", "arenas", "background"

static const struct option_case cases[] = {
	{"", "decay_ms", "10000", {NULL}},
	{"decay_ms:0", "decay_ms", "0", {NULL}},
	{"decay_ms:-1", "decay_ms", "-1", {NULL}},
	{"decay_ms:250,arenas:3", "decay_ms", "250", {NULL}},
	{"decay_ms:250,arenas:3", "arenas", "3", {NULL}},
	{"background:off", "background", "off", {NULL}},
	{"thp:never,background:on", "thp", "never", {NULL}},
	{"decay_ms:1,decay_ms:2", "decay_ms", "2", {NULL}},
	{"decay:5", "decay_ms", "10000", {"decay", NAMES}},
	{"decay_ms2:5", "decay_ms", "10000", {"decay_ms2", NAMES}},
	{"colour:red", "decay_ms", "10000", {"colour", NAMES}},
	{"decay_ms", "decay_ms", "10000", {"decay_ms"}},
	{"decay_ms:", "decay_ms", "10000", {"decay_ms", "-1", "3600000"}},
	{"decay_ms:soon", "decay_ms", "10000", {"decay_ms", "soon", "-1", "3600000"}},
	{"decay_ms:12x", "decay_ms", "10000", {"decay_ms", "12x", "-1", "3600000"}},
	{"decay_ms:-2", "decay_ms", "10000", {"decay_ms", "-2", "-1", "3600000"}},
	{"decay_ms:3600001", "decay_ms", "10000", {"decay_ms", "3600001", "3600000"}},
	{"decay_ms:99999999999999999999999", "decay_ms", "10000", {"decay_ms", "3600000"}},
	{"arenas:257", "arenas", "0", {"arenas", "257", "256"}},
	{"thp:sometimes", "thp", "auto", {"thp", "sometimes", "always", "never"}},
	{"thp:alway", "thp", "auto", {"thp", "alway", "always", "never"}},
	{"background:1", "background", "on", {"background", "off", "on"}},
	{"", "limit", "none", {NULL}},
	{"limit:none", "limit", "none", {NULL}},
	{"limit:1", "limit", "1", {NULL}},
	{"limit:1000", "limit", "1000", {NULL}},
	{"limit:1024", "limit", "1K", {NULL}},
	{"limit:1536k", "limit", "1536K", {NULL}},
	{"limit:512M", "limit", "512M", {NULL}},
	{"limit:512MiB", "limit", "512M", {NULL}},
	{"limit:512mb", "limit", "512M", {NULL}},
	{"limit:1024M", "limit", "1G", {NULL}},
	{"limit:3g", "limit", "3G", {NULL}},
	{"limit:128TiB", "limit", "128T", {NULL}},
	{"limit_hard:2T", "limit_hard", "2T", {NULL}},
	{"dirty_max:0", "dirty_max", "0", {NULL}},
	{"limit:0", "limit", "none", {"limit", "'0'", "1 to 128T bytes", "none"}},
	{"limit:-1M", "limit", "none", {"limit", "-1M", "128T"}},
	{"limit:M", "limit", "none", {"limit", "'M'", "128T"}},
	{"limit:1B", "limit", "none", {"limit", "1B", "128T"}},
	{"limit:1KiX", "limit", "none", {"limit", "1KiX", "128T"}},
	{"limit:1 G", "limit", "none", {"limit", "1 G", "128T"}},
	{"limit:1GG", "limit", "none", {"limit", "1GG", "128T"}},
	{"limit:129T", "limit", "none", {"limit", "129T", "128T"}},
	{"limit:9223372036854775807T", "limit", "none", {"limit", "128T"}},
	{"limit:nones", "limit", "none", {"limit", "nones", "128T"}},
	{"dirty_max:", "dirty_max", "none", {"dirty_max", "0 to 128T"}},
	{"pressure:off,release:remap", "release", "remap", {NULL}},
	{"pt_advice:100", "pt_advice", "0", {"pt_advice", "100", "99"}},
	{"", "handoff_cgroup", "none", {NULL}},
	{"handoff_cgroup:none", "handoff_cgroup", "none", {NULL}},
	{"handoff_cgroup:a,handoff_cgroup:none", "handoff_cgroup", "none", {NULL}},
	{"handoff_cgroup:", "handoff_cgroup", "none", {"handoff_cgroup", "PATH", "255", "none"}},
	{"handoff_cgroup:a b", "handoff_cgroup", "none", {"handoff_cgroup", "'a b'", "printable"}},
	{"handoff_cgroup:/no/such:cgroup\\x2d",
	 "handoff_cgroup",
	 "/no/such:cgroup\\x2d",
	 {"/no/such:cgroup\\x2d", "ENOENT"}},
	{"thp:never,thp:sometimes", "thp", "never", {"thp", "sometimes", "stays never"}},
	{"quarantine:none", "quarantine", "none", {NULL}},
	{"check:strict,quarantine:none", "check", "strict", {NULL}},
	{"decay_ms:7,colour:red", "decay_ms", "7", {"colour", NAMES}},
	{"colour:red,decay_ms:7", "decay_ms", "7", {"colour", NAMES}},
};

/* In the process that has the options: allocates, and answers the value on stdout. */
static void answer(const char *name)
{
	char value[64];
	t_free(t_malloc(1));
	CHECK(pmd_option_get(name, value, sizeof value) == 0);
	CHECK(write(STDOUT_FILENO, value, strlen(value)) > 0);
}

static void read_text(int fd, char *text, size_t size)
{
	size_t length = 0;
	for (ssize_t n; length < size - 1 && (n = read(fd, text + length, size - 1 - length)) > 0;)
		length += (size_t)n;
	text[length] = 0;
	close(fd);
}

static void check_message(const struct option_case *option, const char *message)
{
	const char *end = strchr(message, '\n');
	if (!option->words[0]) {
		CHECK_SAY(!message[0], "'%s': %s", option->conf, message);
		return;
	}
	CHECK_SAY(end && !end[1], "'%s' must give one line: %s", option->conf, message);
	for (size_t i = 0; i < LENGTH(option->words) && option->words[i]; i++)
		CHECK_SAY(strstr(message, option->words[i]), "'%s': no '%s' in: %s", option->conf, option->words[i],
			  message);
}

static void run_case(const struct option_case *option)
{
	static char value[256], message[4096];
	int out[2], err[2];
	CHECK(pipe(out) == 0 && pipe(err) == 0);
	pid_t pid = fork();
	CHECK(pid >= 0);
	if (pid == 0) {
		char program[] = "t_options";
		char *const args[] = {program, (char *)(uintptr_t)option->name, NULL};
		check_child(30);
		CHECK(setenv("PMDALLOC_CONF", option->conf, 1) == 0);
		dup2(out[1], STDOUT_FILENO);
		dup2(err[1], STDERR_FILENO);
		for (int i = 0; i < 2; i++) {
			close(out[i]);
			close(err[i]);
		}
		execv("/proc/self/exe", args);
		_exit(126);
	}
	close(out[1]);
	close(err[1]);
	read_text(out[0], value, sizeof value);
	read_text(err[0], message, sizeof message);
	CHECK_SAY(check_wait(pid) == 0, "'%s': %s", option->conf, message);
	CHECK_SAY(strcmp(value, option->value) == 0, "'%s': %s is %s, not %s", option->conf, option->name, value,
		  option->value);
	check_message(option, message);
}

/* Reading and changing options while running. */
static void at_run_time(void)
{
	char value[16];
	CHECK(pmd_option_get("nothing", value, sizeof value) == ENOENT);
	CHECK(pmd_option_get("decay_ms", value, 2) == ERANGE);
	CHECK(pmd_option_set("nothing", "1") == ENOENT);
	CHECK(pmd_option_set("decay_ms", "soon") == EINVAL);
	CHECK(pmd_option_set("decay_ms", "-2") == EINVAL);
	CHECK(pmd_option_set("reserve_gib", "2") == EPERM);
	CHECK(pmd_option_set("decay_ms", "1234") == 0);
	CHECK(pmd_option_get("decay_ms", value, sizeof value) == 0);
	CHECK(strcmp(value, "1234") == 0);
	CHECK(pmd_option_set("handoff_cgroup", "a b") == EINVAL);
	CHECK(pmd_option_set("handoff_cgroup", "a") == EPERM);
	CHECK(pmd_option_set("limit", "1.5G") == EINVAL);
	CHECK(pmd_option_set("limit", "1536M") == 0);
	CHECK(pmd_option_get("limit", value, sizeof value) == 0);
	CHECK(strcmp(value, "1536M") == 0);
	CHECK(pmd_option_set("limit", "none") == 0);
	CHECK(pmd_option_set("release", "madvise") == EPERM);
}

/* ---- A program with its file's rights ---- */

enum { OTHERS = 65534 };

static bool copy_of_this(const char *path)
{
	char buf[4096];
	int from = open("/proc/self/exe", O_RDONLY | O_CLOEXEC), to = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0700);
	bool good = from >= 0 && to >= 0;
	for (ssize_t n; good && (n = read(from, buf, sizeof buf)) > 0;)
		good = write(to, buf, (size_t)n) == n;
	close(from);
	good = good && fchown(to, (uid_t)-1, OTHERS) == 0 && fchmod(to, 02755) == 0;
	close(to);
	return good;
}

/* Status 0: it has read the options of its environment; 2: it has not; 77: it has no more rights than others. */
static int with_rights(void)
{
	char value[16];
	CHECK(pmd_option_get("decay_ms", value, sizeof value) == 0);
	return !getauxval(AT_SECURE) ? EXIT_SKIP : !strcmp(value, "10000") ? 2 : 0;
}

/* Started by anybody, it does not do as their environment says. Needs to be root, and a file system that gives such rights. */
static void ignores_environment(void)
{
	char path[] = "t_options.XXXXXX";
	int fd = getuid() ? -1 : mkstemp(path), status;
	pid_t pid;
	if (fd < 0)
		return;
	close(fd);
	if (copy_of_this(path)) {
		pid = fork();
		CHECK(pid >= 0);
		if (pid == 0) {
			check_child(30);
			setenv("PMDALLOC_CONF", "decay_ms:5", 1);
			execl(path, path, "with rights", NULL);
			_exit(EXIT_SKIP);
		}
		status = check_wait(pid);
		CHECK_SAY(WIFEXITED(status) && (WEXITSTATUS(status) == 2 || WEXITSTATUS(status) == EXIT_SKIP),
			  "wait status %#x", (unsigned)status);
	}
	unlink(path);
}

int main(int argc, char **argv)
{
	if (argc > 1 && !strcmp(argv[1], "with rights"))
		return with_rights();
	if (argc > 1) {
		answer(argv[1]);
		return 0;
	}
	for (size_t i = 0; i < LENGTH(cases); i++)
		run_case(&cases[i]);
	at_run_time();
	ignores_environment();
	return 0;
}
