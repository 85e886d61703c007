/* SPDX-License-Identifier: MIT */
/*
 * pmdalloc-replay: plays traces against the allocator that serves this program, and reports. Each pass runs in a
 * process of its own, started anew, so that none begins with what another left; this process starts them and prints.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "trace/play.h"

extern char **environ;

enum { REPEAT_MOST = 1000 };

static const char help[] =
	"Usage: pmdalloc-replay [OPTION]... FILE...\n"
	"Plays what pmdalloc-trace recorded against the allocator that serves this program: the C library's, or\n"
	"one that LD_PRELOAD names. Reports time, memory, page tables, faults and fragmentation.\n"
	"\n"
	"      --threads single|recorded  all calls by one thread (default), or each by a thread as recorded\n"
	"      --touch none|pages|all     what is written to new blocks: nothing, a byte of each page\n"
	"                                 (default), everything\n"
	"      --repeat N                 play N times, report medians (default 1)\n"
	"      --json                     print JSON\n"
	"      --info                     print what the trace holds, play nothing\n"
	"      --print                    print the events, in the order of time\n"
	"      --help                     print this text and exit\n"
	"      --version                  print the version and exit\n"
	"\n"
	"Exit status: 0; 1 if a file cannot be read or is damaged, or the replay failed; 2 if an option is wrong.\n";

enum what { PLAY, INFO, PRINT };

static struct {
	enum threads threads;
	enum touch touch;
	enum what what;
	unsigned long repeat;
	bool json;
	const char *pass; /* in a process that plays: which */
} options = {.touch = TOUCH_PAGES, .repeat = 1};

static const char *const thread_words[] = {"single", "recorded", NULL};
static const char *const touch_words[] = {"none", "pages", "all", NULL};
static const char *const pass_words[] = {"time", "memory", NULL};

/* The figures of all repetitions of one file. */
struct figures {
	struct played last;
	bool touched;
	double touched_ns[REPEAT_MOST], untouched_ns[REPEAT_MOST], faults[REPEAT_MOST];
	double rss_peak[REPEAT_MOST], rss_average[REPEAT_MOST], rss_end[REPEAT_MOST];
	double pte_peak[REPEAT_MOST], pte_average[REPEAT_MOST], pte_end[REPEAT_MOST];
};
static struct figures figures;

/* ---- Printing ---------------------------------------------------------------------------------------------------- */

static double median(const double *values)
{
	double sorted[REPEAT_MOST];
	size_t n = options.repeat;

	for (size_t i = 0; i < n; i++) {
		size_t at = i;

		for (; at > 0 && sorted[at - 1] > values[i]; at--)
			sorted[at] = sorted[at - 1];
		sorted[at] = values[i];
	}
	return n % 2 ? sorted[n / 2] : (sorted[n / 2 - 1] + sorted[n / 2]) / 2;
}

static double ratio(double a, double b)
{
	return b > 0 ? a / b : 0;
}

/* A JSON string; names of files hold anything. */
static void put_string(const char *text)
{
	putchar('"');
	for (const unsigned char *c = (const unsigned char *)text; *c; c++)
		if (*c == '"' || *c == '\\')
			printf("\\%c", *c);
		else if (*c < ' ' || *c >= 0x7f)
			printf("\\u%04x", *c);
		else
			putchar(*c);
	putchar('"');
}

struct fact {
	const char *name, *meaning;
	uint64_t value;
};

static size_t list_facts(const struct facts *f, struct fact *list)
{
	const struct fact all[] = {
		{"pid", "process", f->pid},
		{"parent", "its parent", f->parent},
		{"forked", "is a forked child, which began with its parent's blocks", f->forked},
		{"whole", "ends as it should", f->whole},
		{"cut_bytes", "bytes of an incomplete end that were left out", f->cut},
		{"threads", "threads", f->threads},
		{"recorded_ns", "nanoseconds that the recording took", f->recorded_ns},
		{"events", "calls", f->events},
		{"operations", "operations to replay", f->steps},
		{"allocated_bytes", "bytes asked for, by all calls", f->allocated_bytes},
		{"live_peak_bytes", "most bytes live at once", f->live_peak},
		{"live_average_bytes", "on average", (uint64_t)f->live_average},
		{"live_end_bytes", "at the end", f->live_end},
		{"blocks_peak", "most blocks live at once", f->blocks_peak},
		{"blocks_end", "at the end", f->blocks_end},
		{"null_frees", "frees of NULL", f->null_frees},
		{"failed", "calls that returned NULL", f->failed},
		{"unknown", "frees and reallocs of what was not allocated in this trace: left out", f->unknown},
		{"twice", "blocks at an address where another one lived: that was freed first", f->twice},
		{"odd_alignments", "alignments that are no power of two: as 16", f->odd_alignments},
	};

	memcpy(list, all, sizeof all);
	return sizeof all / sizeof all[0];
}

