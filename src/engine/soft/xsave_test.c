/* XSAVE, XRSTOR, FXSAVE, FXRSTOR in guest memory: formats, init states, refusals. */
#include "engine/soft/xsave.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "engine/soft/partition.h"
#include "tests/harness/soft_fixture.h"

enum { AREA = DATA_AT + 0x100 * 64, AREA_SIZE = 832 };

#define XSAVE_RBX    "\x0f\xae\x23"
#define XSAVEOPT_RBX "\x0f\xae\x33"
#define XSAVEC_RBX   "\x0f\xc7\x23"
#define XRSTOR_RBX   "\x0f\xae\x2b"
#define FXSAVE_RBX   "\x0f\xae\x03"
#define FXRSTOR_RBX  "\x0f\xae\x0b"

static void use(struct guest *g, uint64_t mask)
{
    struct cpu *cpu = g->cpu;
    cpu->cr0 &= ~(uint64_t)(CR0_EM | CR0_TS);
    cpu->cr4 |= CR4_OSFXSR | CR4_OSXSAVE;
    cpu->xcr0 = g->soft->xcr0_supported;
    cpu->gpr[GPR_RAX] = mask;
    cpu->gpr[GPR_RDX] = 0;
    cpu->gpr[GPR_RBX] = AREA;
    memset(cpu->xsave, 0, sizeof(cpu->xsave));
    xsave_put(cpu->xsave, XSAVE_FCW, 2, 0x37f);
    xsave_put(cpu->xsave, XSAVE_MXCSR, 4, 0x1fa0);
    xsave_put(cpu->xsave, XSAVE_XMM + 16, 8, 0x1111222233334444);
    xsave_put(cpu->xsave, XSAVE_STATES, 8, XSTATE_SSE);
    memset(g->ram + AREA, 0xee, AREA_SIZE);
}

static uint64_t area(const struct guest *g, unsigned offset, unsigned size)
{
    return xsave_get(g->ram + AREA, offset, size);
}

static void clear_header(struct guest *g, uint64_t states)
{
    memset(g->ram + AREA, 0, AREA_SIZE);
    xsave_put(g->ram + AREA, XSAVE_FCW, 2, 0x37f);
    xsave_put(g->ram + AREA, XSAVE_MXCSR, 4, MXCSR_DEFAULT);
    xsave_put(g->ram + AREA, XSAVE_STATES, 8, states);
}

static void xsave_writes_what_was_asked_for(void **state)
{
    struct guest *g = *state;
    use(g, XSTATE_SSE);
    g->ram[AREA + XSAVE_STATES] = 0xf8 | XSTATE_X87;
    assert_int_equal(TRY(g, XSAVE_RBX), PORT_DONE);
    assert_int_equal(area(g, XSAVE_XMM + 16, 8), 0x1111222233334444);
    assert_int_equal(area(g, XSAVE_MXCSR, 4), 0x1fa0);
    assert_int_equal(area(g, XSAVE_MXCSR_MASK, 4), 0xffff);
    assert_int_equal(area(g, XSAVE_FCW, 8), UINT64_C(0xeeeeeeeeeeeeeeee)); /* x87 not asked for */
    assert_int_equal(area(g, XSAVE_STATES, 1), 0xf8 | XSTATE_X87 | XSTATE_SSE);
    assert_int_equal(area(g, XSAVE_COMPACT, 8), UINT64_C(0xeeeeeeeeeeeeeeee));
}

static void xsaveopt_leaves_out_what_is_initial(void **state)
{
    struct guest *g = *state;
    use(g, XSTATE_SSE | XSTATE_AVX);
    assert_int_equal(TRY(g, XSAVEOPT_RBX), PORT_DONE);
    assert_int_equal(area(g, XSAVE_STATES, 1) & 7, XSTATE_SSE);
    if (g->soft->xcr0_supported & XSTATE_AVX)
        assert_int_equal(area(g, XSAVE_AVX_OFFSET, 8), UINT64_C(0xeeeeeeeeeeeeeeee));
}

