/* What the assembler writes, read back by a decoder that is not ours. */
#include "engine/soft/assemble.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <Zydis/Zydis.h>

#include <cmocka.h>

enum { ROOM = 64, REGISTERS = 16, RSP = 4, TEXT = 512 };

struct host {
    _Alignas(16) uint8_t code[ROOM];
    struct emit emit;
    const uint8_t *read; /* what was not decoded yet */
    ZydisDecodedInstruction instruction;
    ZydisDecodedOperand operand[ZYDIS_MAX_OPERAND_COUNT];
};

static void begin(struct host *h)
{
    *h = (struct host){.emit = {.at = h->code, .end = h->code + ROOM}, .read = h->code};
}

static void decode_next(struct host *h)
{
    ZydisDecoder decoder;
    assert_true(
        ZYAN_SUCCESS(ZydisDecoderInit(&decoder, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64)));
    assert_true(ZYAN_SUCCESS(ZydisDecoderDecodeFull(
        &decoder, h->read, (size_t)(h->emit.at - h->read), &h->instruction, h->operand)));
    h->read += h->instruction.length;
}

/* All that was written is this one instruction. */
static void decode_one(struct host *h, ZydisMnemonic mnemonic)
{
    assert_false(h->emit.full);
    decode_next(h);
    assert_ptr_equal(h->read, h->emit.at);
    assert_string_equal(ZydisMnemonicGetString(h->instruction.mnemonic),
                        ZydisMnemonicGetString(mnemonic));
}

static void expect_register(const ZydisDecodedOperand *operand, unsigned width, unsigned number)
{
    ZydisRegisterClass class = ZYDIS_REGCLASS_GPR64;
    if (width == 4)
        class = ZYDIS_REGCLASS_GPR32;
    else if (width == 2)
        class = ZYDIS_REGCLASS_GPR16;
    assert_int_equal(operand->type, ZYDIS_OPERAND_TYPE_REGISTER);
    assert_int_equal(operand->reg.value, ZydisRegisterEncode(class, (ZyanU8)number));
}

static ZydisRegister register64(unsigned number)
{
    return number == NO_REGISTER ? ZYDIS_REGISTER_NONE
                                 : ZydisRegisterEncode(ZYDIS_REGCLASS_GPR64, (ZyanU8)number);
}

static void expect_place(const ZydisDecodedOperand *operand, const struct place *place)
{
    const ZydisDecodedOperandMem *memory = &operand->mem;
    assert_int_equal(operand->type, ZYDIS_OPERAND_TYPE_MEMORY);
    assert_int_equal(memory->base, register64(place->base));
    assert_int_equal(memory->index, register64(place->index));
    if (place->index != NO_REGISTER)
        assert_int_equal(memory->scale, 1 << place->scale);
    assert_int_equal(memory->disp.has_displacement ? memory->disp.value : 0, place->disp);
    assert_true((memory->segment == ZYDIS_REGISTER_GS) == place->in_cpu);
}

static void expect_immediate(const ZydisDecodedOperand *operand, int64_t value)
{
    assert_int_equal(operand->type, ZYDIS_OPERAND_TYPE_IMMEDIATE);
    assert_int_equal(operand->imm.value.s, value);
}

/* All that was written, as text. */
static const char *text_of(struct host *h)
{
    static char text[TEXT];
    size_t used = 0;
    ZydisFormatter formatter;
    assert_true(ZYAN_SUCCESS(ZydisFormatterInit(&formatter, ZYDIS_FORMATTER_STYLE_INTEL)));
    assert_false(h->emit.full);
    while (h->read < h->emit.at) {
        if (used > 0)
            text[used++] = '\n';
        decode_next(h);
        assert_true(ZYAN_SUCCESS(ZydisFormatterFormatInstruction(
            &formatter, &h->instruction, h->operand, h->instruction.operand_count_visible,
            text + used, sizeof(text) - used, ZYDIS_RUNTIME_ADDRESS_NONE, NULL)));
        used += strlen(text + used);
    }
    return text;
}

/* ---- operands ---- */

