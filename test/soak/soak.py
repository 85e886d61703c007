#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""
Services under the library for as long as is asked: each is filled, read back, changed while it forks, saved, emptied
and left alone, over and over, now and then with little memory. Each runs twice: a steady one, of which the same points
of all cycles are compared, so that what grows is seen; and one that is killed at random moments and started again under
other options. All that is read is compared with what must be there.

It writes samples.csv, the curves, verdict.txt and the services' logs to --out. It ends with 0 when nothing was lost and
nothing grew. Nothing is judged by time: it may be slow, and stopped for minutes.
"""

import argparse
import os
import random
import re
import shutil
import signal
import sys
import tempfile
import threading
import time
import traceback

sys.dont_write_bytecode = True
import judge  # noqa: E402
import pressure  # noqa: E402
import report  # noqa: E402
import services  # noqa: E402
import watch  # noqa: E402
from services import Lost, Wrong  # noqa: E402

STEADY_OPTIONS = "decay_ms:{:.0f}"  # so that it is over between two looks at what is left alone
# Those of the ones that are killed, by turns.
OPTIONS = ("handoff:armed", "decay_ms:0", "", "release:madvise,decay_ms:100", "thp:always,decay_ms:500",
           "check:strict", "background:off,decay_ms:50", "release:remap,decay_ms:0", "decay_ms:-1",
           "check:strict,decay_ms:100", "thp:never,arenas:1,handoff:armed")
PHASES = ("fill", "check", "full", "churn", "check", "save", "drop", "check", "idle", "empty")
TICK = 1.0
LONGEST_TICK = 2.0  # what counts at most of the time between two: the rest this process was stopped
HANG_TICKS = 1200  # no answer from a service for so long, while this process runs, is a hang
KILL_TICKS = (3, 30)
CALM_LOOKS = 3
MOST_LOOKS = 60


def known_options():
    """Those of OPTIONS that this library knows: a release may have fewer."""
    here = os.path.dirname(os.path.abspath(__file__))
    names = re.findall(r"^[A-Z]+\((\w+),", watch.read(os.path.join(here, "../../src/conf/options.def")), re.MULTILINE)
    return [o for o in OPTIONS if all(pair.split(":")[0] in names for pair in filter(None, o.split(",")))]


class Lane:
    """A service and what is done with it, in a thread of its own."""

    def __init__(self, soak, kind, steady):
        self.soak, self.steady = soak, steady
        self.name = kind + ("" if steady else "-killed")
        self.service = services.KINDS[kind](soak, self.name, steady)
        self.random = random.Random(f"{soak.seed} {self.name} lane")
        self.cycle, self.phase = 0, "start"
        self.kill_at = None  # in ticks; None: not now
        self.kills = self.short = 0
        self.marks = {m: [] for m in report.MARKS}
        self.ended = False
        self.thread = threading.Thread(target=self.run, name=self.name, daemon=True)

    def run(self):
        try:
            self.prepare()
            if not self.tried(self.service.start):
                self.recover()
            while not self.soak.over():
                self.cycle += 1
                self.draw_kill()  # also when the last one went unnoticed, as while a server started anew by itself
                for self.phase in PHASES:
                    if not self.tried(lambda: self.do(self.phase)):
                        self.recover()
            self.finish()
        except (Wrong, Lost) as error:
            self.soak.fail(f"{self.name}, cycle {self.cycle}, {self.phase}: {error}")
        except Exception:  # whatever it is: the run has failed
            self.soak.fail(f"{self.name}, cycle {self.cycle}, {self.phase}: {traceback.format_exc()}")
        finally:
            self.ended = True

    @staticmethod
    def tried(act):
        try:
            act()
            return True
        except Lost:
            return False

    def prepare(self):
        """For the next life."""
        self.short = self.soak.pressure.kills()
        self.soak.beat(self.service)
        if self.steady:
            self.service.configuration = STEADY_OPTIONS.format(1000 * self.soak.idle)
        else:
            self.service.configuration = self.soak.options[self.service.lives % len(self.soak.options)]
            self.draw_kill()

    def draw_kill(self):
        if not self.steady and self.kill_at is None:
            self.kill_at = self.soak.ticks + self.random.randint(*KILL_TICKS)

    def was_killed(self):
        """By us, or by the kernel as memory was short."""
        return self.service.was_killed or (not self.steady and self.soak.pressure.kills() != self.short)

    def recover(self):
        while True:
            if not self.was_killed():
                raise Wrong("it ended, or broke the connection, by itself")
            self.phase = "restart"
            self.service.was_killed = False
            self.prepare()
            if self.tried(self.service.recover):
                return

    def do(self, phase):
        if phase == "idle":
            self.settle()
        elif phase in report.MARKS:
            self.mark(phase)
        else:
            getattr(self.service, phase)()

    def settle(self):
        """Until its memory has not become less for a while."""
        calm, least = 0, None
        for look in range(MOST_LOOKS):
            time.sleep(self.soak.idle)
            self.soak.beat(self.service)
            now = self.living()["anon_kb"]
            calm = calm + 1 if least is not None and now > least * 0.99 else 0
            least = now if least is None else min(least, now)
            if calm >= CALM_LOOKS and look >= CALM_LOOKS + 2:
                break

    def sample(self):
        pids = self.service.pids()
        return watch.sample(pids[0]) if pids else dict.fromkeys(watch.FIGURES, 0)

    def living(self):
        found = self.sample()
        if not found["processes"]:
            raise Lost("it has ended")
        return found

    def mark(self, phase):
        found = self.living()
        self.marks[phase].append(found)
        self.soak.add(self, phase, found)

    def finish(self):
        """Once more to the disk and back."""
        self.phase = "finish"
        self.kill_at = None
        steps = (self.service.fill, self.service.check, self.service.save, self.service.stop, self.service.forget,
                 self.service.start, self.service.check, self.service.stop)
        for step in steps:
            if not self.tried(step):
                if not self.was_killed():
                    raise Wrong("it ended, or broke the connection, by itself")
                self.recover()
                self.kill_at = None
                self.service.fill()

    def kill_in_time(self):
        """The lane sets the next time as soon as it notices, so it may not be cleared after the kill."""
        at = self.kill_at
        if at is None or self.soak.ticks < at:
            return
        self.kill_at = None
        if self.service.kill():
            self.kills += 1
        else:
            self.kill_at = at  # it is just being started


class Soak:
    """The run: what lanes share."""

    def __init__(self, arguments):
        self.arguments = arguments
        self.seed, self.scale, self.idle = arguments.seed, arguments.scale, arguments.idle
        self.out = os.path.abspath(arguments.out)
        shutil.rmtree(self.out, ignore_errors=True)
        os.makedirs(self.out)
        self.directory = tempfile.mkdtemp(prefix="pmdalloc-soak.")
        os.chmod(self.directory, 0o755)  # some servers refuse to run as root
        self.library = os.path.join(self.directory, os.path.basename(arguments.library))
        shutil.copy(arguments.library, self.library)
        os.chmod(self.library, 0o644)
        self.keeper = os.path.abspath(arguments.keeper)
        self.environment = dict(pair.split("=", 1) for pair in arguments.environment)
        self.table = watch.Table(os.path.join(self.out, "samples.csv"))
        self.pressure = pressure.Pressure(self.directory)
        self.ticks, self.seconds = 0, 0.0
        self.options = known_options()
        self.beats = {}
        self.failures, self.notes = [], []
        self.ending = False
        self.lanes = []

    def say(self, text):
        print(text, flush=True)
        self.notes.append(text)

    def fail(self, text):
        if self.ending:
            return  # all is being killed
        self.say(f"FAILED: {text}")
        self.failures.append(text)

    def beat(self, service):
        """Something has gone on."""
        self.beats[service.name] = self.ticks

    def over(self):
        enough = all(lane.cycle >= self.arguments.cycles or lane.ended for lane in self.lanes if lane.steady)
        return self.ending or bool(self.failures) or (self.seconds >= self.arguments.seconds and enough)

    def add(self, lane, phase, found):
        self.table.add({"seconds": round(self.seconds, 1), "service": lane.name, "life": lane.service.lives,
                        "cycle": lane.cycle, "phase": phase, **found})

    # --- the run ---

    def choose(self):
        for kind in self.arguments.services.split(","):
            why = services.KINDS[kind].missing()
            if why:
                self.say(f"{kind}: skipped: {why}")
                continue
            for steady in (True, False):
                if steady or not self.arguments.steady_only:
                    self.lanes.append(Lane(self, kind, steady))

    def run(self):
        squeezer = threading.Thread(target=self.squeeze, daemon=True)
        for lane in self.lanes:
            lane.thread.start()
        if not self.arguments.no_pressure:
            squeezer.start()
        last = time.monotonic()
        while not all(lane.ended for lane in self.lanes):
            time.sleep(TICK)
            now = time.monotonic()
            self.seconds += min(now - last, LONGEST_TICK)
            last = now
            self.ticks += 1
            for lane in self.lanes:
                self.look_at(lane)
        if squeezer.is_alive():
            squeezer.join()

    def look_at(self, lane):
        if lane.ended:
            return
        self.add(lane, lane.phase, lane.sample())
        if not self.over():
            lane.kill_in_time()
        if self.ticks - self.beats.get(lane.name, 0) > HANG_TICKS:
            self.beats[lane.name] = self.ticks
            self.fail(f"{lane.name} hangs in {lane.phase}")
            report.threads(lane.service.pids(), os.path.join(self.out, f"{lane.name}.hang"))
            for pid in lane.service.pids():
                os.kill(pid, signal.SIGABRT)

    def wait(self, seconds):
        """So long of the run's time, or until it is over."""
        until = self.seconds + seconds
        while self.seconds < until and not self.over():
            time.sleep(0.2)

    def squeeze(self):
        draw = random.Random(f"{self.seed} pressure")
        try:
            while not self.over():
                self.wait(draw.uniform(10, 40))
                until = self.seconds + draw.uniform(4, 8)
                self.pressure.episode(lambda u=until: self.seconds >= u, self.over)
        except Exception:
            self.fail(f"pressure: {traceback.format_exc()}")

    # --- the verdict ---

    def judge(self):
        for lane in self.lanes:
            with open(lane.service.log, "rb") as log:
                said = [line for line in log.read().decode(errors="replace").splitlines()
                        if "pmdalloc: " in line or "cannot be preloaded" in line]
            if said:
                self.fail(f"{lane.name}: the library or the loader complained: {said[0]}")
            self.say(self.line_of(lane))

    def line_of(self, lane):
        text = f"{lane.name}: {lane.cycle} cycles, {lane.service.lives} starts, {lane.kills} kills"
        if not lane.steady:
            return text
        found = [(m, g) for m in report.MARKS for g in judge.judge(lane.marks[m])]
        if not found and not self.failures:
            self.fail(f"{lane.name}: {lane.cycle} cycles are too few to judge")
        for mark, growth in found:
            if growth.grows:
                self.fail(f"{lane.name} grows: when {mark}, {growth}")
        return "; ".join([text, *(f"{mark}: " + ", ".join(f"{g.what} {g.first:g} to {g.last:g}" for m, g in found
                                                            if m == mark) for mark in report.MARKS if found)])

    def clean_up(self):
        self.ending = True
        for lane in self.lanes:
            lane.service.disconnect()
            for pid in lane.service.pids():
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
        self.pressure.end()
        for lane in self.lanes:
            if os.path.exists(lane.service.log):
                shutil.copy(lane.service.log, os.path.join(self.out, f"{lane.name}.log"))
        shutil.rmtree(self.directory, ignore_errors=True)