static void xsavec_is_compact(void **state)
{
    struct guest *g = *state;
    use(g, XSTATE_X87 | XSTATE_SSE);
    assert_int_equal(TRY(g, XSAVEC_RBX), PORT_DONE);
    assert_int_equal(area(g, XSAVE_COMPACT, 8), UINT64_C(0x8000000000000003));
    assert_int_equal(area(g, XSAVE_STATES, 8), XSTATE_SSE);
    memset(g->cpu->xsave, 0, sizeof(g->cpu->xsave));
    /* The rest of the header is not XSAVEC's to write, but XRSTOR wants it clear. */
    memset(g->ram + AREA + XSAVE_COMPACT + 8, 0, 48);
    assert_int_equal(TRY(g, XRSTOR_RBX), PORT_DONE);
    assert_int_equal(xsave_get(g->cpu->xsave, XSAVE_XMM + 16, 8), 0x1111222233334444);
    assert_int_equal(xsave_get(g->cpu->xsave, XSAVE_MXCSR, 4), 0x1fa0);
}

static void xrstor_initialises_what_the_area_lacks(void **state)
{
    struct guest *g = *state;
    use(g, XSTATE_SSE);
    clear_header(g, 0);
    xsave_put(g->ram + AREA, XSAVE_XMM + 16, 8, 5);
    assert_int_equal(TRY(g, XRSTOR_RBX), PORT_DONE);
    assert_int_equal(xsave_get(g->cpu->xsave, XSAVE_XMM + 16, 8), 0);
    assert_int_equal(xsave_get(g->cpu->xsave, XSAVE_MXCSR, 4), MXCSR_DEFAULT);
}

static void areas_may_cross_pages(void **state)
{
    struct guest *g = *state;
    use(g, XSTATE_SSE);
    g->cpu->gpr[GPR_RBX] = DATA_AT + 0x1000 - 192;
    guest_map(g, DATA_AT + 0x1000, (DATA_AT + 0x8000) | PAGE_P | PAGE_W | PAGE_U);
    memset(g->ram + DATA_AT + 0x8000, 0, 0x1000);
    assert_int_equal(TRY(g, XSAVE_RBX), PORT_DONE);
    assert_int_equal(guest_read64(g, DATA_AT + 0x1000 - 192 + XSAVE_XMM + 16), 0x1111222233334444);
    assert_int_equal(guest_read64(g, DATA_AT + 0x8000 + XSAVE_STATES - 192), XSTATE_SSE);
}

static void bad_areas_are_refused(void **state)
{
    static const struct {
        unsigned offset;
        uint64_t value;
    } cases[] = {
        {XSAVE_STATES, 1 << 9},                        /* not in XCR0 */
        {XSAVE_COMPACT, 1},                            /* standard form: must be 0 */
        {XSAVE_COMPACT + 8, 1},                        /* so must this */
        {XSAVE_COMPACT, UINT64_C(0x8000000000000200)}, /* compact form: not in XCR0 */
        {XSAVE_MXCSR, 0x20000},                        /* reserved bit, whatever the host has */
    };
    struct guest *g = *state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        use(g, XSTATE_X87 | XSTATE_SSE);
        clear_header(g, 0);
        xsave_put(g->ram + AREA, cases[i].offset, 8, cases[i].value);
        assert_int_equal(TRY(g, XRSTOR_RBX), VECTOR_GP);
        assert_int_equal(guest_frame(g, 1), CODE_AT);
        assert_int_equal(xsave_get(g->cpu->xsave, XSAVE_XMM + 16, 8), 0x1111222233334444);
    }
    /* The standard form has 16 zero bytes, the compact one 48. */
    use(g, XSTATE_SSE);
    clear_header(g, 0);
    xsave_put(g->ram + AREA, XSAVE_COMPACT + 16, 8, 1);
    assert_int_equal(TRY(g, XRSTOR_RBX), PORT_DONE);
    xsave_put(g->ram + AREA, XSAVE_COMPACT, 8, UINT64_C(0x8000000000000003));
    g->cpu->gpr[GPR_RAX] = XSTATE_SSE;
    assert_int_equal(TRY(g, XRSTOR_RBX), VECTOR_GP);
}

