# SPDX-License-Identifier: MIT
# shellcheck shell=bash
# What the scripts share that run real programs under the library. Sourced by each; run in the build directory.
#
# PMD_LIBRARY    another library to preload, for comparison
# PMD_SERVICES   quick (default) or full
set -euo pipefail

name=$(basename "$0" .sh)
library_file=${PMD_LIBRARY:-$PWD/.libs/libpmdalloc.so.0}
# shellcheck disable=SC2034 # used by the scripts
full=$([ "${PMD_SERVICES:-quick}" = full ] && echo 1 || echo 0)
work=
started=()

say()
{
	printf '%s: %s\n' "$name" "$*"
}

fail()
{
	say "FAILED: $*"
	exit 1
}

skip()
{
	say "skipped: $*"
	exit 77
}

# Everything runs from a directory that other users may read too: some servers refuse to run as root.
set_up()
{
	local program
	for program in "$@"; do
		command -v "$program" >/dev/null || skip "no $program"
	done
	[ -r "$library_file" ] || skip "no $library_file"
	unset LD_PRELOAD PMDALLOC_CONF
	export LC_ALL=C.UTF-8 TZ=UTC
	work=$(mktemp -d "${TMPDIR:-/tmp}/pmdalloc-$name.XXXXXX")
	chmod 755 "$work"
	library=$work/$(basename "$library_file")
	cp -L "$library_file" "$library"
	chmod 644 "$library"
	trap tear_down EXIT
	trap 'exit 130' INT TERM HUP
}

tear_down()
{
	local pid wait=0
	# Politely first: a server that is killed leaves its own children behind.
	for pid in "${started[@]}"; do
		kill -TERM "$pid" 2>/dev/null || continue
		while kill -0 "$pid" 2>/dev/null && [ "$((wait++))" -lt 50 ]; do
			sleep 0.1
		done
		kill -KILL "$pid" 2>/dev/null || true
		wait "$pid" 2>/dev/null || true
	done
	rm -rf "$work"
}

# under plain|ours COMMAND...
under()
{
	local how=$1
	shift
	if [ "$how" = ours ]; then
		env LD_PRELOAD="$library" "$@"
	else
		"$@"
	fi
}

# The library must stay silent: what it says on stderr is a complaint.
check_silent()
{
	if grep -n 'pmdalloc: \|cannot be preloaded\|ERROR: ld.so' "$@"; then
		fail "the library or the loader complained, above"
	fi
}

# Fails unless process $1 has the library mapped.
check_mapped()
{
	grep -qF "$library" "/proc/$1/maps" || fail "$library is not in /proc/$1/maps"
}

# Fails unless some object of the command's processes has its malloc bound to the library, by the loader's own account.
check_served()
{
	rm -f "$work"/bindings.*
	env LD_PRELOAD="$library" LD_DEBUG=bindings LD_DEBUG_OUTPUT="$work/bindings" "$@" >/dev/null 2>&1 </dev/null || true
	grep -qF -- "to $library [0]: normal symbol \`malloc'" "$work"/bindings.* ||
		fail "malloc of '$*' is not bound to $library"
	rm -f "$work"/bindings.*
}

# compare COMMAND...: the same output, errors and exit status under the library as without. Reads $input, if set.
compare()
{
	local how status
	for how in plain ours; do
		status=0
		under "$how" "$@" <"${input:-/dev/null}" >"$work/$how.out" 2>"$work/$how.err" || status=$?
		echo "$status" >"$work/$how.status"
		# This shell's own message about a signal names the process.
		sed -i '/common\.sh: line [0-9]*: *[0-9]* [A-Z]/d' "$work/$how.err"
	done
	check_silent "$work/ours.err"
	for how in status out err; do
		cmp -s "$work/plain.$how" "$work/ours.$how" && continue
		diff "$work/plain.$how" "$work/ours.$how" | head -n 20 || true
		fail "'$*' differs in its $how"
	done
	status=$(cat "$work/plain.status")
	[ "$status" -eq "${expected:-0}" ] || { cat "$work/plain.err"; fail "'$*' exits with $status, with and without"; }
}

# start FILE COMMAND...: starts a server under the library, its output in FILE, its process in $pid.
start()
{
	local file=$1
	shift
	env LD_PRELOAD="$library" "$@" >"$file" 2>&1 </dev/null &
	pid=$!
	started+=("$pid")
}

# stop PID SIGNAL: ends a server, which must end well.
stop()
{
	local status=0 alive
	kill "-$2" "$1"
	for ((alive = 0; alive < 600; alive++)); do
		kill -0 "$1" 2>/dev/null || break
		sleep 0.1
	done
	[ "$alive" -lt 600 ] || fail "process $1 does not end"
	wait "$1" || status=$?
	[ "$status" -eq 0 ] || fail "process $1 ended with status $status"
}

# until_true COMMAND...: waits for it to succeed, a minute at most.
until_true()
{
	local try
	for ((try = 0; try < 600; try++)); do
		"$@" >/dev/null 2>&1 && return
		sleep 0.1
	done
	fail "this does not come true: $*"
}

free_port()
{
	/usr/bin/python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}
