/* Debug registers and breakpoints. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "engine/soft/fixture.h"
#include "engine/soft/memory.h"
#include "engine/soft/ops.h"

static void debug_registers_have_fixed_bits(void **state)
{
    struct machine *m = *state;
    use_protected(m);
    assert_int_equal(debug_write(m->cpu, 6, 0), STEP_NEXT);
    assert_int_equal(m->cpu->dr[6], 0xffff0ff0);
    assert_int_equal(debug_write(m->cpu, 7, 0xffffffff), STEP_NEXT);
    assert_int_equal(m->cpu->dr[7], 0xffff27ff);
    expect_fault(m, debug_write(m->cpu, 7, UINT64_C(1) << 32), VECTOR_GP, 0);
    assert_int_equal(debug_write(m->cpu, 0, UINT64_C(1) << 32), STEP_NEXT);
}

static void data_breakpoints_match_by_overlap(void **state)
{
    struct machine *m = *state;
    struct cpu *cpu = m->cpu;
    use_protected(m);
    assert_int_equal(debug_write(cpu, 0, 0x50002), STEP_NEXT);
    assert_int_equal(debug_write(cpu, 7, 1 | 0x5 << 16), STEP_NEXT); /* write, 2 bytes */
    assert_int_equal(linear_write(cpu, 0x50000, 2, ACCESS_WRITE, 0), STEP_NEXT);
    assert_int_equal(linear_write(cpu, 0x50004, 4, ACCESS_WRITE, 0), STEP_NEXT);
    uint64_t value;
    assert_int_equal(linear_read(cpu, 0x50002, 2, ACCESS_READ, &value), STEP_NEXT);
    assert_int_equal(cpu->debug_trap, 0);
    assert_int_equal(linear_write(cpu, 0x50000, 4, ACCESS_WRITE, 0), STEP_NEXT);
    assert_int_equal(cpu->debug_trap, 1);
    cpu->debug_trap = 0;
    assert_int_equal(debug_write(cpu, 7, 2 | 0xf << 16), STEP_NEXT); /* any access, 4 bytes */
    assert_int_equal(linear_read(cpu, 0x50003, 1, ACCESS_READ, &value), STEP_NEXT);
    assert_int_equal(cpu->debug_trap, 1);
}

static void fetch_breakpoints_match_the_first_byte(void **state)
{
    struct machine *m = *state;
    use_protected(m);
    assert_int_equal(debug_write(m->cpu, 1, CODE), STEP_NEXT);
    assert_int_equal(debug_check_fetch(m->cpu, CODE), 0);
    assert_int_equal(debug_write(m->cpu, 7, 0x8), STEP_NEXT);
    assert_int_equal(debug_check_fetch(m->cpu, CODE), 2);
    assert_int_equal(debug_check_fetch(m->cpu, CODE + 1), 0);
    assert_true(m->cpu->mode & MODE_SINGLE);
    assert_int_equal(debug_write(m->cpu, 7, 0), STEP_NEXT);
    assert_false(m->cpu->mode & MODE_SINGLE);
}

static void debug_register_moves_are_guarded(void **state)
{
    struct machine *m = *state;
    struct op op = make_op(4);
    use_protected(m);
    op.extra = 4;
    assert_int_equal(op_mov_from_dr(m->cpu, &op), STEP_NEXT);
    assert_int_equal(m->cpu->gpr[GPR_RAX], m->cpu->dr[6]);
    m->cpu->cr4 |= CR4_DE;
    expect_undefined(m, op_mov_from_dr(m->cpu, &op));
    op.extra = 7;
    m->cpu->dr[7] |= 1 << 13;
    assert_int_equal(op_mov_to_dr(m->cpu, &op), STEP_FAULT);
    assert_int_equal(m->cpu->fault.vector, VECTOR_DB);
    assert_int_equal(m->cpu->fault.dr6, 1 << 13);
    use_level(m, USER_CODE, USER_DATA);
    expect_fault(m, op_mov_from_dr(m->cpu, &op), VECTOR_GP, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        machine_test(debug_registers_have_fixed_bits),
        machine_test(data_breakpoints_match_by_overlap),
        machine_test(fetch_breakpoints_match_the_first_byte),
        machine_test(debug_register_moves_are_guarded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