static void availability_and_alignment(void **state)
{
    struct guest *g = *state;
    use(g, XSTATE_SSE);
    g->cpu->gpr[GPR_RBX] = AREA + 16;
    assert_int_equal(TRY(g, XSAVE_RBX), VECTOR_GP);
    g->cpu->gpr[GPR_RBX] = AREA + 8;
    assert_int_equal(TRY(g, FXSAVE_RBX), VECTOR_GP);
    g->cpu->gpr[GPR_RBX] = AREA;
    g->cpu->cr0 |= CR0_TS;
    assert_int_equal(TRY(g, XSAVE_RBX), VECTOR_NM);
    assert_int_equal(TRY(g, XRSTOR_RBX), VECTOR_NM);
    assert_int_equal(TRY(g, FXSAVE_RBX), VECTOR_NM);
    g->cpu->cr0 &= ~(uint64_t)CR0_TS;
    g->cpu->cr4 &= ~(uint64_t)CR4_OSXSAVE;
    assert_int_equal(TRY(g, XSAVE_RBX), VECTOR_UD);
    assert_int_equal(TRY(g, FXSAVE_RBX), PORT_DONE);
    g->cpu->cr0 |= CR0_EM;
    assert_int_equal(TRY(g, FXRSTOR_RBX), VECTOR_NM);
}

static void fxsave_leaves_the_software_bytes(void **state)
{
    struct guest *g = *state;
    use(g, 0);
    assert_int_equal(TRY(g, FXSAVE_RBX), PORT_DONE);
    assert_int_equal(area(g, XSAVE_FCW, 2), 0x37f);
    assert_int_equal(area(g, XSAVE_MXCSR, 4), 0x1fa0);
    assert_int_equal(area(g, XSAVE_XMM + 16, 8), 0x1111222233334444);
    assert_int_equal(area(g, 416, 8), UINT64_C(0xeeeeeeeeeeeeeeee));
    xsave_put(g->ram + AREA, XSAVE_MXCSR, 4, 0x1f80 | 1 << 17);
    assert_int_equal(TRY(g, FXRSTOR_RBX), VECTOR_GP);
    xsave_put(g->ram + AREA, XSAVE_MXCSR, 4, 0x1f80);
    xsave_put(g->ram + AREA, XSAVE_XMM, 8, 77);
    assert_int_equal(TRY(g, FXRSTOR_RBX), PORT_DONE);
    assert_int_equal(xsave_get(g->cpu->xsave, XSAVE_XMM, 8), 77);
}

static void without_osfxsr_fxsave_is_for_x87_only(void **state)
{
    struct guest *g = *state;
    use(g, 0);
    g->cpu->cr4 &= ~(uint64_t)CR4_OSFXSR;
    assert_int_equal(TRY(g, FXSAVE_RBX), PORT_DONE);
    assert_int_equal(area(g, XSAVE_XMM + 16, 8), UINT64_C(0xeeeeeeeeeeeeeeee));
}

/* Only XMM0 to XMM7 exist outside 64-bit code; the others keep their values. */
static void protected_mode_has_eight_registers(void **state)
{
    struct guest *g = *state;
    guest_use_protected(g, 0);
    use(g, XSTATE_SSE);
    xsave_put(g->cpu->xsave, XSAVE_XMM + 16 * 8, 8, 88);
    assert_int_equal(TRY(g, XSAVE_RBX), PORT_DONE);
    assert_int_equal(area(g, XSAVE_XMM + 16, 8), 0x1111222233334444);
    assert_int_equal(area(g, XSAVE_XMM + 16 * 8, 8), UINT64_C(0xeeeeeeeeeeeeeeee));
    clear_header(g, 0);
    g->cpu->gpr[GPR_RAX] = XSTATE_SSE;
    assert_int_equal(TRY(g, XRSTOR_RBX), PORT_DONE);
    assert_int_equal(xsave_get(g->cpu->xsave, XSAVE_XMM + 16, 8), 0);
    assert_int_equal(xsave_get(g->cpu->xsave, XSAVE_XMM + 16 * 8, 8), 88);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, guest_setup, guest_teardown)
    const struct CMUnitTest tests[] = {
        TEST(xsave_writes_what_was_asked_for),
        TEST(xsaveopt_leaves_out_what_is_initial),
        TEST(xsavec_is_compact),
        TEST(xrstor_initialises_what_the_area_lacks),
        TEST(areas_may_cross_pages),
        TEST(bad_areas_are_refused),
        TEST(availability_and_alignment),
        TEST(fxsave_leaves_the_software_bytes),
        TEST(without_osfxsr_fxsave_is_for_x87_only),
        TEST(protected_mode_has_eight_registers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
