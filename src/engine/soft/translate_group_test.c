/* Which accesses of a block share a look-up in the TLB. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "tests/harness/soft_plan.h"

static struct work work;

/*
 * The groups of all accesses in turn, as letters by when they began; small for the first of its
 * group, '-' for one on its own.
 */
static void expect_groups(struct guest *g, const char *name, const char *code, size_t length,
                          const char *expected)
{
    char text[2 * TRANSLATE_MAX_OPS + 1] = "";
    unsigned used = 0;
    plan_code(g, code, length, &work);
    group_accesses(work.block, work.plan, work.group);
    for (unsigned i = 0; i < work.block->count; i++) {
        for (unsigned which = 0; which < REACHES; which++) {
            const struct reach *reach = &work.plan[i].reach[which];
            if (reach->size == 0)
                continue;
            const char *letters = reach->first ? "abcdefghijklmnop" : "ABCDEFGHIJKLMNOP";
            text[used++] = letters[reach->group % 16];
            if (reach->group == NO_GROUP)
                text[used - 1] = '-';
        }
    }
    if (strcmp(text, expected) != 0)
        fail_msg("%s: %s, not %s", name, text, expected);
}
#define GROUPS(g, name, code, expected) expect_groups(g, name, "" code, sizeof(code) - 1, expected)

static void expect_window(unsigned group, unsigned base, int32_t low, int32_t high, bool write)
{
    assert_int_equal(work.group[group].base, base);
    assert_int_equal(work.group[group].low, low);
    assert_int_equal(work.group[group].high, high);
    assert_true(work.group[group].write == write);
}

/* ---- what shares ---- */

static void pushes_and_pops_share(void **state)
{
    struct guest *g = *state;
    GROUPS(g, "push; push; push", "\x50\x51\x52", "aAA");
    expect_window(0, GPR_RSP, -24, 0, true);
    GROUPS(g, "pop; pop", "\x58\x59", "aA");
    expect_window(0, GPR_RSP, 0, 16, false);
    GROUPS(g, "push; pop; push 1; pushfq; popfq", "\x50\x58\x6a\x01\x9c\x9d", "aAAAA");
    expect_window(0, GPR_RSP, -16, 0, true);
    GROUPS(g, "pop rbp; ret", "\x5d\xc3", "aA");
    GROUPS(g, "push; call +0", "\x50\xe8\x00\x00\x00\x00", "aA");
}

static void what_moves_a_base_by_a_constant_keeps_its_group(void **state)
{
    struct guest *g = *state;
    GROUPS(g, "push; sub rsp, 16; mov [rsp+8], rax", "\x50\x48\x83\xec\x10\x48\x89\x44\x24\x08",
           "aA");
    expect_window(0, GPR_RSP, -16, 0, true);
    assert_int_equal(work.plan[2].reach[REACH_OPERAND].moved, -24);
    GROUPS(g, "mov [rbx], rax; add rbx, 64; mov [rbx], rax",
           "\x48\x89\x03\x48\x83\xc3\x40\x48\x89\x03", "aA");
    expect_window(0, GPR_RBX, 0, 72, true);
    GROUPS(g, "mov [rbx], rax; lea rbx, [rbx-8]; mov [rbx], rax",
           "\x48\x89\x03\x48\x8d\x5b\xf8\x48\x89\x03", "aA");
    expect_window(0, GPR_RBX, -8, 8, true);
    GROUPS(g, "mov [rbx], al; inc rbx; mov [rbx], al; dec rbx; mov [rbx], al",
           "\x88\x03\x48\xff\xc3\x88\x03\x48\xff\xcb\x88\x03", "aAA");
    expect_window(0, GPR_RBX, 0, 2, true);
}

static void reads_and_writes_share_what_may_be_written(void **state)
{
    struct guest *g = *state;
    GROUPS(g, "mov rax, [rbx]; mov rcx, [rbx+8]", "\x48\x8b\x03\x48\x8b\x4b\x08", "aA");
    expect_window(0, GPR_RBX, 0, 16, false);
    GROUPS(g, "mov rax, [rbx]; mov [rbx+8], rcx", "\x48\x8b\x03\x48\x89\x4b\x08", "aA");
    expect_window(0, GPR_RBX, 0, 16, true);
}

static void groups_of_several_bases_stand_side_by_side(void **state)
{
    struct guest *g = *state;
    GROUPS(g, "mov rax, [rbx]; mov rcx, [rsi]; mov [rbx+8], rax; mov [rsi+8], rcx; push rax",
           "\x48\x8b\x03\x48\x8b\x0e\x48\x89\x43\x08\x48\x89\x4e\x08\x50", "abAB-");
    GROUPS(g, "call [rsp]", "\xff\x14\x24", "aA");
    expect_window(0, GPR_RSP, -8, 8, true);
}

