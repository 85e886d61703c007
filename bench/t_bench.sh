#!/bin/bash
# SPDX-License-Identifier: MIT
# The benchmarks as a user of Google Benchmark knows them, and the runner: what it lists, runs, writes and refuses.
set -euo pipefail
here=$(cd "${srcdir:-.}/bench" && pwd -P)
build=${PMD_BUILD:-$PWD}
bench=$build/bench/bench
work=

fail()
{
	echo "bench: FAILED: $*" >&2
	exit 1
}

skip()
{
	echo "bench: skipped: $*" >&2
	exit 77
}

[ "${PMD_OVERRIDE:-yes}" = yes ] || skip "this library has only the prefixed names"
[ -x "$bench" ] || skip "no $bench: it is built where Google Benchmark is (libbenchmark-dev)"
command -v python3 >/dev/null || skip "no python3"
unset LD_PRELOAD PMDALLOC_CONF
work=$(mktemp -d "${TMPDIR:-/tmp}/pmdalloc-bench-test.XXXXXX")
trap 'rm -rf "$work"' EXIT
cd "$work"

# Every family is there, under its own name.
"$bench" --benchmark_list_tests >list
for family in hot calloc aligned batch replace realloc larson pipe chain cache graph scale storm crowd fork phase \
	fragment after; do
	grep -q "^$family/" list || fail "no benchmark of the family $family"
done
[ -z "$(sort list | uniq -d)" ] || fail "names that are there twice"

# Google Benchmark's own options.
"$bench" --benchmark_filter='^hot/64/' --benchmark_min_time=0.001 --benchmark_format=json >one.json 2>err ||
	{ cat err; fail "one benchmark"; }
python3 - one.json <<'END' || fail "what one benchmark tells"
import json, sys
told = json.load(open(sys.argv[1]))
(one,) = told["benchmarks"]
assert one["name"].startswith("hot/64"), one
assert 0 < one["real_time"] and one["time_unit"] == "ns", one
assert 0 < one["rss_peak_mib"] < 1000 and one["rss_mib"] < one["rss_peak_mib"] + 1 and one["pte_kib"] > 0, one
assert "libc.so" in told["context"]["allocator"], told["context"]
END
"$bench" nonsense >/dev/null 2>&1 && fail "an argument that is no option was taken"

# run STATUS ARGUMENT...: of the runner.
run()
{
	local wanted=$1 status=0
	shift
	timeout -s KILL 100 python3 "$here/compare.py" --programs "$build/bench" --ours "$build/.libs/libpmdalloc.so" \
		--ms 1 --no-curves --huge-pages as-they-come "$@" >out 2>err || status=$?
	[ "$status" -eq "$wanted" ] || { cat out err; fail "compare.py $*: status $status instead of $wanted"; }
}

# The runner, with one more allocator, which is known by another name already.
cp "$build/.libs/libpmdalloc.so" other.so
run 0 --with other="$PWD/other.so" --only glibc,other,pmdalloc --reference glibc --rounds 2 \
	--bench realloc/vectors --bench chain/ring-2 --json all.json --report all.html --markdown all.md
python3 - all.json <<'END' || fail "the figures of the runner"
import json, sys
told = json.load(open(sys.argv[1]))
(figures,) = told["passes"].values()
times = figures["time_ns"]
assert list(figures["runs"]) == ["realloc/vectors", "chain/ring-2"], figures["runs"].keys()
for bench, by in figures["runs"].items():
    assert list(by) == ["glibc", "other", "pmdalloc"], by.keys()
    for name, rounds in by.items():
        assert len(rounds) == 2 and all(r["ns"] > 0 for r in rounds), rounds
        low, high = times["ratio_interval_95"][bench][name]
        assert low <= times["ratio"][bench][name] <= high, (bench, name, low, high)
assert set(times["ratio"]["realloc/vectors"]) == set(times["geometric_mean"]), times
assert times["geometric_mean"]["glibc"] == 1 and times["geometric_mean"]["pmdalloc"] > 0, times
END
grep -q '^| \*\*time, geometric mean\*\* |' all.md || fail "the table of the README"
grep -q '<td>chain/ring-2</td>' all.html || fail "the report lacks a benchmark"
grep -qE "(src|href)=[\"'][^#]" all.html && fail "the report needs another file"
if command -v gnuplot >/dev/null; then
	[ "$(grep -c '<svg' all.html)" -eq 2 ] || fail "the report's plots"
fi
python3 "$here/report.py" all.json all.json --html again.html --markdown again.md >/dev/null
cmp all.md again.md || fail "a report made again differs"

# What it refuses.
run 1 --bench nosuchbenchmark --rounds 1
run 1 --with broken="$PWD/nosuch.so" --rounds 1
run 1 --with glibc="$PWD/other.so" --rounds 1
run 1 --with pmdalloc="$PWD/other.so" --rounds 1
run 2 --rounds 0
run 1 --json "$PWD/nosuch/file" --rounds 1
run 1 --only nobody --rounds 1
run 1 --only glibc,nobody --rounds 1
run 1 --only glibc --reference jemalloc --rounds 1

# A library that does not serve malloc is noticed.
libm=$(ldd "$bench" | awk '$1 ~ /^libm\.so/ { print $3 }')
[ -e "$libm" ] || fail "no library to preload in vain"
run 1 --with silent="$libm" --only silent --rounds 1 --bench realloc/vectors
grep -q 'served it' err || fail "an allocator that does not serve was not noticed"
