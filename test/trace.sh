#!/bin/bash
# SPDX-License-Identifier: MIT
# pmdalloc-trace and pmdalloc-replay: a program of known calls is recorded exactly, whatever it does and whoever
# serves it.
set -euo pipefail

build=${PMD_BUILD:-$PWD}
trace=$build/trace/pmdalloc-trace
replay=$build/trace/pmdalloc-replay
traced=$build/test/traced
work=

fail()
{
	echo "trace: FAILED: $*" >&2
	exit 1
}

skip()
{
	echo "trace: skipped: $*" >&2
	exit 77
}

[ "${PMD_OVERRIDE:-yes}" = yes ] || skip "nothing is recorded in a build without malloc"
[ -x "$trace" ] || skip "no $trace"
unset LD_PRELOAD PMDALLOC_TRACE
export PMDALLOC_CONF=guard_rate:0 # a sample has another usable size, and which request is one depends on who records
work=$(mktemp -d "${TMPDIR:-/tmp}/pmdalloc-trace-test.XXXXXX")
trap 'rm -rf "$work"' EXIT
cd "$work"

# expect STATUS LINES COMMAND...: its exit status, and how many lines go to stderr.
expect()
{
	local wanted=$1 lines=$2 status=0
	shift 2
	timeout -s KILL 120 "$@" >out 2>err </dev/null || status=$?
	[ "$status" -eq "$wanted" ] || { cat err; fail "'$*': status $status instead of $wanted"; }
	[ "$(wc -l <err)" -eq "$lines" ] || { cat err; fail "'$*': not $lines lines on stderr"; }
}

