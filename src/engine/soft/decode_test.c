/* From bytes to operands: what each field of struct op holds. */
#include "engine/soft/decode.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <Zydis/Zydis.h>

#include <cmocka.h>

#include "engine/soft/ops.h"
#include "engine/soft/ops_integer.h"
#include "engine/soft/partition.h"

enum { RIP = 0x1000, BITS64 = MODE_LONG, BITS32 = MODE_CODE32 | MODE_STACK32, BITS16 = MODE_REAL };

struct fixture {
    struct soft_partition partition;
    struct decoder *decoder;
    struct op op;
};

static int setup_level(void **state, enum engine_cpu_level level)
{
    struct reason reason;
    struct fixture *f = calloc(1, sizeof(*f));
    assert_non_null(f);
    f->partition.config.cpu_level = level;
    f->partition.config.vcpu_count = 1;
    assert_int_equal(cpuid_build(&f->partition, &reason), 0);
    assert_int_equal(decoder_create(&f->partition, &f->decoder), 0);
    *state = f;
    return 0;
}

static int setup(void **state)
{
    return setup_level(state, ENGINE_CPU_HOST);
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    decoder_destroy(f->decoder);
    free(f);
    return 0;
}

static enum decode_result decode_bytes(struct fixture *f, uint32_t mode, const char *bytes,
                                       unsigned length)
{
    return decode(f->decoder, (const uint8_t *)bytes, length, RIP, mode, &f->op);
}

#define DECODE(f, mode, bytes) decode_bytes(f, mode, "" bytes, sizeof(bytes) - 1)

static void assert_memory(const struct op *op, unsigned base, unsigned index, unsigned scale,
                          uint64_t disp)
{
    assert_true(op->flags & OP_MEMORY);
    assert_int_equal(op->base, base);
    assert_int_equal(op->index, index);
    assert_int_equal(op->scale, scale);
    assert_int_equal(op->disp, disp);
}

/* ---- operands ---- */

static void registers_are_byte_offsets(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(DECODE(f, BITS64, "\x4d\x01\xfe"), DECODE_GOES_ON); /* add r14, r15 */
    assert_ptr_equal(f->op.run, op_add[FORM_RR][3]);
    assert_int_equal(f->op.rm, 14 * 8);
    assert_int_equal(f->op.reg, 15 * 8);
    assert_int_equal(f->op.length, 3);
    assert_int_equal(f->op.width, 8);
    assert_int_equal(DECODE(f, BITS64, "\x00\xfc"), DECODE_GOES_ON); /* add ah, bh */
    assert_ptr_equal(f->op.run, op_add[FORM_RR][0]);
    assert_int_equal(f->op.rm, 1);
    assert_int_equal(f->op.reg, GPR_RBX * 8 + 1);
    assert_int_equal(DECODE(f, BITS64, "\x40\x00\xfc"), DECODE_GOES_ON); /* add spl, dil */
    assert_int_equal(f->op.rm, GPR_RSP * 8);
    assert_int_equal(f->op.reg, GPR_RDI * 8);
}

static void memory_operands_of_64_bit_code(void **state)
{
    struct fixture *f = *state;
    /* mov rax, [r13+r12*8-0x80] */
    assert_int_equal(DECODE(f, BITS64, "\x4b\x8b\x44\xe5\x80"), DECODE_GOES_ON);
    assert_ptr_equal(f->op.run, op_mov[FORM_RM][3]);
    assert_memory(&f->op, GPR_R13, GPR_R12, 3, (uint64_t)-0x80);
    assert_int_equal(f->op.reg, GPR_RAX * 8);
    assert_int_equal(f->op.segment, SEGMENT_FLAT);
    assert_int_equal(f->op.address_width, 8);
    /* mov [rip+0x10], rax: relative to the next instruction */
    assert_int_equal(DECODE(f, BITS64, "\x48\x89\x05\x10\x00\x00\x00"), DECODE_GOES_ON);
    assert_ptr_equal(f->op.run, op_mov[FORM_MR][3]);
    assert_memory(&f->op, GPR_RIP, GPR_ZERO, 0, RIP + 7 + 0x10);
    /* mov al, gs:[ebx]; then SS by RSP, which is flat but faults as the stack does */
    assert_int_equal(DECODE(f, BITS64, "\x65\x67\x8a\x03"), DECODE_GOES_ON);
    assert_int_equal(f->op.segment, SEGMENT_GS);
    assert_int_equal(f->op.address_width, 4);
    assert_int_equal(DECODE(f, BITS64, "\x8a\x04\x24"), DECODE_GOES_ON);
    assert_int_equal(f->op.segment, SEGMENT_FLAT);
    assert_true(f->op.flags & OP_STACK);
    /* mov eax, moffs64 */
    assert_int_equal(DECODE(f, BITS64, "\xa1\x88\x77\x66\x55\x44\x33\x22\x11"), DECODE_GOES_ON);
    assert_memory(&f->op, GPR_ZERO, GPR_ZERO, 0, UINT64_C(0x1122334455667788));
}