static void several_windows_of_a_base_stand_side_by_side(void **state)
{
    struct guest *g = *state;
    GROUPS(g, "mov rax, [rbx]; mov rcx, [rbx+0x1000]; mov [rbx+8], rcx; mov [rbx+0x1008], rax",
           "\x48\x8b\x03\x48\x8b\x8b\x00\x10\x00\x00\x48\x89\x4b\x08\x48\x89\x83\x08\x10\x00\x00",
           "abAB");
    expect_window(0, GPR_RBX, 0, 16, true);
    expect_window(1, GPR_RBX, 0x1000, 0x1010, true);
    GROUPS(g, "mov al, [rbx]; mov cl, [rbx-0x2800]; add rbx, 16; mov [rbx-16], al; mov rbx, rcx",
           "\x8a\x03\x8a\x8b\x00\xd8\xff\xff\x48\x83\xc3\x10\x88\x43\xf0\x48\x89\xcb", "a-A");
    GROUPS(g,
           "mov al, [rbx]; mov cl, [rbx+0x1000]; mov rbx, rcx; mov al, [rbx]; mov cl, [rbx+0x1000]",
           "\x8a\x03\x8a\x8b\x00\x10\x00\x00\x48\x89\xcb\x8a\x03\x8a\x8b\x00\x10\x00\x00", "----");
}

static void instructions_between_them_do_not_matter(void **state)
{
    struct guest *g = *state;
    GROUPS(g, "mov rax, [rbx]; add rax, rcx; jz +0; addps xmm0, xmm1; mov rcx, [rbx]",
           "\x48\x8b\x03\x48\x01\xc8\x74\x00\x0f\x58\xc1\x48\x8b\x0b", "aA");
}

/* ---- what does not ---- */

static void one_access_shares_nothing(void **state)
{
    struct guest *g = *state;
    GROUPS(g, "mov rax, [rbx]", "\x48\x8b\x03", "-");
    GROUPS(g, "mov rax, [rbx]; mov rcx, [rsi]", "\x48\x8b\x03\x48\x8b\x0e", "--");
    assert_false(work.plan[0].reach[REACH_OPERAND].first);
}

static void a_written_base_ends_its_group(void **state)
{
    struct guest *g = *state;
    GROUPS(g, "mov rax, [rbx]; mov rbx, rcx; mov rax, [rbx]",
           "\x48\x8b\x03\x48\x89\xcb\x48\x8b\x03", "--");
    GROUPS(g, "mov rbx, [rbx]; mov rbx, [rbx]", "\x48\x8b\x1b\x48\x8b\x1b", "--");
    GROUPS(g, "mov rax, [rbx]; add ebx, 8; mov rax, [rbx]", "\x48\x8b\x03\x83\xc3\x08\x48\x8b\x03",
           "--");
    GROUPS(g, "mov rax, [rbx]; add rbx, rcx; mov rax, [rbx]",
           "\x48\x8b\x03\x48\x01\xcb\x48\x8b\x03", "--");
    GROUPS(g, "mov rax, [rbx]; adc rbx, 8; mov rax, [rbx]",
           "\x48\x8b\x03\x48\x83\xd3\x08\x48\x8b\x03", "--");
    GROUPS(g, "mov rax, [rbx]; mov bl, 1; mov rax, [rbx]", "\x48\x8b\x03\xb3\x01\x48\x8b\x03",
           "--");
    GROUPS(g, "mov rax, [rbx]; cmovz rbx, rcx; mov rax, [rbx]",
           "\x48\x8b\x03\x48\x0f\x44\xd9\x48\x8b\x03", "--");
    GROUPS(g, "mov rax, [rbx]; xchg rax, rbx; mov rax, [rbx]", "\x48\x8b\x03\x48\x93\x48\x8b\x03",
           "--");
    GROUPS(g, "mov rax, [rbx]; xadd rcx, rbx; mov rax, [rbx]",
           "\x48\x8b\x03\x48\x0f\xc1\xd9\x48\x8b\x03", "--");
    GROUPS(g, "mov rax, [rbx]; lea rbx, [rbx+rcx]; mov rax, [rbx]",
           "\x48\x8b\x03\x48\x8d\x1c\x0b\x48\x8b\x03", "--");
    GROUPS(g, "mov rax, [rbx]; lea ebx, [rbx+8]; mov rax, [rbx]",
           "\x48\x8b\x03\x8d\x5b\x08\x48\x8b\x03", "--");
    GROUPS(g, "mov rax, [rdx]; mul rcx; mov rax, [rdx]", "\x48\x8b\x02\x48\xf7\xe1\x48\x8b\x02",
           "--");
}

static void the_stack_pointer_is_lost_by_what_loads_it(void **state)
{
    struct guest *g = *state;
    GROUPS(g, "pop rax; pop rsp; pop rcx", "\x58\x5c\x59", "aA-");
    GROUPS(g, "push rax; leave; pop rcx", "\x50\xc9\x59", "---");
    GROUPS(g, "mov rax, [rbx]; pop rbx; mov rax, [rbx]", "\x48\x8b\x03\x5b\x48\x8b\x03", "---");
    GROUPS(g, "push rax; mov rsp, rbp; pop rcx", "\x50\x48\x89\xec\x59", "--");
    GROUPS(g, "mov rax, [rbp]; leave; mov rax, [rbp]", "\x48\x8b\x45\x00\xc9\x48\x8b\x45\x00",
           "aA-");
}

