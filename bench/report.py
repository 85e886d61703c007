#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The report of `make bench`: one file of HTML that needs no other, with plots, and the table of the README."""

import argparse
import html
import json
import re
import sys

sys.dont_write_bytecode = True
import allocators  # noqa: E402
import plots  # noqa: E402

OURS = allocators.OURS
STYLE = """
body { font: 15px/1.45 sans-serif; margin: 2em auto; max-width: 75em; padding: 0 1em; color: #222 }
table { border-collapse: collapse; margin: 1em 0; font-size: 13px }
th, td { padding: 2px 9px; text-align: right; border-bottom: 1px solid #ddd }
th:first-child, td:first-child { text-align: left }
tr:last-child td { font-weight: bold }
td.best { background: #e2f0d9 } td.ours { background: #eaf2fa } td.best.ours { background: #cfe8cf }
small { color: #666 } svg { display: block; margin: 1em 0; max-width: 100%; height: auto }
"""


def text(value):
    return html.escape(str(value))


def table(head, rows, columns=()):
    """COLUMNS: which allocator each column but the first is of; the smallest number of a row is marked."""
    out = ["<table><tr>" + "".join(f"<th>{text(h)}</th>" for h in head) + "</tr>"]
    for row in rows:
        numbers = [c[0] for c in row[1:] if isinstance(c, tuple)]
        cells = [f"<td>{text(row[0])}</td>"]
        for i, cell in enumerate(row[1:]):
            classes = ["ours"] if i < len(columns) and columns[i] == OURS else []
            shown = cell
            if isinstance(cell, tuple):
                shown = cell[1]
                classes += ["best"] if cell[0] == min(numbers) else []
            cells.append(f'<td class="{" ".join(classes)}">{shown}</td>')
        out.append("<tr>" + "".join(cells) + "</tr>")
    return "\n".join(out) + "</table>"


# ---- Tables --------------------------------------------------------------------------------------------------------


def family_table(figures, names, title):
    rows = [[f, *((v[n], f"{v[n]:.3f}") for n in names)] for f, v in figures["families"].items()]
    mean, interval = figures["geometric_mean"], figures["geometric_mean_interval_95"]
    rows.append(["geometric mean", *((mean[n], f"{mean[n]:.3f}<br><small>{low:.3f}-{high:.3f}</small>")
                                     for n, (low, high) in ((n, interval[n]) for n in names))])
    return table([title, *names], rows, names)


def duration(nanoseconds):
    for unit, name in ((1e9, "s"), (1e6, "ms"), (1e3, "µs")):
        if nanoseconds >= unit:
            return f"{nanoseconds / unit:.3g} {name}"
    return f"{nanoseconds:.3g} ns"


def interval_rows(figures, names, ratio, show, digits):
    """A row for each benchmark, and an empty one: median, spread, and RATIO with its interval, to so many DIGITS."""
    rows = []
    for bench, medians in figures["median"].items():
        row = [bench]
        for n in names:
            low, high = figures["ratio_interval_95"][bench][n]
            row.append((medians[n], f"{show(medians[n])} ±{figures['spread_percent'][bench][n]:.{digits}f} %<br><small>"
                        f"{figures[ratio][bench][n]:.{digits + 2}f} [{low:.{digits + 2}f}, {high:.{digits + 2}f}]</small>"))
        rows.append(row)
    return rows + [[""] * (len(names) + 1)]


def single_table(figures, names, show):
    rows = interval_rows(figures, names, "ratio", show, 0)
    return table(["an operation", *names], rows, names)


def counters_table(runs, counter, names, unit):
    rows = []
    for bench, by in runs.items():
        if all(by[n] and counter in by[n][0] for n in names):
            middles = [allocators.statistics.median(f[counter] for f in by[n]) for n in names]
            rows.append([bench, *((m, f"{m:.4g}") for m in middles)])
    return f"<p>{text(unit)}</p>" + table([counter, *names], rows + [[""] * (len(names) + 1)], names) if rows else ""


COUNTERS = {"crowd_rss_mib": "A thousand threads with ten blocks of each class: MiB resident while all live",
            "overhead": "Fragmentation: resident memory over what is alive",
            "parent_faults": "Pages that a parent writes to while a child lives, for each child",
            "realloc_ms": "Growth to 1 GiB: milliseconds in realloc alone",
            "pte_kib": "Page tables at the end of a run, KiB",
            "faults": "Page faults for each operation"}


# ---- Plots ---------------------------------------------------------------------------------------------------------


def scaling(figures, names):
    points = {n: [] for n in names}
    for bench, medians in figures["median"].items():
        found = re.fullmatch(r"scale/(\d+)", bench)
        for n in names if found else ():
            points[n].append([int(found.group(1)), 1e3 / medians[n]])
    return {n: sorted(p) for n, p in points.items() if p}


def tails(by):
    """Quantiles as the share of calls that take longer."""
    return {n: [[max(ns, 1), 1 - share] for share, ns in curve] for n, curve in by.items()}


