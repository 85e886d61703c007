/* SPDX-License-Identifier: MIT */
/*
 * Runs a test program again under other options: the library reads PMDALLOC_CONF once, at its start, so each setting
 * needs a process of its own.
 */
#ifndef PMDALLOC_TEST_VARIANTS_H
#define PMDALLOC_TEST_VARIANTS_H

#include "check.h"

/*
 * In the first process: starts this program once for each of the COUNT settings in CONFS, the setting as its only
 * argument, and ends when all have. In a process started so: returns the setting.
 */
static inline const char *variants_run(int argc, char **argv, const char *const *confs, size_t count)
{
	size_t skipped = 0;
	if (argc > 1)
		return argv[1];
	for (size_t i = 0; i < count; i++) {
		pid_t pid = fork();
		CHECK(pid >= 0);
		if (pid == 0) {
			char *const args[] = {argv[0], (char *)(uintptr_t)confs[i], NULL};
			check_child(CHECK_SECONDS);
			CHECK(setenv("PMDALLOC_CONF", confs[i], 1) == 0);
			execv("/proc/self/exe", args);
			CHECK(!"execv");
		}
		int status = check_wait(pid);
		CHECK_SAY(WIFEXITED(status), "options '%s': ended by signal %d", confs[i], WTERMSIG(status));
		CHECK_SAY(WEXITSTATUS(status) == 0 || WEXITSTATUS(status) == EXIT_SKIP, "options '%s'", confs[i]);
		skipped += WEXITSTATUS(status) == EXIT_SKIP;
	}
	_exit(skipped == count ? EXIT_SKIP : 0);
}

#define VARIANTS(argc, argv, ...) \
	variants_run(argc, argv, (const char *const[]){__VA_ARGS__}, LENGTH(((const char *const[]){__VA_ARGS__})))

#endif
