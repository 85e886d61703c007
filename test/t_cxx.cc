/* SPDX-License-Identifier: MIT */
/*
 * The C++ operators: every form of new and delete, bad_alloc through frames of C, the new-handler, and containers and
 * thread_local objects that use them.
 */
#include "api.h"
#include "check.h"
#include "through_c.h"

#include <exception>
#include <map>
#include <memory>
#include <memory_resource>
#include <new>
#include <string>
#include <thread>
#include <vector>

namespace
{

const std::size_t too_large = static_cast<std::size_t>(PTRDIFF_MAX) / 2 + 12345;

/* The compiler may leave out a new-expression, but not calls of the operators by name through a value it cannot see. */
std::size_t hidden(std::size_t value)
{
	__asm__ volatile("" : "+r"(value));
	return value;
}

void check_block(void *p, std::size_t size, std::size_t alignment)
{
	CHECK(p);
	CHECK_SAY(reinterpret_cast<std::uintptr_t>(p) % alignment == 0, "%p is not aligned to %zu", p, alignment);
	memset(p, 0x42, size);
#ifndef PMD_PREFIXED
	CHECK(pmd_malloc_usable_size(p) >= size);
#endif
}

void every_form(std::size_t size)
{
	void *p = operator new(hidden(size));
	check_block(p, size, 16);
	operator delete(p);
	p = operator new(hidden(size));
	operator delete(p, size);
	p = operator new[](hidden(size));
	check_block(p, size, 16);
	operator delete[](p);
	p = operator new[](hidden(size));
	operator delete[](p, size);
	p = operator new(hidden(size), std::nothrow);
	check_block(p, size, 16);
	operator delete(p, std::nothrow);
	p = operator new[](hidden(size), std::nothrow);
	check_block(p, size, 16);
	operator delete[](p, std::nothrow);
}

void every_aligned_form(std::size_t size, std::size_t alignment)
{
	const std::align_val_t align{alignment};
	void *p = operator new(hidden(size), align);
	check_block(p, size, alignment);
	operator delete(p, align);
	p = operator new(hidden(size), align);
	operator delete(p, size, align);
	p = operator new[](hidden(size), align);
	check_block(p, size, alignment);
	operator delete[](p, align);
	p = operator new[](hidden(size), align);
	operator delete[](p, size, align);
	p = operator new(hidden(size), align, std::nothrow);
	check_block(p, size, alignment);
	operator delete(p, align, std::nothrow);
	p = operator new[](hidden(size), align, std::nothrow);
	check_block(p, size, alignment);
	operator delete[](p, align, std::nothrow);
}

template <typename Function> bool throws_bad_alloc(Function function)
{
	try {
		function();
	} catch (const std::bad_alloc &) {
		return true;
	}
	return false;
}

void test_bad_alloc()
{
	const std::align_val_t align{64};
	CHECK(throws_bad_alloc([] { operator delete(operator new(hidden(too_large))); }));
	CHECK(throws_bad_alloc([] { operator delete[](operator new[](hidden(too_large))); }));
	CHECK(throws_bad_alloc([=] { operator delete(operator new(hidden(too_large), align), align); }));
	CHECK(throws_bad_alloc([=] { operator delete[](operator new[](hidden(too_large), align), align); }));
	CHECK(throws_bad_alloc([] { operator delete(operator new(hidden(SIZE_MAX))); }));
	CHECK(throws_bad_alloc([=] { operator delete(operator new(hidden(SIZE_MAX - 10), align), align); }));
	CHECK(operator new(hidden(too_large), std::nothrow) == nullptr);
	CHECK(operator new[](hidden(too_large), std::nothrow) == nullptr);
	CHECK(operator new(hidden(too_large), align, std::nothrow) == nullptr);
	CHECK(operator new[](hidden(too_large), align, std::nothrow) == nullptr);
	/* What is no alignment is no memory either. */
	const std::align_val_t odd{hidden(24)};
	CHECK(throws_bad_alloc([=] { operator delete(operator new(hidden(100), odd), odd); }));
	CHECK(operator new(hidden(100), odd, std::nothrow) == nullptr);
	CHECK(operator new[](hidden(100), odd, std::nothrow) == nullptr);
}

struct Guard {
	int *unwound;
	~Guard()
	{
		++*unwound;
	}
};

void allocate_too_much(void *unwound)
{
	Guard guard{static_cast<int *>(unwound)};
	operator delete(operator new(hidden(too_large)));
}

void test_through_c()
{
	int unwound = 0;
	CHECK(throws_bad_alloc([&] { through_c(allocate_too_much, &unwound); }));
	CHECK(unwound == 1);
}

int handler_calls;

void handler_gives_up()
{
	if (++handler_calls == 3)
		std::set_new_handler(nullptr);
}

void handler_throws()
{
	++handler_calls;
	throw std::bad_alloc();
}

void test_new_handler()
{
	handler_calls = 0;
	std::set_new_handler(handler_gives_up);
	CHECK(throws_bad_alloc([] { operator delete(operator new(hidden(too_large))); }));
	CHECK(handler_calls == 3);
	handler_calls = 0;
	std::set_new_handler(handler_throws);
	CHECK(throws_bad_alloc([] { operator delete(operator new(hidden(too_large))); }));
	CHECK(handler_calls == 1);
	CHECK(operator new(hidden(too_large), std::nothrow) == nullptr);
	CHECK(operator new (hidden(too_large), std::align_val_t{128}, std::nothrow) == nullptr);
	CHECK(handler_calls == 3);
	std::set_new_handler(nullptr);
}

/* A handler that frees a reserve makes the allocation that failed for lack of address space succeed. */
void *reserve;

void handler_frees_reserve()
{
	++handler_calls;
	free(reserve);
	reserve = nullptr;
	std::set_new_handler(nullptr);
}

/* Under RLIMIT_AS, in a process of its own, as the reservation is made before main. */
void run_with_reserve()
{
	const std::size_t size = 48 * MIB;
	std::vector<void *> taken;
	taken.reserve(10000);
	reserve = malloc(hidden(64 * MIB));
	CHECK(reserve);
	for (void *p; (p = operator new(hidden(16 * MIB), std::nothrow));)
		taken.push_back(p);
	handler_calls = 0;
	std::set_new_handler(handler_frees_reserve);
	void *p = operator new(hidden(size));
	check_block(p, size, 16);
	CHECK(handler_calls == 1);
	operator delete(p);
	for (void *q : taken)
		operator delete(q);
}

void test_handler_that_frees(char **argv)
{
	if (SANITIZED)
		return;
	pid_t pid = fork();
	CHECK(pid >= 0);
	if (pid == 0) {
		char again[] = "again";
		char *const args[] = {argv[0], again, nullptr};
		const struct rlimit limit = {512 * MIB, 512 * MIB};
		check_child(60);
		CHECK(setrlimit(RLIMIT_AS, &limit) == 0);
		execv("/proc/self/exe", args);
		CHECK(!"execv");
	}
	int status = check_wait(pid);
	CHECK_SAY(status == 0, "wait status %#x", static_cast<unsigned>(status));
}

struct alignas(256) Wide {
	char bytes[512];
};

void test_containers()
{
	std::map<int, std::string> map;
	std::vector<Wide> wide(100);
	std::vector<std::unique_ptr<Wide>> pointers;
	for (int i = 0; i < 10000; i++)
		map[i * 7919 % 10007] = std::string(static_cast<std::size_t>(i % 200), 'x');
	for (int i = 0; i < 1000; i++) {
		pointers.push_back(std::make_unique<Wide>());
		CHECK(reinterpret_cast<std::uintptr_t>(pointers.back().get()) % 256 == 0);
	}
	CHECK(reinterpret_cast<std::uintptr_t>(wide.data()) % 256 == 0);
	std::pmr::unsynchronized_pool_resource pool;
	std::pmr::vector<std::pmr::string> strings(&pool);
	for (int i = 0; i < 10000; i++)
		strings.emplace_back(static_cast<std::size_t>(i % 500), 'y');
	CHECK(strings[499].size() == 499 && map.size() == 10000);
	void *p = std::pmr::new_delete_resource()->allocate(1000, 4096);
	check_block(p, 1000, 4096);
	std::pmr::new_delete_resource()->deallocate(p, 1000, 4096);
}

struct PerThread {
	std::vector<std::string> words;
	~PerThread()
	{
		for (int i = 0; i < 100; i++)
			words.push_back(std::string(static_cast<std::size_t>(i * 10), 'z'));
		words.clear();
		words.shrink_to_fit();
	}
};

thread_local PerThread per_thread;

void test_thread_local()
{
	for (int round = 0; round < 20; round++) {
		std::vector<std::thread> threads;
		for (int i = 0; i < 8; i++)
			threads.emplace_back([] { per_thread.words.assign(50, std::string(300, 'w')); });
		for (std::thread &thread : threads)
			thread.join();
	}
}

} // namespace

int main(int argc, char **argv)
{
#ifdef PMD_PREFIXED
	SKIP("the operators of this build are the C++ library's");
#endif
	if (argc > 1) {
		run_with_reserve();
		return 0;
	}
	for (std::size_t size = 1; size <= 8 * MIB; size = size * 2 + 1) {
		every_form(size);
		for (std::size_t alignment = 16; alignment <= 4096; alignment *= 4)
			every_aligned_form(size, alignment);
	}
	every_form(0);
	every_aligned_form(100, 2 * MIB);
	test_bad_alloc();
	test_through_c();
	test_new_handler();
	test_handler_that_frees(argv);
	test_containers();
	test_thread_local();
	return 0;
}
