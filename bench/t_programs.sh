#!/bin/bash
# SPDX-License-Identifier: MIT
# The runner of real programs: who serves, what is measured and written, what is refused; and the watching of processes.
set -euo pipefail
here=$(cd "${srcdir:-.}/bench" && pwd -P)
build=${PMD_BUILD:-$PWD}
watch=$build/bench/watch
work=

fail()
{
	echo "programs: FAILED: $*" >&2
	exit 1
}

skip()
{
	echo "programs: skipped: $*" >&2
	exit 77
}

[ "${PMD_OVERRIDE:-yes}" = yes ] || skip "this library has only the prefixed names"
for program in python3 sqlite3; do
	command -v "$program" >/dev/null || skip "no $program"
done
[ -r "$build/.libs/libpmdalloc.so" ] || skip "no shared library"
unset LD_PRELOAD PMDALLOC_CONF
work=$(mktemp -d "${TMPDIR:-/tmp}/pmdalloc-programs-test.XXXXXX")
trap 'rm -rf "$work"' EXIT
cd "$work"

# The memory of a process and of its child are added up, the status is the command's.
cat >child.py <<'END_OF_PYTHON'
import subprocess, sys, time
kept = b"x" * (40 << 20)
time.sleep(0.2)
sys.exit(subprocess.run([sys.executable, *sys.argv[1:]]).returncode if len(sys.argv) > 1 else 3)
END_OF_PYTHON
status=0
"$watch" --out one.json --sample-us 1000 -- /usr/bin/python3 child.py || status=$?
[ "$status" -eq 3 ] || fail "a status of 3 became $status"
status=0
"$watch" --out two.json --sample-us 1000 --warm-mib 8 -- /usr/bin/python3 child.py child.py || status=$?
[ "$status" -eq 3 ] || fail "a child's status of 3 became $status"
python3 - <<'END_OF_PYTHON' || fail "what is told of processes"
import json
one, two = (json.load(open(name + ".json")) for name in ("one", "two"))
assert 40 << 10 < one["rss_kib"] < 80 << 10 and one["pte_kib"] > 0, one
assert one["rss_kib"] + (40 << 10) < two["rss_kib"] < 2 * one["rss_kib"] + 4096, (one, two)
assert two["rss_pte_kib"] <= two["rss_kib"] + two["pte_kib"] and two["rss_pte_mean_kib"] < two["rss_pte_kib"], two
assert one["ns"] > 2e8 and two["ns"] > 4e8 and one["samples"] > 5 and one["faults"] > 10000, (one, two)
END_OF_PYTHON
status=0
"$watch" --out none.json -- /nowhere/nothing 2>/dev/null || status=$?
[ "$status" -eq 2 ] || fail "a command that is not there: status $status"

# run STATUS ARGUMENT...: of the runner.
run()
{
	local wanted=$1 status=0
	shift
	timeout -s KILL 100 python3 "$here/programs.py" --programs "$build/bench" --ours "$build/.libs/libpmdalloc.so" \
		--program "${only:-sqlite3}" --percent 4 --rounds 2 --memory-rounds 1 "$@" >out 2>err || status=$?
	[ "$status" -eq "$wanted" ] || { cat out err; fail "programs.py $*: status $status instead of $wanted"; }
}

run 0 --only glibc,pmdalloc --json all.json --report all.html --markdown all.md
python3 - <<'END_OF_PYTHON' || fail "the figures of the runner"
import json
told = json.load(open("all.json"))["programs"]
assert list(told) == ["as they come", "off"], list(told)
for figures in told.values():
    for kind, count in (("runs", 2), ("memory_runs", 1)):
        (by,) = figures[kind].values()
        assert list(by) == ["glibc", "pmdalloc"] and all(len(v) == count for v in by.values()), by
    assert figures["ns"]["best_other"] == {"sqlite3/memory": "glibc"}, figures["ns"]
    ours = figures["ns"]["ratio_to_best_other"]["sqlite3/memory"]["pmdalloc"]
    low, high = figures["ns"]["ratio_interval_95"]["sqlite3/memory"]["pmdalloc"]
    assert low <= ours <= high and 0.1 < ours < 10, figures["ns"]
    assert figures["rss_pte_kib"]["median"]["sqlite3/memory"]["pmdalloc"] > 2000, figures
END_OF_PYTHON
verdicts=$(grep -cE '^(met   |MISSED)  sqlite3/memory: ((processor )?time|peak RSS \+ VmPTE) / the best' out)
[ "$verdicts" -eq 6 ] || fail "$verdicts verdicts"
grep -q '<td>sqlite3/memory</td>' all.html || fail "the report lacks the program"

grep -qE '^\| sqlite3/memory \| [0-9.]+ ms / [0-9.]+ \| [0-9.]+ ms / [0-9.]+ \|$' all.md || fail "the table"
cp all.json first.json
only=python3/py run 0 --only glibc,pmdalloc --huge-pages off --json more.json
python3 "$here/report.py" first.json more.json --html both.html --programs-markdown both.md
grep -q '<td>python3/pymalloc</td>' both.html || fail "reports that were put together lack a program"
[ "$(grep -c '<td>sqlite3/memory</td>' both.html)" -eq "$(grep -c '<td>sqlite3/memory</td>' all.html)" ] ||
	fail "reports that were put together"

only=nothing run 1 --only glibc
grep -q 'no program can be run' err || fail "no program at all"

# A library that does not serve malloc is noticed.
libm=$(ldd "$(command -v sqlite3)" | awk '$1 ~ /^libm\.so/ { print $3 }')
[ -e "$libm" ] || fail "no library to preload in vain"
run 1 --with silent="$libm" --only silent
grep -q 'served it' err || fail "an allocator that does not serve was not noticed"