# record STATUS LINES MODE [N]: into a folder of its own, the traces in $files.
record()
{
	rm -rf new
	mkdir new
	expect "$1" "$2" "$trace" -o new "$traced" "${@:3}"
	files=(new/*.trace)
	[ -e "${files[0]}" ] || fail "${*:3}: no trace"
}

# value FILE NAME
value()
{
	"$replay" --info --json "$1" | sed -n "s/.*\"$2\": \([0-9]*\).*/\1/p"
}

# is FILE NAME VALUE
is()
{
	local found
	found=$(value "$1" "$2")
	[ "$found" = "$3" ] || fail "$1: $2 is $found instead of $3"
}

# What a program does beside, starting and ending: the same program that makes no calls of its own.
check_calls()
{
	local n=50 t=4 sum name before after
	record 0 0 calls 0
	mv "${files[0]}" none.trace
	record 0 0 calls $n
	mv "${files[0]}" some.trace
	sum=$((t * n * (n + 1) / 2))
	check_more()
	{
		before=$(value none.trace "$1")
		after=$(value some.trace "$1")
		[ $((after - before)) -eq "$2" ] || fail "$1: $((after - before)) instead of $2"
	}
	for name in calloc realloc reallocarray posix_memalign aligned_alloc memalign valloc pvalloc null_frees failed; do
		check_more $name $((t * n))
	done
	check_more malloc $((2 * t * n))
	check_more free $((7 * t * n))
	check_more free_sized 0
	check_more unknown 0
	check_more twice 0
	check_more blocks_end $((t * n))
	check_more live_end_bytes "$sum"
	# malloc 1, calloc 3, realloc 5, reallocarray 14, the aligned ones 1, 128, 1, 1, 1.
	check_more allocated_bytes $((sum * (1 + 3 + 5 + 14 + 1 + 128 + 1 + 1 + 1)))
	is some.trace whole 1
	# The main thread allocates for the others' beginnings, if at all.
	[ "$(value some.trace threads)" -ge 4 ] || fail "not 4 threads"
	"$replay" --print some.trace >events
	[ "$(grep -c ' reallocarray .*count=2 size=[0-9]' events)" -eq $((t * n)) ] || fail "--print: reallocarray"
	[ "$(grep -c ' aligned_alloc alignment=128 size=[0-9]* result=0x[0-9a-f]*[08]0$' events)" -eq $((t * n)) ] ||
		fail "--print: aligned_alloc"
	[ "$(awk '$1 < last { print } { last = $1 }' events | wc -l)" -eq 0 ] || fail "--print: not in order"
}

check_replay()
{
	local threads touch
	for threads in single recorded; do
		for touch in none pages all; do
			expect 0 0 "$replay" --threads $threads --touch=$touch --repeat 2 --json some.trace
			grep -q '"refused": 0,' out || fail "a request was refused: $(cat out)"
			grep -q '"ns": [1-9]' out || fail "no time: $(cat out)"
		done
		expect 0 0 "$replay" --threads $threads some.trace none.trace
		grep -q 'kB RSS at the peak' out || fail "no RSS: $(cat out)"
	done
}

# Seen the same, whoever serves.
check_stacked()
{
	local library plain
	for library in "$build/.libs/libpmdalloc.so" /usr/lib/*/libjemalloc.so.2 /usr/lib/*/libmimalloc.so.2.0 \
		/usr/lib/*/libtcmalloc_minimal.so.4; do
		[ -e "$library" ] || continue
		plain=$(LD_PRELOAD=$library "$traced" usable)
		export LD_PRELOAD=$library
		record 0 0 usable
		[ "$(cat out)" = "$plain" ] || fail "$library does not serve: $(cat out) instead of $plain"
		case $library in
		*jemalloc*) ;; # has no pvalloc: the C library's is called, and freed by the other
		*) check_calls ;;
		esac
		# Some change errno themselves.
		"$traced" churn 2>/dev/null || { unset LD_PRELOAD; continue; }
		record 0 0 churn
		expect 0 0 "$replay" --threads recorded "${files[0]}"
		unset LD_PRELOAD
		grep -qF "$(basename "$library")" out || fail "$library does not serve the replay"
		[ "$(value "${files[0]}" malloc)" -ge 100000 ] || fail "$library: calls are missing"
		is "${files[0]}" twice 0
	done
}

check_processes()
{
	local file forked=0
	record 0 0 forks
	[ ${#files[@]} -eq 2 ] || fail "a fork: not two files"
	for file in "${files[@]}"; do
		is "$file" whole 1
		[ "$(value "$file" forked)" -eq 0 ] || forked=$file
	done
	[ "$forked" != 0 ] || fail "no file is a forked child's"
	is "$forked" malloc 2
	is "$forked" unknown 1
	is "$forked" live_end_bytes 3000

	record 0 0 forks-by-call
	[ ${#files[@]} -eq 2 ] || fail "a fork by its call: not two files"

	record 0 0 vforks
	[ ${#files[@]} -eq 1 ] || fail "a vfork: not one file"
	is "${files[0]}" whole 1
	is "${files[0]}" unknown 0
	"$replay" --print "${files[0]}" | grep -q 'malloc size=5000 ' || fail "nothing is recorded after a vfork"

	record 0 0 executes
	[ ${#files[@]} -eq 2 ] || fail "an exec: not two files"
	for file in "${files[@]}"; do
		is "$file" whole 1
	done
	"$replay" --print "${files[@]}" | grep -q 'malloc size=7000 ' || fail "nothing is recorded after a failed exec"

	record 0 0 storm 500
	is "${files[0]}" whole 1
	[ "$("$replay" --print "${files[0]}" | grep -c 'malloc size=8000 ')" -eq 500 ] || fail "threads: calls are missing"
	is "${files[0]}" unknown 0
	expect 0 0 "$replay" --threads recorded "${files[0]}"
}

check_ends()
{
	local mode
	for mode in ends-at-once ends-quickly ends-in-handler; do
		record 6 0 $mode
		is "${files[0]}" whole 1
		"$replay" --print "${files[0]}" | grep -q 'malloc size=9000 ' || fail "$mode: a call is missing"
	done
	rm -rf new
	mkdir new
	"$trace" -o new "$traced" is-killed 2>/dev/null && fail "not killed"
	files=(new/*.trace)
	is "${files[0]}" whole 0
	[ "$(value "${files[0]}" malloc)" -ge 80000 ] || fail "killed: more than the last chunk is missing"
	expect 0 0 "$replay" "${files[0]}"
	record 0 0 closes
	is "${files[0]}" whole 1
	[ "$(value "${files[0]}" malloc)" -ge 300000 ] || fail "closed descriptors: calls are missing"
}

# Nothing that goes wrong with the trace is the program's business: one line, its own status.
check_errors()
{
	record 0 1 exceeds-size
	grep -q 'pmdalloc-trace: .*new/traced.*: File too large; process [0-9]* is not recorded' err || fail "$(cat err)"
	is "${files[0]}" whole 0
	[ "$(value "${files[0]}" cut_bytes)" -eq 0 ] || fail "an incomplete chunk was left"
	expect 6 1 "$trace" -o /dev/full "$traced" ends-at-once
	grep -q 'pmdalloc-trace: /dev/full: No space left on device' err || fail "$(cat err)"
	expect 6 1 "$trace" -o "$work/none/file" "$traced" ends-at-once
	grep -q 'pmdalloc-trace: .*none/file: No such file or directory' err || fail "$(cat err)"
	expect 6 0 "$trace" -o one.trace "$traced" ends-at-once
	is one.trace whole 1
	expect 6 0 "$trace" -oone.trace -- "$traced" ends-at-once
	expect 6 0 env PMDALLOC_TRACE= LD_PRELOAD="$build/.libs/libpmdalloc-trace.so" "$traced" ends-at-once
	echo text >text
	expect 2 1 "$trace" -o text "$traced" nothing
	[ "$(cat text)" = text ] || fail "a file that is no trace was overwritten"
	expect 2 1 "$trace"
	expect 2 1 "$trace" -o
	expect 2 1 "$trace" --nonsense true
	expect 127 1 "$trace" -o new/ no-such-program-anywhere
	expect 126 1 "$trace" -o new/ "$work/text"
	expect 0 0 "$trace" --help
	expect 0 0 "$trace" --version
	expect 0 0 "$replay" --help
	expect 0 0 "$replay" --version
	expect 2 1 "$replay"
	expect 2 1 "$replay" --threads many some.trace
	expect 2 1 "$replay" --repeat 0 some.trace
	expect 2 1 "$replay" --nonsense
	expect 1 1 "$replay" text
	expect 1 1 "$replay" /nonexistent
	expect 1 1 "$replay" --info --json one.trace /nonexistent
	[ ! -s out ] || fail "half a list was printed: $(cat out)"
	expect 1 1 "$replay" "$work"
}

check_calls
check_replay
check_processes
check_ends
check_errors
check_stacked
echo "trace: counts, sizes, processes, ends, errors, allocators behind"
