#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""
Real programs under each allocator, interleaved: their time, and the most memory and page tables that they and all
processes that they start have at a moment. As the allocators come, and with huge pages for none of them. Each is
compared with the best of the others.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
import time

sys.dont_write_bytecode = True
import allocators  # noqa: E402
import machine  # noqa: E402
import report  # noqa: E402
import resample  # noqa: E402
import workloads  # noqa: E402
from measures import Progress, say  # noqa: E402

# Name to what it is given to do and how much of it; a name has the form family/case, or the workload tells the cases.
PROGRAMS = {
    "redis": (workloads.RedisSetGet, 30),
    "sqlite3/memory": (workloads.Sqlite, 200),
    "python3/malloc": (workloads.Python, 60),
    "python3/pymalloc": (workloads.PythonItself, 60),
    "gcc/large": (workloads.GccLarge, 10),
    "gcc/small": (workloads.GccSmall, 25),
    "node/buffers": (workloads.Node, 60),
    "git/gc": (workloads.Git, 60),
}
TIME_BAR = 1.02
MEMORY_BAR = 1
SAMPLE_US = 1000
SEEN, TRIES = 0.9, 10
# Rounds that are timed, and rounds in which memory is looked at, which takes a little of a processor.
ROUNDS, MEMORY_ROUNDS = 5, 2
QUICK_ROUNDS, QUICK_MEMORY_ROUNDS = 3, 1
FIGURES = (("rss_pte_kib", "peak RSS + VmPTE, MiB", 1024), ("rss_kib", "peak RSS, MiB", 1024),
           ("pte_kib", "peak VmPTE, KiB", 1), ("rss_pte_mean_kib", "average RSS + VmPTE, MiB", 1024))
BINDING = re.compile(r"binding file \S+ \[0\] to (\S+) \[0\]: normal symbol `malloc'")


# ---- One run -------------------------------------------------------------------------------------------------------


class Runner:
    """Runs one workload under allocators."""

    def __init__(self, watch, workload):
        self.watch, self.workload = watch, workload
        self.out = os.path.join(workload.work, "watch.json")
        self.warm_mib = 0

    def run(self, path, sampled=False):
        """Figures of one run under PATH, by what its workload tells them of; None: of all of it."""

        def start(words, environment, **more):
            command = [self.watch, "--out", self.out, "--warm-mib", str(self.warm_mib), "--sample-us",
                       str(SAMPLE_US if sampled else 0), *(["--preload", path] if path else []), "--", *words]
            return subprocess.Popen(command, env=environment, **more)

        for _ in range(TRIES):
            told = self.workload.run(start)
            with open(self.out, encoding="utf-8") as f:
                figures = json.load(f)
            # The kernel knows the peak of the largest process: who did not see it was not there.
            if not sampled or figures.get("rss_kib", 0) >= SEEN * figures["rss_largest_kib"]:
                return {case: {**figures, "ns": ns} for case, ns in told.items()} or {None: figures}
        sys.exit(f"{self.workload.command()[0]}: the machine is too busy to see its memory")

    def check_served(self, name, path):
        """Ends all if another allocator serves the program, by the dynamic loader's own account."""
        log = os.path.join(self.workload.work, "bindings")
        variables = {**self.workload.environment(), **{k: v for k, v in allocators.environment(path).items()
                     if k == "LD_PRELOAD"}, "LD_DEBUG": "bindings", "LD_BIND_NOW": "1", "LD_DEBUG_OUTPUT": log}
        command = self.workload.probe()
        subprocess.run(command, cwd=self.workload.work, env=variables, stdin=subprocess.DEVNULL, capture_output=True,
                       timeout=60)
        bound = set()
        for file in os.listdir(self.workload.work):
            if file.startswith("bindings."):
                with open(os.path.join(self.workload.work, file), encoding="utf-8", errors="replace") as f:
                    bound |= set(BINDING.findall(f.read()))
                os.remove(os.path.join(self.workload.work, file))
        # An executable whose own entry stands for a function calls that function of a library.
        bound = {file for file in bound if ".so" in os.path.basename(file)}
        if not bound or not all(allocators.serves(path, file) for file in bound):
            sys.exit(f"{command[0]} under {name}: {' and '.join(sorted(bound)) or 'nobody'} served it")

    def prepare(self, paths):
        """Who serves; what the first run needs to fetch from disk; how much memory there has to be."""
        for name, path in paths.items():
            self.check_served(name, path)
        figures = next(iter(self.run(next(iter(paths.values())), sampled=True).values()))
        self.warm_mib = figures["rss_kib"] * 5 // 4 // 1024 + 1


