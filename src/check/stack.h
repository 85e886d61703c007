/* SPDX-License-Identifier: MIT */
/*
 * Who called: return addresses, by the tables that compilers write for exceptions (x86-64). Takes no lock and allocates
 * nothing, so it may be used anywhere; a stack is followed as far as it is understood.
 */
#ifndef PMD_CHECK_STACK_H
#define PMD_CHECK_STACK_H

#include "base/base.h"
#include "base/text.h"

enum { STACK_FRAMES = 16 };

struct stack {
	unsigned count;
	uintptr_t frames[STACK_FRAMES];
};

/* Before, there are no stacks: the C library has to be ready. */
void stack_start(void);

/* The callers of this library's function that calls it, the innermost first. */
void stack_capture(struct stack *stack);

/* Where a signal interrupted its thread, and the callers; CONTEXT is what its handler was given. */
void stack_capture_context(struct stack *stack, const void *context);

/* A line for each: address, and file and offset in it, as addr2line(1) takes them. */
void stack_put(struct text *t, const struct stack *stack);

#endif
