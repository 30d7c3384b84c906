/*
 * The run loop: between two blocks it looks at what is pending, in a block it calls handlers until
 * one says otherwise. Instructions that must be looked at singly (TF, RF, breakpoints, the
 * instruction after STI or MOV SS, and one whose question was just answered) are run as blocks of
 * one.
 */
#include "engine/soft/run.h"

#include <sched.h>

#include "engine/soft/code.h"
#include "engine/soft/partition.h"
#include "engine/soft/timer.h"
#include "engine/soft/tlb.h"
#include "engine/soft/translation.h"

enum { DR6_BS = 1 << 14, NMIS = PENDING_NMI | PENDING_NMI_AGAIN };

/* ---- between blocks ---- */

static void start_at_sipi(struct cpu *cpu)
{
    uint8_t vector = atomic_load(&cpu->lapic.sipi_vector);
    if (cpu->activity != ENGINE_ACTIVITY_WAIT_FOR_SIPI)
        return;
    cpu->segment[SEGMENT_CS].selector = (uint16_t)(vector << 8);
    cpu->segment[SEGMENT_CS].base = (uint64_t)vector << 12;
    cpu->rip = 0;
    cpu->activity = ENGINE_ACTIVITY_RUNNING;
    cpu_mode_changed(cpu);
}

static bool take(struct cpu *cpu, uint32_t bit)
{
    return (atomic_fetch_and(&cpu->pending, ~bit) & bit) != 0;
}

/* Level-triggered vectors whose end the IOAPIC must hear of, one exit each. */
static bool tell_end_of_interrupt(struct cpu *cpu)
{
    for (unsigned i = 0; i < 8; i++) {
        uint32_t ended = cpu->lapic.ended[i];
        if (ended == 0)
            continue;
        unsigned bit = (unsigned)__builtin_ctz(ended);
        cpu->lapic.ended[i] &= ended - 1;
        cpu->exit->kind = ENGINE_EXIT_EOI;
        cpu->exit->eoi.vector = (uint8_t)(i * 32 + bit);
        return true;
    }
    (void)take(cpu, PENDING_EOI);
    return false;
}

/* A fault while an interrupt is delivered is itself delivered; the interrupted RIP stays. */
static int deliver(struct cpu *cpu, uint8_t vector)
{
    cpu->activity = ENGINE_ACTIVITY_RUNNING;
    int step = exception_interrupt(cpu, vector, EVENT_EXTERNAL, cpu->rip);
    return step == STEP_FAULT ? exception_deliver(cpu) : step;
}

static bool is_running_or_halted(const struct cpu *cpu)
{
    return cpu->activity == ENGINE_ACTIVITY_RUNNING || cpu->activity == ENGINE_ACTIVITY_HALTED;
}

static int deliver_nmi(struct cpu *cpu)
{
    if (!take(cpu, PENDING_NMI_AGAIN))
        (void)take(cpu, PENDING_NMI);
    cpu->nmi_blocked = true;
    return deliver(cpu, VECTOR_NMI);
}

/* The 8259's vector is asked for by an exit, and delivered when the answer is there. */
static int deliver_extint(struct cpu *cpu)
{
    if (cpu->extint_ready) {
        cpu->extint_ready = false;
        return deliver(cpu, cpu->extint_vector);
    }
    cpu->exit->kind = ENGINE_EXIT_EXTINT;
    return STEP_LEAVE;
}

static int deliver_maskable(struct cpu *cpu)
{
    if ((cpu->flags & FLAG_IF) == 0)
        return STEP_NEXT; /* whoever sets IF sets PENDING_INTERRUPT again */
    bool extint = atomic_load(&cpu->extint_line) && lapic_takes_extint(cpu);
    if (cpu->extint_ready || extint) {
        (void)atomic_fetch_or(&cpu->pending, PENDING_INTERRUPT);
        return deliver_extint(cpu);
    }
    int vector = lapic_pending_vector(cpu);
    if (vector < 0)
        return STEP_NEXT;
    lapic_accept(cpu, vector);
    (void)atomic_fetch_or(&cpu->pending, PENDING_INTERRUPT);
    return deliver(cpu, (uint8_t)vector);
}

