/*
 * The seam between a partition and what runs its processors: KVM, or the software engine.
 *
 * Who calls. One thread a vCPU calls run(), get(), set(), raise() and visit_state() on that vCPU;
 * kick() and interrupt() may be called by any thread at any time. Everything else is called while
 * no vCPU of the partition is in run().
 * Who owns. The caller owns the memory (struct mem) and the exit struct; the engine owns the
 * partition and its vCPUs until destroy.
 * Errors. Negative errno; create calls fill a reason.
 * The local APIC (xAPIC and x2APIC) is part of the processor, hence the engine's.
 */
#ifndef ENGINE_ENGINE_H
#define ENGINE_ENGINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "base/reason.h"
#include "engine/exit.h"
#include "engine/registers.h"
#include "mem/mem.h"

struct state_visitor;
struct engine_partition;
struct engine_vcpu;

enum { ENGINE_MAX_VCPUS = 64 };

/* What the guest's CPUID may show at most; the host's own abilities limit it further. */
enum engine_cpu_level {
    ENGINE_CPU_V2,   /* x86-64-v2: SSE4.2, POPCNT, CMPXCHG16B */
    ENGINE_CPU_V3,   /* x86-64-v3: AVX2, BMI, FMA, F16C, MOVBE; and AES, SHA, ADX */
    ENGINE_CPU_HOST, /* all that host and engine both do */
};

struct engine_cpuid_leaf {
    uint32_t leaf;
    uint32_t eax, ebx, ecx, edx;
};

/* Which guest code the software engine translates to host code: also for finding faults in it. */
enum engine_translate {
    ENGINE_TRANSLATE_HOT,    /* what runs often */
    ENGINE_TRANSLATE_ALWAYS, /* all that can be */
    ENGINE_TRANSLATE_NEVER,
    ENGINE_TRANSLATE_LOCKSTEP, /* all, and each run of it compared with the interpreter; one vCPU */
};

#define ENGINE_CODE_MEMORY     ((size_t)256 << 20)
#define ENGINE_CODE_MEMORY_MIN ((size_t)8 << 20)

/* Host code that the software engine has written. */
struct engine_code {
    uint64_t host; /* where it runs */
    size_t length;
    bool shared;    /* stands for no guest code: the routines that all translations use */
    bool user;      /* else it is the guest's kernel that it stands for */
    uint64_t rip;   /* the guest's */
    uint64_t lstar; /* of the processor that wanted it: where the guest's system calls enter */
};

/* For tools: called in order, under a lock of the engine's; they must not call it. */
struct engine_code_watch {
    void *owner;
    void (*made)(void *owner, const struct engine_code *code); /* NULL: nobody watches */
    void (*emptied)(void *owner); /* nothing of what was made stands any more */
};

struct engine_config {
    struct mem *mem;
    unsigned vcpu_count;
    enum engine_cpu_level cpu_level;
    /* Leaves 0x40000000..: shown to the guest as they are; ECX is ignored. Caller's, kept alive. */
    const struct engine_cpuid_leaf *hypervisor_leaves;
    size_t hypervisor_leaf_count;
    /* MSRs of this range, bounds included, leave by ENGINE_EXIT_MSR_…; 0..0 means none. */
    uint32_t exit_msr_first, exit_msr_last;
    enum engine_translate translate;
    /* Of ENGINE_TRANSLATE_LOCKSTEP, 0 = none: compares chains of blocks that are interrupted. */
    uint64_t lockstep_seed;
    /* Bytes at most for decoded and translated code; when it is full, all of it is made anew. 0:
     * the engine's choice. */
    size_t code_memory;
    FILE *code_trace; /* every translation is written there as text; NULL: none is */
    struct engine_code_watch code_watch;
    FILE *statistics;   /* partition_destroy writes there what the engine did; NULL: nothing */
    int64_t tsc_offset; /* guest TSC = host TSC + this, until the guest writes its own */
};

/* What a hypervisor interface offers beside the APIC's own ways to these registers. */
enum engine_apic_register { ENGINE_APIC_EOI, ENGINE_APIC_ICR, ENGINE_APIC_TPR };

/* An interrupt message as an MSI or an IOAPIC entry sends it, Intel SDM vol. 3A § 10.11. */
struct engine_interrupt {
    uint32_t destination; /* APIC id, or logical set; 0xff (xAPIC) means all */
    bool logical;
    bool level;            /* level-triggered: its EOI comes back as ENGINE_EXIT_EOI */
    bool auto_eoi;         /* edge-triggered only: it has ended when the guest takes it */
    uint8_t delivery_mode; /* 0 fixed, 1 lowest priority, 2 SMI, 4 NMI, 5 INIT, 7 ExtINT */
    uint8_t vector;
};

