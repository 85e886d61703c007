#!/bin/bash
# SPDX-License-Identifier: MIT
# redis-server: load, BGSAVE while writing, INFO, restart from the dump.
. "$(dirname "$0")/common.sh"
set_up redis-server redis-cli redis-benchmark
requests=$((full ? 500000 : 30000))
keys=$((full ? 1000000 : 100000))

cli()
{
	redis-cli -s "$work/sock" "$@" </dev/null
}

# While it still loads the dump, PING fails with a text and exit status 0.
answers()
{
	[ "$(cli ping)" = PONG ]
}

serve()
{
	start "$work/log" redis-server --port 0 --unixsocket "$work/sock" --dir "$work" --save '' --appendonly no \
		--enable-debug-command local
	until_true answers
	check_mapped "$pid"
}

check_served redis-server --version
serve
redis-benchmark -s "$work/sock" -q -n "$requests" -r "$keys" -d 300 -P 8 -t set,get,lpush,sadd,hset,zadd >/dev/null
cli debug populate "$keys" key: 100 >/dev/null
[ "$(cli dbsize)" -ge "$keys" ] || fail "keys are missing"

# A child that saves the data while the parent changes them: both heaps must stay right.
redis-benchmark -s "$work/sock" -q -n "$requests" -r "$keys" -d 500 -P 8 -t set >"$work/writer" &
writer=$!
for ((i = 0; i < 3; i++)); do
	cli bgsave >/dev/null
	until_true sh -c "redis-cli -s '$work/sock' info persistence | grep -q rdb_bgsave_in_progress:0"
	cli info persistence | grep -q rdb_last_bgsave_status:ok || fail "BGSAVE failed"
done
wait "$writer" || fail "the writer failed"
for section in server memory stats keyspace; do
	cli info "$section" | grep -q '^# ' || fail "INFO $section is empty"
done
[ "$(cli info memory | tr -d '\r' | awk -F: '/^used_memory:/ { print $2 }')" -gt 1000000 ] || fail "INFO counts no memory"

digest=$(cli debug digest)
cli save >/dev/null
stop "$pid" TERM
serve
[ "$(cli debug digest)" = "$digest" ] || fail "the data differ after a restart from the dump"
cli shutdown nosave || true
wait "$pid" || fail "SHUTDOWN: status $?"
check_silent "$work/log"

# What was saved under the library must read the same without it.
redis-server --port 0 --unixsocket "$work/sock" --dir "$work" --save '' --enable-debug-command local >/dev/null 2>&1 &
started+=($!)
until_true answers
[ "$(cli debug digest)" = "$digest" ] || fail "the dump reads differently without the library"
cli shutdown nosave || true
say "$keys keys and $requests requests of each kind, three BGSAVEs, two restarts"
