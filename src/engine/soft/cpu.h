/*
 * One virtual processor of the software engine, and what its parts need of each other.
 *
 * 1. A vCPU's struct belongs to its thread. Fields marked (a) are atomic and may be touched by any
 *    thread; (p) never change after creation.
 * 2. Between fpu_enter and fpu_leave the guest's x87, SSE and AVX state is live in the host's own
 *    registers. Code that may run then (listed as `live_sources` in meson.build) is compiled
 * without vector registers and calls nothing outside that list except through a gate: a function
 * that starts with fpu_leave.
 * 3. An instruction either completes, or changes no register, flag or segment and leaves memory as
 *    an interrupted instruction may (Intel SDM vol. 3A § 6.6: faults are restartable). Translated
 *    code may have lost arithmetic flags that nothing can read any more: translation.h.
 */
#ifndef SOFT_CPU_H
#define SOFT_CPU_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include "engine/engine.h"
#include "engine/soft/lapic.h"
#include "engine/soft/stats.h"

struct block;
struct op;
struct soft_partition;
struct thunk;
struct tlb;

/* What an instruction's handler, and most functions below it, return. */
enum step {
    STEP_NEXT = 0, /* done; go on with the next instruction */
    STEP_JUMP,     /* done, and cpu->rip says where to go on */
    STEP_FAULT,    /* cpu->fault is to be delivered; the instruction did not happen */
    STEP_EXIT,  /* cpu->exit asks the caller of run(); the instruction runs again with the answer */
    STEP_LEAVE, /* done, cpu->rip is set, and cpu->exit tells the caller of run() something */
    STEP_SHUTDOWN, /* triple fault */
};

enum flag {
    FLAG_CF = 1 << 0,
    FLAG_FIXED = 1 << 1,
    FLAG_PF = 1 << 2,
    FLAG_AF = 1 << 4,
    FLAG_ZF = 1 << 6,
    FLAG_SF = 1 << 7,
    FLAG_TF = 1 << 8,
    FLAG_IF = 1 << 9,
    FLAG_DF = 1 << 10,
    FLAG_OF = 1 << 11,
    FLAG_IOPL = 3 << 12,
    FLAG_NT = 1 << 14,
    FLAG_RF = 1 << 16,
    FLAG_VM = 1 << 17,
    FLAG_AC = 1 << 18,
    FLAG_VIF = 1 << 19,
    FLAG_VIP = 1 << 20,
    FLAG_ID = 1 << 21,
    FLAGS_ARITHMETIC = FLAG_CF | FLAG_PF | FLAG_AF | FLAG_ZF | FLAG_SF | FLAG_OF,
};

enum {
    CR0_PE = 1 << 0,
    CR0_MP = 1 << 1,
    CR0_EM = 1 << 2,
    CR0_TS = 1 << 3,
    CR0_ET = 1 << 4,
    CR0_NE = 1 << 5,
    CR0_WP = 1 << 16,
    CR0_AM = 1 << 18,
    CR0_NW = 1 << 29,
    CR0_CD = 1 << 30,
};
#define CR0_PG (UINT64_C(1) << 31)

enum {
    CR4_VME = 1 << 0,
    CR4_PVI = 1 << 1,
    CR4_TSD = 1 << 2,
    CR4_DE = 1 << 3,
    CR4_PSE = 1 << 4,
    CR4_PAE = 1 << 5,
    CR4_MCE = 1 << 6,
    CR4_PGE = 1 << 7,
    CR4_PCE = 1 << 8,
    CR4_OSFXSR = 1 << 9,
    CR4_OSXMMEXCPT = 1 << 10,
    CR4_UMIP = 1 << 11,
    CR4_FSGSBASE = 1 << 16,
    CR4_PCIDE = 1 << 17,
    CR4_OSXSAVE = 1 << 18,
    CR4_SMEP = 1 << 20,
    CR4_SMAP = 1 << 21,
};

