/* SPDX-License-Identifier: MIT */
/*
 * Stacks are walked by call frame information alone: functions with each of the operations that compilers write call back from
 * a known place, and are found among the callers; what is not understood ends the walk, with the callers so far, and crashes
 * nothing.
 */
#include "check.h"

#include <pthread.h>
#include <ucontext.h>

#define check_failed library_check_failed /* both have one */
#include "check/stack.h"
#undef check_failed

#ifdef __x86_64__

extern int _dl_find_object(void *, void *) __attribute__((weak));

/* NAME(f) has a frame of 24 bytes in which PROLOGUE stands, calls f, and goes on with EPILOGUE. */
#define FRAME(name, prologue, epilogue)                                                        \
	void name(void (*)(void));                                                             \
	__asm__(".text\n.type " #name ", @function\n" #name                                    \
		":\n\t.cfi_startproc\n\tsub $24, %rsp\n\t.cfi_adjust_cfa_offset 24\n" prologue \
		"\n\tcall *%rdi\n" #name "_called:\n" epilogue                                 \
		"\n\tadd $24, %rsp\n\t.cfi_adjust_cfa_offset -24\n\tret\n\t.cfi_endproc\n.size " #name ", .-" #name);

FRAME(plain, "", "")
FRAME(remembers, ".cfi_remember_state\n.cfi_def_cfa_offset 64\n.cfi_restore_state", "")
FRAME(same, ".cfi_offset rbx, -16\n.cfi_same_value rbx", "")
FRAME(restores, ".cfi_offset rbx, -16\n.cfi_restore rbx", "")
FRAME(vectors, ".cfi_offset xmm0, -16\n.cfi_restore xmm0", "")
FRAME(arguments, ".cfi_escape 0x2e, 0x10", "")
FRAME(extended, ".cfi_escape 0x05, 0x03, 0x02\n.cfi_escape 0x05, 0x70, 0x02", "")
FRAME(same_vector, ".cfi_escape 0x08, 0x70", "")
FRAME(defines, ".cfi_def_cfa rsp, 32", "")
FRAME(far, "jmp 1f\n.fill 300, 1, 0x90\n1: .cfi_escape 0x2e, 0x00", "")
FRAME(very_far, "jmp 1f\n.fill 70000, 1, 0x90\n1: .cfi_escape 0x2e, 0x00", "")
FRAME(later, "", "jmp 1f\n.fill 100, 1, 0x90\n1: .cfi_escape 0x2e, 0x00")
FRAME(by_frame, "mov %rbp, 16(%rsp)\n.cfi_offset rbp, -16\nlea 16(%rsp), %rbp\n.cfi_def_cfa rbp, 16",
      "mov 16(%rsp), %rbp\n.cfi_restore rbp\n.cfi_def_cfa rsp, 32")

FRAME(outermost, ".cfi_undefined rip", "")
FRAME(another_place, ".cfi_return_column rbx", "")
FRAME(untold_rule, ".cfi_escape 0x16, 0x03, 0x01, 0x30", "")
FRAME(handled_far, ".cfi_personality 0x10, personality\n.cfi_lsda 0x10, personality", "")
FRAME(handled_unsigned, ".cfi_personality 0x13, personality\n.cfi_lsda 0x1b, personality", "")
FRAME(handled, ".cfi_personality 0x1b, personality\n.cfi_lsda 0x1b, personality", "")
FRAME(other_undefined, ".cfi_undefined rbx", "")
FRAME(expression, ".cfi_remember_state\n.cfi_escape 0x0f, 0x02, 0x77, 0x20", ".cfi_restore_state")
FRAME(in_register, ".cfi_register rbx, r12", "")
FRAME(signals, ".cfi_signal_frame", "")
FRAME(no_cfa, ".cfi_remember_state\n.cfi_def_cfa xmm0, 8", ".cfi_restore_state")
FRAME(lower, ".cfi_remember_state\n.cfi_def_cfa_offset 0", ".cfi_restore_state")
FRAME(beyond, ".cfi_remember_state\n.cfi_def_cfa_offset 0x200000", ".cfi_restore_state")
FRAME(odd, ".cfi_remember_state\n.cfi_def_cfa_offset 33", ".cfi_restore_state")
FRAME(above, ".cfi_remember_state\n.cfi_offset rip, 8", ".cfi_restore_state")
FRAME(below, ".cfi_remember_state\n.cfi_offset rip, -64", ".cfi_restore_state")
FRAME(forgets, ".cfi_escape 0x0b", "")
FRAME(too_deep,
      ".cfi_remember_state\n.cfi_remember_state\n.cfi_remember_state\n.cfi_remember_state\n.cfi_remember_state",
      ".cfi_restore_state\n.cfi_restore_state\n.cfi_restore_state\n.cfi_restore_state\n.cfi_restore_state")

/* Never called: nothing is thrown. */
__asm__(".text\npersonality:\n\tret");

/* No information at all. */
void untold(void (*)(void));
__asm__(".text\nuntold:\n\tsub $24, %rsp\n\tcall *%rdi\nuntold_called:\n\tadd $24, %rsp\n\tret");

static struct stack stack;
int main(void);
static volatile int after_call;

__attribute__((noinline)) static void capture(void)
{
	stack_capture(&stack);
	after_call = 1;
}

__attribute__((noinline)) static void call(void (*through)(void (*)(void)))
{
	through(capture);
	after_call = 2;
}

static bool holds(uintptr_t from, size_t bytes)
{
	for (unsigned i = 0; i < stack.count; i++)
		if (stack.frames[i] - from < bytes)
			return true;
	return false;
}

#define CASE(name, ends)                                            \
	do {                                                        \
		extern char name##_called[];                        \
		judge(#name, name, (uintptr_t)name##_called, ends); \
	} while (0)

/* The place behind the call is there; so is who called, unless the walk ENDS there. */
static void judge(const char *name, void (*through)(void (*)(void)), uintptr_t called, bool ends)
{
	stack.count = 0;
	call(through);
	CHECK_SAY(holds(called, 1), "%s is not among %u callers", name, stack.count);
	CHECK_SAY(holds((uintptr_t)call, 200) == !ends, "%s %s the walk: %u callers", name,
		  ends ? "does not end" : "ends", stack.count);
	CHECK(stack.count <= STACK_FRAMES);
}

__attribute__((noinline)) static unsigned deep(unsigned n)
{
	unsigned below;
	if (n == 0) {
		capture();
		return 0;
	}
	below = deep(n - 1);
	after_call = (int)n;
	return below + 1;
}

static void goes_on(void)
{
	CASE(plain, false);
	CASE(remembers, false);
	CASE(same, false);
	CASE(restores, false);
	CASE(vectors, false);
	CASE(arguments, false);
	CASE(extended, false);
	CASE(same_vector, false);
	CASE(defines, false);
	CASE(far, false);
	CASE(very_far, false);
	CASE(later, false);
	CASE(by_frame, false);
	CASE(other_undefined, false);
	CASE(handled, false);
	CASE(handled_far, false);
	CASE(handled_unsigned, false);
}

static void ends(void)
{
	CASE(outermost, true);
	CASE(expression, true);
	CASE(another_place, true);
	CASE(untold_rule, true);
	CASE(in_register, true);
	CASE(signals, true);
	CASE(no_cfa, true);
	CASE(lower, true);
	CASE(beyond, true);
	CASE(odd, true);
	CASE(above, true);
	CASE(below, true);
	CASE(forgets, true);
	CASE(too_deep, true);
	CASE(untold, true);
}

/* A thread's own stack, and one that the C library knows nothing of. */
static char own[256 << 10];
static ucontext_t back, there;

static void on_own_stack(void)
{
	CASE(plain, false);
}

static void *in_thread(void *unused)
{
	CASE(plain, false);
	return unused;
}

static void stacks(void)
{
	pthread_t thread;
	CHECK(!pthread_create(&thread, NULL, in_thread, NULL) && !pthread_join(thread, NULL));
	CHECK(!getcontext(&there));
	there.uc_stack.ss_sp = own;
	there.uc_stack.ss_size = sizeof own;
	there.uc_link = &back;
	makecontext(&there, on_own_stack, 0);
	CHECK(!swapcontext(&back, &there));
}

/* What a report says of a place: where it lies in which file, if that is known. */
static void says_place(uintptr_t place, bool known)
{
	char text[256], wanted[64];
	struct text t;
	text_init(&t, text, sizeof text);
	stack.count = 1;
	stack.frames[0] = place;
	stack_put(&t, &stack);
	snprintf(wanted, sizeof wanted, "%#zx", (size_t)place);
	CHECK_SAY(strstr(text, wanted) && known == !!strstr(text, " (the program+0x"), "%s", text);
}

/* Of a handler, whose context says where. */
static void from_context(bool known)
{
	ucontext_t context;
	CHECK(!getcontext(&context));
	stack_capture_context(&stack, &context);
	CHECK(known ? stack.count > 1 && holds((uintptr_t)stack.frames[0], 1) : stack.count == 1);
}

int main(void)
{
	if (!_dl_find_object)
		SKIP("the C library has no _dl_find_object");
	if (SANITIZED)
		SKIP("a sanitizer's build has other frames");
	capture();
	CHECK(stack.count == 0); /* not before it was started */
	from_context(false);
	says_place((uintptr_t)main, false);
	stack_start();
	goes_on();
	ends();
	CHECK(deep(100) == 100 && stack.count == STACK_FRAMES);
	stacks();
	from_context(true);
	says_place((uintptr_t)main, true);
	says_place(16, false);
	return 0;
}

#else

int main(void)
{
	SKIP("stacks are walked on x86-64 only");
}

#endif
