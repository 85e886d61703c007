#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""
Runs the benchmarks under each allocator, interleaved, each run in a fresh process, and compares medians with
jemalloc's: time and peak memory, as the allocators come and with huge pages for none of them. Then what takes its time:
memory through phases, exits, latencies, real programs. Writes JSON and a report that is one file.
"""

import json
import os
import re
import subprocess
import sys
import time

sys.dont_write_bytecode = True
import allocators  # noqa: E402
import curves  # noqa: E402
import machine  # noqa: E402
import programs  # noqa: E402
import report  # noqa: E402
import resample  # noqa: E402
from measures import Progress, say  # noqa: E402

MEMORY_ONLY = "after"  # of this family nothing is timed: all of it runs side by side
NOT_IN_QUICK = re.compile(r"crowd/8K|realloc/(1G-by-half|long)|larson/2|chain/.*-2|cache/.*-8|scale/16|phase/in"
                          r"|batch/reverse|hot/(16|256|4K|32K|64K|2M)$|calloc/64$|calloc/1M|replace/(even|python)"
                          r"|fragment/robson|fork/busy|aligned/64|storm/1-|graph/2|pipe/8K")
QUICK_ROUNDS, QUICK_MS = 3, 10
# One of each family, those that take little time.
BRIEF = re.compile(r"(hot/64|calloc/tables|aligned/mixed|batch/random/64|replace/gcc|realloc/vectors|larson/8|pipe/64"
                   r"|chain/pool-2|cache/thrash-2|graph/8|scale/2|storm/200-blocks|fork/quiet|phase/mixed"
                   r"|fragment/drift)$")
BRIEF_ROUNDS, BRIEF_SECONDS = 2, 1
QUICK_SECONDS = 4  # what takes longer under all allocators is run once

MEAN_BAR = 0.80
BEST_BAR = 0.95
FAMILY_BAR = 1.05
MEMORY_BAR = 0.90
GROWTH_BAR = 1 / 20
HANDED_OVER = ("pipe", "chain", "larson")  # where others free what one allocates


def names_of(program):
    """Benchmark to the name that Google Benchmark has for it, with how it is run at its end."""
    listed = subprocess.run([program, "--benchmark_list_tests"], check=True, capture_output=True, text=True).stdout
    return {re.sub(r"(/iterations:\d+)?/manual_time$", "", name): name for name in listed.split()}


def run(program, name, path, milliseconds):
    """The figures of one run, after checking who served it."""
    done = subprocess.run([program, f"--benchmark_filter=^{name}$", f"--benchmark_min_time={milliseconds / 1000}",
                           "--benchmark_format=json"], env=allocators.environment(path), capture_output=True, text=True,
                          timeout=600)
    where = f"{name} under {path or 'the C library'}"
    if done.returncode:
        sys.exit(f"{where}: status {done.returncode}: {done.stderr.strip()}")
    if not done.stdout:
        sys.exit(f"{where}: no answer: {done.stderr.strip()}")
    answer = json.loads(done.stdout)
    if not allocators.serves(path, answer["context"]["allocator"]):
        sys.exit(f"{where}: {answer['context']['allocator']} served it")
    (result,) = answer["benchmarks"]
    known = ("name", "run_name", "run_type", "time_unit", "cpu_time", "real_time")
    figures = {k: v for k, v in result.items() if k not in known and isinstance(v, (int, float))}
    return {"ns": result["real_time"], **figures}


def measure_round(arguments, benches, paths, progress, r, runs, seconds):
    for i, (bench, full) in enumerate(benches.items()):
        if arguments.quick and seconds.get(bench, 0) > (BRIEF_SECONDS if arguments.brief else QUICK_SECONDS):
            progress.leave_out(len(paths))
            continue
        seconds[bench] = -time.monotonic()
        for name in allocators.rotated(paths, r + i):
            runs[bench][name].append(run(arguments.program, full, paths[name], arguments.ms))
            progress.step(f"round {r + 1} of {arguments.rounds}, {bench}, {name}")
        seconds[bench] += time.monotonic()


def measure(arguments, benches, paths, progress):
    """
    runs[bench][allocator]: a list with the figures of each round. Who interrupts it after the first has those that were
    complete; arguments.stopped tells.
    """
    runs = {b: {a: [] for a in paths} for b in benches}
    seconds = {}
    for r in range(arguments.rounds):
        try:
            measure_round(arguments, benches, paths, progress, r, runs, seconds)
        except KeyboardInterrupt:
            if not r:
                raise
            arguments.stopped = True
            return {b: {a: v[:r] for a, v in by.items()} for b, by in runs.items()}
    return runs


def counter(runs, name):
    """The same shape with one of the figures only; benchmarks that lack it are left out."""
    return {b: {a: [figures[name] for figures in v] for a, v in by.items()} for b, by in runs.items()
            if all(name in figures for v in by.values() for figures in v)}


def summarize(runs, reference):
    """Ratios of time and of peak memory."""
    return resample.Ratios(counter(runs, "ns"), reference), resample.Ratios(counter(runs, "rss_peak_mib"), reference)


# ---- What is printed -----------------------------------------------------------------------------------------------


def print_times(ratios):
    rows = []
    for bench, medians in ratios.medians.items():
        row = [bench]
        for name in ratios.names:
            low, high = ratios.interval(bench, name)
            row += [f"{medians[name]:.{1 if medians[name] < 1e5 else 0}f}", f"±{ratios.spreads[bench][name]:.0f}%",
                    f"{ratios.ratios[bench][name]:.2f} [{low:.2f}, {high:.2f}]"]
        rows.append(row)
    allocators.table(["ns per operation", *(x for n in ratios.names for x in (n, "", "ratio [95 %]"))], rows)
    print()


def print_families(title, ratios):
    rows = [[f, *(f"{ratios.family(f, n):.3f}" for n in ratios.names)] for f in ratios.families]
    rows.append(["geometric mean", *(f"{ratios.mean(n):.3f}" for n in ratios.names)])
    intervals = [ratios.mean_interval(n) for n in ratios.names]
    rows.append(["95 %", *(f"{low:.3f}-{high:.3f}" for low, high in intervals)])
    allocators.table([title, *ratios.names], rows)
    print()


def print_pass(title, times, memory, reference):
    print(f"---- Huge pages: {title} " + "-" * 60)
    print_times(times)
    print_families(f"time, ratio to {reference}", times)
    print_families(f"peak RSS, ratio to {reference}", memory)


def best_other(names, value):
    others = [n for n in names if n != allocators.OURS]
    return min(others, key=value) if others else None


def bars(title, runs, times, memory, reference):
    ours, names = allocators.OURS, times.names
    best = best_other(names, times.mean)
    worst = max(times.families, key=lambda f: times.family(f, ours))
    found = [(f"time / {reference}'s, geometric mean", times.mean(ours), MEAN_BAR),
             (f"time / the best other's ({best})", times.mean(ours) / times.mean(best), BEST_BAR),
             (f"the slowest family ({worst}) / {reference}'s", times.family(worst, ours), FAMILY_BAR),
             (f"peak RSS / {reference}'s, geometric mean", memory.mean(ours), MEMORY_BAR)]
    smallest = best_other(names, memory.mean)
    found.append((f"peak RSS / the smallest's ({smallest})", memory.mean(ours) / memory.mean(smallest), 1))
    for family in HANDED_OVER:
        if family in times.families:
            fastest = best_other(names, lambda n, f=family: times.family(f, n))
            found.append((f"{family}: time / the fastest's ({fastest})",
                          times.family(family, ours) / times.family(family, fastest), 1))
    for bench, by in counter(runs, "realloc_ms").items():
        of = {n: resample.median(v) for n, v in by.items()}
        found.append((f"{bench}: time in realloc / {reference}'s", of[ours] / of[reference], GROWTH_BAR))
    for bench, by in counter(runs, "crowd_rss_mib").items():
        of = {n: resample.median(v) for n, v in by.items()}
        for peer in ("jemalloc", "mimalloc"):
            if peer in of:
                found.append((f"{bench}: RSS / {peer}'s", of[ours] / of[peer], 1))
    return [(f"{what}, huge pages {title}", measured, limit) for what, measured, limit in found]


# ---- The run -------------------------------------------------------------------------------------------------------


def arguments_of():
    p = allocators.parser(__doc__)
    p.add_argument("--rounds", type=int, default=None, help="how often everything is run (default 5; quick: 3)")
    p.add_argument("--ms", type=int, default=None,
                   help="milliseconds that a measured run takes at least (default 100; quick: 10)")
    p.add_argument("--bench", metavar="TEXT", action="append", help="only benchmarks whose name contains TEXT")
    p.add_argument("--reference", metavar="NAME",
                   help=f"the allocator that ratios are to (default {allocators.REFERENCE}, or the first that is there)")
    p.add_argument("--huge-pages", choices=machine.POLICIES, default=None,
                   help="as the allocators ask for them, for none, or both in turn (default both; quick: as-they-come)")
    p.add_argument("--quick", action="store_true", help="half of the benchmarks, the main allocators, in 3 minutes")
    p.add_argument("--brief", action="store_true", help="one benchmark a family and no curves, in half a minute")
    p.add_argument("--no-curves", action="store_true",
                   help="only the benchmarks: no phases, exits, latencies, real programs")
    p.add_argument("--report", metavar="FILE", help="write a report in HTML")
    p.add_argument("--markdown", metavar="FILE", help="write the table of the README")
    arguments = p.parse_args()
    arguments.stopped = False
    for path in filter(None, (arguments.json, arguments.report, arguments.markdown)):
        if not os.access(os.path.dirname(path) or ".", os.W_OK):
            sys.exit(f"cannot write {path}")
    arguments.program = os.path.join(arguments.programs, "bench")
    if not os.path.exists(arguments.program):
        sys.exit(f"there is no {arguments.program}: install libbenchmark-dev and configure again")
    if arguments.brief:
        arguments.quick = arguments.no_curves = True
    if arguments.rounds is None:
        arguments.rounds = BRIEF_ROUNDS if arguments.brief else QUICK_ROUNDS if arguments.quick else 5
    if arguments.ms is None:
        arguments.ms = QUICK_MS if arguments.quick else 100
    if arguments.huge_pages is None:
        arguments.huge_pages = "as-they-come" if arguments.quick else "both"
    if arguments.rounds < 1 or arguments.ms < 1:
        p.error("at least one round, of at least one millisecond")
    return arguments


def chosen_benches(arguments):
    benches = names_of(arguments.program)
    if arguments.brief and not arguments.bench:
        benches = {b: full for b, full in benches.items() if BRIEF.match(b)}
    elif arguments.quick and not arguments.bench:
        benches = {b: full for b, full in benches.items() if not NOT_IN_QUICK.search(b)}
    if arguments.bench:
        benches = {b: full for b, full in benches.items() if any(t in b for t in arguments.bench)}
    if not benches:
        sys.exit("no benchmark has such a name")
    return benches


def reference_of(arguments, paths):
    if arguments.reference and arguments.reference not in paths:
        sys.exit(f"--reference {arguments.reference}: not measured; {', '.join(paths)} are")
    return arguments.reference or (allocators.REFERENCE if allocators.REFERENCE in paths else next(iter(paths)))


def save(arguments, results):
    """After each part: a long run that is stopped has not been for nothing."""
    if arguments.json:
        with open(arguments.json + ".tmp", "w", encoding="utf-8") as out:
            json.dump(results, out, indent=1)
            out.write("\n")
        os.replace(arguments.json + ".tmp", arguments.json)
    if arguments.report:
        report.write(arguments.report, results)
    if arguments.markdown:
        report.write_markdown(arguments.markdown, results)


def run_passes(arguments, benches, paths, reference, results):
    """All passes over the timed benchmarks; the bars of them."""
    policies = machine.POLICIES[arguments.huge_pages]
    progress = Progress(len(policies) * arguments.rounds * len(benches) * len(paths))
    judged = []
    for policy in policies:
        machine.huge_pages(policy != machine.OFF)
        runs = measure(arguments, benches, paths, progress)
        times, memory = summarize(runs, reference)
        results["passes"][policy] = {"time_ns": times.as_json(), "rss_peak_mib": memory.as_json(), "runs": runs}
        print_pass(policy, times, memory, reference)
        if allocators.OURS in paths and len(paths) > 1:
            judged += bars(policy, runs, times, memory, reference)
        save(arguments, results)
        if arguments.stopped:
            break
    machine.huge_pages(True)
    return judged


def main():
    arguments = arguments_of()
    paths = allocators.chosen(arguments, everything=not arguments.quick)
    reference = reference_of(arguments, paths)
    benches = chosen_benches(arguments)
    timed = {b: full for b, full in benches.items() if b.split("/")[0] != MEMORY_ONLY}
    allocators.warn_if_busy()
    results = {"machine": machine.describe(), "allocators": paths, "reference": reference,
               "versions": machine.versions(paths, allocators.OURS), "rounds": arguments.rounds,
               "milliseconds": arguments.ms, "date": time.strftime("%Y-%m-%d"), "passes": {}, "curves": {}}
    judged = run_passes(arguments, timed, paths, reference, results) if timed else []
    if arguments.stopped:
        raise KeyboardInterrupt
    curves.measure(arguments, paths, results, [(b, f) for b, f in benches.items() if b not in timed], run)
    save(arguments, results)
    if not arguments.quick and not arguments.no_curves and not arguments.bench:
        results["programs"] = programs.measure_default(arguments.programs, paths)
        programs.print_all(results["programs"])
        if allocators.OURS in paths and len(paths) > 1:
            judged += programs.bars(results["programs"])
        save(arguments, results)
    fine = allocators.judge(judged)
    return 1 if arguments.check and not fine else 0


if __name__ == "__main__":
    allocators.run(main)