enum { EFER_SCE = 1 << 0, EFER_LME = 1 << 8, EFER_LMA = 1 << 10, EFER_NXE = 1 << 11 };

enum vector {
    VECTOR_DE = 0,
    VECTOR_DB = 1,
    VECTOR_NMI = 2,
    VECTOR_BP = 3,
    VECTOR_OF = 4,
    VECTOR_BR = 5,
    VECTOR_UD = 6,
    VECTOR_NM = 7,
    VECTOR_DF = 8,
    VECTOR_TS = 10,
    VECTOR_NP = 11,
    VECTOR_SS = 12,
    VECTOR_GP = 13,
    VECTOR_PF = 14,
    VECTOR_MF = 16,
    VECTOR_AC = 17,
    VECTOR_MC = 18,
    VECTOR_XM = 19,
};

/* What the processor is about to deliver through the IDT. */
struct fault {
    uint8_t vector;
    bool has_code;
    uint32_t code;
    uint64_t address; /* #PF: for CR2 */
    uint64_t dr6;     /* #DB: bits to set in DR6 */
};

/* Why the run loop must look up at the next block end; bits of cpu.pending. */
enum pending {
    PENDING_KICK = 1 << 0,
    PENDING_INTERRUPT = 1 << 1, /* the local APIC's requests, INTR or IF changed */
    PENDING_NMI = 1 << 2,
    PENDING_INIT = 1 << 3,
    PENDING_SIPI = 1 << 4,
    PENDING_TIMER = 1 << 5,  /* the APIC timer's host timer fired, or its registers were written */
    PENDING_EOI = 1 << 7,    /* lapic.ended has vectors for ENGINE_EXIT_EOI */
    PENDING_DEBUG = 1 << 6,  /* debug_trap was set by a task switch */
    PENDING_YIELD = 1 << 9,  /* a spin loop: let another thread of the host run */
    PENDING_EPOCH = 1 << 8,  /* partition.epoch moved on: see code.h */
    PENDING_FLUSH = 1 << 10, /* another thread waits in flush_tlb() */
    PENDING_NMI_AGAIN = 1 << 11,
};

/* What waits until the next instruction has completed: Intel SDM vol. 2, STI; vol. 3A § 6.8.3. */
enum shadow {
    SHADOW_NONE,
    SHADOW_STI,   /* interrupts */
    SHADOW_STACK, /* interrupts, and debug exceptions: MOV SS, POP SS */
};

/* How code is decoded and run; part of a block's key. */
enum mode {
    MODE_LONG = 1 << 0,    /* EFER.LMA and CS.L: 64-bit code */
    MODE_CODE32 = 1 << 1,  /* CS.D */
    MODE_STACK32 = 1 << 2, /* SS.B (ignored in 64-bit code) */
    MODE_USER = 1 << 3,    /* CPL 3 */
    MODE_REAL = 1 << 4,    /* CR0.PE = 0 */
    MODE_V86 = 1 << 5,
    MODE_SINGLE = 1 << 6, /* one instruction a block: TF, shadows, breakpoints, replies */
};

/* A pseudo segment: base 0, no limit, no checks; what 64-bit code uses for ES, CS, SS, DS. */
enum { SEGMENT_FLAT = SEGMENT_COUNT, CPU_SEGMENTS };

/* gpr[GPR_ZERO] is always 0: "no base", "no index"; gpr[GPR_RIP] is rip. */
enum { GPR_ZERO = GPR_COUNT, GPR_RIP, CPU_GPRS };

/* An answer from the caller of run(), or a write it has already seen, kept while the instruction
 * that asked runs again from its start. */
enum { CPU_MAX_REPLIES = 16 };
struct reply {
    enum engine_exit_kind kind;
    uint64_t address;
    uint64_t value;
    bool refused;
};

