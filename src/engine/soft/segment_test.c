/* Loading segment registers, and looking at descriptors without loading them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "engine/soft/fixture.h"

struct load_case {
    unsigned level; /* CPL, 0 or 3 */
    unsigned index;
    unsigned selector;
    unsigned vector; /* 0 = it loads */
    unsigned code;
};

enum {
    ABSENT_DATA = SCRATCH,
    EXECUTE_ONLY = SCRATCH + 8,
    READ_ONLY = SCRATCH + 16,
    FRESH_DATA = SCRATCH + 24, /* not yet accessed */
};

static void fill_scratch(struct machine *m)
{
    set_gdt(m, ABSENT_DATA, 0, 0xfffff, (DATA_ATTRIBUTES | BIG) & ~SEGMENT_P);
    set_gdt(m, EXECUTE_ONLY, 0, 0xfffff, SEGMENT_P | SEGMENT_S | TYPE_CODE);
    set_gdt(m, READ_ONLY, 0, 0xfffff, SEGMENT_P | SEGMENT_S);
    set_gdt(m, FRESH_DATA, 0x12345678, 0x9abcd, SEGMENT_P | SEGMENT_S | TYPE_WRITABLE | SEGMENT_G);
}

static const struct load_case load_cases[] = {
    {0, SEGMENT_DS, KERNEL_DATA, 0, 0},
    {0, SEGMENT_DS, USER_DATA, 0, 0},
    {0, SEGMENT_DS, USER_DATA & ~3, 0, 0},
    {0, SEGMENT_ES, KERNEL_DATA | 3, VECTOR_GP, KERNEL_DATA}, /* RPL above DPL */
    {3, SEGMENT_DS, KERNEL_DATA, VECTOR_GP, KERNEL_DATA},
    {3, SEGMENT_DS, CONFORMING_CODE | 3, 0, 0},
    {0, SEGMENT_DS, KERNEL_CODE, 0, 0},
    {0, SEGMENT_DS, READ_ONLY, 0, 0},
    {0, SEGMENT_FS, EXECUTE_ONLY, VECTOR_GP, EXECUTE_ONLY},
    {0, SEGMENT_GS, TSS_SELECTOR, VECTOR_GP, TSS_SELECTOR},
    {0, SEGMENT_GS, ABSENT_DATA, VECTOR_NP, ABSENT_DATA},
    {0, SEGMENT_DS, GDT_LIMIT + 1, VECTOR_GP, GDT_LIMIT + 1},
    {0, SEGMENT_DS, 0x0c, VECTOR_GP, 0x0c}, /* no LDT */
    {3, SEGMENT_DS, 0, 0, 0},
    {3, SEGMENT_DS, 3, 0, 0},
    {0, SEGMENT_SS, KERNEL_DATA, 0, 0},
    {0, SEGMENT_SS, 0, VECTOR_GP, 0},
    {0, SEGMENT_SS, KERNEL_DATA | 3, VECTOR_GP, KERNEL_DATA},
    {0, SEGMENT_SS, USER_DATA, VECTOR_GP, USER_DATA & ~3},
    {3, SEGMENT_SS, USER_DATA, 0, 0},
    {3, SEGMENT_SS, USER_DATA & ~3, VECTOR_GP, USER_DATA & ~3},
    {0, SEGMENT_SS, READ_ONLY, VECTOR_GP, READ_ONLY},
    {0, SEGMENT_SS, KERNEL_CODE, VECTOR_GP, KERNEL_CODE},
    {0, SEGMENT_SS, ABSENT_DATA, VECTOR_SS, ABSENT_DATA},
};

static void loads_are_checked(void **state)
{
    struct machine *m = *state;
    use_protected(m);
    fill_scratch(m);
    m->cpu->segment[SEGMENT_LDTR] = segment_null(0, 0);
    for (size_t i = 0; i < sizeof(load_cases) / sizeof(load_cases[0]); i++) {
        const struct load_case *c = &load_cases[i];
        bool user = c->level == 3;
        use_level(m, user ? USER_CODE : KERNEL_CODE, user ? USER_DATA : KERNEL_DATA);
        uint16_t before = m->cpu->segment[c->index].selector;
        int step = segment_load(m->cpu, c->index, (uint16_t)c->selector);
        if (c->vector == 0) {
            assert_int_equal(step, STEP_NEXT);
            assert_int_equal(m->cpu->segment[c->index].selector, c->selector);
        } else {
            expect_fault(m, step, c->vector, c->code);
            assert_int_equal(m->cpu->segment[c->index].selector, before);
        }
    }
}

