# SPDX-License-Identifier: MIT
"""
What an address is to pmdalloc, for gdb, in a process or a core: source this file, then pmd-ptr ADDRESS. Needs the library's
debugging information (it is built with -g unless told otherwise, and may be split off).
"""

import gdb

SLICE_SHIFT, SLICES_PER_REGION, HEAPS = 16, 32, 64
ID_MASK = (1 << 64) - 1
FREE, SLAB, LARGE, INNER = range(4)
REGION_STATES = ("untouched", "clean", "dirty", "releasing", "active")
SEAL_SIZE_BITS, SEAL_STATE_AT, SEAL_ALIGN_AT, SEAL_BITS = 17, 19, 21, 27  # see src/cache/seal.h
SEAL_STATES = ("never handed out", "free", "in quarantine", "live")
ORIGINS = ("malloc", "operator new", "operator new[]", "?")
MIN_ALIGN, SLOT_BYTES, PAGE, SLOT_STATES = 16, 8192, 4096, ("unused", "live", "freed")


def variable(name, file=""):
    """A variable of the library, NAME of FILE where several have one."""
    return gdb.parse_and_eval(f"'{file}'::{name}" if file else name)


def integer(value):
    return int(value) & ID_MASK


def slice_of(address):
    """(heap, index of the slice) that ADDRESS lies in, or None."""
    heaps = variable("heaps")
    for i in range(HEAPS):
        if not integer(heaps[i]):
            return None
        heap = heaps[i].dereference()
        at = ((address - integer(heap["base"])) & ID_MASK) >> SLICE_SHIFT
        if at < integer(heap["slice_count"]):
            return heap, at
    return None


def on_list(first, block, most):
    """Whether BLOCK is on the list of free blocks that begins with FIRST."""
    word = gdb.lookup_type("unsigned long").pointer()
    for _ in range(most):
        if not first:
            return False
        if first == block:
            return True
        first = integer(gdb.Value(first).cast(word).dereference())
    return False


def seal_text(slab, block):
    """With check:strict, what the seal of BLOCK says; else None."""
    if not variable("seal_used"):
        return None
    word = block + integer(slab["block_size"]) - 8
    there = integer(gdb.Value(word).cast(gdb.lookup_type("unsigned long").pointer()).dereference())
    says = (there ^ (word << SEAL_BITS & ID_MASK)) * integer(variable("seal_inverse")) & ID_MASK
    if says >> SEAL_BITS:
        return "its seal is broken: something was written behind it" if there else "free"
    state = says >> SEAL_STATE_AT & 3
    if state != 3:
        return SEAL_STATES[state]
    aligned = f", aligned to {1 << (says >> SEAL_ALIGN_AT)}" if says >> SEAL_ALIGN_AT > 4 else ""
    return f"live, {says & (1 << SEAL_SIZE_BITS) - 1} bytes of {ORIGINS[says >> SEAL_SIZE_BITS & 3]}{aligned}"


def slab_text(slab, address):
    size, base = integer(slab["block_size"]), integer(slab["base"])
    index = (address - base) // size
    block = base + index * size
    lines = [f"{address - block} bytes into the block at {block:#x}", f"block of {size} bytes, class {int(slab['class'])}, "
             f"number {index} of {int(slab['capacity'])} in the slab at {base:#x}"]
    if index >= int(slab["carved"]):
        state = "never handed out"
    elif on_list(integer(slab["free"]), block, int(slab["capacity"])):
        state = "free: on its owner's list"
    elif on_list(integer(slab["remote"]) >> 16, block, int(slab["capacity"])):
        state = "free: another thread freed it"
    elif integer(slab["purged"]) >> ((block - base) >> 12 + integer(slab["slices"]).bit_length() - 1) & 1:
        state = "free: its pages were given back"
    else:
        state = seal_text(slab, block) or "live"
    lines.append(state)
    lines.append(f"{int(slab['count']) + int(slab['mark'])} blocks of the slab are live or not collected")
    cache = integer(slab["cache"])
    lines.append("owned by the thread whose control block is at "
                 f"{integer(slab['cache'].cast(gdb.lookup_type('struct cache').pointer())['thread']):#x}" if cache
                 else "owned by no thread")
    return lines


