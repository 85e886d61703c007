# SPDX-License-Identifier: MIT
"""
What the report draws beside the benchmarks' times: memory and page tables while a program goes through phases, and long
after a free; how long an exit takes; how long calls of malloc and free take while another thread gives memory back.
"""

import concurrent.futures
import subprocess
import time

import allocators
import machine
import variants
from measures import program, say

SAMPLE_SECONDS = 0.1
EXIT_MIB = (16, 64, 256, 1024, 4096)
QUICK_EXIT_MIB = (16, 128, 512)
JOB_MIB = 700  # what a program that is not timed takes at most
FILLING = 4096  # MiB that children in all are filled with in one measure of exits


def status_mib(process):
    """Resident memory and page tables; None when the process has ended."""
    try:
        with open(f"/proc/{process}/status", encoding="ascii") as f:
            fields = dict(line.split(":", 1) for line in f)
        return int(fields["VmRSS"].split()[0]) / 1024, int(fields["VmPTE"].split()[0])
    except (OSError, KeyError):
        return None


def watch(command, variant):
    """[seconds, RSS in MiB, VmPTE in KiB] while COMMAND runs."""
    samples, start = [], time.monotonic()
    with subprocess.Popen(command, env=variant.environment(), stdout=subprocess.PIPE, text=True) as process:
        while process.poll() is None:
            figures = status_mib(process.pid)
            if figures:
                samples.append([round(time.monotonic() - start, 2), *figures])
            time.sleep(SAMPLE_SECONDS)
        variants.parse(variant, process.stdout.read())
    return samples


def timeline(arguments, chosen):
    options = ["--mib", "64", "--idle-ms", "11000", "--work-ms", "1500", "--phases", "2"] if arguments.quick else ["--mib", "256"]
    command = [program(arguments, "timeline"), *options]
    return {v.name: lambda v=v: watch(command, v) for v in chosen}


def exits(arguments, chosen, sizes):
    """Milliseconds until a process's parent is told, by the size of its heap."""
    seen = {v.name: [] for v in chosen}
    for mib in (s for s in sizes if s < machine.available_mib() // 2):
        rounds = max(3, min(20, FILLING // mib // (8 if arguments.quick else 1)))
        options = {"mib": mib, "rounds": rounds, "how": "exit", "block": 4096}
        for variant in chosen:
            figures = variants.run(program(arguments, "exit"), variant, options)
            seen[variant.name].append([mib, figures["gone_p50"] / 1e6])
        say(f"exits of processes with {mib} MiB")
    return seen


def latencies(arguments, chosen):
    """Of malloc and of free: pairs of a share and the nanoseconds that it did not exceed."""
    options = {"by": "other", "phase-mib": 64 if arguments.quick else 512, "rounds": 1 if arguments.quick else 3}
    if arguments.quick:
        options["window-ms"] = 300
    seen = {"malloc": {}, "free": {}}
    for variant in chosen:
        figures = variants.run(program(arguments, "latency"), variant, options)
        for call, by in seen.items():
            by[variant.name] = figures[f"{call}_curve"]
        say(f"latencies under {variant.name}")
    return seen


def side_by_side(jobs):
    """The results of what is not timed, as many at once as there is memory for: name to function."""
    at_once = max(1, min(len(jobs), machine.available_mib() // JOB_MIB))
    with concurrent.futures.ThreadPoolExecutor(at_once) as pool:
        running = {name: pool.submit(job) for name, job in jobs.items()}
        return {name: future.result() for name, future in running.items()}


def print_after(after):
    for bench, by in after.items():
        rows = [[n, f"{f['after_rss_mib']:.1f}", f"{f['after_pte_kib']:.0f}"] for n, f in by.items()]
        allocators.table([f"{bench}, 12 s later", "RSS MiB", "VmPTE KiB"], rows)
        print()


def print_exits(seen):
    sizes = [mib for mib, _ in next(iter(seen.values()))]
    allocators.table(["ms until the parent is told", *(f"{mib} MiB" for mib in sizes)],
                     [[n, *(f"{ms:.2f}" for _, ms in by)] for n, by in seen.items()])
    print()


def measure(arguments, paths, results, after, run):
    """Adds to RESULTS what there is to draw. AFTER: the benchmarks of memory after a free; RUN runs one."""
    chosen = [variants.Variant(name, path) for name, path in paths.items()]
    jobs = {(b, v.name): lambda f=full, v=v: run(arguments.program, f, v.path, 1) for b, full in after for v in chosen}
    wanted = not arguments.no_curves
    if wanted:
        jobs.update({("timeline", name): job for name, job in timeline(arguments, chosen).items()})
    if jobs:
        say("memory through phases and after a free: a minute")
        found = side_by_side(jobs)
        results["curves"]["after"] = {b: {v.name: found[b, v.name] for v in chosen} for b, _ in after}
        print_after(results["curves"]["after"])
    if not wanted:
        return
    results["curves"]["timeline"] = {v.name: found["timeline", v.name] for v in chosen}
    results["curves"]["exit_ms"] = exits(arguments, chosen, QUICK_EXIT_MIB if arguments.quick else EXIT_MIB)
    print_exits(results["curves"]["exit_ms"])
    results["curves"]["latency_ns"] = latencies(arguments, chosen)
