#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""
The giving back of memory: how much of it and of its page tables, under scattered survivors too, what it costs the
threads that allocate, how many system calls it takes, and who does it best.
"""

import concurrent.futures
import re
import shutil
import subprocess
import sys
import tempfile

sys.dont_write_bytecode = True
import allocators  # noqa: E402
import measures  # noqa: E402
import variants  # noqa: E402
from measures import program, say  # noqa: E402

PHASE_PTE_BAR = 2.0  # percent of the peak
PHASE_RSS_BAR = 1.0
THINNED_BAR = 0.5  # of the best peer's RSS
SCATTER_BAR = 2.0  # times the fewest PTE pages
LATENCY_BAR_NS = 10000
THROUGHPUT_BAR = 0.97
CALLS_BAR = 1 / 32  # for each emptied region
CHURN_FAULTS_BAR = 0.05  # of the pages that are freed while as much is allocated
SWING_FAULTS_BAR = 0.01  # of the pages that come and go
SWING_RSS_BAR = 0.5  # of the peak
BACKENDS = ("process_madvise", "io_uring", "madvise", "remap")
SIDE_BY_SIDE = 4  # runs at a time where nothing is timed


def side_by_side(jobs):
    """The results of JOBS, which are functions; for figures that do not depend on time."""
    with concurrent.futures.ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
        return list(pool.map(lambda job: job(), jobs))


def microseconds(nanoseconds):
    return f"{nanoseconds / 1000:.2f}"


def at_least(what, measured, limit):
    """A bar of allocators.judge, which are upper limits, for what must not be below LIMIT."""
    return (f"{what}, as its inverse", 1 / measured if measured else float("inf"), 1 / limit)


# ---- 1: everything freed, and nearly everything --------------------------------------------------------------------


def run_phase(arguments, variant, low, high, freed):
    command = [program(arguments, "footprint"), "--mib", str(arguments.mib), "--wait", str(arguments.wait),
               "--freed", str(freed), "--low", str(low), "--high", str(high)]
    done = subprocess.run(command, env=variant.environment(), capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(command)} under {variant.name}: status {done.returncode}: {done.stderr.strip()}")
    lines = dict(line.split("\t", 1) for line in done.stdout.splitlines())
    if not allocators.serves(variant.path, lines.pop("allocator")):
        sys.exit(f"{variant.name} did not serve the program")
    figures = {moment: [int(x) for x in text.split("\t")] for moment, text in lines.items()}
    start, peak, end = figures["start"], figures["peak"], figures["end"]
    return {"rss_peak_kb": peak[0], "rss_kb": end[0], "pte_peak_kb": peak[1], "pte_kb": end[1],
            "rss_percent": 100 * end[0] / peak[0], "pte_percent": 100 * end[1] / peak[1],
            "pte_percent_net": 100 * (end[1] - start[1]) / (peak[1] - start[1])}


def phase_variants(arguments, paths):
    decay = f"decay_ms:{arguments.decay}"
    ours = variants.ours(paths, allocators.OURS, decay)
    for backend in BACKENDS:
        ours += variants.ours(paths, f"pmdalloc {backend}", f"{decay},release:{backend}")
    return ours, variants.peers(paths)


def phase(arguments, paths):
    ours, peers = phase_variants(arguments, paths)
    cases = [("16 B to 4 KiB, all freed", 16, 4096, 100, ours + peers),
             ("256 KiB to 4 MiB, all freed", 256 << 10, 4 << 20, 100, ours + peers),
             ("16 B to 4 KiB, a random 99 % freed", 16, 4096, 99, ours[:1] + peers)]
    results = {}
    for title, low, high, freed, chosen in cases:
        say(f"phase: {arguments.mib} MiB of {title}")
        found = side_by_side([lambda v=v: run_phase(arguments, v, low, high, freed) for v in chosen])
        results[title] = {v.name: f for v, f in zip(chosen, found)}
        print(f"{arguments.mib} MiB of {title}, {arguments.wait} s later")
        names = ("rss_peak_kb", "rss_kb", "rss_percent", "pte_peak_kb", "pte_kb", "pte_percent", "pte_percent_net")
        head = ["", "RSS peak kB", "RSS kB", "% of peak", "PTE peak kB", "PTE kB", "% of peak", "% without start's"]
        allocators.table(head, [[n, *(f"{f[x]:.1f}" if "percent" in x else f[x] for x in names)]
                                for n, f in results[title].items()])
        print()
    return results


def phase_bars(results):
    """VmPTE is judged where a program's own 60 to 90 kB are little beside the peak: from 1 GiB on."""
    bars = []
    for title, runs in results.items():
        if "99 %" in title:
            best = [f["rss_kb"] for n, f in runs.items() if not n.startswith(allocators.OURS)]
            if best:
                bars.append((f"{title}: RSS / the best peer's", runs[allocators.OURS]["rss_kb"] / min(best),
                             THINNED_BAR))
            continue
        for name, figures in runs.items():
            if name.startswith(allocators.OURS):
                bars.append((f"{title}, {name}: RSS, % of the peak", figures["rss_percent"], PHASE_RSS_BAR))
                if figures["rss_peak_kb"] >= 1 << 20:
                    bars.append((f"{title}, {name}: VmPTE above the start's, % of the peak",
                                 figures["pte_percent_net"], PHASE_PTE_BAR))
    return bars


