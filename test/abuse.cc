/* SPDX-License-Identifier: MIT */
/*
 * Programs that abuse their allocator, one case a process: abuse CASE SIZE. Standard names only: whichever allocator
 * serves the process is the one that is judged, by bench/abuse.py. The cases are those of the public suites, in our own
 * words.
 *
 * It ends with 0 when the abuse went through unnoticed (MISSED), and with FOUND when the allocator's answer made it
 * harmless: the block was not handed out again, or holds zeroes. All else, a message and a signal, is for who looks at
 * the wait status. Without arguments it lists the cases and whether their sizes matter.
 */
#include <alloca.h>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <new>
#include <sys/mman.h>
#include <unistd.h>

namespace
{

enum { MISSED = 0, FOUND = 3, USAGE = 2, OTHERS = 1024, REUSES = 4096 };

const size_t MIB = 1 << 20;

/* Pointers that the compiler has to load again: it neither removes a pair of calls nor warns about what is done here. */
void *(*volatile allocate)(size_t) = malloc;
void *(*volatile reallocate)(void *, size_t) = realloc;
void (*volatile release)(void *) = free;
void *(*volatile copy)(void *, const void *, size_t) = memcpy;
void *(*volatile fill)(void *, int, size_t) = memset;

char *volatile block;
volatile char seen;

char *take(size_t size)
{
	char *p = static_cast<char *>(allocate(size));
	if (!p)
		_exit(USAGE);
	return p;
}

int found_if(bool harmless)
{
	return harmless ? FOUND : MISSED;
}

void take_and_release(size_t size, int times)
{
	for (int i = 0; i < times; i++)
		release(take(size));
}

/* ---- Double free ---- */

int twice(size_t size)
{
	char *p = take(size);
	release(p);
	release(p);
	return MISSED;
}

int twice_delayed(size_t size)
{
	char *p = take(size);
	release(p);
	take_and_release(size, OTHERS);
	release(p);
	return MISSED;
}

int twice_interleaved(size_t size)
{
	char *p = take(size), *q = take(size);
	release(p);
	release(q);
	release(p);
	return MISSED;
}

int twice_reuse(size_t size)
{
	twice(size);
	take_and_release(size, REUSES);
	return MISSED;
}

int twice_single_reuse(size_t size)
{
	char *p = take(size);
	release(p);
	char *q = take(size);
	release(p);
	release(q);
	return MISSED;
}

/* ---- Invalid free ---- */

int invalid_foreign(size_t size)
{
	void *p = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	release(p);
	return MISSED;
}

int invalid_stack(size_t size)
{
	char *p = static_cast<char *>(alloca(size));
	fill(p, 0, size);
	release(p);
	return MISSED;
}

int invalid_at(size_t size, size_t offset)
{
	release(take(size) + offset);
	return MISSED;
}

int invalid_close(size_t size)
{
	return invalid_at(size, 4096);
}

int invalid_far(size_t size)
{
	return invalid_at(size, static_cast<size_t>(1) << 30);
}

int invalid_unaligned(size_t size)
{
	return invalid_at(size, 1);
}

int invalid_by_eight(size_t size)
{
	return invalid_at(size, 8);
}

int invalid_interior(size_t size)
{
	return invalid_at(size, size / 2);
}

/* ---- Over- and underflow: a byte changed so far from the block's edge; as much as the block holds copied so far off ---- */

int change(size_t size, ptrdiff_t offset)
{
	char *volatile p = take(size);
	p[offset] ^= 'A';
	release(p);
	return MISSED;
}

int copy_to(size_t size, ptrdiff_t offset)
{
	static const char zeroes[256 << 10] = {0};
	copy(take(size) + offset, zeroes, size);
	return MISSED;
}

template <size_t N> int overflow(size_t size)
{
	return change(size, static_cast<ptrdiff_t>(size - 1 + N));
}

template <size_t N> int underflow(size_t size)
{
	return change(size, -static_cast<ptrdiff_t>(N));
}

template <size_t N> int copy_overflow(size_t size)
{
	return copy_to(size, static_cast<ptrdiff_t>(N));
}

template <size_t N> int copy_underflow(size_t size)
{
	return copy_to(size, -static_cast<ptrdiff_t>(N));
}

/* ---- Blocks of no size ---- */

int zero_read(size_t)
{
	block = take(0);
	seen = *block;
	return MISSED;
}

int zero_read_free(size_t)
{
	zero_read(0);
	release(block);
	return MISSED;
}

int zero_write(size_t)
{
	block = take(0);
	*block = 'A';
	return MISSED;
}

int zero_write_free(size_t)
{
	zero_write(0);
	release(block);
	return MISSED;
}

/* ---- Use after free, reuse, zeroing ---- */

int write_after_free(size_t size)
{
	char *p = take(size);
	release(p);
	fill(p, 'A', size);
	return MISSED;
}

int write_after_free_reuse(size_t size)
{
	write_after_free(size);
	take_and_release(size, REUSES);
	return MISSED;
}

int reuse(size_t size)
{
	char *p = take(size);
	release(p);
	return found_if(take(size) != p);
}

int reuse_smaller(size_t size)
{
	char *p = take(size);
	release(p);
	return found_if(take(size / 2) != p);
}

int reuse_by_realloc(size_t)
{
	char *p = take(8);
	return found_if(reallocate(p, 1024) != p);
}

bool all_zero(const volatile char *p, size_t size)
{
	for (size_t i = 0; i < size; i++)
		if (p[i])
			return false;
	return true;
}

int zero_after_free(size_t size)
{
	char *p = take(size);
	fill(p, 'A', size);
	release(p);
	return found_if(all_zero(p, size));
}

int zero_on_malloc(size_t size)
{
	return found_if(all_zero(take(size), size));
}

/* ---- Deletes of another type than was made ---- */

struct word {
	size_t content;
	word() : content(1)
	{
	}
	~word()
	{
		content = 0;
	}
};

struct nine_words {
	size_t words[9];
};

template <class T> T *hidden(T *p)
{
	T *volatile copy = p;
	return copy;
}

int array_delete_of_single(size_t size)
{
	::operator delete[](hidden(static_cast<char *>(::operator new(size))));
	return MISSED;
}

int delete_of_array(size_t size)
{
	delete hidden(new char[size]);
	return MISSED;
}

int array_delete_of_object(size_t size)
{
	void *p = ::operator new(size);
	delete[] hidden(new (p) word);
	return MISSED;
}

int delete_of_objects(size_t size)
{
	delete hidden(new word[size / sizeof(word)]);
	return MISSED;
}

int delete_of_another_size(size_t)
{
	delete reinterpret_cast<nine_words *>(hidden(new char));
	return MISSED;
}

struct abuse {
	const char *name;
	int (*run)(size_t size);
	bool sized;
};

const abuse cases[] = {
	{"double free: at once", twice, true},
	{"double free: delayed", twice_delayed, true},
	{"double free: interleaved", twice_interleaved, true},
	{"double free: then reuse", twice_reuse, true},
	{"double free: reused once", twice_single_reuse, true},
	{"invalid free: foreign", invalid_foreign, true},
	{"invalid free: stack", invalid_stack, true},
	{"invalid free: close", invalid_close, true},
	{"invalid free: far", invalid_far, true},
	{"invalid free: unaligned by 1", invalid_unaligned, true},
	{"invalid free: unaligned by 8", invalid_by_eight, true},
	{"invalid free: interior", invalid_interior, true},
	{"overflow by 1 B", overflow<1>, true},
	{"overflow by 32 B", overflow<32>, true},
	{"overflow by 1 MiB", overflow<MIB>, true},
	{"overflow by 1 B, memcpy", copy_overflow<1>, true},
	{"overflow by 32 B, memcpy", copy_overflow<32>, true},
	{"overflow by 1 MiB, memcpy", copy_overflow<MIB>, true},
	{"underflow by 1 B", underflow<1>, true},
	{"underflow by 32 B", underflow<32>, true},
	{"underflow by 1 MiB", underflow<MIB>, true},
	{"underflow by 1 B, memcpy", copy_underflow<1>, true},
	{"underflow by 32 B, memcpy", copy_underflow<32>, true},
	{"underflow by 1 MiB, memcpy", copy_underflow<MIB>, true},
	{"no size: read", zero_read, false},
	{"no size: read, free", zero_read_free, false},
	{"no size: write", zero_write, false},
	{"no size: write, free", zero_write_free, false},
	{"write after free", write_after_free, true},
	{"write after free: then reuse", write_after_free_reuse, true},
	{"reuse at once", reuse, true},
	{"reuse at once, smaller", reuse_smaller, true},
	{"reuse by realloc", reuse_by_realloc, false},
	{"zero after free", zero_after_free, true},
	{"zero on malloc", zero_on_malloc, true},
	{"new, delete[]", array_delete_of_single, true},
	{"new[], delete", delete_of_array, true},
	{"new of an object, delete[]", array_delete_of_object, true},
	{"new[] of objects, delete", delete_of_objects, true},
	{"delete of another size", delete_of_another_size, false},
};

} // namespace

int main(int argc, char **argv)
{
	if (argc == 1)
		for (const abuse &a : cases)
			printf("%s;%s\n", a.name, a.sized ? "sized" : "one");
	if (argc != 3)
		return argc == 1 ? 0 : USAGE;
	for (const abuse &a : cases)
		if (strcmp(a.name, argv[1]) == 0)
			return a.run(strtoul(argv[2], nullptr, 10));
	return USAGE;
}