static void load_decodes_and_marks_accessed(void **state)
{
    struct machine *m = *state;
    use_protected(m);
    fill_scratch(m);
    assert_int_equal(segment_load(m->cpu, SEGMENT_FS, FRESH_DATA), STEP_NEXT);
    const struct engine_segment *fs = &m->cpu->segment[SEGMENT_FS];
    assert_int_equal(fs->base, 0x12345678);
    assert_int_equal(fs->limit, 0x9abcdfff);
    assert_int_equal(fs->attributes, DATA_ATTRIBUTES | SEGMENT_G);
    assert_int_equal(m->ram[AT_GDT + FRESH_DATA + 5], DATA_ATTRIBUTES);
}

static void null_selectors_clear_the_base(void **state)
{
    struct machine *m = *state;
    use_long(m);
    m->cpu->segment[SEGMENT_GS].base = UINT64_C(0xffff800000000000);
    assert_int_equal(segment_load(m->cpu, SEGMENT_GS, 0), STEP_NEXT);
    assert_int_equal(m->cpu->segment[SEGMENT_GS].base, 0);
    assert_true(m->cpu->segment[SEGMENT_GS].attributes & SEGMENT_UNUSABLE);
}

static void null_stack_segment_is_for_64_bit_kernels(void **state)
{
    struct machine *m = *state;
    use_long(m);
    assert_int_equal(segment_load(m->cpu, SEGMENT_SS, 0), STEP_NEXT);
    expect_fault(m, segment_load(m->cpu, SEGMENT_SS, 3), VECTOR_GP, 0);
    use_level(m, USER_CODE64, USER_DATA);
    expect_fault(m, segment_load(m->cpu, SEGMENT_SS, 3), VECTOR_GP, 0);
    use_level(m, KERNEL_CODE, KERNEL_DATA); /* compatibility mode */
    expect_fault(m, segment_load(m->cpu, SEGMENT_SS, 0), VECTOR_GP, 0);
}

static void local_descriptors_come_from_the_ldt(void **state)
{
    struct machine *m = *state;
    use_protected(m);
    set_gdt(m, SCRATCH, AT_LDT, 15, SEGMENT_P | SYSTEM_LDT);
    put64(m, AT_LDT + 8, make_descriptor(0x1000, 0xfff, DATA_ATTRIBUTES));
    assert_int_equal(segment_load_ldtr(m->cpu, SCRATCH), STEP_NEXT);
    assert_int_equal(segment_load(m->cpu, SEGMENT_ES, 0x0c), STEP_NEXT);
    assert_int_equal(m->cpu->segment[SEGMENT_ES].base, 0x1000);
    expect_fault(m, segment_load(m->cpu, SEGMENT_ES, 0x14), VECTOR_GP, 0x14);
    expect_fault(m, segment_load_ldtr(m->cpu, 0x0c), VECTOR_GP, 0x0c);
    expect_fault(m, segment_load_ldtr(m->cpu, KERNEL_DATA), VECTOR_GP, KERNEL_DATA);
    assert_int_equal(segment_load_ldtr(m->cpu, 0), STEP_NEXT);
    expect_fault(m, segment_load(m->cpu, SEGMENT_ES, 0x0c), VECTOR_GP, 0x0c);
}

static void task_register_load_marks_busy(void **state)
{
    struct machine *m = *state;
    use_protected(m);
    set_gdt(m, TSS_SELECTOR, AT_TSS, 0x67, SEGMENT_P | SYSTEM_TSS);
    assert_int_equal(segment_load_tr(m->cpu, TSS_SELECTOR), STEP_NEXT);
    assert_int_equal(m->ram[AT_GDT + TSS_SELECTOR + 5], 0x8b);
    assert_int_equal(m->cpu->segment[SEGMENT_TR].attributes, 0x8b);
    expect_fault(m, segment_load_tr(m->cpu, TSS_SELECTOR), VECTOR_GP, TSS_SELECTOR);
    expect_fault(m, segment_load_tr(m->cpu, 0), VECTOR_GP, 0);
    set_gdt(m, SCRATCH, AT_TSS, 0x67, SYSTEM_TSS);
    expect_fault(m, segment_load_tr(m->cpu, SCRATCH), VECTOR_NP, SCRATCH);
}