/* Part of a memory access that lies in one page: RAM at `host`, or MMIO when host is NULL. */
struct piece {
    uint8_t *host;
    uint64_t gpa;
    unsigned size;
};

/* A memory access that memory_commit has to finish: its bytes are in cpu.bounce, or (in_place)
 * already written to a page that holds translated code. */
struct commit {
    unsigned size; /* 0 = nothing to commit */
    bool locked;   /* holds partition.split_lock */
    bool in_place;
    uint64_t linear;
    struct piece piece[2];
};

/* What FNSTENV and XSAVE tell of the last x87 instruction: kept apart because the host's own hold
 * addresses of thunks (Intel SDM vol. 1 § 8.1.8). */
struct x87_pointers {
    uint64_t instruction, data; /* offsets in CS and in the operand's segment */
    uint16_t opcode;
};

struct recent {
    uint64_t rip;
    uint64_t key;  /* code context and mode */
    uint64_t code; /* cpu.code */
    struct block *block;
};
enum { RECENT_COUNT = 1 << 15, LARGE_WORDS = 16 };

/* Where translated code goes on for an indirect jump: valid while `key` is the TLB table's. */
struct jump {
    uint64_t rip;
    uint64_t key;
    const uint8_t *host;
    uint64_t unused;
};
/* The index is rip % JUMP_COUNT. */
enum { JUMP_COUNT = 1 << 14, CPU_DELTAS = 16 };

/*
 * The page that the accesses of one kind were to last: linear [start, start + 4096) is readable and
 * writable RAM, and so says the TLB; its bytes are at linear + delta. NEAR_NONE: no page. What
 * compares equal with that is at no canonical address, host's or guest's, whatever delta is.
 */
#define NEAR_NONE (UINT64_C(1) << 63)
struct near {
    uint64_t start, delta;
};
enum { NEAR_STACK, CPU_NEARS };

/*
 * From which pages instructions were fetched: bits by hash, never too few. Each half of the
 * addresses has its own, so that INVLPG for a program's data does not meet kernel code by chance.
 */
enum { FETCHED_BITS = 1 << 14 };
struct fetched_pages {
    bool any;
    uint64_t word[FETCHED_BITS / 64];
};

enum vector_level { VECTOR_NONE, VECTOR_SSE, VECTOR_AVX };

struct cpu {
    union {
        uint64_t gpr[CPU_GPRS];
        struct {
            uint64_t before_rip[GPR_RIP];
            uint64_t rip; /* while a block runs: of the block's first instruction */
        };
    };
    uint64_t flags;           /* RFLAGS, complete, bit 1 always set */
    struct tlb *tlb;          /* for the current privilege, PCID and SMAP state */
    _Atomic uint32_t pending; /* (a) enum pending; also the futex a halted vCPU waits on */
    uint32_t mode;            /* enum mode */
    uint64_t code; /* outside 64-bit code: base and limit of CS, as RIP alone says little there */
    uint8_t cpl;
    bool fpu_live;
    bool entered; /* a handler was entered by this instruction (INT n, SYSCALL): no single-step trap
                   */
    uint8_t shadow;      /* enum shadow */
    struct block *block; /* being run */
    struct engine_segment segment[CPU_SEGMENTS];

    uint64_t cr0, cr2, cr3, cr4;
    uint64_t efer, xcr0;
    uint64_t dr[8];
    struct engine_table gdt, idt;
    uint64_t star, lstar, cstar, sfmask, kernel_gs_base;
    uint64_t sysenter_cs, sysenter_esp, sysenter_eip;
    uint64_t pat, tsc_aux, misc_enable, spec_ctrl;
    uint64_t mtrr[32];     /* storage only: see msr.c */
    uint64_t pae_pdpte[4]; /* PAE paging: loaded with CR3, Intel SDM vol. 3A § 4.4.1 */
    int64_t tsc_shift;     /* what set() moved the TSC by; not seen in IA32_TSC_ADJUST */
    int64_t tsc_adjust;    /* guest TSC = host TSC + config.tsc_offset + tsc_shift + tsc_adjust */
    enum engine_activity activity;
    bool nmi_blocked;
    uint64_t debug_trap; /* DR6 bits to raise as #DB at the end of this instruction */

