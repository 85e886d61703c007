#!/bin/sh
# SPDX-License-Identifier: MIT
# Threaded tests with delays at every atomic operation (test/delays.c), once for each of DELAYS seeds: delays.sh TEST...
set -eu

last=${DELAYS:-20}
seconds=${DELAYS_SECONDS:-300}
export CHECK_SCALE="${CHECK_SCALE:-20}" CHECK_SLOWER="${CHECK_SLOWER:-10}"
failed=0
passed=0

for test; do
	seed=1
	while [ "$seed" -le "$last" ]; do
		status=0
		said=$(DELAYS_SEED=$seed timeout "$seconds" "$test" 2>&1) || status=$?
		if [ "$status" -eq 0 ] || [ "$status" -eq 77 ]; then
			passed=$((passed + 1))
		else
			echo "DELAYS_SEED=$seed CHECK_SCALE=$CHECK_SCALE $test: status $status: $said" >&2
			failed=$((failed + 1))
		fi
		seed=$((seed + 1))
	done
done
echo "$last seeds, $passed passed, $failed failed"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
