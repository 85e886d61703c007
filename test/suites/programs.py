# SPDX-License-Identifier: MIT
"""The suites: what each needs, its tests, how one is run, and what of its output is its result."""

import glob
import os
import re
import shutil

import sources
from sources import Missing


class Suite:
    """A suite of the source package of PACKAGE; PROGRAM: a command of what is tested."""

    environment = {}
    side_by_side = True
    tools = ()

    def __init__(self, arguments):
        self.cache, self.jobs = arguments.cache, arguments.jobs
        self.source = ""

    def prepare(self):
        sources.need(*self.tools)
        self.source = sources.source_of(self.package, self.cache)
        done = os.path.join(self.source, ".pmdalloc-built")
        if not os.path.exists(done):
            self.build(os.path.join(self.cache, f"{self.name}.log"))
            with open(done, "w", encoding="utf-8"):
                pass

    def build(self, log):
        """What of it the tests need and Debian has no package of."""

    def lay_out(self, folder):
        """What a test finds in its folder."""

    def named(self, pattern, folder):
        return sorted(os.path.basename(f) for f in glob.glob(os.path.join(self.source, folder, pattern)))


def tap(text):
    """What failed. How many tests there are is not always the same; when one is missing the status says so."""
    bad = re.findall(r"^not ok \d+.*$|^Bail out.*$", text, re.MULTILINE)
    return ("nothing failed" if not bad else "; ".join(bad)) if "ok 1" in text else "no test was run"


class Python(Suite):
    """From its own package, with every object from malloc."""

    name, program = "python", ["/usr/bin/python3", "-c", "0"]
    environment = {"PYTHONMALLOC": "malloc", "PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1"}

    def prepare(self):
        if not os.access("/usr/bin/python3", os.X_OK):
            raise Missing("no /usr/bin/python3")
        if len(self.units()) < 100:
            raise Missing("no package libpython3.*-testsuite")

    def units(self):
        return sources.output("/usr/bin/python3", "-m", "test", "--list-tests").split()

    def command(self, unit, folder, slot):
        return ["/usr/bin/python3", "-m", "test", "-v", "--randseed", "1", unit], folder

    def result(self, text):
        bad = sorted(set(re.findall(r"^(?:FAIL|ERROR): .*$", text, re.MULTILINE)))
        counts = re.findall(r"^Ran (\d+) tests? |^(?:OK|FAILED).*(skipped=\d+)", text, re.MULTILINE)
        return " ".join(filter(None, (c for pair in counts for c in pair))) + "; ".join(bad)


class Redis(Suite):
    """Its tests start many servers, on ports of their own."""

    name, package, program = "redis", "redis-server", ["redis-server", "--version"]
    tools = ("tclsh", "redis-server", "redis-cli", "redis-benchmark")

    def units(self):
        text = sources.output("tclsh", os.path.join(self.source, "tests/test_helper.tcl"), "--list-tests")
        with open(os.path.join(self.source, "tests/test_helper.tcl"), encoding="utf-8") as f:
            found = re.search(r"set ::all_tests \{(.*?)\}", f.read(), re.DOTALL)
        return text.split() or (found.group(1).split() if found else [])

    def lay_out(self, folder):
        shutil.copytree(os.path.join(self.source, "tests"), os.path.join(folder, "tests"))
        shutil.copytree(os.path.join(self.source, "utils"), os.path.join(folder, "utils"))
        for name in ("runtest", "redis.conf", "sentinel.conf"):
            shutil.copy(os.path.join(self.source, name), folder)
        os.mkdir(os.path.join(folder, "src"))
        for path in glob.glob("/usr/bin/redis-*"):
            os.symlink(path, os.path.join(folder, "src", os.path.basename(path)))
        if not os.path.exists(os.path.join(folder, "src/redis-sentinel")):
            os.symlink("/usr/bin/redis-server", os.path.join(folder, "src/redis-sentinel"))

    def command(self, unit, folder, slot):
        return ["./runtest", "--single", unit, "--clients", "1", "--baseport", str(21100 + 1000 * slot), "--portcount",
                "900"], folder

    def result(self, text):
        text = re.sub(r"\x1b\[[0-9;]*m", "", text)
        text = re.sub(r" \(\d+ ms\)", "", text)
        good = len(set(re.findall(r"^\[ok\].*$", text, re.MULTILINE)))  # some are made as often as time allows
        bad = sorted(set(re.findall(r"^\[(?:err|exception|timeout)\].*$", text, re.MULTILINE)))
        return f"{good} ok; " + "; ".join(bad)


