#!/bin/bash
# SPDX-License-Identifier: MIT
# memcached: several clients write, read back, delete; evictions under a small limit.
. "$(dirname "$0")/common.sh"
set_up memcached python3
items=$((full ? 200000 : 20000))

as_user=()
[ "$(id -u)" -ne 0 ] || as_user=(-u root)
start "$work/log" memcached -s "$work/sock" -m 64 -t 4 -c 64 "${as_user[@]}"
until_true test -S "$work/sock"
check_mapped "$pid"
cat >"$work/client.py" <<'END'
import socket, sys, threading

path, items = sys.argv[1], int(sys.argv[2])
failures = []

def value_of(client, i):
    return (b"%d:%d;" % (client, i)) * (1 + (i * 7919) % 300)

def run(client):
    s = socket.socket(socket.AF_UNIX)
    s.connect(path)
    f = s.makefile("rwb")
    hits = 0
    for i in range(items):
        v = value_of(client, i)
        f.write(b"set k%d.%d 0 0 %d\r\n%s\r\n" % (client, i, len(v), v))
        f.flush()
        if f.readline() != b"STORED\r\n":
            failures.append("not stored: %d.%d" % (client, i))
        j = max(0, i - 50)
        f.write(b"get k%d.%d\r\n" % (client, j))
        f.flush()
        head = f.readline().split()
        if head[0] == b"VALUE":
            got = f.read(int(head[3]) + 2)[:-2]
            hits += 1
            f.readline()
            if got != value_of(client, j):
                failures.append("wrong value: %d.%d" % (client, j))
        if i % 10 == 9:
            f.write(b"delete k%d.%d\r\n" % (client, i))
            f.flush()
            f.readline()
    if hits < items // 2:
        failures.append("client %d found %d of %d" % (client, hits, items))

threads = [threading.Thread(target=run, args=(c,)) for c in range(4)]
[t.start() for t in threads]
[t.join() for t in threads]
print("\n".join(failures[:10]) or "ok")
sys.exit(bool(failures))
END
/usr/bin/python3 "$work/client.py" "$work/sock" "$items" || fail "the client saw wrong answers"
stop "$pid" INT
check_silent "$work/log"
check_served memcached -h
say "4 clients, $items items each"
