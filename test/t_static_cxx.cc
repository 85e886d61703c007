/* SPDX-License-Identifier: MIT */
/* A -static C++ program with libpmdalloc.a: its operators are ours, and what they throw is caught. */
#include "check.h"

#include <new>
#include <pmdalloc/pmdalloc.h>
#include <string>
#include <vector>

static std::size_t live()
{
	struct pmd_stats stats = {};
	stats.size = sizeof stats;
	CHECK(pmd_stats_get(&stats) == 0);
	return stats.live_bytes;
}

int main()
{
	volatile std::size_t too_large = PTRDIFF_MAX;
	bool caught = false;
	try {
		operator delete(operator new(too_large));
	} catch (const std::bad_alloc &) {
		caught = true;
	}
	CHECK(caught);
	std::size_t before = live();
	std::vector<std::string> words(1000, std::string(1000, 'x'));
	CHECK(words[999].size() == 1000);
#ifndef PMD_PREFIXED
	CHECK(live() >= before + 1000000);
#else
	CHECK(live() >= before);
#endif
	return 0;
}
