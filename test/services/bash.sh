#!/bin/bash
# SPDX-License-Identifier: MIT
# bash: arrays, expansions, subshells, pipes, traps; the same output as without the library.
. "$(dirname "$0")/common.sh"
set_up bash
cat >"$work/script" <<'END'
declare -A map
for ((i = 0; i < $1; i++)); do
	map[k$((i * 7919 % 5003))]+="v$i,"
	list+=("$i")
	((i % 3)) || unset "map[k$((i % 5003))]"
done
for k in "${!map[@]}"; do echo "$k=${map[$k]//v/w}"; done | sort | cksum
echo "${#list[@]} ${list[*]: -5}"
text=$(for i in {1..2000}; do printf '%s ' "$i"; done)
[[ $text =~ ([0-9]+)\ 1000\ ([0-9]+) ]] && echo "${BASH_REMATCH[@]}"
for i in {1..50}; do (echo "$i" | { read -r x; echo $((x * x)); }) done | paste -sd ' '
trap 'echo got USR1' USR1
kill -USR1 $$
seq 20000 | while read -r n; do s+=$n; done
mapfile -t lines < <(seq 10000)
echo "${#lines[@]}"
exit 9
END
expected=9 compare bash "$work/script" $((full ? 200000 : 20000))
check_served bash -c :
say "arrays, subshells, traps"
