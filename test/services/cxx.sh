#!/bin/bash
# SPDX-License-Identifier: MIT
# An ordinary C++ program, linked without the library: exceptions, aligned and sized operators, threads, locales.
. "$(dirname "$0")/common.sh"
set_up g++
cat >"$work/program.cc" <<'END'
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <iostream>
#include <list>
#include <locale>
#include <memory>
#include <memory_resource>
#include <new>
#include <sstream>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

struct alignas(256) wide {
	char bytes[768];
};

static volatile std::size_t too_much = SIZE_MAX / 4;

static int thrower(int n)
{
	std::vector<std::string> held(50, std::string(100, 'x'));
	if (n == 0)
		throw std::runtime_error("at the bottom " + held[3]);
	return thrower(n - 1) + 1;
}

static void work(int seed)
{
	std::list<std::unique_ptr<wide>> wides;
	for (int i = 0; i < 20000; i++) {
		wides.push_back(std::make_unique<wide>());
		if (reinterpret_cast<std::uintptr_t>(wides.back().get()) % 256)
			std::abort();
		wides.back()->bytes[767] = char(seed);
		if (i % 3 == 0)
			wides.pop_front();
		if (i % 2000 == 0) {
			try {
				thrower(i % 30);
			} catch (const std::exception &e) {
				if (std::string(e.what()).size() != 114)
					std::abort();
			}
		}
	}
}

int main()
{
	int caught = 0;
	try {
		delete[] new char[too_much];
	} catch (const std::bad_alloc &e) {
		caught++;
		std::cout << e.what() << '\n';
	}
	std::cout << (new (std::nothrow) char[too_much] == nullptr) << '\n';
	try {
		::operator delete(::operator new(too_much, std::align_val_t(64)), std::align_val_t(64));
	} catch (const std::bad_alloc &) {
		caught++;
	}
	for (std::size_t a = 16; a <= 65536; a *= 2) {
		void *p = ::operator new(a + 1, std::align_val_t(a));
		if (reinterpret_cast<std::uintptr_t>(p) % a)
			return 1;
		::operator delete(p, a + 1, std::align_val_t(a));
	}
	std::vector<std::thread> threads;
	for (int i = 0; i < 6; i++)
		threads.emplace_back(work, i);
	for (auto &t : threads)
		t.join();
	std::exception_ptr kept;
	std::thread([&] { try { thrower(5); } catch (...) { kept = std::current_exception(); } }).join();
	try {
		std::rethrow_exception(kept);
	} catch (const std::runtime_error &e) {
		caught++;
		std::cout << e.what() << '\n';
	}
	std::pmr::unsynchronized_pool_resource pool;
	std::pmr::vector<std::pmr::string> strings(&pool);
	for (int i = 0; i < 10000; i++)
		strings.emplace_back(std::size_t(i % 100), 'p');
	std::ostringstream out;
	out.imbue(std::locale::classic());
	out << strings.size() << ' ' << caught;
	std::cout << out.str() << std::endl;
	throw std::logic_error("uncaught");
}
END
g++ -std=c++17 -O2 -w -pthread -o "$work/program" "$work/program.cc"
ulimit -c 0
expected=134 compare "$work/program"
check_served "$work/program" 2>/dev/null
say "operators, exceptions, threads, pools"
