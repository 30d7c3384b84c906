/* The stack: widths, what RSP is on the way, frames, flags by privilege. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "tests/harness/soft_fixture.h"

static void pushes_and_pops_by_width(void **state)
{
    struct guest *g = *state;
    uint64_t *gpr = g->cpu->gpr;
    gpr[GPR_RAX] = UINT64_C(0x1122334455667788);
    guest_write64(g, STACK_TOP - 8, UINT64_MAX);
    assert_int_equal(TRY(g, "\x66\x50"), PORT_DONE); /* push ax */
    assert_int_equal(gpr[GPR_RSP], STACK_TOP - 2);
    assert_int_equal(guest_read64(g, STACK_TOP - 8), UINT64_C(0x7788ffffffffffff));
    gpr[GPR_RAX] = 0;
    assert_int_equal(TRY(g, "\x66\x58"), PORT_DONE); /* pop ax */
    assert_int_equal(gpr[GPR_RAX], 0x7788);
    assert_int_equal(TRY(g, "\x6a\xfe"), PORT_DONE); /* push -2 */
    assert_int_equal(gpr[GPR_RSP], STACK_TOP - 8);
    assert_int_equal(guest_read64(g, STACK_TOP - 8), UINT64_C(0xfffffffffffffffe));
    assert_int_equal(TRY(g, "\x58"), PORT_DONE); /* pop rax */
    assert_int_equal(gpr[GPR_RAX], UINT64_C(0xfffffffffffffffe));
    assert_int_equal(gpr[GPR_RSP], STACK_TOP);
}

static void stack_pointer_as_an_operand(void **state)
{
    struct guest *g = *state;
    uint64_t *rsp = &g->cpu->gpr[GPR_RSP];
    assert_int_equal(TRY(g, "\x54"), PORT_DONE); /* push rsp: its value before */
    assert_int_equal(guest_read64(g, STACK_TOP - 8), STACK_TOP);
    guest_write64(g, STACK_TOP - 8, 0x12340);
    assert_int_equal(TRY(g, "\x5c"), PORT_DONE); /* pop rsp: the value popped */
    assert_int_equal(*rsp, 0x12340);
    *rsp = STACK_TOP - 16;
    guest_write64(g, STACK_TOP - 16, 77);
    assert_int_equal(TRY(g, "\x8f\x04\x24"), PORT_DONE); /* pop [rsp]: RSP already moved */
    assert_int_equal(guest_read64(g, STACK_TOP - 8), 77);
    assert_int_equal(*rsp, STACK_TOP - 8);
    assert_int_equal(TRY(g, "\xff\x34\x24"), PORT_DONE); /* push [rsp]: RSP not yet moved */
    assert_int_equal(guest_read64(g, STACK_TOP - 16), 77);
}

static void faulting_pop_to_memory_keeps_the_stack_pointer(void **state)
{
    struct guest *g = *state;
    guest_map(g, DATA_AT, DATA_AT | PAGE_P);
    g->cpu->gpr[GPR_RBX] = DATA_AT;
    g->cpu->gpr[GPR_RSP] = STACK_TOP - 8;
    assert_int_equal(TRY(g, "\x8f\x03"), VECTOR_PF); /* pop [rbx] */
    assert_int_equal(guest_frame(g, 4), STACK_TOP - 8);
}

static void flags_that_popf_may_change(void **state)
{
    struct guest *g = *state;
    static const struct {
        unsigned iopl, changed;
        bool user;
    } cases[] = {
        {0, FLAG_IF | FLAG_IOPL | FLAG_CF | FLAG_ID, false},
        {0, FLAG_CF | FLAG_ID, true},
        {3, FLAG_IF | FLAG_IOPL | FLAG_CF | FLAG_ID, true}, /* IOPL stays 3 */
    };
    for (unsigned i = 0; i < 3; i++) {
        guest_use_long(g, 0);
        if (cases[i].user)
            guest_use_user(g, 0);
        cpu_set_flags(g->cpu, FLAG_FIXED | cases[i].iopl << 12);
        g->cpu->gpr[GPR_RSP] = STACK_TOP - 8;
        guest_write64(g, STACK_TOP - 8,
                      UINT64_C(0xffffffff00000000) | FLAG_IF | FLAG_IOPL | FLAG_CF | FLAG_ID |
                          FLAG_VM | FLAG_RF | FLAG_VIP | FLAG_VIF);
        /* popfq; pushfq; pop rax; then an exception, as user code may not use ports. */
        assert_int_equal(TRY(g, "\x9d\x9c\x58\x0f\x0b"), VECTOR_UD);
        assert_int_equal(g->cpu->gpr[GPR_RAX], FLAG_FIXED | cases[i].changed);
    }
}

