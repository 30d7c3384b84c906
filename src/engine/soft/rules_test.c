/* Which handler an instruction gets, where its mnemonic alone does not say; and what ends a block.
 */
#include "engine/soft/rules.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "engine/soft/ops.h"

static const struct rule *find(ZydisMachineMode mode, const char *bytes, size_t length)
{
    ZydisDecoder decoder;
    ZydisDecodedInstruction instruction;
    ZydisDecodedOperand operands[ZYDIS_MAX_OPERAND_COUNT];
    ZydisStackWidth stack =
        mode == ZYDIS_MACHINE_MODE_LONG_64 ? ZYDIS_STACK_WIDTH_64 : ZYDIS_STACK_WIDTH_32;
    assert_true(ZYAN_SUCCESS(ZydisDecoderInit(&decoder, mode, stack)));
    assert_true(
        ZYAN_SUCCESS(ZydisDecoderDecodeFull(&decoder, bytes, length, &instruction, operands)));
    assert_int_equal(instruction.length, length);
    return rule_find(&instruction, operands);
}

#define FIND(bytes)   find(ZYDIS_MACHINE_MODE_LONG_64, "" bytes, sizeof(bytes) - 1)
#define FIND32(bytes) find(ZYDIS_MACHINE_MODE_LEGACY_32, "" bytes, sizeof(bytes) - 1)

static void moves_by_their_registers(void **state)
{
    (void)state;
    assert_ptr_equal(FIND("\x89\xc3")->forms, &op_mov);
    assert_ptr_equal(FIND("\x8e\xd8")->run, op_mov_to_segment);
    assert_ptr_equal(FIND("\x8c\xd8")->run, op_mov_from_segment);
    assert_ptr_equal(FIND("\x0f\x22\xd8")->run, op_mov_to_cr);
    assert_ptr_equal(FIND("\x0f\x20\xd8")->run, op_mov_from_cr);
    assert_ptr_equal(FIND("\x0f\x23\xf8")->run, op_mov_to_dr);
    assert_ptr_equal(FIND("\x0f\x21\xf8")->run, op_mov_from_dr);
}

static void one_mnemonic_of_strings_and_vectors(void **state)
{
    (void)state;
    assert_ptr_equal(FIND("\xa5")->run, op_movs);         /* movsd */
    assert_null(FIND("\xf2\x0f\x10\xc1"));                /* movsd xmm0, xmm1 */
    assert_ptr_equal(FIND("\xa7")->run, op_cmps);         /* cmpsd */
    assert_null(FIND("\xf2\x0f\xc2\xc1\x00"));            /* cmpsd xmm0, xmm1, 0 */
    assert_ptr_equal(FIND("\xf3\x48\xa5")->run, op_movs); /* rep movsq */
    assert_ptr_equal(FIND("\xec")->run, op_in);
    assert_ptr_equal(FIND("\xee")->run, op_out);
}

static void branches_by_distance_and_operand(void **state)
{
    (void)state;
    assert_ptr_equal(FIND("\xeb\x00")->run, op_jmp);
    assert_ptr_equal(FIND("\xff\xe0")->run, op_jmp_indirect);
    assert_ptr_equal(FIND("\xff\x28")->run, op_far_jump_indirect);
    assert_ptr_equal(FIND32("\xea\x00\x00\x00\x00\x08\x00")->run, op_far_jump);
    assert_ptr_equal(FIND("\xe8\x00\x00\x00\x00")->run, op_call);
    assert_ptr_equal(FIND("\xff\x10")->run, op_call_indirect);
    assert_ptr_equal(FIND("\xff\x18")->run, op_far_call_indirect);
    assert_ptr_equal(FIND32("\x9a\x00\x00\x00\x00\x08\x00")->run, op_far_call);
    assert_ptr_equal(FIND("\xc3")->run, op_ret);
    assert_ptr_equal(FIND("\xcb")->run, op_far_return);
    assert_ptr_equal(FIND("\x70\x00")->run, op_jcc_o);
    assert_ptr_equal(FIND("\x0f\x8f\x00\x00\x00\x00")->run, op_jcc_nle);
}

static void pushes_and_pops_by_operand(void **state)
{
    (void)state;
    assert_ptr_equal(FIND("\x50")->run, op_push64);
    assert_ptr_equal(FIND("\x66\x50")->run, op_push);
    assert_ptr_equal(FIND("\xff\x30")->run, op_push);
    assert_ptr_equal(FIND("\x6a\x01")->run, op_push_imm);
    assert_ptr_equal(FIND("\x0f\xa0")->run, op_push_segment);
    assert_ptr_equal(FIND("\x58")->run, op_pop64);
    assert_ptr_equal(FIND("\x8f\x00")->run, op_pop);
    assert_ptr_equal(FIND("\x0f\xa1")->run, op_pop_segment);
    assert_ptr_equal(FIND32("\x50")->run, op_push);
}

