#!/bin/sh
# SPDX-License-Identifier: MIT
# Run by systemd in the small machine of systemd.sh.
exec 2>&1
bad=0
cgroup=/sys/fs/cgroup/cache.slice/pmdalloc-exit@cache.service

# Nobody is there but the unit's own process, which keeps the cgroup.
no_helper()
{
	[ ! -e $cgroup/cgroup.procs ] || [ "$(wc -l <$cgroup/cgroup.procs)" -eq 1 ]
}

complain()
{
	echo "systemd: $*"
	bad=1
}

# In ms; the clock ticks every 10.
now()
{
	sed 's/ .*//; s/\.//; s/$/0/' /proc/uptime
}

give_up()
{
	complain "$*"
	echo 1 >/run/status
	exit 1
}

# $1 does not hold after $2 tenths of a second.
wait_until()
{
	i=0
	while ! eval "$1"; do
		i=$((i + 1))
		[ $i -lt "$2" ] || give_up "waited in vain: $1"
		usleep 100000
	done
}

start()
{
	systemctl start "$1.service" || give_up "$1 does not start"
	wait_until "grep -q ready /run/$1.out" 600
}

is_active()
{
	systemctl is-active --quiet "$1.service"
}

stop()
{
	start "$1"
	begin=$(now)
	systemctl stop "$1.service" || complain "$1: stop fails"
	end=$(now)
	! is_active "$1" || complain "$1 is still active"
	echo "$1: systemctl stop took $((end - begin)) ms"
}

# While the cgroup is frozen a helper in it cannot go on; systemd would have to wait 90 s.
stop_frozen()
{
	start "$1"
	no_helper || complain "$1: somebody is in $cgroup"
	echo 1 >$cgroup/cgroup.freeze
	begin=$(now)
	systemctl "$2" "$1.service" || complain "$1: $2 fails"
	end=$(now)
	echo "$1: systemctl $2 took $((end - begin)) ms, with a helper that cannot go on"
	[ "$(wc -l <$cgroup/cgroup.procs)" -eq 2 ] || complain "$1: no helper in $cgroup"
	echo 0 >$cgroup/cgroup.freeze
	wait_until no_helper 600
	if [ "$2" = restart ]; then
		is_active "$1" || complain "$1 is not active again"
		systemctl stop "$1.service"
	else
		! is_active "$1" || complain "$1 is still active"
	fi
}

systemctl --version | head -n 1
for name in without plain elsewhere unprivileged; do
	stop $name
	wait_until no_helper 600
done
for name in elsewhere unprivileged; do
	stop_frozen $name stop
	stop_frozen $name restart
done
[ $bad -ne 0 ] || echo "all as it should be"
echo $bad >/run/status
