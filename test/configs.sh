#!/bin/bash
# SPDX-License-Identifier: MIT
# Builds and tests every configuration that can be built, and checks the form of the sources.
# Run in a build directory: configs.sh SOURCE_DIRECTORY [NAME]...   Each configuration lives in configs/NAME below it.
set -uo pipefail

source_dir=$(cd "$1" && pwd -P) || exit 2
shift
only=" $* "
# Started by make, it must not hand its flags to the makes of the configurations.
unset MAKEFLAGS MFLAGS MAKELEVEL MAKEOVERRIDES
passed=0
failed=0
jobs=$(nproc 2>/dev/null || echo 2)
mkdir -p configs
cd configs || exit 2

# Programs under preload, what starts hundreds of processes, and what takes long are tested in the main build; the rest runs in
# every configuration.
slow='fuzz|services/|check_kernel|t_static|static\.sh|valgrind\.sh|bench|(abuse|asan|calls|faults|fresh|gdb|modes)\.sh'
slow="$slow|t_soak|t_suites|t_exhausted|t_calls_denied"
# Of what is random or a matrix a quarter; sanitizers' builds do an eighth of their own.
less=4

report()
{
	if [ "$2" -eq 0 ]; then
		passed=$((passed + 1))
		echo "PASS: $1 ($3 s)"
	else
		failed=$((failed + 1))
		echo "FAIL: $1 ($3 s); the end of configs/$1.out:"
		tail -n 40 "$1.out"
		echo "and of it all:"
		grep -aE '(^(FAIL|ERROR|not taken|coverage):|failed:|error:)' "$1.out"
	fi
}

# step NAME COMMAND...
step()
{
	local name=$1 start=$SECONDS status=0
	shift
	[ "$only" = "  " ] || [[ $only == *" $name "* ]] || return 0
	"$@" >"$name.out" 2>&1 </dev/null || status=1
	report "$name" "$status" "$((SECONDS - start))"
}

tests_of()
{
	# shellcheck disable=SC2016 # for make
	printf 'include Makefile\nprint-tests:\n\t@echo $(TESTS)\n' | make -s -f - print-tests | tr ' ' '\n' |
		grep -Ev "$slow" | tr '\n' ' '
}

# Configures, builds without a warning, and tests. VARIABLE=VALUE and options as configure takes them.
configuration()
{
	local directory=$1 tests
	shift
	rm -rf "$directory"
	mkdir "$directory" || return
	(
		cd "$directory" || exit
		"$source_dir/configure" --quiet --enable-werror "$@" || exit
		make -s -j"$jobs" || exit
		tests=$(tests_of)
		[ -n "$tests" ] || { echo "no test was found"; exit 1; }
		[[ $* == *--enable-sanitizer* ]] || export CHECK_SCALE=$less
		make -j"$jobs" check TESTS="$tests" || { cat test-suite.log; exit 1; }
		# Automake is content when every test was skipped.
		grep -qs '^:test-result: PASS' test/*.trs || { echo "no test has passed"; exit 1; }
	) || return
	rm -rf "$directory"
}

# libFuzzer, with both sanitizers; only what the fuzzers need is built.
fuzzers()
{
	rm -rf fuzz
	mkdir fuzz || return
	(
		cd fuzz || exit
		"$source_dir/configure" --quiet --enable-werror --without-override CC=clang CXX=clang++ --enable-debug \
			--enable-sanitizer=address,undefined,fuzzer-no-link CFLAGS='-O1 -g -fno-sanitize-recover=all' || exit
		make -s -j"$jobs" test/fuzz/calls test/fuzz/options test/fuzz/trace || exit
		FUZZ_SECONDS=${FUZZ_SECONDS:-15} srcdir=$source_dir PMD_BUILD=$PWD PMD_FUZZER=yes bash "$source_dir/test/fuzz.sh"
	) || return
	rm -rf fuzz
}

# clang -O0, and what of src/ the tests execute.
coverage()
{
	CHECK_SCALE=$less bash "$source_dir/test/coverage.sh" "$source_dir" || return
	rm -rf coverage
}

step format "$source_dir/test/lint.sh" format
step shellcheck "$source_dir/test/lint.sh" shell

# Each of gcc and clang, debugging or not, shared, static and prefixed is there at least once; the main build is gcc -O2.
step gcc-O3-lto-debug configuration gcc-O3-lto-debug CC=gcc CXX=g++ AR=gcc-ar RANLIB=gcc-ranlib NM=gcc-nm \
	CFLAGS='-O3 -flto' CXXFLAGS='-O3 -flto' --enable-debug
step clang-O0-coverage coverage
step clang-O2 configuration clang-O2 CC=clang CXX=clang++ CFLAGS='-O2 -g' CXXFLAGS='-O2 -g'
step prefixed-debug configuration prefixed-debug --without-override --without-liburing --enable-debug CC=clang CXX=clang++
step asan-ubsan configuration asan-ubsan --without-override --enable-sanitizer=address,undefined \
	CFLAGS='-O1 -g -fno-sanitize-recover=all' CXXFLAGS='-O1 -g -fno-sanitize-recover=all'
step fuzz fuzzers
step tsan configuration tsan --without-override --enable-sanitizer=thread CFLAGS='-O1 -g' CXXFLAGS='-O1 -g'

echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