    struct fault fault;
    struct commit commit;
    struct engine_exit *exit; /* of the run() under way */
    struct reply reply[CPU_MAX_REPLIES];
    unsigned reply_count, reply_used;
    bool asked;             /* the last run() ended with a question */
    bool called;            /* the last run() ended with a hypercall */
    bool halt_next;         /* the instruction whose question was answered is to end in a halt */
    uint64_t wake_timer_ns; /* monotonic deadline of the APIC timer, 0 = none */

    struct soft_partition *partition; /* (p) */
    unsigned index;                   /* (p) APIC id */
    _Atomic uint64_t epoch_seen;      /* (a) */
    _Atomic bool outside;             /* (a) not in run(), or halted: touches no guest memory */
    _Atomic bool waiting;             /* (a) asleep on the futex `pending` */
    uint64_t code_generation;         /* of the code cache that `recent` points into */
    struct lapic lapic;
    struct tlb *tables; /* SLOT_COUNT × VIEW_COUNT, see tlb.h */
    uint64_t last_context;
    uint64_t supervisor_context; /* see tlb_code_context */
    bool supervisor_local;       /* supervisor code was fetched from a page that is not global */
    struct fetched_pages supervisor_fetched; /* since supervisor_context began, at least */
    /* Bits by hash of the 4 MiB region: entries there stem from large pages; and by hash of the
     * 1 GiB region: from pages of that size. */
    uint64_t large[LARGE_WORDS];
    uint64_t giant;
    unsigned slot; /* PCID slot in use */
    uint16_t slot_pcid[8];
    unsigned next_slot;
    struct x87_pointers x87;  /* valid while fpu_live */
    _Atomic bool extint_line; /* (a) INTR of the 8259 */
    bool extint_ready;        /* extint_vector was given and is to be delivered */
    uint8_t extint_vector;
    timer_t timer; /* wakes this thread for the APIC timer */
    bool timer_made;
    int timer_thread; /* that it wakes */
    unsigned pauses;  /* PAUSE instructions since the last yield */
    struct cpu_stats stats;

    /* What translated code uses, through GS; see translation.h. */
    struct cpu *self;            /* (p) */
    const uint8_t *leave;        /* (p) the translator's way out */
    uint64_t jump_key;           /* of `tlb` */
    uint64_t page;               /* linear, that the block being run begins in */
    uint64_t held, held_target;  /* words, within one instruction */
    struct near near[CPU_NEARS]; /* of `tlb` */
    uint64_t delta[CPU_DELTAS];  /* host minus guest address, within one block */
    int left_with;               /* enum step */
    uint16_t saved_flags;        /* as LAHF and SETO put them into AX */
    uint8_t vector_level;        /* enum vector_level: what may run natively as things are */

    struct recent recent[RECENT_COUNT];
    struct jump jump[JUMP_COUNT];
    _Alignas(64) uint8_t bounce[4096 + 64]; /* used from linear % 64 on */
    _Alignas(
        64) uint8_t xsave[ENGINE_XSAVE_SIZE]; /* guest state while !fpu_live, standard format */
};

static inline bool cpu_long(const struct cpu *cpu)
{
    return (cpu->mode & MODE_LONG) != 0;
}

/* In IA-32e mode, 64-bit or compatibility code. */
static inline bool cpu_ia32e(const struct cpu *cpu)
{
    return (cpu->efer & EFER_LMA) != 0;
}

static inline bool cpu_protected(const struct cpu *cpu)
{
    return (cpu->mode & (MODE_REAL | MODE_V86)) == 0;
}