static void an_interpreted_instruction_ends_all_groups(void **state)
{
    struct guest *g = *state;
    GROUPS(g, "mov rax, [rbx]; cld; mov rcx, [rbx]", "\x48\x8b\x03\xfc\x48\x8b\x0b", "--");
    GROUPS(g, "push rax; bt [rbx], rax; pop rax", "\x50\x48\x0f\xa3\x03\x58", "--");
}

static void string_instructions_move_their_registers(void **state)
{
    struct guest *g = *state;
    GROUPS(g, "mov rax, [rdi]; rep stosb; mov rcx, [rdi]; mov rax, [rcx]",
           "\x48\x8b\x07\xf3\xaa\x48\x8b\x0f\x48\x8b\x01", "---");
    GROUPS(g, "mov rax, [rsi]; mov rdx, [rbx]; rep movsb; mov rax, [rsi]; mov rdx, [rbx]",
           "\x48\x8b\x06\x48\x8b\x13\xf3\xa4\x48\x8b\x06\x48\x8b\x13", "-b-B");
}

static void windows_have_a_limit(void **state)
{
    struct guest *g = *state;
    GROUPS(g, "mov al, [rbx]; mov cl, [rbx+191]", "\x8a\x03\x8a\x8b\xbf\x00\x00\x00", "aA");
    expect_window(0, GPR_RBX, 0, 192, false);
    GROUPS(g, "mov al, [rbx]; mov cl, [rbx+192]", "\x8a\x03\x8a\x8b\xc0\x00\x00\x00", "--");
    GROUPS(g, "mov al, [rbx+96]; mov cl, [rbx-95]; mov dl, [rbx+97]",
           "\x8a\x43\x60\x8a\x4b\xa1\x8a\x53\x61", "aA-");
    GROUPS(g, "mov al, [rbx]; add rbx, 0x100000; mov al, [rbx]",
           "\x8a\x03\x48\x81\xc3\x00\x00\x10\x00\x8a\x03", "--");
}

static void accesses_with_an_index_or_a_segment_are_alone(void **state)
{
    struct guest *g = *state;
    GROUPS(g, "mov rax, [rbx+rcx]; mov rax, fs:[rbx]; mov rax, [rip]; mov rax, [ebx]; twice",
           "\x48\x8b\x04\x0b\x64\x48\x8b\x03\x48\x8b\x05\x00\x00\x00\x00\x67\x48\x8b\x03"
           "\x48\x8b\x04\x0b\x64\x48\x8b\x03\x48\x8b\x05\x00\x00\x00\x00\x67\x48\x8b\x03",
           "--------");
}

/* Distances are kept in CPU_DELTAS words, used in turn: an old group must not find another's. */
static void groups_do_not_share_a_word(void **state)
{
    struct guest *g = *state;
    static const uint8_t load[] = {0x8a, 0x06};                    /* mov al, [rsi] */
    static const uint8_t other[] = {0x8a, 0x03, 0x48, 0x89, 0xcb}; /* …[rbx]; mov rbx, rcx */
    uint8_t code[128] = {0x8a, 0x06, 0x8a, 0x06};
    unsigned length = 2 * sizeof(load);
    for (unsigned i = 0; i < CPU_DELTAS - 1; i++) {
        memcpy(code + length, other, sizeof(other));
        length += sizeof(other);
    }
    memcpy(code + length, load, sizeof(load));
    plan_code(g, code, length + 2, &work);
    group_accesses(work.block, work.plan, work.group);
    unsigned last = 2 + 2 * (CPU_DELTAS - 1);
    assert_int_equal(work.plan[0].reach[REACH_OPERAND].group, 0);
    assert_int_equal(work.plan[1].reach[REACH_OPERAND].group, 0);
    assert_int_not_equal(work.plan[last].reach[REACH_OPERAND].group, 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, guest_setup_translated, guest_teardown)

int main(void)
{
    if (!translator_is_possible()) {
        print_message("1..0 # SKIP this host cannot run translations\n");
        return 0;
    }
    const struct CMUnitTest tests[] = {
        TEST(pushes_and_pops_share),
        TEST(what_moves_a_base_by_a_constant_keeps_its_group),
        TEST(reads_and_writes_share_what_may_be_written),
        TEST(groups_of_several_bases_stand_side_by_side),
        TEST(several_windows_of_a_base_stand_side_by_side),
        TEST(instructions_between_them_do_not_matter),
        TEST(one_access_shares_nothing),
        TEST(a_written_base_ends_its_group),
        TEST(the_stack_pointer_is_lost_by_what_loads_it),
        TEST(an_interpreted_instruction_ends_all_groups),
        TEST(string_instructions_move_their_registers),
        TEST(windows_have_a_limit),
        TEST(accesses_with_an_index_or_a_segment_are_alone),
        TEST(groups_do_not_share_a_word),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
