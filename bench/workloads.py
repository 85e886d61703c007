# SPDX-License-Identifier: MIT
"""
Real programs and what they are given to do: recorded by traces.py, timed by programs.py. A workload prepares its files
once and can then run any number of times; whoever runs it says how its program is started.
"""

import contextlib
import glob
import os
import shutil
import socket
import subprocess
import time

import allocators
import resample

SECONDS = 300  # that one run may take


class Missing(Exception):
    """A program that is not there, or cannot be run here."""


def need(*programs):
    """Where the programs are; those of the system before shims of other installations."""
    path = os.pathsep.join(("/usr/bin", "/usr/sbin", os.environ.get("PATH", "")))
    found = [shutil.which(p, path=path) for p in programs]
    for name, file in zip(programs, found):
        if not file:
            raise Missing(f"no {name}")
    return found


class Workload:
    """
    One program. WORK: a folder of its own; SOURCE: the project's sources; SCALE: how much it does, 1 is little.

    START, where a method takes it: called with the words of a command, the environment and more for subprocess.Popen,
    it starts the command in its own way.
    """

    def __init__(self, work, source, scale):
        self.work, self.source, self.scale = work, source, scale
        self.variables = {}  # what the program finds in its environment besides
        self.input = None  # a file
        self.prepare()

    def prepare(self):
        """Makes the files that it works on."""

    def command(self):
        """The words of the command."""
        raise NotImplementedError

    def probe(self):
        """A command that ends at once and whose malloc has the same server."""
        return [self.command()[0], "--version"]

    def environment(self):
        variables = allocators.environment(None)
        variables.update(LC_ALL="C.UTF-8", PYTHONHASHSEED="0", HOME=self.work, **self.variables)
        return variables

    def file(self, name, text):
        path = os.path.join(self.work, name)
        with open(path, "w", encoding="utf-8") as out:
            out.write(text)
        return path

    def call(self, *words):
        """Runs what is not measured; its output."""
        variables = {k: v for k, v in self.environment().items() if k != "LD_LIBRARY_PATH"}
        done = subprocess.run(list(map(str, words)), cwd=self.work, env=variables, timeout=SECONDS,
                              stdin=subprocess.DEVNULL, capture_output=True, text=True)
        if done.returncode:
            raise Missing(f"{words[0]} ends with {done.returncode}: {(done.stderr or done.stdout).strip()[-300:]}")
        return done.stdout

    def run(self, start):
        """Runs it once. Nanoseconds an operation by what it does, where its own time is not what is asked for."""
        with contextlib.ExitStack() as stack:
            given = stack.enter_context(open(self.input or os.devnull, "rb"))
            errors = stack.enter_context(open(os.path.join(self.work, "errors"), "w+b"))
            process = start(self.command(), self.environment(), cwd=self.work, stdin=given, stdout=subprocess.DEVNULL,
                            stderr=errors)
            try:
                status = process.wait(SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                raise
            if status:
                errors.seek(0)
                said = errors.read()[-300:].decode(errors="replace")
                raise Missing(f"{self.command()[0]} ends with {status}: {said}")
        return {}


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Redis(Workload):
    """redis-server: what it is asked for is timed, by redis-benchmark."""

    filling = 0  # thousand SETs to the scale, not timed
    asked = (("set,get", 3),)  # commands, thousands of each to the scale
    at_end = ()  # commands of redis-cli
    keys = 1000

    def prepare(self):
        self.server, self.client, self.load = need("redis-server", "redis-cli", "redis-benchmark")
        self.port = free_port()
        # Debian links it with jemalloc, which would serve where nothing is preloaded, and always be in memory.
        (compiler,) = need("cc")
        self.call(compiler, "-shared", "-fPIC", "-Wl,-soname,libjemalloc.so.2", "-o", "libjemalloc.so.2",
                  f"{self.source}/demo/no-jemalloc.c")
        self.variables["LD_LIBRARY_PATH"] = self.work

    def command(self):
        return [self.server, "--port", str(self.port), "--save", "", "--appendonly", "no", "--dir", self.work]

    def answers(self):
        for _ in range(1000):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
                return True
            time.sleep(0.01)
        return False

    def ask(self, commands, count):
        """Nanoseconds a request, by command."""
        client = ["taskset", "-c", max(os.sched_getaffinity(0)), self.load, "-p", self.port, "--csv"]
        said = self.call(*client, "-n", count, "-r", int(self.keys * self.scale), "-d", 200, "-P", 16, "-t", commands)
        rows = [line.strip('"').split('","') for line in said.splitlines()]
        return {row[0].split()[0].lower(): 1e9 / float(row[1]) for row in rows if row[0] != "test"}

    @staticmethod
    def leave_one():
        """Who asks has the last processor, the server the others."""
        processors = os.sched_getaffinity(0)
        if len(processors) > 1:
            os.sched_setaffinity(0, processors - {max(processors)})

    def run(self, start):
        process = start(self.command(), self.environment(), stdout=subprocess.DEVNULL, preexec_fn=self.leave_one)
        try:
            if not self.answers():
                raise Missing("redis-server does not answer")
            found = {}
            if self.filling:
                self.ask("set", int(self.filling * 1000 * self.scale))
            for commands, count in self.asked:
                for command, ns in self.ask(commands, int(count * 1000 * self.scale)).items():
                    found.setdefault(command, []).append(ns)
            for words in self.at_end:
                self.call(self.client, "-p", self.port, *words)
            # Its answer is that the connection ends.
            subprocess.run([self.client, "-p", str(self.port), "shutdown", "nosave"], capture_output=True, timeout=60)
            if process.wait(60):
                raise Missing(f"redis-server ends with {process.returncode}")
        finally:
            process.kill()
            process.wait()
        return {command: resample.median(all_ns) for command, all_ns in found.items()}


class RedisAll(Redis):
    """SET, GET, lists, sets, hashes with pipelining, then everything is deleted."""

    asked = (("set,get,lpush,sadd,hset,zadd", 2),)
    at_end = (("flushall",),)


class RedisSetGet(Redis):
    """SET and GET with pipelining; the keys are there already when it is timed."""

    filling = 3
    asked = 4 * (("set,get", 4),)
    keys = 3000


class Sqlite(Workload):
    """A table in memory, an index, joins, text functions, updates, deletions."""

    def prepare(self):
        (self.program,) = need("sqlite3")
        rows = int(1000 * self.scale)
        self.input = self.file("script.sql", f"""
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

    def command(self):
        return [self.program, "-batch", ":memory:"]


class Gcc(Workload):
    """Compiles a file of this project; the largest of its processes is the compiler proper."""

    def prepare(self):
        (self.program,) = need("gcc")

    def command(self):
        return [self.program, "-std=gnu17", "-D_GNU_SOURCE", "-DPMD_DEBUG=0", "-O2", "-g", "-I",
                f"{self.source}/include", "-I", f"{self.source}/src", "-c", f"{self.source}/src/cache/cache.c", "-o",
                "cache.o"]

    def probe(self):
        return [self.call(self.program, "-print-prog-name=cc1").strip(), "-version"]


class GccLarge(Gcc):
    """Compiles one large file, of functions that have little to do with each other."""

    def prepare(self):
        super().prepare()
        self.file("large.c", "#include <string.h>\n" + "".join(self.function(i) for i in range(int(10 * self.scale))))

    @staticmethod
    def function(i):
        cases = "".join(f"\t\tcase {k}: y ^= s->a[i] + {i * k}; break;\n" for k in range(7))
        return (f"struct s{i} {{ int a[{i % 17 + 1}]; char *p; struct s{i} *next; }};\n"
                f"int f{i}(struct s{i} *s, int x)\n{{\n\tint y = x * {i};\n"
                f"\tfor (int i = 0; i < {i % 17 + 1}; i++) {{\n\t\tswitch ((x + i) % 7) {{\n"
                f"{cases}\t\t}}\n\t\tif (s->p && strlen(s->p) > (size_t)y)\n"
                "\t\t\treturn y + s->a[0];\n\t}\n\treturn s->next ? y : x;\n}\n")

    def command(self):
        return [self.program, "-O2", "-c", "large.c"]


class GccSmall(Gcc):
    """Many small files, one after the other: mostly processes that start and end."""

    def prepare(self):
        super().prepare()
        for i in range(max(1, int(self.scale))):
            self.file(f"small{i}.c", f'#include <stdio.h>\n#include <stdlib.h>\nint f{i}(int n)\n{{\n'
                      f'\tchar *p = malloc(n);\n\n\tprintf("%d %p\\n", n + {i}, (void *)p);\n\treturn {i};\n}}\n')

    def command(self):
        return ["/bin/sh", "-c", f"for f in small*.c; do {self.program} -O1 -c $f || exit; done"]


class Python(Workload):
    """Objects of many kinds, all from malloc."""

    allocator = "malloc"

    def prepare(self):
        (self.program,) = need("python3")
        self.variables["PYTHONMALLOC"] = self.allocator
        self.script = self.file("churn.py", f"""
import json, random, re, zlib
r = random.Random(1)
kept = {{}}
for i in range({int(100 * self.scale)}):
    kept[r.randrange(5000)] = [r.random() for _ in range(r.randrange(30))]
    kept[r.randrange(5000)] = "x%d" % i * r.randrange(100)
    if i % 1000 == 0:
        text = json.dumps(sorted(kept.items(), key=lambda kv: kv[0])).encode()
        assert zlib.decompress(zlib.compress(text)) == text
        re.sub(rb"x(\\d)", rb"y\\1", text)
""")

    def command(self):
        return [self.program, self.script]


class PythonItself(Python):
    """The same as python3 comes: small objects are in its own arenas."""

    allocator = "pymalloc"


class Git(Workload):
    """gc of a repository that is made on the spot."""

    def prepare(self):
        (self.program,) = need("git")
        self.variables.update(GIT_CONFIG_GLOBAL="/dev/null", GIT_CONFIG_NOSYSTEM="1", GIT_AUTHOR_NAME="a",
                              GIT_AUTHOR_EMAIL="a@example.org", GIT_COMMITTER_NAME="a",
                              GIT_COMMITTER_EMAIL="a@example.org")
        self.tree = os.path.join(self.work, "repository")
        self.call(self.program, "init", "-q", self.tree)
        for commit in range(max(1, int(self.scale * 3 / 10))):
            for folder in ("src", "test", "bench", "doc"):
                self.fill(os.path.join(self.tree, folder + str(commit % 4)), folder, commit)
            self.call(self.program, "-C", self.tree, "add", "-A")
            self.call(self.program, "-C", self.tree, "commit", "-q", "-m", f"commit {commit}")

    def fill(self, target, folder, commit):
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(os.path.join(self.source, folder), target)
        for path in glob.glob(target + "/**/*.[ch]", recursive=True):
            with open(path, "a", encoding="utf-8") as out:
                out.write(f"/* {commit} */\n")

    def command(self):
        return [self.program, "-C", self.tree, "gc", "-q", "--aggressive", "--prune=now"]


class Node(Workload):
    """Buffers, maps, JSON, regular expressions, timers. Most of its memory node manages itself, by mmap."""

    def prepare(self):
        (self.program,) = need("node")
        self.script = self.file("churn.js", f"""
const zlib = require('zlib'), crypto = require('crypto');
const kept = [];
for (let i = 0; i < {int(100 * self.scale)}; i++) {{
    kept[i % 500] = Buffer.alloc(10000 + (i * 7919) % 60000, i);
    if (i % 10 == 0) crypto.createHash('sha256').update(zlib.deflateSync(kept[i % 500])).digest('hex');
    if (i % 50 == 0) JSON.parse(JSON.stringify(kept.slice(0, 20).map(b => b.toString('base64'))));
}}
""")

    def command(self):
        return [self.program, self.script]
