#!/bin/bash
# SPDX-License-Identifier: MIT
# PostgreSQL: initdb, a script of queries compared with a server without the library, pgbench.
. "$(dirname "$0")/common.sh"
bin=$(find /usr/lib/postgresql/*/bin -maxdepth 0 2>/dev/null | tail -n 1) || true
[ -x "$bin/initdb" ] || { printf 'postgres: skipped: no initdb\n'; exit 77; }
set_up setpriv
seconds=$((full ? 30 : 3))
scale=$((full ? 10 : 1))

as_owner=()
if [ "$(id -u)" -eq 0 ]; then
	id postgres >/dev/null 2>&1 || skip "no user postgres"
	as_owner=(setpriv --reuid=postgres --regid=postgres --clear-groups)
	chown postgres "$work"
fi
cd "$work"

sql()
{
	"${as_owner[@]}" "$bin/psql" -X -h "$work" -d postgres -v ON_ERROR_STOP=1 "$@"
}

cat >queries.sql <<'END'
create table t (id int primary key, word text, n numeric, doc jsonb);
insert into t select i, md5(i::text), i * 1.000001::numeric, jsonb_build_object('k', i, 'l', jsonb_build_array(i, md5(i::text)))
	from generate_series(1, 50000) i;
create index on t using gin (doc);
create index on t (word);
analyze t;
select count(*), sum(n), min(word), max(word) from t;
select id, word from t where doc @> '{"k": 4711}';
select substr(word, 1, 1) w, count(*), round(avg(n), 6) from t group by 1 order by 1;
select count(*) from (select string_agg(a.word, ',' order by b.word) from t a join t b on a.id = b.id + 1
	group by a.id % 100) x;
with recursive r(i, s) as (select 1, 'a' union all select i + 1, s || chr(97 + i % 26) from r where i < 2000)
	select i, md5(s) from r where i % 500 = 0;
do $$ declare a text := ''; begin for i in 1..20000 loop a := a || i; end loop; raise notice '%', md5(a); end $$;
update t set word = reverse(word), doc = doc || '{"z": true}' where id % 3 = 0;
delete from t where id % 7 = 0;
vacuum full t;
select md5(string_agg(word || n::text || doc::text, '' order by id)) from t;
\set ON_ERROR_STOP off
select 1 / 0;
select word::int from t limit 1;
END

for how in plain ours; do
	under "$how" "${as_owner[@]}" "$bin/initdb" -D "$work/$how" -A trust -U postgres --no-sync >"$how.initdb" 2>&1 ||
		{ cat "$how.initdb"; fail "initdb ($how)"; }
	preload=()
	[ "$how" = plain ] || preload=(env LD_PRELOAD="$library")
	"${preload[@]}" "${as_owner[@]}" "$bin/postgres" -D "$work/$how" -k "$work" -c listen_addresses= -c fsync=off \
		-c shared_buffers=64MB -c max_parallel_workers_per_gather=2 >"$how.log" 2>&1 </dev/null &
	pid=$!
	started+=("$pid")
	until_true sql -U postgres -c 'select 1'
	[ "$how" = plain ] || check_mapped "$pid"
	sql -U postgres -a -f queries.sql >"$how.sql" 2>&1 || { tail -n 5 "$how.sql"; fail "queries ($how)"; }
	if [ "$how" = ours ]; then
		backend=$(sql -U postgres -At -c 'select pg_backend_pid(), pg_read_file($$/proc/self/maps$$)' | grep -c "$library")
		[ "$backend" -gt 0 ] || fail "a backend process does not have the library"
		sql -U postgres -c 'create database bench' >/dev/null
		"${as_owner[@]}" "$bin/pgbench" -h "$work" -U postgres -i -q -s "$scale" bench >/dev/null 2>&1 || fail "pgbench -i"
		"${as_owner[@]}" "$bin/pgbench" -h "$work" -U postgres -c 8 -j 2 -T "$seconds" bench >bench.out 2>&1 ||
			{ cat bench.out; fail "pgbench"; }
		grep -q 'number of failed transactions: 0 ' bench.out || { cat bench.out; fail "transactions failed"; }
	fi
	stop "$pid" INT
done
sed -i "s|$work/[a-z]*|DIR|g" plain.initdb ours.initdb
check_silent ours.initdb ours.log
cmp plain.initdb ours.initdb || fail "initdb says something else"
diff plain.sql ours.sql || fail "queries answer differently"
say "initdb, queries, pgbench of $seconds s: $(grep -o 'tps = [0-9]*' bench.out)"
