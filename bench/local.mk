# SPDX-License-Identifier: MIT
# Benchmarks and measures. The programs use the standard names and link no allocator: LD_PRELOAD decides who serves.

noinst_PROGRAMS += bench/bench bench/pairs bench/footprint bench/idle
EXTRA_DIST += bench/allocators.py bench/compare.py bench/instructions.py bench/footprint.py

bench_bench_SOURCES = bench/bench.h bench/bench.c bench/hot.c bench/batch.c bench/replace.c bench/pipe.c \
	bench/larson.c bench/grow.c
bench_bench_CFLAGS = $(AM_CFLAGS) -fno-builtin
bench_pairs_SOURCES = bench/pairs.c
bench_pairs_CFLAGS = $(AM_CFLAGS) -fno-builtin
bench_footprint_SOURCES = bench/footprint.c
bench_footprint_CFLAGS = $(AM_CFLAGS) -fno-builtin
bench_idle_SOURCES = bench/idle.c

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

.PHONY: bench bench-instructions bench-footprint
