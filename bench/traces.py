#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""
Records real programs with pmdalloc-trace, under the C library's malloc, and replays what each did under every
allocator, interleaved. Traces are kept in a folder and recorded anew only when asked for.
"""

import contextlib
import glob
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time

sys.dont_write_bytecode = True
import allocators  # noqa: E402
from measures import say  # noqa: E402

RECORDING_SECONDS = 300
REPLAY_SECONDS = 600
# What is compared, and how it is shown.
FIGURES = (("touched_ns", "ms", 1e6), ("ns", "ms untouched", 1e6), ("rss_peak_kb", "peak RSS MB", 1024),
           ("rss_average_kb", "avg RSS MB", 1024), ("pte_peak_kb", "peak PTE kB", 1), ("minor_faults", "faults", 1),
           ("fragmentation", "fragm.", 1))
RATIOS = ("touched_ns", "ns", "rss_peak_kb", "rss_average_kb", "pte_peak_kb")


class Missing(Exception):
    """A program that is not there, or cannot be recorded here."""


def need(*programs):
    """Where the programs are; those of the system before shims of other installations."""
    path = os.pathsep.join(("/usr/bin", "/usr/sbin", os.environ.get("PATH", "")))
    found = [shutil.which(p, path=path) for p in programs]
    for name, file in zip(programs, found):
        if not file:
            raise Missing(f"no {name}")
    return found


# ---- The programs ----------------------------------------------------------------------------------------------------


class Recording:
    """One program's recording: in FOLDER its trace, in WORK what it works on."""

    def __init__(self, arguments, work, folder):
        self.tool = os.path.join(os.path.dirname(os.path.abspath(arguments.programs)), "trace", "pmdalloc-trace")
        self.source = arguments.source
        self.scale = 1 if arguments.quick else 10
        self.work = work
        self.folder = folder

    def command(self, *words):
        return [self.tool, "-o", self.folder + "/", "--", *map(str, words)]

    def environment(self, **more):
        variables = allocators.environment(None)
        variables.update(LC_ALL="C.UTF-8", PYTHONHASHSEED="0", HOME=self.work, **more)
        return variables

    def run(self, *words, stdin=None, traced=True, **more):
        command = self.command(*words) if traced else list(map(str, words))
        done = subprocess.run(command, cwd=self.work, env=self.environment(**more), timeout=RECORDING_SECONDS,
                              input=stdin, capture_output=True, text=True)
        if done.returncode:
            raise Missing(f"{words[0]} ends with {done.returncode}: {(done.stderr or done.stdout).strip()[-300:]}")

    def file(self, name, text):
        path = os.path.join(self.work, name)
        with open(path, "w", encoding="utf-8") as out:
            out.write(text)
        return path


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


@contextlib.contextmanager
def redis_server(recording, server, port):
    command = recording.command(server, "--port", port, "--save", "", "--appendonly", "no", "--dir", recording.work)
    with subprocess.Popen(command, env=recording.environment(), stdout=subprocess.DEVNULL) as process:
        try:
            for _ in range(1000):
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                    break
                time.sleep(0.01)
            else:
                raise Missing("redis-server does not answer")
            yield process
        finally:
            process.kill()


def redis(recording):
    """SET, GET, lists, sets, hashes with pipelining, then everything is deleted."""
    server, client, load = need("redis-server", "redis-cli", "redis-benchmark")
    port = free_port()
    with redis_server(recording, server, port) as process:
        recording.run(load, "-p", port, "-q", "-n", 20000 * recording.scale, "-r", 10000 * recording.scale, "-d", 200,
                      "-P", 16, "-t", "set,get,lpush,sadd,hset,zadd", traced=False)
        recording.run(client, "-p", port, "flushall", traced=False)
        # Its answer is that the connection ends.
        subprocess.run([client, "-p", str(port), "shutdown", "nosave"], capture_output=True, timeout=60)
        if process.wait(60):
            raise Missing(f"redis-server ends with {process.returncode}")


def sqlite(recording):
    """A table in memory, an index, joins, text functions, updates, deletions."""
    (program,) = need("sqlite3")
    rows = 10000 * recording.scale
    recording.run(program, "-batch", ":memory:", stdin=f"""
create table t (id integer primary key, word text, filler blob);
with recursive r(i) as (select 1 union all select i + 1 from r where i < {rows})
    insert into t select i, printf('%08x', (i * 2654435761) % 4294967296), zeroblob(i % 300) from r;
create index byword on t (word);
select count(*), sum(length(filler)) from t;
select substr(word, 1, 1), count(*), avg(id) from t group by 1 order by 1;
select count(*) from t a join t b on a.word = b.word where a.id % 2;
update t set word = upper(word) || id where id % 3 = 0;
delete from t where id % 5 = 0;
select length(group_concat(word)) from (select word from t order by word);
select length(json_group_array(json_object('i', id, 'w', word))) from t where id < {rows} / 10;
""")


