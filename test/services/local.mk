# SPDX-License-Identifier: MIT
# Real programs under the library: in short by `make check`, at length by `make check-services`.
SERVICE_TESTS = test/services/bash.sh test/services/compile.sh test/services/cxx.sh test/services/git.sh \
	test/services/java.sh test/services/launcher.sh test/services/memcached.sh test/services/nginx.sh \
	test/services/node.sh test/services/perl.sh test/services/postgres.sh test/services/python.sh \
	test/services/redis.sh test/services/sqlite.sh test/services/stress.sh

EXTRA_DIST += test/services/common.sh $(SERVICE_TESTS)
if OVERRIDE
TESTS += $(SERVICE_TESTS)

check-services: all
	PMD_SERVICES=full $(MAKE) $(AM_MAKEFLAGS) check TESTS='$(SERVICE_TESTS)'
endif
.PHONY: check-services