class Memcached(Suite):
    """Its tests in Perl; those of what only a debugging build has fail both ways."""

    name, package, program = "memcached", "memcached", ["memcached", "-h"]
    tools = ("perl", "memcached", "cc")

    def build(self, log):
        """What its tests start everything with; and only a build for debugging knows the option that they give."""
        tests = os.path.join(self.source, "t/lib/MemcachedTest.pm")
        with open(tests, encoding="utf-8") as f:
            text = f.read()
        with open(tests, "w", encoding="utf-8") as f:
            f.write(text.replace('$args .= " -o relaxed_privileges";', ""))
        sources.run(["cc", "-O1", "-o", "timedrun", "timedrun.c"], log, cwd=self.source)

    def units(self):
        return self.named("*.t", "t")

    def lay_out(self, folder):
        shutil.copytree(os.path.join(self.source, "t"), os.path.join(folder, "t"))
        shutil.copy(os.path.join(self.source, "timedrun"), folder)
        for name in ("memcached", "memcached-debug"):
            os.symlink("/usr/bin/memcached", os.path.join(folder, name))

    def command(self, unit, folder, slot):
        return ["perl", "-I", os.path.join(folder, "t/lib"), f"t/{unit}"], folder

    def result(self, text):
        return tap(text)


class Sqlite(Suite):
    """testfixture, of the same version, and the tests that its veryquick runs, but those that make malloc fail."""

    name, package, program = "sqlite", "sqlite3", ["sqlite3", ":memory:", "select 1"]
    tools = ("cc", "make", "tclsh", "sqlite3")
    left_out = re.compile(r"malloc|ioerr|fault|bigfile|_err|fts5corrupt|fts5big|fts5aj|^(all|async|quick|veryquick|full"
                          r"|extraquick|soak|permutations|memsubsys1|memleak|crash.*|corruptC|speed.*|mallocAll|fuzz.*"
                          r"|savepoint6|sqllimits1|threadtest.*|testrunner|releasetest.*)\.test$")

    def build(self, log):
        if not glob.glob("/usr/include/tcl*/tcl.h"):
            raise Missing("no tcl.h (package tcl-dev)")
        configure = ["./configure", "--disable-amalgamation", "--disable-shared", "CFLAGS=-O1"]
        sources.run(configure, log, cwd=self.source)
        sources.run(["make", f"-j{self.jobs}", "testfixture"], log, cwd=self.source)

    def prepare(self):
        super().prepare()
        self.fixture = os.path.join(self.source, "testfixture")
        self.program = [self.fixture, "/dev/null"]

    def units(self):
        return [t for t in self.named("*.test", "test") if not self.left_out.search(t)]

    def command(self, unit, folder, slot):
        return [self.fixture, os.path.join(self.source, "test", unit)], folder

    def result(self, text):
        bad = sorted(set(re.findall(r"^! \S+ .*$", text, re.MULTILINE)))
        return " ".join(re.findall(r"^\d+ errors out of \d+ tests", text, re.MULTILINE)) + "; ".join(bad)