# ---- 2: scattered survivors ----------------------------------------------------------------------------------------

SCATTER_CASES = [
    {"pattern": "service"},
    {"pattern": "service", "threads": 4},
    {"pattern": "random"},
    {"pattern": "random", "threads": 4},
    {"pattern": "fifo"},
    {"pattern": "batch"},
    {"pattern": "tide", "window-mib": 512},
    {"pattern": "drift"},
    {"pattern": "cache", "threads": 4},
    {"pattern": "random", "low": 1024, "high": 1 << 20},
    {"pattern": "random", "low": 32 << 10, "high": 4 << 20},
    {"pattern": "buffers"},
    {"pattern": "buffers", "threads": 4},
]


def scatter_case(arguments, case):
    """Options of the program: the whole case, or a quarter of it."""
    whole = {"mib": 56320, "live-mib": 590, "window-mib": 256, "wait-ms": arguments.wait * 1000, **case}
    if arguments.quick:
        for name in ("mib", "live-mib", "window-mib"):
            whole[name] //= 4
    return whole


def scatter(arguments, paths):
    decay = f"decay_ms:{arguments.decay}"
    ours, peers = variants.ours(paths, allocators.OURS, decay), variants.peers(paths)
    results = {}
    for case in SCATTER_CASES:
        title = " ".join(f"{n} {v}" for n, v in case.items())
        say(f"scatter: {title}")
        options = scatter_case(arguments, case)
        # Two at a time: each needs a processor.
        chosen = ours + peers if case["pattern"] in arguments.scatter_peers else ours
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            found = list(pool.map(lambda v: variants.run(program(arguments, "scatter"), v, options), chosen))
        results[title] = {v.name: f for v, f in zip(chosen, found)}
    rows = [[title, n, f["rss_kb"] >> 10, f["virt_kb"] >> 10, f["pte_peak_kb"], f["pte_kb"], f["pte_fewest_kb"],
             f"{f['pte_ratio']:.2f}"] for title, runs in results.items() for n, f in runs.items()]
    print("scattered survivors: a process that lived long")
    allocators.table(["", "", "RES MiB", "VIRT MiB", "PTE peak kB", "PTE kB", "fewest kB", "times"], rows)
    print()
    return results


def scatter_bars(results):
    return [(f"survivors, {title}: VmPTE / the fewest", runs[allocators.OURS]["pte_ratio"], SCATTER_BAR)
            for title, runs in results.items() if allocators.OURS in runs]


# ---- 3: what the threads that allocate notice ----------------------------------------------------------------------

LATENCY_CASES = [
    ("small blocks, another thread's phase", {"by": "other", "low": 16, "high": 4096}),
    ("small blocks, its own phase", {"by": "self", "low": 16, "high": 4096}),
    ("up to 256 KiB, another thread's phase", {"by": "other", "low": 16, "high": 256 << 10, "blocks": 5000}),
]
KINDS = ("malloc", "free", "phase_free", "nothing")
SHARES = ("p50", "p99", "p999", "p9999", "max")