enum engine_event_kind {
    ENGINE_EVENT_NMI,
    ENGINE_EVENT_EXTINT_LINE,   /* the 8259's INTR output is `asserted`; any thread */
    ENGINE_EVENT_EXTINT_VECTOR, /* the answer to ENGINE_EXIT_EXTINT */
};

struct engine_event {
    enum engine_event_kind kind;
    bool asserted;
    uint8_t vector;
};

struct engine_ops {
    const char *name;

    int (*partition_create)(const struct engine_config *config, struct engine_partition **ret,
                            struct reason *reason);
    void (*partition_destroy)(struct engine_partition *partition);

    /* RAM of config->mem is known from the start; these add and remove aliases, ROM and overlays.
     */
    int (*map)(struct engine_partition *partition, uint64_t gpa, uint64_t size, uint8_t *host,
               bool writable);
    int (*unmap)(struct engine_partition *partition, uint64_t gpa, uint64_t size);
    /* Move the dirty bits of `pages` pages from `gpa` into `bitmap`; the first call starts logging.
     */
    int (*take_dirty)(struct engine_partition *partition, uint64_t gpa, uint64_t pages,
                      uint64_t *bitmap);
    /* Deliver to the local APICs. Any thread. 0, or -EHOSTUNREACH when no processor took it. */
    int (*interrupt)(struct engine_partition *partition, const struct engine_interrupt *message);

    /* vCPU 0 starts at the reset vector, the others wait for SIPI. The APIC id is the index. */
    int (*vcpu_create)(struct engine_partition *partition, unsigned index, struct engine_vcpu **ret,
                       struct reason *reason);
    void (*vcpu_destroy)(struct engine_vcpu *vcpu);
    /* Run until something is asked of the caller. Halted processors wait inside. */
    int (*run)(struct engine_vcpu *vcpu, struct engine_exit *exit);
    /* Make run() return with ENGINE_EXIT_KICKED soon, or the next run() at once. Any thread. */
    void (*kick)(struct engine_vcpu *vcpu);
    int (*get)(struct engine_vcpu *vcpu, struct engine_registers *ret);
    int (*set)(struct engine_vcpu *vcpu, const struct engine_registers *registers);
    int (*raise)(struct engine_vcpu *vcpu, const struct engine_event *event);
    /* Save or load everything that get/set do not carry: the local APIC, pending events, timers. */
    int (*visit_state)(struct engine_vcpu *vcpu, struct state_visitor *visitor);
    /*
     * Read or write a register of the local APIC as the guest's own access would, in the vCPU's
     * mode (xAPIC: the destination is in bits 63:56 of the ICR; x2APIC: in 63:32). On the vCPU's
     * thread, while it is out. -EINVAL: the guest's own access would raise #GP; EOI is write-only.
     */
    int (*apic)(struct engine_vcpu *vcpu, enum engine_apic_register which, bool write,
                uint64_t *value);
    /*
     * When it returns, no vCPU of the set (bit n: vCPU n) uses a translation that it made before
     * the call. Any thread, that of a vCPU which is out included; two may wait for each other.
     */
    void (*flush_tlb)(struct engine_partition *partition, uint64_t vcpu_set);
    /*
     * The guest rests: give memory back to the host that can be made anew, if it is more than
     * `enough` bytes. NULL: there is none. Any thread but those of vCPUs.
     */
    void (*trim)(struct engine_partition *partition, size_t enough);
};

/* What all engines share: the host's TSC, its frequency, and that of the APIC timer's input. */
uint64_t engine_host_tsc(void);
uint64_t engine_tsc_hz(void);
uint64_t engine_apic_hz(void);

extern const struct engine_ops soft_engine;

/* ---- choosing an engine (engine.c, probe.c) ---- */

enum engine_choice { ENGINE_CHOICE_AUTO, ENGINE_CHOICE_KVM, ENGINE_CHOICE_SOFT };

struct engine_ability {
    const char *name; /* "long mode", "user-space MSR exits", … */
    bool required;
    bool present;
};

enum { ENGINE_MAX_ABILITIES = 16 };

struct engine_report {
    const char *name;
    bool usable;
    struct reason reason; /* why usable or not, in one line */
    double mips;          /* of the probe's loop, in million instructions a second; 0 = not run */
    struct engine_ability ability[ENGINE_MAX_ABILITIES];
    size_t ability_count;
};

/* Look at what this machine's KVM really does: opens it, asks for its abilities, runs a loop. */
void engine_probe_kvm(struct engine_report *ret);
void engine_probe_soft(struct engine_report *ret);

/* The engine to use, or NULL with `reason` filled; `reason` also says why on success. */
const struct engine_ops *engine_choose(enum engine_choice choice, struct reason *reason);

#endif
