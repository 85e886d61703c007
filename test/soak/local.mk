# SPDX-License-Identifier: MIT
# Services under load for as long as SOAK_SECONDS says, killed, forked, short of memory; SOAK_FLAGS goes to the runner.
SOAK_SECONDS = 600
SOAK_FLAGS =
SOAK_PARTS = test/soak/judge.py test/soak/pressure.py test/soak/report.py test/soak/services.py test/soak/soak.py \
	test/soak/watch.py
EXTRA_DIST += $(SOAK_PARTS) test/soak/self.sh test/soak/t_judge.py test/soak/t_soak.sh
TESTS += test/soak/t_soak.sh

# It links no allocator: LD_PRELOAD decides who serves.
check_PROGRAMS += test/soak/keeper
test_soak_keeper_CFLAGS = $(AM_CFLAGS) -fno-builtin

if OVERRIDE
if !SANITIZED
soak: test/soak/keeper$(EXEEXT) libpmdalloc.la
	python3 $(top_srcdir)/test/soak/soak.py --library $(abs_top_builddir)/.libs/libpmdalloc.so \
		--keeper $(abs_top_builddir)/test/soak/keeper$(EXEEXT) --out soak --seconds $(SOAK_SECONDS) $(SOAK_FLAGS)

# Finds the soak what it is there for?
check-soak: test/soak/keeper$(EXEEXT) libpmdalloc.la libfaulty.la
	$(AM_V_at)$(AM_TESTS_ENVIRONMENT) $(top_srcdir)/test/soak/self.sh || test $$? -eq 77
endif
endif

clean-local: clean-soak
clean-soak:
	rm -rf soak
.PHONY: soak check-soak clean-soak
