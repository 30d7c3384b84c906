/* The parts of a translation: ways in, instructions, stubs; and blocks that get none. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "engine/soft/translate_private.h"
#include "engine/soft/xsave.h"
#include "tests/harness/soft_fixture.h"

static struct block *block_at(const struct guest *g, uint64_t at)
{
    struct block *block = code_lookup(g->soft->code, at, at, g->cpu->mode);
    assert_non_null(block);
    return block;
}

/* The translation of bytes at CODE_AT. */
static const struct translation *translate(struct guest *g, const void *bytes, size_t length)
{
    guest_place(g, CODE_AT, bytes, length);
    g->cpu->gpr[GPR_RBX] = DATA_AT;
    for (unsigned i = 0; i < 3; i++) {
        guest_start(g, CODE_AT);
        assert_int_equal(guest_run_to_port(g), PORT_DONE);
    }
    const struct translation *made = atomic_load(&block_at(g, CODE_AT)->translation);
    assert_non_null(made);
    return made;
}
#define TRANSLATE(g, bytes) translate(g, "" bytes, sizeof(bytes) - 1)

/* ---- ways in ---- */

static const uint8_t *door_of(const struct guest *g, const struct translation *made)
{
    const struct translator *translator = g->soft->code->translator;
    return translator->executable + (made->door - translator->writable);
}

/* Behind the door lies the first instruction, in front of it what leads there. */
static void check_entries(const struct guest *g, const struct translation *made)
{
    const uint8_t *entry[] = {made->entry, made->entry_poll, made->entry_saved,
                              made->entry_saved_poll};
    for (unsigned i = 0; i < 4; i++)
        assert_true(entry[i] >= made->base && entry[i] < made->base + made->length);
    assert_ptr_equal(door_of(g, made) + 5, made->base + made->op_start[0]);
    assert_true(made->entry_saved <= door_of(g, made));
    assert_true(made->entry <= door_of(g, made));
    assert_true(made->entry_saved_poll < made->entry_saved);
}

static void block_that_overwrites_flags_takes_any(void **state)
{
    struct guest *g = *state;
    const struct translation *made = TRANSLATE(g, "\x01\xc8"); /* add eax, ecx */
    check_entries(g, made);
    assert_ptr_equal(made->entry, door_of(g, made));
    assert_non_null(made->door_saved);
    assert_true(made->entry_saved < made->entry_poll); /* by a door of its own */
    assert_true(made->entry_poll < made->entry);
}

static void block_that_reads_flags_takes_them_live(void **state)
{
    struct guest *g = *state;
    const struct translation *made = TRANSLATE(g, "\x11\xc8"); /* adc eax, ecx */
    check_entries(g, made);
    assert_ptr_equal(made->entry, door_of(g, made));
    assert_true(made->entry_saved < made->entry);
    assert_true(made->entry_poll > made->base + made->op_start[made->block->count]);
}

static void block_that_looks_up_first_takes_them_saved(void **state)
{
    struct guest *g = *state;
    const struct translation *made = TRANSLATE(g, "\x48\x8b\x03"); /* mov rax, [rbx] */
    check_entries(g, made);
    assert_true(made->entry < made->entry_saved_poll);
    assert_ptr_equal(made->entry_poll, made->entry);
}

/* ---- instructions ---- */

static void instructions_lie_one_behind_the_other(void **state)
{
    struct guest *g = *state;
    enum { FCW_DEFAULT = 0x37f };
    xsave_put(g->cpu->xsave, XSAVE_FCW, 2, FCW_DEFAULT);
    /* mov eax, ecx; mov rax, [rbx]; nop; cld; mov ebx, DATA_AT; add [rbx], rcx; fld1; fabs; jz +0
     */
    const struct translation *made =
        TRANSLATE(g, "\x89\xc8\x48\x8b\x03\x90\xfc\xbb\x00\x00\x04\x00\x48\x01\x0b\xd9\xe8\xd9"
                     "\xe1\x74\x00");
    const struct block *block = made->block;
    assert_true(block->count >= 10);
    for (unsigned i = 0; i < block->count; i++) {
        assert_true(made->op_start[i] <= made->op_start[i + 1]);
        bool has_stub = made->op_stub[i] != 0;
        if (has_stub)
            assert_true(made->op_stub[i] >= made->op_start[block->count] &&
                        made->op_stub[i] < made->length);
    }
    assert_int_equal(made->op_start[2], made->op_start[3]); /* NOP */
    static const bool stub[] = {false, true, false, false, false, true, true, true, false, false};
    static const bool left[] = {false, false, false, false, false, false, true, false, false};
    for (unsigned i = 0; i < sizeof(left); i++) {
        assert_true((made->op_stub[i] != 0) == stub[i]);
        assert_true(((made->trait[i] & TRAIT_LEFT) != 0) == left[i]);
    }
    assert_true(made->has_vectors);
}

