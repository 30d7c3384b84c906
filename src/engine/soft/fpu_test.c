/* State that is live or not, reset values, MXCSR, XCR0. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "engine/soft/partition.h"
#include "engine/soft/xsave.h"
#include "tests/harness/soft_fixture.h"

static void use_units(struct guest *g)
{
    g->cpu->cr0 &= ~(uint64_t)(CR0_EM | CR0_TS);
    g->cpu->cr4 |= CR4_OSFXSR | CR4_OSXSAVE;
}

static void reset_values(void **state)
{
    struct guest *g = *state;
    fpu_reset(g->cpu, false);
    assert_int_equal(xsave_get(g->cpu->xsave, XSAVE_FCW, 2), 0x40);
    assert_int_equal(xsave_get(g->cpu->xsave, XSAVE_FTW, 1), 0xff);
    assert_int_equal(xsave_get(g->cpu->xsave, XSAVE_MXCSR, 4), MXCSR_DEFAULT);
    assert_int_equal(g->cpu->xcr0, 1);
    xsave_put(g->cpu->xsave, XSAVE_XMM, 8, 5);
    g->cpu->xcr0 = 3;
    fpu_reset(g->cpu, true); /* INIT changes nothing */
    assert_int_equal(xsave_get(g->cpu->xsave, XSAVE_XMM, 8), 5);
    assert_int_equal(g->cpu->xcr0, 3);
}

/* Whatever a caller put into the area, the host's XRSTOR must take it. */
static void hostile_areas_are_made_valid(void **state)
{
    struct guest *g = *state;
    uint8_t *area = g->cpu->xsave;
    for (unsigned i = 0; i < sizeof(g->cpu->xsave); i++)
        area[i] = 0xff;
    fpu_to_image(g->cpu);
    assert_int_equal(xsave_get(area, XSAVE_STATES, 8) & ~g->soft->xcr0_supported, 0);
    assert_int_equal(xsave_get(area, XSAVE_MXCSR, 4) & ~UINT64_C(0xffff), 0);
    assert_int_equal(xsave_get(area, XSAVE_COMPACT, 8), 0);
}

static void mxcsr_has_no_bits_of_the_host(void **state)
{
    struct guest *g = *state;
    use_units(g);
    guest_write64(g, DATA_AT, 0x1f80 | 1 << 17);
    g->cpu->gpr[GPR_RBX] = DATA_AT;
    assert_int_equal(TRY(g, "\x0f\xae\x13"), VECTOR_GP); /* ldmxcsr [rbx] */
    guest_write64(g, DATA_AT, 0x7fc0);
    assert_int_equal(TRY(g, "\x0f\xae\x13"), PORT_DONE);
    assert_int_equal(TRY(g, "\x0f\xae\x5b\x08"), PORT_DONE); /* stmxcsr [rbx+8] */
    assert_int_equal(guest_read32(g, DATA_AT + 8), 0x7fc0);
    g->cpu->cr4 &= ~(uint64_t)CR4_OSFXSR;
    assert_int_equal(TRY(g, "\x0f\xae\x13"), VECTOR_UD);
}

static int set_xcr0(struct guest *g, uint64_t index, uint64_t value)
{
    g->cpu->gpr[GPR_RCX] = index;
    g->cpu->gpr[GPR_RAX] = (uint32_t)value;
    g->cpu->gpr[GPR_RDX] = value >> 32;
    return TRY(g, "\x0f\x01\xd1"); /* xsetbv */
}

static void xcr0_takes_what_is_supported(void **state)
{
    struct guest *g = *state;
    use_units(g);
    assert_int_equal(set_xcr0(g, 0, 3), PORT_DONE);
    assert_int_equal(g->cpu->xcr0, 3);
    assert_int_equal(set_xcr0(g, 0, 2), VECTOR_GP); /* x87 must be set */
    assert_int_equal(set_xcr0(g, 0, 5), VECTOR_GP); /* AVX without SSE */
    assert_int_equal(set_xcr0(g, 0, 0xe7), VECTOR_GP);
    assert_int_equal(set_xcr0(g, 0, UINT64_C(1) << 62 | 1), VECTOR_GP);
    assert_int_equal(set_xcr0(g, 1, 1), VECTOR_GP);
    assert_int_equal(g->cpu->xcr0, 3);
    g->cpu->cr4 &= ~(uint64_t)CR4_OSXSAVE;
    assert_int_equal(set_xcr0(g, 0, 1), VECTOR_UD);
}

static void xcr0_is_not_for_users(void **state)
{
    struct guest *g = *state;
    use_units(g);
    guest_use_user(g, 0);
    g->cpu->gpr[GPR_RAX] = 1;
    assert_int_equal(TRY(g, "\x0f\x01\xd1"), VECTOR_GP);
}

static void xgetbv_tells_xcr0_and_what_is_in_use(void **state)
{
    struct guest *g = *state;
    use_units(g);
    g->cpu->xcr0 = 3;
    g->cpu->gpr[GPR_RDX] = 9;
    assert_int_equal(TRY(g, "\x0f\x01\xd0"), PORT_DONE);
    assert_int_equal(g->cpu->gpr[GPR_RAX], 3);
    assert_int_equal(g->cpu->gpr[GPR_RDX], 0);
    xsave_put(g->cpu->xsave, XSAVE_STATES, 8, 0);
    g->cpu->gpr[GPR_RCX] = 1;
    assert_int_equal(TRY(g, "\x0f\x01\xd0"), PORT_DONE);
    assert_int_equal(g->cpu->gpr[GPR_RAX] & XSTATE_SSE, 0);
    g->cpu->gpr[GPR_RCX] = 2;
    assert_int_equal(TRY(g, "\x0f\x01\xd0"), VECTOR_GP);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, guest_setup, guest_teardown)
    const struct CMUnitTest tests[] = {
        TEST(reset_values),
        TEST(hostile_areas_are_made_valid),
        TEST(mxcsr_has_no_bits_of_the_host),
        TEST(xcr0_takes_what_is_supported),
        TEST(xcr0_is_not_for_users),
        TEST(xgetbv_tells_xcr0_and_what_is_in_use),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
