#!/bin/sh
# SPDX-License-Identifier: MIT
# Each folder of src/ may include its own headers and those of the folders below it, and nothing else of ours.
set -eu
srcdir=${srcdir:-$(dirname "$0")/..}
cd "$srcdir/src"

# From the bottom to the top.
layers='base os conf release heap cache check exit api'

for folder in */; do
	case " $layers " in
	*" ${folder%/} "*) ;;
	*)
		echo "layers: src/$folder is in no layer"
		exit 1
		;;
	esac
done

grep -rnE '^[[:space:]]*#[[:space:]]*include[[:space:]]+"' --include='*.[ch]' --include='*.cc' --include='*.def' . |
	awk -F: -v layers="$layers" '
	BEGIN {
		n = split(layers, name, " ")
		for (i = 1; i <= n; i++)
			rank[name[i]] = i
	}
	{
		split($1, path, "/")
		own = path[2]
		match($0, /"[^"]*"/)
		file = substr($0, RSTART + 1, RLENGTH - 2)
		wanted = index(file, "/") ? substr(file, 1, index(file, "/") - 1) : own
		seen++
		if (wanted == "pmdalloc" || file == "config.h")
			next
		if (!(wanted in rank)) {
			print "layers: src/" substr($1, 3) ":" $2 ": includes \"" file "\", which is in no layer"
			bad++
		} else if (rank[wanted] > rank[own]) {
			print "layers: src/" substr($1, 3) ":" $2 ": " own "/ includes \"" file "\" of the layer above it"
			bad++
		}
	}
	END {
		if (!seen)
			print "layers: no include was found: nothing was checked"
		exit !seen || bad > 0
	}'