/* With a register as destination, unless `reversed`. */
static const struct {
    unsigned opcode;
    ZydisMnemonic mnemonic;
    bool reversed;
} opcodes[] = {
    {OPCODE_ADD, ZYDIS_MNEMONIC_ADD, false},  {OPCODE_OR, ZYDIS_MNEMONIC_OR, false},
    {OPCODE_AND, ZYDIS_MNEMONIC_AND, false},  {OPCODE_SUB, ZYDIS_MNEMONIC_SUB, false},
    {OPCODE_XOR, ZYDIS_MNEMONIC_XOR, false},  {OPCODE_CMP, ZYDIS_MNEMONIC_CMP, false},
    {OPCODE_LOAD, ZYDIS_MNEMONIC_MOV, false}, {OPCODE_STORE, ZYDIS_MNEMONIC_MOV, true},
    {OPCODE_TEST, ZYDIS_MNEMONIC_TEST, true},
};
enum { OPCODES = sizeof(opcodes) / sizeof(opcodes[0]) };

static void check_registers(unsigned i, bool wide, unsigned reg, unsigned rm)
{
    struct host h;
    begin(&h);
    assemble_registers(&h.emit, wide, opcodes[i].opcode, reg, rm);
    decode_one(&h, opcodes[i].mnemonic);
    expect_register(&h.operand[opcodes[i].reversed ? 1 : 0], wide ? 8 : 4, reg);
    expect_register(&h.operand[opcodes[i].reversed ? 0 : 1], wide ? 8 : 4, rm);
}

static void every_pair_of_registers_is_named(void **state)
{
    (void)state;
    for (unsigned i = 0; i < OPCODES; i++) {
        for (unsigned pair = 0; pair < REGISTERS * REGISTERS; pair++) {
            check_registers(i, false, pair / REGISTERS, pair % REGISTERS);
            check_registers(i, true, pair / REGISTERS, pair % REGISTERS);
        }
    }
}

static void check_memory(unsigned i, bool wide, unsigned reg, const struct place *place)
{
    struct host h;
    begin(&h);
    assemble_memory(&h.emit, wide, opcodes[i].opcode, reg, place);
    decode_one(&h, opcodes[i].mnemonic);
    expect_register(&h.operand[opcodes[i].reversed ? 1 : 0], wide ? 8 : 4, reg);
    expect_place(&h.operand[opcodes[i].reversed ? 0 : 1], place);
    assert_int_equal(h.operand[0].size, wide ? 64 : 32);
}

static const int32_t distances[] = {0, 8, -1, 127, -128, 128, -129, 0x12345678, INT32_MIN};
enum { DISTANCES = sizeof(distances) / sizeof(distances[0]) };

static void check_distances(struct place place)
{
    for (unsigned i = 0; i < DISTANCES; i++) {
        place.disp = distances[i];
        check_memory(i % OPCODES, i % 2 == 0, (place.base + i) % REGISTERS, &place);
    }
}

/* RBP and R13 have no form without a distance, RSP and R12 none without an index byte. */
static void every_base_has_every_distance(void **state)
{
    (void)state;
    for (unsigned base = 0; base < REGISTERS; base++) {
        check_distances(place_at(base, 0));
        for (unsigned i = 0; i < OPCODES; i++) {
            struct place place = place_at(base, 0);
            check_memory(i, true, base, &place);
        }
    }
}

static void every_index_goes_with_every_base(void **state)
{
    (void)state;
    for (unsigned pair = 0; pair < REGISTERS * REGISTERS; pair++) {
        struct place place = {.base = (uint8_t)(pair / REGISTERS),
                              .index = (uint8_t)(pair % REGISTERS),
                              .scale = (uint8_t)(pair % 4)};
        if (place.index == RSP)
            continue; /* means none: Intel SDM vol. 2A § 2.1.5 */
        check_distances(place);
        place.base = NO_REGISTER;
        check_distances(place);
    }
}

static void fields_of_the_vcpu_lie_behind_gs(void **state)
{
    (void)state;
    for (unsigned base = 0; base < REGISTERS; base++) {
        struct place field = place_of_cpu(0x12345);
        check_memory(base % OPCODES, true, base, &field);
        field.base = (uint8_t)base;
        check_memory(base % OPCODES, false, base, &field);
    }
}