def latency(arguments, paths):
    decay = 100
    chosen = variants.ours(paths, allocators.OURS, f"decay_ms:{decay}")
    for backend in arguments.latency_backends:
        chosen += variants.ours(paths, f"pmdalloc {backend}", f"decay_ms:{decay},release:{backend}")
    chosen += variants.peers(paths) + variants.eager_peers(paths, decay)
    results = {}
    for title, case in LATENCY_CASES:
        say(f"latency: {title}")
        options = {"phase-mib": arguments.mib, "window-ms": 1000, "rounds": 1 if arguments.quick else 3, **case}
        runs = variants.interleaved(arguments.rounds, chosen,
                                    lambda v, o=options: variants.run(program(arguments, "latency"), v, o))
        results[title] = runs
        print_latency(title, runs)
    return results


def print_latency(title, runs):
    print(f"{title}: microseconds, medians of {len(next(iter(runs.values())))} runs; RSS in MiB before and after")
    rows = []
    for name, found in runs.items():
        rss = [f"{variants.median(found, x) / 1024:.0f}" for x in ("rss_before_kb", "rss_after_kb")]
        for kind in KINDS:
            times = [microseconds(variants.median(found, f"{kind}_{s}")) for s in SHARES]
            rows.append([name if kind == KINDS[0] else "", kind, *times, *(rss if kind == KINDS[0] else ("", ""))])
    allocators.table(["", "", "p50", "p99", "p99.9", "p99.99", "longest", "before", "after"], rows)
    for name, found in runs.items():
        if name.startswith(allocators.OURS):
            worst = max(found, key=lambda f: max(f["malloc_max"], f["free_max"]))
            print(f"{name}, longest calls: " + "; ".join(worst[k] for k in worst if k.startswith("slowest")))
    print()


def latency_bars(results):
    bars = []
    for title, runs in results.items():
        for kind in ("malloc", "free"):
            mine = variants.median(runs[allocators.OURS], f"{kind}_p999")
            peers = [variants.median(f, f"{kind}_p999") for n, f in runs.items() if not n.startswith(allocators.OURS)]
            bars.append((f"{title}, {kind}: p99.9, ns", mine, LATENCY_BAR_NS))
            if peers:
                bars.append((f"{title}, {kind}: p99.9, ns, against the best peer", mine, min(peers)))
        own = variants.median(runs[allocators.OURS], "phase_free_p999")
        bars.append((f"{title}, the phase's frees: p99.9, ns", own, LATENCY_BAR_NS))
    return bars


def throughput(arguments, paths):
    chosen = []
    for label, options in (("decay_ms:1000", "decay_ms:1000"), ("never", "decay_ms:-1"), ("decay_ms:10000", "")):
        chosen += variants.ours(paths, f"pmdalloc {label}", options)
    chosen += variants.peers(paths)
    say("throughput of a server-like loop")
    options = {"ms": 1000 if arguments.quick else 2500}
    rounds = arguments.rounds * 3
    runs = variants.interleaved(rounds, chosen, lambda v: variants.run(program(arguments, "server"), v, options))
    print(f"a server-like loop: medians of {rounds} runs")
    allocators.table(["", "M operations/s", "+- %", "page faults", "RSS MiB", "releases"],
                     [[n, f"{variants.median(f, 'ops_per_second') / 1e6:.3f}",
                       f"{variants.spread(f, 'ops_per_second'):.1f}", f"{variants.median(f, 'faults'):.0f}",
                       f"{variants.median(f, 'rss_kb') / 1024:.0f}", f"{variants.median(f, 'releases'):.0f}"]
                      for n, f in runs.items()])
    print()
    return runs


def throughput_bars(runs):
    never = runs["pmdalloc never"]
    bars = []
    for label in ("decay_ms:1000", "decay_ms:10000"):
        pairs = [a["ops_per_second"] / b["ops_per_second"] for a, b in zip(runs[f"pmdalloc {label}"], never)]
        bars.append(at_least(f"throughput with {label} / with release off", allocators.statistics.median(pairs),
                             THROUGHPUT_BAR))
    return bars


