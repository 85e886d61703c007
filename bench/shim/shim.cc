/* SPDX-License-Identifier: MIT */
/* The only C++ of the benchmarks: see shim.h. */
#include "shim.h"

#include <benchmark/benchmark.h>

namespace
{

/*
 * The body does all operations of a run in one call and measures them itself, so that neither its preparations nor
 * Google Benchmark's loop are in the time.
 */
void run(benchmark::State &state, shim_body *body, const void *argument)
{
	struct shim_result result = {};

	while (state.KeepRunningBatch(state.max_iterations)) {
		body(argument, static_cast<uint64_t>(state.max_iterations), &result);
		state.SetIterationTime(static_cast<double>(result.ns) * 1e-9);
	}
	for (size_t i = 0; i < result.counters; i++)
		state.counters[result.counter[i].name] = result.counter[i].value;
}

} // namespace

void shim_start(int *argc, char **argv)
{
	benchmark::Initialize(argc, argv);
}

void shim_register(const char *name, uint64_t operations, shim_body *body, const void *argument)
{
	benchmark::internal::Benchmark *b = benchmark::RegisterBenchmark(
		name, [body, argument](benchmark::State &state) { run(state, body, argument); });

	b->UseManualTime();
	if (operations)
		b->Iterations(static_cast<int64_t>(operations));
}

void shim_context(const char *name, const char *value)
{
	benchmark::AddCustomContext(name, value);
}

size_t shim_run(void)
{
	return benchmark::RunSpecifiedBenchmarks();
}