static void sixteen_bits_have_a_prefix(void **state)
{
    (void)state;
    for (unsigned reg = 0; reg < REGISTERS; reg++) {
        struct host h;
        struct place place = place_at(reg, 8);
        begin(&h);
        assemble_memory16(&h.emit, OPCODE_STORE, reg, &place);
        decode_one(&h, ZYDIS_MNEMONIC_MOV);
        expect_place(&h.operand[0], &place);
        expect_register(&h.operand[1], 2, reg);
    }
}

static void narrow_loads_clear_the_rest(void **state)
{
    (void)state;
    struct host h;
    struct place field = place_of_cpu(0x40);
    struct place above = place_at(13, 8);
    begin(&h);
    assemble_memory(&h.emit, false, OPCODE_MOVZX8, 14, &field);
    assemble_memory(&h.emit, false, OPCODE_MOVZX16, 0, &field);
    assemble_memory(&h.emit, false, OPCODE_STORE8, 13, &field);
    assemble_memory(&h.emit, true, OPCODE_LEA, 12, &above);
    assert_string_equal(text_of(&h), "movzx r14d, byte ptr gs:[0x0000000000000040]\n"
                                     "movzx eax, word ptr gs:[0x0000000000000040]\n"
                                     "mov gs:[0x0000000000000040], r13b\n"
                                     "lea r12, [r13+0x08]");
}

/* ---- constants ---- */

static void check_group1(unsigned operation, ZydisMnemonic mnemonic, unsigned reg)
{
    for (unsigned i = 0; i < DISTANCES; i++) {
        struct host h;
        begin(&h);
        assemble_group1(&h.emit, true, operation, reg, distances[i]);
        decode_one(&h, mnemonic);
        expect_register(&h.operand[0], 8, reg);
        expect_immediate(&h.operand[1], distances[i]);
        begin(&h);
        assemble_group1(&h.emit, false, operation, reg, distances[i]);
        decode_one(&h, mnemonic);
        expect_register(&h.operand[0], 4, reg);
        assert_int_equal((int32_t)h.operand[1].imm.value.s, distances[i]);
    }
}

static void group1_takes_any_constant(void **state)
{
    (void)state;
    for (unsigned reg = 0; reg < REGISTERS; reg++) {
        check_group1(0, ZYDIS_MNEMONIC_ADD, reg);
        check_group1(1, ZYDIS_MNEMONIC_OR, reg);
        check_group1(4, ZYDIS_MNEMONIC_AND, reg);
        check_group1(6, ZYDIS_MNEMONIC_XOR, reg);
        check_group1(7, ZYDIS_MNEMONIC_CMP, reg);
    }
}

/* Of three lengths; only 64 bits may hold what is neither short signed nor short unsigned. */
static void constants_arrive_whole(void **state)
{
    (void)state;
    static const struct {
        uint64_t value;
        unsigned width;
    } rows[] = {{0, 4},
                {1, 4},
                {UINT32_MAX, 4},
                {UINT64_C(0x80000000), 4},
                {UINT64_MAX, 8},
                {UINT64_C(0xffffffff80000000), 8},
                {UINT64_C(0xffffffff7fffffff), 8},
                {UINT64_C(0x100000000), 8},
                {UINT64_C(0x123456789abcdef0), 8}};
    for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]) * REGISTERS; i++) {
        struct host h;
        uint64_t value = rows[i / REGISTERS].value;
        unsigned width = rows[i / REGISTERS].width;
        begin(&h);
        assemble_constant(&h.emit, i % REGISTERS, value);
        decode_one(&h, ZYDIS_MNEMONIC_MOV);
        expect_register(&h.operand[0], width, i % REGISTERS);
        uint64_t mask = width == 4 ? UINT32_MAX : UINT64_MAX;
        assert_int_equal(h.operand[1].imm.value.u & mask, value);
    }
}

static void constants_are_stored_sign_extended(void **state)
{
    (void)state;
    for (unsigned base = 0; base < REGISTERS; base++) {
        struct host h;
        struct place place = place_at(base, 8);
        begin(&h);
        assemble_store_constant(&h.emit, &place, -2);
        decode_one(&h, ZYDIS_MNEMONIC_MOV);
        expect_place(&h.operand[0], &place);
        assert_int_equal(h.operand[0].size, 64);
        expect_immediate(&h.operand[1], -2);
    }
}

