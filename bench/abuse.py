#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""
What each allocator, and each mode of pmdalloc, notices of the abuses in test/abuse.cc: a table of cases by size. Found is
what ends the process, or what the allocator makes harmless; missed is what goes through.

--expected FILE: the misses that are known, with their reasons. Another one is a failure. Lines are MODE;CASE;SIZE;REASON.
"""

import concurrent.futures
import json
import os
import signal
import subprocess
import sys

sys.dont_write_bytecode = True
import allocators  # noqa: E402

SIZES = {"8 B": 8, "4 KiB": 4096, "256 KiB": 262144}
MODES = {"off": "check:off", "fast": "", "fast, no samples": "guard_rate:0", "strict": "check:strict"}
# Of 108 cases, mode by mode: the fewest that may be found.
BARS = {"fast": 70, "strict": 100}
FREES = 36
SECONDS = 60
MISSED, HARMLESS = 0, 3
BY_SIGNAL = {signal.SIGABRT: "abort", signal.SIGSEGV: "fault", signal.SIGBUS: "fault", signal.SIGILL: "trap",
             signal.SIGTRAP: "trap"}


def cases_of(program):
    """(case, label of the size, size), in order."""
    lines = subprocess.run([program], capture_output=True, text=True, check=True).stdout.splitlines()
    for line in lines:
        name, _, sizes = line.rpartition(";")
        for label, size in SIZES.items() if sizes == "sized" else [("any", 0)]:
            yield name, label, size


def run(program, case, size, path, options):
    """How one case ended, and the first line of what was said."""
    environment = allocators.environment(path)
    environment.pop("PMDALLOC_CONF", None)
    if options:
        environment["PMDALLOC_CONF"] = options
    try:
        done = subprocess.run(["sh", "-c", 'ulimit -c 0; exec "$0" "$@"', program, case, str(size)], env=environment,
                              capture_output=True, text=True, errors="replace", timeout=SECONDS)
    except subprocess.TimeoutExpired:
        return "hung", ""
    said = done.stderr.splitlines()[0] if done.stderr else ""
    if done.returncode < 0:
        return BY_SIGNAL.get(-done.returncode, f"signal {-done.returncode}"), said
    if done.returncode == MISSED:
        return "missed", said
    return ("harmless" if done.returncode == HARMLESS else f"status {done.returncode}"), said


def is_found(how):
    return how in ("abort", "fault", "trap", "harmless")


def judge_all(program, who):
    """(name, case, label) to how it ended. WHO: name to (path, options)."""
    jobs = {}
    with concurrent.futures.ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        for name, (path, options) in who.items():
            for case, label, size in cases_of(program):
                jobs[name, case, label] = pool.submit(run, program, case, size, path, options)
    return {key: job.result() for key, job in jobs.items()}


def read_expected(file):
    """(mode, case, label) to the reason why it is missed."""
    with open(file, encoding="utf-8") as f:
        lines = [line.rstrip("\n").split(";") for line in f if line.strip() and not line.startswith("#")]
    return {tuple(fields[:3]): fields[3] for fields in lines}


def print_table(results, who):
    rows = []
    cases = list(dict.fromkeys((case, label) for _, case, label in results))
    for case, label in cases:
        rows.append([case, label, *(results[name, case, label][0] for name in who)])
    total = len(cases)
    found = {name: sum(is_found(results[name, case, label][0]) for case, label in cases) for name in who}
    rows.append([f"found, of {total}", "", *(found[name] for name in who)])
    allocators.table(["case", "size", *who], rows)
    return found


def compare(results, expected, modes):
    """Whether every miss is a known one."""
    fine = True
    for (name, case, label), (how, said) in results.items():
        if name not in modes:
            continue
        reason = expected.get((name, case, label))
        if not is_found(how) and (reason is None or how != "missed"):
            print(f"check:{name}: {case}, {label}: {how} {said}", file=sys.stderr)
            fine = False
        elif is_found(how) and reason is not None:
            print(f"check:{name}: {case}, {label}: found now ({how}); take it off the list", file=sys.stderr)
    return fine


def check_bars(results, found):
    fine = True
    for mode, bar in BARS.items():
        frees = sum(is_found(how) for (name, case, _), (how, _) in results.items()
                    if name == mode and case.startswith(("double free", "invalid free")))
        met = found[mode] >= bar and frees == FREES
        print(f"{'met   ' if met else 'MISSED'}  check:{mode}: {found[mode]} found (at least {bar}), "
              f"{frees} of {FREES} double and invalid frees")
        fine = fine and met
    return fine


def main():
    p = allocators.parser(__doc__)
    p.add_argument("--expected", metavar="FILE", help="the misses that are known; no peers are run")
    arguments = p.parse_args()
    program = os.path.join(arguments.programs, "abuse")
    peers = {} if arguments.expected else allocators.chosen(arguments, everything=True)
    who = {name: (path, "") for name, path in peers.items() if name != allocators.OURS}
    if arguments.ours:
        who.update({mode: (os.path.abspath(arguments.ours), options) for mode, options in MODES.items()})
    results = judge_all(program, who)
    found = print_table(results, who)
    fine = True
    if arguments.expected:
        expected = read_expected(arguments.expected)
        print()
        for (mode, case, label), reason in expected.items():
            print(f"missed by check:{mode}: {case}, {label}: {reason}")
        fine = compare(results, expected, MODES)
    if arguments.ours:
        fine = check_bars(results, found) and fine
    if arguments.json:
        with open(arguments.json, "w", encoding="utf-8") as f:
            json.dump([[*key, *value] for key, value in results.items()], f, indent=1)
    sys.exit(not fine)


if __name__ == "__main__":
    main()
