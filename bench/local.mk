# SPDX-License-Identifier: MIT
# Benchmarks and measures. The programs use the standard names and link no allocator: LD_PRELOAD decides who serves.

# What `make bench-release` runs: programs of one file each beside the tools that they share.
RELEASE_MEASURES = bench/scatter bench/latency bench/server bench/churn bench/swing bench/release_who

noinst_PROGRAMS += bench/pairs bench/footprint bench/idle bench/exit bench/timeline bench/watch bench/zap \
	$(RELEASE_MEASURES)
EXTRA_DIST += bench/abuse.py bench/allocators.py bench/compare.py bench/curves.py bench/machine.py bench/plots.py \
	bench/profile.py bench/report.py bench/resample.py \
	bench/instructions.py bench/instructions.expected bench/footprint.py bench/release.py bench/exit.py \
	bench/measures.py bench/modes.py bench/programs.py bench/traces.py bench/variants.py bench/workloads.py bench/zap.sh

# The benchmarks of `make bench`: one file a family, in C; what is C++ is the shim alone.
if BENCHMARKS
noinst_PROGRAMS += bench/bench
endif
bench_bench_SOURCES = bench/shim/shim.h bench/shim/shim.cc bench/bench.h bench/tools.c bench/threads.c bench/sizes.h \
	bench/sizes.c bench/bench.c bench/hot.c bench/calloc.c bench/aligned.c bench/batch.c \
	bench/replace.h bench/replace.c \
	bench/realloc.c bench/larson.c bench/pipe.c bench/chain.c bench/cache.c bench/graph.c bench/scale.c \
	bench/storm.c bench/crowd.c bench/fork.c bench/phase.c bench/fragment.c bench/after.c
bench_bench_CFLAGS = $(AM_CFLAGS) -fno-builtin
bench_bench_LDADD = $(BENCHMARK_LIBS)
bench_pairs_SOURCES = bench/pairs.c
bench_pairs_CFLAGS = $(AM_CFLAGS) -fno-builtin
bench_footprint_SOURCES = bench/bench.h bench/tools.c bench/footprint.c
bench_footprint_CFLAGS = $(AM_CFLAGS) -fno-builtin
bench_idle_SOURCES = bench/idle.c

MEASURE = bench/bench.h bench/tools.c bench/measure.h bench/measure.c
bench_scatter_SOURCES = $(MEASURE) bench/scatter.c
bench_scatter_CFLAGS = $(AM_CFLAGS) -fno-builtin
bench_latency_SOURCES = $(MEASURE) bench/latency.c
bench_latency_CFLAGS = $(AM_CFLAGS) -fno-builtin
bench_server_SOURCES = $(MEASURE) bench/server.c
bench_server_CFLAGS = $(AM_CFLAGS) -fno-builtin
bench_churn_SOURCES = $(MEASURE) bench/churn.c
bench_churn_CFLAGS = $(AM_CFLAGS) -fno-builtin
bench_swing_SOURCES = $(MEASURE) bench/swing.c
bench_swing_CFLAGS = $(AM_CFLAGS) -fno-builtin
bench_release_who_SOURCES = $(MEASURE) bench/release_who.c
bench_release_who_CFLAGS = $(AM_CFLAGS) -fno-builtin
bench_timeline_SOURCES = $(MEASURE) bench/timeline.c
bench_timeline_CFLAGS = $(AM_CFLAGS) -fno-builtin
bench_exit_SOURCES = $(MEASURE) bench/exit.c
bench_exit_CFLAGS = $(AM_CFLAGS) -fno-builtin

bench_watch_SOURCES = bench/bench.h bench/tools.c bench/watch.c
bench_zap_SOURCES = bench/zap.c

# BENCH_FLAGS goes to the runner: make bench BENCH_FLAGS='--rounds 3 --json out.json'
BENCH_FLAGS =
BENCH_RUN = --programs $(abs_top_builddir)/bench --ours $(abs_top_builddir)/.libs/libpmdalloc.so \
	$(BENCH_FLAGS)

# What the runs leave in the build directory: all figures, the report, the table of the README.
BENCH_FILES = bench-results.json bench-report.html bench-table.md \
	bench-programs.json bench-programs.html bench-programs.md
