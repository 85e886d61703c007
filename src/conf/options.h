/* SPDX-License-Identifier: MIT */
/*
 * The options, from the one table in options.def. Written once at start, before the heap exists; those that may
 * change later are read and written with relaxed atomics, as nothing else is ordered by them.
 */
#ifndef PMD_CONF_OPTIONS_H
#define PMD_CONF_OPTIONS_H

#include <stdatomic.h>

#include "base/text.h"

enum { OPTION_TEXT = 256 }; /* with the terminating zero; an empty one is what is not given */

#define NUMBER(name, fallback, low, high, live, unit, help) _Atomic int64_t name;
#define CHOICE(name, fallback, live, words, help)           _Atomic int64_t name;
#define SIZE(name, fallback, low, high, live, help)         _Atomic int64_t name;
#define TEXT(name, form, help)                              char name[OPTION_TEXT];
struct options {
#include "conf/options.def"
};
#undef NUMBER
#undef CHOICE
#undef SIZE
#undef TEXT

/* The value of a size that is given as none. */
#define SIZE_NONE INT64_MAX

extern HIDDEN struct options options;

#define OPTION(name) atomic_load_explicit(&options.name, memory_order_relaxed)

enum { BACKGROUND_OFF, BACKGROUND_ON };
enum { ABORT_FALSE, ABORT_TRUE };
enum { DEEPBIND_OFF, DEEPBIND_ON };
enum { CHECK_OFF, CHECK_FAST, CHECK_STRICT };
enum { HANDOFF_AUTO, HANDOFF_OFF, HANDOFF_ARMED };
enum { FORK_OFF, FORK_ON };
enum { DESPITE_NOTHING, DESPITE_SECCOMP, DESPITE_PTRACE, DESPITE_MEMORY, DESPITE_LOAD, DESPITE_ALL };
enum { PRESSURE_OFF, PRESSURE_ON };
enum { THP_AUTO, THP_ALWAYS, THP_NEVER };
enum { STATS_OFF, STATS_TEXT, STATS_JSON, STATS_OPENMETRICS };

/* Sets the defaults, then what PMDALLOC_CONF says. A bad entry gives one line on stderr and leaves the default. */
void options_init(void);

/* As pmd_option_get and pmd_option_set. */
int options_get(const char *name, char *buf, size_t len);
int options_set(const char *name, const char *value);

/* Calls SAY for each option with its name and its value as text. */
void options_each(void (*say)(void *arg, const char *name, const char *value), void *arg);

#endif
