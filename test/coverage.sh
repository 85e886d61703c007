#!/bin/bash
# SPDX-License-Identifier: MIT
# What of src/ the tests execute, by branches. Run in a build directory: coverage.sh SOURCE_DIRECTORY
# Builds in coverage/ there, with clang, runs the tests and compares with test/coverage.expected; COVERAGE_TESTS='...'
# names some of the tests instead of all that run under preload.
set -euo pipefail

source_dir=$(cd "$1" && pwd -P)
unset MAKEFLAGS MFLAGS MAKELEVEL MAKEOVERRIDES
for tool in clang llvm-cov llvm-profdata; do
	command -v $tool >/dev/null || { echo "skipped: no $tool: install Debian's clang and llvm"; exit 77; }
done

# Programs under preload run in the main build; and the counters have symbols, and system calls, of their own.
without='fuzz|services/|check_kernel|t_static|static\.sh|symbols\.sh|bench|(faults|fresh)\.sh|t_soak|t_suites|t_calls_denied'

flags='-O0 -gdwarf-4' # not every valgrind reads later versions as clang writes them
rm -rf coverage
mkdir -p coverage/counters
cd coverage
"$source_dir/configure" --quiet --enable-werror --enable-coverage="$PWD/counters" CC=clang CXX=clang++ \
	CFLAGS="$flags" CXXFLAGS="$flags"
make -s -j"$(nproc)"
# shellcheck disable=SC2016 # for make
tests=${COVERAGE_TESTS:-$(printf 'include Makefile\nprint-tests:\n\t@echo $(TESTS)\n' | make -s -f - print-tests |
	tr ' ' '\n' | grep -Ev "$without" | tr '\n' ' ')}
bad=0
export PMD_COUNTED=yes
make -j"$(nproc)" check TESTS="$tests" || { bad=1; cat test-suite.log; }
# The library, and the tests that have a part of it in them.
objects=(.libs/libpmdalloc.so)
for program in test/t_*; do
	case $program in *.o | *.log | *.trs) ;; *) [ -x "$program" ] && [ -f "$program" ] && objects+=("$program") ;; esac
done
python3 "$source_dir/test/coverage.py" --source "$source_dir" --counters counters \
	--expected "$source_dir/test/coverage.expected" "${objects[@]}" || bad=1
exit "$bad"