static void system_descriptors_of_long_mode_have_16_bytes(void **state)
{
    struct machine *m = *state;
    use_long(m);
    set_gdt(m, TSS_SELECTOR, 0x89abcdef, 0x67, SEGMENT_P | SYSTEM_TSS);
    put64(m, AT_GDT + TSS_SELECTOR + 8, 0xffff8000);
    assert_int_equal(segment_load_tr(m->cpu, TSS_SELECTOR), STEP_NEXT);
    assert_int_equal(m->cpu->segment[SEGMENT_TR].base, UINT64_C(0xffff800089abcdef));
    set_gdt(m, TSS_SELECTOR, 0, 0x67, SEGMENT_P | SYSTEM_TSS);
    put64(m, AT_GDT + TSS_SELECTOR + 8, 0x8000);
    expect_fault(m, segment_load_tr(m->cpu, TSS_SELECTOR), VECTOR_GP, TSS_SELECTOR);
    m->cpu->gdt.limit = TSS_SELECTOR + 14;
    expect_fault(m, segment_load_tr(m->cpu, TSS_SELECTOR), VECTOR_GP, TSS_SELECTOR);
    m->cpu->gdt.limit = GDT_LIMIT;
    set_gdt(m, TSS_SELECTOR, 0, 0x67, SEGMENT_P | SYSTEM_TSS16);
    expect_fault(m, segment_load_tr(m->cpu, TSS_SELECTOR), VECTOR_GP, TSS_SELECTOR);
}

static void real_mode_keeps_limits(void **state)
{
    struct machine *m = *state;
    m->cpu->segment[SEGMENT_DS].limit = UINT32_MAX;
    m->cpu->segment[SEGMENT_ES] = segment_null(0, 0);
    segment_load_real(m->cpu, SEGMENT_DS, 0x1234);
    segment_load_real(m->cpu, SEGMENT_ES, 0xffff);
    assert_int_equal(m->cpu->segment[SEGMENT_DS].base, 0x12340);
    assert_int_equal(m->cpu->segment[SEGMENT_DS].limit, UINT32_MAX);
    assert_int_equal(m->cpu->segment[SEGMENT_ES].base, 0xffff0);
    assert_int_equal(m->cpu->segment[SEGMENT_ES].limit, 0xffff);
    assert_int_equal(m->cpu->segment[SEGMENT_ES].attributes, DATA_ATTRIBUTES);
}

/* ---- LAR, LSL, VERR, VERW ---- */

struct look_case {
    unsigned selector;
    bool rights, limit, readable, writable;
};

static const struct look_case legacy_looks[] = {
    {0, false, false, false, false},
    {KERNEL_DATA, true, true, true, true},
    {KERNEL_DATA | 3, false, false, false, false},
    {KERNEL_CODE, true, true, true, false},
    {CONFORMING_CODE | 3, true, true, true, false},
    {EXECUTE_ONLY, true, true, false, false},
    {READ_ONLY, true, true, true, false},
    {ABSENT_DATA, true, true, true, true},
    {TSS_SELECTOR, true, true, false, false},
    {FRESH_DATA + 8, true, false, false, false}, /* a 16-bit call gate */
    {GDT_LIMIT + 1, false, false, false, false},
};

static void expect_look(struct machine *m, const struct look_case *c)
{
    int step = STEP_NEXT;
    uint32_t value = 0;
    uint16_t selector = (uint16_t)c->selector;
    assert_int_equal(segment_access_rights(m->cpu, selector, &value, &step), c->rights);
    assert_int_equal(segment_limit(m->cpu, selector, &value, &step), c->limit);
    assert_int_equal(segment_verify(m->cpu, selector, false, &step), c->readable);
    assert_int_equal(segment_verify(m->cpu, selector, true, &step), c->writable);
    assert_int_equal(step, STEP_NEXT);
}

static void looks_do_not_fault(void **state)
{
    struct machine *m = *state;
    use_protected(m);
    fill_scratch(m);
    put64(m, AT_GDT + FRESH_DATA + 8, make_gate(KERNEL_CODE, 0, SYSTEM_CALL_GATE16, 0));
    for (size_t i = 0; i < sizeof(legacy_looks) / sizeof(legacy_looks[0]); i++)
        expect_look(m, &legacy_looks[i]);
    const struct look_case gate = {FRESH_DATA + 8, false, false, false, false};
    use_long(m);
    expect_look(m, &gate);
}

static void looks_give_attributes_and_limit(void **state)
{
    struct machine *m = *state;
    int step;
    uint32_t value;
    use_protected(m);
    fill_scratch(m);
    assert_true(segment_access_rights(m->cpu, FRESH_DATA, &value, &step));
    assert_int_equal(value & 0xf0ff00, 0x809200);
    assert_true(segment_limit(m->cpu, FRESH_DATA, &value, &step));
    assert_int_equal(value, 0x9abcdfff);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        machine_test(loads_are_checked),
        machine_test(load_decodes_and_marks_accessed),
        machine_test(null_selectors_clear_the_base),
        machine_test(null_stack_segment_is_for_64_bit_kernels),
        machine_test(local_descriptors_come_from_the_ldt),
        machine_test(task_register_load_marks_busy),
        machine_test(system_descriptors_of_long_mode_have_16_bytes),
        machine_test(real_mode_keeps_limits),
        machine_test(looks_do_not_fault),
        machine_test(looks_give_attributes_and_limit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
