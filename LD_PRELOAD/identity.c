/* SPDX-License-Identifier: MIT */
/*
 * When a program changes who it is, the C library makes every thread that it knows of do so. The background thread is not
 * among them: it would stay root. So it ends first, and the next one begins as what the program is by then.
 *
 * For the shared library only, where the C library's own functions can be found behind these. In static programs, and
 * where the system calls are made directly, the thread itself looks at each tick whether it is like the process.
 */
#include <dlfcn.h>
#include <errno.h>
#include <grp.h>
#include <string.h>
#include <unistd.h>

#include "cache/scavenger.h"
#include "exit/armed.h"

#define EXPORT __attribute__((visibility("default")))

static void *next(const char *name)
{
	void *found = dlsym(RTLD_NEXT, name);

	if (!found)
		errno = ENOSYS;
	return found;
}

#define CHANGES_IDENTITY(name, parameters, arguments) \
	EXPORT int name parameters                    \
	{                                             \
		int(*real) parameters;                \
		void *found = next(#name);            \
		bool was_there;                       \
		int result;                           \
                                                      \
		if (!found)                           \
			return -1;                    \
		memcpy(&real, &found, sizeof real);   \
		armed_pause();                        \
		was_there = scavenger_pause();        \
		result = real arguments;              \
		scavenger_resume(was_there);          \
		armed_resume();                       \
		return result;                        \
	}

CHANGES_IDENTITY(setuid, (uid_t id), (id))
CHANGES_IDENTITY(setgid, (gid_t id), (id))
CHANGES_IDENTITY(seteuid, (uid_t id), (id))
CHANGES_IDENTITY(setegid, (gid_t id), (id))
CHANGES_IDENTITY(setreuid, (uid_t real_id, uid_t effective), (real_id, effective))
CHANGES_IDENTITY(setregid, (gid_t real_id, gid_t effective), (real_id, effective))
CHANGES_IDENTITY(setresuid, (uid_t real_id, uid_t effective, uid_t saved), (real_id, effective, saved))
CHANGES_IDENTITY(setresgid, (gid_t real_id, gid_t effective, gid_t saved), (real_id, effective, saved))
CHANGES_IDENTITY(setgroups, (size_t count, const gid_t *groups), (count, groups))
CHANGES_IDENTITY(initgroups, (const char *user, gid_t group), (user, group))
