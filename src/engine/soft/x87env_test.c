/* The environment and its pointers in the four formats that memory may have. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "engine/soft/xsave.h"
#include "tests/harness/soft_fixture.h"

enum { FLDS = DATA_AT, ENVIRONMENT = DATA_AT + 0x100 };

static uint64_t word(const struct guest *g, unsigned offset, unsigned size)
{
    return xsave_get(g->ram + ENVIRONMENT, offset, size);
}

static void use(struct guest *g)
{
    g->cpu->cr0 &= ~(uint64_t)(CR0_EM | CR0_TS);
    g->cpu->gpr[GPR_RBX] = FLDS;
    g->cpu->gpr[GPR_RCX] = ENVIRONMENT;
    memset(g->ram + ENVIRONMENT, 0xee, 128);
}

static void pointers_name_the_last_instruction(void **state)
{
    struct guest *g = *state;
    use(g);
    assert_int_equal(TRY(g, "\xdb\xe3\xd9\x03\xd9\x31"),
                     PORT_DONE); /* fninit; fld [rbx]; fnstenv [rcx] */
    assert_int_equal(word(g, 0, 2), 0x37f);
    assert_int_equal(word(g, 4, 2), 0x3800);
    assert_int_equal(word(g, 12, 4), CODE_AT + 2);
    assert_int_equal(word(g, 16, 4), 0x103u << 16); /* D9 /0 with a ModRM byte of 3; FCS = 0 */
    assert_int_equal(word(g, 20, 4), FLDS);
    assert_int_equal(word(g, 28, 8), UINT64_C(0xeeeeeeeeeeeeeeee));
}

static void storing_masks_exceptions(void **state)
{
    struct guest *g = *state;
    use(g);
    assert_int_equal(TRY(g, "\xdb\xe3\xd9\x31"), PORT_DONE);
    xsave_put(g->ram + ENVIRONMENT, 0, 2, 0x300);            /* all unmasked */
    assert_int_equal(TRY(g, "\xd9\x21\xd9\x31"), PORT_DONE); /* fldenv [rcx]; fnstenv [rcx] */
    assert_int_equal(word(g, 0, 2) & 0x3f, 0);
    assert_int_equal(xsave_get(g->cpu->xsave, XSAVE_FCW, 2) & 0x3f, 0x3f);
}

static void pending_exceptions_come_first(void **state)
{
    struct guest *g = *state;
    use(g);
    assert_int_equal(TRY(g, "\xdb\xe3\xd9\x31"), PORT_DONE);
    xsave_put(g->ram + ENVIRONMENT, 0, 2, 0x37e);            /* invalid operation unmasked */
    xsave_put(g->ram + ENVIRONMENT, 4, 2, 0x81);             /* … and raised */
    assert_int_equal(TRY(g, "\xd9\x21\xd9\x21"), VECTOR_MF); /* fldenv twice */
    assert_int_equal(guest_frame(g, 0), CODE_AT + 2);
    g->cpu->gpr[GPR_RCX] = UINT64_C(0x1234000000000000);
    assert_int_equal(TRY(g, "\xd9\x21"), VECTOR_MF); /* before the bad address */
    assert_int_equal(TRY(g, "\xd8\x01"), VECTOR_MF); /* fadd [rcx] likewise */
    assert_int_equal(TRY(g, "\xd9\x31"), VECTOR_GP); /* fnstenv does not wait */
    assert_int_equal(TRY(g, "\xd9\x39"), VECTOR_GP); /* nor does fnstcw */
}

static void state_goes_out_and_comes_back(void **state)
{
    struct guest *g = *state;
    use(g);
    uint64_t one = UINT64_C(0x3ff0000000000000);
    guest_write64(g, FLDS, one);
    assert_int_equal(TRY(g, "\xdb\xe3\xdd\x03\xdd\x31"), PORT_DONE); /* fld qword; fnsave [rcx] */
    assert_int_equal(word(g, 28 + 8, 2), 0x3fff);                    /* exponent of 1.0 */
    assert_int_equal(xsave_get(g->cpu->xsave, XSAVE_FTW, 1), 0);
    assert_int_equal(xsave_get(g->cpu->xsave, XSAVE_FIP, 8), 0);
    guest_write64(g, FLDS, 0);
    assert_int_equal(TRY(g, "\xdd\x21\xdd\x1b"), PORT_DONE); /* frstor [rcx]; fstp qword [rbx] */
    assert_int_equal(guest_read64(g, FLDS), one);
}

static void sixteen_bit_format(void **state)
{
    struct guest *g = *state;
    use(g);
    assert_int_equal(TRY(g, "\xdb\xe3\xd9\x03\x66\xd9\x31"), PORT_DONE);
    assert_int_equal(word(g, 0, 2), 0x37f);
    assert_int_equal(word(g, 2, 2), 0x3800);
    assert_int_equal(word(g, 6, 2), (CODE_AT + 2) & 0xffff);
    assert_int_equal(word(g, 10, 2), FLDS & 0xffff);
    assert_int_equal(word(g, 14, 2), 0xeeee);
}

static void real_mode_formats_hold_linear_addresses(void **state)
{
    struct guest *g = *state;
    guest_use_real(g, 0);
    use(g);
    segment_load_real(g->cpu, SEGMENT_DS, DATA_AT >> 4);
    g->cpu->gpr[GPR_RBX] = 8;
    g->cpu->gpr[GPR_RDI] = ENVIRONMENT - DATA_AT;
    uint64_t at = g->cpu->rip;
    assert_int_equal(TRY(g, "\xdb\xe3\xd9\x07\xd9\x35"), PORT_DONE); /* fld [bx]; fnstenv [di] */
    uint64_t linear = g->cpu->segment[SEGMENT_CS].base + at + 2;
    assert_int_equal(word(g, 6, 2), linear & 0xffff);
    assert_int_equal(word(g, 8, 2), linear >> 16 << 12 | 0x107);
    assert_int_equal(word(g, 10, 2), (DATA_AT + 8) & 0xffff);
    assert_int_equal(word(g, 12, 2), (DATA_AT + 8) >> 16 << 12);
    assert_int_equal(word(g, 14, 2), 0xeeee);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, guest_setup, guest_teardown)
    const struct CMUnitTest tests[] = {
        TEST(pointers_name_the_last_instruction),
        TEST(storing_masks_exceptions),
        TEST(pending_exceptions_come_first),
        TEST(state_goes_out_and_comes_back),
        TEST(sixteen_bit_format),
        TEST(real_mode_formats_hold_linear_addresses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
