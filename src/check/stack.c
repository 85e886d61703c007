/* SPDX-License-Identifier: MIT */
/*
 * Call frame information after the DWARF standard (6.4) and the Linux Standard Base's .eh_frame. What x86-64 compilers write
 * is understood: the CFA as register and offset, registers saved at an offset from it. Anything else ends the walk, as does a
 * frame outside of the stack. The object that an address belongs to is found by _dl_find_object (glibc 2.35), which takes no
 * lock; without it there are no stacks. The shared library asks the loader for it: a reference, a weak one too, would keep an
 * older C library from loading it at all.
 */
#include "check/stack.h"

#ifdef __x86_64__

#include <dlfcn.h>
#include <link.h>
#include <string.h>
#include <ucontext.h>

#include "os/os.h"

enum { RBX = 3, RBP = 6, RSP = 7, R12 = 12, PC = 16, REGISTERS = 17, REMEMBERED = 4, FRAME_MOST = 1 << 20 };

/* DWARF's operations: those with an operand in the low six bits, and those without. */
enum {
	ADVANCE = 1,
	OFFSET = 2,
	RESTORE = 3,
	NOP = 0x00,
	SET_LOC = 0x01,
	ADVANCE1 = 0x02,
	ADVANCE2 = 0x03,
	ADVANCE4 = 0x04,
	OFFSET_EXTENDED = 0x05,
	UNDEFINED = 0x07,
	SAME_VALUE = 0x08,
	REMEMBER = 0x0a,
	RECALL = 0x0b,
	DEF_CFA = 0x0c,
	DEF_CFA_REGISTER = 0x0d,
	DEF_CFA_OFFSET = 0x0e,
	GNU_ARGS_SIZE = 0x2e,
};

enum { ENCODED_PCREL_4 = 0x1b, ENCODED_DATAREL_4 = 0x3b, ENCODED_U4 = 0x03 };

struct row {
	uint64_t cfa_register, cfa_offset;
	bool saved[REGISTERS], undefined_pc;
	int64_t at[REGISTERS]; /* from the CFA */
};

struct machine {
	const uint8_t *at, *end;
	uint64_t code_align;
	int64_t data_align;
	uintptr_t pc; /* that the row is wanted for */
	uintptr_t location;
	struct row row, initial, remembered[REMEMBERED];
	unsigned depth;
};

extern void *__libc_stack_end __attribute__((weak));

static int (*find_object)(void *address, struct dl_find_object *result);

#ifdef PIC /* by libtool: the shared library */
void stack_start(void)
{
	*(void **)&find_object = dlsym(RTLD_DEFAULT, "_dl_find_object");
}
#else
extern int _dl_find_object(void *address, struct dl_find_object *result) __attribute__((weak));

void stack_start(void)
{
	find_object = _dl_find_object;
}
#endif

/* ---- Reading ----------------------------------------------------------------------------------------------------- */

static uint64_t read_unsigned(const uint8_t **at, unsigned bytes)
{
	uint64_t n = 0;

	memcpy(&n, *at, bytes);
	*at += bytes;
	return n;
}

static uint64_t uleb(const uint8_t **at)
{
	uint64_t n = 0;
	unsigned shift = 0;
	uint8_t byte;

	do {
		byte = *(*at)++;
		n |= shift < 64 ? (uint64_t)(byte & 0x7f) << shift : 0;
		shift += 7;
	} while (byte & 0x80);
	return n;
}

static int64_t sleb(const uint8_t **at)
{
	const uint8_t *first = *at;
	uint64_t n = uleb(at);
	unsigned bits = (unsigned)(*at - first) * 7;

	return (int64_t)(bits < 64 && (*at)[-1] & 0x40 ? n | ~(uint64_t)0 << bits : n);
}

static const uint8_t *relative(const uint8_t *field, const uint8_t *base)
{
	int32_t offset;

	memcpy(&offset, field, sizeof offset);
	return base + offset;
}

/* ---- Tables ------------------------------------------------------------------------------------------------------ */

/* The entry for PC in the sorted table of .eh_frame_hdr, at HEADER; NULL when there is none. */
static const uint8_t *find_entry(const uint8_t *header, uintptr_t pc)
{
	const uint8_t *at = header + 8, *table;
	size_t count, low = 0;

	if (header[0] != 1 || header[1] != ENCODED_PCREL_4 || header[2] != ENCODED_U4 || header[3] != ENCODED_DATAREL_4)
		return NULL;
	count = read_unsigned(&at, 4);
	table = at;
	while (count > 1) {
		size_t half = count / 2;

		if ((uintptr_t)relative(table + (low + half) * 8, header) <= pc) {
			low += half;
			count -= half;
		} else {
			count = half;
		}
	}
	return count && (uintptr_t)relative(table + low * 8, header) <= pc ? relative(table + low * 8 + 4, header)
									   : NULL;
}