static void fields_are_compared_and_changed(void **state)
{
    (void)state;
    struct host h;
    begin(&h);
    assemble_compare_field(&h.emit, 1, 0x40, 2);
    assemble_compare_field(&h.emit, 4, 0x40, 0);
    assemble_group1_field(&h.emit, 1, 0x40, 0x200);
    assemble_group1_field(&h.emit, 4, 0x40, ~0x200);
    assemble_test_field(&h.emit, 0x40, 0x400);
    assert_string_equal(text_of(&h), "cmp byte ptr gs:[0x0000000000000040], 0x02\n"
                                     "cmp dword ptr gs:[0x0000000000000040], 0x00\n"
                                     "or dword ptr gs:[0x0000000000000040], 0x200\n"
                                     "and dword ptr gs:[0x0000000000000040], 0xFFFFFDFF\n"
                                     "test dword ptr gs:[0x0000000000000040], 0x400");
}

static void shifts_and_rotations_name_their_registers(void **state)
{
    (void)state;
    for (unsigned pair = 0; pair < REGISTERS * REGISTERS; pair++) {
        struct host h;
        begin(&h);
        assemble_rotate32(&h.emit, pair / REGISTERS, pair % REGISTERS, 7);
        decode_one(&h, ZYDIS_MNEMONIC_RORX);
        expect_register(&h.operand[0], 4, pair / REGISTERS);
        expect_register(&h.operand[1], 4, pair % REGISTERS);
        expect_immediate(&h.operand[2], 7);
    }
    struct host h;
    begin(&h);
    assemble_shift_left32(&h.emit, 14, 5);
    assemble_shift_right32(&h.emit, 3, 11);
    assert_string_equal(text_of(&h), "shl r14d, 0x05\nshr ebx, 0x0B");
}

/* ---- flags ---- */

static void flags_travel_through_rax_and_leave_it_as_it_was(void **state)
{
    (void)state;
    struct host h;
    begin(&h);
    assemble_save_flags(&h.emit, 0x40, 13);
    assert_string_equal(text_of(&h), "mov r13, rax\nlahf\nseto al\n"
                                     "mov gs:[0x0000000000000040], ax\nmov rax, r13");
    begin(&h);
    assemble_restore_flags(&h.emit, 0x40, 14);
    assert_string_equal(text_of(&h), "mov r14, rax\n"
                                     "movzx eax, word ptr gs:[0x0000000000000040]\n"
                                     "add al, 0x7F\nsahf\nmov rax, r14");
}

/* ---- control flow ---- */

static void expect_jump(struct host *h, ZydisMnemonic mnemonic, uint8_t *site)
{
    enum { DISTANCE = 0x1234 };
    assemble_set_distance(site, h->emit.at + DISTANCE);
    decode_one(h, mnemonic);
    expect_immediate(&h->operand[0], DISTANCE);
    assert_int_equal(h->instruction.raw.imm[0].size, 32);
    assert_ptr_equal(site, h->emit.at - 4);
}

static void jumps_go_where_they_are_set(void **state)
{
    (void)state;
    static const struct {
        unsigned condition;
        ZydisMnemonic mnemonic;
    } rows[] = {{CONDITION_B, ZYDIS_MNEMONIC_JB},
                {CONDITION_E, ZYDIS_MNEMONIC_JZ},
                {CONDITION_NE, ZYDIS_MNEMONIC_JNZ},
                {CONDITION_A, ZYDIS_MNEMONIC_JNBE}};
    struct host h;
    begin(&h);
    expect_jump(&h, ZYDIS_MNEMONIC_JMP, assemble_jump(&h.emit));
    begin(&h);
    expect_jump(&h, ZYDIS_MNEMONIC_CALL, assemble_call(&h.emit));
    for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        begin(&h);
        expect_jump(&h, rows[i].mnemonic, assemble_jump_if(&h.emit, rows[i].condition));
    }
}

/* The NOPs in front of a jump, then the jump itself. */
static void expect_patchable(struct host *h, ZydisMnemonic mnemonic, uint8_t *site)
{
    assert_int_equal((uintptr_t)site % 4, 0);
    do
        decode_next(h);
    while (h->instruction.mnemonic == ZYDIS_MNEMONIC_NOP);
    assert_int_equal(h->instruction.mnemonic, mnemonic);
    assert_ptr_equal(h->read, site + 4);
    assert_ptr_equal(h->read, h->emit.at);
}

