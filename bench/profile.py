#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""
Where the instructions of each benchmark go under pmdalloc, by callgrind: the benchmark itself, the C library, and the
library's functions. What the kernel does (page faults) is not in them: kernel_percent of `make bench` tells its share.
"""

import collections
import os
import re
import subprocess
import sys
import tempfile

sys.dont_write_bytecode = True
import allocators  # noqa: E402
import compare  # noqa: E402
import instructions  # noqa: E402

TOP = 7
NO_THREAD = {"PMDALLOC_CONF": "background:off,handoff:off"}  # callgrind does not know how the library starts its own
LINE = re.compile(r"^\s*([\d,]+) \(\s*[\d.]+%\)\s+(\S+?):(.*?)(?: \[(.*)\])?$")


def own_costs(program, name, path, work):
    """(object, function) to instructions; nothing where callgrind cannot run it (more than 500 threads)."""
    out = os.path.join(work, "callgrind." + re.sub(r"\W", "-", name))
    done = subprocess.run(["valgrind", "--tool=callgrind", f"--callgrind-out-file={out}", program,
                           f"--benchmark_filter=^{name}$", "--benchmark_min_time=0.05"],
                          env={**allocators.environment(path), **NO_THREAD}, capture_output=True, text=True)
    if done.returncode:
        return collections.Counter()
    listed = subprocess.run(["callgrind_annotate", "--threshold=99.9", out], capture_output=True, text=True, check=True)
    costs = collections.Counter()
    for line in listed.stdout.splitlines():
        found = LINE.match(line)
        if found and found.group(4):
            function = found.group(3).split("'")[0]
            costs[os.path.basename(found.group(4)), function] += int(found.group(1).replace(",", ""))
    return costs


def split(costs, ours):
    """The benchmark's own, the C library's and ours; and our functions."""
    parts, functions = collections.Counter(), collections.Counter()
    for (file, function), cost in costs.items():
        if file == ours:
            parts["pmdalloc"] += cost
            functions[function] += cost
        elif file.startswith(("libc.so", "ld-linux")):
            parts["libc"] += cost
        else:
            parts["benchmark"] += cost
    return parts, functions


def row(name, costs, ours):
    parts, functions = split(costs, ours)
    total = sum(parts.values())
    if not total:
        return [name, "", "", "", "callgrind does not run it"]
    inside = sum(functions.values())
    named = ", ".join(f"{f} {100 * c / inside:.0f} %" for f, c in functions.most_common(TOP) if c > inside / 50)
    return [name, *(f"{100 * parts[p] / total:.0f} %" for p in ("benchmark", "libc", "pmdalloc")), named]


def main():
    p = allocators.parser(__doc__)
    p.add_argument("--bench", metavar="TEXT", action="append", help="only benchmarks whose name contains TEXT")
    arguments = p.parse_args()
    if not arguments.ours:
        p.error("--ours says which library is looked into")
    program = os.path.join(arguments.programs, "bench")
    texts = arguments.bench or [""]
    wanted = {b: f for b, f in compare.names_of(program).items()
              if not b.startswith(compare.MEMORY_ONLY) and any(t in b for t in texts)}
    ours = os.path.basename(os.path.realpath(arguments.ours))
    with tempfile.TemporaryDirectory(prefix="pmdalloc-profile.") as work:
        found = instructions.side_by_side({b: lambda f=f: own_costs(program, f, arguments.ours, work)
                                           for b, f in wanted.items()})
    allocators.table(["instructions", "benchmark", "libc", "pmdalloc", "of pmdalloc's"],
                     [row(b, costs, ours) for b, costs in found.items()])
    return 0


if __name__ == "__main__":
    allocators.run(main)
