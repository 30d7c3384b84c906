/* How instructions are to be translated, and where the arithmetic flags matter. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/harness/soft_plan.h"

static struct work work;

/* ---- kinds ---- */

struct row {
    const char *name, *code;
    unsigned length;
    enum kind kind;
};
#define CODE(bytes) (bytes), sizeof(bytes) - 1

static void check_rows(struct guest *g, const struct row *rows, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        plan_code(g, rows[i].code, rows[i].length, &work);
        if (work.plan[0].kind != rows[i].kind)
            fail_msg("%s: is of kind %d", rows[i].name, work.plan[0].kind);
    }
}
#define CHECK(g, rows) check_rows(g, rows, sizeof(rows) / sizeof((rows)[0]))

static void what_only_computes_is_copied(void **state)
{
    static const struct row rows[] = {
        {"add rax, rbx", CODE("\x48\x01\xd8"), KIND_COPY},
        {"add [rbx], ax", CODE("\x66\x01\x03"), KIND_COPY},
        {"lock xadd [rbx], eax", CODE("\xf0\x0f\xc1\x03"), KIND_COPY},
        {"div rcx", CODE("\x48\xf7\xf1"), KIND_COPY},
        {"bt eax, ecx", CODE("\x0f\xa3\xc8"), KIND_COPY},
        {"bts [rbx], 3", CODE("\x0f\xba\x2b\x03"), KIND_COPY},
        {"cmovz eax, [rbx]", CODE("\x0f\x44\x03"), KIND_COPY},
        {"movaps xmm0, [rbx]", CODE("\x0f\x28\x03"), KIND_COPY},
        {"vaddps ymm0, ymm1, [rbx]", CODE("\xc5\xf4\x58\x03"), KIND_COPY},
        {"fadd qword [rbx]", CODE("\xdc\x03"), KIND_COPY},
        {"movq mm0, [rbx]", CODE("\x0f\x6f\x03"), KIND_COPY},
        {"lahf", CODE("\x9f"), KIND_COPY},
    };
    CHECK(*state, rows);
}

/* Their memory operands are not where the instruction says, or only perhaps. */
static void what_computes_addresses_or_masks_is_interpreted(void **state)
{
    static const struct row rows[] = {
        {"bt [rbx], rax", CODE("\x48\x0f\xa3\x03"), KIND_INTERPRET},
        {"bts [rbx], eax", CODE("\x0f\xab\x03"), KIND_INTERPRET},
        {"btr [rbx], eax", CODE("\x0f\xb3\x03"), KIND_INTERPRET},
        {"btc [rbx], eax", CODE("\x0f\xbb\x03"), KIND_INTERPRET},
        {"maskmovdqu xmm0, xmm1", CODE("\x66\x0f\xf7\xc1"), KIND_INTERPRET},
        {"maskmovq mm0, mm1", CODE("\x0f\xf7\xc1"), KIND_INTERPRET},
        {"vmaskmovps xmm0, xmm1, [rbx]", CODE("\xc4\xe2\x71\x2c\x03"), KIND_INTERPRET},
        {"vpmaskmovd [rbx], ymm1, ymm0", CODE("\xc4\xe2\x75\x8e\x03"), KIND_INTERPRET},
        {"vpgatherdd xmm0, [rbx+xmm1], xmm2", CODE("\xc4\xe2\x69\x90\x04\x0b"), KIND_INTERPRET},
        {"xlat", CODE("\xd7"), KIND_INTERPRET},
        {"lodsb", CODE("\xac"), KIND_INTERPRET},
        {"fnstenv [rbx]", CODE("\xd9\x33"), KIND_INTERPRET},
        {"fninit", CODE("\xdb\xe3"), KIND_INTERPRET},
        {"fxsave [rbx]", CODE("\x0f\xae\x03"), KIND_INTERPRET},
        {"ldmxcsr [rbx]", CODE("\x0f\xae\x13"), KIND_INTERPRET},
        {"clflush [rbx]", CODE("\x0f\xae\x3b"), KIND_INTERPRET},
    };
    CHECK(*state, rows);
}