static void memory_operands_of_older_code(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(DECODE(f, BITS16, "\x8b\x42\xfe"), DECODE_GOES_ON); /* mov ax, [bp+si-2] */
    assert_ptr_equal(f->op.run, op_mov[FORM_RM][1]);
    assert_memory(&f->op, GPR_RBP, GPR_RSI, 0, (uint64_t)-2);
    assert_int_equal(f->op.segment, SEGMENT_SS);
    assert_int_equal(f->op.address_width, 2);
    assert_int_equal(DECODE(f, BITS32, "\x26\x89\x08"), DECODE_GOES_ON); /* mov es:[eax], ecx */
    assert_int_equal(f->op.segment, SEGMENT_ES);
    assert_int_equal(DECODE(f, BITS32, "\x66\x89\x08"), DECODE_GOES_ON);
    assert_int_equal(f->op.width, 2);
    assert_int_equal(f->op.segment, SEGMENT_DS);
}

static void immediates(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(DECODE(f, BITS64, "\x48\x83\xc0\xff"), DECODE_GOES_ON); /* add rax, -1 */
    assert_ptr_equal(f->op.run, op_add[FORM_RI][3]);
    assert_int_equal(f->op.imm, UINT64_MAX);
    assert_int_equal(DECODE(f, BITS64, "\xc8\x34\x12\x05"), DECODE_GOES_ON); /* enter 0x1234, 5 */
    assert_int_equal(f->op.imm, 0x1234);
    assert_int_equal(f->op.extra, 5);
    assert_int_equal(DECODE(f, BITS32, "\xea\x78\x56\x34\x12\xcd\xab"), DECODE_ENDS); /* jmp far */
    assert_int_equal(f->op.imm, 0x12345678);
    assert_int_equal(f->op.extra, 0xabcd);
}

static void targets_of_branches(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(DECODE(f, BITS64, "\xeb\xfe"), DECODE_ENDS);
    assert_int_equal(f->op.imm, RIP);
    assert_int_equal(DECODE(f, BITS64, "\x74\x10"), DECODE_GOES_ON);
    assert_ptr_equal(f->op.run, op_jcc_z);
    assert_int_equal(f->op.imm, RIP + 0x12);
    assert_int_equal(DECODE(f, BITS32, "\xe9\x00\xf0\xff\xff"), DECODE_ENDS);
    assert_int_equal(f->op.imm, 5);
    /* Below zero: 32 bits are kept, 16 with an operand of that width. */
    assert_int_equal(DECODE(f, BITS32, "\xe9\x00\xe0\xff\xff"), DECODE_ENDS);
    assert_int_equal(f->op.imm, 0xfffff005);
    assert_int_equal(DECODE(f, BITS16, "\xe9\x00\xe0"), DECODE_ENDS);
    assert_int_equal(f->op.imm, 0xf003);
    assert_int_equal(DECODE(f, BITS32, "\x66\xe9\x00\xe0"), DECODE_ENDS);
    assert_int_equal(f->op.imm, 0xf004);
}

static void prefixes_of_strings(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(DECODE(f, BITS64, "\xf3\x48\xa5"), DECODE_GOES_ON); /* rep movsq */
    assert_ptr_equal(f->op.run, op_movs);
    assert_int_equal(f->op.width, 8);
    assert_int_equal(f->op.flags & (OP_REP | OP_REPNE), OP_REP);
    assert_int_equal(DECODE(f, BITS64, "\xf3\xf2\xa6"), DECODE_GOES_ON); /* the last one counts */
    assert_ptr_equal(f->op.run, op_cmps);
    assert_int_equal(f->op.flags & (OP_REP | OP_REPNE), OP_REPNE);
    assert_int_equal(DECODE(f, BITS64, "\x64\xa4"), DECODE_GOES_ON); /* source from FS */
    assert_int_equal(f->op.segment, SEGMENT_FS);
    assert_int_equal(DECODE(f, BITS32, "\x2e\xac"), DECODE_GOES_ON); /* lodsb from CS */
    assert_int_equal(f->op.segment, SEGMENT_CS);
    assert_int_equal(DECODE(f, BITS32, "\xaa"), DECODE_GOES_ON); /* stosb */
    assert_ptr_equal(f->op.run, op_stos);
}