def gcc(recording):
    """Compiles a file of this project; the largest of its processes is the compiler proper."""
    (program,) = need("gcc")
    source = recording.source
    recording.run(program, "-std=gnu17", "-D_GNU_SOURCE", "-DPMD_DEBUG=0", "-O2", "-g", "-I", f"{source}/include", "-I",
                  f"{source}/src", "-c", f"{source}/src/cache/cache.c", "-o", "cache.o")


def python3(recording):
    """Objects of many kinds, all from malloc."""
    (program,) = need("python3")
    script = recording.file("churn.py", f"""
import json, random, re, zlib
r = random.Random(1)
kept = {{}}
for i in range({1000 * recording.scale}):
    kept[r.randrange(5000)] = [r.random() for _ in range(r.randrange(30))]
    kept[r.randrange(5000)] = "x%d" % i * r.randrange(100)
    if i % 1000 == 0:
        text = json.dumps(sorted(kept.items(), key=lambda kv: kv[0])).encode()
        assert zlib.decompress(zlib.compress(text)) == text
        re.sub(rb"x(\\d)", rb"y\\1", text)
""")
    recording.run(program, script, PYTHONMALLOC="malloc")


def git(recording):
    """gc of a repository that is made on the spot."""
    (program,) = need("git")
    tree = os.path.join(recording.work, "repository")
    quiet = {"GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_NOSYSTEM": "1", "GIT_AUTHOR_NAME": "a",
             "GIT_AUTHOR_EMAIL": "a@example.org", "GIT_COMMITTER_NAME": "a", "GIT_COMMITTER_EMAIL": "a@example.org"}
    recording.run(program, "init", "-q", tree, traced=False, **quiet)
    for commit in range(3 * recording.scale):
        for folder in ("src", "test", "bench", "doc"):
            target = os.path.join(tree, folder + str(commit % 4))
            shutil.rmtree(target, ignore_errors=True)
            shutil.copytree(os.path.join(recording.source, folder), target)
            for path in glob.glob(target + "/**/*.[ch]", recursive=True):
                with open(path, "a", encoding="utf-8") as out:
                    out.write(f"/* {commit} */\n")
        recording.run(program, "-C", tree, "add", "-A", traced=False, **quiet)
        recording.run(program, "-C", tree, "commit", "-q", "-m", f"commit {commit}", traced=False, **quiet)
    recording.run(program, "-C", tree, "gc", "-q", "--aggressive", "--prune=now", **quiet)


def node(recording):
    """Buffers, maps, JSON, regular expressions, timers. Most of its memory node manages itself, by mmap."""
    (program,) = need("node")
    script = recording.file("churn.js", f"""
const zlib = require('zlib'), crypto = require('crypto');
const kept = [];
for (let i = 0; i < {1000 * recording.scale}; i++) {{
    kept[i % 500] = Buffer.alloc(10000 + (i * 7919) % 60000, i);
    if (i % 10 == 0) crypto.createHash('sha256').update(zlib.deflateSync(kept[i % 500])).digest('hex');
    if (i % 50 == 0) JSON.parse(JSON.stringify(kept.slice(0, 20).map(b => b.toString('base64'))));
}}
""")
    recording.run(program, script)


PROGRAMS = {"redis": redis, "sqlite3": sqlite, "gcc": gcc, "python3": python3, "git": git, "node": node}


# ---- Recording -------------------------------------------------------------------------------------------------------


def largest(folder):
    """A program's trace is that of its process that made the most calls."""
    files = glob.glob(os.path.join(folder, "*.trace"))
    if not files:
        raise Missing("nothing was recorded")
    return max(files, key=os.path.getsize)


def record_one(arguments, name, path):
    with tempfile.TemporaryDirectory(prefix=f"pmdalloc-trace-{name}.") as work:
        folder = os.path.join(work, "traces")
        os.mkdir(folder)
        PROGRAMS[name](Recording(arguments, work, folder))
        shutil.move(largest(folder), path)


def record(arguments, names):
    """Name to trace of the programs that are there."""
    tool = Recording(arguments, None, None).tool
    if not os.path.exists(tool):
        sys.exit(f"there is no {tool}: a build without malloc records nothing")
    os.makedirs(arguments.traces, exist_ok=True)
    traces = {}
    for name in names:
        path = os.path.join(arguments.traces, name + (".quick" if arguments.quick else "") + ".trace")
        if arguments.again or not os.path.exists(path):
            say(f"recording {name}")
            try:
                record_one(arguments, name, path)
            except (Missing, subprocess.TimeoutExpired) as why:
                say(f"{name} is left out: {why}")
                continue
        traces[name] = path
    return traces


# ---- Replaying -------------------------------------------------------------------------------------------------------