/* Copied, they would reach the host's own state. */
static void what_touches_the_system_is_interpreted(void **state)
{
    static const struct row rows[] = {
        {"cld", CODE("\xfc"), KIND_INTERPRET},
        {"std", CODE("\xfd"), KIND_INTERPRET},
        {"syscall", CODE("\x0f\x05"), KIND_INTERPRET},
        {"int3", CODE("\xcc"), KIND_INTERPRET},
        {"hlt", CODE("\xf4"), KIND_INTERPRET},
        {"rdtsc", CODE("\x0f\x31"), KIND_INTERPRET},
        {"cpuid", CODE("\x0f\xa2"), KIND_INTERPRET},
        {"rdfsbase rax", CODE("\xf3\x48\x0f\xae\xc0"), KIND_INTERPRET},
        {"wrgsbase rax", CODE("\xf3\x48\x0f\xae\xd8"), KIND_INTERPRET},
        {"mov fs, ax", CODE("\x8e\xe0"), KIND_INTERPRET},
        {"mov ax, ds", CODE("\x8c\xd8"), KIND_INTERPRET},
        {"mov cr3, rax", CODE("\x0f\x22\xd8"), KIND_INTERPRET},
        {"xgetbv", CODE("\x0f\x01\xd0"), KIND_INTERPRET},
        {"stac", CODE("\x0f\x01\xcb"), KIND_INTERPRET},
        {"rdpid", CODE("\xf3\x0f\xc7\xf8"), KIND_INTERPRET},
        {"in al, 5", CODE("\xe4\x05"), KIND_INTERPRET},
        {"iretq", CODE("\x48\xcf"), KIND_INTERPRET},
        {"ud2", CODE("\x0f\x0b"), KIND_INTERPRET},
        {"no instruction", CODE("\x06"), KIND_INTERPRET},
    };
    CHECK(*state, rows);
}

static void branches_have_kinds_of_their_own(void **state)
{
    static const struct row rows[] = {
        {"jmp +0", CODE("\xeb\x00"), KIND_JUMP},
        {"jz +0", CODE("\x74\x00"), KIND_JUMP_IF},
        {"jz near +0", CODE("\x0f\x84\x00\x00\x00\x00"), KIND_JUMP_IF},
        {"jrcxz +0", CODE("\xe3\x00"), KIND_INTERPRET},
        {"loop +0", CODE("\xe2\x00"), KIND_INTERPRET},
        {"jmp rax", CODE("\xff\xe0"), KIND_JUMP_INDIRECT},
        {"jmp [rbx]", CODE("\xff\x23"), KIND_JUMP_INDIRECT},
        {"call +0", CODE("\xe8\x00\x00\x00\x00"), KIND_CALL},
        {"call rax", CODE("\xff\xd0"), KIND_CALL_INDIRECT},
        {"call [rbx]", CODE("\xff\x13"), KIND_CALL_INDIRECT},
        {"ret", CODE("\xc3"), KIND_RETURN},
        {"ret 8", CODE("\xc2\x08\x00"), KIND_RETURN},
        {"jmp far [rbx]", CODE("\xff\x2b"), KIND_INTERPRET},
        {"call far [rbx]", CODE("\xff\x1b"), KIND_INTERPRET},
        {"retf", CODE("\xcb"), KIND_INTERPRET},
    };
    CHECK(*state, rows);
}

/* Only at the end of the low half could one be encoded. */
static void branches_to_no_address_are_interpreted(void **state)
{
    struct guest *g = *state;
    static const char *const codes[] = {"\xe9\0\0\0\0", "\xe8\0\0\0\0", "\x0f\x84\0\0\0\0"};
    for (unsigned i = 0; i < 3; i++) {
        plan_code(g, codes[i], 6, &work);
        assert_int_not_equal(work.plan[0].kind, KIND_INTERPRET);
        work.block->op[0].imm = UINT64_C(1) << 47;
        plan_block(&work);
        assert_int_equal(work.plan[0].kind, KIND_INTERPRET);
    }
}

