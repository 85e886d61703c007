# SPDX-License-Identifier: MIT
"""Runners that consist of several measures, each a function that returns its results and one that judges them."""

import json
import os
import sys
import time

import allocators


def say(text):
    print(text, file=sys.stderr, flush=True)


class Progress:
    """How far it is and how long it may still take, on the terminal's last line, or now and then a line of its own."""

    def __init__(self, total):
        self.total, self.done, self.start, self.said = total, 0, time.monotonic(), 0.0

    def leave_out(self, count):
        self.total -= count

    def step(self, what):
        self.done += 1
        now = time.monotonic()
        left = (now - self.start) / self.done * (self.total - self.done)
        text = f"{100 * self.done // self.total:3} %, {int(left) // 60}:{int(left) % 60:02} left: {what}"
        if sys.stderr.isatty():
            print(f"\r{text[:100]:100}", end="\n" if self.done == self.total else "", file=sys.stderr, flush=True)
        elif now - self.said > 10 or self.done == self.total:
            self.said = now
            say(text)


def program(arguments, name):
    return os.path.join(arguments.programs, name)


def parser(description, measures):
    """An argument parser with the options of all such runners; MEASURES: name to (measure, bars)."""
    p = allocators.parser(description)
    p.add_argument("--measures", default=",".join(measures), help="only these (commas between; default all)")
    p.add_argument("--rounds", type=int, default=5, help="how often what is timed is run (default 5)")
    return p


def parse(p, measures):
    arguments = p.parse_args()
    arguments.programs = os.path.abspath(arguments.programs)
    arguments.chosen = arguments.measures.split(",")
    unknown = set(arguments.chosen) - set(measures)
    if unknown:
        p.error(f"unknown measures: {' '.join(unknown)}")
    return arguments


def run(arguments, measures):
    """Measures, prints, judges. Returns the exit status."""
    allocators.warn_if_busy()
    paths = allocators.chosen(arguments)
    results, bars = {}, []
    for name in arguments.chosen:
        measure, bars_of = measures[name]
        results[name] = measure(arguments, paths)
        if allocators.OURS in paths:
            bars += bars_of(results[name])
        if arguments.json:  # after each: a long run that is stopped has not been for nothing
            with open(arguments.json, "w", encoding="utf-8") as out:
                json.dump(results, out, indent=1)
                out.write("\n")
    return 1 if not allocators.judge(bars) and arguments.check else 0
