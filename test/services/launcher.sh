#!/bin/bash
# SPDX-License-Identifier: MIT
# pmdalloc-run: what it passes on, its own messages and exit statuses.
. "$(dirname "$0")/common.sh"
run=$PWD/LD_PRELOAD/pmdalloc-run
[ -x "$run" ] || { printf 'launcher: skipped: no %s\n' "$run"; exit 77; }
set_up env
# shellcheck disable=SC2016 # for the inner shell
print_conf='echo "$PMDALLOC_CONF"'
# shellcheck disable=SC2016
print_preload='echo "$LD_PRELOAD"'

# expect STATUS LINES COMMAND...: the exit status, and how many lines go to stderr.
expect()
{
	local wanted=$1 lines=$2 status=0
	shift 2
	"$@" >"$work/out" 2>"$work/err" </dev/null || status=$?
	[ "$status" -eq "$wanted" ] || { cat "$work/err"; fail "'$*': status $status instead of $wanted"; }
	[ "$(wc -l <"$work/err")" -eq "$lines" ] || { cat "$work/err"; fail "'$*': not $lines lines on stderr"; }
}

expect 0 0 "$run" --help
grep -q 'Usage: pmdalloc-run' "$work/out" || fail "--help prints no usage"
expect 0 0 "$run" --version
expect 2 1 "$run"
expect 2 1 "$run" --nonsense true
expect 2 1 "$run" -o
expect 2 1 "$run" --stats=xml true
expect 127 1 "$run" "$work/none"
expect 127 1 "$run" no-such-program-anywhere
touch "$work/file"
expect 126 1 "$run" "$work/file"
expect 126 1 "$run" "$work"
expect 7 0 "$run" -- sh -c 'exit 7'
expect 0 0 "$run" cat /proc/self/maps
grep -q "$PWD/.libs/libpmdalloc.so" "$work/out" || fail "the build tree's library is not loaded"
expect 0 0 env PMDALLOC_CONF=decay_ms:5 "$run" -o arenas:2 -othp:never sh -c "$print_conf"
grep -qx 'decay_ms:5,arenas:2,thp:never' "$work/out" || fail "-o does not add to PMDALLOC_CONF"
expect 0 0 env LD_PRELOAD=libm.so.6 "$run" sh -c "$print_preload"
grep -qx 'libm.so.6:.*/libpmdalloc.so.0' "$work/out" || fail "LD_PRELOAD is not kept"
expect 0 0 "$run" "$run" sh -c "$print_preload"
[ "$(grep -o libpmdalloc "$work/out" | wc -l)" -eq 1 ] || fail "the library is named twice"
expect 0 1 "$run" -o nonsense:1 true
grep -q "nonsense" "$work/err" || fail "an unknown option is not named"

# A process of its own; perl's heap is large enough for a handoff.
expect 7 1 "$run" --time-exit sh -c 'exit 7'
grep -q 'sh: its parent waited [0-9.]* ms from its last act; no handoff' "$work/err" || fail "--time-exit: $(cat "$work/err")"
# shellcheck disable=SC2016 # for the inner shell
expect 143 1 "$run" --time-exit sh -c 'kill -TERM $$'
grep -q 'no last act was seen' "$work/err" || fail "--time-exit of a signal: $(cat "$work/err")"
expect 127 1 "$run" --time-exit "$work/none"
if command -v perl >/dev/null; then
	# shellcheck disable=SC2016 # for perl
	expect 3 1 "$run" -o handoff_despite:load --time-exit perl -e '$x = "x" x 200_000_000; exit 3'
	grep -q 'perl: .* its memory was free after [0-9.]* ms' "$work/err" || fail "--time-exit: $(cat "$work/err")"
fi

# The doctor: test/doctor.sh looks at what it says.
expect 2 1 "$run" --doctor=xml
expect 2 1 "$run" --doctor true
"$run" --doctor >"$work/out" 2>"$work/err" || [ $? -eq 1 ] || fail "--doctor: $(cat "$work/err")"
grep -q '^  release  ' "$work/out" || fail "--doctor does not name the way of release"

# Linked elsewhere, it still finds its library; copied away from it, it says so.
ln -s "$run" "$work/link"
expect 0 0 "$work/link" true
sed 's|^libdir=.*|libdir=/nowhere|' "$run" >"$work/copy"
chmod +x "$work/copy"
expect 126 1 "$work/copy" true

"$run" --stats true 2>"$work/err"
[ -s "$work/err" ] || fail "--stats prints nothing"
"$run" --stats=json sh -c 'exec true' 2>"$work/err"
if command -v python3 >/dev/null; then
	/usr/bin/python3 -c 'import json, sys; json.load(open(sys.argv[1]))' "$work/err" || fail "--stats=json is no JSON"
fi
say "options, messages, exit statuses"
