#!/bin/bash
# SPDX-License-Identifier: MIT
# git: commits of real files, clone, gc, fsck, log and diff; the same objects as without the library.
. "$(dirname "$0")/common.sh"
set_up git
export GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@example.org GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a@example.org
export GIT_AUTHOR_DATE='2020-01-01T00:00:00Z' GIT_COMMITTER_DATE='2020-01-01T00:00:00Z' GIT_CONFIG_GLOBAL=/dev/null
export GIT_CONFIG_NOSYSTEM=1 HOME=$work
files=/usr/include
commits=$((full ? 40 : 4))

make_repository()
{
	local i
	under "$1" git init -q -b main "$work/$1"
	cd "$work/$1"
	for ((i = 0; i < commits; i++)); do
		# A growing and changing set of headers that every machine with a compiler has.
		find "$files" -maxdepth $((i % 3 + 1)) -name '*.h' -size -200k | LC_ALL=C sort | head -n $((300 + 40 * i)) |
			xargs cp --parents -L -t . 2>/dev/null || true
		find . -name "*[$((i % 10))].h" ! -path './.git/*' -exec sed -i "s/define/define /" {} +
		under "$1" git add -A
		under "$1" git commit -q -m "commit $i"
	done
	under "$1" git gc -q --aggressive --prune=now
	under "$1" git fsck --full --strict
	under "$1" git clone -q --no-local "$work/$1" "$work/$1.clone"
	cd "$work/$1.clone"
	under "$1" git fsck --full
	under "$1" git repack -q -a -d -f --window=20 --threads=4
	under "$1" git log --stat --format='%H %s' >"$work/$1.log"
	under "$1" git diff HEAD~3 >>"$work/$1.log"
	under "$1" git log -S'define ' --oneline -- '*.h' >>"$work/$1.log"
	under "$1" git rev-list --objects --all | LC_ALL=C sort >"$work/$1.objects"
}

for how in plain ours; do
	(make_repository "$how") >"$work/$how.said" 2>&1 || { cat "$work/$how.said"; fail "git ($how)"; }
done
check_silent "$work/ours.said"
cmp "$work/plain.objects" "$work/ours.objects" || fail "the objects differ"
cmp "$work/plain.log" "$work/ours.log" || fail "log and diff differ"
check_served git -C "$work/ours" status
say "$commits commits, $(wc -l <"$work/ours.objects") objects"
