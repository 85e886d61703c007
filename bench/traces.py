#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""
Records real programs with pmdalloc-trace, under the C library's malloc, and replays what each did under every
allocator, interleaved. Traces are kept in a folder and recorded anew only when asked for.
"""

import glob
import json
import os
import shutil
import subprocess
import sys
import tempfile

sys.dont_write_bytecode = True
import allocators  # noqa: E402
import machine  # noqa: E402
import workloads  # noqa: E402
from measures import say  # noqa: E402

REPLAY_SECONDS = 600
# What is compared, and how it is shown.
FIGURES = (("touched_ns", "ms", 1e6), ("ns", "ms untouched", 1e6), ("rss_peak_kb", "peak RSS MB", 1024),
           ("rss_average_kb", "avg RSS MB", 1024), ("pte_peak_kb", "peak PTE kB", 1), ("minor_faults", "faults", 1),
           ("fragmentation", "fragm.", 1))
RATIOS = ("touched_ns", "ns", "rss_peak_kb", "rss_average_kb", "pte_peak_kb")


PROGRAMS = {"redis": workloads.RedisAll, "sqlite3": workloads.Sqlite, "gcc": workloads.Gcc, "python3": workloads.Python,
            "git": workloads.Git, "node": workloads.Node}
SCALE, QUICK_SCALE = 100, 10


# ---- Recording -------------------------------------------------------------------------------------------------------


def largest(folder):
    """A program's trace is that of its process that made the most calls."""
    files = glob.glob(os.path.join(folder, "*.trace"))
    if not files:
        raise workloads.Missing("nothing was recorded")
    return max(files, key=os.path.getsize)


def recorder(arguments):
    return os.path.join(os.path.dirname(os.path.abspath(arguments.programs)), "trace", "pmdalloc-trace")


def record_one(arguments, name, path):
    with tempfile.TemporaryDirectory(prefix=f"pmdalloc-trace-{name}.") as work:
        folder = os.path.join(work, "traces")
        os.mkdir(folder)

        def start(words, environment, **more):
            return subprocess.Popen([recorder(arguments), "-o", folder + "/", "--", *words], env=environment, **more)

        PROGRAMS[name](work, arguments.source, QUICK_SCALE if arguments.quick else SCALE).run(start)
        shutil.move(largest(folder), path)


def record(arguments, names):
    """Name to trace of the programs that are there."""
    tool = recorder(arguments)
    if not os.path.exists(tool):
        sys.exit(f"there is no {tool}: a build without malloc records nothing")
    os.makedirs(arguments.traces, exist_ok=True)
    traces = {}
    for name in names:
        path = os.path.join(arguments.traces, name + (".quick" if arguments.quick else "") + ".trace")
        if arguments.again or not os.path.exists(path):
            say(f"recording {name}")
            try:
                record_one(arguments, name, path)
            except (workloads.Missing, subprocess.TimeoutExpired) as why:
                say(f"{name} is left out: {why}")
                continue
        traces[name] = path
    return traces


# ---- Replaying -------------------------------------------------------------------------------------------------------


def replay(arguments, trace, name, path, warm_mib=0):
    """The figures of one replay, right after as much memory was touched, after checking who served it."""
    tool = os.path.join(os.path.dirname(os.path.abspath(arguments.programs)), "trace", "pmdalloc-replay")
    command = [os.path.join(arguments.programs, "watch"), "--out", "/dev/null", "--warm-mib", str(warm_mib),
               *(["--preload", path] if path else []), "--", tool, "--json", "--threads", arguments.threads, "--touch",
               arguments.touch, trace]
    done = subprocess.run(command, env=allocators.environment(None), capture_output=True, text=True,
                          timeout=REPLAY_SECONDS)
    if done.returncode:
        sys.exit(f"{trace} under {name}: status {done.returncode}: {done.stderr.strip()}")
    (figures,) = json.loads(done.stdout)
    if not allocators.serves(path, figures["allocator"]):
        sys.exit(f"{name} did not serve the replay: {figures['allocator']}")
    figures.setdefault("touched_ns", figures["ns"])
    return figures