def speed_plots(results):
    names = list(results["allocators"])
    for i, (policy, figures) in enumerate(results["passes"].items()):
        for kind, what in (("time_ns", "Time"), ("rss_peak_mib", "Peak RSS")):
            families = figures[kind]["families"]
            yield plots.bars(f"{kind}{i}", f"{what} by family, huge pages {policy}", f"ratio to {results['reference']}",
                             list(families), names, families, OURS)
        points = scaling(figures["time_ns"], names)
        if points and all(len(p) > 1 for p in points.values()):
            yield plots.lines(f"scale{i}", f"Scaling by threads, {results['machine']['cpus']} CPUs, huge pages {policy}",
                              ("threads", "million replacements a second"), points, OURS, "x 2", ["set yrange [0:*]"])


def curve_plots(curves):
    timeline = curves.get("timeline", {})
    if timeline:
        axes = ("seconds", "MiB"), ("seconds", "KiB")
        yield plots.lines("rss", "Resident memory through phases", axes[0],
                          {n: [[s, rss] for s, rss, _ in v] for n, v in timeline.items()}, OURS)
        yield plots.lines("pte", "Page tables (VmPTE) through phases", axes[1],
                          {n: [[s, pte] for s, _, pte in v] for n, v in timeline.items()}, OURS)
    if curves.get("exit_ms"):
        yield plots.lines("exit", "Exit: milliseconds until the parent is told", ("MiB in the heap", "ms"),
                          curves["exit_ms"], OURS, "xy")
    for call, by in curves.get("latency_ns", {}).items():
        yield plots.lines(call, f"Latency of {call} while another thread frees everything",
                          ("ns", "share of calls that take longer"), tails(by), OURS, "xy",
                          ['set format y "%g"'])


def all_plots(results):
    if not plots.available():
        return ["<p>No plots: gnuplot is not installed (Debian: gnuplot-nox).</p>"]
    return [*speed_plots(results), *curve_plots(results["curves"])]


# ---- The page ------------------------------------------------------------------------------------------------------


def where(results):
    m = results["machine"]
    return (f"{m['cpu']}, {m['cpus']} CPUs, {m['memory_mib']} MiB, Linux {m['kernel']}, huge pages \"{m['thp']}\", "
            f"{m['libc']}; {results['date']}")


def what(results):
    return ", ".join(f"{n} {v}" for n, v in results["versions"].items())


def after_table(curves, names):
    rows = [[f"{bench}: {kind}", *((max(by[n][key], 0), f"{by[n][key]:.1f}") for n in names)]
            for bench, by in curves.get("after", {}).items()
            for key, kind in (("after_rss_mib", "RSS, MiB"), ("after_pte_kib", "VmPTE, KiB"))]
    return table(["256 MiB freed, 12 s later", *names], rows + [[""] * (len(names) + 1)], names) if rows else ""


PROGRAM_FIGURES = (("ns", "time (redis: of a request)", duration),
                   ("rss_pte_kib", "peak RSS + VmPTE, MiB", lambda v: f"{v / 1024:.1f}"),
                   ("rss_kib", "peak RSS, MiB", lambda v: f"{v / 1024:.1f}"),
                   ("pte_kib", "peak VmPTE, KiB", lambda v: f"{v:.0f}"),
                   ("rss_pte_mean_kib", "average RSS + VmPTE, MiB", lambda v: f"{v / 1024:.1f}"),
                   ("cpu_ns", "processor time of all", duration))


def best_table(figures, names, what, show):
    return table([what, *names], interval_rows(figures, names, "ratio_to_best_other", show, 1), names)


def programs_section(programs, names):
    out = ["<h2>Real programs</h2><p>Whole programs with the library preloaded, and all processes that they start: "
           "medians of interleaved rounds, each after a warm-up of as much memory. Memory is looked at every "
           "millisecond, in rounds that are not timed; pages that several processes share count for each. Ratios are to the best "
           "of the row but pmdalloc.</p>"]
    for policy, figures in programs.items():
        out.append(f"<h3>Huge pages: {text(policy)}</h3>")
        out += [best_table(figures[key], names, what, show) for key, what, show in PROGRAM_FIGURES]
    return out