static inline unsigned cpu_iopl(const struct cpu *cpu)
{
    return (unsigned)(cpu->flags >> 12) & 3;
}

/* #AC is possible: Intel SDM vol. 3A § 6.15, interrupt 17. */
static inline bool cpu_checks_alignment(const struct cpu *cpu)
{
    return cpu->cpl == 3 && (cpu->cr0 & CR0_AM) != 0 && (cpu->flags & FLAG_AC) != 0;
}

static inline bool is_canonical(uint64_t address)
{
    return (uint64_t)((int64_t)(address << 16) >> 16) == address;
}

/* ---- faults: record and return STEP_FAULT ---- */

static inline int fault(struct cpu *cpu, enum vector vector)
{
    cpu->fault = (struct fault){.vector = (uint8_t)vector};
    return STEP_FAULT;
}

static inline int fault_code(struct cpu *cpu, enum vector vector, uint32_t code)
{
    cpu->fault = (struct fault){.vector = (uint8_t)vector, .has_code = true, .code = code};
    return STEP_FAULT;
}

/* ---- cpu.c ---- */

/* Recompute mode, cpl-dependent table and context after CS, SS, CR0, CR4, EFER, CPL, TF, AC or DR7
 * changed. */
void cpu_mode_changed(struct cpu *cpu);
/* State after power-on or (init) after INIT, Intel SDM vol. 3A § 9.1.1. */
void cpu_reset(struct cpu *cpu, bool init);
/* Replace RFLAGS, all bits as given (bit 1 forced); notices TF, AC, IF. */
void cpu_set_flags(struct cpu *cpu, uint64_t flags);
/* Any thread: set bits of pending and wake the vCPU if it is halted. */
void cpu_notify(struct cpu *cpu, uint32_t bits);
/*
 * An NMI. Up to two are kept for a vCPU that has not looked up yet: a processor would have taken
 * the first between two instructions, before the second came. While NMIs are blocked it is one
 * (Intel SDM vol. 3A § 6.7.1).
 */
void cpu_notify_nmi(struct cpu *cpu);

/* ---- asking the caller of run(): exit.c ---- */

/* Take the reply if there is one, else STEP_EXIT. `size` in bytes. */
int exit_read(struct cpu *cpu, enum engine_exit_kind kind, uint64_t address, unsigned size,
              uint64_t *ret);
int exit_write(struct cpu *cpu, enum engine_exit_kind kind, uint64_t address, unsigned size,
               uint64_t value);

/* An iteration of a repeated instruction is complete: its answers are used up. */
static inline void exit_forget(struct cpu *cpu)
{
    cpu->reply_count = 0;
    cpu->reply_used = 0;
}

/* ---- control.c ---- */

int control_write_cr0(struct cpu *cpu, uint64_t value);
int control_write_cr3(struct cpu *cpu, uint64_t value);
int control_write_cr4(struct cpu *cpu, uint64_t value);
int control_write_efer(struct cpu *cpu, uint64_t value);

/* ---- exception.c: delivery through the IDT or IVT ---- */

enum event_type {
    EVENT_EXTERNAL,
    EVENT_EXCEPTION,
    EVENT_SOFTWARE /* INT n, INT3, INTO */,
    EVENT_ICEBP
};

/*
 * Deliver cpu->fault: cpu->rip is the instruction that faulted. Escalates to #DF and to shutdown
 * (Intel SDM vol. 3A table 6-5). Sets CR2 for #PF and DR6 for #DB. STEP_JUMP, STEP_SHUTDOWN, or
 * STEP_EXIT when a table lies in MMIO.
 */
int exception_deliver(struct cpu *cpu);
/*
 * Deliver an interrupt; `rip` is what the handler returns to. STEP_JUMP; STEP_FAULT when the
 * delivery itself faults (cpu->fault; for EVENT_EXTERNAL the EXT bit is set in its code);
 * STEP_SHUTDOWN.
 */
