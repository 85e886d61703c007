/* SPDX-License-Identifier: MIT */
/* Guarded by nothing: whoever applies an advice looks whether it is still the one that holds. */
#include <stdatomic.h>

#include "conf/options.h"
#include "os/os.h"
#include "release/advice.h"

static _Atomic bool now_huge; /* with thp:auto */

bool advice_is_huge(void)
{
	return OPTION(thp) == THP_AUTO ? atomic_load_explicit(&now_huge, memory_order_seq_cst)
				       : OPTION(thp) == THP_ALWAYS;
}

void advice_set(bool huge)
{
	atomic_store_explicit(&now_huge, huge, memory_order_seq_cst);
}

void advice_apply(void *p, size_t bytes)
{
	bool huge;

	do {
		huge = advice_is_huge();
		os_advise_huge(p, bytes, huge);
	} while (huge != advice_is_huge());
}