def page(results):
    names = list(results["allocators"])
    out = ["<!DOCTYPE html><html lang=en><meta charset=utf-8><title>pmdalloc: benchmarks</title>",
           f"<style>{STYLE}</style><h1>pmdalloc: benchmarks</h1>",
           f"<p>{text(where(results))}.<br>{text(what(results))}.",
           f"<br>Medians of {results['rounds']} interleaved rounds (of one, where a quick run would "
           "take too long), each in a fresh process after a warm-up; ± is half the distance between the quartiles; "
           f"brackets are 95 % confidence intervals of the ratio to {text(results['reference'])}, by the bootstrap. "
           "The smallest figure of a row is green.</p>"]
    for policy, figures in results["passes"].items():
        out.append(f"<h2>Huge pages: {text(policy)}</h2>")
        out.append(family_table(figures["time_ns"], names, f"time / {results['reference']}'s"))
        out.append(family_table(figures["rss_peak_mib"], names, f"peak RSS / {results['reference']}'s"))
    if results["passes"] or results["curves"]:
        out.append("<h2>Plots</h2>")
        out += all_plots(results)
        out.append(after_table(results["curves"], names))
    if results.get("programs"):
        out += programs_section(results["programs"], names)
    for policy, figures in results["passes"].items():
        out.append(f"<h2>All benchmarks, huge pages {text(policy)}</h2>")
        out.append(single_table(figures["time_ns"], names, duration))
        out.append("<h3>Peak RSS, MiB</h3>")
        out.append(single_table(figures["rss_peak_mib"], names, lambda v: f"{v:.1f}"))
        out += [counters_table(figures["runs"], c, names, unit) for c, unit in COUNTERS.items()]
    return "\n".join(out) + "</html>\n"


def write(path, results):
    with open(path, "w", encoding="utf-8") as out:
        out.write(page(results))


def write_markdown(path, results):
    """Families by allocator: time, and its mean, then memory's."""
    names = list(results["allocators"])
    policy, figures = next(iter(results["passes"].items()), (None, None))
    if not figures:
        return
    times, memory = figures["time_ns"], figures["rss_peak_mib"]
    rows = [[f, *(f"{v[n]:.2f}" for n in names)] for f, v in times["families"].items()]
    rows.append(["**time, geometric mean**", *(f"**{times['geometric_mean'][n]:.2f}**" for n in names)])
    rows.append(["**peak RSS, geometric mean**", *(f"**{memory['geometric_mean'][n]:.2f}**" for n in names)])
    lines = [f"Ratios to {results['reference']}, huge pages {policy}. {where(results)}. {what(results)}.", "",
             "| " + " | ".join(["", *names]) + " |", "|" + " --- |" * (len(names) + 1)]
    lines += ["| " + " | ".join(row) + " |" for row in rows]
    with open(path, "w", encoding="utf-8") as out:
        out.write("\n".join(lines) + "\n")


def write_programs_markdown(path, results):
    """Programs by allocator: time and, after a slash, peak RSS + VmPTE."""
    names = list(results["allocators"])
    policy, figures = next(iter(results["programs"].items()))
    lines = [f"Time / the most RSS + VmPTE in MiB, huge pages {policy}. {where(results)}. {what(results)}.", "",
             "| " + " | ".join(["", *names]) + " |", "|" + " --- |" * (len(names) + 1)]
    for program, medians in figures["ns"]["median"].items():
        memory = figures["rss_pte_kib"]["median"][program]
        cells = [f"{duration(medians[n])} / {memory[n] / 1024:.1f}" for n in names]
        lines.append("| " + " | ".join([program, *cells]) + " |")
    with open(path, "w", encoding="utf-8") as out:
        out.write("\n".join(lines) + "\n")


def merge(into, more):
    """Adds the entries of MORE and, where both have one, those of the entries."""
    for key, value in more.items():
        if isinstance(value, dict) and isinstance(into.get(key), dict):
            merge(into[key], value)
        else:
            into[key] = value


def merged(files):
    """One result of several runs, of different benchmarks; of what several have, the last."""
    results = None
    for file in files:
        with open(file, encoding="utf-8") as f:
            more = json.load(f)
        if results is None:
            results = more
            continue
        results["curves"].update({k: v for k, v in more["curves"].items() if v})
        merge(results.setdefault("programs", {}), more.get("programs", {}))
        for policy, figures in more["passes"].items():
            results["passes"].setdefault(policy, {"runs": {}})["runs"].update(figures["runs"])
    return results


def main():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("json", nargs="+", help="what compare.py wrote")
    p.add_argument("--html", metavar="FILE", default="bench-report.html", help="(default bench-report.html)")
    p.add_argument("--markdown", metavar="FILE", help="write the table of the README")
    p.add_argument("--programs-markdown", metavar="FILE", help="write a table of the real programs")
    p.add_argument("--merged", metavar="FILE", help="write all of it as one file of JSON")
    arguments = p.parse_args()
    results = merged(arguments.json)
    if len(arguments.json) > 1:
        import compare  # noqa: E402 (it imports this)
        for figures in results["passes"].values():
            times, memory = compare.summarize(figures["runs"], results["reference"])
            figures.update(time_ns=times.as_json(), rss_peak_mib=memory.as_json())
    write(arguments.html, results)
    if arguments.markdown:
        write_markdown(arguments.markdown, results)
    if arguments.programs_markdown and results.get("programs"):
        write_programs_markdown(arguments.programs_markdown, results)
    if arguments.merged:
        with open(arguments.merged, "w", encoding="utf-8") as out:
            json.dump(results, out, indent=1)
            out.write("\n")
    return 0


if __name__ == "__main__":
    allocators.run(main)
