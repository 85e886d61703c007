#!/bin/bash
# SPDX-License-Identifier: MIT
# Each fuzzer takes all of its corpus, and goes on from there for FUZZ_SECONDS; the one of calls with check:strict as well.
set -u
seconds=${FUZZ_SECONDS:-3}
corpus=${srcdir:?}/test/fuzz/corpus
found=$(mktemp -d) || exit 1
trap 'rm -rf "$found"' EXIT

# What made it fail, so that it can be had from a log.
show() {
	local file
	for file in "$found"/*; do
		[ -f "$file" ] || continue
		echo "the input, in base64:"
		base64 "$file"
	done
}

fuzz() {
	local name=$1 program=${PMD_BUILD:?}/test/fuzz/$1
	if [ "$PMD_FUZZER" = yes ]; then
		mkdir "$found/new" &&
			"$program" -max_total_time="$seconds" -timeout=20 -rss_limit_mb=4096 -detect_leaks=0 -max_len=4096 \
				-print_final_stats=1 -artifact_prefix="$found/" "$found/new" "$corpus/$name" \
				>"$found/out" 2>&1
	else
		timeout $((seconds + 60)) "$program" --seconds "$seconds" --seed "$RANDOM" --last "$found/last" "$corpus/$name" \
			>"$found/out" 2>&1
	fi
}

status=0
conf=${PMDALLOC_CONF-}
for what in calls calls:strict options trace; do
	name=${what%:*}
	export PMDALLOC_CONF=$conf
	[ "$what" = "$name" ] || PMDALLOC_CONF=${conf:+$conf,}check:strict
	if fuzz "$name"; then
		echo "$what: $(grep -E 'inputs$|number_of_executed_units' "$found/out")"
		grep -E 'cov: ' "$found/out" | tail -n 1
	else
		echo "$what failed:"
		tail -n 40 "$found/out"
		rm -f "$found/out"
		show
		status=1
	fi
	rm -rf "${found:?}"/*
done
exit $status
