# SPDX-License-Identifier: MIT
# Benchmarks and measures. The programs use the standard names and link no allocator: LD_PRELOAD decides who serves.

# What `make bench-release` runs: programs of one file each beside the tools that they share.
RELEASE_MEASURES = bench/scatter bench/latency bench/server bench/churn bench/swing bench/release_who

noinst_PROGRAMS += bench/bench bench/pairs bench/footprint bench/idle bench/exit bench/zap $(RELEASE_MEASURES)
EXTRA_DIST += bench/allocators.py bench/compare.py bench/instructions.py bench/footprint.py bench/release.py bench/exit.py \
	bench/measures.py bench/variants.py bench/zap.sh

bench_bench_SOURCES = bench/bench.h bench/tools.c bench/bench.c bench/hot.c bench/batch.c bench/replace.c \
	bench/pipe.c bench/larson.c bench/grow.c
bench_bench_CFLAGS = $(AM_CFLAGS) -fno-builtin
bench_pairs_SOURCES = bench/pairs.c
bench_pairs_CFLAGS = $(AM_CFLAGS) -fno-builtin
bench_footprint_SOURCES = bench/footprint.c
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
bench_exit_SOURCES = $(MEASURE) bench/exit.c
bench_exit_CFLAGS = $(AM_CFLAGS) -fno-builtin

bench_zap_SOURCES = bench/zap.c

# BENCH_FLAGS goes to the runner: make bench BENCH_FLAGS='--rounds 3 --json out.json'
BENCH_FLAGS =
BENCH_RUN = --programs $(abs_top_builddir)/bench --ours $(abs_top_builddir)/.libs/libpmdalloc.so \
	$(BENCH_FLAGS)

bench: bench/bench$(EXEEXT) libpmdalloc.la
	python3 $(top_srcdir)/bench/compare.py $(BENCH_RUN)

bench-instructions: bench/pairs$(EXEEXT) libpmdalloc.la
	python3 $(top_srcdir)/bench/instructions.py $(BENCH_RUN)

bench-footprint: bench/footprint$(EXEEXT) bench/idle$(EXEEXT) libpmdalloc.la
	python3 $(top_srcdir)/bench/footprint.py $(BENCH_RUN)

bench-kernel: bench/zap$(EXEEXT)
	$(top_srcdir)/bench/zap.sh

bench-release: bench/footprint$(EXEEXT) $(RELEASE_MEASURES) libpmdalloc.la
	python3 $(top_srcdir)/bench/release.py $(BENCH_RUN)

bench-exit: bench/exit$(EXEEXT) libpmdalloc.la
	python3 $(top_srcdir)/bench/exit.py $(BENCH_RUN)

.PHONY: bench bench-kernel bench-instructions bench-footprint bench-release bench-exit
