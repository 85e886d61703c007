# SPDX-License-Identifier: MIT
# The manual. Its lists of options are made from the table that the library is built with.
man_MANS = doc/pmdalloc.3 doc/pmdalloc-replay.1
if OVERRIDE
man_MANS += doc/pmdalloc-run.1 doc/pmdalloc-trace.1
endif

OPTION_TABLE = $(top_srcdir)/src/conf/options.def

dist_doc_DATA = README.md CHANGELOG.md doc/design.md doc/kernel.md doc/performance.md doc/tests.md doc/trace-format.md
EXTRA_DIST += doc/options.awk doc/pmdalloc.3.in doc/pmdalloc-run.1.in \
	doc/pmdalloc-replay.1.in doc/pmdalloc-trace.1.in
CLEANFILES += doc/options.man doc/pmdalloc.3 doc/pmdalloc-run.1 doc/pmdalloc-replay.1 doc/pmdalloc-trace.1

doc/options.man: $(top_srcdir)/doc/options.awk $(OPTION_TABLE)
	$(AM_V_GEN)$(MKDIR_P) doc && $(AWK) -f $(top_srcdir)/doc/options.awk $(OPTION_TABLE) >$@.tmp && mv $@.tmp $@

MAKE_MANUAL = $(AM_V_GEN)$(MKDIR_P) doc && sed -e 's|@VERSION[@]|$(VERSION)|g' -e 's|@pkgdatadir[@]|$(pkgdatadir)|g' -e '/^@OPTIONS[@]$$/{' \
	-e 'r doc/options.man' -e 'd' -e '}'

doc/pmdalloc.3: $(top_srcdir)/doc/pmdalloc.3.in doc/options.man
	$(MAKE_MANUAL) $(top_srcdir)/doc/pmdalloc.3.in >$@.tmp && mv $@.tmp $@

doc/pmdalloc-run.1: $(top_srcdir)/doc/pmdalloc-run.1.in doc/options.man
	$(MAKE_MANUAL) $(top_srcdir)/doc/pmdalloc-run.1.in >$@.tmp && mv $@.tmp $@

doc/pmdalloc-replay.1: $(top_srcdir)/doc/pmdalloc-replay.1.in doc/options.man
	$(MAKE_MANUAL) $(top_srcdir)/doc/pmdalloc-replay.1.in >$@.tmp && mv $@.tmp $@

doc/pmdalloc-trace.1: $(top_srcdir)/doc/pmdalloc-trace.1.in doc/options.man
	$(MAKE_MANUAL) $(top_srcdir)/doc/pmdalloc-trace.1.in >$@.tmp && mv $@.tmp $@
