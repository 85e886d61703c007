/* SPDX-License-Identifier: MIT */
/*
 * The C++ operators by their names in the Itanium C++ ABI. Where the library leaves those to others, a fuzzer that the
 * library is a part of has its operators under other names; HAS_OPERATORS says whether there are any.
 */
#ifndef PMDALLOC_FUZZ_OPERATORS_H
#define PMDALLOC_FUZZ_OPERATORS_H

#include <stddef.h>

#ifdef FUZZ_OPERATORS
#define _Znwm                               fuzz_Znwm
#define _ZnwmSt11align_val_t                fuzz_ZnwmSt11align_val_t
#define _ZnwmRKSt9nothrow_t                 fuzz_ZnwmRKSt9nothrow_t
#define _ZnwmSt11align_val_tRKSt9nothrow_t  fuzz_ZnwmSt11align_val_tRKSt9nothrow_t
#define _Znam                               fuzz_Znam
#define _ZnamSt11align_val_t                fuzz_ZnamSt11align_val_t
#define _ZnamRKSt9nothrow_t                 fuzz_ZnamRKSt9nothrow_t
#define _ZnamSt11align_val_tRKSt9nothrow_t  fuzz_ZnamSt11align_val_tRKSt9nothrow_t
#define _ZdlPv                              fuzz_ZdlPv
#define _ZdlPvm                             fuzz_ZdlPvm
#define _ZdlPvSt11align_val_t               fuzz_ZdlPvSt11align_val_t
#define _ZdlPvmSt11align_val_t              fuzz_ZdlPvmSt11align_val_t
#define _ZdlPvRKSt9nothrow_t                fuzz_ZdlPvRKSt9nothrow_t
#define _ZdlPvSt11align_val_tRKSt9nothrow_t fuzz_ZdlPvSt11align_val_tRKSt9nothrow_t
#define _ZdaPv                              fuzz_ZdaPv
#define _ZdaPvm                             fuzz_ZdaPvm
#define _ZdaPvSt11align_val_t               fuzz_ZdaPvSt11align_val_t
#define _ZdaPvmSt11align_val_t              fuzz_ZdaPvmSt11align_val_t
#define _ZdaPvRKSt9nothrow_t                fuzz_ZdaPvRKSt9nothrow_t
#define _ZdaPvSt11align_val_tRKSt9nothrow_t fuzz_ZdaPvSt11align_val_tRKSt9nothrow_t
#define HAS_OPERATORS                       1
#elif defined(PMD_PREFIXED)
#define HAS_OPERATORS 0
#else
#define HAS_OPERATORS 1
#endif

#define OPERATORS(new, delete)                                                                     \
	void *new##m(size_t size);                                                                 \
	void *new##mSt11align_val_t(size_t size, size_t align);                                    \
	void *new##mRKSt9nothrow_t(size_t size, const void *nothrow);                              \
	void *new##mSt11align_val_tRKSt9nothrow_t(size_t size, size_t align, const void *nothrow); \
	void delete##v(void *p);                                                                   \
	void delete##vm(void *p, size_t size);                                                     \
	void delete##vSt11align_val_t(void *p, size_t align);                                      \
	void delete##vmSt11align_val_t(void *p, size_t size, size_t align);                        \
	void delete##vRKSt9nothrow_t(void *p, const void *nothrow);                                \
	void delete##vSt11align_val_tRKSt9nothrow_t(void *p, size_t align, const void *nothrow);

#if HAS_OPERATORS
OPERATORS(_Znw, _ZdlP)
OPERATORS(_Zna, _ZdaP)
#endif

#endif