static void stack_forms_of_64_bits_are_translated(void **state)
{
    static const struct row rows[] = {
        {"push rax", CODE("\x50"), KIND_PUSH},
        {"push r12", CODE("\x41\x54"), KIND_PUSH},
        {"push 1", CODE("\x6a\x01"), KIND_PUSH_CONSTANT},
        {"pop rax", CODE("\x58"), KIND_POP},
        {"leave", CODE("\xc9"), KIND_LEAVE},
        {"pushfq", CODE("\x9c"), KIND_PUSHF},
        {"popfq", CODE("\x9d"), KIND_POPF},
        {"push ax", CODE("\x66\x50"), KIND_INTERPRET},
        {"push word 1", CODE("\x66\x6a\x01"), KIND_INTERPRET},
        {"pop ax", CODE("\x66\x58"), KIND_INTERPRET},
        {"leave of 16 bits", CODE("\x66\xc9"), KIND_INTERPRET},
        {"pushf of 16 bits", CODE("\x66\x9c"), KIND_INTERPRET},
        {"popf of 16 bits", CODE("\x66\x9d"), KIND_INTERPRET},
        {"push [rbx]", CODE("\xff\x33"), KIND_INTERPRET},
        {"pop [rbx]", CODE("\x8f\x03"), KIND_INTERPRET},
        {"push fs", CODE("\x0f\xa0"), KIND_INTERPRET},
        {"enter 8, 0", CODE("\xc8\x08\x00\x00"), KIND_INTERPRET},
    };
    CHECK(*state, rows);
}

static void other_kinds_are_found(void **state)
{
    static const struct row rows[] = {
        {"nop", CODE("\x90"), KIND_NOTHING},
        {"endbr64", CODE("\xf3\x0f\x1e\xfa"), KIND_NOTHING},
        {"lea ax, [rbx]", CODE("\x66\x8d\x03"), KIND_LEA},
        {"rep stosq", CODE("\xf3\x48\xab"), KIND_STOS},
        {"rep movsw", CODE("\x66\xf3\xa5"), KIND_MOVS},
        {"rep movsb from fs", CODE("\x64\xf3\xa4"), KIND_INTERPRET},
        {"rep stosb of 32-bit addresses", CODE("\x67\xf3\xaa"), KIND_INTERPRET},
        {"stosb", CODE("\xaa"), KIND_INTERPRET},
        {"rep cmpsb", CODE("\xf3\xa6"), KIND_INTERPRET},
        {"cli", CODE("\xfa"), KIND_CLI},
        {"sti; nop", CODE("\xfb\x90"), KIND_STI},
        {"swapgs", CODE("\x0f\x01\xf8"), KIND_SWAPGS},
    };
    CHECK(*state, rows);
}

static void user_code_has_no_kinds_of_the_kernel(void **state)
{
    struct guest *g = *state;
    static const struct row rows[] = {
        {"cli", CODE("\xfa"), KIND_INTERPRET},
        {"sti; nop", CODE("\xfb\x90"), KIND_INTERPRET},
        {"swapgs", CODE("\x0f\x01\xf8"), KIND_INTERPRET},
        {"pushfq", CODE("\x9c"), KIND_INTERPRET},
        {"popfq", CODE("\x9d"), KIND_INTERPRET},
        {"push rax", CODE("\x50"), KIND_PUSH},
    };
    guest_use_user(g, 0);
    CHECK(g, rows);
}

/* ---- accesses ---- */

static void expect_reach(const struct reach *reach, unsigned size, bool write, unsigned base,
                         int32_t disp)
{
    assert_int_equal(reach->size, size);
    assert_true(reach->write == write);
    assert_int_equal(reach->base, base);
    assert_int_equal(reach->disp, disp);
    assert_int_equal(reach->group, NO_GROUP);
}

