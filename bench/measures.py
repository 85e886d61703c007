# SPDX-License-Identifier: MIT
"""Runners that consist of several measures, each a function that returns its results and one that judges them."""

import json
import os
import sys

import allocators


def say(text):
    print(text, file=sys.stderr, flush=True)


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