/*
 * INIT and SIPI go first; NMI before maskable interrupts (Intel SDM vol. 3A table 6-2). An
 * instruction whose question was answered must complete first, else it would ask again.
 */
static int deliver_events(struct cpu *cpu)
{
    if (take(cpu, PENDING_INIT)) {
        cpu_reset(cpu, true);
        return STEP_JUMP;
    }
    if (take(cpu, PENDING_SIPI))
        start_at_sipi(cpu);
    if (!is_running_or_halted(cpu)) {
        (void)take(cpu, PENDING_INTERRUPT); /* nothing maskable before IF is set again */
        return STEP_NEXT;
    }
    bool running = cpu->activity == ENGINE_ACTIVITY_RUNNING;
    if (running && (cpu->shadow != SHADOW_NONE || cpu->reply_count != 0))
        return STEP_NEXT;
    uint32_t pending = atomic_load(&cpu->pending);
    if ((pending & NMIS) != 0 && !cpu->nmi_blocked)
        return deliver_nmi(cpu);
    if ((pending & NMIS) == NMIS)
        (void)take(cpu, PENDING_NMI_AGAIN);
    if (take(cpu, PENDING_INTERRUPT))
        return deliver_maskable(cpu);
    return STEP_NEXT;
}

static int raise_debug(struct cpu *cpu, uint64_t dr6)
{
    cpu->fault = (struct fault){.vector = VECTOR_DB, .dr6 = dr6};
    cpu->activity = ENGINE_ACTIVITY_RUNNING; /* a trap behind HLT ends the halt */
    return exception_deliver(cpu);
}

static int raise_debug_trap(struct cpu *cpu)
{
    uint64_t dr6 = cpu->debug_trap;
    cpu->debug_trap = 0;
    return raise_debug(cpu, dr6);
}

/* STEP_NEXT: run on. STEP_JUMP: look again. STEP_LEAVE: cpu->exit is filled. */
static int service(struct cpu *cpu)
{
    cpu->stats.services++;
    fpu_leave(cpu);
    if (take(cpu, PENDING_EPOCH))
        code_pass_epoch(cpu);
    if (take(cpu, PENDING_TIMER)) {
        lapic_timer_poll(cpu);
        timer_arm(cpu);
    }
    if (take(cpu, PENDING_FLUSH))
        tlb_flush_all(cpu);
    if (take(cpu, PENDING_YIELD))
        (void)sched_yield();
    if (take(cpu, PENDING_KICK)) {
        cpu->exit->kind = ENGINE_EXIT_KICKED;
        return STEP_LEAVE;
    }
    if ((atomic_load(&cpu->pending) & PENDING_EOI) != 0 && tell_end_of_interrupt(cpu))
        return STEP_LEAVE;
    if (take(cpu, PENDING_DEBUG) && cpu->debug_trap != 0)
        return raise_debug_trap(cpu);
    int step = deliver_events(cpu);
    if (step != STEP_NEXT)
        return step;
    if (cpu->activity == ENGINE_ACTIVITY_RUNNING)
        return STEP_NEXT;
    /* A blocked NMI, or one before SIPI, cannot wake it, so its bit may stay while it sleeps. */
    uint64_t start = stats_now(&cpu->stats);
    timer_sleep(cpu, atomic_load(&cpu->pending) & NMIS);
    if (cpu->stats.timed)
        cpu->stats.in_run -= stats_now(&cpu->stats) - start;
    return STEP_JUMP;
}

/* ---- blocks ---- */

int run_find_block(struct cpu *cpu, struct block **ret)
{
    uint64_t rip = cpu->rip;
    uint64_t key = tlb_code_context(cpu) << 8 | cpu->mode;
    struct recent *recent = &cpu->recent[(rip ^ (rip >> 12)) % RECENT_COUNT];
    if (recent->rip == rip && recent->key == key && recent->code == cpu->code &&
        recent->block != NULL &&
        atomic_load_explicit(&recent->block->valid, memory_order_relaxed)) {
        *ret = recent->block;
        return STEP_NEXT;
    }
    int step = code_find(cpu, cpu->mode, ret);
    if (step != STEP_NEXT)
        return step;
    /* Its bytes need comparing at every run, or it is a lone instruction at the segment's limit. */
    if (atomic_load(&(*ret)->verify_epoch) != 0 || (*ret)->mode != cpu->mode)
        return STEP_NEXT;
    *recent = (struct recent){rip, tlb_code_context(cpu) << 8 | cpu->mode, cpu->code, *ret};
    return STEP_NEXT;
}