static void accesses_tell_where_and_how_large_they_are(void **state)
{
    struct guest *g = *state;
    /* add [rbx+8], rcx; movups xmm0, [r12-1]; cmp byte [rbx+rcx], 0; push rax; call [rax] */
    PLAN(g, "\x48\x01\x4b\x08\x41\x0f\x10\x44\x24\xff\x80\x3c\x0b\x00\x50\xff\x10", &work);
    assert_int_equal(work.block->count, 5);
    expect_reach(&work.plan[0].reach[REACH_OPERAND], 8, true, GPR_RBX, 8);
    expect_reach(&work.plan[1].reach[REACH_OPERAND], 16, false, GPR_R12, -1);
    expect_reach(&work.plan[2].reach[REACH_OPERAND], 1, false, GPR_ZERO, 0);
    expect_reach(&work.plan[3].reach[REACH_STACK], 8, true, GPR_RSP, -8);
    expect_reach(&work.plan[4].reach[REACH_OPERAND], 8, false, GPR_RAX, 0);
    expect_reach(&work.plan[4].reach[REACH_STACK], 8, true, GPR_RSP, -8);
    assert_int_equal(work.plan[0].reach[REACH_STACK].size, 0);
    assert_int_equal(work.plan[1].level, VECTOR_SSE);
}

/* With a segment, 32-bit addresses or far away, an access is on its own. */
static void accesses_that_are_not_plain_have_no_base(void **state)
{
    struct guest *g = *state;
    /* mov eax, fs:[rbx]; mov eax, [ebx]; mov eax, [rbx+0x100000] */
    PLAN(g, "\x64\x8b\x03\x67\x8b\x03\x8b\x83\x00\x00\x10\x00", &work);
    for (unsigned i = 0; i < 3; i++)
        expect_reach(&work.plan[i].reach[REACH_OPERAND], 4, false, GPR_ZERO, 0);
}

/* ---- flags ---- */

/* Whether they are needed before each instruction, as a string of 0 and 1. */
static void expect_flags(const char *needed)
{
    for (unsigned i = 0; needed[i] != 0; i++) {
        if (work.plan[i].flags_needed_before != (needed[i] == '1'))
            fail_msg("instruction %u of %s", i, needed);
        if (i > 0)
            assert_true(work.plan[i - 1].flags_needed_after == work.plan[i].flags_needed_before);
    }
}

static void flags_die_where_all_are_written(void **state)
{
    struct guest *g = *state;
    /* mov eax, ecx; add eax, ecx; mov ecx, eax; sub eax, 1; mov edx, eax (out reads all) */
    PLAN(g, "\x89\xc8\x01\xc8\x89\xc1\x83\xe8\x01\x89\xc2", &work);
    expect_flags("00001");
    /* mov; and: what AND leaves undefined it clears; mov; or; xor; test */
    PLAN(g, "\x89\xc8\x21\xc8\x89\xc8\x09\xc8\x31\xc8\x85\xc8", &work);
    expect_flags("000000");
}

static void flags_live_where_some_are_kept_or_read(void **state)
{
    struct guest *g = *state;
    /* inc keeps carry; add */
    PLAN(g, "\xff\xc0\x01\xc8", &work);
    expect_flags("00");
    PLAN(g, "\xff\xc0\x89\xc8", &work);
    expect_flags("11");
    /* mov; adc; mov; add */
    PLAN(g, "\x89\xc8\x11\xc8\x89\xc8\x01\xc8", &work);
    expect_flags("1100");
    /* shl eax, cl by nothing keeps them; shl eax, 1; imul and bsf leave some undefined */
    PLAN(g, "\xd3\xe0", &work);
    expect_flags("1");
    PLAN(g, "\xc1\xe0\x00", &work);
    expect_flags("1");
    PLAN(g, "\x0f\xaf\xc1", &work);
    expect_flags("1");
    PLAN(g, "\x0f\xbc\xc1", &work);
    expect_flags("1");
    /* jz +0 */
    PLAN(g, "\x01\xc8\x74\x00\x01\xc8", &work);
    expect_flags("01");
    /* cmovz; setc */
    PLAN(g, "\x0f\x44\xc1\x01\xc8", &work);
    expect_flags("10");
    PLAN(g, "\x0f\x92\xc0\x01\xc8", &work);
    expect_flags("10");
}

