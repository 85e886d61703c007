/* SPDX-License-Identifier: MIT */
/* pmdalloc-run --doctor: facts, one a line, each with how it was found out, and what to change. */
#ifndef PMD_LD_PRELOAD_DOCTOR_H
#define PMD_LD_PRELOAD_DOCTOR_H

#include <stdbool.h>
#include <stddef.h>

#define PRINTF(text, rest) __attribute__((format(printf, text, rest)))

struct fact {
	const char *name;
	char value[256];
	char how[256];
};

/* Begins a group of facts. */
void doctor_group(const char *title);

/* Adds one; to be filled by say_value and say_how. */
struct fact *doctor_fact(const char *name);
PRINTF(2, 3) void say_value(struct fact *f, const char *format, ...);
PRINTF(2, 3) void say_how(struct fact *f, const char *format, ...);

/* What to change. WORSE: pmdalloc has to make do with less, and the exit status says so. */
PRINTF(2, 3) void doctor_advise(bool worse, const char *format, ...);

/*
 * Runs PROBE in a child process, as a sandbox may kill for what it tries, with RESULT, of BYTES, in memory that both see.
 * Returns 0 when it came to its end, else the signal that ended it, or -1 when there is no child.
 */
int doctor_try(void (*probe)(void *result), void *result, size_t bytes);

/* The file's text without its last newline, cut to LEN - 1 bytes; false when it cannot be read. */
bool read_text(const char *path, char *text, size_t len);

/* The value of line KEY of /proc/self/status or a file like it, -1 without. */
long long read_field(const char *path, const char *key);

/* What becomes of page tables in this process, in bytes. */
long long page_table_bytes(void);

/* Whether whole regions come back with their page tables by MADV_DONTNEED; known after probe_kernel. */
extern bool kernel_frees_page_tables;

void probe_kernel(void);
void read_settings(void);
void ask_library(void);

#endif
