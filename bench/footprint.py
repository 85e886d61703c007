#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What allocators keep: memory, page tables and mappings after much was freed; and what an idle program costs."""

import json
import mmap
import os
import signal
import subprocess
import sys
import time

sys.dont_write_bytecode = True
import allocators  # noqa: E402

RSS_BAR_KB = 8 * 1024
PTE_BAR_KB = 64
MAPPINGS_BAR = 8
METADATA_BAR = 0.005
IDLE_RSS_BAR_KB = 200
START_BAR_US = 100


def warm(mib):
    """Lets the machine fetch, in a process that ends, the memory that the measured one will use."""
    pid = os.fork()
    if pid == 0:
        memory = mmap.mmap(-1, mib << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        for at in range(0, mib << 20, 4096):
            memory[at] = 1
        os._exit(0)
    os.waitpid(pid, 0)


def run_footprint(arguments, name, path, freed, threads):
    """The program's lines: moment to figures."""
    warm(arguments.mib * 5 // 4)
    variables = allocators.environment(path)
    if arguments.quick and name == allocators.OURS:
        variables["PMDALLOC_CONF"] = "decay_ms:1000"
    command = [os.path.join(arguments.programs, "footprint"), "--mib", str(arguments.mib), "--wait",
               str(arguments.wait), "--freed", str(freed), "--threads", str(threads)]
    done = subprocess.run(command, env=variables, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(command)} under {name}: status {done.returncode}: {done.stderr.strip()}")
    lines = dict(line.split("\t", 1) for line in done.stdout.splitlines())
    if not allocators.serves(path, lines.pop("allocator")):
        sys.exit(f"{name} did not serve the program")
    return {moment: [int(x) for x in figures.split("\t")] for moment, figures in lines.items()}


def print_footprint(title, runs):
    print(title)
    moments = ("start", "peak", "freed", "end")
    head = ["", *(f"{what} {m}" for what in ("RSS", "PTE") for m in moments), "mappings"]
    rows = [[n, *(r[m][0] for m in moments), *(r[m][1] for m in moments), r["end"][2]] for n, r in runs.items()]
    allocators.table(head, rows)
    print()


def status_kb(pid, field):
    with open(f"/proc/{pid}/status", encoding="utf-8") as status:
        for line in status:
            if line.startswith(field + ":"):
                return int(line.split()[1])
    return 0


def idle_once(program, name, path):
    """VmRSS, VmPTE and the number of mappings of an idle program, after checking who serves it."""
    with subprocess.Popen([program, "wait"], env=allocators.environment(path), stdout=subprocess.PIPE) as child:
        child.stdout.read(1)
        time.sleep(0.02)
        with open(f"/proc/{child.pid}/maps", encoding="utf-8") as maps:
            lines = maps.read().splitlines()
        if path and not any(line.endswith(" " + os.path.realpath(path)) for line in lines):
            sys.exit(f"{name} did not serve {program}")
        figures = status_kb(child.pid, "VmRSS"), status_kb(child.pid, "VmPTE"), len(lines)
        child.send_signal(signal.SIGKILL)
    return figures


def idle(program, paths, rounds):
    """Medians of idle_once for each allocator."""
    seen = {n: [] for n in paths}
    for r in range(rounds):
        for name in allocators.rotated(paths, r):
            seen[name].append(idle_once(program, name, paths[name]))
    return {n: [allocators.statistics.median(column) for column in zip(*v)] for n, v in seen.items()}


def start_once(program, variables):
    begin = time.perf_counter_ns()
    pid = os.posix_spawn(program, [program], variables)
    _, status = os.waitpid(pid, 0)
    taken = time.perf_counter_ns() - begin
    if status:
        sys.exit(f"{program}: status {status}")
    return taken / 1000


def start_up(program, paths, rounds):
    """Median microseconds from spawn to exit for each allocator."""
    variables = {n: allocators.environment(path) for n, path in paths.items()}
    seen = {n: [] for n in paths}
    for r in range(rounds):
        for name in allocators.rotated(paths, r):
            seen[name].append(start_once(program, variables[name]))
    return {n: allocators.statistics.median(v) for n, v in seen.items()}


def bars(results):
    """Everything the project promises of the figures at hand."""
    ours = allocators.OURS
    found = []
    for title, runs in results["footprint"].items():
        mine = runs[ours]
        if title.startswith("all freed"):
            found.append((f"{title}: RSS above the start, kB", mine["end"][0] - mine["start"][0], RSS_BAR_KB))
            found.append((f"{title}: VmPTE above the start, kB", mine["end"][1] - mine["start"][1], PTE_BAR_KB))
            found.append((f"{title}: metadata / heap at the peak", mine["metadata"][0] / mine["metadata"][1],
                          METADATA_BAR))
            if "glibc" in runs:
                found.append((f"{title}: mappings more than glibc", mine["end"][2] - runs["glibc"]["end"][2],
                              MAPPINGS_BAR))
        else:
            peers = [r["end"][0] for n, r in runs.items() if n != ours]
            if peers:
                found.append((f"{title}: RSS, kB, against the lowest peer", mine["end"][0], min(peers) - 1))
    if "glibc" in results["idle"]:
        rss, _, mappings = (a - b for a, b in zip(results["idle"][ours], results["idle"]["glibc"]))
        found.append(("idle: RSS more than glibc, kB", rss, IDLE_RSS_BAR_KB))
        found.append(("idle: mappings more than glibc", mappings, MAPPINGS_BAR))
        start = results["start_us"]
        found.append(("start-up longer than glibc, us", start[ours] - start["glibc"], START_BAR_US))
    return found


def measure(arguments, paths):
    program = os.path.join(arguments.programs, "idle")
    results = {"footprint": {}}
    results["idle"] = idle(program, paths, 11)
    results["start_us"] = start_up(program, paths, arguments.starts)
    print("a program that does nothing (kB; microseconds from spawn to exit)")
    allocators.table(["", "RSS", "PTE", "mappings", "start-up"],
                     [[n, *map(int, results["idle"][n]), f"{results['start_us'][n]:.0f}"] for n in paths])
    print()
    for freed, threads in ((100, 0), (100, 2), (99, 0)):
        title = f"{'all' if freed == 100 else f'{freed} %'} freed, {threads or 'no'} other threads"
        runs = {n: run_footprint(arguments, n, path, freed, threads) for n, path in paths.items()}
        print_footprint(f"{arguments.mib} MiB of 16 B to 4 KiB, {title}, {arguments.wait} s later (kB)", runs)
        results["footprint"][title] = runs
    return results


def main():
    p = allocators.parser(__doc__)
    p.add_argument("--mib", type=int, default=2048, help="memory to fill (default 2048)")
    p.add_argument("--wait", type=int, default=12, help="seconds of sleep after the free (default 12)")
    p.add_argument("--starts", type=int, default=300, help="how often start-up is timed (default 300)")
    p.add_argument("--quick", action="store_true", help="256 MiB, 2 s, 100 starts, and pmdalloc with decay_ms:1000")
    arguments = p.parse_args()
    if arguments.quick:
        arguments.mib, arguments.wait, arguments.starts = 256, 2, 100
    arguments.programs = os.path.abspath(arguments.programs)
    allocators.warn_if_busy()
    paths = allocators.chosen(arguments)
    results = measure(arguments, paths)
    if arguments.json:
        with open(arguments.json, "w", encoding="utf-8") as out:
            json.dump(results, out, indent=1)
            out.write("\n")
    if allocators.OURS not in paths:
        return 0
    return 1 if not allocators.judge(bars(results)) and arguments.check else 0


if __name__ == "__main__":
    allocators.run(main)