def runners(arguments, paths, folder):
    """Name to runner of the programs that are there."""
    watch = os.path.abspath(os.path.join(arguments.programs, "watch"))
    source = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    found = {}
    for name, (kind, scale) in PROGRAMS.items():
        if arguments.program and not any(text in name for text in arguments.program):
            continue
        work = os.path.join(folder, name.replace("/", "-"))
        os.mkdir(work)
        try:
            found[name] = Runner(watch, kind(work, source, scale * arguments.percent / 100))
            found[name].prepare(paths)
        except (workloads.Missing, subprocess.TimeoutExpired) as why:
            found.pop(name, None)
            say(f"{name} is left out: {why}")
    return found


# ---- All of them ---------------------------------------------------------------------------------------------------


def one_round(runners_of, paths, turn, sampled, progress, into):
    """Adds the figures of each program under each allocator to INTO[row][allocator]."""
    for i, (program, runner) in enumerate(runners_of.items()):
        for name in allocators.rotated(paths, turn + i):
            for case, figures in runner.run(paths[name], sampled).items():
                row = f"{program}/{case}" if case else program
                into.setdefault(row, {a: [] for a in paths})[name].append(figures)
            progress.step(f"{program}, {name}")


def figure(runs, name):
    return {row: {a: [max(f[name], 1) for f in v] for a, v in by.items()} for row, by in runs.items()}


def measure(arguments, paths, policies):
    """Policy of huge pages to what was measured; nothing where no program can be run."""
    results = {}
    with tempfile.TemporaryDirectory(prefix="pmdalloc-programs.") as folder:
        say("preparing the programs")
        of = runners(arguments, paths, folder)
        if not of:
            return {}
        progress = Progress(len(policies) * (arguments.rounds + arguments.memory_rounds) * len(of) * len(paths))
        for title in policies:
            machine.huge_pages(title != machine.OFF)
            timed, watched = {}, {}
            for turn in range(max(arguments.rounds, arguments.memory_rounds)):
                if turn < arguments.rounds:
                    one_round(of, paths, turn, False, progress, timed)
                if turn < arguments.memory_rounds:
                    one_round(of, paths, turn, True, progress, watched)
            results[title] = {"runs": timed, "memory_runs": watched,
                              "ns": resample.AgainstBest(figure(timed, "ns"), allocators.OURS).as_json(),
                              "cpu_ns": resample.AgainstBest(figure(timed, "cpu_ns"), allocators.OURS).as_json(),
                              **{f: resample.AgainstBest(figure(watched, f), allocators.OURS).as_json()
                                 for f, _, _ in FIGURES}}
        machine.huge_pages(True)
    return results


def bars(results):
    """Time and memory against the best other's."""
    ours, found = allocators.OURS, []
    for policy, figures in results.items():
        for key, what, limit in (("ns", "time", TIME_BAR), ("cpu_ns", "processor time", TIME_BAR),
                                 ("rss_pte_kib", "peak RSS + VmPTE", MEMORY_BAR)):
            told = figures[key]
            for row, best in told["best_other"].items():
                low, high = told["ratio_interval_95"][row][ours]
                found.append((f"{row}: {what} / the best's ({best}) [{low:.3f}, {high:.3f}], huge pages {policy}",
                              told["ratio_to_best_other"][row][ours], limit))
    return found


