#!/bin/bash
# SPDX-License-Identifier: MIT
# python3, with every object from malloc: a script of its own, and a part of Python's test suite where it is installed.
. "$(dirname "$0")/common.sh"
set_up /usr/bin/python3
export PYTHONMALLOC=malloc PYTHONHASHSEED=0 PYTHONDONTWRITEBYTECODE=1

cat >"$work/churn.py" <<'END'
import ctypes, hashlib, json, multiprocessing, random, re, sqlite3, sys, threading, zlib

rounds = int(sys.argv[1])

def churn(seed):
    r = random.Random(seed)
    kept, h = {}, hashlib.sha256()
    for i in range(rounds):
        kept[r.randrange(2000)] = [r.random() for _ in range(r.randrange(40))]
        kept[r.randrange(2000)] = "x%d" % i * r.randrange(300)
        if i % 500 == 0:
            text = json.dumps(sorted(kept.items(), key=lambda kv: kv[0]), sort_keys=True).encode()
            assert zlib.decompress(zlib.compress(text)) == text
            h.update(text)
            h.update(re.sub(rb"x(\d)", rb"y\1", text))
    return h.hexdigest()

if __name__ == "__main__":
    results = {}
    threads = [threading.Thread(target=lambda s=s: results.__setitem__(s, churn(s))) for s in range(3)]
    [t.start() for t in threads]
    [t.join() for t in threads]
    print(sorted(results.items()))
    with multiprocessing.Pool(3) as pool:
        print(pool.map(churn, range(3)) == [results[s] for s in range(3)])
    db = sqlite3.connect(":memory:")
    db.execute("create table t (a, b)")
    db.executemany("insert into t values (?, ?)", ((i, "v" * (i % 100)) for i in range(20000)))
    print(db.execute("select count(*), sum(length(b)) from t").fetchone())
    buffers = [ctypes.create_string_buffer(n) for n in range(1, 3000, 7)]
    print(sum(len(b) for b in buffers))
    sys.exit(4)
END
expected=4 compare /usr/bin/python3 "$work/churn.py" $((full ? 20000 : 3000))
check_served /usr/bin/python3 -c 0

# Those that take memory from many sides; the rest of the suite only in the long run.
tests=(test_list test_dict test_set test_array test_json test_zlib test_struct test_thread test_generators test_heapq)
((full)) && tests+=(test_str test_bytes test_re test_queue test_exceptions test_bigmem test_threading test_memoryview test_ctypes test_pickle test_sqlite3 test_itertools test_collections
	test_decimal test_functools test_io test_mmap test_multiprocessing_fork test_subprocess test_gc test_weakref
	test_hashlib test_lzma test_bz2 test_unicode test_long test_float test_sort test_deque test_buffer
	test_fork1 test_os test_asyncio test_concurrent_futures test_xml_etree test_tempfile test_select)
lib=$(/usr/bin/python3 -c 'import sysconfig; print(sysconfig.get_path("stdlib"))')
if [ ! -e "$lib/test/test_list.py" ]; then
	say "its test suite is not installed; only the script was run"
	exit 0
fi
run_suite()
{
	local t status
	for t in "${tests[@]}"; do
		[ -e "$lib/test/$t.py" ] || [ -d "$lib/test/$t" ] || continue
		status=0
		(cd "$work" && under "$1" timeout 600 /usr/bin/python3 -m test "$t" >"$work/$t.$1" 2>&1 </dev/null) || status=$?
		echo "$t $status"
	done
}
run_suite ours >"$work/results"
check_silent "$work"/test_*.ours
# A test that fails without the library as well says nothing about it.
tests=()
while read -r t status; do
	[ "$status" -eq 0 ] || tests+=("$t")
done <"$work/results"
if [ ${#tests[@]} -gt 0 ]; then
	run_suite plain >"$work/plain.results"
	while read -r t status; do
		if ! grep -qx "$t $status" "$work/results"; then
			tail -n 30 "$work/$t.ours"
			fail "$t fails under the library only"
		fi
	done <"$work/plain.results"
	say "these fail with and without: ${tests[*]}"
fi
say "$(wc -l <"$work/results") tests of its own suite"
