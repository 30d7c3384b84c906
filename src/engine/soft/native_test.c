/* Native instructions with memory operands: bit strings, alignment, MMIO, units that hold state. */
#include "engine/soft/native.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "engine/soft/xsave.h"
#include "tests/harness/soft_fixture.h"

static void use_units(struct guest *g)
{
    g->cpu->cr0 &= ~(uint64_t)(CR0_EM | CR0_TS);
    g->cpu->cr4 |= CR4_OSFXSR | CR4_OSXMMEXCPT;
}

static void bit_strings_reach_both_ways(void **state)
{
    struct guest *g = *state;
    memset(g->ram + DATA_AT, 0, 64);
    g->cpu->gpr[GPR_RBX] = DATA_AT + 32;
    g->cpu->gpr[GPR_RAX] = 70;
    assert_int_equal(TRY(g, "\x48\x0f\xab\x03"), PORT_DONE); /* bts [rbx], rax */
    assert_int_equal(guest_read64(g, DATA_AT + 40), 1 << 6);
    assert_int_equal(g->cpu->flags & FLAG_CF, 0);
    g->cpu->gpr[GPR_RAX] = UINT64_C(-3);
    assert_int_equal(TRY(g, "\x48\x0f\xab\x03"), PORT_DONE);
    assert_int_equal(guest_read64(g, DATA_AT + 24), UINT64_C(1) << 61);
    g->cpu->gpr[GPR_RAX] = UINT64_C(0xdeadbeef0000fffd);     /* 16 bits count */
    assert_int_equal(TRY(g, "\x66\x0f\xa3\x03"), PORT_DONE); /* bt [rbx], ax */
    assert_int_equal(g->cpu->flags & FLAG_CF, FLAG_CF);
    assert_int_equal(g->cpu->gpr[GPR_RAX], UINT64_C(0xdeadbeef0000fffd));
}

static void locked_instructions_on_memory(void **state)
{
    struct guest *g = *state;
    guest_write64(g, DATA_AT, 5);
    guest_write64(g, DATA_AT + 8, 6);
    g->cpu->gpr[GPR_RBX] = 7;
    g->cpu->gpr[GPR_RCX] = 8;
    g->cpu->gpr[GPR_RAX] = 5;
    g->cpu->gpr[GPR_RDX] = 6;
    g->cpu->gpr[GPR_RSI] = DATA_AT;
    assert_int_equal(TRY(g, "\xf0\x48\x0f\xc7\x0e"), PORT_DONE); /* lock cmpxchg16b [rsi] */
    assert_int_equal(guest_read64(g, DATA_AT), 7);
    assert_int_equal(guest_read64(g, DATA_AT + 8), 8);
    assert_int_equal(g->cpu->flags & FLAG_ZF, FLAG_ZF);
    assert_int_equal(TRY(g, "\xf0\x48\x0f\xc7\x0e"), PORT_DONE);
    assert_int_equal(g->cpu->gpr[GPR_RAX], 7);
    assert_int_equal(g->cpu->gpr[GPR_RDX], 8);
    g->cpu->gpr[GPR_RSI] = DATA_AT + 8;
    assert_int_equal(TRY(g, "\xf0\x48\x0f\xc7\x0e"), VECTOR_GP); /* misaligned */
}

static void misalignment_comes_before_the_page(void **state)
{
    struct guest *g = *state;
    use_units(g);
    guest_map(g, DATA_AT + 0x1000, 0);
    g->cpu->gpr[GPR_RBX] = DATA_AT + 0x1001;
    assert_int_equal(TRY(g, "\x0f\x28\x03"), VECTOR_GP);     /* movaps xmm0, [rbx] */
    assert_int_equal(TRY(g, "\x66\x0f\xfe\x03"), VECTOR_GP); /* paddd xmm0, [rbx] */
    assert_int_equal(TRY(g, "\x0f\x10\x03"), VECTOR_PF);     /* movups xmm0, [rbx] */
    g->cpu->gpr[GPR_RBX] = DATA_AT + 0x1000;
    assert_int_equal(TRY(g, "\x0f\x28\x03"), VECTOR_PF);
    assert_int_equal(g->cpu->cr2, DATA_AT + 0x1000);
}

