#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Times the benchmarks under each allocator, interleaved, and compares medians with jemalloc's."""

import json
import os
import platform
import subprocess
import sys

sys.dont_write_bytecode = True
import allocators  # noqa: E402

GEOMETRIC_BAR = 0.85
SINGLE_BAR = 1.1


def names_of(program):
    return subprocess.run([program, "--list"], check=True, capture_output=True, text=True).stdout.split()


def run(program, name, path, milliseconds):
    """Nanoseconds per operation of one run, after checking who served it."""
    done = subprocess.run([program, "--ms", str(milliseconds), name], env=allocators.environment(path),
                          capture_output=True, text=True, timeout=600)
    if done.returncode:
        sys.exit(f"{name} under {path or 'the C library'}: status {done.returncode}: {done.stderr.strip()}")
    _, nanoseconds, _, file = done.stdout.rstrip("\n").split("\t")
    if not allocators.serves(path, file):
        sys.exit(f"{name}: {file} served it instead of {path or 'the C library'}")
    return float(nanoseconds)


def measure(program, benches, paths, rounds, milliseconds):
    """times[bench][allocator]: a list with one figure a round."""
    times = {b: {a: [] for a in paths} for b in benches}
    for r in range(rounds):
        for i, bench in enumerate(benches):
            for name in allocators.rotated(paths, r + i):
                times[bench][name].append(run(program, bench, paths[name], milliseconds))
        print(f"round {r + 1} of {rounds} done", file=sys.stderr)
    return times


def median(values):
    return allocators.statistics.median(values)


def ratios_to(reference, medians, name):
    return {b: m[name] / m[reference] for b, m in medians.items()}


def report(medians, names, reference):
    """Prints nanoseconds and, behind them, the ratio to the reference."""
    head = ["ns per operation", *(x for n in names for x in (n, "ratio"))]
    rows = []
    for bench, m in medians.items():
        rows.append([bench, *(x for n in names for x in (f"{m[n]:.1f}", f"{m[n] / m[reference]:.2f}"))])
    means = [f"{allocators.geometric_mean(ratios_to(reference, medians, n).values()):.3f}" for n in names]
    worst = [f"{max(ratios_to(reference, medians, n).values()):.2f}" for n in names]
    rows.append(["geometric mean", *(x for v in means for x in ("", v))])
    rows.append(["worst", *(x for v in worst for x in ("", v))])
    allocators.table(head, rows)


def report_families(medians, name, reference):
    families = {}
    for bench, ratio in ratios_to(reference, medians, name).items():
        families.setdefault(bench.split("-")[0], []).append(ratio)
    text = ", ".join(f"{f} {allocators.geometric_mean(r):.3f}" for f, r in families.items())
    print(f"{name} by family: {text}")


def bars(medians, reference):
    ours = ratios_to(reference, medians, allocators.OURS)
    worst = max(ours, key=ours.get)
    return [(f"geometric mean of time / {reference}'s", allocators.geometric_mean(ours.values()), GEOMETRIC_BAR),
            (f"worst single ({worst})", ours[worst], SINGLE_BAR)]


def write_json(file, times, medians, paths, arguments):
    with open(file, "w", encoding="utf-8") as out:
        json.dump({"kernel": platform.release(), "cpus": os.cpu_count(), "rounds": arguments.rounds,
                   "milliseconds": arguments.ms, "allocators": paths, "reference": arguments.reference,
                   "median_ns": medians, "runs_ns": times}, out, indent=1)
        out.write("\n")


def main():
    p = allocators.parser(__doc__)
    p.add_argument("--rounds", type=int, default=5, help="how often everything is run (default 5)")
    p.add_argument("--ms", type=int, default=100, help="milliseconds that a measured run takes at least (default 100)")
    p.add_argument("--bench", metavar="TEXT", action="append", help="only benchmarks whose name contains TEXT")
    p.add_argument("--reference", default=allocators.REFERENCE, help="the allocator that ratios are to")
    arguments = p.parse_args()
    program = os.path.join(arguments.programs, "bench")
    paths = allocators.chosen(arguments)
    reference = arguments.reference if arguments.reference in paths else next(iter(paths))
    benches = [b for b in names_of(program) if not arguments.bench or any(t in b for t in arguments.bench)]
    allocators.warn_if_busy()
    times = measure(program, benches, paths, arguments.rounds, arguments.ms)
    medians = {b: {a: median(v) for a, v in t.items()} for b, t in times.items()}
    report(medians, list(paths), reference)
    if arguments.json:
        write_json(arguments.json, times, medians, paths, arguments)
    if allocators.OURS not in paths:
        return 0
    report_families(medians, allocators.OURS, reference)
    fine = allocators.judge(bars(medians, reference))
    return 1 if arguments.check and not fine else 0


if __name__ == "__main__":
    sys.exit(main())
