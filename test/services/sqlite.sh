#!/bin/bash
# SPDX-License-Identifier: MIT
# sqlite3: a script of inserts, joins, indexes, text and JSON functions; the same answers as without the library.
. "$(dirname "$0")/common.sh"
set_up sqlite3
rows=$((full ? 1000000 : 50000))
cat >"$work/script.sql" <<END
create table t (id integer primary key, word text, blob_ blob);
with recursive r(i) as (select 1 union all select i + 1 from r where i < $rows)
	insert into t select i, printf('%08x', (i * 2654435761) % 4294967296), zeroblob(i % 300) from r;
create index byword on t (word);
select count(*), sum(length(blob_)), min(word), max(word) from t;
select substr(word, 1, 1), count(*), avg(id) from t group by 1 order by 1;
select count(*) from t a join t b on a.word = b.word where a.id % 2;
update t set word = upper(word) || id where id % 3 = 0;
delete from t where id % 5 = 0;
select group_concat(word) from (select word from t order by word limit 100);
select json_group_array(json_object('i', id, 'w', word)) from (select * from t order by id limit 50);
vacuum;
pragma integrity_check;
select * from nowhere;
END
input=$work/script.sql expected=1 compare sqlite3 -batch :memory:
check_served sqlite3 :memory: 'select 1'
say "$rows rows"
