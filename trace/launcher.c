/* SPDX-License-Identifier: MIT */
/* pmdalloc-trace: runs a program with the recorder in front of what else is preloaded. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "trace/format.h"

static const char recorder[] = "libpmdalloc-trace.so";

static const char help[] = "Usage: pmdalloc-trace [-o FOLDER|FILE] [--] PROGRAM [ARGUMENT]...\n"
			   "Runs PROGRAM and records its calls of malloc, free and their like, for pmdalloc-replay.\n"
			   "\n"
			   "  -o FOLDER|FILE  where to: a folder, in which each process gets a file NAME.PID.trace,\n"
			   "                  or a file, for the first process; others add their number. A name that\n"
			   "                  ends with '/' is a folder, and made. Default: the current folder\n"
			   "      --help      print this text and exit\n"
			   "      --version   print the version and exit\n"
			   "\n"
			   "Exit status: PROGRAM's; 127 if it is not found, 126 if it or the recorder cannot be\n"
			   "loaded, 2 if an option or the place of the trace is wrong.\n";

__attribute__((noreturn, format(printf, 2, 3))) static void fail(int status, const char *format, ...)
{
	va_list list;

	fputs("pmdalloc-trace: ", stderr);
	va_start(list, format);
	vfprintf(stderr, format, list);
	va_end(list);
	fputc('\n', stderr);
	exit(status);
}

__attribute__((format(printf, 1, 2))) static char *text(const char *format, ...)
{
	va_list list;
	char *made;
	int n;

	va_start(list, format);
	n = vasprintf(&made, format, list);
	va_end(list);
	if (n < 0)
		fail(126, "out of memory");
	return made;
}

/* The build tree's recorder comes first, so that an uninstalled launcher never loads an older, installed one. */
static char *find_recorder(void)
{
	static const char *const places[] = {"/../.libs", LIBDIR, "/../lib"};
	char self[PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);

	if (n < 0)
		fail(126, "cannot find its own place: %s", strerror(errno));
	self[n] = 0;
	*strrchr(self, '/') = 0;
	for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
		char *path = text("%s%s/%s", places[i][1] == '.' ? self : "", places[i], recorder);
		char *real = access(path, R_OK) ? NULL : realpath(path, NULL);

		free(path);
		if (real && strpbrk(real, ": "))
			fail(126, "recorder '%s' cannot be preloaded: its path has a colon or a space", real);
		if (real)
			return real;
	}
	fail(126, "recorder %s not found beside the launcher or in %s", recorder, LIBDIR);
}

/* An older trace gives way to the new one; anything else is not ours to overwrite. */
static void remove_older(const char *path)
{
	char magic[sizeof TRACE_MAGIC - 1];
	struct stat s;
	ssize_t n;
	int fd;

	if (stat(path, &s) || !S_ISREG(s.st_mode))
		return;
	fd = open(path, O_RDONLY | O_CLOEXEC);
	n = fd < 0 ? -1 : read(fd, magic, sizeof magic);
	if (n < 0)
		fail(2, "cannot read '%s': %s", path, strerror(errno));
	close(fd);
	if (n && (n != sizeof magic || memcmp(magic, TRACE_MAGIC, sizeof magic)))
		fail(2, "'%s' is there and is no trace: it is not overwritten", path);
	if (unlink(path))
		fail(2, "cannot replace '%s': %s", path, strerror(errno));
}

static void set_place(const char *given)
{
	char *folder = given[0] == '/' ? text("%s", "") : getcwd(NULL, 0), *place;

	if (!folder)
		fail(2, "the current folder cannot be named: %s", strerror(errno));
	if (given[strlen(given) - 1] == '/' && mkdir(given, 0777) && errno != EEXIST)
		fail(2, "cannot make folder '%s': %s", given, strerror(errno));
	place = text("%s%s%s", folder, folder[0] ? "/" : "", given);
	if (strlen(place) >= PATH_MAX)
		fail(2, "the name '%.60s...' is too long", given);
	remove_older(place);
	setenv("PMDALLOC_TRACE", place, 1);
	free(place);
	free(folder);
}

static void preload(char *path)
{
	const char *before = getenv("LD_PRELOAD");
	char *list = text("%s%s%s", path, before && *before ? ":" : "", before ? before : "");

	setenv("LD_PRELOAD", list, 1);
	free(list);
	free(path);
}

int main(int argc, char **argv)
{
	const char *place = ".";
	char *path;
	int i = 1;

	for (; i < argc && argv[i][0] == '-'; i++) {
		if (!strcmp(argv[i], "--help"))
			return fputs(help, stdout) < 0;
		if (!strcmp(argv[i], "--version"))
			return printf("pmdalloc-trace (pmdalloc) %s\n", VERSION) < 0;
		if (!strcmp(argv[i], "--")) {
			i++;
			break;
		}
		if (strncmp(argv[i], "-o", 2))
			fail(2, "unknown option '%s'; see pmdalloc-trace --help", argv[i]);
		place = argv[i][2] ? argv[i] + 2 : argv[++i];
		if (!place || !*place)
			fail(2, "option '-o' needs a folder or a file");
	}
	if (i >= argc)
		fail(2, "no program given; see pmdalloc-trace --help");
	path = find_recorder();
	set_place(place);
	preload(path);
	execvp(argv[i], argv + i);
	fail(errno == ENOENT ? 127 : 126,
	     errno == ENOENT ? "program '%s' not found" : "program '%s' cannot be executed", argv[i]);
}
