# SPDX-License-Identifier: MIT
# Turns src/conf/options.def into the list of options in the manual, so that the two cannot differ.

# Splits the arguments of a table line into field[1..], respecting quoted text; returns their number.
function split_arguments(line, field,	n, c, quoted, i, text)
{
	n = 0
	text = ""
	quoted = 0
	for (i = 1; i <= length(line); i++) {
		c = substr(line, i, 1)
		if (c == "\"") {
			quoted = !quoted
		} else if (c == "," && !quoted) {
			field[++n] = trim(text)
			text = ""
		} else {
			text = text c
		}
	}
	field[++n] = trim(text)
	return n
}

function trim(text)
{
	gsub(/^[ \t]+|[ \t]+$/, "", text)
	return text
}

# Text as man wants it: a minus sign is not a hyphen, and no line may start with a control character.
function roff(text)
{
	gsub(/\\/, "\\e", text)
	gsub(/-/, "\\-", text)
	return text
}

function arguments(line)
{
	sub(/^[A-Z]+\(/, "", line)
	sub(/\)[ \t]*$/, "", line)
	return line
}

function print_option(name, value, meaning, initial, fixed)
{
	print ".TP"
	print ".BR " roff(name) ":\\fI" roff(value) "\\fR"
	print roff(meaning)
	print "Default: " roff(initial) "." (fixed == "true" ? " May be changed while the program runs." : "")
	found++
}

/^NUMBER\(/ {
	if (split_arguments(arguments($0), f) != 7)
		bad = bad "\n" $0
	print_option(f[1], f[3] ".." f[4], f[7], f[2] (f[2] + 0 > 0 ? " " f[6] : ""), f[5])
}

/^CHOICE\(/ {
	if (split_arguments(arguments($0), f) != 5)
		bad = bad "\n" $0
	n = split(f[4], word, ",")
	value = word[1]
	for (i = 2; i <= n; i++)
		value = value "|" word[i]
	print_option(f[1], value, f[5], word[f[2] + 1], f[3])
}

# KIB(4) as 4K, SIZE_NONE as none.
function size(text)
{
	if (text == "SIZE_NONE")
		return "none"
	if (text ~ /^[KMGT]IB\([0-9]+\)$/)
		return substr(text, 5, length(text) - 5) substr(text, 1, 1)
	return text
}

/^SIZE\(/ {
	if (split_arguments(arguments($0), f) != 6)
		bad = bad "\n" $0
	print_option(f[1], size(f[3]) ".." size(f[4]) "|none", f[6] " In bytes, or with the suffix K, M, G or T.", \
		size(f[2]), f[5])
}

/^TEXT\(/ {
	if (split_arguments(arguments($0), f) != 3)
		bad = bad "\n" $0
	print_option(f[1], f[2] "|none", f[3], "none", "false")
}

END {
	if (bad != "" || !found) {
		print "options.awk: cannot read the option table:" bad | "cat >&2"
		exit 1
	}
}
