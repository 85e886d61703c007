/* SPDX-License-Identifier: MIT */
/*
 * For the static forms: what there is was linked, and a reference to the dynamic loader would only make the linker
 * warn. Nor is there another operator new of the runtime's that could catch for ours: a frame with a personality of its own
 * does, as in the Itanium C++ ABI, "Exception Handling" (level I). All that it needs is there in a program that throws.
 */
#include <stddef.h>
#include <unwind.h>

#include "api/runtime.h"
#include "base/base.h"

void *runtime_find(const char *name)
{
	(void)name;
	return NULL;
}

#ifdef __x86_64__
#pragma weak _Unwind_SetGR
#pragma weak _Unwind_SetIP
extern void *cxa_begin_catch_abi(void *exception) __asm__("__cxa_begin_catch") __attribute__((weak));
extern void cxa_end_catch_abi(void) __asm__("__cxa_end_catch") __attribute__((weak));

/* What follows refers to each other from assembly, so it has names of its own. */
bool runtime_catches_frame(void (*handler)(void)) HIDDEN;
extern const char runtime_catches_landing[] HIDDEN;
void runtime_swallow(void *exception) HIDDEN;
_Unwind_Reason_Code runtime_personality(int version, _Unwind_Action actions, _Unwind_Exception_Class class,
					struct _Unwind_Exception *exception, struct _Unwind_Context *context) HIDDEN;

__attribute__((used)) void runtime_swallow(void *exception)
{
	cxa_begin_catch_abi(exception);
	cxa_end_catch_abi();
}

enum { RAX = 0 }; /* in DWARF's numbering */

/* Everything is caught but what ends a thread, as pthread_cancel(3) does, which must reach its end. */
__attribute__((used)) _Unwind_Reason_Code runtime_personality(int version, _Unwind_Action actions,
							      _Unwind_Exception_Class class,
							      struct _Unwind_Exception *exception,
							      struct _Unwind_Context *context)
{
	(void)version;
	(void)class;
	if (actions & _UA_FORCE_UNWIND || !_Unwind_SetGR || !_Unwind_SetIP || !cxa_begin_catch_abi ||
	    !cxa_end_catch_abi)
		return _URC_CONTINUE_UNWIND;
	if (actions & _UA_SEARCH_PHASE)
		return _URC_HANDLER_FOUND;
	_Unwind_SetGR(context, RAX, (uintptr_t)exception);
	_Unwind_SetIP(context, (uintptr_t)runtime_catches_landing);
	return _URC_INSTALL_CONTEXT;
}

__asm__(".pushsection .text\n"
	".hidden runtime_catches_frame, runtime_catches_landing\n"
	".globl runtime_catches_frame, runtime_catches_landing\n"
	".type runtime_catches_frame, @function\n"
	"runtime_catches_frame:\n"
	".cfi_startproc\n"
	".cfi_personality 0x1b, runtime_personality\n" /* relative to the place, four bytes */
	"subq $8, %rsp\n"
	".cfi_adjust_cfa_offset 8\n"
	"call *%rdi\n"
	"movl $1, %eax\n"
	"jmp 1f\n"
	"runtime_catches_landing:\n"
	"movq %rax, %rdi\n"
	"call runtime_swallow\n"
	"xorl %eax, %eax\n"
	"1: addq $8, %rsp\n"
	".cfi_adjust_cfa_offset -8\n"
	"ret\n"
	".cfi_endproc\n"
	".size runtime_catches_frame, . - runtime_catches_frame\n"
	".popsection");

bool runtime_catches(void (*handler)(void))
{
	return runtime_catches_frame(handler);
}
#else
bool runtime_catches(void (*handler)(void))
{
	handler();
	return true;
}
#endif
