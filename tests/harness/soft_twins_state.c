#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/soft/translate_private.h"
#include "tests/harness/soft_twins_private.h"

static void must(bool good, const char *what)
{
    if (good)
        return;
    (void)fprintf(stderr, "twins: %s\n", what);
    abort();
}

/* ---- state ---- */

static void take_exit(const struct engine_exit *exit, struct twins_state *ret)
{
    ret->kind = exit->kind;
    switch (exit->kind) {
    case ENGINE_EXIT_PORT_WRITE:
        ret->value = exit->port.value;
        __attribute__((fallthrough));
    case ENGINE_EXIT_PORT_READ:
        ret->address = exit->port.port;
        ret->size = exit->port.size;
        break;
    case ENGINE_EXIT_MMIO_WRITE:
        ret->value = exit->mmio.value;
        __attribute__((fallthrough));
    case ENGINE_EXIT_MMIO_READ:
        ret->address = exit->mmio.gpa;
        ret->size = exit->mmio.size;
        break;
    case ENGINE_EXIT_HYPERCALL:
        ret->value = exit->hypercall.rcx;
        break;
    default:
        break;
    }
}

static void take_system(const struct cpu *cpu, struct twins_state *ret)
{
    const uint64_t msr[] = {
        cpu->star,        cpu->lstar,        cpu->cstar,        cpu->sfmask, cpu->kernel_gs_base,
        cpu->sysenter_cs, cpu->sysenter_esp, cpu->sysenter_eip, cpu->pat,    cpu->tsc_aux};
    memcpy(ret->msr, msr, sizeof(msr));
    memcpy(ret->dr, cpu->dr, sizeof(ret->dr));
    ret->cr0 = cpu->cr0;
    ret->cr2 = cpu->cr2;
    ret->cr3 = cpu->cr3;
    ret->cr4 = cpu->cr4;
    ret->efer = cpu->efer;
    ret->xcr0 = cpu->xcr0;
    ret->gdt = cpu->gdt.base;
    ret->idt = cpu->idt.base;
    ret->limits = (uint64_t)cpu->gdt.limit << 32 | cpu->idt.limit;
}

/*
 * A component that XSTATE_BV leaves out is as after reset, whatever lies there; a processor may
 * tell so or not (Intel SDM vol. 1 § 13.6). MXCSR_MASK is nothing that a processor holds.
 */
static void take_vectors(const struct cpu *cpu, struct twins_state *ret)
{
    enum { FCW_RESET = 0x37f };
    uint8_t *to = ret->vectors;
    memcpy(to, cpu->xsave, sizeof(ret->vectors));
    uint64_t has = xsave_get(to, XSAVE_STATES, 8);
    if ((has & XSTATE_X87) == 0) {
        memset(to, 0, XSAVE_MXCSR);
        memset(to + XSAVE_ST, 0, XSAVE_XMM - XSAVE_ST);
        xsave_put(to, XSAVE_FCW, 2, FCW_RESET);
    }
    if ((has & XSTATE_SSE) == 0)
        memset(to + XSAVE_XMM, 0, XSAVE_AVX_SIZE);
    if ((has & XSTATE_AVX) == 0)
        memset(to + XSAVE_AVX_OFFSET, 0, XSAVE_AVX_SIZE);
    memset(to + XSAVE_MXCSR_MASK, 0, 4);
    memset(to + XSAVE_STATES, 0, XSAVE_HEADER_END - XSAVE_STATES);
}

void twins_take_state(const struct guest *guest, struct twins_state *ret)
{
    const struct cpu *cpu = guest->cpu;
    memset(ret, 0, sizeof(*ret));
    take_exit(&guest->exit, ret);
    take_system(cpu, ret);
    memcpy(ret->gpr, cpu->gpr, sizeof(ret->gpr));
    ret->rip = cpu->rip;
    ret->flags = cpu->flags;
    for (unsigned i = 0; i < SEGMENT_COUNT; i++) {
        const struct engine_segment *segment = &cpu->segment[i];
        const uint64_t words[4] = {segment->base, segment->limit, segment->selector,
                                   segment->attributes};
        memcpy(ret->segment[i], words, sizeof(words));
    }
    ret->mode = cpu->mode;
    ret->cpl = cpu->cpl;
    ret->shadow = cpu->shadow;
    ret->activity = cpu->activity;
    ret->nmi_blocked = cpu->nmi_blocked;
    take_vectors(cpu, ret);
}

uint64_t twins_digest(uint64_t sum, const void *bytes, size_t length)
{
    const uint8_t *at = bytes;
    for (size_t i = 0; i < length; i++)
        sum = (sum ^ at[i]) * UINT64_C(0x100000001b3);
    return sum;
}

