#!/bin/sh
# SPDX-License-Identifier: MIT
# summary.sh [BUILD-DIRECTORY]: one plain line about the last `make check` there, from what Automake left in its .trs
# files. Ends with 1 when a test failed or when there was none.
set -eu

find "${1:-.}" -name '*.trs' -exec sed -n 's/^:test-result: \([A-Z]*\).*/\1/p' {} + | awk '
	{ count[$1]++ }
	END {
		passed = count["PASS"] + count["XFAIL"]
		failed = count["FAIL"] + count["XPASS"] + count["ERROR"]
		printf "%d passed, %d failed", passed, failed
		if (count["SKIP"])
			printf ", %d skipped", count["SKIP"]
		print ""
		exit(failed || !passed)
	}'