def replay(arguments, trace, name, path):
    """The figures of one replay, after checking who served it."""
    tool = os.path.join(os.path.dirname(os.path.abspath(arguments.programs)), "trace", "pmdalloc-replay")
    command = [tool, "--json", "--threads", arguments.threads, "--touch", arguments.touch, trace]
    done = subprocess.run(command, env=allocators.environment(path), capture_output=True, text=True,
                          timeout=REPLAY_SECONDS)
    if done.returncode:
        sys.exit(f"{trace} under {name}: status {done.returncode}: {done.stderr.strip()}")
    (figures,) = json.loads(done.stdout)
    if not allocators.serves(path, figures["allocator"]):
        sys.exit(f"{name} did not serve the replay: {figures['allocator']}")
    figures.setdefault("touched_ns", figures["ns"])
    return figures


def measure(arguments, traces, paths):
    """runs[program][allocator]: the figures of each round."""
    runs = {t: {a: [] for a in paths} for t in traces}
    for r in range(arguments.rounds):
        for i, (program, trace) in enumerate(traces.items()):
            for name in allocators.rotated(paths, r + i):
                runs[program][name].append(replay(arguments, trace, name, paths[name]))
            say(f"round {r + 1} of {arguments.rounds}: {program}")
    return runs


def medians_of(runs):
    return {p: {a: {f: allocators.statistics.median(x[f] for x in figures) for f, _, _ in FIGURES}
                for a, figures in by.items()} for p, by in runs.items()}


def report(runs, medians, names):
    for program, by in medians.items():
        facts = runs[program][names[0]][0]
        print(f"{program}: {facts['operations']} operations, {facts['threads']} threads, at most "
              f"{facts['live_peak_bytes'] / 1e6:.1f} MB live")
        rows = [[n, *(f"{by[n][f] / unit:.{3 if f == 'fragmentation' else 1 if unit > 1 else 0}f}"
                      for f, _, unit in FIGURES)] for n in names]
        allocators.table(["", *(head for _, head, _ in FIGURES)], rows)
        print()


def ratio(value, reference):
    """At least 1 of each, as counts can be 0."""
    return max(value, 1) / max(reference, 1)


def report_ratios(medians, names, reference):
    print(f"ratio to {reference}, geometric mean of {len(medians)} programs")
    rows = []
    for name in names:
        means = [allocators.geometric_mean([ratio(by[name][f], by[reference][f]) for by in medians.values()])
                 for f in RATIOS]
        rows.append([name, *(f"{m:.3f}" for m in means)])
    heads = {f: head.split(" MB")[0].split(" kB")[0] for f, head, _ in FIGURES}
    heads.update(touched_ns="time", ns="time untouched")
    allocators.table(["", *(heads[f] for f in RATIOS)], rows)


def arguments_of():
    p = allocators.parser(__doc__)
    p.add_argument("--rounds", type=int, default=5, help="how often everything is replayed (default 5)")
    p.add_argument("--traces", default="traces", metavar="FOLDER", help="where traces are kept (default traces)")
    p.add_argument("--source", default=os.path.dirname(os.path.dirname(os.path.abspath(__file__))),
                   help="the project's sources, which gcc compiles and git keeps")
    p.add_argument("--record", metavar="NAMES", default=",".join(PROGRAMS), help="which programs (commas between)")
    p.add_argument("--again", action="store_true", help="record anew what was recorded already")
    p.add_argument("--record-only", action="store_true", help="record, replay nothing")
    p.add_argument("--threads", choices=("single", "recorded"), default="recorded", help="(default recorded)")
    p.add_argument("--touch", choices=("none", "pages", "all"), default="pages", help="(default pages)")
    p.add_argument("--quick", action="store_true", help="a tenth of the work, two rounds")
    arguments = p.parse_args()
    unknown = set(arguments.record.split(",")) - set(PROGRAMS)
    if unknown:
        p.error(f"unknown programs: {' '.join(sorted(unknown))}")
    if arguments.quick:
        arguments.rounds = min(arguments.rounds, 2)
    arguments.source = os.path.abspath(arguments.source)
    return arguments


def main():
    arguments = arguments_of()
    traces = record(arguments, arguments.record.split(","))
    if not traces:
        sys.exit("no program could be recorded")
    if arguments.record_only:
        return 0
    allocators.warn_if_busy()
    paths = allocators.chosen(arguments)
    runs = measure(arguments, traces, paths)
    medians = medians_of(runs)
    names = list(paths)
    report(runs, medians, names)
    report_ratios(medians, names, allocators.REFERENCE if allocators.REFERENCE in paths else names[0])
    if arguments.json:
        with open(arguments.json, "w", encoding="utf-8") as out:
            json.dump({"allocators": paths, "medians": medians, "runs": runs}, out, indent=1)
            out.write("\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