BENCH_WRITES = --json bench-results.json --report bench-report.html --markdown bench-table.md
if BENCHMARKS
BENCH_NEEDS = bench/bench$(EXEEXT) bench/timeline$(EXEEXT) bench/exit$(EXEEXT) bench/latency$(EXEEXT) \
	bench/watch$(EXEEXT) libpmdalloc.la
BENCH_COMPARE = python3 $(top_srcdir)/bench/compare.py $(BENCH_WRITES) $(BENCH_RUN)
BENCH_BRIEF = python3 $(top_srcdir)/bench/compare.py --brief --json '$(ARTIFACTS)/bench-results.json' \
	--report '$(ARTIFACTS)/bench-report.html' --markdown '$(ARTIFACTS)/bench-table.md' $(BENCH_RUN)
else
BENCH_NEEDS =
BENCH_COMPARE = @echo 'make bench needs Google Benchmark and a C++ compiler: install libbenchmark-dev and g++, then configure again (without --enable-sanitizer)' >&2; exit 1;
BENCH_BRIEF = $(BENCH_COMPARE)
endif

bench: $(BENCH_NEEDS)
	$(BENCH_COMPARE)

bench-quick: $(BENCH_NEEDS)
	$(BENCH_COMPARE) --quick

# The report of a commit: half a minute, in the folder ARTIFACTS.
ARTIFACTS = artifacts
bench-report: $(BENCH_NEEDS)
	$(MKDIR_P) '$(ARTIFACTS)'
	$(BENCH_BRIEF)

bench-instructions: bench/pairs$(EXEEXT) libpmdalloc.la
	python3 $(top_srcdir)/bench/instructions.py $(BENCH_RUN)

# What t_instructions holds the fast paths against.
AM_TESTS_ENVIRONMENT += PMD_CC='$(CC)'; export PMD_CC; PMD_FLAGS='$(CFLAGS) $(PMD_CPPFLAGS)'; export PMD_FLAGS;
TESTS += bench/t_bench.sh bench/t_instructions.sh bench/t_programs.sh
EXTRA_DIST += bench/t_bench.sh bench/t_instructions.sh bench/t_programs.sh

store-instructions: bench/pairs$(EXEEXT) libpmdalloc.la
	python3 $(top_srcdir)/bench/instructions.py $(BENCH_RUN) --store $(top_srcdir)/bench/instructions.expected \
		--compiler "$$($(CC) --version | sed q)" --flags '$(CFLAGS) $(PMD_CPPFLAGS)'
.PHONY: store-instructions

bench-profile: $(BENCH_NEEDS)
	python3 $(top_srcdir)/bench/profile.py $(BENCH_RUN)

bench-footprint: bench/footprint$(EXEEXT) bench/idle$(EXEEXT) libpmdalloc.la
	python3 $(top_srcdir)/bench/footprint.py $(BENCH_RUN)

# KERNELS=none leaves out those in QEMU.
bench-kernel: bench/zap$(EXEEXT)
	$(top_srcdir)/bench/zap.sh $(KERNELS)

bench-release: bench/footprint$(EXEEXT) $(RELEASE_MEASURES) libpmdalloc.la
	python3 $(top_srcdir)/bench/release.py $(BENCH_RUN)

bench-modes: bench/pairs$(EXEEXT) libpmdalloc.la
	python3 $(top_srcdir)/bench/modes.py $(BENCH_RUN)

bench-exit: bench/exit$(EXEEXT) libpmdalloc.la
	python3 $(top_srcdir)/bench/exit.py $(BENCH_RUN)

# Traces of real programs, recorded on the spot into the folder traces and replayed.
bench-traces: trace/pmdalloc-replay$(EXEEXT) $(TRACE_RECORDER) bench/watch$(EXEEXT) libpmdalloc.la
	python3 $(top_srcdir)/bench/traces.py $(BENCH_RUN)

# Real programs with each allocator preloaded.
bench-programs: bench/watch$(EXEEXT) libpmdalloc.la
	python3 $(top_srcdir)/bench/programs.py --json bench-programs.json --report bench-programs.html \
		--markdown bench-programs.md $(BENCH_RUN)

.PHONY: bench bench-modes bench-report bench-programs bench-quick bench-profile \
	bench-kernel bench-instructions bench-footprint bench-release bench-exit bench-traces

CLEANFILES += $(BENCH_FILES)

clean-local: clean-bench
clean-bench:
	rm -rf traces artifacts
.PHONY: clean-bench