int exception_interrupt(struct cpu *cpu, uint8_t vector, enum event_type type, uint64_t rip);

/* ---- segment.c: descriptors and selectors ---- */

/* Load a data segment or SS with all checks of MOV to segment register (SDM vol. 2, MOV). */
int segment_load(struct cpu *cpu, enum engine_segment_index index, uint16_t selector);
/* Load as real mode and virtual-8086 mode do. */
void segment_load_real(struct cpu *cpu, enum engine_segment_index index, uint16_t selector);
int segment_load_ldtr(struct cpu *cpu, uint16_t selector);
int segment_load_tr(struct cpu *cpu, uint16_t selector);
/* LAR, LSL, VERR, VERW: false = ZF cleared. */
bool segment_access_rights(struct cpu *cpu, uint16_t selector, uint32_t *ret, int *ret_step);
bool segment_limit(struct cpu *cpu, uint16_t selector, uint32_t *ret, int *ret_step);
bool segment_verify(struct cpu *cpu, uint16_t selector, bool write, int *ret_step);

/* ---- transfer.c: far JMP, CALL, RET, IRET; task.c: task switches ---- */

int transfer_far_jump(struct cpu *cpu, const struct op *op, uint16_t selector, uint64_t offset);
int transfer_far_call(struct cpu *cpu, const struct op *op, uint16_t selector, uint64_t offset);
int transfer_far_return(struct cpu *cpu, const struct op *op, uint16_t extra_bytes);
int transfer_iret(struct cpu *cpu, const struct op *op);

/* ---- syscall.c ---- */

int op_syscall(struct cpu *cpu, const struct op *op);
int op_sysret(struct cpu *cpu, const struct op *op);
int op_sysenter(struct cpu *cpu, const struct op *op);
int op_sysexit(struct cpu *cpu, const struct op *op);
int op_swapgs(struct cpu *cpu, const struct op *op);

/* ---- cpuid.c, msr.c, time.c ---- */

void cpuid_query(struct cpu *cpu, uint32_t leaf, uint32_t subleaf, uint32_t ret[4]);
/* Whether the guest's CPUID shows a Zydis ISA extension; decides what decodes at all. */
bool cpuid_shows(const struct soft_partition *partition, unsigned zydis_isa_set);
/* 0, STEP_FAULT (#GP) or STEP_EXIT. */
int msr_read(struct cpu *cpu, uint32_t index, uint64_t *ret);
int msr_write(struct cpu *cpu, uint32_t index, uint64_t value);
void msr_reset(struct cpu *cpu, bool init);
uint64_t guest_tsc(const struct cpu *cpu);

/* ---- fpu.c ---- */

/* Gate: put the guest's vector state into cpu->xsave and give the host its defaults. */
void fpu_leave(struct cpu *cpu);
/* Make the guest's vector state live. */
void fpu_enter(struct cpu *cpu);
void fpu_reset(struct cpu *cpu, bool init);
int op_xsave(struct cpu *cpu, const struct op *op);
int op_xrstor(struct cpu *cpu, const struct op *op);
int op_fxsave(struct cpu *cpu, const struct op *op);
int op_fxrstor(struct cpu *cpu, const struct op *op);
int op_xgetbv(struct cpu *cpu, const struct op *op);
int op_xsetbv(struct cpu *cpu, const struct op *op);

/* ---- debug.c ---- */

int debug_write(struct cpu *cpu, unsigned index, uint64_t value);
/* Data breakpoints: note a hit of [linear, linear+size) for the end of the instruction. */
void debug_check_data(struct cpu *cpu, uint64_t linear, unsigned size, bool write);
/* I/O breakpoints (CR4.DE): likewise. */
void debug_check_port(struct cpu *cpu, uint16_t port, unsigned size);
/* Instruction breakpoint at linear address: DR6 bits, 0 = none. */
uint64_t debug_check_fetch(const struct cpu *cpu, uint64_t linear);

#endif
