#include "tests/harness/soft_twins.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <Zydis/Zydis.h>

#include "engine/soft/translate_private.h"
#include "tests/harness/soft_twins_private.h"

enum {
    MOST_EXITS = 64, /* and some for each lap */
    EXITS_A_LAP = 8,
    TICK_US = 2000,
    KICKS_TO_END = 2,    /* of one run: it has no end */
    KICKS_BEHIND = 1000, /* the other guest may still come to an end for so long */
    MOST_DIGESTS = 4096,
};

/* The second is the translated one, or one that is translated without the thought that nothing
 * reads flags which are about to be overwritten. */
static struct guest *plain, *translated, *exact, *second;
static struct twins_counts counts;
static uint8_t pristine[TWINS_RAM];

static void must(bool good, const char *what)
{
    if (good)
        return;
    (void)fprintf(stderr, "twins: %s\n", what);
    abort();
}

/* ---- guests without an end are stopped as the machine's own threads would stop them ---- */

static struct {
    struct engine_vcpu *_Atomic running;
    _Atomic uint64_t serial; /* of the run */
} watch;

static void *kick_who_runs_long(void *unused)
{
    uint64_t last = 0;
    for (;;) {
        (void)usleep(TICK_US);
        uint64_t now = atomic_load(&watch.serial);
        struct engine_vcpu *vcpu = atomic_load(&watch.running);
        if (vcpu != NULL && now == last)
            soft_engine.kick(vcpu);
        last = now;
    }
    return unused;
}

static void run_watched(struct guest *g)
{
    (void)atomic_fetch_add(&watch.serial, 1);
    atomic_store(&watch.running, g->vcpu);
    (void)guest_run(g);
    atomic_store(&watch.running, NULL);
    twins_check(g);
}

/* False: it was still running after that many kicks. */
static bool run_to_exit(struct guest *g, unsigned kicks)
{
    for (unsigned i = 0; i < kicks; i++) {
        run_watched(g);
        if (g->exit.kind != ENGINE_EXIT_KICKED)
            return true;
    }
    return false;
}

/* ---- making ---- */

static void create_twins(void)
{
    plain = twins_create(ENGINE_TRANSLATE_NEVER);
    translated = twins_create(ENGINE_TRANSLATE_ALWAYS);
    memcpy(pristine, plain->ram, TWINS_RAM);
    must(memcmp(pristine, translated->ram, TWINS_RAM) == 0, "the twins are not born alike");
    pthread_t thread;
    must(pthread_create(&thread, NULL, kick_who_runs_long, NULL) == 0, "no thread");
    must(pthread_detach(thread) == 0, "no thread");
}

/* ---- before a run ---- */

static void put_back_memory(struct guest *g)
{
    for (uint64_t at = 0; at < TWINS_RAM; at += TWINS_PAGE) {
        if (memcmp(g->ram + at, pristine + at, TWINS_PAGE) != 0)
            guest_write(g, at, pristine + at, TWINS_PAGE);
    }
}

static void fill_vectors(struct cpu *cpu)
{
    enum { FCW_DEFAULT = 0x37f };
    fpu_reset(cpu, false);
    xsave_put(cpu->xsave, XSAVE_FCW, 2, FCW_DEFAULT);
    xsave_put(cpu->xsave, XSAVE_FTW, 1, 0);
    xsave_put(cpu->xsave, XSAVE_STATES, 8, XSTATE_X87 | XSTATE_SSE | XSTATE_AVX);
    for (unsigned i = 0; i < XSAVE_AVX_SIZE; i++) {
        cpu->xsave[XSAVE_XMM + i] = (uint8_t)(i * 5 + 1);
        cpu->xsave[XSAVE_AVX_OFFSET + i] = (uint8_t)(i * 3 + 2);
    }
    for (unsigned i = 0; i < 8; i++) {
        xsave_put(cpu->xsave, XSAVE_ST + i * 16, 8, UINT64_C(0xc90fdaa22168c235) + i);
        xsave_put(cpu->xsave, XSAVE_ST + i * 16 + 8, 2, 0x4000 + i);
    }
}

/* A stack from which IRETQ, RET and POP go on in the code. */
static void fill_stack(struct guest *g, const struct twins_input *in)
{
    bool user = in->mode == TWINS_USER;
    const uint64_t frame[] = {CODE_AT + in->offset + TWINS_ENTRY,
                              user ? USER_CODE64_SELECTOR : CODE64_SELECTOR, FLAG_FIXED,
                              STACK_TOP - 0x200, user ? USER_DATA_SELECTOR : DATA_SELECTOR};
    for (unsigned at = 0; at < 0x100; at += sizeof(frame))
        guest_write(g, STACK_TOP - 0x100 - TWINS_PAGE / 2 + at, frame, sizeof(frame));
}

