/* SPDX-License-Identifier: MIT */
/* The C frames between a throwing operator new and the handler that catches: ours, and qsort's. */
#include "through_c.h"

#include <stdlib.h>

static void (*callee)(void *);
static void *callee_argument;

static int compare(const void *a, const void *b)
{
	callee(callee_argument);
	return *(const int *)a - *(const int *)b;
}

void through_c(void (*function)(void *), void *argument)
{
	int numbers[] = {3, 1, 2};
	callee = function;
	callee_argument = argument;
	qsort(numbers, 3, sizeof numbers[0], compare);
}
