/*
 * Thunks of single instructions, run on registers and on the guest's vector state.
 * Instructions with memory operands are compared with the host at large in tests/differential.
 */
#include "engine/soft/thunk.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "engine/soft/native.h"
#include "engine/soft/partition.h"
#include "engine/soft/xsave.h"

struct fixture {
    struct thunk_pool *pool;
    struct soft_partition partition;
    struct cpu *cpu;
    bool was_live; /* after the last instruction */
};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    assert_non_null(f);
    f->cpu = aligned_alloc(64, (sizeof(*f->cpu) + 63) & ~(size_t)63);
    assert_non_null(f->cpu);
    memset(f->cpu, 0, sizeof(*f->cpu));
    f->partition.xcr0_supported = 7;
    f->cpu->partition = &f->partition;
    f->cpu->mode = MODE_LONG;
    f->cpu->cr4 = CR4_OSFXSR | CR4_OSXMMEXCPT | CR4_OSXSAVE;
    f->cpu->flags = FLAG_FIXED | FLAG_IF;
    fpu_reset(f->cpu, false);
    f->cpu->xcr0 = 7;
    assert_int_equal(thunk_pool_create(&f->pool), 0);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    fpu_leave(f->cpu);
    thunk_pool_destroy(f->pool);
    free(f->cpu);
    free(f);
    return 0;
}

static int make(struct fixture *f, ZydisMachineMode mode, const char *bytes, size_t length,
                struct op *ret)
{
    ZydisDecoder decoder;
    ZydisDecodedInstruction instruction;
    ZydisDecodedOperand operands[ZYDIS_MAX_OPERAND_COUNT];
    ZydisStackWidth stack = mode == ZYDIS_MACHINE_MODE_LONG_64     ? ZYDIS_STACK_WIDTH_64
                            : mode == ZYDIS_MACHINE_MODE_LEGACY_32 ? ZYDIS_STACK_WIDTH_32
                                                                   : ZYDIS_STACK_WIDTH_16;
    assert_true(ZYAN_SUCCESS(ZydisDecoderInit(&decoder, mode, stack)));
    assert_true(
        ZYAN_SUCCESS(ZydisDecoderDecodeFull(&decoder, bytes, length, &instruction, operands)));
    assert_int_equal(instruction.length, length);
    memset(ret, 0, sizeof(*ret));
    ret->length = instruction.length;
    return thunk_make(f->pool, &instruction, operands, ret);
}

#define MAKE(f, mode, bytes, op) make(f, ZYDIS_MACHINE_MODE_##mode, bytes, sizeof(bytes) - 1, op)

/* The test itself is not live code: nothing may come between the handler and fpu_leave. */
static int step(struct fixture *f, const struct op *op)
{
    int result = op->run(f->cpu, op);
    bool live = f->cpu->fpu_live;
    fpu_leave(f->cpu);
    f->was_live = live;
    return result;
}

/* Run one 64-bit instruction; what its handler returned. */
static int run(struct fixture *f, const char *bytes, size_t length)
{
    struct op op;
    assert_int_equal(make(f, ZYDIS_MACHINE_MODE_LONG_64, bytes, length, &op), 0);
    /* Here and not in setup: cmocka sets handlers of its own round each function. */
    assert_int_equal(thunk_install_signals(), 0);
    return step(f, &op);
}

#define RUN(f, bytes) run(f, bytes, sizeof(bytes) - 1)

static void registers_and_flags_are_those_of_the_instruction(void **state)
{
    struct fixture *f = *state;
    uint64_t *gpr = f->cpu->gpr;
    gpr[GPR_RAX] = UINT64_C(0x123456789);
    gpr[GPR_RCX] = 0x1000;
    assert_int_equal(RUN(f, "\x48\xf7\xe1"), STEP_NEXT); /* mul rcx */
    assert_int_equal(gpr[GPR_RAX], UINT64_C(0x123456789000));
    assert_int_equal(gpr[GPR_RDX], 0);
    assert_int_equal(f->cpu->flags & (FLAG_CF | FLAG_OF), 0);
    gpr[GPR_RAX] = UINT64_MAX;
    assert_int_equal(RUN(f, "\x48\xf7\xe1"), STEP_NEXT);
    assert_int_equal(gpr[GPR_RDX], 0xfff);
    assert_int_equal(f->cpu->flags & (FLAG_CF | FLAG_OF), FLAG_CF | FLAG_OF);
    assert_int_equal(f->cpu->flags & FLAG_IF, FLAG_IF);
}