static void set_registers(struct guest *g, const struct twins_input *in)
{
    memcpy(g->cpu->gpr, in->gpr, sizeof(in->gpr));
}

static void set_mode(struct guest *g, const struct twins_input *in)
{
    struct cpu *cpu = g->cpu;
    if (in->mode == TWINS_PROTECTED)
        guest_use_protected(g, 0);
    else if (in->mode == TWINS_REAL)
        guest_use_real(g, 0);
    else
        guest_use_long(g, 0);
    if (in->mode == TWINS_USER)
        guest_use_user(g, 0);
    cpu->cr0 |= in->cr0;
    cpu->cr4 |= in->cr4;
    if (in->other_tables && in->mode < TWINS_PROTECTED)
        cpu->cr3 = TWINS_OTHER_PML4_AT;
    cpu->star = (uint64_t)(USER_CODE32_SELECTOR) << 48 | (uint64_t)CODE64_SELECTOR << 32;
    cpu->lstar = CODE_AT + in->offset + TWINS_ENTRY;
    cpu->kernel_gs_base = DATA_AT;
    cpu_set_flags(cpu, FLAG_FIXED | in->flags);
    cpu_mode_changed(cpu);
}

static void prepare(struct guest *g, const struct twins_input *in)
{
    struct cpu *cpu = g->cpu;
    put_back_memory(g);
    fill_stack(g, in);
    guest_place(g, CODE_AT + in->offset, in->code, in->length);
    guest_write(g, CODE_AT + in->offset + in->length + 2, "\xcc", 1);
    cpu_reset(cpu, false);
    cpu->called = false;
    cpu->halt_next = false;
    cpu->debug_trap = 0;
    cpu->extint_ready = false;
    atomic_store(&cpu->pending, PENDING_EPOCH | PENDING_FLUSH);
    set_mode(g, in);
    set_registers(g, in);
    fill_vectors(cpu);
    guest_start(g, cpu->rip + in->offset);
}

/* ---- at an exit ---- */

enum next { NEXT_RUN, NEXT_END };

/* Where an input is. */
struct course {
    const struct twins_input *in;
    unsigned laps, exits, faults;
};

static bool is_in_handler(const struct guest *g)
{
    const struct cpu *cpu = g->cpu;
    return g->exit.kind == ENGINE_EXIT_PORT_WRITE && cpu_long(cpu) && cpu->cpl == 0 &&
           cpu->rip >= HANDLERS_AT && cpu->rip < HANDLERS_AT + 0x400;
}

static bool is_at_end(const struct guest *g)
{
    return g->exit.kind == ENGINE_EXIT_PORT_WRITE && g->exit.port.port == PORT_DONE &&
           cpu_long(g->cpu);
}

