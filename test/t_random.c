/* SPDX-License-Identifier: MIT */
/* Random operations of one thread against a shadow model, under opposite options. */
#include "model.h"
#include "variants.h"

static struct model model;

int main(int argc, char **argv)
{
	const char *conf = VARIANTS(argc, argv, "", "decay_ms:0,mremap_mib:2,thp:never", "decay_ms:-1,thp:always",
				    "decay_ms:20,background:off,arenas:3");
	size_t steps = check_scaled(check_number("STEPS", 150000));
	for (size_t round = 0; round < 3; round++) {
		model_init(&model, strlen(conf) * 1000 + round, 96 * MIB);
		for (size_t i = 0; i < steps / 3; i++) {
			model_step(&model);
			if (i % 4096 == 0)
				model_verify_all(&model);
		}
		model_verify_all(&model);
		model_free_all(&model);
		if (round == 1)
			pmd_release();
	}
	return 0;
}
