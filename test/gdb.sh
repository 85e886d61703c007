#!/bin/bash
# SPDX-License-Identifier: MIT
# pmd-ptr says in gdb what a pointer is: in a process that has freed it twice, and in the core of that process, the kernel's
# and gdb's; of a slab's block, one with a seal, and a guarded one.
set -eu

dir=${PMD_BUILD:-.}
program=$dir/test/t_check
script=${srcdir:-.}/LD_PRELOAD/pmdalloc-gdb.py
out=gdb-test.$$
cores=gdb-cores.$$
trap 'rm -rf "$out" "$cores"' EXIT
mkdir "$cores"

skip() {
	echo "skipped: $1" >&2
	exit 77
}

[ "${PMD_SANITIZED:-no}" = no ] || skip "this is a sanitizer's build"
command -v gdb >/dev/null || skip "gdb is not installed"
gdb -nx -batch -ex 'python print(6 * 7)' 2>/dev/null | grep -q 42 || skip "this gdb has no Python"
readelf -SW "$dir/.libs/libpmdalloc.so" | grep -q '\.debug_info' || skip "the library has no debugging information"

# debug ARGUMENT...: gdb's answers are in $out.
debug() {
	timeout -s KILL 100 gdb -nx -batch -iex 'set debuginfod enabled off' -ex 'set startup-with-shell off' "$@" >"$out" 2>&1 || true
	if grep -qi -e 'ptrace.*not permitted' -e 'could not trace' "$out"; then
		skip "gdb may not trace"
	fi
	if grep -q 'no debugging information' "$out"; then
		skip "this gdb does not read the library's debugging information: $(grep 'no debugging' "$out")"
	fi
}

expect() {
	for pattern; do
		grep -q -e "$pattern" "$out" || {
			echo "no '$pattern' in" >&2
			cat "$out" >&2
			exit 1
		}
	done
}

# pointer CONF PATTERN...: what gdb says of the block that the second case of t_check frees twice.
pointer() {
	conf=$1
	shift
	debug -ex "set environment PMDALLOC_CONF $conf" -ex run -ex "source $script" -ex 'pmd-ptr block' -ex 'pmd-ptr 16' \
		--args "$program" 1
	expect "$@" '0x10: not memory that pmdalloc hands out'
	# The kernel's core: one that gdb writes ends at the first page that cannot be read, as guards are.
	(cd "$cores" && ulimit -c unlimited && PMDALLOC_CONF=$conf "$program" 1 2>/dev/null) || true
	core=$(find "$cores" -type f)
	[ -n "$core" ] || return 0 # they go elsewhere here
	debug -ex "source $script" -ex 'pmd-ptr block' "$program" "$core"
	expect "$@"
	rm -f "$core"
}

pointer check:off ': 0 bytes into the block at' 'class 1, ' "free: on its owner's list" 'owned by the thread'

# gdb's core has what is committed, and not the address space that is reserved: it would be 1 TiB.
debug -ex "set environment PMDALLOC_CONF check:off" -ex run -ex "generate-core-file $cores/gcore" --args "$program" 1
expect 'Saved corefile'
[ "$(stat -c %s "$cores/gcore")" -lt $((64 << 20)) ] || { echo "gdb's core has $(stat -c %s "$cores/gcore") bytes" >&2; exit 1; }
debug -ex "source $script" -ex 'pmd-ptr block' "$program" "$cores/gcore"
expect ': 0 bytes into the block at' 'class 1, ' "free: on its owner's list"
rm -f "$cores/gcore"

pointer check:strict ': 0 bytes into the block at' 'in quarantine' 'region 0 (active), slice'
# With counters the first samples are their requests.
[ -n "${PMD_COUNTED:-}" ] ||
	pointer guard_rate:1 'guarded block 0: freed, 24 bytes at' 'allocated by thread' 'allocator' 'releaser'

# A block of no size, as the program touches it.
debug -ex "set environment PMDALLOC_CONF check:strict" -ex run -ex "source $script" -ex 'pmd-ptr block' --args "$program" 8
expect ': 0 bytes beyond the address of a block of no size' '^ *live$'
