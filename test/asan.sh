#!/bin/sh
# SPDX-License-Identifier: MIT
# AddressSanitizer sees the blocks of a program that is built with it and has its memory from the library: overruns and uses after
# free are reported as they happen, its leak detector follows pointers through the library's blocks, and a program without a bug
# gets no report.
set -eu

work=asan-test.$$
trap 'rm -rf "$work"' EXIT
mkdir "$work"

skip() {
	echo "skipped: $1" >&2
	exit 77
}

[ "${PMD_SANITIZED:-no}" = no ] || skip "this library is built with a sanitizer itself"
if ! $PMD_CC -O1 -g -fsanitize=address -I"${srcdir:?}/include" -o "$work/asan" "$srcdir/test/asan.c" -L"$PMD_BUILD/.libs" \
	-Wl,-rpath,"$PMD_BUILD/.libs" -lpmdalloc -lpthread 2>"$work/log"; then
	cat "$work/log" >&2
	skip "this compiler has no AddressSanitizer"
fi
export ASAN_OPTIONS=exitcode=9
program=$work/asan

# expect STATUS PATTERN ARGUMENT...
expect() {
	wanted=$1 pattern=$2 status=0
	shift 2
	(timeout -s KILL 100 "$program" "$@" >"$work/log" 2>&1; exit $?) 2>/dev/null || status=$?
	if grep -q 'LeakSanitizer has encountered a fatal error' "$work/log"; then
		return 0 # it may not trace here
	fi
	if [ "$status" -ne "$wanted" ] || ! grep -q -e "$pattern" "$work/log"; then
		echo "asan $*: status $status, not $wanted, or no '$pattern':" >&2
		cat "$work/log" >&2
		exit 1
	fi
}

for size in 1 8 24 100 4096 70000 3000000; do
	expect 9 'use-after-poison' over $size
	expect 9 'use-after-poison' under $size
	expect 9 'use-after-poison' over-write $size
	expect 9 'use-after-poison' over-copy $size
	expect 9 'use-after-poison' after-free $size
	expect 134 'pmdalloc: .*free(0x.*already freed' twice $size
done
export PMDALLOC_CONF=abort:false
for size in 24 70000; do
	expect 0 'pmdalloc: .*free(0x.*already freed' twice $size
done
unset PMDALLOC_CONF
expect 0 'the end' clean 5
expect 0 'the end' clean 5000
expect 0 'the end' clean 40000
expect 0 'the end' threads 1
expect 0 'the end' holds 1
expect 9 'LeakSanitizer: detected memory leaks' leaks 1

# With the library in the program itself, AddressSanitizer's own start has its memory from it, before anything can be poisoned.
[ "${PMD_OVERRIDE:-yes}" = yes ] || exit 0
program=$work/asan-object
$PMD_CC -O1 -g -fsanitize=address -I"$srcdir/include" -o "$program" "$srcdir/test/asan.c" "$PMD_BUILD/pmdalloc.o" -lpthread \
	2>"$work/log" || exit 0 # clang's has malloc in the program too, in some versions
for size in 1 100 70000; do
	expect 9 'use-after-poison' over $size
	expect 9 'use-after-poison' under $size
	expect 9 'use-after-poison' after-free $size
done
expect 0 'the end' clean 5000
expect 0 'the end' threads 1