# ---- 4: system calls, and what comes and goes ----------------------------------------------------------------------

CALLS_CASES = [
    ("steady, default decay", "", {}),
    ("steady, decay_ms:1000", "decay_ms:1000", {}),
    ("waves of half, default decay", "", {"wave-percent": 50, "wave-ms": 5000}),
    ("waves of half, decay_ms:1000", "decay_ms:1000", {"wave-percent": 50, "wave-ms": 5000}),
    ("steady, 64 KiB to 4 MiB, decay_ms:1000", "decay_ms:1000", {"low": 64 << 10, "high": 4 << 20}),
]


def trace_counts(lines):
    """System calls by name between the two calls of getppid, over all threads."""
    counts, on = {}, False
    for line in lines:
        found = re.match(r"\d+\s+(\w+)\(", line)
        if not found:
            continue
        if found.group(1) == "getppid":
            on = not on
        elif on:
            counts[found.group(1)] = counts.get(found.group(1), 0) + 1
    return counts


def run_traced(arguments, variant, options):
    with tempfile.NamedTemporaryFile("r", encoding="utf-8", errors="replace") as trace:
        figures = variants.run(program(arguments, "churn"), variant, options, ("strace", "-f", "-qq", "-o", trace.name))
        counts = trace_counts(trace)
    counts["clock_nanosleep"] = counts.get("clock_nanosleep", 0) - figures["own_calls"]
    figures["calls"] = {n: c for n, c in counts.items() if c}
    figures["all_calls"] = sum(counts.values())
    figures["fetched_again"] = figures["faults"] / max(figures["freed_regions"] * 512, 1)
    figures["calls_per_region"] = figures["all_calls"] / max(figures["freed_regions"], 1)
    return figures


def calls(arguments, paths):
    if not shutil.which("strace"):
        print("strace is not installed: system calls are not counted")
        return {}
    results = {}
    for title, conf, options in CALLS_CASES:
        say(f"calls: {title}")
        options = {"ms": 6000 if arguments.quick else 20000, **options}
        chosen = variants.ours(paths, allocators.OURS, conf) + variants.peers(paths)
        results[title] = {v.name: run_traced(arguments, v, options) for v in chosen}
    rows = []
    for title, runs in results.items():
        for name, f in runs.items():
            names = sorted(f["calls"].items(), key=lambda pair: -pair[1])
            rows.append([title, name, f["freed_regions"], f["all_calls"], f"{f['calls_per_region'] * 32:.2f}",
                         f"{100 * f['fetched_again']:.1f}", " ".join(f"{n}:{c}" for n, c in names[:4])])
    print("system calls under steady churn")
    allocators.table(["", "", "regions freed", "calls", "for 32 regions", "pages fetched again, %", "which"], rows)
    print()
    return results


def calls_bars(results):
    bars = []
    for title, runs in results.items():
        mine = runs[allocators.OURS]
        bars.append((f"{title}: system calls for each region freed", mine["calls_per_region"], CALLS_BAR))
        if title.startswith("steady"):
            bars.append((f"{title}: pages fetched again / pages freed", mine["fetched_again"], CHURN_FAULTS_BAR))
    return bars


def swing(arguments, paths):
    swings = 8 if arguments.quick else 20
    fast = {"period-ms": 1000, "swings": swings}
    slow = {"period-ms": 6000, "swings": 3, "skip": 1}
    cases = [(f"every second, {order}", "", "", {**fast, "order": order}) for order in ("random", "last")]
    cases += [(f"every 6 s with a decay of 1 s, {order}", "decay_ms:1000", "dirty_decay_ms:1000,muzzy_decay_ms:0",
               {**slow, "order": order}) for order in ("random", "last")]
    results = {}
    for title, conf, jemalloc, options in cases:
        say(f"swing: {title}")
        chosen = variants.ours(paths, allocators.OURS, conf) + variants.peers(paths)
        if jemalloc:
            chosen += [v for v in variants.eager_peers(paths, 1000) if v.name.startswith("jemalloc")]
        results[title] = {v.name: variants.run(program(arguments, "swing"), v, options) for v in chosen}
    rows = [[title, n, f"{100 * f['faults'] / f['pages_per_swing']:.2f}",
             f"{100 * f['faults_most'] / f['pages_per_swing']:.2f}", int(f["rss_low_kb"]) >> 10,
             int(f["rss_peak_kb"]) >> 10, f"{f['pte_low_kb']:.0f}", f.get("releases_in_swings", "")]
            for title, runs in results.items() for n, f in runs.items()]
    print("swinging between 100 MiB and 1 GiB; freed in random order, or the last allocated first")
    allocators.table(["", "", "pages fetched again, %", "at most", "RSS low MiB", "peak", "PTE low kB", "releases"], rows)
    print()
    return results


