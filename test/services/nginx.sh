#!/bin/bash
# SPDX-License-Identifier: MIT
# nginx: static and compressed files, many connections, reload of the configuration under load.
. "$(dirname "$0")/common.sh"
PATH=$PATH:/usr/sbin
set_up nginx python3 curl
requests=$((full ? 100000 : 5000))

port=$(free_port)
mkdir "$work/www"
for size in 100 5000 100000 3000000; do
	head -c "$size" < <(yes "a line of text that compresses well, $size") >"$work/www/$size.txt"
done
cat >"$work/nginx.conf" <<END
worker_processes 2;
daemon off;
pid $work/pid;
error_log $work/error.log;
events { worker_connections 512; }
http {
	access_log off;
	gzip on;
	gzip_types text/plain;
	types { text/plain txt; }
	client_body_temp_path $work/t1; proxy_temp_path $work/t2; fastcgi_temp_path $work/t3;
	uwsgi_temp_path $work/t4; scgi_temp_path $work/t5;
	server {
		listen 127.0.0.1:$port;
		root $work/www;
		location /up/ { proxy_pass http://127.0.0.1:$port/; }
	}
}
END
[ "$(id -u)" -ne 0 ] || sed -i '1i user root;' "$work/nginx.conf"
start "$work/log" nginx -c "$work/nginx.conf" -e "$work/error.log"
until_true curl -sf "http://127.0.0.1:$port/100.txt"
check_mapped "$pid"
read -ra workers <"/proc/$pid/task/$pid/children" || true # it has no line end
[ ${#workers[@]} -gt 0 ] || fail "no worker processes"
for worker in "${workers[@]}"; do
	check_mapped "$worker"
done

load()
{
	if command -v ab >/dev/null; then
		ab -q -c 50 -n "$requests" -H 'Accept-Encoding: gzip' "http://127.0.0.1:$port/$1" >"$work/ab" 2>&1 ||
			{ cat "$work/ab"; fail "ab"; }
		grep -q '^Failed requests: *0$' "$work/ab" || { cat "$work/ab"; fail "requests failed"; }
	else
		seq 400 | xargs -P 8 -I{} curl -sf --compressed -o /dev/null "http://127.0.0.1:$port/$1?{}" || fail "curl"
	fi
}

for file in 5000.txt 100000.txt up/100000.txt; do
	load "$file"
	kill -HUP "$pid"
done
for size in 100 5000 100000 3000000; do
	for path in "$size.txt" "up/$size.txt"; do
		curl -sf --compressed "http://127.0.0.1:$port/$path" | cmp - "$work/www/$size.txt" || fail "$path differs"
	done
done
stop "$pid" QUIT
check_silent "$work/log" "$work/error.log"
! grep -E 'alert|emerg|exited on signal' "$work/error.log" || fail "nginx complained"
check_served nginx -t -c "$work/nginx.conf" -e "$work/error.log"
say "3 x $requests requests, 3 reloads"