def measure(arguments, traces, paths):
    """runs[program][allocator]: the figures of each round."""
    runs = {t: {a: [] for a in paths} for t in traces}
    first = next(iter(paths))
    warm = {t: replay(arguments, trace, first, paths[first])["rss_peak_kb"] * 5 // 4096 + 1
            for t, trace in traces.items()}
    for r in range(arguments.rounds):
        for i, (program, trace) in enumerate(traces.items()):
            for name in allocators.rotated(paths, r + i):
                runs[program][name].append(replay(arguments, trace, name, paths[name], warm[program]))
            say(f"round {r + 1} of {arguments.rounds}: {program}")
    return runs


def medians_of(runs):
    return {p: {a: {f: allocators.statistics.median(x[f] for x in figures) for f, _, _ in FIGURES}
                for a, figures in by.items()} for p, by in runs.items()}


def report(runs, medians, names):
    for program, by in medians.items():
        facts = runs[program][names[0]][0]
        print(f"{program}: {facts['operations']} operations, {facts['threads']} threads, at most "
              f"{facts['live_peak_bytes'] / 1e6:.1f} MB live")
        rows = [[n, *(f"{by[n][f] / unit:.{3 if f == 'fragmentation' else 1 if unit > 1 else 0}f}"
                      for f, _, unit in FIGURES)] for n in names]
        allocators.table(["", *(head for _, head, _ in FIGURES)], rows)
        print()


def ratio(value, reference):
    """At least 1 of each, as counts can be 0."""
    return max(value, 1) / max(reference, 1)


def report_ratios(medians, names, reference):
    print(f"ratio to {reference}, geometric mean of {len(medians)} programs")
    rows = []
    for name in names:
        means = [allocators.geometric_mean([ratio(by[name][f], by[reference][f]) for by in medians.values()])
                 for f in RATIOS]
        rows.append([name, *(f"{m:.3f}" for m in means)])
    heads = {f: head.split(" MB")[0].split(" kB")[0] for f, head, _ in FIGURES}
    heads.update(touched_ns="time", ns="time untouched")
    allocators.table(["", *(heads[f] for f in RATIOS)], rows)


def arguments_of():
    p = allocators.parser(__doc__)
    p.add_argument("--rounds", type=int, default=5, help="how often everything is replayed (default 5)")
    p.add_argument("--traces", default="traces", metavar="FOLDER", help="where traces are kept (default traces)")
    p.add_argument("--source", default=os.path.dirname(os.path.dirname(os.path.abspath(__file__))),
                   help="the project's sources, which gcc compiles and git keeps")
    p.add_argument("--record", metavar="NAMES", default=",".join(PROGRAMS), help="which programs (commas between)")
    p.add_argument("--again", action="store_true", help="record anew what was recorded already")
    p.add_argument("--record-only", action="store_true", help="record, replay nothing")
    p.add_argument("--threads", choices=("single", "recorded"), default="recorded", help="(default recorded)")
    p.add_argument("--touch", choices=("none", "pages", "all"), default="pages", help="(default pages)")
    p.add_argument("--huge-pages", choices=("as-they-come", "off"), default="as-they-come",
                   help="as the allocators ask for them (default), or for none")
    p.add_argument("--quick", action="store_true", help="a tenth of the work, two rounds")
    arguments = p.parse_args()
    unknown = set(arguments.record.split(",")) - set(PROGRAMS)
    if unknown:
        p.error(f"unknown programs: {' '.join(sorted(unknown))}")
    if arguments.quick:
        arguments.rounds = min(arguments.rounds, 2)
    arguments.source = os.path.abspath(arguments.source)
    return arguments


def main():
    arguments = arguments_of()
    traces = record(arguments, arguments.record.split(","))
    if not traces:
        sys.exit("no program could be recorded")
    if arguments.record_only:
        return 0
    allocators.warn_if_busy()
    paths = allocators.chosen(arguments)
    machine.huge_pages(arguments.huge_pages != "off")
    runs = measure(arguments, traces, paths)
    medians = medians_of(runs)
    names = list(paths)
    report(runs, medians, names)
    report_ratios(medians, names, allocators.REFERENCE if allocators.REFERENCE in paths else names[0])
    if arguments.json:
        with open(arguments.json, "w", encoding="utf-8") as out:
            json.dump({"machine": machine.describe(), "versions": machine.versions(paths, allocators.OURS),
                       "huge_pages": arguments.huge_pages, "allocators": paths, "medians": medians, "runs": runs},
                      out, indent=1)
            out.write("\n")
    return 0


if __name__ == "__main__":
    allocators.run(main)
