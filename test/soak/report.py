# SPDX-License-Identifier: MIT
"""The curves of a run, by gnuplot, and what the threads of a process that hangs are at."""

import os
import sys

import watch

sys.path.append(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "bench"))
import plots  # noqa: E402

AXES = {
    "rss_kb": ("Resident memory", "MiB", 1 / 1024),
    "pte_kb": ("Page tables", "kB", 1),
    "vmas": ("Mappings", "", 1),
    "descriptors": ("Descriptors", "", 1),
    "threads": ("Threads", "", 1),
}
MOST_POINTS = 2000
MARKS = ("full", "empty")  # the phases that are points of a cycle


def points(rows, figure, scale):
    step = max(1, len(rows) // MOST_POINTS)
    return [(round(r["seconds"] / 60, 3), round(r[figure] * scale, 3)) for r in rows[::step]]


def draw(out, name, title, unit, series):
    some = {n: s for n, s in series.items() if s}
    svg = plots.lines("soak_" + name.replace("-", "_"), title, ("minutes", unit), some, "")
    with open(os.path.join(out, f"{name}.svg"), "w", encoding="utf-8") as f:
        f.write(svg)


def curves(rows, out, steady, say):
    """A file for each figure: the STEADY services at the points of their cycles; and one for each service: its memory."""
    if not plots.available():
        say("no curves: gnuplot is not installed")
        return
    own = {n: [r for r in rows if r["service"] == n] for n in sorted({r["service"] for r in rows})}
    for figure, (title, unit, scale) in AXES.items():
        series = {f"{n}, {m}": points([r for r in own.get(n, ()) if r["phase"] == m], figure, scale)
                  for n in steady for m in MARKS}
        if any(series.values()):
            draw(out, figure.removesuffix("_kb"), title, unit, series)
    title, unit, scale = AXES["rss_kb"]
    for name, samples in own.items():
        draw(out, name, f"{title} of {name}", unit, {name: points(samples, "rss_kb", scale)})


def threads(pids, path):
    """Where each thread of PIDS waits, as far as the kernel tells."""
    with open(path, "w", encoding="utf-8") as out:
        for pid in pids:
            for thread in sorted(os.listdir(f"/proc/{pid}/task")):
                for name in ("comm", "wchan", "syscall", "stack"):
                    try:
                        text = watch.read(f"/proc/{pid}/task/{thread}/{name}").strip()
                    except OSError as error:
                        text = str(error)
                    out.write(f"{pid} {thread} {name}: {text}\n")