static void flags_that_are_read_come_from_the_guest(void **state)
{
    struct fixture *f = *state;
    f->cpu->flags |= FLAG_CF;
    f->cpu->gpr[GPR_RBX] = 5;
    f->cpu->gpr[GPR_R12] = 7;
    assert_int_equal(RUN(f, "\x4c\x11\xe3"), STEP_NEXT); /* adc rbx, r12 */
    assert_int_equal(f->cpu->gpr[GPR_RBX], 13);
    f->cpu->flags |= FLAG_CF | FLAG_OF;
    f->cpu->gpr[GPR_RCX] = 0;
    assert_int_equal(RUN(f, "\x48\xd3\xc3"), STEP_NEXT); /* rol rbx, cl: count 0 keeps flags */
    assert_int_equal(f->cpu->flags & (FLAG_CF | FLAG_OF), FLAG_CF | FLAG_OF);
}

static void partial_registers_keep_the_rest(void **state)
{
    struct fixture *f = *state;
    f->cpu->gpr[GPR_RAX] = UINT64_C(0x1122334455667788);
    assert_int_equal(RUN(f, "\x00\xe0"), STEP_NEXT); /* add al, ah */
    assert_int_equal(f->cpu->gpr[GPR_RAX], UINT64_C(0x11223344556677ff));
    f->cpu->gpr[GPR_RBX] = UINT64_MAX;
    assert_int_equal(RUN(f, "\x01\xc3"), STEP_NEXT); /* add ebx, eax */
    assert_int_equal(f->cpu->gpr[GPR_RBX], 0x556677fe);
}

static void the_stack_pointer_is_an_ordinary_operand(void **state)
{
    struct fixture *f = *state;
    f->cpu->gpr[GPR_RSP] = 0xf0;
    f->cpu->gpr[GPR_RAX] = 3;
    assert_int_equal(RUN(f, "\x48\x0f\xaf\xe0"), STEP_NEXT); /* imul rsp, rax */
    assert_int_equal(f->cpu->gpr[GPR_RSP], 0x2d0);
    assert_int_equal(RUN(f, "\xf3\x48\x0f\xb8\xc4"), STEP_NEXT); /* popcnt rax, rsp */
    assert_int_equal(f->cpu->gpr[GPR_RAX], 4);
    f->cpu->gpr[GPR_RAX] = 0x5500;
    assert_int_equal(RUN(f, "\x0f\xb6\xe4"), STEP_NEXT); /* movzx esp, ah */
    assert_int_equal(f->cpu->gpr[GPR_RSP], 0x55);
}

static void division_by_zero_is_a_guest_fault(void **state)
{
    struct fixture *f = *state;
    f->cpu->gpr[GPR_RAX] = 1;
    f->cpu->gpr[GPR_RDX] = 2;
    f->cpu->gpr[GPR_RBX] = 0;
    assert_int_equal(RUN(f, "\x48\xf7\xf3"), STEP_FAULT); /* div rbx */
    assert_int_equal(f->cpu->fault.vector, VECTOR_DE);
    assert_int_equal(f->cpu->gpr[GPR_RAX], 1);
    assert_int_equal(f->cpu->gpr[GPR_RDX], 2);
}