/* Reads the common part of an entry: *CODE is where its operations begin. Only augmentation that needs no look inside. */
static bool read_common(const uint8_t *cie, struct machine *m, const uint8_t **code)
{
	const uint8_t *at = cie;
	uint64_t length = read_unsigned(&at, 4);
	const uint8_t *end = at + length;
	const char *letters = (const char *)at + 5;
	uint8_t encoding = 0;

	if (length >= 0xfffffff0 || letters[0] != 'z')
		return false;
	at += 5 + text_length(letters) + 1;
	m->code_align = uleb(&at);
	m->data_align = sleb(&at);
	if (uleb(&at) != PC)
		return false;
	length = uleb(&at);
	*code = at + length;
	for (const char *l = letters + 1; *l; l++) {
		if (*l == 'R')
			encoding = *at++;
		else if (*l == 'L')
			at++;
		else if (*l == 'P') /* its operand's length depends on how it is encoded */
			at += 1 + ((*at & 0x0f) == 0x0b || (*at & 0x0f) == 0x03 ? 4 : 8);
		else
			return false; /* S: a signal's frame; its registers are saved by expressions */
	}
	m->at = *code;
	m->end = end;
	return encoding == ENCODED_PCREL_4;
}

/* ---- Operations -------------------------------------------------------------------------------------------------- */

static void save(struct machine *m, uint64_t reg, int64_t at)
{
	if (reg >= REGISTERS)
		return;
	m->row.saved[reg] = true;
	m->row.at[reg] = at;
}

static void restore(struct machine *m, uint64_t reg)
{
	if (reg >= REGISTERS)
		return;
	m->row.saved[reg] = m->initial.saved[reg];
	m->row.at[reg] = m->initial.at[reg];
}

static bool run_extended(struct machine *m, uint8_t operation)
{
	uint64_t reg;

	switch (operation) {
	case NOP:
		return true;
	case ADVANCE1:
	case ADVANCE2:
	case ADVANCE4:
		m->location += read_unsigned(&m->at, 1u << (operation - ADVANCE1)) * m->code_align;
		return true;
	case OFFSET_EXTENDED:
		reg = uleb(&m->at);
		save(m, reg, (int64_t)uleb(&m->at) * m->data_align);
		return true;
	case UNDEFINED:
		m->row.undefined_pc |= uleb(&m->at) == PC;
		return true;
	case SAME_VALUE:
		reg = uleb(&m->at);
		if (reg < REGISTERS)
			m->row.saved[reg] = false;
		return true;
	case REMEMBER:
		if (m->depth == REMEMBERED)
			return false;
		m->remembered[m->depth++] = m->row;
		return true;
	case RECALL:
		if (!m->depth)
			return false;
		m->row = m->remembered[--m->depth];
		return true;
	case DEF_CFA:
		m->row.cfa_register = uleb(&m->at);
		m->row.cfa_offset = uleb(&m->at);
		return true;
	case DEF_CFA_REGISTER:
		m->row.cfa_register = uleb(&m->at);
		return true;
	case DEF_CFA_OFFSET:
		m->row.cfa_offset = uleb(&m->at);
		return true;
	case GNU_ARGS_SIZE:
		uleb(&m->at);
		return true;
	default:
		return false;
	}
}

/* Runs operations up to those for places beyond the wanted one. False: one is not understood. */
static bool run(struct machine *m)
{
	while (m->at < m->end && m->location <= m->pc) {
		uint8_t operation = *m->at++, operand = operation & 0x3f;

		switch (operation >> 6) {
		case ADVANCE:
			m->location += operand * m->code_align;
			break;
		case OFFSET:
			save(m, operand, (int64_t)uleb(&m->at) * m->data_align);
			break;
		case RESTORE:
			restore(m, operand);
			break;
		default:
			if (!run_extended(m, operation))
				return false;
		}
	}
	return true;
}

/* Finds the row for PC into M. */
static bool find_row(uintptr_t pc, struct machine *m)
{
	struct dl_find_object object;
	const uint8_t *entry, *at, *end, *code;
	uintptr_t range;

	if (find_object((void *)pc, &object) || !object.dlfo_eh_frame ||
	    !(entry = find_entry(object.dlfo_eh_frame, pc)))
		return false;
	at = entry;
	end = entry + 4 + read_unsigned(&at, 4);
	memset(m, 0, sizeof *m);
	if (!read_common(at - *(const uint32_t *)(const void *)at, m, &code))
		return false;
	m->pc = pc;
	m->location = 0; /* the common operations are for all places */
	if (!run(m))
		return false;
	m->initial = m->row;
	m->location = (uintptr_t)relative(at + 4, at + 4);
	at += 8;
	range = read_unsigned(&at, 4);
	if (pc < m->location || pc - m->location >= range)
		return false;
	at += uleb(&at);
	m->at = at;
	m->end = end;
	return run(m);
}

/* ---- The walk ---------------------------------------------------------------------------------------------------- */

/* The stack that SP lies in ends below: a thread's begins with its control block, the first one's is known. */
static uintptr_t stack_end(uintptr_t sp)
{
	uintptr_t thread = os_thread_id(), first = &__libc_stack_end ? (uintptr_t)__libc_stack_end : 0;

	if (sp < first && (thread < sp || thread > first))
		return first;
	return thread > sp ? thread : align_up(sp + 1, PAGE_BYTES);
}

