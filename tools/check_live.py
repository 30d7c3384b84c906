#!/usr/bin/python3
"""Fail when code that may run with the guest's vector state live would spoil it.

    check_live.py LIVE_ARCHIVE GATE_ARCHIVE MEM_ARCHIVE

LIVE_ARCHIVE holds the objects of `live_sources` (src/engine/meson.build, src/engine/soft/cpu.h
invariant 2). In it:
1. nothing touches x87, MMX, SSE, AVX or mask registers, but for the listed instructions of assembly
   statements;
2. no function refers to code outside, but for the listed symbols: those that are gates (their first
   call is fpu_leave), those that need a gate (the caller must call fpu_leave itself), and those that
   need none for the reason given.
The compiler invents calls of its own (memset for a loop); only the objects tell. Those of a sanitizer's
reports do not count: after them nothing goes on.
"""
import re
import subprocess
import sys

# Objects whose assembly statements work on the live state on purpose, and by which instructions.
UNITS = {
    "soft_fpu": "xsave|xrstor|ldmxcsr|stmxcsr|fnstsw",
    "soft_x87env": "fnstenv|fldenv|fnsave|frstor",
    "soft_masked": "movd",
}
# External code that works on whatever registers hold, with the reason why that is right.
FREE = {
    "mem_is_ram": "checked in MEM_ARCHIVE by the same rules",
    "syscall": "libc's stub moves general registers only, and the kernel keeps the others",
}
# What only a function may call that calls fpu_leave itself.
NEEDS_GATE = {"pthread_mutex_lock", "pthread_mutex_unlock", "code_written", "sched_yield", "timer_arm",
              "timer_sleep", "clock_gettime"}
# Gates of GATE_ARCHIVE: fpu_leave is the first thing that they call.
GATES = {"code_build", "code_matches", "code_retire", "translator_add", "translator_link",
         "lockstep_fail"}
# Functions that never run with live state.
NEVER_LIVE = {
    "tlb_create": "set-up",
    "tlb_destroy": "set-up",
    "engine_tsc_hz": "set-up",
    "find_host_hz": "set-up",
    "read_instant": "set-up",
    "lapic_timer_deadline_ns": "called by timer_arm, which needs a gate",
}

REGISTER = re.compile(r"%(?:[xyz]mm\d|mm\d|st\b|k[0-7]\b|bnd\d)")
MNEMONIC = re.compile(r"^(?:f(?!s|n?op$)[a-z]|fs(?:t|in|qrt|cale|ub)|fnop|x(?:save|rstor)|emms|v?(?:ld|st)mxcsr"
                      r"|vzero)")
REFERENCE = re.compile(r"R_X86_64_(?:PLT32|PC32|GOTPCREL\w*|REX_GOTPCRELX|32S?|64)\s+([\w.]+)")

SANITIZER = re.compile(r"__asan_(?!mem)|__ubsan_|__stack_chk_fail|_GLOBAL_OFFSET_TABLE_")


class Function:
    """What one function of an object does."""

    def __init__(self, unit, name):
        self.unit = unit     # object file, without its suffixes
        self.name = name
        self.vector = []     # instructions of the vector units
        self.references = [] # symbols, in the order of the code


def functions_of(archive):
    """Name -> Function, from the disassembly of every object in an archive."""
    text = subprocess.run(["objdump", "-dr", "--no-show-raw-insn", archive], check=True, text=True,
                          stdout=subprocess.PIPE).stdout
    found, current, unit = {}, None, ""
    for line in text.splitlines():
        if ":     file format" in line:
            unit = line.split(":")[0].rsplit("/", 1)[-1].split(".")[0]
        head = re.match(r"[0-9a-f]+ <([^>]+)>:$", line)
        reference = REFERENCE.search(line)
        if head:
            name = head.group(1).removesuffix(".cold")
            current = found.setdefault(name, Function(unit, name))
        elif current is not None and reference:
            current.references.append(reference.group(1))
        elif current is not None and "\t" in line:
            instruction = line.split("\t", 1)[1].split("#")[0].split("<")[0].strip()
            if REGISTER.search(instruction) or MNEMONIC.match(instruction):
                current.vector.append(instruction)
    return found


def defined_in(archive):
    text = subprocess.run(["nm", "--defined-only", archive], check=True, text=True,
                          stdout=subprocess.PIPE).stdout
    return {line.split()[2] for line in text.splitlines() if len(line.split()) == 3}


def references(function):
    """Symbols that matter: not the object's own sections, nor what a sanitizer calls to report."""
    return [name for name in function.references if not name.startswith(".") and not SANITIZER.match(name)]


def external(function, defined):
    return [name for name in references(function) if name not in defined]


def check_vectors(live):
    used = set()
    for function in live.values():
        allowed = re.compile(UNITS.get(function.unit, "(?!)"))
        bad = [text for text in function.vector if not allowed.match(text)]
        if bad:
            yield f"{function.name} of {function.unit} uses vector registers: {'; '.join(bad[:3])}"
        elif function.vector:
            used.add(function.unit)
    for unit in sorted(UNITS.keys() - used):
        yield f"{unit} is listed as using vector registers, and does not"


def check_calls(live, defined):
    for function in live.values():
        gated = "fpu_leave" in function.references
        for name in sorted(set(external(function, defined))):
            if name in FREE or name in GATES or function.name in NEVER_LIVE:
                continue
            if name in NEEDS_GATE and gated:
                continue
            why = "without calling fpu_leave" if name in NEEDS_GATE else "which is not known to be safe"
            yield f"{function.name} calls {name}, {why}"


def check_lists(live, defined):
    """An exception that nothing needs any more goes."""
    used = {name for function in live.values() for name in external(function, defined)}
    for name in sorted((FREE.keys() | NEEDS_GATE | GATES) - used):
        yield f"{name} is listed, and nothing calls it"
    for name in sorted(NEVER_LIVE):
        if name in live and not external(live[name], defined):
            yield f"{name} is listed as never live, and need not be"


def check_gates(gates, memory):
    for name in sorted(GATES):
        if name not in gates:
            yield f"{name}: no such function"
        elif next(iter(references(gates[name])), None) != "fpu_leave":
            yield f"{name} does not start with fpu_leave"
    plain = memory.get("mem_is_ram")
    if plain is None or plain.vector or references(plain):
        yield "mem_is_ram: not there, uses vector registers, or calls something"


def main():
    live, gates, memory = (functions_of(archive) for archive in sys.argv[1:4])
    defined = defined_in(sys.argv[1])
    print(f"# {len(live)} functions may run with live vector state")
    rules = {
        "vector registers": [*check_vectors(live)],
        "calls": [*check_calls(live, defined)] + ([] if len(live) > 500 else ["hardly any function found"]),
        "gates": [*check_gates(gates, memory)],
        "lists without stale entries": [*check_lists(live, defined)],
    }
    for number, (rule, bad) in enumerate(rules.items(), 1):
        for line in bad:
            print("#", line)
        print(f"{'not ok' if bad else 'ok'} {number} - {rule}")
    print(f"1..{len(rules)}")
    return int(any(rules.values()))


if __name__ == "__main__":
    sys.exit(main())