static void vector_state_stays_between_instructions(void **state)
{
    struct fixture *f = *state;
    f->cpu->gpr[GPR_RAX] = UINT64_C(0x0102030405060708);
    assert_int_equal(RUN(f, "\x66\x48\x0f\x6e\xc8"), STEP_NEXT); /* movq xmm1, rax */
    assert_true(f->was_live);
    assert_false(f->cpu->fpu_live);
    assert_int_equal(RUN(f, "\x66\x0f\xd4\xc9"), STEP_NEXT);     /* paddq xmm1, xmm1 */
    assert_int_equal(RUN(f, "\x66\x48\x0f\x7e\xcb"), STEP_NEXT); /* movq rbx, xmm1 */
    assert_int_equal(f->cpu->gpr[GPR_RBX], UINT64_C(0x020406080a0c0e10));
    assert_int_equal(xsave_get(f->cpu->xsave, XSAVE_XMM + 16, 8), UINT64_C(0x020406080a0c0e10));
}

static void disabled_units_fault(void **state)
{
    static const struct {
        const char *bytes;
        size_t length;
        uint64_t cr0, cr4;
        enum vector vector;
    } cases[] = {
        {"\xd9\xe8", 2, CR0_TS, CR4_OSFXSR, VECTOR_NM}, /* fld1 */
        {"\xd9\xe8", 2, CR0_EM, CR4_OSFXSR, VECTOR_NM},
        {"\x9b", 1, CR0_TS | CR0_MP, CR4_OSFXSR, VECTOR_NM}, /* fwait */
        {"\x0f\x77", 2, CR0_EM, CR4_OSFXSR, VECTOR_UD},      /* emms */
        {"\x0f\x77", 2, CR0_TS, CR4_OSFXSR, VECTOR_NM},
        {"\x0f\x58\xc1", 3, CR0_TS, CR4_OSFXSR, VECTOR_NM}, /* addps xmm0, xmm1 */
        {"\x0f\x58\xc1", 3, 0, 0, VECTOR_UD},
        {"\x0f\x58\xc1", 3, CR0_EM, CR4_OSFXSR, VECTOR_UD},
        {"\xc5\xf8\x58\xc1", 4, 0, CR4_OSFXSR, VECTOR_UD}, /* vaddps xmm0, xmm0, xmm1 */
        {"\xc5\xf8\x58\xc1", 4, CR0_TS, CR4_OSXSAVE, VECTOR_NM},
    };
    struct fixture *f = *state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        f->cpu->cr0 = CR0_PE | cases[i].cr0;
        f->cpu->cr4 = cases[i].cr4;
        f->cpu->fault.vector = 0xff;
        assert_int_equal(run(f, cases[i].bytes, cases[i].length), STEP_FAULT);
        assert_int_equal(f->cpu->fault.vector, cases[i].vector);
        assert_false(f->was_live);
    }
    f->cpu->cr0 = CR0_PE | CR0_TS;
    assert_int_equal(RUN(f, "\x9b"), STEP_NEXT); /* MP clear: WAIT does not wait */
}

static void vex_on_general_registers_needs_protected_mode(void **state)
{
    struct fixture *f = *state;
    f->cpu->cr4 = 0;
    f->cpu->gpr[GPR_RAX] = 0xf0;
    f->cpu->gpr[GPR_RCX] = 0xff;
    assert_int_equal(RUN(f, "\xc4\xe2\x78\xf2\xd9"), STEP_NEXT); /* andn ebx, eax, ecx */
    assert_int_equal(f->cpu->gpr[GPR_RBX], 0x0f);
    f->cpu->mode = MODE_REAL;
    assert_int_equal(RUN(f, "\xc4\xe2\x78\xf2\xd9"), STEP_FAULT);
    assert_int_equal(f->cpu->fault.vector, VECTOR_UD);
}