static unsigned length_at(const struct guest *g, uint64_t at)
{
    static ZydisDecoder decoder;
    ZydisDecodedInstruction instruction;
    if (decoder.stack_width == 0 && decoder.machine_mode == 0)
        (void)ZydisDecoderInit(&decoder, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
    if (ZYAN_FAILED(ZydisDecoderDecodeInstruction(&decoder, NULL, g->ram + at, 16, &instruction)))
        return 1;
    return instruction.length;
}

/* Behind what faulted, or else somewhere in the code. */
static uint64_t resume_rip(const struct guest *g, const struct course *course, uint64_t rip)
{
    uint64_t start = CODE_AT + course->in->offset;
    if (rip >= start && rip < start + course->in->length)
        return rip + length_at(g, rip);
    return start + course->faults * UINT64_C(37) % (course->in->length + 1);
}

/* The frame's words, from the stack for faults. */
enum {
    FRAME_RIP = TWINS_FAULT_STACK_TOP - 40,
    FRAME_CS = FRAME_RIP + 8,
    FRAME_FLAGS = FRAME_CS + 8,
    FRAME_RSP = FRAME_FLAGS + 8
};

static void begin_lap(struct guest *g, const struct course *course)
{
    struct cpu *cpu = g->cpu;
    if (course->laps % 2 == 0)
        set_registers(g, course->in);
    cpu->gpr[GPR_RSP] = course->in->gpr[GPR_RSP];
    guest_start(g, CODE_AT + course->in->offset);
}

/* What IRETQ takes of the frame: who jumped to a handler's OUT has none. */
enum {
    IRET_FLAGS =
        FLAGS_ARITHMETIC | FLAG_TF | FLAG_IF | FLAG_DF | FLAG_IOPL | FLAG_NT | FLAG_AC | FLAG_ID
};

/* Instead of the handler's IRET. */
static void resume(struct guest *g, const struct course *course)
{
    struct cpu *cpu = g->cpu;
    bool user = (guest_read64(g, FRAME_CS) & 3) == 3;
    uint64_t rip = guest_read64(g, FRAME_RIP);
    uint64_t flags = guest_read64(g, FRAME_FLAGS);
    if (course->faults % 4 == 3)
        set_registers(g, course->in);
    cpu->gpr[GPR_RSP] = guest_read64(g, FRAME_RSP);
    if (course->faults % 8 == 7)
        cpu->gpr[GPR_RSP] = course->in->gpr[GPR_RSP];
    guest_start(g, resume_rip(g, course, rip));
    if (user) {
        uint64_t cr3 = cpu->cr3;
        guest_use_user(g, 0);
        must(cpu->cr3 == cr3, "CR3 moved");
    }
    cpu_set_flags(cpu, (flags & IRET_FLAGS) | FLAG_FIXED);
    cpu_mode_changed(cpu);
}

static enum next answer(struct guest *g, const struct course *course)
{
    struct engine_exit *exit = &g->exit;
    if (is_in_handler(g)) {
        resume(g, course);
        return NEXT_RUN;
    }
    if (is_at_end(g)) {
        begin_lap(g, course);
        return course->laps < course->in->laps ? NEXT_RUN : NEXT_END;
    }
    switch (exit->kind) {
    case ENGINE_EXIT_PORT_READ:
        exit->port.value = 0x5a5a5a5a;
        return NEXT_RUN;
    case ENGINE_EXIT_MMIO_READ:
        exit->mmio.value = exit->mmio.gpa * 3;
        return NEXT_RUN;
    case ENGINE_EXIT_PORT_WRITE:
    case ENGINE_EXIT_MMIO_WRITE:
    case ENGINE_EXIT_HYPERCALL:
    case ENGINE_EXIT_EOI:
        return NEXT_RUN;
    default:
        return NEXT_END;
    }
}

/* Before both are answered. */
static void count_exit(struct course *course)
{
    course->exits++;
    if (is_in_handler(plain))
        course->faults++;
    if (is_at_end(plain))
        course->laps++;
}

static bool is_over(const struct course *course)
{
    return course->exits >= MOST_EXITS + course->in->laps * EXITS_A_LAP;
}

/* ---- comparing ---- */

/* A translation may have lost flags that are overwritten before anything reads them: translation.h,
 * invariant 3. From a fault we go on elsewhere, so they are set alike. */
static void set_flags_alike(void)
{
    uint64_t flags = plain->cpu->flags & FLAGS_ARITHMETIC;
    uint64_t kept = second->cpu->flags & ~(uint64_t)FLAGS_ARITHMETIC;
    second->cpu->flags = kept | flags;
    uint64_t in_frame = guest_read64(second, FRAME_FLAGS) & ~(uint64_t)FLAGS_ARITHMETIC;
    guest_write64(second, FRAME_FLAGS,
                  in_frame | (guest_read64(plain, FRAME_FLAGS) & FLAGS_ARITHMETIC));
}

/* Within an instruction that is about to overwrite them. */
static bool may_lose_flags(const struct twins_state *state)
{
    return state->kind == ENGINE_EXIT_MMIO_READ || state->kind == ENGINE_EXIT_MMIO_WRITE ||
           state->kind == ENGINE_EXIT_SHUTDOWN;
}

static bool states_agree(void)
{
    struct twins_state a;
    struct twins_state b;
    if (is_in_handler(plain) && is_in_handler(second))
        set_flags_alike();
    twins_take_state(plain, &a);
    twins_take_state(second, &b);
    if (may_lose_flags(&a)) {
        a.flags &= ~(uint64_t)FLAGS_ARITHMETIC;
        b.flags &= ~(uint64_t)FLAGS_ARITHMETIC;
    }
    return memcmp(&a, &b, sizeof(a)) == 0;
}

static bool memory_agrees(void)
{
    return memcmp(plain->ram, second->ram, TWINS_RAM) == 0;
}

/* ---- an input ---- */

enum outcome { AGREED, ENDLESS, DIFFERED };

static enum outcome run_both(const struct twins_input *in)
{
    struct course course = {.in = in};
    prepare(plain, in);
    prepare(second, in);
    for (;;) {
        bool ended = run_to_exit(plain, KICKS_TO_END);
        if (!ended) {
            (void)run_to_exit(second, KICKS_TO_END);
            return ENDLESS;
        }
        if (!run_to_exit(second, KICKS_BEHIND) || !states_agree())
            return DIFFERED;
        count_exit(&course);
        enum next next = answer(plain, &course);
        (void)answer(second, &course);
        if (next == NEXT_END || is_over(&course))
            break;
    }
    counts.exits += course.exits;
    return memory_agrees() ? AGREED : DIFFERED;
}

/* What the interpreter alone makes of it; false: it does not end. */
static bool digest_plain(const struct twins_input *in, uint64_t *ret)
{
    struct course course = {.in = in};
    *ret = 0;
    prepare(plain, in);
    while (run_to_exit(plain, KICKS_BEHIND)) {
        struct twins_state state;
        twins_take_state(plain, &state);
        *ret = twins_digest(*ret, &state, sizeof(state));
        count_exit(&course);
        if (answer(plain, &course) == NEXT_END || is_over(&course)) {
            *ret = twins_digest(*ret, plain->ram, TWINS_RAM);
            return true;
        }
    }
    return false;
}

/* A run that was ended early would not have come to what differs: it must not count as the same. */
static bool is_by_chance(const struct twins_input *in)
{
    uint64_t first;
    uint64_t again;
    if (!digest_plain(in, &first))
        return true;
    for (unsigned i = 0; i < 3; i++) {
        if (!digest_plain(in, &again) || again != first)
            return true;
    }
    return false;
}

/* It is not, when all flags are kept. */
static bool is_by_flags(const struct twins_input *in)
{
    if (exact == NULL) {
        exact = twins_create(ENGINE_TRANSLATE_ALWAYS);
        exact->soft->code->translator->keeps_flags = true;
    }
    second = exact;
    bool agreed = run_both(in) == AGREED;
    second = translated;
    return agreed;
}

/* As things are now: to find out whether it was chance they are run again. */
static void tell_difference(FILE *to)
{
    (void)fprintf(to, "twins: they differ at %#" PRIx64 " and %#" PRIx64 ", exits %d and %d\n",
                  plain->cpu->rip, second->cpu->rip, plain->exit.kind, second->exit.kind);
    struct twins_state a;
    struct twins_state b;
    twins_take_state(plain, &a);
    twins_take_state(second, &b);
    twins_tell_difference(&a, &b, to);
    twins_tell_memory(plain, second, to);
}

static void judge_difference(const struct twins_input *in)
{
    static char report[1 << 16];
    if (twins_tables_changed(plain, pristine) || twins_tables_changed(second, pristine)) {
        counts.by_tables++;
        return;
    }
    FILE *to = fmemopen(report, sizeof(report), "w");
    must(to != NULL, "no memory");
    tell_difference(to);
    (void)fclose(to);
    if (is_by_chance(in)) {
        counts.by_chance++;
        return;
    }
    if (is_by_flags(in)) {
        counts.by_flags++;
        return;
    }
    (void)fputs(report, stderr);
    abort();
}

void twins_run(const struct twins_input *in)
{
    if (plain == NULL)
        create_twins();
    uint64_t by_plain = plain->cpu->stats.handled;
    uint64_t by_handlers = translated->cpu->stats.handled;
    counts.inputs++;
    second = translated;
    enum outcome outcome = run_both(in);
    by_plain = plain->cpu->stats.handled - by_plain;
    by_handlers = translated->cpu->stats.handled - by_handlers;
    twins_check_memory(plain, pristine);
    twins_check_memory(translated, pristine);
    if (outcome == AGREED) {
        counts.compared++;
        counts.plain += by_plain;
        counts.translated += by_plain - by_handlers;
    } else if (outcome == ENDLESS) {
        counts.endless++;
        counts.endless_plain += by_plain;
    } else {
        judge_difference(in);
    }
    counts.translations = translated->soft->code->stats.translated;
}

struct twins_counts twins_counts(void)
{
    return counts;
}

void twins_print(FILE *to)
{
    const struct twins_counts *c = &counts;
    (void)fprintf(
        to,
        "# %" PRIu64 " inputs: %" PRIu64 " compared, %" PRIu64 " without an end, %" PRIu64
        " by chance, %" PRIu64 " by dead flags, %" PRIu64 " with other tables; %" PRIu64 " exits\n"
        "# instructions compared: %" PRIu64 ", of which %" PRIu64 " ran translated, of %" PRIu64
        " blocks; %" PRIu64 " more interpreted in inputs without an end\n",
        c->inputs, c->compared, c->endless, c->by_chance, c->by_flags, c->by_tables, c->exits,
        c->plain, c->translated, c->translations, c->endless_plain);
}
