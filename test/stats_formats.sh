#!/bin/sh
# SPDX-License-Identifier: MIT
# Reports in every format: parsed, added up and compared with known counters, on request and at exit.
set -eu

dir=${PMD_BUILD:-.}
source=${srcdir:-.}/test
work=stats-formats.$$
trap 'rm -rf "$work"' EXIT

# Debian's, for which there is a parser of OpenMetrics; a python3 found earlier may be without.
python=/usr/bin/python3
[ -x "$python" ] || python=$(command -v python3) || {
	echo "skipped: no python3" >&2
	exit 77
}
mkdir "$work"

for format in text json openmetrics; do
	"$dir/test/print_stats" "$format" >"$work/$format"
	"$python" "$source/stats_formats.py" "$format" full <"$work/$format"
	PMDALLOC_CONF='handoff_cgroup:a"b\\c' "$dir/test/print_stats" "$format" 2>/dev/null |
		"$python" "$source/stats_formats.py" "$format" full
	# As chunks go, through a pipe, to a reader that is slow.
	"$dir/test/print_stats" "$format" | (sleep 0.2 && cat) | "$python" "$source/stats_formats.py" "$format" full
	PMDALLOC_CONF=stats:$format "$dir/test/print_stats" text 2>"$work/exit" >"$work/out"
	"$python" "$source/stats_formats.py" "$format" full <"$work/exit"
	if [ -w /dev/full ] && "$dir/test/print_stats" "$format" >/dev/full 2>/dev/null; then
		echo "print_stats $format: a write that failed is no failure" >&2
		exit 1
	fi
done
