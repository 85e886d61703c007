#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What the tests have executed: a table of the branches of each source file, and those that nobody took.

    coverage.py --source DIRECTORY --counters DIRECTORY --expected FILE OBJECT...

OBJECTS are the libraries and programs that were run; the first must hold most of the library. FILE has a line for each
function with branches that no test takes: the file, the function, how many at most, and why. What it does not list is
printed: some are taken only when two threads meet, so that is no failure. Fewer than LEAST_PERCENT of all is one.
"""
import argparse
import collections
import json
import os
import shutil
import subprocess
import sys
import tempfile

LEAST_PERCENT = 95  # of 95.8 to 96 that were seen: runs differ in which threads meet


def tool(name):
    for candidate in (name, name + "-14", name + "-19", name + "-16"):
        if shutil.which(candidate):
            return candidate
    sys.exit(f"coverage: {name} is not there: install Debian's llvm")


def export(args):
    """llvm-cov's JSON of all that the counters say."""
    with tempfile.NamedTemporaryFile(suffix=".profdata") as merged:
        raw = [entry.path for entry in os.scandir(args.counters) if entry.name.endswith(".profraw")]
        if not raw:
            sys.exit(f"coverage: no counters in {args.counters}: has a test been run?")
        subprocess.run([tool("llvm-profdata"), "merge", "-o", merged.name, *raw], check=True)
        objects = [word for more in args.objects[1:] for word in ("-object", more)]
        command = [tool("llvm-cov"), "export", "-instr-profile", merged.name, args.objects[0], *objects]
        return json.loads(subprocess.run(command, check=True, capture_output=True).stdout)


class Branches:
    """Of one file: how often each branch, which is a place and a direction, was taken, and in which function it is."""

    def __init__(self):
        self.taken = collections.Counter()
        self.function = {}

    def add(self, function, region):
        line, column = region[0], region[1]
        for way, count in (("true", region[4]), ("false", region[5])):
            self.taken[line, column, way] += count
            self.function[line, column, way] = function

    def left(self):
        return sorted(place for place, count in self.taken.items() if not count)


def collect(data, source):
    """{file: Branches}. A function is there once for each object that has it; the compiler's constants are no branches."""
    files = collections.defaultdict(Branches)
    for function in data["data"][0]["functions"]:
        path = os.path.relpath(function["filenames"][0], source)
        if not path.startswith("src/"):
            continue
        for region in function.get("branches", []):
            if region[7] == 0 or region[6] == 0:
                files[path].add(function["name"].split(":")[-1], region)
    return files


def read_expected(path):
    """{(file, function): (branches, why)}"""
    expected = {}
    with open(path, encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            if line.strip() and not line.startswith("#"):
                words = line.split(None, 3)
                if len(words) < 4 or not words[2].isdigit():
                    sys.exit(f"{path}:{number}: not 'FILE FUNCTION BRANCHES WHY'")
                expected[words[0], words[1]] = int(words[2]), words[3].strip()
    return expected


def print_table(files):
    total = taken = 0
    print(f"{'file':<32} {'branches':>8} {'taken':>6} {'%':>6}")
    for path in sorted(files):
        all_of_it, left = len(files[path].taken), len(files[path].left())
        total, taken = total + all_of_it, taken + all_of_it - left
        print(f"{path:<32} {all_of_it:>8} {all_of_it - left:>6} {100 * (all_of_it - left) / all_of_it:>6.1f}")
    percent = 100 * taken / total
    print(f"{'all':<32} {total:>8} {taken:>6} {percent:>6.1f}")
    return percent


def print_unexpected(files, expected):
    left = collections.defaultdict(list)
    for path, branches in files.items():
        for place in branches.left():
            left[path, branches.function[place]].append(place)
    for key in sorted(left.keys() | expected.keys()):
        most = expected.get(key, (0, ""))[0]
        if len(left[key]) > most:
            places = ", ".join(f"{line}:{column} {way}" for line, column, way in left[key])
            print(f"not taken: {key[0]} {key[1]} {len(left[key])} (expected {most}): {places}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--source", required=True)
    parser.add_argument("--counters", required=True)
    parser.add_argument("--expected", required=True)
    parser.add_argument("objects", nargs="+")
    args = parser.parse_args()
    files = collect(export(args), os.path.realpath(args.source))
    percent = print_table(files)
    print_unexpected(files, read_expected(args.expected))
    print(f"coverage: {percent:.1f} % of the branches of src/ are taken, {LEAST_PERCENT} % are wanted")
    return 0 if percent >= LEAST_PERCENT else 1


if __name__ == "__main__":
    sys.exit(main())