static void patchable_jumps_have_an_aligned_distance(void **state)
{
    (void)state;
    for (unsigned before = 0; before < 8; before++) {
        struct host h;
        begin(&h);
        h.emit.at += before;
        h.read = h.emit.at;
        expect_patchable(&h, ZYDIS_MNEMONIC_JMP, assemble_patchable_jump(&h.emit));
        begin(&h);
        h.emit.at += before;
        h.read = h.emit.at;
        expect_patchable(&h, ZYDIS_MNEMONIC_JZ, assemble_patchable_jump_if(&h.emit, CONDITION_E));
    }
}

static void registers_are_jumped_to_called_and_stacked(void **state)
{
    (void)state;
    static const struct {
        void (*assemble)(struct emit *emit, unsigned reg);
        ZydisMnemonic mnemonic;
    } rows[] = {{assemble_jump_register, ZYDIS_MNEMONIC_JMP},
                {assemble_call_register, ZYDIS_MNEMONIC_CALL},
                {assemble_push, ZYDIS_MNEMONIC_PUSH},
                {assemble_pop, ZYDIS_MNEMONIC_POP}};
    for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]) * REGISTERS; i++) {
        struct host h;
        begin(&h);
        rows[i / REGISTERS].assemble(&h.emit, i % REGISTERS);
        decode_one(&h, rows[i / REGISTERS].mnemonic);
        expect_register(&h.operand[0], 8, i % REGISTERS);
    }
}

static void memory_is_jumped_through(void **state)
{
    (void)state;
    struct host h;
    struct place place = place_of_cpu(0x40);
    place.base = 14;
    begin(&h);
    assemble_jump_memory(&h.emit, &place);
    decode_one(&h, ZYDIS_MNEMONIC_JMP);
    expect_place(&h.operand[0], &place);
    begin(&h);
    assemble_return(&h.emit);
    decode_one(&h, ZYDIS_MNEMONIC_RET);
}

static void alignment_is_filled_with_nops(void **state)
{
    (void)state;
    for (unsigned before = 0; before < 16; before++) {
        for (unsigned from = 0; from < 16; from++) {
            struct host h;
            begin(&h);
            h.emit.at += before;
            h.read = h.emit.at;
            assemble_align(&h.emit, 16, from);
            assert_int_equal((uintptr_t)h.emit.at % 16, from);
            assert_true(h.emit.at < h.read + 16);
            while (h.read < h.emit.at) {
                decode_next(&h);
                assert_int_equal(h.instruction.mnemonic, ZYDIS_MNEMONIC_NOP);
            }
        }
    }
}

/* ---- no room ---- */

static void what_does_not_fit_is_noted_and_not_written(void **state)
{
    (void)state;
    struct host h;
    begin(&h);
    h.code[4] = 0x5a;
    h.emit.end = h.code + 4;
    uint8_t *site = assemble_jump(&h.emit);
    assert_true(h.emit.full);
    assert_true(site != NULL);
    assert_int_equal(h.code[4], 0x5a);
    assemble_constant(&h.emit, 1, UINT64_MAX / 3);
    assert_true(h.emit.at <= h.emit.end);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_pair_of_registers_is_named),
        cmocka_unit_test(every_base_has_every_distance),
        cmocka_unit_test(every_index_goes_with_every_base),
        cmocka_unit_test(fields_of_the_vcpu_lie_behind_gs),
        cmocka_unit_test(sixteen_bits_have_a_prefix),
        cmocka_unit_test(narrow_loads_clear_the_rest),
        cmocka_unit_test(group1_takes_any_constant),
        cmocka_unit_test(constants_arrive_whole),
        cmocka_unit_test(constants_are_stored_sign_extended),
        cmocka_unit_test(fields_are_compared_and_changed),
        cmocka_unit_test(shifts_and_rotations_name_their_registers),
        cmocka_unit_test(flags_travel_through_rax_and_leave_it_as_it_was),
        cmocka_unit_test(jumps_go_where_they_are_set),
        cmocka_unit_test(patchable_jumps_have_an_aligned_distance),
        cmocka_unit_test(registers_are_jumped_to_called_and_stacked),
        cmocka_unit_test(memory_is_jumped_through),
        cmocka_unit_test(alignment_is_filled_with_nops),
        cmocka_unit_test(what_does_not_fit_is_noted_and_not_written),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