static bool has_completed(int step)
{
    return step != STEP_FAULT && step != STEP_EXIT;
}

/* Run a block to where a handler stops it; RIP is exact afterwards. */
static int run_ops(struct cpu *cpu, struct block *block)
{
    const struct op *op = block->op;
    int step;
    uint64_t start = stats_now(&cpu->stats);
    cpu->stats.blocks++;
    cpu->block = block;
    for (;; op++) {
        op_fn handler = __atomic_load_n(&op->run, __ATOMIC_RELAXED);
        step = handler(cpu, op);
        if (step != STEP_NEXT)
            break;
    }
    stats_add(&cpu->stats, start, &cpu->stats.in_interpreter);
    cpu->stats.handled += (uint64_t)(op - block->op) + (has_completed(step) ? 1 : 0);
    if (step == STEP_FAULT || step == STEP_EXIT)
        cpu->rip = op_rip(cpu, op);
    return step;
}

/* Runs by the interpreter before a block is worth translating. */
enum { HOT = 50 };

struct translation *run_translation(struct cpu *cpu, struct block *block)
{
    if (atomic_load(&block->verify_epoch) != 0)
        return NULL;
    struct translation *translation =
        atomic_load_explicit(&block->translation, memory_order_acquire);
    if (translation != NULL || block->heat == TRANSLATION_REFUSED)
        return translation;
    unsigned enough = cpu->partition->config.translate == ENGINE_TRANSLATE_HOT ? HOT : 1;
    if ((block->mode & MODE_LONG) == 0 || ++block->heat < enough)
        return NULL;
    translator_add(cpu, block);
    return atomic_load(&block->translation);
}

static int run_block(struct cpu *cpu)
{
    struct block *block;
    int step = run_find_block(cpu, &block);
    if (step == STEP_NEXT) {
        struct translation *translation = run_translation(cpu, block);
        step = translation != NULL ? translated_run(cpu, translation) : run_ops(cpu, block);
    }
    return step == STEP_FAULT ? exception_deliver(cpu) : step;
}

/* ---- single instructions ---- */

/* Without interrupts to wake it, it does not halt: it may wake for no reason at any time. */
static void halt_if_asked(struct cpu *cpu)
{
    if (cpu->halt_next && (cpu->flags & FLAG_IF) != 0)
        cpu->activity = ENGINE_ACTIVITY_HALTED;
    cpu->halt_next = false;
}

/* The traps of an instruction that has completed. */
static int after_single(struct cpu *cpu, int step, uint64_t flags_before)
{
    exit_forget(cpu);
    halt_if_asked(cpu);
    uint64_t dr6 = cpu->debug_trap;
    if ((flags_before & FLAG_TF) != 0 && !cpu->entered)
        dr6 |= DR6_BS;
    /* MOV SS and POP SS hold traps back for one instruction (Intel SDM vol. 3A § 6.8.3). */
    if (dr6 == 0 || cpu->shadow == SHADOW_STACK)
        return step;
    cpu->debug_trap = 0;
    int debug = raise_debug(cpu, dr6);
    return debug == STEP_JUMP ? step : debug;
}

static uint64_t linear_rip(const struct cpu *cpu)
{
    return cpu_long(cpu) ? cpu->rip : (uint32_t)(cpu->segment[SEGMENT_CS].base + cpu->rip);
}

