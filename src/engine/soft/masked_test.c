/* Masked moves and gathers: what is not selected is not touched, and faults keep what was done. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "engine/soft/native.h"
#include "engine/soft/partition.h"
#include "engine/soft/xsave.h"
#include "tests/harness/soft_fixture.h"

enum { GOOD = DATA_AT, BAD = DATA_AT + 0x1000 };

static void put_vector(struct guest *g, unsigned number, const uint32_t lanes[8])
{
    memcpy(g->cpu->xsave + XSAVE_XMM + (size_t)16 * number, lanes, 16);
    memcpy(g->cpu->xsave + XSAVE_AVX_OFFSET + (size_t)16 * number, lanes + 4, 16);
    xsave_put(g->cpu->xsave, XSAVE_STATES, 8, 7);
}

static uint32_t lane(const struct guest *g, unsigned number, unsigned i)
{
    unsigned at =
        i < 4 ? XSAVE_XMM + 16 * number + 4 * i : XSAVE_AVX_OFFSET + 16 * number + 4 * (i - 4);
    return (uint32_t)xsave_get(g->cpu->xsave, at, 4);
}

/* The page after GOOD is missing; false when this host has no AVX2. */
static bool use(struct guest *g)
{
    g->cpu->cr0 &= ~(uint64_t)(CR0_EM | CR0_TS);
    g->cpu->cr4 |= CR4_OSFXSR | CR4_OSXSAVE;
    g->cpu->xcr0 = g->soft->xcr0_supported;
    guest_map(g, BAD, 0);
    for (uint32_t i = 0; i < 1024; i++)
        memcpy(g->ram + GOOD + 4 * (size_t)i, &i, 4);
    return cpuid_shows(g->soft, ZYDIS_ISA_SET_AVX2);
}

static const uint32_t first_two[8] = {0x80000000, 0xffffffff, 0, 1, 0, 0, 0, 0x7fffffff};

static void masked_load_touches_selected_elements(void **state)
{
    struct guest *g = *state;
    if (!use(g))
        skip();
    put_vector(g, 1, first_two);
    put_vector(g, 2, (const uint32_t[8]){9, 9, 9, 9, 9, 9, 9, 9});
    g->cpu->gpr[GPR_RBX] = BAD - 8;
    assert_int_equal(TRY(g, "\xc4\xe2\x75\x8c\x13"), PORT_DONE); /* vpmaskmovd ymm2, ymm1, [rbx] */
    assert_int_equal(lane(g, 2, 0), 1022);
    assert_int_equal(lane(g, 2, 1), 1023);
    for (unsigned i = 2; i < 8; i++)
        assert_int_equal(lane(g, 2, i), 0);
    g->cpu->gpr[GPR_RBX] = BAD - 4;
    assert_int_equal(TRY(g, "\xc4\xe2\x75\x8c\x13"), VECTOR_PF);
    assert_int_equal(g->cpu->cr2, BAD);
    assert_int_equal(lane(g, 2, 0), 1022);
}

static void masked_store_is_all_or_nothing(void **state)
{
    struct guest *g = *state;
    if (!use(g))
        skip();
    put_vector(g, 1, first_two);
    put_vector(g, 2, (const uint32_t[8]){70, 71, 72, 73, 74, 75, 76, 77});
    g->cpu->gpr[GPR_RBX] = BAD - 4;
    assert_int_equal(TRY(g, "\xc4\xe2\x75\x8e\x13"), VECTOR_PF); /* vpmaskmovd [rbx], ymm1, ymm2 */
    assert_int_equal(guest_read32(g, BAD - 4), 1023);
    g->cpu->gpr[GPR_RBX] = BAD - 8;
    assert_int_equal(TRY(g, "\xc4\xe2\x75\x8e\x13"), PORT_DONE);
    assert_int_equal(guest_read32(g, BAD - 8), 70);
    assert_int_equal(guest_read32(g, BAD - 4), 71);
    g->cpu->gpr[GPR_RBX] = GOOD;
    assert_int_equal(TRY(g, "\xc4\xe2\x75\x8e\x13"), PORT_DONE);
    assert_int_equal(guest_read32(g, GOOD + 4), 71);
    assert_int_equal(guest_read32(g, GOOD + 8), 2);
}

static void byte_masks_go_to_rdi(void **state)
{
    struct guest *g = *state;
    (void)use(g);
    put_vector(g, 1, (const uint32_t[8]){0x80, 0x80000000, 0, 0, 0, 0, 0, 0});
    put_vector(g, 2, (const uint32_t[8]){0x11223344, 0x55667788, 0, 0, 0, 0, 0, 0});
    g->cpu->gpr[GPR_RDI] = GOOD + 5;
    assert_int_equal(TRY(g, "\x66\x0f\xf7\xd1"), PORT_DONE); /* maskmovdqu xmm2, xmm1 */
    assert_int_equal(g->ram[GOOD + 5], 0x44);
    assert_int_equal(g->ram[GOOD + 6], 0);
    assert_int_equal(g->ram[GOOD + 12], 0x55);
}

