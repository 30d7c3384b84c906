#include "tests/harness/soft_pair.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "engine/soft/code_private.h"
#include "engine/soft/xsave.h"

enum {
    ROUNDS = 4,
    TABLE = PAGE_P | PAGE_W | PAGE_U,
    PAGE_SIZE = 0x1000,
    VECTOR_BYTES = XSAVE_AVX_OFFSET + XSAVE_AVX_SIZE,
};

/* ---- making ---- */

static void fill(struct guest *g, uint64_t gpa)
{
    uint8_t bytes[PAGE_SIZE];
    for (unsigned i = 0; i < PAGE_SIZE; i++)
        bytes[i] = (uint8_t)(i * 7 + (gpa >> 12) * 31 + (i >> 8));
    guest_write(g, gpa, bytes, sizeof(bytes));
}

/* One chain of tables serves all the edges of the address space. */
static void map_edges(struct guest *g)
{
    enum { PDPT = FREE_TABLES_AT, PD = PDPT + PAGE_SIZE, PT = PD + PAGE_SIZE };
    enum { LAST = 511 * 8, FIRST_HIGH = 256 * 8 };
    guest_write64(g, PML4_AT + FIRST_HIGH - 8, PDPT | TABLE);
    guest_write64(g, PML4_AT + FIRST_HIGH, PDPT | TABLE);
    guest_write64(g, PML4_AT + LAST, PDPT | TABLE);
    guest_write64(g, PDPT, PD | TABLE);
    guest_write64(g, PDPT + LAST, PD | TABLE);
    guest_write64(g, PD, PT | TABLE);
    guest_write64(g, PD + LAST, PT | TABLE);
    guest_write64(g, PT, (DATA_AT + 2 * PAGE_SIZE) | TABLE);
    guest_write64(g, PT + LAST, (DATA_AT + 3 * PAGE_SIZE) | TABLE);
}

/* Neighbours of the data pages lie elsewhere, so that crossing them without care shows. */
static void map_pages(struct guest *g)
{
    guest_map(g, DATA_AT + PAGE_SIZE, (DATA_AT + 2 * PAGE_SIZE) | TABLE);
    guest_map(g, DATA_AT + 2 * PAGE_SIZE, (DATA_AT + PAGE_SIZE) | TABLE);
    guest_map(g, READ_ONLY_AT, READ_ONLY_AT | PAGE_P | PAGE_U);
    guest_map(g, ABSENT_AT, 0);
    guest_map(g, ALIAS_AT, DATA_AT | TABLE);
    guest_map(g, LAST_AT, (GUEST_RAM - PAGE_SIZE) | TABLE);
    guest_map(g, LAST_AT + PAGE_SIZE, GUEST_RAM | TABLE);
    guest_map(g, SUPERVISOR_AT, SUPERVISOR_AT | PAGE_P | PAGE_W);
    map_edges(g);
    fill(g, READ_ONLY_AT);
    fill(g, SUPERVISOR_AT);
}

/* By the first entry of the TSS's interrupt stack table. */
static void use_fault_stack(struct guest *g)
{
    enum { GATE_IST = 4, TSS_IST1 = 0x24 };
    guest_write64(g, TSS_AT + TSS_IST1, FAULT_STACK_TOP);
    for (unsigned vector = 0; vector < 32; vector++)
        guest_write(g, IDT_AT + vector * 16 + GATE_IST, "\x01", 1);
}

static struct guest *create(enum engine_translate translate,
                            struct engine_segment segment[2][CPU_SEGMENTS])
{
    struct guest *g = guest_create_with(1, translate);
    map_pages(g);
    use_fault_stack(g);
    guest_use_user(g, 0);
    memcpy(segment[1], g->cpu->segment, sizeof(g->cpu->segment));
    guest_use_long(g, 0);
    memcpy(segment[0], g->cpu->segment, sizeof(g->cpu->segment));
    return g;
}

