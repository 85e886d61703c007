# SPDX-License-Identifier: MIT
"""Plots as SVG, by gnuplot."""

import re
import shutil
import subprocess

COLOURS = ("#7f7f7f", "#d62728", "#2ca02c", "#9467bd", "#ff7f0e", "#8c564b", "#e377c2", "#17becf", "#bcbd22")
OURS_COLOUR = "#1f77b4"
SIZE = "860,420"


def available():
    return shutil.which("gnuplot") is not None


def colour(index, ours):
    return OURS_COLOUR if ours else COLOURS[index % len(COLOURS)]


def quoted(text):
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("_", "\\\\_") + '"'


def block(name, rows):
    """Data that a script brings along."""
    return [f"${name} << END", *(" ".join(str(x) for x in row) for row in rows), "END"]


def draw(identity, script):
    """The SVG that gnuplot makes of SCRIPT, ready to stand in a page; IDENTITY keeps its names apart from others'."""
    head = [f'set terminal svg size {SIZE} name "{identity}" font "sans-serif,12" background "white" enhanced',
            "set grid", "set key outside right top"]
    done = subprocess.run(["gnuplot"], input="\n".join(head + script) + "\n", capture_output=True, text=True)
    if done.returncode or "<svg" not in done.stdout:
        raise RuntimeError(f"gnuplot: {done.stderr.strip()}")
    svg = re.sub(r"^.*?(?=<svg)", "", done.stdout, flags=re.DOTALL)
    return svg.replace('"gnuplot_canvas"', f'"{identity}_canvas"')


def lines(identity, title, axes, series, ours, log="", extra=()):
    """SERIES: name to a list of points; AXES: the names of the two."""
    script = [f"set title {quoted(title)}", f"set xlabel {quoted(axes[0])}", f"set ylabel {quoted(axes[1])}", *extra]
    if log:
        script.append(f"set logscale {log}")
    curves = []
    for i, (name, points) in enumerate(series.items()):
        script += block(f"d{i}", points)
        width = 3 if name == ours else 1.5
        marks = "linespoints pt 7 ps 0.4" if len(points) < 40 else "lines"
        style = f"{marks} lw {width} lc rgb '{colour(i, name == ours)}'"
        curves.append(f"$d{i} using 1:2 with {style} title {quoted(name)}")
    return draw(identity, [*script, "plot " + ", ".join(curves)])


def bars(identity, title, label, groups, names, values, ours):
    """A cluster for each of GROUPS, in it a bar for each of NAMES; VALUES[group][name]; 1 is marked."""
    script = [f"set title {quoted(title)}", f"set ylabel {quoted(label)}", "set style data histogram",
              "set style histogram clustered gap 1", "set style fill solid 0.85 noborder", "set xtics rotate by -35",
              "set logscale y 2",
              "set arrow from graph 0, first 1 to graph 1, first 1 nohead lw 1.5"]
    script += block("d", [[quoted(g).replace("\\\\", ""), *(values[g][n] for n in names)] for g in groups])
    curves = [f"$d using {i + 2}:xtic(1) lc rgb '{colour(i, n == ours)}' title {quoted(n)}"
              for i, n in enumerate(names)]
    return draw(identity, [*script, "plot " + ", ".join(curves)])
