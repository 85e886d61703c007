/* SPDX-License-Identifier: MIT */
/*
 * A -static C++ program with libpmdalloc.a: its operators are ours, what they throw is caught, and the forms that return null
 * let nothing out that a new-handler throws.
 */
#include "check.h"

#include <exception>
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

static volatile std::size_t too_large = PTRDIFF_MAX;
static int handled;

template <class E> static void throw_from_handler()
{
	handled++;
	throw E();
}

struct freed {
	~freed()
	{
		handled += 10;
	}
};

/* Something to unwind below the frame that catches. */
static void throw_below()
{
	freed last;
	throw_from_handler<std::string>();
}

static void throw_nothing_out(std::new_handler handler, int expected)
{
	std::align_val_t align{4096};
	std::set_new_handler(handler);
	handled = 0;
	CHECK(operator new(too_large, std::nothrow) == nullptr);
	CHECK(operator new[](too_large, std::nothrow) == nullptr);
	CHECK(operator new(too_large, align, std::nothrow) == nullptr);
	CHECK(operator new[](too_large, align, std::nothrow) == nullptr);
	CHECK(handled == 4 * expected);
	CHECK(std::uncaught_exceptions() == 0);
	std::set_new_handler(nullptr);
}

/* The throwing form lets it out as it came. */
static void throw_out()
{
	bool caught = false;
	std::set_new_handler(throw_from_handler<int>);
	try {
		operator delete(operator new(too_large));
	} catch (int) {
		caught = true;
	}
	CHECK(caught);
	std::set_new_handler(nullptr);
}

static void give_up()
{
	handled++;
	std::set_new_handler(nullptr);
}

int main()
{
	throw_nothing_out(throw_from_handler<std::bad_alloc>, 1);
	throw_nothing_out(throw_from_handler<int>, 1);
	throw_nothing_out(throw_below, 11);
	throw_out();
	handled = 0;
	std::set_new_handler(give_up);
	CHECK(operator new(too_large, std::nothrow) == nullptr &&handled == 1);
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