static void print_facts_json(const char *path, const struct facts *f)
{
	struct fact list[32];
	size_t n = list_facts(f, list);

	printf("{\"file\": ");
	put_string(path);
	printf(", \"program\": ");
	put_string(f->name);
	for (size_t i = 0; i < n; i++)
		printf(", \"%s\": %" PRIu64, list[i].name, list[i].value);
	printf(", \"calls\": {");
	for (size_t i = 0; i < CALLS; i++)
		printf("%s\"%s\": %" PRIu64, i ? ", " : "", trace_calls[i].name, f->calls[i]);
	printf("}");
}

static void print_facts(const char *path, const struct facts *f)
{
	struct fact list[32];
	size_t n = list_facts(f, list);

	printf("%s: %s\n", path, f->name);
	for (size_t i = 0; i < n; i++)
		if (list[i].value || !strcmp(list[i].name, "events"))
			printf("%16" PRIu64 "  %s\n", list[i].value, list[i].meaning);
	if (!f->whole)
		printf("                  the process was killed, or the file was cut: its last events are missing\n");
	for (size_t i = 0; i < CALLS; i++)
		if (f->calls[i])
			printf("%16" PRIu64 "  %s\n", f->calls[i], trace_calls[i].name);
}

static void print_runs(const char *name, const double *values)
{
	printf(", \"%s\": [", name);
	for (size_t i = 0; i < options.repeat; i++)
		printf("%s%.0f", i ? ", " : "", values[i]);
	printf("]");
}

static void print_played_json(void)
{
	const struct facts *f = &figures.last.facts;
	double touched = median(figures.touched_ns), untouched = median(figures.untouched_ns);

	printf(", \"allocator\": ");
	put_string(figures.last.allocator);
	printf(", \"replay_threads\": \"%s\", \"touch\": \"%s\", \"repeat\": %lu", thread_words[options.threads],
	       touch_words[options.touch], options.repeat);
	printf(", \"ns\": %.0f, \"ns_per_operation\": %.2f", untouched, ratio(untouched, (double)f->steps));
	if (figures.touched)
		printf(", \"touched_ns\": %.0f, \"touched_ns_per_operation\": %.2f", touched,
		       ratio(touched, (double)f->steps));
	printf(", \"rss_peak_kb\": %.0f, \"rss_average_kb\": %.0f, \"rss_end_kb\": %.0f", median(figures.rss_peak),
	       median(figures.rss_average), median(figures.rss_end));
	printf(", \"pte_peak_kb\": %.0f, \"pte_average_kb\": %.0f, \"pte_end_kb\": %.0f", median(figures.pte_peak),
	       median(figures.pte_average), median(figures.pte_end));
	printf(", \"minor_faults\": %.0f, \"fragmentation\": %.4f, \"refused\": %" PRIu64, median(figures.faults),
	       ratio(median(figures.rss_peak) * 1024, (double)f->live_peak), figures.last.refused);
	print_runs("runs_ns", figures.untouched_ns);
	if (figures.touched)
		print_runs("runs_touched_ns", figures.touched_ns);
}

static void print_played(void)
{
	const struct facts *f = &figures.last.facts;
	double touched = median(figures.touched_ns), untouched = median(figures.untouched_ns);

	printf("replayed by %s, %s, touching %s; medians of %lu\n", figures.last.allocator,
	       options.threads == THREADS_SINGLE ? "one thread" : "threads as recorded", touch_words[options.touch],
	       options.repeat);
	printf("%16.3f  ms without touching: %.1f ns an operation\n", untouched / 1e6,
	       ratio(untouched, (double)f->steps));
	if (figures.touched)
		printf("%16.3f  ms with touching: %.1f ns an operation\n", touched / 1e6,
		       ratio(touched, (double)f->steps));
	printf("%16.0f  kB RSS at the peak\n", median(figures.rss_peak));
	printf("%16.0f  on average\n", median(figures.rss_average));
	printf("%16.0f  at the end\n", median(figures.rss_end));
	printf("%16.0f  kB of page tables (VmPTE) at the peak\n", median(figures.pte_peak));
	printf("%16.0f  on average\n", median(figures.pte_average));
	printf("%16.0f  at the end\n", median(figures.pte_end));
	printf("%16.0f  minor faults\n", median(figures.faults));
	printf("%16.3f  fragmentation: peak RSS / most bytes live at once\n",
	       ratio(median(figures.rss_peak) * 1024, (double)f->live_peak));
	if (figures.last.refused)
		printf("%16" PRIu64 "  requests refused by this allocator\n", figures.last.refused);
}