class Postgres(Suite):
    """pg_regress, which is in Debian's package, and the schedule of the source; the server, all backends and psql."""

    name = "postgres"
    side_by_side = False
    tools = ("setpriv", "cc", "make", "perl")

    def __init__(self, arguments):
        super().__init__(arguments)
        found = sorted(glob.glob("/usr/lib/postgresql/*/bin/postgres"))
        if not found:
            raise Missing("no /usr/lib/postgresql/*/bin/postgres")
        self.bin = os.path.dirname(found[-1])
        self.modules = os.path.join(os.path.dirname(self.bin), "lib")
        self.regress = f"{self.modules}/pgxs/src/test/regress/pg_regress"
        self.package = "postgresql-" + os.path.basename(os.path.dirname(self.bin))
        self.program = [found[-1], "--version"]

    def build(self, log):
        """Functions in C that some of its tests call."""
        self.check_user()
        sources.run(["./configure", "--without-readline", "--without-zlib"], log, cwd=self.source)
        sources.run(["make", "-s", "-C", "src/backend", "generated-headers"], log, cwd=self.source)
        sources.run(["cc", "-O1", "-fPIC", "-shared", "-Isrc/include", "-D_GNU_SOURCE", "-o",
                     "src/test/regress/regress.so", "src/test/regress/regress.c"], log, cwd=self.source)

    @staticmethod
    def check_user():
        if os.getuid() or not sources.output("id", "-u", "postgres"):
            raise Missing("it is run as root, who becomes the user postgres")

    def prepare(self):
        if not os.access(self.regress, os.X_OK):
            raise Missing(f"no {self.regress}")
        super().prepare()
        self.check_user()

    def units(self):
        return ["parallel_schedule"]

    def lay_out(self, folder):
        """Readable by its user, and a few tests expect what they make in the input directory."""
        tests = os.path.join(folder, "regress")
        shutil.copytree(os.path.join(self.source, "src/test/regress"), tests)
        for name in ("autoinc.so", "refint.so"):
            os.symlink(os.path.join(self.modules, name), os.path.join(tests, name))
        for path in glob.glob(f"{tests}/sql/*") + glob.glob(f"{tests}/expected/*"):
            with open(path, "rb") as f:
                text = f.read()
            with open(path, "wb") as f:
                f.write(text.replace(b"set regresslib :libdir", b"set regresslib '" + tests.encode() + b"'"))
        for path, _, files in os.walk(folder):
            for name in (path, *(os.path.join(path, f) for f in files)):
                if not os.path.islink(name):
                    shutil.chown(name, "postgres", "postgres")

    def command(self, unit, folder, slot):
        script = f"""
            cd {folder} && {self.bin}/initdb -D data -A trust -U postgres --no-sync >initdb 2>&1 || exit
            {self.bin}/postgres -D data -k {folder} -c listen_addresses= -c fsync=off >log 2>&1 &
            server=$!
            until {self.bin}/psql -h {folder} -c 'select 1' >/dev/null 2>&1; do
                kill -0 $server || exit
                sleep 0.2
            done
            {self.regress} --bindir={self.bin} --host={folder} --user=postgres --dlpath={folder}/regress \\
                --inputdir={folder}/regress --outputdir={folder}/regress --schedule={folder}/regress/{unit}
            status=$?
            kill -INT $server
            wait $server || status=$?
            [ $status = 0 ] || head -n 100 regress/regression.diffs
            grep 'pmdalloc: ' log
            exit $status"""
        return ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups", "bash", "-c", script], folder

    def result(self, text):
        tests = re.findall(r"^(?:test| {4,})\s*(\S+)\s+\.\.\. (ok|FAILED|failed)", text, re.MULTILINE)
        bad = sorted(n for n, how in tests if how != "ok")
        return f"{len(tests)} tests; " + "; ".join(bad)


class Git(Suite):
    """Debian's git, with the helper programs of its tests built from the source."""

    name, package, program = "git", "git", ["git", "--version"]
    tools = ("cc", "make", "perl", "git")
    # Without what needs a library that git's own package was built with; the tests see that it is not there.
    build_options = ("NO_CURL=1", "NO_EXPAT=1", "NO_TCLTK=1", "NO_GETTEXT=1", "NO_OPENSSL=1", "CFLAGS=-O1")
    environment = {"GIT_TEST_INSTALLED": "/usr/bin", "GIT_CONFIG_NOSYSTEM": "1", "TEST_NO_MALLOC_CHECK": "1"}

    def build(self, log):
        if not os.path.exists("/usr/include/zlib.h"):
            raise Missing("no zlib.h (package zlib1g-dev)")
        sources.run(["make", f"-j{self.jobs}", *self.build_options], log, cwd=self.source)

    def units(self):
        return [t for t in self.named("t[0-9]*.sh", "t") if not re.match(r"t(5[58]|7|8|9[1-8])", t)]

    def command(self, unit, folder, slot):
        return ["sh", unit, f"--root={folder}", "--no-color", "--chain-lint"], os.path.join(self.source, "t")

    def result(self, text):
        return tap(text)


SUITES = {s.name: s for s in (Memcached, Redis, Postgres, Sqlite, Git, Python)}
