#!/bin/sh
# SPDX-License-Identifier: MIT
# Threaded tests under Valgrind's helgrind, which is told what atomic operations mean (test/helgrind.c), and has nothing to
# say, without a suppression of ours; and that it does find a race: helgrind.sh TEST...
set -eu

if ! command -v valgrind >/dev/null; then
	echo "skipped: valgrind is not installed" >&2
	exit 77
fi
export CHECK_SCALE="${CHECK_SCALE:-100}" CHECK_SLOWER="${CHECK_SLOWER:-100}" PMDALLOC_CONF="${PMDALLOC_CONF:-background:off}"
failed=0
for test; do
	status=0
	said=$(valgrind --tool=helgrind -q --error-exitcode=9 "$test" "$PMDALLOC_CONF" 2>&1) || status=$?
	case $test in
	*racy)
		[ "$status" -eq 9 ] || { echo "$test: the race is not found" >&2; failed=1; }
		continue
		;;
	esac
	if [ "$status" -eq 0 ]; then
		echo "$test: no race"
	else
		echo "$test: status $status: $said" >&2
		failed=1
	fi
done
exit "$failed"