int pair_setup(void **state)
{
    struct pair *pair = calloc(1, sizeof(*pair));
    assert_non_null(pair);
    pair->plain = create(ENGINE_TRANSLATE_NEVER, pair->segment);
    pair->translated = create(ENGINE_TRANSLATE_ALWAYS, pair->segment);
    *state = pair;
    return 0;
}

int pair_teardown(void **state)
{
    struct pair *pair = *state;
    guest_destroy(pair->plain);
    guest_destroy(pair->translated);
    free(pair);
    return 0;
}

/* ---- before a run ---- */

static void fill_vectors(struct cpu *cpu)
{
    enum { FCW_DEFAULT = 0x37f };
    fpu_reset(cpu, false);
    cpu->xcr0 = XSTATE_X87 | XSTATE_SSE | XSTATE_AVX;
    xsave_put(cpu->xsave, XSAVE_FCW, 2, FCW_DEFAULT);
    xsave_put(cpu->xsave, XSAVE_FTW, 1, 0);
    xsave_put(cpu->xsave, XSAVE_STATES, 8, XSTATE_X87 | XSTATE_SSE | XSTATE_AVX);
    for (unsigned i = 0; i < XSAVE_AVX_SIZE; i++) {
        cpu->xsave[XSAVE_XMM + i] = (uint8_t)(i * 5 + 1);
        cpu->xsave[XSAVE_AVX_OFFSET + i] = (uint8_t)(i * 3 + 2);
    }
}

static void fill_registers(struct cpu *cpu, const struct scene *scene)
{
    for (unsigned i = 0; i < GPR_COUNT; i++) {
        uint64_t other = i == GPR_RSP ? STACK_TOP : UINT64_C(0x0101010101010101) * (i + 1);
        cpu->gpr[i] = scene->gpr[i] != 0 ? scene->gpr[i] : other;
    }
    cpu->cr2 = 0;
    cpu->dr[6] = 0;
    cpu->shadow = SHADOW_NONE;
}

static void prepare(struct guest *g, const struct engine_segment *segment,
                    const struct scene *scene)
{
    struct cpu *cpu = g->cpu;
    for (unsigned i = 0; i < PAIR_DATA_PAGES; i++)
        fill(g, DATA_AT + i * PAGE_SIZE);
    fill(g, GUEST_RAM - PAGE_SIZE);
    fill(g, STACK_TOP - PAGE_SIZE);
    fill_registers(cpu, scene);
    fill_vectors(cpu);
    memcpy(cpu->segment, segment, sizeof(cpu->segment));
    cpu->cpl = scene->user ? 3 : 0;
    cpu_set_flags(cpu, FLAG_FIXED | scene->flags);
    cpu_mode_changed(cpu);
    if (scene->prepare != NULL)
        scene->prepare(g);
}

/* ---- behind it ---- */

static void forget_flags(struct guest *g)
{
    enum { FRAME_FLAGS = FAULT_STACK_TOP - 24 };
    g->cpu->flags &= ~(uint64_t)FLAGS_ARITHMETIC;
    guest_write64(g, FRAME_FLAGS, guest_read64(g, FRAME_FLAGS) & ~(uint64_t)FLAGS_ARITHMETIC);
}

static void compare_registers(const struct scene *scene, const struct cpu *a, const struct cpu *b)
{
    for (unsigned i = 0; i < GPR_COUNT; i++) {
        if (a->gpr[i] != b->gpr[i])
            fail_msg("%s: register %u is %#lx, not %#lx", scene->name, i, b->gpr[i], a->gpr[i]);
    }
    if (a->flags != b->flags)
        fail_msg("%s: flags are %#lx, not %#lx", scene->name, b->flags, a->flags);
    if (a->rip != b->rip || a->cr2 != b->cr2)
        fail_msg("%s: at %#lx with CR2 %#lx, not at %#lx with %#lx", scene->name, b->rip, b->cr2,
                 a->rip, a->cr2);
    assert_int_equal(a->cpl, b->cpl);
    assert_int_equal(a->mode, b->mode);
    assert_int_equal(a->shadow, b->shadow);
    assert_int_equal(a->activity, b->activity);
    assert_int_equal(a->dr[6], b->dr[6]);
    assert_int_equal(a->kernel_gs_base, b->kernel_gs_base);
    assert_memory_equal(a->segment, b->segment, sizeof(a->segment));
}

