#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""
Counts the instructions of a malloc and free pair by callgrind: loop and calls are included, start-up is not. With
--stored the counts are held against those of a file, and against the peers': the fast paths cannot get longer unseen.
"""

import concurrent.futures
import json
import os
import re
import shutil
import subprocess
import sys

sys.dont_write_bytecode = True
import allocators  # noqa: E402

# (kind, size): the most that pmdalloc may need.
BARS = {("hot", 64): 48, ("batch", 64): 48, ("hot", 1024): 75, ("batch", 1024): 75}
KINDS = ("hot", "batch")
PEER_CASES = (("hot", 64), ("batch", 64))  # of a check: what is compared with the peers
FEW, MANY = 100000, 300000
TOLERANCE = 0.5  # instructions: one more in a pair is seen
LIBC_TOLERANCE = {"calloc": 4}  # it calls memset, of which the C library has several, by processor
SKIPPED = 77


def collected(program, kind, size, pairs, path):
    """Instructions of a whole run."""
    done = subprocess.run(["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", program, kind, str(size),
                           str(pairs)], env=allocators.environment(path), capture_output=True, text=True)
    found = re.search(r"Collected : (\d+)", done.stderr)
    if done.returncode or not found:
        sys.exit(f"{program} {kind} {size} under {path or 'the C library'}: {done.stderr.strip()}")
    return int(found.group(1))


def per_pair(program, kind, size, path):
    """What a pair costs once all is warm: of two runs that differ in length only, the difference."""
    few = collected(program, kind, size, FEW, path)
    return (collected(program, kind, size, MANY, path) - few) / (MANY - FEW)


def side_by_side(jobs):
    """Name to result of what does not depend on time."""
    with concurrent.futures.ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        running = {name: pool.submit(job) for name, job in jobs.items()}
        return {name: future.result() for name, future in running.items()}


# ---- Against what is stored ----------------------------------------------------------------------------------------


def read_stored(file):
    """What the counts were made with, and the counts: (kind, size) to instructions."""
    made, counts = {}, {}
    with open(file, encoding="utf-8") as f:
        for line in f:
            words = line.split()
            if not words or line.startswith("#"):
                continue
            if words[0] in ("compiler", "flags"):
                made[words[0]] = line.split(None, 1)[1].strip() if len(words) > 1 else ""
            else:
                counts[words[0], int(words[1])] = float(words[2])
    return made, counts


def write_stored(file, made, counts):
    with open(file, "w", encoding="utf-8") as out:
        out.write("# Instructions of a pair, loop and calls included, counted by bench/instructions.py.\n"
                  "# A change that makes one larger needs a reason; `make store-instructions` writes this file.\n")
        for name, value in made.items():
            out.write(f"{name} {value}\n")
        for (kind, size), count in counts.items():
            out.write(f"{kind} {size} {count:.2f}\n")


def skip(why):
    print(f"skipped: {why}", file=sys.stderr)
    sys.exit(SKIPPED)


def count_cases(arguments, program, cases, peers):
    """(allocator, case) to count: pmdalloc's of CASES, the others' of PEERS."""
    paths = allocators.chosen(arguments)
    jobs = {}
    for name, path in paths.items():
        for case in cases if name == allocators.OURS else peers:
            jobs[name, case] = lambda c=case, p=path: per_pair(program, *c, p)
    return side_by_side(jobs)


def check(arguments, program):
    """Exit status: 1 if a count has grown or a peer needs fewer."""
    made, stored = read_stored(arguments.stored)
    if shutil.which("valgrind") is None:
        skip("valgrind is not installed")
    for name, value in (("compiler", arguments.compiler), ("flags", arguments.flags)):
        if made.get(name) != value:
            skip(f"the stored counts are for {name} '{made.get(name)}', not '{value}'")
    if not stored:
        sys.exit(f"{arguments.stored}: no counts")
    counts = count_cases(arguments, program, list(stored), PEER_CASES)
    longer = False
    for case, before in stored.items():
        now = counts[allocators.OURS, case]
        slack = LIBC_TOLERANCE.get(case[0], TOLERANCE)
        verdict = "LONGER" if now > before + slack else "shorter" if now < before - slack else "as stored"
        longer = longer or verdict == "LONGER"
        print(f"{verdict:9} {case[0]} {case[1]} B: {now:.2f}, stored {before:.2f}")
    for (name, case), count in counts.items():
        if name != allocators.OURS:
            fewer = count < counts[allocators.OURS, case]
            longer = longer or fewer
            print(f"{'FEWER' if fewer else 'more':9} {case[0]} {case[1]} B under {name}: {count:.2f}")
    return 1 if longer else 0


def store(arguments, program):
    _, before = read_stored(arguments.store)
    counts = count_cases(arguments, program, list(before), ())
    write_stored(arguments.store, {"compiler": arguments.compiler, "flags": arguments.flags},
                 {case: counts[allocators.OURS, case] for case in before})
    return 0


# ---- The table -----------------------------------------------------------------------------------------------------


def compare(arguments, program):
    paths = allocators.chosen(arguments)
    cases = [(kind, int(size)) for size in arguments.sizes.split(",") for kind in KINDS]
    counts = {n: {c: per_pair(program, *c, path) for c in cases} for n, path in paths.items()}
    allocators.table(["instructions per pair", *(f"{kind} {size} B" for kind, size in cases)],
                     [[n, *(f"{counts[n][c]:.1f}" for c in cases)] for n in paths])
    if arguments.json:
        with open(arguments.json, "w", encoding="utf-8") as out:
            json.dump({n: {f"{k}-{s}": v for (k, s), v in c.items()} for n, c in counts.items()}, out, indent=1)
            out.write("\n")
    if allocators.OURS not in paths:
        return 0
    ours = counts[allocators.OURS]
    fine = allocators.judge([(f"{c[0]} {c[1]} B", ours[c], BARS[c]) for c in cases if c in BARS])
    return 1 if arguments.check and not fine else 0


def main():
    p = allocators.parser(__doc__)
    p.add_argument("--sizes", default="64,1024", help="block sizes (default 64,1024)")
    p.add_argument("--stored", metavar="FILE", help="hold the counts against FILE's; status 77 where that is senseless")
    p.add_argument("--store", metavar="FILE", help="count the cases of FILE anew and write it")
    p.add_argument("--compiler", default="", help="what the library was compiled with, for --stored and --store")
    p.add_argument("--flags", default="", help="likewise")
    arguments = p.parse_args()
    program = os.path.join(arguments.programs, "pairs")
    if (arguments.stored or arguments.store) and not arguments.ours:
        p.error("--stored and --store are about --ours")
    if arguments.stored:
        return check(arguments, program)
    return store(arguments, program) if arguments.store else compare(arguments, program)


if __name__ == "__main__":
    allocators.run(main)
