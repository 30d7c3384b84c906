"""Where QEMU's TCG (7.2, -cpu max) does other than the SDM says, so its failures are expected.

DEVIATIONS: image → rows of (pattern of the result, reason).
LEFT_OUT: image → groups of tests that TCG does not survive, with the reason.
"""

DEVIATIONS = {
    "exceptions": [
        (r"^db_icebp", "INT1 is #UD"),
        (r"#GP\((20a|a|1a|102)\)", "the error code is vector * 16 + 2 in long mode"),
        (r"^ud_lock_(mov|bt)", "LOCK is accepted on more than the SDM allows"),
        (r"^ud_(pop|mov)_group_1", "the reserved reg field is ignored"),
        (r"^mf_at_next|^xm_divide", "unmasked floating-point exceptions are late or not raised"),
        (r"^gp_mxcsr_reserved", "reserved MXCSR bits are accepted"),
        (r"^ss_", "stack references that are not canonical are #GP"),
        (r"^gp_(jmp|call|ret)_noncanonical", "the fault is at the target"),
        (r"^gp_(wrmsr|rdmsr|efer|apic_base|pat)", "MSRs are not checked"),
        (r"^user_sysexit", "its CPU is an AMD one, without SYSEXIT in long mode"),
        (r"^ac_", "alignment is not checked"),
        (r"^pf_add", "a read-modify-write faults as a read"),
    ],
    "delivery": [
        (r"^int_.*#(GP|NP)\((202|782)\)|^(ud2|bp_int3) in ring 0: #(GP|NP)|#NP with EXT",
         "the error code is vector * 16 + 2 in long mode, without EXT"),
        (r"^int_40 in ring 0: #GP\(0\)", "a gate's offset is not checked"),
        (r"gate is not present: #DF|on its gate: #DF",
         "wrmsr of an unknown MSR does not fault"),
        (r"^RF is set", "RF is not set in the frame"),
    ],
    "paging": [
        (r"is reserved$|^its error code", "P is clear in the error code of reserved bits"),
        (r"^cross_(add|xchg): #PF\(2\)", "a read-modify-write faults as a read"),
    ],
    "paging32": [
        (r"^(bit|a high bit) .*#PF", "P is clear in the error code of reserved bits"),
        (r"^load_cr3", "the pointers are not checked when CR3 is loaded"),
        (r"^set_(cr0|pcide)", "control registers are not checked"),
    ],
    "real": [
        (r"over .*: vector 1[23]|^with a 64 KiB limit", "segment limits are not checked"),
    ],
    "segments32": [
        (r"^(es|push|pop|ebp|pusha|call|enter)_(read|write|here)|^cs_write|^call_far in ring 0: #GP"
         r"|^a near jump over|^an instruction that reaches",
         "segment limits and types are not checked"),
    ],
    "syscall": [
        (r"^SFMASK (0|clears)", "the arithmetic flags are cleared on entry"),
        (r"^gp_", "MSRs are not checked"),
        (r"^RFLAGS is R11|loads all flags$", "VIF, VIP and AC are lost"),
        (r"^iret with (RIP not canonical|CS with L and D)", "not checked in IRET"),
    ],
    "segments": [
        (r"^es_|^ES has no base", "segment limits and types are not checked, bases not dropped"),
        (r"^wr[fg]sbase in ring", "the base is not checked"),
        (r"^l(ar|sl) of type 8[1345]", "types of 16-bit segments and task gates are known"),
        (r"^lldt in ring 0: #GP\(50\)", "the base is not checked"),
        (r"^call_far in ring 3: #GP\(0\)", "a gate's offset is not checked"),
    ],
    "apic": [
        (r"^software disable masks|^and keeps it masked", "software disable does not mask"),
    ],
    "debug": [
        (r"^breakpoint_behind_mov_ss", "MOV SS does not hold back a breakpoint"),
        (r"bytes watched, [28] accessed|meets two registers",
         "an access that only ends in the watched bytes is missed"),
        (r"^step_into_data", "a step with a data breakpoint is reported early"),
        (r"^icebp|^int1", "INT1 is #UD"),
        (r"^fixed zero of DR6", "bit 12 of DR6 can be set"),
        (r"^access_dr|DR7.GD|clears GD", "DR7.GD has no effect"),
    ],
    "cpuid": [
        (r"^reserved bit .* of CR0", "reserved bits of CR0 stay"),
        (r"^(wrmsr|rdmsr)_", "MSRs are not checked"),
        (r"^run_(rdseed|xbegin)", "runs without its CPUID bit"),
    ],
    "fpu": [
        (r"^(fxrstor_plain|ldmxcsr_di|xrstor_all)", "reserved bits are accepted"),
        (r"^(mmx|sse|xsave|avx) with all of CR0", "CR0.EM and TS are taken in another order"),
    ],
    "tsc": [
        (r"^a write of the TSC sets", "writes of the TSC are ignored"),
    ],
}

LEFT_OUT = {
    "exceptions": {
        "table-registers": "lidt and lgdt take a base that is not canonical",
        "control-registers": "reserved bits of control registers are taken or ignored",
    },
    "apic": {
        "errors": "illegal vectors are delivered",
        "x2apic": "no x2APIC",
    },
    "cpuid": {
        "cr4": "unknown bits of CR4 are taken",
    },
    "segments32": {
        "inner-stacks": "it gives another vector",
        "double-fault-task": "the limit of the stack is not checked",
    },
    "segments": {
        "far-jumps": "a jump to code with both L and D, or behind its limit, is done",
    },
}
