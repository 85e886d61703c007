/* SPDX-License-Identifier: MIT */
/*
 * Google Benchmark for C: benchmarks are functions of C, and what is C++ is in shim.cc alone. It brings the command
 * line that its users know: --benchmark_filter, --benchmark_list_tests, --benchmark_format=json and so on.
 */
#ifndef BENCH_SHIM_SHIM_H
#define BENCH_SHIM_SHIM_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum { SHIM_COUNTERS = 12 };

/* What a run of a benchmark tells. */
struct shim_result {
	uint64_t ns; /* what its operations took */
	size_t counters;
	struct {
		const char *name;
		double value;
	} counter[SHIM_COUNTERS];
};

/* Does OPERATIONS operations of the benchmark that ARGUMENT describes. */
typedef void shim_body(const void *argument, uint64_t operations, struct shim_result *result);

/* Takes its own options out of the command line. */
void shim_start(int *argc, char **argv);

/* Adds a benchmark. OPERATIONS is not 0 where the number of operations is fixed: it is run once, then. */
void shim_register(const char *name, uint64_t operations, shim_body *body, const void *argument);

/* Adds a line to the context of every report. */
void shim_context(const char *name, const char *value);

/* Runs what the command line asks for; the number of benchmarks that it named, 0 also when they were only listed. */
size_t shim_run(void);

#ifdef __cplusplus
}
#endif

#endif
