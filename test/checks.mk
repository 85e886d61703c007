# SPDX-License-Identifier: MIT
# Checks of the sources themselves, and of the configurations that they can be built in.
TESTS += test/layers.sh test/documented.sh
EXTRA_DIST += test/layers.sh test/documented.sh test/lint.sh test/configs.sh

test/documented.log: $(man_MANS)

check-configs:
	$(SHELL) -c 'exec bash $(top_srcdir)/test/configs.sh $(top_srcdir) $(CONFIGS)'

clean-local: clean-configs
clean-configs:
	rm -rf configs
.PHONY: check-configs clean-configs