def swing_bars(results):
    bars = []
    for title, runs in results.items():
        mine = runs[allocators.OURS]
        if "every second" in title:
            bars.append((f"swing {title}: pages fetched again / those that come and go",
                         mine["faults"] / mine["pages_per_swing"], SWING_FAULTS_BAR))
        else:
            bars.append((f"swing {title}: RSS when low / peak", mine["rss_low_kb"] / mine["rss_peak_kb"],
                         SWING_RSS_BAR))
    return bars


# ---- Who does it ---------------------------------------------------------------------------------------------------


def who(arguments, paths):
    chosen = []
    for backend in ("process_madvise", "io_uring", "madvise"):
        chosen += variants.ours(paths, backend, f"decay_ms:200,release:{backend}")
    chosen += variants.ours(paths, "no thread", "decay_ms:200,background:off")
    say("who gives memory back")
    options = {"mib": arguments.mib, "wait-ms": 2000}
    runs = variants.interleaved(arguments.rounds, chosen,
                                lambda v: variants.run(program(arguments, "release_who"), v, options))
    names = ("free_p50", "free_p999", "free_max", "later_free_p999", "later_free_max")
    rows = [[n, *(microseconds(variants.median(f, x)) for x in names),
             *(f"{variants.median(f, x):.0f}" for x in ("half_back_ms", "back_ms", "own_cpu_ms", "others_cpu_ms",
                                                        "others_wakes", "release_calls", "pte_kb"))]
            for n, f in runs.items()]
    print(f"{arguments.mib} MiB freed by one thread that then does little; decay_ms:200, medians of {arguments.rounds}")
    allocators.table(["", "free p50 us", "p99.9", "longest", "later p99.9", "longest", "half back ms", "back ms",
                      "its CPU ms", "others' CPU ms", "wakes", "calls", "PTE kB"], rows)
    print()
    return runs


# ---- All -----------------------------------------------------------------------------------------------------------

MEASURES = {
    "phase": (phase, phase_bars),
    "scatter": (scatter, scatter_bars),
    "latency": (latency, latency_bars),
    "throughput": (throughput, throughput_bars),
    "calls": (calls, calls_bars),
    "swing": (swing, swing_bars),
    "who": (who, lambda results: []),
}


def parse():
    p = measures.parser(__doc__, MEASURES)
    p.add_argument("--mib", type=int, default=1024, help="memory of a phase (default 1024)")
    p.add_argument("--wait", type=int, default=12, help="seconds until memory must be back (default 12)")
    p.add_argument("--peers-in", dest="scatter_peers", default="service,buffers,drift",
                   help="patterns of survivors under which peers are measured too")
    p.add_argument("--backends", dest="latency_backends", default="io_uring",
                   help="backends whose latency is measured besides the default's")
    p.add_argument("--quick", action="store_true",
                   help="256 MiB, 3 s with decay_ms:1000, 2 rounds, a quarter of the survivors' case")
    arguments = measures.parse(p, MEASURES)
    arguments.decay = 10000
    if arguments.quick:
        arguments.mib, arguments.wait, arguments.rounds, arguments.decay = 256, 3, 2, 1000
    arguments.latency_backends = [x for x in arguments.latency_backends.split(",") if x]
    return arguments


if __name__ == "__main__":
    allocators.run(lambda: measures.run(parse(), MEASURES))