def large_text(large, address):
    base, size = integer(large["base"]), (integer(large["slices"]) << SLICE_SHIFT) - (integer(large["spare"]) << 12)
    asked = f", {integer(large['last'])} asked for" if variable("seal_used") else ""
    return [f"{address - base} bytes into the large block at {base:#x}", f"{size} bytes{asked}", "live"]


def covering_large(region, at):
    """The large block that covers slice number AT of REGION and begins in an earlier one, or before it in REGION."""
    slices = region["slices"]
    for i in range(at, -1, -1):
        if int(slices[i]["kind"]) == LARGE:
            return slices[i] if i + int(slices[i]["slices"]) > at else None
    spanning = region["spanning"]
    if not integer(spanning) or int(spanning["kind"]) != LARGE:
        return None
    covered = integer(spanning["base"]) + (integer(spanning["slices"]) << SLICE_SHIFT)
    return spanning.dereference() if covered > integer(region["base"]) + (at << SLICE_SHIFT) else None


def heap_text(heap, at, address):
    region = (heap["regions"] - at // SLICES_PER_REGION).dereference()
    found = heap["slices"][at]
    state = REGION_STATES[integer(region["state"])]
    where = f"region {at // SLICES_PER_REGION} ({state}), slice {at % SLICES_PER_REGION}"
    if state == "active":
        if int(found["kind"]) == INNER:
            found = found["head"].dereference()
        if int(found["kind"]) == SLAB:
            return [*slab_text(found, address), where]
        large = covering_large(region, at % SLICES_PER_REGION)
        if large is not None:
            return [*large_text(large, address), where]
    return ["free memory", where]


def guard_text(address):
    """What it is among guarded blocks, or None."""
    file = "src/check/guard.c"
    if not variable("guard_used"):
        return None
    slots, base = variable("slots", file), integer(variable("base", file))
    index = (address - base) // SLOT_BYTES
    if not 0 <= index < int(gdb.parse_and_eval("(int)SLOTS")):
        return None
    slot = slots[index]
    lines = [f"guarded block {index}: {SLOT_STATES[int(slot['state'])]}, {integer(slot['size'])} bytes at "
             f"{integer(slot['p']):#x}"]
    for what in ("allocated", "freed")[:int(slot["state"])]:
        stack = slot[what]["stack"]
        lines.append(f"{what} by thread {integer(slot[what]['thread']):#x}, called from")
        for i in range(int(stack["count"])):
            lines.append("  " + gdb.execute(f"info symbol {integer(stack['frames'][i])}", to_string=True).strip())
    return lines


def none_text(address):
    """With check:strict, what it is among the addresses that blocks of no size have, or None."""
    file = "src/check/none.c"
    base, at_most = integer(variable("base", file)), int(gdb.parse_and_eval("(int)ADDRESSES"))
    index, offset = divmod(address - base, MIN_ALIGN)
    if not base or not 0 <= index < at_most:
        return None
    live = integer(variable("live", file)[index // 64]) >> index % 64 & 1
    return [f"{offset} bytes beyond the address of a block of no size", "live" if live else "free"]


class PmdPtr(gdb.Command):
    """pmd-ptr ADDRESS: what ADDRESS is to pmdalloc: of which block, whether that is live, and where it is."""

    def __init__(self):
        super().__init__("pmd-ptr", gdb.COMMAND_DATA, gdb.COMPLETE_EXPRESSION)

    def invoke(self, argument, from_tty):
        if not argument:
            raise gdb.GdbError("pmd-ptr wants an address")
        address = integer(gdb.parse_and_eval(f"(unsigned long)({argument})"))
        try:
            found = slice_of(address)
            lines = heap_text(*found, address) if found else guard_text(address) or none_text(address)
        except gdb.MemoryError as error:
            lines = [f"what pmdalloc knows of it cannot be read: {error}"]
        except gdb.error as error:
            raise gdb.GdbError(f"no debugging information for libpmdalloc: {error}")
        print(f"{address:#x}: " + "\n    ".join(lines or ["not memory that pmdalloc hands out"]))


PmdPtr()
