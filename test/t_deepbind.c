/* SPDX-License-Identifier: MIT */
/*
 * A library that is opened with RTLD_DEEPBIND and depends on the C library alone, as extensions of PHP are: what it hands out
 * is the program's to free and the other way round, unless deepbind:on asks for what the flag says. Whoever calls dlopen is
 * still known to the loader.
 */
#include "check.h"
#include "variants.h"

#include <dlfcn.h>
#include <pmdalloc/pmdalloc.h>

/* With and without the bits that say when symbols are bound. */
static const int modes[] = {RTLD_NOW, RTLD_LAZY, RTLD_NOW | RTLD_GLOBAL};

static char *(*copy)(const char *);
static char *(*longer)(char *, size_t);
static void *(*open_inner)(const char *, int);

static void find(void *library, const char *name, void *function)
{
	void *symbol = dlsym(library, name);
	CHECK_SAY(symbol, "%s", name);
	memcpy(function, &symbol, sizeof symbol);
}

static size_t live_blocks(void)
{
	struct pmd_stats stats = {.size = sizeof stats};
	CHECK(pmd_stats_get(&stats) == 0);
	return stats.live_blocks;
}

static void check_shared(void)
{
	size_t before = live_blocks();
	char *p = copy("handed out"), *q = malloc(10);
	CHECK(p && q && live_blocks() == before + 2);
	CHECK((q = longer(q, 1000)));
	free(p);
	free(q);
	CHECK(live_blocks() == before);
}

static void check_apart(void)
{
	size_t before = live_blocks();
	CHECK(copy("lost") && live_blocks() == before);
}

/* Found by the RUNPATH of who calls, and by nobody else's. */
static void check_caller(void)
{
	CHECK(!dlopen("libinner.so", RTLD_NOW) && dlerror());
	for (size_t i = 0; i < LENGTH(modes); i++) {
		void *inner = open_inner("libinner.so", modes[i]);
		CHECK_SAY(inner, "%s", dlerror());
		CHECK(dlclose(inner) == 0);
		inner = open_inner("libinner.so", modes[i] | RTLD_DEEPBIND);
		CHECK_SAY(inner, "%s", dlerror());
		CHECK(dlclose(inner) == 0);
	}
}

int main(int argc, char **argv)
{
	bool apart = strstr(VARIANTS(argc, argv, "deepbind:off", "deepbind:on", "check:strict,quarantine:0"), "on");
	for (size_t i = 0; i < LENGTH(modes); i++) {
		void *library = dlopen(MODULE, modes[i] | RTLD_DEEPBIND);
		CHECK_SAY(library, "%s", dlerror());
		find(library, "deep_copy", &copy);
		find(library, "deep_longer", &longer);
		find(library, "deep_open", &open_inner);
		if (apart)
			check_apart();
		else
			check_shared();
		check_caller();
		CHECK(dlclose(library) == 0);
	}
	CHECK(dlopen(NULL, RTLD_NOW | RTLD_DEEPBIND));
	return 0;
}
