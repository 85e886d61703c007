# SPDX-License-Identifier: MIT
# The models of what threads and the kernel do at once; README.md here. `make check` explores the small variants, which
# takes a second; `make check-model` the large ones too, which takes ten seconds and 200 MB.
check_PROGRAMS += test/model/explore
TESTS += test/model/explore
EXTRA_DIST += test/model/README.md

test_model_explore_SOURCES = test/model/explore.c test/model/explore.h test/model/regions.c test/model/slices.c \
	test/model/slabs.c test/model/thread.c

check-model: test/model/explore$(EXEEXT)
	test/model/explore --large

.PHONY: check-model