void twins_tell_difference(const struct twins_state *plain, const struct twins_state *translated,
                           FILE *to)
{
    const uint64_t *a = (const uint64_t *)plain;
    const uint64_t *b = (const uint64_t *)translated;
    enum { WORDS = offsetof(struct twins_state, vectors) / 8 };
    static const struct {
        const char *name;
        unsigned at;
    } names[] = {
#define NAMED(field) {#field, offsetof(struct twins_state, field) / 8}
        NAMED(kind), NAMED(address), NAMED(size), NAMED(value),   NAMED(gpr),
        NAMED(rip),  NAMED(flags),   NAMED(cr0),  NAMED(dr),      NAMED(msr),
        NAMED(gdt),  NAMED(segment), NAMED(mode), NAMED(vectors),
#undef NAMED
    };
    unsigned name = 0;
    for (unsigned i = 0; i < WORDS; i++) {
        while (names[name + 1].at <= i)
            name++;
        if (a[i] == b[i])
            continue;
        (void)fprintf(to, "twins: %s[%u]: %#" PRIx64 " interpreted, %#" PRIx64 " translated\n",
                      names[name].name, i - names[name].at, a[i], b[i]);
    }
    for (unsigned i = 0; i < TWINS_VECTOR_BYTES; i++) {
        if (plain->vectors[i] == translated->vectors[i])
            continue;
        (void)fprintf(to, "twins: XSAVE byte %u: %#x interpreted, %#x translated\n", i,
                      plain->vectors[i], translated->vectors[i]);
    }
}

void twins_tell_memory(const struct guest *plain, const struct guest *translated, FILE *to)
{
    for (uint64_t at = 0, told = 0; at < plain->size && told < 8; at += 8) {
        uint64_t a = guest_read64(plain, at);
        uint64_t b = guest_read64(translated, at);
        if (a == b)
            continue;
        told++;
        (void)fprintf(to,
                      "twins: memory at %#" PRIx64 ": %#" PRIx64 " interpreted, %#" PRIx64
                      " translated\n",
                      at, a, b);
    }
}

/* Accessed and dirty bits do not count. */
static bool region_changed(const struct guest *g, const uint8_t *pristine, uint64_t from,
                           uint64_t to)
{
    const uint64_t marks = PAGE_A | PAGE_D;
    for (uint64_t at = from; at < to; at += 8) {
        uint64_t before;
        memcpy(&before, pristine + at, sizeof(before));
        if (((guest_read64(g, at) ^ before) & ~marks) != 0)
            return true;
    }
    return false;
}

bool twins_tables_changed(const struct guest *g, const uint8_t *pristine)
{
    const struct cpu *cpu = g->cpu;
    bool known = cpu->cr3 == PML4_AT || cpu->cr3 == TWINS_OTHER_PML4_AT;
    return !known || cpu->idt.base != IDT_AT || region_changed(g, pristine, PML4_AT, GDT_AT) ||
           region_changed(g, pristine, TSS_AT, FREE_TABLES_AT + 8 * TWINS_PAGE);
}

/* ---- rules ---- */

static bool in(uint64_t value, const void *start, uint64_t size)
{
    return value - (uint64_t)(uintptr_t)start < size;
}

static bool is_of_host(const struct guest *guest, uint64_t value)
{
    const struct code_cache *code = guest->soft->code;
    const struct translator *translator = code->translator;
    if (in(value, guest->ram, guest->size) || in(value, guest->cpu, sizeof(*guest->cpu)) ||
        in(value, code->arena, code->arena_size))
        return true;
    return translator != NULL && (in(value, translator->writable, translator->size) ||
                                  in(value, translator->executable, translator->size));
}

/* What all translations share is written once. */
static void check_routines(const struct guest *guest)
{
    static uint64_t expected;
    const struct translator *translator = guest->soft->code->translator;
    if (translator == NULL || guest->soft->config.translate == ENGINE_TRANSLATE_NEVER)
        return;
    uint64_t now = twins_digest(0, translator->writable, translator->routines_end);
    if (expected == 0)
        expected = now;
    must(now == expected, "the translator's routines were overwritten");
}

void twins_check(const struct guest *guest)
{
    const struct cpu *cpu = guest->cpu;
    must(cpu->gpr[GPR_ZERO] == 0, "the zero register is not 0");
    must((cpu->flags & FLAG_FIXED) != 0, "bit 1 of RFLAGS is clear");
    must(cpu->cpl <= 3 && !cpu->fpu_live, "privilege level or live vectors");
    must(!cpu->commit.locked && cpu->reply_count <= CPU_MAX_REPLIES, "a store was left open");
    must(guest->exit.kind <= ENGINE_EXIT_KICKED, "an exit that nobody knows");
    must(pthread_mutex_trylock(&guest->soft->split_lock) == 0, "the lock of split stores is taken");
    must(pthread_mutex_unlock(&guest->soft->split_lock) == 0, "a lock cannot be given back");
    for (unsigned i = 0; i < GPR_COUNT; i++)
        must(!is_of_host(guest, cpu->gpr[i]), "a host address in a register");
}

void twins_check_memory(const struct guest *guest, const uint8_t *pristine)
{
    check_routines(guest);
    for (uint64_t page = 0; page < guest->size; page += TWINS_PAGE) {
        if (memcmp(guest->ram + page, pristine + page, TWINS_PAGE) == 0)
            continue;
        for (uint64_t at = page; at < page + TWINS_PAGE; at += 8)
            must(!is_of_host(guest, guest_read64(guest, at)), "a host address in memory");
    }
}
