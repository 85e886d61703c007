#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""
The test suites of real programs, with the malloc that they come with and under the library: each test must end the
same. The programs are Debian's own, as installed; the suites are those of the same versions' source packages (of
Python's there is a package).

A test whose result differs is run again, both ways: it fails when the result under the library was never one of those
without. What is fetched and built stays in --cache.
"""

import argparse
import concurrent.futures
import os
import queue
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

sys.dont_write_bytecode = True
import programs  # noqa: E402
from sources import Missing  # noqa: E402

AGAIN = 2  # how often what differs is run again
LIMIT = 1200  # seconds for a test
LAST_LINES = 30
LEAST_PASSED = 0.7  # of the tests


class Runner:
    """Runs a suite's tests, several at a time, each in a folder of its slot."""

    def __init__(self, arguments, suite, work):
        self.arguments, self.suite, self.work = arguments, suite, work
        self.slots = queue.Queue()
        for slot in range(arguments.jobs if suite.side_by_side else 1):
            self.slots.put(slot)
        self.library = os.path.join(work, os.path.basename(arguments.library))
        shutil.copy(arguments.library, self.library)
        os.chmod(self.library, 0o644)
        self.complaints = []
        self.ending = False
        self.running = set()

    def environment(self, ours):
        environment = {n: v for n, v in os.environ.items() if n not in ("LD_PRELOAD", "PMDALLOC_CONF")}
        environment.update({"LC_ALL": "C.UTF-8", "TZ": "UTC", **self.suite.environment})
        if ours:
            environment["LD_PRELOAD"] = self.library
            if self.arguments.conf:
                environment["PMDALLOC_CONF"] = self.arguments.conf
        return environment

    def run(self, unit, ours):
        """How UNIT ended, in the suite's own words, and the end of what it said."""
        slot = self.slots.get()
        if self.ending:
            sys.exit()
        folder = os.path.join(self.work, f"{self.suite.name}.{slot}")
        try:
            shutil.rmtree(folder, ignore_errors=True)
            os.makedirs(folder)
            self.suite.lay_out(folder)
            command, directory = self.suite.command(unit, folder, slot)
            status, text = self.execute(command, directory, self.environment(ours))
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            self.slots.put(slot)
        if ours and re.search(r"pmdalloc: |cannot be preloaded|ERROR: ld\.so", text):
            self.complaints.append(unit)
        return f"status {status}; {self.suite.result(text)}", text

    def execute(self, command, directory, environment):
        """Output goes to a file: what a test leaves behind may hold a pipe open."""
        with tempfile.TemporaryFile(dir=self.work) as out:
            process = subprocess.Popen(command, cwd=directory, env=environment, stdin=subprocess.DEVNULL, stdout=out,
                                       stderr=subprocess.STDOUT, start_new_session=True)
            self.running.add(process)
            try:
                status = process.wait(LIMIT)
            except subprocess.TimeoutExpired:
                status = "time is up"
            self.kill(process)
            process.wait()
            self.running.discard(process)
            out.seek(0)
            return status, out.read().decode(errors="replace")

    @staticmethod
    def kill(process):
        """And those that it has left."""
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass

    def end(self):
        """Nothing is run any more."""
        self.ending = True
        for process in list(self.running):
            self.kill(process)

    def compare(self, unit):
        """(unit, whether it is all right, whether it passes without the library, what to say about it)."""
        plain, ours = {self.run(unit, False)[0]}, set()
        text = ""
        for attempt in range(1 + AGAIN):
            if attempt:
                plain.add(self.run(unit, False)[0])
            result, text = self.run(unit, True)
            ours.add(result)
            if result in plain:
                always = len(plain | ours) == 1
                return unit, True, self.passes(plain), result if always else f"not always the same; {result}"
        tail = "\n".join(text.splitlines()[-LAST_LINES:])
        return unit, False, self.passes(plain), f"without: {plain}\nunder the library: {ours}\n{tail}"

    @staticmethod
    def passes(results):
        return any(r.startswith("status 0;") for r in results)

    def served(self, program):
        """Whether the loader says that the program's malloc is the library's."""
        environment = {**self.environment(True), "LD_DEBUG": "bindings", "LD_DEBUG_OUTPUT": f"{self.work}/bindings"}
        subprocess.run(program, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                       stderr=subprocess.DEVNULL, check=False)
        found = False
        for name in os.listdir(self.work):
            if name.startswith("bindings."):
                with open(os.path.join(self.work, name), encoding="utf-8", errors="replace") as f:
                    found = found or f"to {self.library} [0]: normal symbol `malloc'" in f.read()
        return found


def in_threads(runner, units):
    """How all UNITS compare, in their order. Who is interrupted leaves nothing running."""
    with concurrent.futures.ThreadPoolExecutor(runner.slots.qsize()) as pool:
        try:
            yield from pool.map(runner.compare, units)
        finally:
            runner.end()


def run_suite(arguments, kind, work):
    """True: all the same. Raises Missing where it cannot be run."""
    suite = kind(arguments)
    suite.prepare()
    runner = Runner(arguments, suite, work)
    if not runner.served(suite.program):
        print(f"{suite.name}: FAILED: malloc of {suite.program[0]} is not the library's")
        return False
    units = suite.units()
    if not units:
        print(f"{suite.name}: FAILED: no test was found")
        return False
    units = arguments.tests.split(",") if arguments.tests else units[::arguments.every]
    good = bad = passed = 0
    started = time.monotonic()
    for unit, same, passes, result in in_threads(runner, units):
        passed += passes
        good += same
        bad += not same
        if not same or arguments.verbose or result.startswith("not always"):
            print(f"{suite.name}: {unit}: {'' if same else 'FAILED: '}{result}", flush=True)
    for unit in runner.complaints:
        print(f"{suite.name}: {unit}: FAILED: the library or the loader complained")
    print(f"{suite.name}: {good} of {len(units)} tests end as without the library, where {passed} pass; "
          f"{time.monotonic() - started:.0f} s", flush=True)
    if passed < len(units) * LEAST_PASSED:
        print(f"{suite.name}: FAILED: where so few tests pass their results say nothing", flush=True)
        return False
    return not bad and not runner.complaints


def knows_check(build_source):
    """Whether there is the option check."""
    with open(os.path.join(build_source, "src/conf/options.def"), encoding="utf-8") as f:
        return re.search(r"^CHOICE\(check,", f.read(), re.MULTILINE)


def parse():
    source = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--library", required=True, help="what is preloaded")
    p.add_argument("--conf", default="check:fast" if knows_check(source) else "", help="options (default %(default)s)")
    p.add_argument("--suites", default=" ".join(programs.SUITES), help="only these (spaces between)")
    p.add_argument("--tests", default="", help="only these tests (commas between) of one suite")
    p.add_argument("--every", type=int, default=1, metavar="N", help="only one test in N")
    p.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)), help="how many at a time")
    p.add_argument("--cache", default="suites", help="where sources are kept")
    p.add_argument("--verbose", action="store_true", help="each test's result")
    arguments = p.parse_args()
    unknown = set(arguments.suites.split()) - set(programs.SUITES)
    if unknown:
        p.error(f"unknown suites: {' '.join(unknown)}")
    arguments.library = os.path.abspath(arguments.library)
    arguments.cache = os.path.abspath(arguments.cache)
    return arguments


def main():
    arguments = parse()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda n, _: sys.exit(128 + n))
    os.makedirs(arguments.cache, exist_ok=True)
    same, different, skipped = [], [], []
    for name in arguments.suites.split():
        with tempfile.TemporaryDirectory(prefix="pmdalloc-suite.", ignore_cleanup_errors=True) as work:
            os.chmod(work, 0o755)
            try:
                (same if run_suite(arguments, programs.SUITES[name], work) else different).append(name)
            except Missing as why:
                skipped.append(name)
                print(f"{name}: skipped: {why}", flush=True)
    print(f"{len(same)} passed, {len(different)} failed, {len(skipped)} skipped")
    return 1 if different else 0 if same else 77


if __name__ == "__main__":
    sys.exit(main())
