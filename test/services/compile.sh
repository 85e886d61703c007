#!/bin/bash
# SPDX-License-Identifier: MIT
# gcc, g++ and clang: large sources; the same assembly as without the library.
. "$(dirname "$0")/common.sh"
set_up gcc g++ awk
functions=$((full ? 8000 : 150))

awk -v n="$functions" 'BEGIN {
	print "#include <stdio.h>\n#include <string.h>\n#include <stdlib.h>"
	for (i = 0; i < n; i++) {
		printf "struct s%d { int a[%d]; char *p; struct s%d *next; };\n", i, i % 17 + 1, i
		printf "static int f%d(struct s%d *s, int x)\n{\n\tint y = x * %d;\n", i, i, i
		printf "\tfor (int i = 0; i < %d; i++) {\n\t\tswitch ((x + i) %% 7) {\n", i % 17 + 1
		for (k = 0; k < 7; k++)
			printf "\t\tcase %d: y ^= s->a[i] + %d; break;\n", k, i * k
		print "\t\t}\n\t\tif (s->p && strlen(s->p) > (size_t)y)\n\t\t\treturn y + s->a[0];\n\t}"
		print "\treturn s->next ? y : x;\n}"
	}
	print "int main(int argc, char **argv)\n{\n\tint sum = argc;\n\t(void)argv;"
	for (i = 0; i < n; i++)
		printf "\t{ struct s%d s = { { %d }, 0, 0 }; sum += f%d(&s, sum); }\n", i, i, i
	print "\tprintf(\"%d\\n\", sum);\n\treturn 0;\n}"
}' >"$work/large.c"

cat >"$work/large.cc" <<'END'
#include <algorithm>
#include <functional>
#include <future>
#include <iostream>
#include <map>
#include <random>
#include <regex>
#include <string>
#include <tuple>
#include <unordered_map>
#include <variant>
#include <vector>
template <int N> struct chain {
	std::map<std::tuple<std::integral_constant<int, N>, std::string>, std::vector<std::variant<int, std::string>>> m;
	chain<N - 1> rest;
	std::size_t size() const { return m.size() + rest.size(); }
};
template <> struct chain<0> { std::size_t size() const { return 0; } };
int main()
{
	chain<COUNT> c;
	std::regex r("([a-z]+)(\\d*)");
	std::unordered_map<std::string, std::function<int(int)>> f{{"a", [](int x) { return x + 1; }}};
	auto later = std::async([&] { return f["a"](41); });
	std::smatch m;
	std::string s = "abc123";
	std::cout << c.size() << std::regex_match(s, m, r) << later.get() << '\n';
}
END

cd "$work"
count=$((full ? 100 : 6))
compiler=gcc
compare gcc -O2 -g0 -S -o - large.c
compiler=g++
compare g++ -std=c++17 -DCOUNT=$count -O2 -S -o - large.cc
if command -v clang >/dev/null; then
	compiler="$compiler and clang"
	compare clang -O2 -S -o - large.c
	compare clang++ -std=c++17 -DCOUNT=$count -O1 -S -o - large.cc
fi
# The driver, the assembler and the linker as well.
under ours g++ -std=c++17 -DCOUNT=5 -flto -O1 -pthread -o large large.cc 2>err || { cat err; fail "g++ -flto"; }
check_silent err
compare ./large
check_served "$(gcc -print-prog-name=cc1)" -version
say "gcc, $compiler: $functions functions"
