#!/bin/sh
# SPDX-License-Identifier: MIT
# Valgrind sees the blocks of a program under the library: leaks, overruns and uses after free are reported, and a program
# without a bug gets none.
set -eu

dir=${PMD_BUILD:-.}
library=$dir/.libs/libpmdalloc.so
log=valgrind-test.$$
copy=valgrind-program.$$
trap 'rm -f "$log" "$copy"' EXIT

skip() {
	echo "skipped: $1" >&2
	exit 77
}

[ "${PMD_OVERRIDE:-yes}" = yes ] || skip "this library has only the prefixed names"
[ "${PMD_SANITIZED:-no}" = no ] || skip "this is a sanitizer's build"
command -v valgrind >/dev/null || skip "valgrind is not installed"

# run BUG: its report is in $log.
run() {
	LD_PRELOAD=$library valgrind --soname-synonyms=somalloc=nouserintercepts --leak-check=full \
		"$dir/test/buggy" "$1" >"$log" 2>&1 || true
	if grep -q 'Possibly corrupted debuginfo' "$log"; then
		skip "this valgrind cannot read what this compiler writes for debuggers"
	fi
}

# expect BUG PATTERN...: the report holds each of the patterns.
expect() {
	bug=$1
	shift
	run "$bug"
	for pattern; do
		if ! grep -q -e "$pattern" "$log"; then
			echo "$bug: the report has no '$pattern':" >&2
			cat "$log" >&2
			exit 1
		fi
	done
}

expect clean 'ERROR SUMMARY: 0 errors' 'no leaks are possible'
expect leak 'definitely lost: 1,234 bytes in 1 blocks' 'by 0x.*: block (.*buggy.c'
expect overrun 'Invalid write of size 1' '0 bytes after a block of size 100 alloc'
expect underrun 'Invalid write of size 1'
expect use-after-free 'Invalid read of size 1' '50 bytes inside a block of size 200 free'
expect uninitialised 'Conditional jump or move depends on uninitialised'

# What is reserved costs memcheck memory and time, whether it is used or not.
reserved=$(LD_PRELOAD=$library PMDALLOC_CONF=stats:json valgrind -q "$dir/test/buggy" clean 2>&1 |
	sed -n 's/.*"heap_reserved": *\([0-9]*\).*/\1/p')
if [ "${reserved:-0}" -lt 1 ] || [ "$reserved" -gt $((16 << 30)) ]; then
	echo "under valgrind ${reserved:-no} bytes are reserved" >&2
	exit 1
fi

# Our own tests, as far as they start no copies of themselves.
for test in t_api t_stats t_thread_exit; do
	status=0
	program=$dir/test/$test
	if [ -n "${PMD_COUNTED:-}" ]; then # whose counters have symbols that not every valgrind can read
		strip -o "$copy" "$program"
		program=./$copy
	fi
	valgrind -q --error-exitcode=9 --soname-synonyms=somalloc=nouserintercepts "$program" >"$log" 2>&1 ||
		status=$?
	if [ "$status" -ne 0 ] && [ "$status" -ne 77 ]; then
		echo "$test ends with $status under valgrind:" >&2
		cat "$log" >&2
		exit 1
	fi
done