static void print_event(enum half half, const struct event *e)
{
	unsigned has = trace_calls[e->call].has;

	if (half == HALF_ENDS && has & HAS_RESULT)
		return;
	printf("%" PRIu64 " %" PRIu32 " %s", has & HAS_RESULT ? e->end : e->begin, e->thread,
	       trace_calls[e->call].name);
	if (has & HAS_BLOCK)
		printf(" block=%#" PRIx64, e->block);
	if (has & HAS_COUNT)
		printf(" count=%" PRIu64, e->count);
	if (has & HAS_ALIGNMENT)
		printf(" alignment=%" PRIu64, e->alignment);
	if (has & HAS_SIZE)
		printf(" size=%" PRIu64, e->size);
	if (has & HAS_RESULT)
		printf(" result=%#" PRIx64, e->result);
	putchar('\n');
}

/* ---- Passes ------------------------------------------------------------------------------------------------------ */

static bool read_whole(int fd, void *to, size_t bytes)
{
	size_t have = 0;

	while (have < bytes) {
		ssize_t n = read(fd, (char *)to + have, bytes - have);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return false;
		have += (size_t)n;
	}
	return true;
}

/* A process that plays once: this program again, with its answer in a pipe that is its standard output. */
static pid_t start(const char *self, const char *path, enum touch touch, enum pass pass, int out)
{
	const char *const arguments[] = {self,
					 "--pass",
					 pass_words[pass],
					 "--threads",
					 thread_words[options.threads],
					 "--touch",
					 touch_words[touch],
					 "--",
					 path,
					 NULL};
	posix_spawn_file_actions_t actions;
	pid_t pid;
	int error;

	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_adddup2(&actions, out, STDOUT_FILENO);
	error = posix_spawn(&pid, "/proc/self/exe", &actions, NULL, (char **)(uintptr_t)arguments, environ);
	posix_spawn_file_actions_destroy(&actions);
	if (error)
		fail(NULL, "cannot start itself: %s", strerror(error));
	return pid;
}

static void run_pass(const char *self, const char *path, enum touch touch, enum pass pass)
{
	int ends[2], status;
	bool answered;
	pid_t pid;

	if (pipe2(ends, O_CLOEXEC))
		fail(NULL, "no pipe: %s", strerror(errno));
	pid = start(self, path, touch, pass, ends[1]);
	close(ends[1]);
	answered = read_whole(ends[0], &figures.last, sizeof figures.last);
	close(ends[0]);
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			fail(NULL, "waitpid: %s", strerror(errno));
	if (WIFEXITED(status) && WEXITSTATUS(status) == 1) /* it said why */
		exit(1);
	if (WIFSIGNALED(status))
		fail(path, "the replay ended by signal %d (%s)", WTERMSIG(status), strsignal(WTERMSIG(status)));
	if (!answered || status)
		fail(path, "the replay ended with status %d", WEXITSTATUS(status));
}

static void measure(const char *self, const char *path, size_t i)
{
	figures.touched = options.touch != TOUCH_NONE;
	run_pass(self, path, TOUCH_NONE, PASS_TIME);
	figures.untouched_ns[i] = (double)figures.last.ns;
	if (figures.touched) {
		run_pass(self, path, options.touch, PASS_TIME);
		figures.touched_ns[i] = (double)figures.last.ns;
	}
	figures.faults[i] = (double)figures.last.faults;
	run_pass(self, path, options.touch, PASS_MEMORY);
	figures.rss_peak[i] = (double)figures.last.peak.rss_kb;
	figures.rss_average[i] = (double)figures.last.average.rss_kb;
	figures.rss_end[i] = (double)figures.last.end.rss_kb;
	figures.pte_peak[i] = (double)figures.last.peak.pte_kb;
	figures.pte_average[i] = (double)figures.last.average.pte_kb;
	figures.pte_end[i] = (double)figures.last.end.pte_kb;
}

/* ---- The program ------------------------------------------------------------------------------------------------- */