/* From a frame to its caller's. */
static bool step(struct machine *m, uintptr_t *registers, uintptr_t end)
{
	uintptr_t cfa, sp = registers[RSP];

	if (m->row.undefined_pc || !m->row.saved[PC] || m->row.cfa_register >= PC)
		return false;
	cfa = registers[m->row.cfa_register] + m->row.cfa_offset;
	if (cfa <= sp || cfa - sp > FRAME_MOST || cfa > end || cfa % sizeof cfa)
		return false;
	for (unsigned i = 0; i < REGISTERS; i++) {
		uintptr_t from = cfa + (uintptr_t)m->row.at[i];

		if (!m->row.saved[i])
			continue;
		if (from < sp || from >= cfa)
			return false;
		registers[i] = *(const uintptr_t *)from;
	}
	registers[RSP] = cfa;
	return registers[PC] != 0;
}

/* Whether PC lies in this library, whose own frames nobody wants to see. */
static bool is_ours(uintptr_t pc)
{
	static const char here;
	struct dl_find_object object, ours;

	return !find_object((void *)pc, &object) && !find_object((void *)(uintptr_t)&here, &ours) &&
	       object.dlfo_map_start == ours.dlfo_map_start && object.dlfo_link_map && object.dlfo_link_map->l_name[0];
}

/* Follows the frames from REGISTERS on, and notes them from the first on that is OUTSIDE of this library. */
static void walk(struct stack *stack, uintptr_t *registers, bool outside)
{
	uintptr_t end = stack_end(registers[RSP]);
	struct machine m;
	bool innermost = true;

	/* Return addresses are looked up one byte before: a call may be the last that its function does. */
	while (stack->count < STACK_FRAMES && find_row(registers[PC] - !innermost, &m) && step(&m, registers, end)) {
		innermost = false;
		outside = outside || !is_ours(registers[PC]);
		if (outside)
			stack->frames[stack->count++] = registers[PC];
	}
}

NOINLINE void stack_capture(struct stack *stack)
{
	uintptr_t registers[REGISTERS] = {0};

	stack->count = 0;
	if (!find_object)
		return;
	__asm__ volatile("lea 0(%%rip), %%rax\n\t"
			 "mov %%rax, %c[pc](%[r])\n\t"
			 "mov %%rsp, %c[rsp](%[r])\n\t"
			 "mov %%rbp, %c[rbp](%[r])\n\t"
			 "mov %%rbx, %c[rbx](%[r])\n\t"
			 "mov %%r12, %c[r12](%[r])\n\t"
			 "mov %%r13, %c[r12]+8(%[r])\n\t"
			 "mov %%r14, %c[r12]+16(%[r])\n\t"
			 "mov %%r15, %c[r12]+24(%[r])"
			 :
			 : [r] "r"(registers), [pc] "i"(8 * PC), [rsp] "i"(8 * RSP), [rbp] "i"(8 * RBP),
			   [rbx] "i"(8 * RBX), [r12] "i"(8 * R12)
			 : "rax", "memory");
	walk(stack, registers, false);
}

void stack_capture_context(struct stack *stack, const void *context)
{
	const greg_t *from = ((const ucontext_t *)context)->uc_mcontext.gregs;
	uintptr_t registers[REGISTERS] = {[RBX] = (uintptr_t)from[REG_RBX],     [RBP] = (uintptr_t)from[REG_RBP],
					  [RSP] = (uintptr_t)from[REG_RSP],     [R12] = (uintptr_t)from[REG_R12],
					  [R12 + 1] = (uintptr_t)from[REG_R13], [R12 + 2] = (uintptr_t)from[REG_R14],
					  [R12 + 3] = (uintptr_t)from[REG_R15], [PC] = (uintptr_t)from[REG_RIP]};

	stack->count = 1;
	stack->frames[0] = registers[PC];
	if (find_object)
		walk(stack, registers, true);
}

static void put_place(struct text *t, uintptr_t pc)
{
	struct dl_find_object object;

	if (!find_object || find_object((void *)pc, &object) || !object.dlfo_link_map)
		return;
	text_put(t, " (");
	text_put(t, object.dlfo_link_map->l_name[0] ? object.dlfo_link_map->l_name : "the program");
	text_put(t, "+");
	text_put_hex(t, pc - object.dlfo_link_map->l_addr);
	text_put(t, ")");
}

#else

void stack_start(void)
{
}

void stack_capture(struct stack *stack)
{
	stack->count = 0;
}

void stack_capture_context(struct stack *stack, const void *context)
{
	(void)context;
	stack->count = 0;
}

static void put_place(struct text *t, uintptr_t pc)
{
	(void)t, (void)pc;
}

#endif

void stack_put(struct text *t, const struct stack *stack)
{
	for (unsigned i = 0; i < stack->count; i++) {
		text_put(t, "\npmdalloc:     ");
		text_put_hex(t, stack->frames[i]);
		put_place(t, stack->frames[i]);
	}
}
