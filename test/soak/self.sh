#!/bin/bash
# SPDX-License-Identifier: MIT
# Test of the soak: without a fault it must pass, with one that is made on purpose, a leak of one percent among them, it
# must say which. Small, and as short as what it compares allows. Usage: self.sh [CASE]...   Run in the build directory.
set -uo pipefail

here=$(cd "$(dirname "$0")" && pwd -P)
build=${PMD_BUILD:-$PWD}
ours=$build/.libs/libpmdalloc.so faulty=$build/.libs/libfaulty.so
only=" $* "
passed=0
failed=0

for file in "$ours" "$faulty" "$build/test/soak/keeper"; do
	[ -e "$file" ] || { echo "skipped: this build has no $file"; exit 77; }
done
work=$(mktemp -d "${TMPDIR:-/tmp}/soak-self.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM HUP

# soak LIBRARY SERVICE OPTION...: in $said, the status in $status.
soak()
{
	local library=$1 service=$2
	shift 2
	status=0
	said=$(python3 "$here/soak.py" --library "$library" --keeper "$build/test/soak/keeper" --out "$work/out" \
		--seconds 0 --no-pressure --scale 0.2 --idle 0.1 --services "$service" "$@" 2>&1) || status=$?
}

# expect CASE STATUS PATTERN LIBRARY SERVICE OPTION...
expect()
{
	local case=$1 wanted=$2 pattern=$3
	shift 3
	[ "$only" = "  " ] || [[ $only == *" $case "* ]] || return 0
	soak "$@"
	if [ "$status" -eq "$wanted" ] && grep -qE "$pattern" <<<"$said"; then
		echo "PASS: $case: $(grep -m 1 -E "$pattern" <<<"$said")"
		passed=$((passed + 1))
	else
		echo "FAIL: $case: status $status, and not '$pattern':"
		echo "$said"
		failed=$((failed + 1))
	fi
}

expect none 0 '^no loss, no growth$' "$ours" keeper
for what in descriptors threads vmas; do
	expect "$what" 1 "^FAILED: keeper grows: .*$what " "$ours" keeper --steady-only --environment "SOAK_LEAK=$what"
done
expect bytes 1 '^FAILED: keeper grows: .*anon_kb ' "$ours" keeper --steady-only --environment SOAK_LEAK=bytes \
	--scale 0.5 --cycles 40
expect data 1 '^FAILED: keeper, .*lost: another byte' "$ours" keeper --steady-only --environment SOAK_LEAK=data
expect death 1 '^FAILED: keeper, .*by itself' "$ours" keeper --steady-only --environment SOAK_LEAK=death
if command -v redis-server >/dev/null; then
	expect redis 0 '^no loss, no growth$' "$faulty" redis --environment FAULT=
	expect trickle 1 '^FAILED: redis grows: .*anon_kb ' "$faulty" redis --steady-only --environment FAULT=trickle \
		--scale 0.5 --cycles 40
	expect realloc 1 '^FAILED: redis, ' "$faulty" redis --steady-only --environment FAULT=realloc
fi
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
