# SPDX-License-Identifier: MIT
# The test suites of real programs under the library: SUITES names some of them, SUITES_FLAGS goes to the runner. Sources
# and what is built of them stay in the folder suites of the build directory, or in PMD_SUITES_CACHE.
SUITES = memcached redis postgres sqlite git python
SUITES_FLAGS =
EXTRA_DIST += test/suites/programs.py test/suites/sources.py test/suites/suites.py test/suites/t_suites.py \
	test/suites/t_suites.sh

if OVERRIDE
if !SANITIZED
TESTS += test/suites/t_suites.sh
check-suites: libpmdalloc.la
	$(AM_V_at)python3 $(top_srcdir)/test/suites/suites.py --library $(abs_top_builddir)/.libs/libpmdalloc.so \
		--suites '$(SUITES)' --cache "$${PMD_SUITES_CACHE:-suites}" $(SUITES_FLAGS) || test $$? -eq 77
endif
endif

clean-local: clean-suites
clean-suites:
	rm -rf suites
.PHONY: check-suites clean-suites
