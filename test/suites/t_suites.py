#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Test of suites.py, with a suite that is made up: what differs is found, what is not always the same is told apart."""

import contextlib
import io
import os
import signal
import sys
import tempfile
import types

sys.dont_write_bytecode = True
import suites  # noqa: E402

LIBRARY = os.path.join(os.environ.get("PMD_BUILD", "."), ".libs", "libpmdalloc.so")
TESTS = {
    "same": "exit 0",
    "fails": "exit 3",
    "differs": 'test -z "$LD_PRELOAD"',
    "waits": "sleep 100",
    "at times": 'test -z "$LD_PRELOAD" || test "$(echo >>"$TALLY"; wc -l <"$TALLY")" -gt 1',
    "complains": 'test -z "$LD_PRELOAD" || echo "pmdalloc: this"',
}
bad = 0


class MadeUp:
    """The tests that are named; what a test says is its result."""

    name, program, side_by_side = "made-up", ["true"], True
    chosen = ()

    def __init__(self, arguments):
        self.environment = {"TALLY": arguments.tally}

    def prepare(self):
        pass

    def lay_out(self, folder):
        pass

    def units(self):
        return list(self.chosen)

    def command(self, unit, folder, slot):
        return ["sh", "-c", TESTS[unit]], folder

    def result(self, text):
        return "said nothing" if not text else "said something"


def run(work, *chosen):
    """Whether all was the same, and what was said."""
    arguments = types.SimpleNamespace(library=LIBRARY, conf="", tests="", every=1, jobs=2, verbose=True,
                                      tally=os.path.join(work, "tally"))
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        same = suites.run_suite(arguments, type("Chosen", (MadeUp,), {"chosen": chosen}), work)
    return same, said.getvalue()


def expect(what, chosen, same, pattern):
    global bad
    with tempfile.TemporaryDirectory() as work:
        found, said = run(work, *chosen)
    if found != same or pattern not in said:
        print(f"{what}: {found}, and it says:\n{said}")
        bad += 1


if not os.path.exists(LIBRARY):
    print(f"skipped: no {LIBRARY}")
    sys.exit(77)
expect("same", ["same"] * 4, True, "4 of 4 tests end as without the library, where 4 pass")
expect("both fail", ["same"] * 3 + ["fails"], True, "4 of 4 tests end as without the library, where 3 pass")
expect("too many fail", ["same", "fails"], False, "say nothing")
expect("no tests", [], False, "no test was found")
expect("another status", ["same", "differs"], False, "differs: FAILED: without: {'status 0; said nothing'}")
expect("not always", ["same", "at times"], True, "at times: not always the same")
expect("a complaint", ["same", "complains"], False, "the library or the loader complained")
suites.LIMIT, suites.LEAST_PASSED = 0.3, 0
expect("time is up", ["waits"], True, "waits: status time is up")
suites.LIMIT = 1000
signal.signal(signal.SIGALRM, lambda *_: sys.exit(5))
signal.alarm(1)
try:
    expect("interrupted", ["waits"], True, "it was not")
    bad += 1
except SystemExit as end:
    bad += end.code != 5
sys.exit(1 if bad else 0)