/* For tests that compare what the manual leaves to a translation. */
static void no_flags_die_where_all_are_to_be_kept(void **state)
{
    struct guest *g = *state;
    g->soft->code->translator->keeps_flags = true;
    PLAN(g, "\x89\xc8\x01\xc8\x89\xc1\x83\xe8\x01\x89\xc2", &work);
    expect_flags("11111");
}

/* The interpreter wants all of them, and leaves them all. */
static void interpreted_instructions_read_flags(void **state)
{
    struct guest *g = *state;
    /* cpuid; add; pushfq; add; popfq */
    PLAN(g, "\x0f\xa2\x01\xc8", &work);
    assert_true(work.plan[0].flags_needed_before);
    PLAN(g, "\x01\xc8\x9c\x01\xc8", &work);
    expect_flags("010");
    PLAN(g, "\x9d", &work);
    expect_flags("1");
}

/* ---- x87 ---- */

static void pointers_are_left_to_the_next_that_sets_them(void **state)
{
    struct guest *g = *state;
    /* fld1; fld [rbx]; fabs; fadd [rbx]; fld [rbx]; nop; fld1; fnstsw ax; fninit */
    PLAN(g, "\xd9\xe8\xdd\x03\xd9\xe1\xdc\x03\xdd\x03\x90\xd9\xe8\xdf\xe0\xdb\xe3", &work);
    static const bool left[] = {true, false, true, true, false, false, false, false, false};
    assert_int_equal(work.plan[7].kind, KIND_COPY);
    assert_false(work.plan[7].sets_pointers);
    for (unsigned i = 0; i < sizeof(left); i++)
        assert_true(work.plan[i].leaves_pointers == left[i]);
}

static void vector_levels_are_known(void **state)
{
    struct guest *g = *state;
    /* addps; vaddps; fld1; movq mm0, mm1; add; andn */
    PLAN(g, "\x0f\x58\xc1\xc5\xf4\x58\xc2\xd9\xe8\x0f\x6f\xc1\x01\xc8\xc4\xe2\x78\xf2\xc1", &work);
    static const uint8_t level[] = {VECTOR_SSE, VECTOR_AVX,  VECTOR_SSE,
                                    VECTOR_SSE, VECTOR_NONE, VECTOR_NONE};
    for (unsigned i = 0; i < sizeof(level); i++)
        assert_int_equal(work.plan[i].level, level[i]);
}

static void what_could_not_be_encoded_is_interpreted(void **state)
{
    struct guest *g = *state;
    PLAN(g, "\x8a\x23\x01\xc8", &work); /* mov ah, [rbx]; add eax, ecx */
    assert_int_equal(work.plan[0].kind, KIND_COPY);
    work.refused[0] = true;
    plan_block(&work);
    assert_int_equal(work.plan[0].kind, KIND_INTERPRET);
    assert_int_equal(work.plan[0].reach[REACH_OPERAND].size, 0);
    assert_int_equal(work.plan[1].kind, KIND_COPY);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, guest_setup_translated, guest_teardown)

int main(void)
{
    if (!translator_is_possible()) {
        print_message("1..0 # SKIP this host cannot run translations\n");
        return 0;
    }
    const struct CMUnitTest tests[] = {
        TEST(what_only_computes_is_copied),
        TEST(what_computes_addresses_or_masks_is_interpreted),
        TEST(what_touches_the_system_is_interpreted),
        TEST(branches_have_kinds_of_their_own),
        TEST(branches_to_no_address_are_interpreted),
        TEST(stack_forms_of_64_bits_are_translated),
        TEST(other_kinds_are_found),
        TEST(user_code_has_no_kinds_of_the_kernel),
        TEST(accesses_tell_where_and_how_large_they_are),
        TEST(accesses_that_are_not_plain_have_no_base),
        TEST(flags_die_where_all_are_written),
        TEST(no_flags_die_where_all_are_to_be_kept),
        TEST(flags_live_where_some_are_kept_or_read),
        TEST(interpreted_instructions_read_flags),
        TEST(pointers_are_left_to_the_next_that_sets_them),
        TEST(vector_levels_are_known),
        TEST(what_could_not_be_encoded_is_interpreted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