/* ---- what is not there ---- */

static void bytes_that_end_too_early(void **state)
{
    struct fixture *f = *state;
    static const char code[] = "\x66\x48\x81\x84\x8b\x78\x56\x34\x12\x11\x22\x33\x44";
    for (unsigned length = 0; length < sizeof(code) - 1; length++)
        assert_int_equal(decode_bytes(f, BITS64, code, length), DECODE_TRUNCATED);
    assert_int_equal(decode_bytes(f, BITS64, code, sizeof(code) - 1), DECODE_GOES_ON);
    assert_int_equal(f->op.length, sizeof(code) - 1);
}

static void instructions_that_do_not_exist(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(DECODE(f, BITS64, "\x06\x90"), DECODE_ENDS); /* push es */
    assert_ptr_equal(f->op.run, op_undefined);
    assert_in_range(f->op.length, 1, 2);
    assert_int_equal(DECODE(f, BITS32, "\x06"), DECODE_GOES_ON);
    assert_ptr_equal(f->op.run, op_push_segment);
    assert_int_equal(f->op.extra, SEGMENT_ES);
    assert_int_equal(DECODE(f, BITS64, "\xf0\x90"), DECODE_ENDS); /* lock nop */
    assert_ptr_equal(f->op.run, op_undefined);
    char prefixes[16];
    memset(prefixes, 0x66, sizeof(prefixes));
    assert_int_equal(decode_bytes(f, BITS64, prefixes, 15), DECODE_ENDS);
    assert_ptr_equal(f->op.run, op_too_long);
    assert_int_equal(f->op.length, 15);
}

/* What CPUID does not show is not there, whatever the host can do. */
static void level_of_the_processor_counts(void **state)
{
    struct fixture *host = *state;
    void *v2_state = NULL;
    (void)setup_level(&v2_state, ENGINE_CPU_V2);
    struct fixture *v2 = v2_state;
    static const char vaddps[] = "\xc5\xfc\x58\xc1"; /* vaddps ymm0, ymm0, ymm1 */
    static const char popcnt[] = "\xf3\x48\x0f\xb8\xc1";
    assert_int_equal(decode_bytes(v2, BITS64, vaddps, 4), DECODE_ENDS);
    assert_ptr_equal(v2->op.run, op_undefined);
    assert_int_equal(decode_bytes(v2, BITS64, popcnt, 5), DECODE_GOES_ON);
    assert_non_null(v2->op.thunk);
    bool shown = cpuid_shows(&host->partition, ZYDIS_ISA_SET_AVX);
    assert_int_equal(decode_bytes(host, BITS64, vaddps, 4), shown ? DECODE_GOES_ON : DECODE_ENDS);
    assert_int_equal(host->op.thunk != NULL, shown);
    /* LZCNT without the feature is BSR, as on an older processor. */
    static const char lzcnt[] = "\xf3\x0f\xbd\xc1";
    assert_int_equal(decode_bytes(v2, BITS64, lzcnt, 4), DECODE_GOES_ON);
    assert_non_null(v2->op.thunk);
    (void)teardown(&v2_state);
}

static void thunks_are_shared(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(DECODE(f, BITS64, "\x48\x0f\xaf\x03"), DECODE_GOES_ON); /* imul rax, [rbx] */
    const struct thunk *first = f->op.thunk;
    assert_non_null(first);
    assert_int_equal(DECODE(f, BITS64, "\x48\x0f\xaf\x41\x08"), DECODE_GOES_ON); /* … [rcx+8] */
    assert_ptr_equal(f->op.thunk, first);
    assert_int_equal(DECODE(f, BITS64, "\x48\x0f\xaf\x0b"), DECODE_GOES_ON); /* imul rcx, [rbx] */
    assert_ptr_not_equal(f->op.thunk, first);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(registers_are_byte_offsets),
        TEST(memory_operands_of_64_bit_code),
        TEST(memory_operands_of_older_code),
        TEST(immediates),
        TEST(targets_of_branches),
        TEST(prefixes_of_strings),
        TEST(bytes_that_end_too_early),
        TEST(instructions_that_do_not_exist),
        TEST(level_of_the_processor_counts),
        TEST(thunks_are_shared),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