/* Only what was decoded from R13 can be encoded: AH goes with no register above RDI. */
static void instruction_that_cannot_be_moved_is_interpreted(void **state)
{
    struct guest *g = *state;
    guest_write(g, DATA_AT, "\x5a", 1);
    const struct translation *made = TRANSLATE(g, "\x8a\x23"); /* mov ah, [rbx] */
    assert_int_equal(made->op_stub[0], 0);
    assert_int_equal(g->cpu->gpr[GPR_RAX] >> 8 & 0xff, 0x5a);
}

static void longest_block_fits(void **state)
{
    struct guest *g = *state;
    /* lock add [rbx+rcx], r12; jz +0 */
    static const uint8_t unit[] = {0xf0, 0x4c, 0x01, 0x24, 0x0b, 0x74, 0x00};
    uint8_t code[600];
    unsigned length = 0;
    while (length + sizeof(unit) < sizeof(code)) {
        memcpy(code + length, unit, sizeof(unit));
        length += sizeof(unit);
    }
    const struct translation *made = translate(g, code, length);
    assert_true(made->block->count >= 48);
    assert_true(made->block->count <= TRANSLATE_MAX_OPS);
}

/* ---- blocks that get none ---- */

static void block_outside_of_64_bit_code_gets_none(void **state)
{
    struct guest *g = *state;
    guest_use_protected(g, 0);
    PLACE(g, CODE_AT, "\x90");
    for (unsigned i = 0; i < 3; i++) {
        guest_start(g, CODE_AT);
        assert_int_equal(guest_run_to_port(g), PORT_DONE);
    }
    assert_null(atomic_load(&block_at(g, CODE_AT)->translation));
}

static void block_that_ran_seldom_gets_none(void **state)
{
    (void)state;
    struct guest *g = guest_create_with(1, ENGINE_TRANSLATE_HOT);
    PLACE(g, CODE_AT, "\x90");
    unsigned runs = 0;
    do {
        guest_start(g, CODE_AT);
        assert_int_equal(guest_run_to_port(g), PORT_DONE);
    } while (atomic_load(&block_at(g, CODE_AT)->translation) == NULL && ++runs < 1000);
    assert_true(runs > 10 && runs < 1000);
    guest_destroy(g);
}

static void block_is_not_translated_twice_or_when_it_is_stale(void **state)
{
    struct guest *g = *state;
    const struct translation *made = TRANSLATE(g, "\x90");
    struct block *block = made->block;
    translator_add(g->cpu, block);
    assert_ptr_equal(atomic_load(&block->translation), made);
    guest_write(g, CODE_AT, "\xf8", 1);
    atomic_store(&block->translation, NULL);
    translator_add(g->cpu, block);
    assert_null(atomic_load(&block->translation));
    assert_int_equal(block->heat, TRANSLATION_REFUSED);
}

/* It is interpreted until the arena begins anew, which the next block brings about. */
static void block_without_room_is_interpreted(void **state)
{
    struct guest *g = *state;
    struct translator *translator = g->soft->code->translator;
    (void)TRANSLATE(g, "\x90");
    translator->used = translator->size - 100;
    PLACE(g, CODE_AT + 0x40, "\x01\xc8");
    g->cpu->gpr[GPR_RCX] = 7;
    guest_start(g, CODE_AT + 0x40);
    assert_int_equal(guest_run_to_port(g), PORT_DONE);
    assert_int_equal(g->cpu->gpr[GPR_RAX], 7);
    assert_int_equal(translator->used, translator->size - 100);
    guest_start(g, CODE_AT + 1);
    assert_int_equal(guest_run_to_port(g), PORT_DONE);
    assert_true(translator->used < translator->size / 2);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, guest_setup_translated, guest_teardown)

int main(void)
{
    if (!translator_is_possible()) {
        print_message("1..0 # SKIP this host cannot run translations\n");
        return 0;
    }
    const struct CMUnitTest tests[] = {
        TEST(block_that_overwrites_flags_takes_any),
        TEST(block_that_reads_flags_takes_them_live),
        TEST(block_that_looks_up_first_takes_them_saved),
        TEST(instructions_lie_one_behind_the_other),
        TEST(instruction_that_cannot_be_moved_is_interpreted),
        TEST(longest_block_fits),
        TEST(block_outside_of_64_bit_code_gets_none),
        cmocka_unit_test(block_that_ran_seldom_gets_none),
        TEST(block_is_not_translated_twice_or_when_it_is_stale),
        TEST(block_without_room_is_interpreted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