/* What computes only is left to the host's own units. */
static void computations_have_no_rule(void **state)
{
    (void)state;
    assert_null(FIND("\x0f\xaf\xc1"));     /* imul */
    assert_null(FIND("\xf7\xf1"));         /* div */
    assert_null(FIND("\x0f\x58\xc1"));     /* addps */
    assert_null(FIND("\xd8\xc1"));         /* fadd */
    assert_null(FIND("\xf0\x0f\xb1\x0b")); /* lock cmpxchg */
    assert_null(FIND("\xf3\x0f\xb8\xc1")); /* popcnt */
}

/*
 * An instruction that changes how the next one is fetched or decoded, or whether an interrupt comes
 * before it, is the last of its block.
 */
static void what_changes_the_processor_ends_the_block(void **state)
{
    (void)state;
    static const struct {
        const char *name, *bytes;
        size_t length;
    } enders[] = {
        {"mov cr3", "\x0f\x22\xd8", 3},
        {"mov dr7", "\x0f\x23\xf8", 3},
        {"wrmsr", "\x0f\x30", 2},
        {"lgdt", "\x0f\x01\x10", 3},
        {"lidt", "\x0f\x01\x18", 3},
        {"lmsw", "\x0f\x01\xf0", 3},
        {"clts", "\x0f\x06", 2},
        {"invlpg", "\x0f\x01\x38", 3},
        {"sti", "\xfb", 1},
        {"popfq", "\x9d", 1},
        {"mov ss", "\x8e\xd0", 2},
        {"pop fs", "\x0f\xa1", 2},
        {"hlt", "\xf4", 1},
        {"iretq", "\x48\xcf", 2},
        {"syscall", "\x0f\x05", 2},
        {"sysretq", "\x48\x0f\x07", 3},
        {"sysenter", "\x0f\x34", 2},
        {"sysexit", "\x0f\x35", 2},
        {"int3", "\xcc", 1},
        {"int 0x80", "\xcd\x80", 2},
        {"swapgs", "\x0f\x01\xf8", 3},
        {"stac", "\x0f\x01\xcb", 3},
        {"clac", "\x0f\x01\xca", 3},
        {"ud2", "\x0f\x0b", 2},
        {"xsetbv", "\x0f\x01\xd1", 3},
        {"cpuid", "\x0f\xa2", 2},
        {"vmcall", "\x0f\x01\xc1", 3},
        {"wrfsbase", "\xf3\x0f\xae\xd0", 4},
        {"invpcid", "\x66\x0f\x38\x82\x00", 5},
        {"pause", "\xf3\x90", 2},
        {"ret far", "\xcb", 1},
    };
    for (size_t i = 0; i < sizeof(enders) / sizeof(enders[0]); i++) {
        const struct rule *rule =
            find(ZYDIS_MACHINE_MODE_LONG_64, enders[i].bytes, enders[i].length);
        if (rule == NULL || !rule->ends)
            fail_msg("%s does not end its block", enders[i].name);
    }
}

/* Any rule gives a handler for each form that its operands can have. */
static void every_mnemonic_with_a_rule_has_a_handler(void **state)
{
    (void)state;
    unsigned count = 0;
    for (unsigned mnemonic = 1; mnemonic <= ZYDIS_MNEMONIC_MAX_VALUE; mnemonic++) {
        ZydisDecodedOperand operands[ZYDIS_MAX_OPERAND_COUNT] = {0};
        ZydisDecodedInstruction instruction = {.mnemonic = (ZydisMnemonic)mnemonic};
        const struct rule *rule = rule_find(&instruction, operands);
        if (rule == NULL)
            continue;
        count++;
        assert_true((rule->run != NULL) != (rule->forms != NULL));
    }
    assert_true(count > 200);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(moves_by_their_registers),
        cmocka_unit_test(one_mnemonic_of_strings_and_vectors),
        cmocka_unit_test(branches_by_distance_and_operand),
        cmocka_unit_test(pushes_and_pops_by_operand),
        cmocka_unit_test(computations_have_no_rule),
        cmocka_unit_test(what_changes_the_processor_ends_the_block),
        cmocka_unit_test(every_mnemonic_with_a_rule_has_a_handler),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