/* 1/0 with the exception unmasked: #XM, or #UD when the system does not know of it. */
static void simd_exceptions_are_guest_faults(void **state)
{
    struct fixture *f = *state;
    xsave_put(f->cpu->xsave, XSAVE_MXCSR, 4, MXCSR_DEFAULT & ~0x200u);
    xsave_put(f->cpu->xsave, XSAVE_XMM, 8, UINT64_C(0x3ff0000000000000));
    assert_int_equal(RUN(f, "\xf2\x0f\x5e\xc1"), STEP_FAULT); /* divsd xmm0, xmm1 */
    assert_int_equal(f->cpu->fault.vector, VECTOR_XM);
    f->cpu->cr4 &= ~(uint64_t)CR4_OSXMMEXCPT;
    assert_int_equal(RUN(f, "\xf2\x0f\x5e\xc1"), STEP_FAULT);
    assert_int_equal(f->cpu->fault.vector, VECTOR_UD);
    assert_int_equal(xsave_get(f->cpu->xsave, XSAVE_MXCSR, 4) & 4, 4); /* ZE */
    assert_int_equal(xsave_get(f->cpu->xsave, XSAVE_XMM, 8), UINT64_C(0x3ff0000000000000));
}

static void x87_exceptions_wait_for_the_next_instruction(void **state)
{
    struct fixture *f = *state;
    xsave_put(f->cpu->xsave, XSAVE_FCW, 2, 0x37f & ~4); /* zero divide unmasked */
    xsave_put(f->cpu->xsave, XSAVE_FTW, 1, 0);
    f->cpu->rip = 0x1000;
    assert_int_equal(RUN(f, "\xd9\xe8"), STEP_NEXT); /* fld1 */
    assert_int_equal(RUN(f, "\xd9\xee"), STEP_NEXT); /* fldz */
    f->cpu->rip = 0x2000;
    assert_int_equal(RUN(f, "\xde\xf9"), STEP_NEXT); /* fdivp: 1 / 0 */
    f->cpu->rip = 0x3000;
    assert_int_equal(RUN(f, "\x9b"), STEP_FAULT); /* fwait */
    assert_int_equal(f->cpu->fault.vector, VECTOR_MF);
    assert_int_equal(xsave_get(f->cpu->xsave, XSAVE_FIP, 8), 0x2000);
    assert_int_equal(xsave_get(f->cpu->xsave, XSAVE_FOP, 2), 0x6f9);
    assert_int_equal(RUN(f, "\xdb\xe3"), STEP_NEXT); /* fninit does not wait */
    assert_int_equal(xsave_get(f->cpu->xsave, XSAVE_FIP, 8), 0);
}

static void code_of_16_and_32_bits_is_the_same_instruction(void **state)
{
    struct fixture *f = *state;
    struct op op;
    f->cpu->mode = MODE_CODE32;
    f->cpu->gpr[GPR_RAX] = 0x10002;
    f->cpu->gpr[GPR_RBX] = 3;
    assert_int_equal(MAKE(f, LEGACY_16, "\x0f\xaf\xc3", &op), 0); /* imul ax, bx */
    assert_int_equal(step(f, &op), STEP_NEXT);
    assert_int_equal(f->cpu->gpr[GPR_RAX], 0x10006);
    assert_int_equal(MAKE(f, LEGACY_32, "\x0f\xaf\xc3", &op), 0); /* imul eax, ebx */
    assert_int_equal(step(f, &op), STEP_NEXT);
    assert_int_equal(f->cpu->gpr[GPR_RAX], 0x30012);
    assert_int_equal(MAKE(f, LEGACY_16, "\x66\x0f\xef\xc0", &op), 0); /* pxor xmm0, xmm0 */
    assert_int_equal(step(f, &op), STEP_NEXT);
}

static void equal_instructions_share_a_thunk(void **state)
{
    struct fixture *f = *state;
    struct op a;
    struct op b;
    assert_int_equal(MAKE(f, LONG_64, "\x0f\xaf\x01", &a), 0);         /* imul eax, [rcx] */
    assert_int_equal(MAKE(f, LONG_64, "\x0f\xaf\x44\x91\x08", &b), 0); /* imul eax, [rcx+rdx*4+8] */
    assert_ptr_equal(a.thunk, b.thunk);
    assert_int_equal(a.size, 4);
    assert_int_equal(MAKE(f, LONG_64, "\x0f\xaf\x09", &b), 0); /* imul ecx, [rcx] */
    assert_ptr_not_equal(a.thunk, b.thunk);
}