/* MMX registers lie in the x87 stack wherever its top is, and the instruction resets the top. */
static void mmx_byte_masks(void **state)
{
    struct guest *g = *state;
    (void)use(g);
    guest_write64(g, GOOD, UINT64_C(0x8000000000000080));
    guest_write64(g, GOOD + 8, UINT64_C(0xa1a2a3a4a5a6a7a8));
    guest_write64(g, GOOD + 16, 0);
    g->cpu->gpr[GPR_RBX] = GOOD;
    g->cpu->gpr[GPR_RDI] = GOOD + 16;
    /* fninit; movq mm1, [rbx]; movq mm2, [rbx+8]; fincstp; maskmovq mm2, mm1 */
    assert_int_equal(TRY(g, "\xdb\xe3\x0f\x6f\x0b\x0f\x6f\x53\x08\xd9\xf7\x0f\xf7\xd1"), PORT_DONE);
    assert_int_equal(guest_read64(g, GOOD + 16), UINT64_C(0xa1000000000000a8));
    assert_int_equal(xsave_get(g->cpu->xsave, XSAVE_FSW, 2) & 0x3800, 0);
    assert_int_equal(xsave_get(g->cpu->xsave, XSAVE_FTW, 1), 0xff);
}

static void gather_takes_elements_from_everywhere(void **state)
{
    struct guest *g = *state;
    if (!use(g))
        skip();
    put_vector(g, 1, (const uint32_t[8]){~0u, 0, ~0u, ~0u, ~0u, ~0u, 0, ~0u});        /* mask */
    put_vector(g, 2, (const uint32_t[8]){3, 1000000, 500, (uint32_t)-2, 0, 1, 9, 7}); /* index */
    put_vector(g, 3, (const uint32_t[8]){90, 91, 92, 93, 94, 95, 96, 97});
    g->cpu->gpr[GPR_RBX] = GOOD + 64;
    assert_int_equal(TRY(g, "\xc4\xe2\x75\x90\x1c\x93"),
                     PORT_DONE); /* vpgatherdd ymm3, [rbx+ymm2*4], ymm1 */
    const uint32_t expected[8] = {19, 91, 516, 14, 16, 17, 96, 23};
    for (unsigned i = 0; i < 8; i++) {
        assert_int_equal(lane(g, 3, i), expected[i]);
        assert_int_equal(lane(g, 1, i), 0);
    }
}

static void a_faulting_gather_keeps_what_it_has(void **state)
{
    struct guest *g = *state;
    if (!use(g))
        skip();
    put_vector(g, 1, (const uint32_t[8]){~0u, ~0u, ~0u, ~0u, ~0u, ~0u, ~0u, ~0u});
    put_vector(g, 2, (const uint32_t[8]){0, 1, 1024, 3, 4, 5, 6, 7});
    put_vector(g, 3, (const uint32_t[8]){90, 91, 92, 93, 94, 95, 96, 97});
    g->cpu->gpr[GPR_RBX] = GOOD;
    assert_int_equal(TRY(g, "\xc4\xe2\x75\x90\x1c\x93"), VECTOR_PF);
    assert_int_equal(g->cpu->cr2, BAD);
    const uint32_t partly[8] = {0, 1, 92, 93, 94, 95, 96, 97};
    for (unsigned i = 0; i < 8; i++) {
        assert_int_equal(lane(g, 3, i), partly[i]);
        assert_int_equal(lane(g, 1, i), i < 2 ? 0 : ~0u);
    }
    guest_map(g, BAD, BAD | PAGE_P | PAGE_W | PAGE_U);
    guest_write64(g, BAD, 4711);
    assert_int_equal(TRY(g, "\xc4\xe2\x75\x90\x1c\x93"), PORT_DONE);
    assert_int_equal(lane(g, 3, 2), 4711);
    assert_int_equal(lane(g, 3, 7), 7);
}

/* Four 64-bit indices, four 32-bit elements: the upper half of target and mask becomes 0. */
static void gather_with_wide_indices(void **state)
{
    struct guest *g = *state;
    if (!use(g))
        skip();
    put_vector(g, 1, (const uint32_t[8]){~0u, ~0u, 0, ~0u, ~0u, ~0u, ~0u, ~0u});
    put_vector(g, 2, (const uint32_t[8]){5, 0, 6, 0, 7, 0, 0xffffffff, 0xffffffff});
    put_vector(g, 3, (const uint32_t[8]){90, 91, 92, 93, 94, 95, 96, 97});
    g->cpu->gpr[GPR_RBX] = GOOD + 4;
    assert_int_equal(TRY(g, "\xc4\xe2\x75\x91\x1c\x93"),
                     PORT_DONE); /* vpgatherqd xmm3, [rbx+ymm2*4], xmm1 */
    const uint32_t expected[8] = {6, 7, 92, 0, 0, 0, 0, 0};
    for (unsigned i = 0; i < 8; i++)
        assert_int_equal(lane(g, 3, i), expected[i]);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, guest_setup, guest_teardown)
    const struct CMUnitTest tests[] = {
        TEST(masked_load_touches_selected_elements),
        TEST(masked_store_is_all_or_nothing),
        TEST(byte_masks_go_to_rdi),
        TEST(mmx_byte_masks),
        TEST(gather_takes_elements_from_everywhere),
        TEST(a_faulting_gather_keeps_what_it_has),
        TEST(gather_with_wide_indices),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
