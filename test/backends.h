/* SPDX-License-Identifier: MIT */
/* Ways of releasing, as tests ask for them: in their settings, "release:NAME,..." at the front. */
#ifndef PMDALLOC_TEST_BACKENDS_H
#define PMDALLOC_TEST_BACKENDS_H

#include "check.h"

#include <pmdalloc/pmdalloc.h>

/* A library without the way that CONF names would quietly take another, and nothing would be known of this one. */
static inline void backend_check(const char *conf)
{
	char got[32], wanted[32];

	if (sscanf(conf, "release:%31[a-z_]", wanted) == 1 &&
	    (pmd_option_get("release", got, sizeof got) || strcmp(got, wanted)))
		SKIP("%s: this library has no such option", conf);
}

#endif