__attribute__((noreturn, format(printf, 1, 2))) static void usage(const char *format, ...)
{
	va_list list;

	fputs("pmdalloc-replay: ", stderr);
	va_start(list, format);
	vfprintf(stderr, format, list);
	va_end(list);
	fputs("; see pmdalloc-replay --help\n", stderr);
	exit(2);
}

static unsigned word_of(const char *option, const char *text, const char *const *words)
{
	for (unsigned i = 0; text && words[i]; i++)
		if (!strcmp(text, words[i]))
			return i;
	usage(text ? "option '%s' does not know '%s'" : "option '%s' needs a value", option, text);
}

static unsigned long number_of(const char *option, const char *text)
{
	char *end = NULL;
	unsigned long n = text && *text >= '0' && *text <= '9' ? strtoul(text, &end, 10) : 0;

	if (!n || *end || n > REPEAT_MOST)
		usage("option '%s' needs a number from 1 to %d", option, REPEAT_MOST);
	return n;
}

/* The place of the first file. */
static int parse(int argc, char **argv)
{
	int i = 1;

	for (; i < argc && argv[i][0] == '-' && argv[i][1]; i++) {
		char *option = argv[i], *value = strchr(option, '=');
		bool takes_value = true;

		if (value)
			*value++ = 0;
		if (!strcmp(option, "--"))
			return i + 1;
		if (!strcmp(option, "--json"))
			options.json = true, takes_value = false;
		else if (!strcmp(option, "--info"))
			options.what = INFO, takes_value = false;
		else if (!strcmp(option, "--print"))
			options.what = PRINT, takes_value = false;
		else if (!strcmp(option, "--help"))
			exit(fputs(help, stdout) < 0);
		else if (!strcmp(option, "--version"))
			exit(printf("pmdalloc-replay (pmdalloc) %s\n", VERSION) < 0);
		if (!takes_value && value)
			usage("option '%s' takes no value", option);
		if (!takes_value)
			continue;
		if (!value)
			value = argv[++i];
		if (!strcmp(option, "--threads"))
			options.threads = word_of(option, value, thread_words);
		else if (!strcmp(option, "--touch"))
			options.touch = word_of(option, value, touch_words);
		else if (!strcmp(option, "--repeat"))
			options.repeat = number_of(option, value);
		else if (!strcmp(option, "--pass"))
			options.pass = pass_words[word_of(option, value, pass_words)];
		else
			usage("unknown option '%s'", option);
	}
	return i;
}

static int play_here(const char *path)
{
	static struct played result;
	const char *at = (const char *)&result;

	play(&result, path, options.threads, options.touch, word_of("--pass", options.pass, pass_words));
	for (size_t left = sizeof result; left;) {
		ssize_t n = write(STDOUT_FILENO, at, left);

		if (n <= 0)
			return 1;
		at += n;
		left -= (size_t)n;
	}
	/* What the trace left is the allocator's to tear down; not measured here. */
	_exit(0);
}

static void report(const char *self, const char *path, bool first)
{
	struct plan plan;

	if (options.what == PLAY)
		for (size_t i = 0; i < options.repeat; i++)
			measure(self, path, i);
	else
		plan_make(&plan, path, options.threads, false, options.what == PRINT ? print_event : NULL);
	if (options.what == PRINT)
		return;
	if (options.what == INFO)
		figures.last.facts = plan.facts;
	if (options.json)
		printf("%s\n", first ? "" : ",");
	(options.json ? print_facts_json : print_facts)(path, &figures.last.facts);
	if (options.what == PLAY)
		(options.json ? print_played_json : print_played)();
	printf(options.json ? "}" : "\n");
}

/* Said before the first is measured, which may take minutes, and not in the midst of what --json prints. */
static void check_files(char **paths)
{
	for (; *paths; paths++)
		if (access(*paths, R_OK))
			fail(*paths, "%s", strerror(errno));
}

int main(int argc, char **argv)
{
	int first = parse(argc, argv);

	if (first >= argc)
		usage("no file given");
	if (options.pass)
		return play_here(argv[first]);
	check_files(argv + first);
	if (options.json && options.what != PRINT)
		putchar('[');
	for (int i = first; i < argc; i++)
		report(argv[0], argv[i], i == first);
	if (options.json && options.what != PRINT)
		printf("\n]\n");
	if (fflush(stdout) || ferror(stdout))
		fail(NULL, "cannot write: %s", strerror(errno));
	return 0;
}