def print_all(results):
    for policy, figures in results.items():
        print(f"---- Huge pages: {policy} " + "-" * 60)
        for key, what, unit in (("ns", "time, ms (redis: ns a request)", None), ("cpu_ns", "processor time, ms", 1e6),
                                *FIGURES):
            told = figures[key]
            names = list(next(iter(told["median"].values())))
            rows = [[row, *(cell for n in names for cell in
                            (shown(row, by[n], unit), f"±{told['spread_percent'][row][n]:.0f}%",
                             f"{told['ratio_to_best_other'][row][n]:.3f}"))] for row, by in told["median"].items()]
            allocators.table([what, *(x for n in names for x in (n, "", "/ best"))], rows)
            print()


def shown(row, value, unit):
    """UNIT: what a figure is divided by; None for times, of a request where the workload has those."""
    if unit is None:
        return f"{value:.0f}" if row.startswith("redis/") else f"{value / 1e6:.1f}"
    return f"{value / unit:.1f}" if unit > 1 else f"{value:.0f}"


# ---- The run -------------------------------------------------------------------------------------------------------


def set_defaults(arguments):
    """What was not asked for."""
    if arguments.huge_pages is None:
        arguments.huge_pages = "as-they-come" if arguments.quick else "both"
    if arguments.rounds is None:
        arguments.rounds = QUICK_ROUNDS if arguments.quick else ROUNDS
    if arguments.memory_rounds is None:
        arguments.memory_rounds = QUICK_MEMORY_ROUNDS if arguments.quick else MEMORY_ROUNDS


def parser():
    p = allocators.parser(__doc__)
    p.add_argument("--rounds", type=int, default=None, help=f"timed rounds (default {ROUNDS}; quick: {QUICK_ROUNDS})")
    p.add_argument("--memory-rounds", type=int, default=None,
                   help=f"rounds in which memory is looked at (default {MEMORY_ROUNDS}; quick: {QUICK_MEMORY_ROUNDS})")
    p.add_argument("--program", metavar="TEXT", action="append", help="only programs whose name contains TEXT")
    p.add_argument("--percent", type=int, default=100, help="how much of their work the programs do (default 100)")
    p.add_argument("--huge-pages", choices=machine.POLICIES, default=None,
                   help="(default both; quick: as-they-come)")
    p.add_argument("--quick", action="store_true", help="fewer rounds, the main allocators: in 3 minutes")
    p.add_argument("--report", metavar="FILE", help="write a report in HTML")
    p.add_argument("--markdown", metavar="FILE", help="write a table of times and memory")
    return p


def measure_default(folder, paths):
    """What a run without options measures; the programs of the build are in FOLDER."""
    arguments = parser().parse_args(["--programs", folder])
    set_defaults(arguments)
    return measure(arguments, paths, machine.POLICIES[arguments.huge_pages])


def arguments_of():
    p = parser()
    arguments = p.parse_args()
    set_defaults(arguments)
    if arguments.rounds < 1 or arguments.memory_rounds < 1 or arguments.percent < 1:
        p.error("at least one round of each kind, and some work")
    return arguments


def main():
    arguments = arguments_of()
    paths = allocators.chosen(arguments, everything=not arguments.quick)
    allocators.warn_if_busy()
    results = {"machine": machine.describe(), "allocators": paths, "reference": next(iter(paths)),
               "versions": machine.versions(paths, allocators.OURS), "rounds": arguments.rounds,
               "date": time.strftime("%Y-%m-%d"), "passes": {}, "curves": {},
               "programs": measure(arguments, paths, machine.POLICIES[arguments.huge_pages])}
    if not results["programs"]:
        sys.exit("no program can be run here")
    print_all(results["programs"])
    if arguments.json:
        with open(arguments.json, "w", encoding="utf-8") as out:
            json.dump(results, out, indent=1)
            out.write("\n")
    if arguments.report:
        report.write(arguments.report, results)
    if arguments.markdown:
        report.write_programs_markdown(arguments.markdown, results)
    if allocators.OURS not in paths or len(paths) < 2:
        return 0
    return 1 if not allocators.judge(bars(results["programs"])) and arguments.check else 0


if __name__ == "__main__":
    allocators.run(main)