static int run_single(struct cpu *cpu)
{
    uint64_t before = cpu->flags;
    uint8_t shadow = cpu->shadow;
    if ((before & FLAG_RF) == 0 && shadow != SHADOW_STACK && (cpu->dr[7] & 0xff) != 0) {
        uint64_t hit = debug_check_fetch(cpu, linear_rip(cpu));
        if (hit != 0)
            return raise_debug(cpu, hit);
    }
    struct block *block;
    int step = code_find(cpu, cpu->mode | MODE_SINGLE, &block);
    if (step == STEP_NEXT) {
        cpu->shadow = SHADOW_NONE;
        cpu->entered = false;
        if (before & FLAG_RF)
            cpu_set_flags(cpu, cpu->flags & ~(uint64_t)FLAG_RF);
        step = run_ops(cpu, block);
    }
    if (step == STEP_EXIT || step == STEP_FAULT) {
        cpu_set_flags(cpu, cpu->flags | (before & FLAG_RF));
        cpu->shadow = shadow;
    }
    if (step == STEP_FAULT) {
        exit_forget(cpu);
        cpu->halt_next = false;
        cpu->debug_trap = 0;
        cpu->shadow = SHADOW_NONE;
        return exception_deliver(cpu);
    }
    return step == STEP_JUMP || step == STEP_LEAVE ? after_single(cpu, step, before) : step;
}

static int run_some(struct cpu *cpu)
{
    if ((cpu->mode & MODE_SINGLE) != 0 || cpu->shadow != SHADOW_NONE || cpu->reply_count != 0)
        return run_single(cpu);
    return run_block(cpu);
}

/* ---- in and out ---- */

/* The caller has answered what the last run() asked. */
static void take_answer(struct cpu *cpu, const struct engine_exit *exit)
{
    struct reply reply = {.kind = exit->kind};
    switch (exit->kind) {
    case ENGINE_EXIT_PORT_READ:
    case ENGINE_EXIT_PORT_WRITE:
        reply.address = exit->port.port;
        reply.value = exit->port.value;
        break;
    case ENGINE_EXIT_MMIO_READ:
    case ENGINE_EXIT_MMIO_WRITE:
        reply.address = exit->mmio.gpa;
        reply.value = exit->mmio.value;
        break;
    case ENGINE_EXIT_MSR_READ:
    case ENGINE_EXIT_MSR_WRITE:
        reply.address = exit->msr.index;
        reply.value = exit->msr.value;
        reply.refused = exit->msr.refused;
        cpu->halt_next = exit->msr.halt && !exit->msr.refused;
        break;
    default:
        return;
    }
    cpu->reply[cpu->reply_count++] = reply;
}

/* The caller has served the last run()'s hypercall, Intel SDM vol. 3C § 26.1.3: VMCALL. */
static void take_result(struct cpu *cpu, const struct engine_exit *exit)
{
    cpu->called = false;
    if (exit->kind != ENGINE_EXIT_HYPERCALL)
        return;
    uint64_t mask = exit->hypercall.long_mode ? UINT64_MAX : UINT32_MAX;
    cpu->gpr[GPR_RAX] = exit->hypercall.rax & mask;
    cpu->gpr[GPR_RDX] = exit->hypercall.rdx & mask;
}

static int run_until_exit(struct cpu *cpu)
{
    for (;;) {
        int step = STEP_NEXT;
        if (atomic_load_explicit(&cpu->pending, memory_order_relaxed) != 0 ||
            cpu->activity != ENGINE_ACTIVITY_RUNNING)
            step = service(cpu);
        if (step == STEP_NEXT)
            step = run_some(cpu);
        if (step > STEP_FAULT)
            return step;
    }
}

int run_vcpu(struct cpu *cpu, struct engine_exit *exit)
{
    if (cpu->asked)
        take_answer(cpu, exit);
    if (cpu->called)
        take_result(cpu, exit);
    cpu->exit = exit;
    cpu->asked = false;
    atomic_store(&cpu->outside, false);
    (void)atomic_fetch_or(&cpu->pending, PENDING_TIMER);
    uint64_t start = stats_now(&cpu->stats);
    int step = run_until_exit(cpu);
    fpu_leave(cpu);
    stats_add(&cpu->stats, start, &cpu->stats.in_run);
    cpu->stats.exits[exit->kind % STATS_EXITS]++;
    cpu->asked = step == STEP_EXIT;
    cpu->reply_used = 0;
    if (step == STEP_SHUTDOWN) {
        cpu->activity = ENGINE_ACTIVITY_SHUTDOWN;
        exit->kind = ENGINE_EXIT_SHUTDOWN;
    }
    atomic_store(&cpu->outside, true);
    return 0;
}
