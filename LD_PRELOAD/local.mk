# SPDX-License-Identifier: MIT
# What runs programs under the library without linking them to it.
if OVERRIDE
bin_SCRIPTS += LD_PRELOAD/pmdalloc-run
pkglibexec_PROGRAMS = LD_PRELOAD/pmdalloc-doctor LD_PRELOAD/pmdalloc-time-exit
LD_PRELOAD_pmdalloc_doctor_SOURCES = LD_PRELOAD/doctor.c LD_PRELOAD/doctor.h LD_PRELOAD/doctor_kernel.c \
	LD_PRELOAD/doctor_library.c LD_PRELOAD/doctor_settings.c
LD_PRELOAD_pmdalloc_time_exit_SOURCES = LD_PRELOAD/time_exit.c
systemddir = $(pkgdatadir)/systemd
systemd_DATA = LD_PRELOAD/pmdalloc.conf
dist_systemd_DATA = LD_PRELOAD/pmdalloc-exit@.service LD_PRELOAD/pmdalloc-exit.conf
preloaddocdir = $(docdir)/LD_PRELOAD
dist_preloaddoc_DATA = LD_PRELOAD/README.md
endif

gdbdir = $(pkgdatadir)
dist_gdb_DATA = LD_PRELOAD/pmdalloc-gdb.py

pkgconfigdir = $(libdir)/pkgconfig
pkgconfig_DATA = LD_PRELOAD/pmdalloc.pc

EXTRA_DIST += LD_PRELOAD/pmdalloc.conf.in
CLEANFILES += LD_PRELOAD/pmdalloc.conf

# Made here, not by configure: systemd reads no ${exec_prefix}, and make knows the final libdir.
LD_PRELOAD/pmdalloc.conf: $(srcdir)/LD_PRELOAD/pmdalloc.conf.in Makefile
	$(AM_V_GEN)$(MKDIR_P) LD_PRELOAD && sed 's|@libdir[@]|$(libdir)|g' $(srcdir)/LD_PRELOAD/pmdalloc.conf.in >$@.tmp && \
		mv $@.tmp $@
