/* SPDX-License-Identifier: MIT */
/*
 * pmdalloc-run --doctor: what the running kernel really does, found out by trying it, what pmdalloc therefore uses,
 * as the library itself tells, and what to change. This is the table of facts and its two forms; doctor_kernel.c,
 * doctor_settings.c and doctor_library.c fill it.
 * Usage: doctor [json], the library being preloaded. Ends with 0, or 1 when pmdalloc has to make do with less.
 */
#include "doctor.h"

#include <ctype.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum { FACTS = 64, ADVICES = 32, GROUPS = 4 };

static struct fact facts[FACTS];
static size_t fact_count;
static char advices[ADVICES][512];
static size_t advice_count;
static struct {
	const char *title;
	size_t first;
} groups[GROUPS];
static size_t group_count;
static bool is_worse;

void doctor_group(const char *title)
{
	if (group_count == GROUPS)
		abort();
	groups[group_count].title = title;
	groups[group_count++].first = fact_count;
}

struct fact *doctor_fact(const char *name)
{
	if (fact_count == FACTS)
		abort();
	facts[fact_count].name = name;
	return &facts[fact_count++];
}

void say_value(struct fact *f, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(f->value, sizeof f->value, format, args);
	va_end(args);
}

void say_how(struct fact *f, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(f->how, sizeof f->how, format, args);
	va_end(args);
}

void doctor_advise(bool worse, const char *format, ...)
{
	va_list args;

	if (advice_count == ADVICES)
		abort();
	is_worse = is_worse || worse;
	va_start(args, format);
	vsnprintf(advices[advice_count++], sizeof advices[0], format, args);
	va_end(args);
}

/* ---- What all of them use ---------------------------------------------------------------------------------------- */

int doctor_try(void (*probe)(void *result), void *result, size_t bytes)
{
	void *shared = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	int status = 0;
	pid_t pid;

	if (shared == MAP_FAILED)
		return -1;
	pid = fork();
	if (pid == 0) {
		probe(shared);
		_exit(0);
	}
	if (pid > 0 && waitpid(pid, &status, 0) != pid)
		pid = -1;
	memcpy(result, shared, bytes);
	munmap(shared, bytes);
	return pid < 0 ? -1 : WIFSIGNALED(status) ? WTERMSIG(status) : 0;
}

bool read_text(const char *path, char *text, size_t len)
{
	FILE *file = fopen(path, "re");
	size_t n = 0;
	bool ok;

	if (file)
		n = fread(text, 1, len - 1, file);
	ok = file && !ferror(file);
	if (file)
		fclose(file);
	text[n] = 0;
	if (n && text[n - 1] == '\n')
		text[n - 1] = 0;
	return ok;
}

long long read_field(const char *path, const char *key)
{
	long long value = -1;
	size_t len = strlen(key);
	FILE *file = fopen(path, "re");
	char line[256];

	while (file && value < 0 && fgets(line, sizeof line, file))
		if (!strncmp(line, key, len) && strchr(": \t", line[len]))
			value = strtoll(line + len + 1, NULL, 10);
	if (file)
		fclose(file);
	return value;
}

long long page_table_bytes(void)
{
	long long kib = read_field("/proc/self/status", "VmPTE");

	return kib < 0 ? -1 : kib * 1024;
}

/* ---- The two forms ----------------------------------------------------------------------------------------------- */

static void print_text(void)
{
	size_t g = 0;

	for (size_t i = 0; i < fact_count; i++) {
		if (g < group_count && groups[g].first == i)
			printf("%s%s\n", i ? "\n" : "", groups[g++].title);
		printf("  %-22s  %-32s  %s\n", facts[i].name, facts[i].value, facts[i].how);
	}
	printf("\nTo change\n");
	for (size_t i = 0; i < advice_count; i++)
		printf("  - %s\n", advices[i]);
	if (!advice_count)
		printf("  nothing\n");
}

static void print_json_string(const char *text)
{
	putchar('"');
	for (; *text; text++)
		if (*text == '"' || *text == '\\')
			printf("\\%c", *text);
		else if ((unsigned char)*text < ' ')
			printf("\\u%04x", *text);
		else
			putchar(*text);
	putchar('"');
}

/* "page tables" is called page_tables there. */
static void print_key(const char *name)
{
	putchar('"');
	for (; *name; name++)
		putchar(isalnum((unsigned char)*name) ? tolower((unsigned char)*name) : '_');
	putchar('"');
}

static void print_json(void)
{
	printf("{\n  \"facts\": {");
	for (size_t i = 0; i < fact_count; i++) {
		printf("%s\n    ", i ? "," : "");
		print_key(facts[i].name);
		printf(": {\"value\": ");
		print_json_string(facts[i].value);
		printf(", \"how\": ");
		print_json_string(facts[i].how);
		putchar('}');
	}
	printf("\n  },\n  \"change\": [");
	for (size_t i = 0; i < advice_count; i++) {
		printf("%s\n    ", i ? "," : "");
		print_json_string(advices[i]);
	}
	printf("%s],\n  \"status\": %d\n}\n", advice_count ? "\n  " : "", is_worse);
}

int main(int argc, char **argv)
{
	/* For this process alone: what it starts needs no library, and shall print no statistics. */
	unsetenv("LD_PRELOAD");
	unsetenv("PMDALLOC_CONF");
	signal(SIGPIPE, SIG_IGN);
	doctor_group("The kernel, by trying it");
	probe_kernel();
	doctor_group("Its settings, and the limits here");
	read_settings();
	doctor_group("What pmdalloc uses");
	ask_library();
	if (argc > 1 && !strcmp(argv[1], "json"))
		print_json();
	else
		print_text();
	if (fflush(stdout) || ferror(stdout))
		return 126;
	return is_worse;
}