static void popf_of_16_bits_keeps_the_upper_flags(void **state)
{
    struct guest *g = *state;
    cpu_set_flags(g->cpu, FLAG_FIXED | FLAG_ID | FLAG_ZF);
    g->cpu->gpr[GPR_RSP] = STACK_TOP - 2;
    guest_write(g, STACK_TOP - 2, "\x01\x00", 2);
    assert_int_equal(TRY(g, "\x66\x9d"), PORT_DONE); /* popf */
    assert_int_equal(g->cpu->flags, FLAG_FIXED | FLAG_ID | FLAG_CF);
    assert_int_equal(g->cpu->gpr[GPR_RSP], STACK_TOP);
}

/* ---- frames ---- */

static void enter_and_leave(void **state)
{
    struct guest *g = *state;
    uint64_t *gpr = g->cpu->gpr;
    gpr[GPR_RBP] = 0x1234;
    assert_int_equal(TRY(g, "\xc8\x10\x00\x00"), PORT_DONE); /* enter 16, 0 */
    assert_int_equal(gpr[GPR_RBP], STACK_TOP - 8);
    assert_int_equal(gpr[GPR_RSP], STACK_TOP - 24);
    assert_int_equal(guest_read64(g, STACK_TOP - 8), 0x1234);
    assert_int_equal(TRY(g, "\xc9"), PORT_DONE); /* leave */
    assert_int_equal(gpr[GPR_RBP], 0x1234);
    assert_int_equal(gpr[GPR_RSP], STACK_TOP);
}

static void enter_copies_enclosing_frames(void **state)
{
    struct guest *g = *state;
    uint64_t *gpr = g->cpu->gpr;
    gpr[GPR_RBP] = DATA_AT + 0x100;
    guest_write64(g, DATA_AT + 0xf8, 0x111);
    guest_write64(g, DATA_AT + 0xf0, 0x222);
    assert_int_equal(TRY(g, "\xc8\x10\x00\x03"), PORT_DONE); /* enter 16, 3 */
    assert_int_equal(gpr[GPR_RBP], STACK_TOP - 8);
    assert_int_equal(gpr[GPR_RSP], STACK_TOP - 48);
    assert_int_equal(guest_read64(g, STACK_TOP - 8), DATA_AT + 0x100);
    assert_int_equal(guest_read64(g, STACK_TOP - 16), 0x111);
    assert_int_equal(guest_read64(g, STACK_TOP - 24), 0x222);
    assert_int_equal(guest_read64(g, STACK_TOP - 32), STACK_TOP - 8);
}

/* Intel SDM vol. 2, ENTER: #PF when a write at the final stack pointer would fault. */
static void enter_checks_that_its_frame_can_be_written(void **state)
{
    struct guest *g = *state;
    enum { TOP = DATA_AT + 0x1000 };
    g->cpu->gpr[GPR_RSP] = TOP + 16;
    g->cpu->gpr[GPR_RBP] = 5;
    guest_map(g, DATA_AT, DATA_AT | PAGE_P);
    g->cpu->segment[SEGMENT_TR].base = TSS_AT;
    guest_write64(g, TSS_AT + 0x24, STACK_TOP); /* IST1 */
    uint64_t gate = guest_read64(g, IDT_AT + VECTOR_PF * 16);
    guest_write64(g, IDT_AT + VECTOR_PF * 16, gate | UINT64_C(1) << 32);
    assert_int_equal(TRY(g, "\xc8\x10\x00\x00"), VECTOR_PF); /* enter 16, 0 */
    assert_int_equal(guest_frame(g, 0), 3);                  /* a write */
    assert_int_equal(guest_frame(g, 4), TOP + 16);
    assert_int_equal(g->cpu->gpr[GPR_RBP], 5);
}

/* ---- outside 64-bit code ---- */

