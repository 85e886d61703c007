# SPDX-License-Identifier: MIT
# Checks of the sources themselves, and of the configurations that they can be built in.
TESTS += test/layers.sh test/start.sh test/documented.sh
EXTRA_DIST += test/layers.sh test/start.sh test/documented.sh test/lint.sh test/configs.sh
EXTRA_DIST += test/coverage.sh test/coverage.py test/coverage.expected

test/documented.log: $(man_MANS)

check-configs:
	$(SHELL) -c 'exec bash $(top_srcdir)/test/configs.sh $(top_srcdir) $(CONFIGS)'

# COVERAGE_TESTS='...' runs some of the tests.
check-coverage:
	$(SHELL) -c 'exec bash $(top_srcdir)/test/coverage.sh $(top_srcdir)'

clean-local: clean-configs
clean-configs:
	rm -rf configs coverage
.PHONY: check-configs check-coverage clean-configs