static void compare_vectors(const struct scene *scene, const struct cpu *a, const struct cpu *b)
{
    assert_false(a->fpu_live || b->fpu_live);
    for (unsigned i = 0; i < VECTOR_BYTES; i++) {
        if (a->xsave[i] != b->xsave[i])
            fail_msg("%s: byte %u of the vector state differs", scene->name, i);
    }
}

static void compare_memory(const struct scene *scene, const struct guest *a, const struct guest *b)
{
    if (memcmp(a->ram, b->ram, GUEST_RAM) == 0)
        return;
    uint64_t at = 0;
    while (a->ram[at] == b->ram[at])
        at++;
    fail_msg("%s: memory at %#lx holds %#x, not %#x", scene->name, at, b->ram[at], a->ram[at]);
}

static void compare_exits(const struct scene *scene, const struct guest *a, const struct guest *b)
{
    if (a->exit.kind != b->exit.kind)
        fail_msg("%s: ended with exit %d, not %d", scene->name, b->exit.kind, a->exit.kind);
    if (a->exit.kind == ENGINE_EXIT_MMIO_READ || a->exit.kind == ENGINE_EXIT_MMIO_WRITE)
        assert_int_equal(a->exit.mmio.gpa, b->exit.mmio.gpa);
}

bool guest_is_translated(const struct guest *guest, uint64_t at)
{
    const struct block *block = code_lookup(guest->soft->code, at, at, guest->cpu->mode);
    return block != NULL && atomic_load(&block->translation) != NULL;
}

static void run_round(struct pair *pair, const struct scene *scene, bool last)
{
    struct guest *plain = pair->plain;
    struct guest *translated = pair->translated;
    const struct engine_segment *segment = pair->segment[scene->user ? 1 : 0];
    prepare(plain, segment, scene);
    prepare(translated, segment, scene);
    guest_start(plain, CODE_AT);
    guest_start(translated, CODE_AT);
    if (last && !scene->interpreted && !guest_is_translated(translated, CODE_AT))
        fail_msg("%s: is not translated", scene->name);
    int expected = guest_run_to_port(plain);
    if (expected != scene->outcome && scene->outcome != PAIR_ANY)
        fail_msg("%s: ended as %d", scene->name, expected);
    int outcome = guest_run_to_port(translated);
    if (outcome != expected)
        fail_msg("%s: ended as %d, not %d", scene->name, outcome, expected);
    if (scene->flags_dead) {
        forget_flags(plain);
        forget_flags(translated);
    }
    compare_exits(scene, plain, translated);
    compare_registers(scene, plain->cpu, translated->cpu);
    compare_vectors(scene, plain->cpu, translated->cpu);
    compare_memory(scene, plain, translated);
}

void pair_write(struct pair *pair, uint64_t at, const void *bytes, size_t length)
{
    guest_write(pair->plain, at, bytes, length);
    guest_write(pair->translated, at, bytes, length);
}

void pair_check(struct pair *pair, const struct scene *scene)
{
    guest_place(pair->plain, CODE_AT, scene->code, scene->length);
    guest_place(pair->translated, CODE_AT, scene->code, scene->length);
    for (unsigned round = 0; round < ROUNDS; round++)
        run_round(pair, scene, round == ROUNDS - 1);
}

void pair_check_all(struct pair *pair, const struct scene *scenes, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        pair_check(pair, &scenes[i]);
}