def parse():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--library", required=True, help="what is preloaded")
    p.add_argument("--keeper", required=True, help="the program keeper")
    p.add_argument("--out", default="soak", help="the directory for what is found (default soak); what is there goes")
    p.add_argument("--seconds", type=float, default=600, help="how long, without the time in which it is stopped")
    p.add_argument("--cycles", type=int, default=judge.CYCLES, help="how many cycles at least (default %(default)s)")
    p.add_argument("--scale", type=float, default=1, help="how much of the data")
    p.add_argument("--idle", type=float, default=1, help="seconds between two looks at what is left alone")
    p.add_argument("--services", default=",".join(services.KINDS), help="only these")
    p.add_argument("--steady-only", action="store_true", help="nothing is killed")
    p.add_argument("--no-pressure", action="store_true", help="memory is never short")
    p.add_argument("--environment", action="append", default=[], metavar="NAME=VALUE", help="for the services")
    p.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 31))
    arguments = p.parse_args()
    unknown = set(arguments.services.split(",")) - set(services.KINDS)
    if unknown:
        p.error(f"unknown services: {' '.join(unknown)}")
    return arguments


def main():
    soak = Soak(parse())
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda n, _: sys.exit(128 + n))
    try:
        soak.say(f"seed {soak.seed}; pressure: {soak.pressure.how}")
        soak.choose()
        soak.run()
        soak.judge()
        soak.say(f"{soak.seconds:.0f} s, {soak.pressure.episodes} times with little memory")
        soak.say("FAILED" if soak.failures else "no loss, no growth")
        report.curves(soak.table.rows, soak.out, [lane.name for lane in soak.lanes if lane.steady], soak.say)
        with open(os.path.join(soak.out, "verdict.txt"), "w", encoding="utf-8") as f:
            f.write("\n".join(soak.notes) + "\n")
    finally:
        soak.clean_up()
    return 1 if soak.failures or not soak.lanes else 0


if __name__ == "__main__":
    sys.exit(main())