/* What reads or changes more than registers, flags and one memory operand. */
static void everything_else_is_refused(void **state)
{
    static const struct {
        const char *bytes;
        size_t length;
    } cases[] = {
        {"\x0f\xa2", 2},                 /* cpuid */
        {"\x0f\x31", 2},                 /* rdtsc */
        {"\x0f\x05", 2},                 /* syscall */
        {"\xcd\x80", 2},                 /* int 0x80 */
        {"\xf4", 1},                     /* hlt */
        {"\xfa", 1},                     /* cli */
        {"\x8e\xd8", 2},                 /* mov ds, eax */
        {"\x0f\x20\xc0", 3},             /* mov rax, cr0 */
        {"\x0f\x01\xf9", 3},             /* rdtscp */
        {"\xf3\x0f\xc7\xf8", 4},         /* rdpid rax */
        {"\x0f\x01\xd0", 3},             /* xgetbv */
        {"\x0f\xae\x20", 3},             /* xsave [rax] */
        {"\x0f\x01\xef", 3},             /* wrpkru */
        {"\xf3\x48\x0f\xae\xd0", 5},     /* wrfsbase rax */
        {"\xc3", 1},                     /* ret */
        {"\xff\xe0", 2},                 /* jmp rax */
        {"\x50", 1},                     /* push rax */
        {"\xa4", 1},                     /* movsb */
        {"\xd7", 1},                     /* xlat */
        {"\x9d", 1},                     /* popfq */
        {"\xc7\xf8\x00\x00\x00\x00", 6}, /* xbegin */
        {"\x0f\x01\xd5", 3},             /* xend */
        {"\x62\xf1\x7c\x48\x58\xc1", 6}, /* vaddps zmm0, zmm0, zmm1 */
        {"\xc5\xfc\x41\xc1", 4},         /* kandw k0, k0, k1 */
        {"\x8f\xe9\x78\x01\xc8", 5},     /* blcfill eax, eax (TBM) */
        {"\x0f\x38\xc8\x00", 0},         /* end */
    };
    struct fixture *f = *state;
    struct op op;
    for (size_t i = 0; cases[i].length != 0; i++)
        assert_int_equal(make(f, ZYDIS_MACHINE_MODE_LONG_64, cases[i].bytes, cases[i].length, &op),
                         -ENOTSUP);
}

static void a_full_pool_says_so_and_can_be_reset(void **state)
{
    struct fixture *f = *state;
    char bytes[] = "\x69\xc1\x00\x00\x00\x00"; /* imul eax, ecx, imm32 */
    struct op op;
    int error = 0;
    for (uint32_t i = 0x1000; error == 0 && i < 0x100000; i++) {
        memcpy(bytes + 2, &i, 4);
        error = make(f, ZYDIS_MACHINE_MODE_LONG_64, bytes, 6, &op);
    }
    assert_int_equal(error, -ENOSPC);
    thunk_pool_reset(f->pool);
    f->cpu->gpr[GPR_RCX] = 2;
    assert_int_equal(run(f, bytes, 6), STEP_NEXT);
    uint32_t factor;
    memcpy(&factor, bytes + 2, 4);
    assert_int_equal(f->cpu->gpr[GPR_RAX], 2 * factor);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(registers_and_flags_are_those_of_the_instruction),
        TEST(flags_that_are_read_come_from_the_guest),
        TEST(partial_registers_keep_the_rest),
        TEST(the_stack_pointer_is_an_ordinary_operand),
        TEST(division_by_zero_is_a_guest_fault),
        TEST(vector_state_stays_between_instructions),
        TEST(disabled_units_fault),
        TEST(vex_on_general_registers_needs_protected_mode),
        TEST(simd_exceptions_are_guest_faults),
        TEST(x87_exceptions_wait_for_the_next_instruction),
        TEST(code_of_16_and_32_bits_is_the_same_instruction),
        TEST(equal_instructions_share_a_thunk),
        TEST(everything_else_is_refused),
        TEST(a_full_pool_says_so_and_can_be_reset),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
