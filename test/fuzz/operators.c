/* SPDX-License-Identifier: MIT */
/* The library's C++ operators under the fuzzer's names. */
#include "operators.h"

#include "api/cxx.c"
#include "api/runtime_dynamic.c"
