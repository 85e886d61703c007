/* SPDX-License-Identifier: MIT */
/*
 * dlopen(3) without RTLD_DEEPBIND. A library that is opened with it, as PHP opens its extensions, finds the C library's
 * malloc before ours, as it depends on the C library and not on us: whatever it frees for the program, or the program for it,
 * goes to the wrong one of the two. The option deepbind:on leaves the flag as it is.
 *
 * The C library looks at who calls dlopen, for that object's RUNPATH, $ORIGIN and namespace. So the call is one that leaves
 * no frame of this function behind.
 */
#include <dlfcn.h>
#include <string.h>

#include "base/base.h"
#include "conf/options.h"

#define EXPORT __attribute__((visibility("default")))

#ifdef __clang__
#define NO_FRAME __attribute__((no_sanitize("thread")))
#define TAIL     __attribute__((musttail))
#else
#define NO_FRAME __attribute__((no_sanitize("thread"), optimize("O2")))
#define TAIL
#endif

static NOINLINE void *(*next(void))(const char *, int)
{
	void *(*real)(const char *, int);
	void *found = dlsym(RTLD_NEXT, "dlopen");

	memcpy(&real, &found, sizeof real);
	return real;
}

EXPORT NO_FRAME void *dlopen(const char *file, int mode)
{
	void *(*real)(const char *, int) = next();

	if (UNLIKELY(!real)) /* and dlerror says so */
		return NULL;
	TAIL return real(file, OPTION(deepbind) == DEEPBIND_ON ? mode : mode & ~RTLD_DEEPBIND);
}
