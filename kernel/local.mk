# SPDX-License-Identifier: MIT
# The kernel to match: fragments of a configuration, the check of one, settings.
kerneldir = $(pkgdatadir)/kernel
dist_kernel_DATA = kernel/pmdalloc.config kernel/machine.config
dist_kernel_SCRIPTS = kernel/check-config
sysctldir = $(kerneldir)/sysctl.d
dist_sysctl_DATA = kernel/sysctl.d/50-pmdalloc.conf

TESTS += test/check_config.sh
EXTRA_DIST += test/check_config.sh