/* The answer to an MMIO read makes the instruction run again: its effects must not add up. */
static void mmio_operands(void **state)
{
    struct guest *g = *state;
    g->cpu->gpr[GPR_RBX] = MMIO_LINEAR + 8;
    g->cpu->gpr[GPR_RAX] = 100;
    PLACE(g, CODE_AT, "\x48\x0f\xc1\x03"); /* xadd [rbx], rax */
    guest_start(g, CODE_AT);
    assert_int_equal(guest_run(g), ENGINE_EXIT_MMIO_READ);
    assert_int_equal(g->exit.mmio.gpa, MMIO_GPA + 8);
    g->exit.mmio.value = 11;
    assert_int_equal(guest_run(g), ENGINE_EXIT_MMIO_WRITE);
    assert_int_equal(g->exit.mmio.value, 111);
    assert_int_equal(guest_run_to_port(g), PORT_DONE);
    assert_int_equal(g->cpu->gpr[GPR_RAX], 11);
}

static void x87_stores_to_mmio_pop_once(void **state)
{
    struct guest *g = *state;
    use_units(g);
    g->cpu->gpr[GPR_RBX] = MMIO_LINEAR;
    PLACE(g, CODE_AT,
          "\xdb\xe3\xd9\xe8\xd9\xee\xdd\x1b"); /* fninit; fld1; fldz; fstp qword [rbx] */
    guest_start(g, CODE_AT);
    enum engine_exit_kind kind = guest_run(g);
    while (kind == ENGINE_EXIT_MMIO_READ)
        kind = guest_run(g);
    assert_int_equal(kind, ENGINE_EXIT_MMIO_WRITE);
    assert_int_equal(g->exit.mmio.value, 0);
    assert_int_equal(guest_run_to_port(g), PORT_DONE);
    assert_int_equal(xsave_get(g->cpu->xsave, XSAVE_FTW, 1), 0x80); /* 1.0 is left */
    assert_int_equal(xsave_get(g->cpu->xsave, XSAVE_ST + 8, 2), 0x3fff);
}

static void cache_line_instructions_fault_as_loads_do(void **state)
{
    struct guest *g = *state;
    guest_map(g, DATA_AT + 0x1000, 0);
    g->cpu->gpr[GPR_RBX] = DATA_AT + 0xfff;
    assert_int_equal(TRY(g, "\x0f\xae\x3b"), PORT_DONE); /* clflush [rbx] */
    g->cpu->gpr[GPR_RBX] = DATA_AT + 0x1000;
    assert_int_equal(TRY(g, "\x0f\xae\x3b"), VECTOR_PF);
    assert_int_equal(TRY(g, "\x66\x0f\xae\x3b"), VECTOR_PF); /* clflushopt */
    assert_int_equal(guest_frame(g, 0), 0);
    g->cpu->gpr[GPR_RBX] = UINT64_C(0x8000000000000000);
    assert_int_equal(TRY(g, "\x0f\xae\x3b"), VECTOR_GP);
}

static void conversions_without_vector_registers_use_mxcsr(void **state)
{
    struct guest *g = *state;
    use_units(g);
    guest_write64(g, DATA_AT, 0x3fc00000); /* 1.5f */
    g->cpu->gpr[GPR_RBX] = DATA_AT;
    xsave_put(g->cpu->xsave, XSAVE_MXCSR, 4, MXCSR_DEFAULT);
    assert_int_equal(TRY(g, "\xf3\x0f\x2c\x03"), PORT_DONE); /* cvttss2si eax, [rbx] */
    assert_int_equal(g->cpu->gpr[GPR_RAX], 1);
    assert_int_equal(xsave_get(g->cpu->xsave, XSAVE_MXCSR, 4), MXCSR_DEFAULT | 0x20);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, guest_setup, guest_teardown)
    const struct CMUnitTest tests[] = {
        TEST(bit_strings_reach_both_ways),
        TEST(locked_instructions_on_memory),
        TEST(misalignment_comes_before_the_page),
        TEST(mmio_operands),
        TEST(x87_stores_to_mmio_pop_once),
        TEST(cache_line_instructions_fault_as_loads_do),
        TEST(conversions_without_vector_registers_use_mxcsr),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