static void all_registers_at_once(void **state)
{
    struct guest *g = *state;
    guest_use_protected(g, 0);
    uint64_t *gpr = g->cpu->gpr;
    for (unsigned i = 0; i < 8; i++) {
        if (i != GPR_RSP)
            gpr[i] = 0x1000 + i;
    }
    assert_int_equal(TRY(g, "\x60"), PORT_DONE); /* pushad */
    assert_int_equal(gpr[GPR_RSP], STACK_TOP - 32);
    for (unsigned i = 0; i < 8; i++)
        assert_int_equal(guest_read32(g, STACK_TOP - 4 - 4 * i),
                         i == GPR_RSP ? STACK_TOP : 0x1000 + i);
    for (unsigned i = 0; i < 8; i++)
        guest_write(g, STACK_TOP - 32 + 4 * i, &(uint32_t){0x2000 + i}, 4);
    assert_int_equal(TRY(g, "\x61"), PORT_DONE); /* popad */
    assert_int_equal(gpr[GPR_RDI], 0x2000);
    assert_int_equal(gpr[GPR_RAX], 0x2007);
    assert_int_equal(gpr[GPR_RSP], STACK_TOP); /* the value popped is dropped */
}

static void faulting_pusha_keeps_the_stack_pointer(void **state)
{
    struct guest *g = *state;
    guest_use_protected(g, 0);
    g->cpu->segment[SEGMENT_SS].limit = STACK_TOP;
    g->cpu->segment[SEGMENT_SS].attributes |= 4; /* expand-down: valid above the limit only */
    g->cpu->gpr[GPR_RSP] = STACK_TOP + 0x20;
    /* The last of the eight would lie at the limit itself, and so would any frame. */
    assert_int_equal(TRY(g, "\x60"), VECTOR_SS);
    assert_int_equal(g->cpu->gpr[GPR_RSP], STACK_TOP + 0x20 - 16);
    assert_int_equal(guest_read32(g, g->cpu->gpr[GPR_RSP] + 4), CODE_AT);
}

static void sixteen_bit_frames_use_bp_and_sp(void **state)
{
    struct guest *g = *state;
    guest_use_real(g, 0);
    uint64_t *gpr = g->cpu->gpr;
    gpr[GPR_RBP] = 0x77770500;
    gpr[GPR_RSP] = 0x66660600;
    assert_int_equal(TRY(g, "\xc8\x08\x00\x01"), PORT_DONE); /* enter 8, 1 */
    assert_int_equal(gpr[GPR_RBP], 0x777705fe);
    assert_int_equal(gpr[GPR_RSP], 0x666605f4);
    assert_int_equal(guest_read32(g, 0x5fc), 0x050005fe);
    assert_int_equal(TRY(g, "\xc9"), PORT_DONE); /* leave */
    assert_int_equal(gpr[GPR_RBP], 0x77770500);
    assert_int_equal(gpr[GPR_RSP], 0x66660600);
}

static void virtual_8086_code_needs_iopl_3_for_flags(void **state)
{
    struct guest *g = *state;
    guest_use_protected(g, 0);
    struct cpu *cpu = g->cpu;
    enum { RING0_STACK = STACK_TOP };
    guest_write64(g, TSS_AT + 4, (uint64_t)DATA_SELECTOR << 32 | RING0_STACK); /* ESP0, SS0 */
    for (unsigned i = SEGMENT_ES; i <= SEGMENT_GS; i++)
        segment_load_real(cpu, i, 0);
    segment_load_real(cpu, SEGMENT_CS, CODE_AT >> 4);
    cpu->cpl = 3;
    cpu_set_flags(cpu, cpu->flags | FLAG_VM);
    cpu->gpr[GPR_RSP] = 0xf000;
    PLACE(g, CODE_AT, "\x9c"); /* pushf */
    guest_start(g, 0);
    assert_int_equal(guest_run_to_port(g), VECTOR_GP);
    assert_int_equal(cpu->cpl, 0);
    assert_int_equal(guest_read32(g, cpu->gpr[GPR_RSP] + 4), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, guest_setup, guest_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(pushes_and_pops_by_width),
        TEST(stack_pointer_as_an_operand),
        TEST(faulting_pop_to_memory_keeps_the_stack_pointer),
        TEST(flags_that_popf_may_change),
        TEST(popf_of_16_bits_keeps_the_upper_flags),
        TEST(enter_and_leave),
        TEST(enter_copies_enclosing_frames),
        TEST(enter_checks_that_its_frame_can_be_written),
        TEST(all_registers_at_once),
        TEST(faulting_pusha_keeps_the_stack_pointer),
        TEST(sixteen_bit_frames_use_bp_and_sp),
        TEST(virtual_8086_code_needs_iopl_3_for_flags),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
