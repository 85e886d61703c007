# SPDX-License-Identifier: MIT
"""
The services of the soak: how each is started, filled, read back, saved, stopped and killed. Every value is derived from
its key and a version, so that what is read says by itself whether it is right.

A service that was killed loses its connections; what was under way then may have happened or not, and both are right.
What it had acknowledged must be there when it is back, where it keeps anything.
"""

import glob
import hashlib
import os
import pwd
import random
import shutil
import signal
import socket
import subprocess
import threading
import time

import watch

BATCH = 200
POLL = 0.1


class Lost(Exception):
    """The service is gone, or the connection to it."""


class Wrong(Exception):
    """What must not be: data are lost or other than written, or the service says that something is wrong."""


def digest_of(text):
    return hashlib.blake2b(text.encode(), digest_size=24)


def value(key, version):
    """Most are small, one in twenty has up to 128 KiB; of a key all have the same size, so that what is full can be
    compared with what is full at another time."""
    digest, fixed = digest_of(f"{key}:{version}"), digest_of(f"{key}").digest()
    kind, size = fixed[0], int.from_bytes(fixed[1:5], "little")
    length = 16 + size % (500 if kind < 180 else 8000 if kind < 243 else 128000)
    text = digest.hexdigest().encode()
    return (text * (length // len(text) + 1))[:length]


class Model:
    """What a store must hold: for each key the versions that it may have; 0: none."""

    def __init__(self, keys, seed):
        self.random = random.Random(seed)
        self.may = {k: {0} for k in range(keys)}
        self.version = 0

    def forget(self):
        self.may = {k: {0} for k in self.may}

    def new(self):
        self.version += 1
        return self.version

    def absent(self):
        return [(k, self.new()) for k, may in self.may.items() if 0 in may]

    def some(self, share):
        """New versions, or none, for a random share of the keys."""
        return [(k, self.new() if self.random.random() < 0.8 else 0) for k in self.may
                if self.random.random() < share]

    def most(self, share):
        return [(k, 0) for k, may in self.may.items() if may != {0} and self.random.random() < share]

    def begin(self, batch):
        for key, version in batch:
            self.may[key] = self.may[key] | {version}

    def done(self, batch):
        for key, version in batch:
            self.may[key] = {version}

    def check(self, key, found):
        for version in self.may[key]:
            if (value(key, version) if version else None) == found:
                self.may[key] = {version}
                return
        what = "nothing" if found is None else f"{len(found)} bytes, {found[:40]!r}"
        raise Wrong(f"key {key} has {what}; versions {sorted(self.may[key])} would be right")


class Service:
    """One server process, or a tree of them. What a subclass must have: start_server, write, read, end."""

    keys = 12000
    programs = ()
    stop_signal = signal.SIGTERM

    @classmethod
    def missing(cls):
        """Why it cannot run here."""
        return next((f"no {p}" for p in cls.programs if not shutil.which(p)), None)

    def __init__(self, soak, name, steady):
        self.soak, self.name, self.steady = soak, name, steady
        self.directory = os.path.join(soak.directory, name)
        os.makedirs(self.directory)
        self.log = os.path.join(self.directory, "log")
        self.lock = threading.Lock()  # of process: nobody kills a number that was waited for
        self.process = None
        self.was_killed = False
        self.lives = 0
        self.configuration = ""
        self.random = random.Random(f"{soak.seed} {name}")
        self.model = Model(max(100, int(self.keys * soak.scale)), f"{soak.seed} {name} model")

    # --- processes ---

    def as_user(self):
        return []

    def spawn(self, command, **streams):
        environment = [f"{n}={v}" for n, v in self.soak.environment.items()] + [f"LD_PRELOAD={self.soak.library}"]
        if self.configuration:
            environment.append(f"PMDALLOC_CONF={self.configuration}")
        with open(self.log, "ab") as log, self.lock:
            streams = {"stdin": subprocess.DEVNULL, "stdout": log, **streams}
            self.was_killed = False
            self.lives += 1
            self.process = subprocess.Popen(
                self.soak.pressure.inside([*self.as_user(), "env", *environment, *command], 0 if self.steady else 500),
                stderr=log,
                cwd=self.directory, start_new_session=True, **streams)

    def pids(self):
        with self.lock:
            return watch.tree(self.process.pid) if self.process and self.process.poll() is None else []

    def kill(self):
        """From another thread than the one that works with it. False when there was nothing to kill."""
        with self.lock:
            if not self.process or self.process.poll() is not None:
                return False
            self.was_killed = True
            self.kill_some(self.process.pid)
            return True

    def kill_some(self, pid):
        os.kill(pid, signal.SIGKILL)

    def reap(self):
        """Waits for the process, which is about to end; its status."""
        while self.process.poll() is None:
            self.soak.beat(self)
            time.sleep(POLL)
        with self.lock:
            status, self.process = self.process.returncode, None
        return status

    def until(self, true):
        while not true():
            if self.process.poll() is not None:
                raise Lost(f"{self.name} ended before it was ready")
            self.soak.beat(self)
            time.sleep(POLL)

    def start(self):
        self.start_server()
        with self.lock:
            if self.process is None or self.process.poll() is not None:
                raise Lost(f"{self.name} ended at its start")
            with_library = any(self.soak.library in self.maps(p) for p in watch.tree(self.process.pid))
        if not with_library and not self.was_killed:
            raise Wrong(f"{self.name} runs without {self.soak.library}")

    @staticmethod
    def maps(pid):
        try:
            return watch.read(f"/proc/{pid}/maps")
        except OSError:
            return ""

    def recover(self):
        """After a kill: what is there must be right. Raises Lost when it was killed again meanwhile."""
        self.disconnect()
        self.reap()
        self.forget()
        self.start()
        self.check()

    def forget(self):
        """What the service need not know after a kill."""

    def disconnect(self):
        pass

    def stop(self):
        """Politely; it must end with 0."""
        self.end()
        status = self.reap()
        self.disconnect()
        if status:
            raise Wrong(f"{self.name} ended with status {status}")

    def end(self):
        self.process.send_signal(self.stop_signal)

    # --- data ---

    def change(self, changes):
        for i in range(0, len(changes), BATCH):
            batch = changes[i:i + BATCH]
            self.soak.beat(self)
            self.model.begin(batch)
            self.write(batch)
            self.model.done(batch)

    def fill(self):
        self.change(self.model.absent())

    def churn(self):
        for _ in range(3):
            self.change(self.model.some(0.15))

    def drop(self):
        self.change(self.model.most(0.95))

    def check(self):
        keys = list(self.model.may)
        for i in range(0, len(keys), BATCH):
            batch = keys[i:i + BATCH]
            self.soak.beat(self)
            found = self.read(batch)
            for key in batch:
                self.model.check(key, found.get(key))

    def save(self):
        """To disk, by a child where the service does it so."""


class Connection:
    """A stream to a Unix socket; whatever goes wrong with it is Lost."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        try:
            self.socket.connect(path)
        except OSError as error:
            self.socket.close()
            raise Lost(str(error)) from error
        self.file = self.socket.makefile("rb")

    def send(self, data):
        try:
            self.socket.sendall(data)
        except OSError as error:
            raise Lost(str(error)) from error

    def line(self):
        try:
            line = self.file.readline()
        except OSError as error:
            raise Lost(str(error)) from error
        if not line.endswith(b"\r\n"):
            raise Lost("the connection ended")
        return line[:-2]

    def bytes(self, count):
        try:
            data = self.file.read(count + 2)
        except OSError as error:
            raise Lost(str(error)) from error
        if len(data) != count + 2:
            raise Lost("the connection ended")
        return data[:-2]

    def close(self):
        self.file.close()
        self.socket.close()


class SocketService(Service):
    """One that is reached by a Unix socket in its directory."""

    connection = None

    def connect(self):
        try:
            self.connection = Connection(self.socket_path())
            return self.answers()
        except Lost:
            self.disconnect()
            return False

    def socket_path(self):
        return os.path.join(self.directory, "socket")

    def disconnect(self):
        if self.connection:
            self.connection.close()
        self.connection = None


class Redis(SocketService):
    """Steady: BGSAVE while others write. Killed: a log to which all is appended before it is acknowledged."""

    programs = ("redis-server", "redis-benchmark")

    def start_server(self):
        appends = ("no",) if self.steady else ("yes", "--appendfsync", "no", "--auto-aof-rewrite-percentage", "60",
                                               "--auto-aof-rewrite-min-size", "8mb")
        self.spawn(["redis-server", "--port", "0", "--unixsocket", self.socket_path(), "--dir", self.directory,
                    "--save", "", "--dbfilename", "dump.rdb", "--appendonly", *appends])
        self.until(self.connect)

    def answers(self):
        self.send([(b"PING",)])
        if self.reply() == b"PONG":  # not while it loads
            return True
        self.disconnect()
        return False

    def send(self, commands):
        parts = []
        for command in commands:
            parts.append(b"*%d\r\n" % len(command))
            parts += [b"$%d\r\n%s\r\n" % (len(a), a) for a in command]
        self.connection.send(b"".join(parts))

    def reply(self):
        line = self.connection.line()
        kind, rest = line[:1], line[1:]
        if kind == b"$":
            return None if rest == b"-1" else self.connection.bytes(int(rest))
        if kind == b"*":
            return [self.reply() for _ in range(int(rest))]
        return line if kind == b"-" else rest

    def ask(self, *command):
        self.send([command])
        answer = self.reply()
        if isinstance(answer, bytes) and answer.startswith(b"-"):
            raise Wrong(f"{self.name} says {answer!r} to {command!r}")
        return answer

    def commands(self, key, version):
        """Now and then a value comes in two parts, of which nobody may see the first alone."""
        name = b"key:%d" % key
        if not version:
            return [(b"DEL", name)]
        data = value(key, version)
        if version % 4:
            return [(b"SET", name, data)]
        half = len(data) // 2
        return [(b"MULTI",), (b"SET", name, data[:half]), (b"APPEND", name, data[half:]), (b"EXEC",)]

    def write(self, batch):
        commands = [c for key, version in batch for c in self.commands(key, version)]
        self.send(commands)
        for command in commands:
            answer = self.reply()
            if isinstance(answer, bytes) and answer.startswith(b"-"):
                raise Wrong(f"{self.name} says {answer!r} to {command[:2]!r}")

    def read(self, keys):
        return dict(zip(keys, self.ask(b"MGET", *(b"key:%d" % k for k in keys))))

    def churn(self):
        """While it saves, and while others make lists, hashes and sets, in a database of their own."""
        self.save_beside()
        with open(os.devnull, "wb") as out:
            other = subprocess.Popen(
                ["redis-benchmark", "-s", self.socket_path(), "-q", "-n", str(int(20000 * self.soak.scale)),
                 "-r", "5000", "-d", "200", "-P", "16", "--dbnum", "1", "-t", "lpush,hset,zadd,sadd,incr"],
                stdout=out, stderr=out)
        try:
            super().churn()
            while other.poll() is None:
                self.soak.beat(self)
                time.sleep(POLL)
        finally:
            other.kill()
            other.wait()
        self.wait_for_child()

    def save_beside(self):
        """It rewrites its log by itself as well, and refuses to do so twice at a time."""
        self.send([(b"BGSAVE" if self.steady else b"BGREWRITEAOF",)])
        answer = self.reply()
        if answer.startswith(b"-") and (self.steady or b"in progress" not in answer):
            raise Wrong(f"{self.name} says {answer!r}")

    def wait_for_child(self):
        """Until nothing is being saved; what was saved must have been."""
        while True:
            info = dict(line.split(":", 1) for line in self.ask(b"INFO", b"persistence").decode().splitlines()
                        if ":" in line)
            if info["rdb_last_bgsave_status"] != "ok" or info["aof_last_bgrewrite_status"] != "ok":
                raise Wrong(f"{self.name} could not save")
            if info["rdb_bgsave_in_progress"] == info["aof_rewrite_in_progress"] == "0":
                return
            self.soak.beat(self)
            time.sleep(POLL)

    def save(self):
        self.ask(b"SELECT", b"1")
        self.ask(b"FLUSHDB")
        self.ask(b"SELECT", b"0")
        self.save_beside()
        self.wait_for_child()

    def end(self):
        self.send([(b"SHUTDOWN", b"SAVE")])


class Memcached(SocketService):
    """Keeps nothing over a kill."""

    programs = ("memcached",)
    stop_signal = signal.SIGINT

    def start_server(self):
        if os.path.exists(self.socket_path()):
            os.unlink(self.socket_path())
        user = ["-u", "root"] if os.getuid() == 0 else []
        self.spawn(["memcached", "-s", self.socket_path(), "-m", "1024", "-t", "4", "-c", "256", *user])
        self.until(self.connect)

    def answers(self):
        self.connection.send(b"version\r\n")
        return self.connection.line().startswith(b"VERSION")

    def forget(self):
        self.model.forget()

    def write(self, batch):
        parts = []
        for key, version in batch:
            data = value(key, version) if version else None
            parts.append(b"set k%d 0 0 %d\r\n%s\r\n" % (key, len(data), data) if data else b"delete k%d\r\n" % key)
        self.connection.send(b"".join(parts))
        for key, version in batch:
            answer = self.connection.line()
            if answer not in ((b"STORED",) if version else (b"DELETED", b"NOT_FOUND")):
                raise Wrong(f"{self.name} says {answer!r} to key {key}")

    def read(self, keys):
        self.connection.send(b"get " + b" ".join(b"k%d" % k for k in keys) + b"\r\n")
        found = {}
        while True:
            head = self.connection.line().split()
            if head[0] == b"END":
                return found
            if head[0] != b"VALUE":
                raise Wrong(f"{self.name} says {b' '.join(head)!r}")
            found[int(head[1][1:])] = self.connection.bytes(int(head[3]))

    def churn(self):
        """Beside other connections that come and go."""
        others = [Connection(self.socket_path()) for _ in range(100)]
        try:
            super().churn()
        finally:
            for other in others:
                other.close()


class Postgres(Service):
    """A tree of processes; one of them is killed, and either all starts again by itself or has to be started."""

    keys = 6000
    programs = ("setpriv",)
    stop_signal = signal.SIGINT
    session = None

    @staticmethod
    def bin():
        found = sorted(glob.glob("/usr/lib/postgresql/*/bin"))
        return found[-1] if found else ""

    @classmethod
    def missing(cls):
        if not os.access(os.path.join(cls.bin(), "initdb"), os.X_OK):
            return "no initdb in /usr/lib/postgresql"
        if os.getuid() == 0 and "postgres" not in (u.pw_name for u in pwd.getpwall()):
            return "no user postgres"
        return super().missing()

    def as_user(self):
        if os.getuid():
            return []
        return ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]

    def program(self, name):
        return os.path.join(self.bin(), name)

    def data(self):
        return os.path.join(self.directory, "data")

    def start_server(self):
        if not os.path.exists(self.data()):
            self.initialise()
        self.spawn([self.program("postgres"), "-D", self.data(), "-k", self.directory, "-c", "listen_addresses=",
                    "-c", "fsync=off", "-c", "shared_buffers=32MB", "-c", "autovacuum=off", "-c", "max_wal_size=128MB",
                    "-c", "max_connections=20"])
        self.until(self.connect)

    def initialise(self):
        if os.getuid() == 0:
            shutil.chown(self.directory, "postgres")
        with open(self.log, "ab") as log:
            subprocess.run([*self.as_user(), self.program("initdb"), "-D", self.data(), "-A", "trust", "-U", "postgres",
                            "--no-sync"], stdout=log, stderr=log, check=True, cwd=self.directory)

    def connect(self):
        self.disconnect()
        try:
            self.session = subprocess.Popen(
                [*self.as_user(), self.program("psql"), "-X", "-q", "-A", "-t", "-h", self.directory, "-U", "postgres",
                 "-v", "ON_ERROR_STOP=1"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                cwd=self.directory, start_new_session=True)
            self.ask("set client_min_messages=error;"
                     "create table if not exists soak (key int primary key, value text);")
            return True
        except Lost:
            self.disconnect()
            return False

    def disconnect(self):
        if self.session:
            self.session.kill()
            self.session.communicate()
        self.session = None

    def ask(self, sql):
        """The lines of the answer. psql ends at the first error, and is Lost then; the server need not be."""
        try:
            self.session.stdin.write(sql.encode() + b"\n\\echo <end>\n")
            self.session.stdin.flush()
        except OSError as error:
            raise Lost(str(error)) from error
        lines = []
        while True:
            line = self.session.stdout.readline()
            if not line.endswith(b"\n"):
                raise Lost("psql ended")
            if line == b"<end>\n":
                return lines
            lines.append(line[:-1])

    def write(self, batch):
        rows = ",".join(f"({k},'{value(k, v).decode()}')" for k, v in batch if v)
        gone = ",".join(str(k) for k, v in batch if not v)
        sql = ["begin;"]
        if rows:
            sql.append(f"insert into soak values {rows} on conflict (key) do update set value = excluded.value;")
        if gone:
            sql.append(f"delete from soak where key in ({gone});")
        self.ask("\n".join([*sql, "commit;"]))

    def read(self, keys):
        rows = self.ask(f"select key, value from soak where key in ({','.join(map(str, keys))});")
        return {int(k): v for k, v in (row.split(b"|", 1) for row in rows)}

    def churn(self):
        """And queries that sort, hash and make long strings."""
        super().churn()
        for kb in (64, 4096, 32768):
            self.soak.beat(self)
            self.ask(f"set work_mem='{kb}kB';"
                     "select count(*) from (select distinct value from soak) x;"
                     "select count(*) from (select substr(value, 1, 8) s, string_agg(value, ',' order by value)"
                     " from soak group by key % 50, s) x;"
                     "select count(*) from soak a join soak b on substr(a.value, 1, 20) = substr(b.value, 1, 20);"
                     "select length(string_agg(value, ';')) from soak;")

    def drop(self):
        super().drop()
        self.soak.beat(self)
        self.ask("vacuum analyze soak;")

    def save(self):
        self.ask("checkpoint;")

    def kill_some(self, pid):
        """The first of the tree, or any other."""
        family = watch.tree(pid)
        self.victim = pid if self.random.random() < 0.3 else self.random.choice(family)
        try:
            os.kill(self.victim, signal.SIGKILL)
        except ProcessLookupError:
            os.kill(pid, signal.SIGKILL)
            self.victim = pid

    def recover(self):
        """What is left over of a server that is gone goes soon: until then a new one refuses to start."""
        self.disconnect()
        if self.process.poll() is None and self.victim != self.process.pid:
            self.until(self.connect)
        else:
            self.reap()
            self.restart()
        self.check()

    def restart(self):
        while True:
            try:
                self.start()
                return
            except Lost:
                if self.was_killed or not self.refused():
                    raise
                self.reap()

    def refused(self):
        with open(self.log, "rb") as log:
            tail = log.read()[-1000:]
        return b"still in use" in tail or b"Is another postmaster" in tail or b"lock file" in tail


class Keeper(Service):
    """keeper.c: many threads, children, values of all sizes; saved by a child, loaded after a kill."""

    keys = 100000
    threads = 12

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.saved = 0
        self.epoch = 0

    @classmethod
    def missing(cls):
        return None

    def start_server(self):
        keys = max(1000, int(self.keys * self.soak.scale))
        self.spawn([self.soak.keeper, os.path.join(self.directory, "file"), str(keys), str(self.threads)],
                   stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        epoch = int(self.answer("loaded")[0])
        if epoch < self.saved:
            raise Wrong(f"{self.name} loaded {epoch} of {self.saved}")

    def answer(self, word):
        line = self.process.stdout.readline().decode()
        self.soak.beat(self)
        if not line.endswith("\n"):
            raise Lost(f"{self.name} ended")
        if not line.startswith(word + " "):
            raise Wrong(f"{self.name} says {line.strip()}")
        return line.split()[1:]

    def obey(self, command, word="ok"):
        try:
            self.process.stdin.write(command.encode() + b"\n")
            self.process.stdin.flush()
        except OSError as error:
            raise Lost(str(error)) from error
        return self.answer(word)

    def fill(self):
        self.obey("fill")

    def churn(self):
        for _ in range(5):
            self.obey("churn 5000")
            self.obey("fork")

    def drop(self):
        self.obey("drop 95")

    def check(self):
        self.obey("check")

    def save(self):
        self.epoch += 1
        self.obey(f"save {self.epoch}", "saved")
        self.saved = self.epoch

    def disconnect(self):
        if self.process:
            for stream in (self.process.stdin, self.process.stdout):
                try:
                    stream.close()
                except OSError:
                    pass

    def end(self):
        self.process.stdin.close()


KINDS = {"redis": Redis, "memcached": Memcached, "postgres": Postgres, "keeper": Keeper}
