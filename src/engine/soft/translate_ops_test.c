/*
 * Instructions in translated code against those of the interpreter: registers that live elsewhere,
 * hostile stack pointers, branches, and faults of the copied instruction itself.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "engine/soft/translation.h"
#include "engine/soft/xsave.h"
#include "tests/harness/soft_pair.h"

enum { FUNCTION_AT = CODE_AT + 0x2000, PAGE_END = DATA_AT + 0x1000 };

struct form {
    const char *name, *code;
    unsigned length;
    bool flags_dead;
};
#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* ---- registers ---- */

static const struct form moves[] = {
    {"mul r12", CODE("\x49\xf7\xe4")},
    {"xor edx, edx; div r13", CODE("\x31\xd2\x49\xf7\xf5")},
    {"cmpxchg r14, r15", CODE("\x4d\x0f\xb1\xfe")},
    {"xadd r12, r13", CODE("\x4d\x0f\xc1\xec")},
    {"xchg r12, rsp; xchg r12, rsp", CODE("\x49\x87\xe4\x49\x87\xe4")},
    {"shld r12, r13, cl", CODE("\x4d\x0f\xa5\xec")},
    {"mulx r12, r13, r14", CODE("\xc4\x42\x93\xf6\xe6")},
    {"mov rax, [rbx]; mulx r12, r13, r14; mov rcx, [rbx+8]",
     CODE("\x48\x8b\x03\xc4\x42\x93\xf6\xe6\x48\x8b\x4b\x08")},
    {"andn r12, r13, [rbx]", CODE("\xc4\x62\x90\xf2\x23")},
    {"imul r12, [rbx], 1000", CODE("\x4c\x69\x23\xe8\x03\x00\x00")},
    {"movzx r12d, r13b", CODE("\x45\x0f\xb6\xe5")},
    {"mov r13d, r14d", CODE("\x45\x89\xf5")},
    {"mov r13w, r14w", CODE("\x66\x45\x89\xf5")},
    {"mov ah, [rbx]", CODE("\x8a\x23")},
    {"mov [rbx], ch", CODE("\x88\x2b")},
    {"mov bh, dl; add ah, bh", CODE("\x88\xd7\x00\xfc")},
    {"add [rbx+r8*4], r14", CODE("\x4e\x01\x34\x83")},
    {"cmpxchg [rbx], r13", CODE("\x4c\x0f\xb1\x2b")},
    {"lock add [rbx], r13", CODE("\xf0\x4c\x01\x2b")},
    {"xchg [rbx], r12", CODE("\x4c\x87\x23")},
    {"cmpxchg8b [rbx]", CODE("\x0f\xc7\x0b")},
    {"bswap r12", CODE("\x49\x0f\xcc")},
    {"setc r13b; setz spl", CODE("\x41\x0f\x92\xc5\x40\x0f\x94\xc4")},
    {"cmovc r14, [rbx]; cmovnc r15d, ecx", CODE("\x4c\x0f\x42\x33\x44\x0f\x43\xf9")},
    {"movq xmm0, r12; movq r13, xmm1", CODE("\x66\x4d\x0f\x6e\xe4\x66\x49\x0f\x7e\xcd")},
    {"pextrq r14, xmm2, 1", CODE("\x66\x49\x0f\x3a\x16\xd6\x01")},
    {"crc32 r12, r13", CODE("\xf2\x4d\x0f\x38\xf1\xe5")},
    {"popcnt r14, [rbx]", CODE("\xf3\x4c\x0f\xb8\x33")},
    {"mov rax, rsp; add rsp, 8; sub esp, eax", CODE("\x48\x89\xe0\x48\x83\xc4\x08\x29\xc4")},
    {"lea r12, [rbx+r13*8+1]", CODE("\x4e\x8d\x64\xeb\x01")},
    {"lea r12d, [rbx-1]; lea r13w, [rsp]", CODE("\x44\x8d\x63\xff\x66\x44\x8d\x2c\x24")},
    {"lea rsp, [rsp+r12]; lea ax, [rip]", CODE("\x4a\x8d\x24\x24\x66\x8d\x05\x00\x00\x00\x00")},
    {"lea eax, [r12d+r13d]; a32", CODE("\x67\x43\x8d\x04\x2c\x67\x4b\x8d\x0c\x2c")},
    {"mov rax, [rip]; mov [rip], far", CODE("\x48\x8b\x05\x10\x00\x00\x00")},
    {"bt [rbx], rax, far", CODE("\x48\xc7\xc0\x00\x10\x00\x00\x48\x0f\xab\x03\x48\x0f\xa3\x03")},
    {"bts qword [rbx], 63", CODE("\x48\x0f\xba\x2b\x3f")},
    {"pmovmskb r12d, xmm3; pinsrw xmm4, r13d, 2",
     CODE("\x66\x44\x0f\xd7\xe3\x66\x41\x0f\xc4\xe5\x02")},
    {"vpmaskmovd ymm0, ymm1, [rbx]", CODE("\xc4\xe2\x75\x8c\x03")},
    {"maskmovdqu xmm0, xmm1", CODE("\x66\x0f\xf7\xc1")},
    {"vzeroupper; vaddps ymm2, ymm3, [rbx]", CODE("\xc5\xf8\x77\xc5\xe4\x58\x13")},
    {"rcl r12, 1; rcr qword [rbx], cl", CODE("\x49\xd1\xd4\x48\xd3\x1b")},
    {"xlat; cld; std; lahf; sahf", CODE("\xd7\xfc\xfd\x9f\x9e")},
};

/* RDI and RBX point to data; all else is as large as it may be. */
static void copied_instructions_find_their_registers(void **state)
{
    static const uint64_t flags[] = {0, FLAGS_ARITHMETIC, FLAG_CF | FLAG_OF, FLAG_ZF};
    for (unsigned i = 0; i < COUNT(moves); i++) {
        for (unsigned k = 0; k < COUNT(flags); k++) {
            struct scene scene = {
                .name = moves[i].name,
                .code = moves[i].code,
                .length = moves[i].length,
                .gpr = {[GPR_RBX] = DATA_AT + 0x80, [GPR_RDI] = DATA_AT + 0x100, [GPR_R8] = k + 1},
                .flags = flags[k],
                .outcome = PORT_DONE};
            pair_check(*state, &scene);
        }
    }
}

/* ---- the stack ---- */

static const struct form stack_forms[] = {
    {"push rax", CODE("\x50")},
    {"push rsp", CODE("\x54")},
    {"push r13", CODE("\x41\x55")},
    {"push -16", CODE("\x6a\xf0")},
    {"pop rcx", CODE("\x59")},
    {"pop rsp", CODE("\x5c")},
    {"pop r14", CODE("\x41\x5e")},
    {"push rax; push rcx; pop rdx; pop rsi", CODE("\x50\x51\x5a\x5e")},
    {"pop rcx; pop rdx; push rdx", CODE("\x59\x5a\x52")},
    {"sub rsp, 16; mov [rsp+8], rax; add rsp, 16",
     CODE("\x48\x83\xec\x10\x48\x89\x44\x24\x08\x48\x83\xc4\x10"), .flags_dead = true},
    {"call +0", CODE("\xe8\x00\x00\x00\x00")},
    {"call rbx", CODE("\xff\xd3")},
    {"call [rsp+8]", CODE("\xff\x54\x24\x08")},
    {"jmp [rsp]", CODE("\xff\x24\x24")},
    {"ret", CODE("\xc3")},
    {"ret 16", CODE("\xc2\x10\x00")},
    {"leave", CODE("\xc9")},
    {"push qword [rsp]; pop qword [rsp+8]", CODE("\xff\x34\x24\x8f\x44\x24\x08")},
    {"push ax; pop cx", CODE("\x66\x50\x66\x59")},
    {"pushfq", CODE("\x9c")},
    {"enter 16, 0", CODE("\xc8\x10\x00\x00")},
};

static const uint64_t tops[] = {
    4,
    8,
    12,
    PAGE_END - 4,
    PAGE_END,
    PAGE_END + 4,
    PAGE_END + 8,
    ABSENT_AT,
    ABSENT_AT + 8,
    READ_ONLY_AT,
    READ_ONLY_AT + 4,
    READ_ONLY_AT + 16,
    LOW_END - 8,
    LOW_END - 4,
    LOW_END,
    LOW_END + 4,
    LOW_END + 8,
    HIGH_START - 8,
    HIGH_START,
    HIGH_START + 4,
    HIGH_START + 8,
    UINT64_MAX - 7,
    UINT64_MAX - 3,
    UINT64_MAX,
    LAST_AT + 0x1000,
    LAST_AT + 0xffc,
};

/* Whatever is read there as an address leads nowhere. */
static void fill_page_zero(struct guest *g)
{
    uint8_t bytes[64];
    memset(bytes, 0x91, sizeof(bytes));
    guest_write(g, 0, bytes, sizeof(bytes));
}

static void stack_pointers_may_hold_anything(void **state)
{
    pair_write(*state, FUNCTION_AT, "\xe6\xe9", 2); /* out PORT_DONE, al */
    for (unsigned i = 0; i < COUNT(stack_forms); i++) {
        for (unsigned k = 0; k < COUNT(tops); k++) {
            struct scene scene = {
                .name = stack_forms[i].name,
                .code = stack_forms[i].code,
                .flags_dead = stack_forms[i].flags_dead,
                .length = stack_forms[i].length,
                .gpr = {[GPR_RSP] = tops[k], [GPR_RBP] = tops[k], [GPR_RBX] = FUNCTION_AT},
                .prepare = fill_page_zero,
                .outcome = PAIR_ANY};
            pair_check(*state, &scene);
        }
    }
}

/* ---- branches ---- */

static const struct scene branches[] = {
    {"ret to where nothing can be", CODE("\x50\xc3"), .gpr = {[GPR_RAX] = LOW_END},
     .outcome = VECTOR_GP},
    {"jump to where nothing can be", CODE("\xff\xe0"), .gpr = {[GPR_RAX] = HIGH_START - 1},
     .outcome = VECTOR_GP},
    {"call of where nothing can be", CODE("\xff\xd0"), .gpr = {[GPR_RAX] = LOW_END},
     .outcome = VECTOR_GP},
    {"ret to a page that is not there", CODE("\x50\xc3"), .gpr = {[GPR_RAX] = ABSENT_AT},
     .outcome = VECTOR_PF},
    {"call of a function", CODE("\xff\xd3\xff\xd3"), .gpr = {[GPR_RBX] = FUNCTION_AT},
     .outcome = PORT_DONE},
    {"call through r12", CODE("\x41\xff\xd4"), .gpr = {[GPR_R12] = FUNCTION_AT},
     .outcome = PORT_DONE},
    /* push rbx; call [rsp]; pop rbx */
    {"call through the stack", CODE("\x53\xff\x14\x24\x5b"), .gpr = {[GPR_RBX] = FUNCTION_AT},
     .outcome = PORT_DONE},
    {"call of another page", CODE("\xe8\xfb\x1f\x00\x00\xe8\xf6\x1f\x00\x00"),
     .outcome = PORT_DONE},
    {"jump to user's own supervisor page", CODE("\xff\xe0"), .gpr = {[GPR_RAX] = SUPERVISOR_AT},
     .user = true, .outcome = VECTOR_PF},
    /* mov ecx, 200; xor eax, eax; 1: add eax, ecx; adc edx, eax; dec ecx; jnz 1b */
    {"loop with live flags", CODE("\xb9\xc8\x00\x00\x00\x31\xc0\x01\xc8\x11\xc2\xff\xc9\x75\xf8"),
     .outcome = PORT_DONE},
    /* mov ecx, 200; 1: adc rax, [rbx]; lea ecx, [rcx-1]; jrcxz +2; jmp 1b */
    {"loop that carries over", CODE("\xb9\xc8\x00\x00\x00\x48\x13\x03\x8d\x49\xff\xe3\x02\xeb\xf6"),
     .gpr = {[GPR_RBX] = DATA_AT}, .flags = FLAG_CF, .outcome = PORT_DONE},
    /* mov ecx, 200; 1: add [rbx], rcx; adc rdx, rcx; loop 1b */
    {"loop", CODE("\xb9\xc8\x00\x00\x00\x48\x01\x0b\x48\x11\xca\xe2\xf8"),
     .gpr = {[GPR_RBX] = DATA_AT}, .outcome = PORT_DONE},
    /* Each condition, taken and not: 8 × (jcc +2; inc eax). */
    {"conditions",
     CODE("\x70\x02\xff\xc0\x71\x02\xff\xc0\x72\x02\xff\xc0\x74\x02\xff\xc0\x76\x02"
          "\xff\xc0\x78\x02\xff\xc0\x7a\x02\xff\xc0\x7c\x02\xff\xc0\x7e\x02\xff\xc0"),
     .flags = FLAG_CF | FLAG_SF, .outcome = PORT_DONE},
};

static void branches_lead_where_they_must(void **state)
{
    pair_write(*state, FUNCTION_AT, "\x48\xff\xc0\xc3", 4); /* inc rax; ret */
    CHECK_SCENES(*state, branches);
}

static void every_condition_is_taken_rightly(void **state)
{
    static const uint64_t bits[] = {FLAG_CF, FLAG_PF, FLAG_ZF, FLAG_SF, FLAG_OF};
    for (unsigned condition = 0; condition < 16; condition++) {
        /* jcc +2; inc eax; jcc near +2; inc ecx */
        char code[] = "\x70\x02\xff\xc0\x0f\x80\x02\x00\x00\x00\xff\xc1";
        code[0] = (char)(0x70 + condition);
        code[5] = (char)(0x80 + condition);
        for (unsigned set = 0; set < 1 << COUNT(bits); set++) {
            struct scene scene = {.name = "condition", CODE(code), .outcome = PORT_DONE};
            scene.code = code;
            for (unsigned i = 0; i < COUNT(bits); i++)
                scene.flags |= set >> i & 1 ? bits[i] : 0;
            pair_check(*state, &scene);
        }
    }
}

/* ---- faults of the instruction itself ---- */

static const struct scene faults[] = {
    {"div by zero", CODE("\x31\xc9\x48\xf7\xf1"), .outcome = VECTOR_DE},
    {"div that overflows", CODE("\x48\xf7\xf1"), .gpr = {[GPR_RDX] = 9, [GPR_RCX] = 9},
     .flags = FLAGS_ARITHMETIC, .outcome = VECTOR_DE},
    {"idiv of memory that overflows", CODE("\x48\xf7\x3b"),
     .gpr = {[GPR_RBX] = DATA_AT, [GPR_RDX] = UINT64_C(1) << 62}, .outcome = VECTOR_DE},
    /* mov rax, [rbx]; div r12; mov rcx, [rbx+8]: between two accesses that share */
    {"div that overflows between accesses", CODE("\x48\x8b\x03\x49\xf7\xf4\x48\x8b\x4b\x08"),
     .gpr = {[GPR_RBX] = DATA_AT, [GPR_RDX] = 9, [GPR_R12] = 9}, .outcome = VECTOR_DE},
    {"movaps of an odd address", CODE("\x0f\x28\x03"), .gpr = {[GPR_RBX] = DATA_AT + 8},
     .outcome = VECTOR_GP},
    {"movaps to an odd address", CODE("\x0f\x29\x03"), .gpr = {[GPR_RBX] = DATA_AT + 1},
     .outcome = VECTOR_GP},
    /* mov rax, [rbx]; movaps xmm0, [rbx+8]; mov rcx, [rbx+0x10] */
    {"movaps of an odd address among others", CODE("\x48\x8b\x03\x0f\x28\x43\x08\x48\x8b\x4b\x10"),
     .gpr = {[GPR_RBX] = DATA_AT}, .outcome = VECTOR_GP},
    {"addps of an odd address", CODE("\x0f\x58\x43\x01"), .gpr = {[GPR_RBX] = DATA_AT},
     .outcome = VECTOR_GP},
    {"vmovaps of 16 bytes off", CODE("\xc5\xfc\x28\x03"), .gpr = {[GPR_RBX] = DATA_AT + 16},
     .outcome = VECTOR_GP},
    {"movaps that crosses a page", CODE("\x0f\x28\x03"), .gpr = {[GPR_RBX] = PAGE_END - 8},
     .outcome = VECTOR_GP},
    {"undefined", CODE("\x48\x8b\x03\x0f\x0b"), .gpr = {[GPR_RBX] = DATA_AT}, .outcome = VECTOR_UD},
};

static void instructions_fault_by_themselves(void **state)
{
    CHECK_SCENES(*state, faults);
}

/* ---- vector units ---- */

static void unmask_sse(struct guest *g)
{
    xsave_put(g->cpu->xsave, XSAVE_MXCSR, 4, 0);
}

static void unmask_sse_without_handler(struct guest *g)
{
    unmask_sse(g);
    g->cpu->cr4 &= ~(uint64_t)CR4_OSXMMEXCPT;
}

static const struct scene sse_traps[] = {
    /* xorps xmm1, xmm1; divps xmm0, xmm1 */
    {"masked", CODE("\x0f\x57\xc9\x0f\x5e\xc1"), .outcome = PORT_DONE},
    {"unmasked", CODE("\x0f\x57\xc9\x0f\x5e\xc1"), .prepare = unmask_sse, .outcome = VECTOR_XM},
    {"unmasked, of memory", CODE("\x48\x8b\x03\x0f\x58\x43\x10\x48\x8b\x4b\x10"),
     .gpr = {[GPR_RBX] = DATA_AT}, .prepare = unmask_sse, .outcome = VECTOR_XM},
    {"unmasked compare keeps the flags", CODE("\x0f\x2e\xc1"), .prepare = unmask_sse,
     .flags = FLAGS_ARITHMETIC, .outcome = PAIR_ANY},
    {"unmasked without CR4.OSXMMEXCPT", CODE("\x0f\x57\xc9\x0f\x5e\xc1"),
     .prepare = unmask_sse_without_handler, .outcome = VECTOR_UD},
};

static void sse_exceptions_are_the_guests(void **state)
{
    CHECK_SCENES(*state, sse_traps);
}

static void switch_tasks(struct guest *g)
{
    g->cpu->cr0 |= CR0_TS;
}

static const struct scene switched[] = {
    {"sse", CODE("\x48\x8b\x03\x0f\x58\xc1"), .gpr = {[GPR_RBX] = DATA_AT}, .prepare = switch_tasks,
     .outcome = VECTOR_NM},
    {"x87", CODE("\xd9\xe8"), .prepare = switch_tasks, .outcome = VECTOR_NM},
    {"mmx", CODE("\x0f\x6f\xc1"), .prepare = switch_tasks, .outcome = VECTOR_NM},
    {"avx", CODE("\xc5\xf4\x58\xc2"), .prepare = switch_tasks, .outcome = VECTOR_NM},
};

static void vectors_fault_after_a_task_switch(void **state)
{
    CHECK_SCENES(*state, switched);
}

static void disable_avx(struct guest *g)
{
    g->cpu->cr4 &= ~(uint64_t)CR4_OSXSAVE;
}

static const struct scene without_avx[] = {
    {"sse, then avx", CODE("\x0f\x58\xc1\xc5\xf4\x58\xc2"), .prepare = disable_avx,
     .outcome = VECTOR_UD},
};

static void avx_wants_to_be_enabled(void **state)
{
    CHECK_SCENES(*state, without_avx);
}

static void disable_sse(struct guest *g)
{
    g->cpu->cr4 &= ~(uint64_t)(CR4_OSFXSR | CR4_OSXSAVE);
}

/* A store to a page with code has the vector state saved meanwhile. */
static const struct scene without_sse[] = {
    {"sse", CODE("\x0f\x58\xc1"), .prepare = disable_sse, .outcome = VECTOR_UD},
    {"fld1; fldpi", CODE("\xd9\xe8\xd9\xeb"), .prepare = disable_sse, .outcome = PORT_DONE},
    {"fld1; mov [rbx], al; fldpi", CODE("\xd9\xe8\x88\x03\xd9\xeb"),
     .gpr = {[GPR_RBX] = CODE_AT + 0x800}, .prepare = disable_sse, .outcome = PORT_DONE},
    {"movq mm0, mm1; mov [rbx], al; paddb mm0, mm2", CODE("\x0f\x6f\xc1\x88\x03\x0f\xfc\xc2"),
     .gpr = {[GPR_RBX] = CODE_AT + 0x800}, .prepare = disable_sse, .outcome = PORT_DONE},
};

static void x87_works_without_sse(void **state)
{
    CHECK_SCENES(*state, without_sse);
}

static const struct scene with_sse[] = {
    {"mov rax, [rbx]; addps xmm0, xmm1; mov rcx, [rbx+8]",
     CODE("\x48\x8b\x03\x0f\x58\xc1\x48\x8b\x4b\x08"), .gpr = {[GPR_RBX] = DATA_AT},
     .outcome = PORT_DONE},
    {"addps; mov [rbx], al; addps", CODE("\x0f\x58\xc1\x88\x03\x0f\x58\xc2"),
     .gpr = {[GPR_RBX] = CODE_AT + 0x800}, .outcome = PORT_DONE},
    {"vaddps; mov [rbx], al; vaddps", CODE("\xc5\xf4\x58\xc2\x88\x03\xc5\xfc\x58\xc3"),
     .gpr = {[GPR_RBX] = CODE_AT + 0x800}, .outcome = PORT_DONE},
    {"fld1; mov [rbx], al; fldpi; fnstsw ax", CODE("\xd9\xe8\x88\x03\xd9\xeb\xdf\xe0"),
     .gpr = {[GPR_RBX] = CODE_AT + 0x800}, .outcome = PORT_DONE},
};

static void vectors_survive_a_way_through_the_interpreter(void **state)
{
    CHECK_SCENES(*state, with_sse);
}

/* ---- x87 ---- */

static void unmask_x87(struct guest *g)
{
    enum { FCW_NOTHING_MASKED = 0x340 };
    xsave_put(g->cpu->xsave, XSAVE_FCW, 2, FCW_NOTHING_MASKED);
}

/*
 * Where FIP, FDP and FOP point is part of the vector state that is compared. The first one, FLD1,
 * finds the units without the guest's state and is interpreted.
 */
static const struct scene x87[] = {
    {"fld1; fldpi; fmulp", CODE("\xd9\xe8\xd9\xeb\xde\xc9"), .outcome = PORT_DONE},
    {"fld1; fld [rbx]; fadd [rbx+8]; fmul st1; fst [rbx]",
     CODE("\xd9\xe8\xdd\x03\xdc\x43\x08\xd8\xc9\xdd\x13"), .gpr = {[GPR_RBX] = DATA_AT},
     .outcome = PORT_DONE},
    {"fld1; fld [rbx]; fabs; mov rax, [rbx]", CODE("\xd9\xe8\xdd\x03\xd9\xe1\x48\x8b\x03"),
     .gpr = {[GPR_RBX] = DATA_AT}, .outcome = PORT_DONE},
    {"fld1; fld [rbx]; fld [rcx] over pages", CODE("\xd9\xe8\xdd\x03\xdd\x01"),
     .gpr = {[GPR_RBX] = DATA_AT, [GPR_RCX] = PAGE_END - 3}, .outcome = PORT_DONE},
    {"fld1; fld [rbx]; fld of absent", CODE("\xd9\xe8\xdd\x03\xdd\x01"),
     .gpr = {[GPR_RBX] = DATA_AT, [GPR_RCX] = ABSENT_AT}, .outcome = VECTOR_PF},
    {"fld1; fstp to absent", CODE("\xd9\xe8\xdd\x1b"), .gpr = {[GPR_RBX] = ABSENT_AT},
     .outcome = VECTOR_PF},
    {"fld1; fld fs:[r12+8]", CODE("\xd9\xe8\x64\x41\xdd\x44\x24\x08"), .gpr = {[GPR_R12] = DATA_AT},
     .outcome = PORT_DONE},
    {"fld1; fld [rip]; fnstenv [rbx]", CODE("\xd9\xe8\xdd\x05\x10\x00\x00\x00\xd9\x33"),
     .gpr = {[GPR_RBX] = DATA_AT}, .outcome = PORT_DONE},
    {"fldz; fld1; fdivrp; nop; fld1", CODE("\xd9\xee\xd9\xe8\xde\xf1\x90\xd9\xe8"),
     .prepare = unmask_x87, .outcome = VECTOR_MF},
    {"fld1; fidiv [rbx]; fwait", CODE("\xd9\xe8\x31\xc0\x89\x03\xda\x33\x9b"),
     .gpr = {[GPR_RBX] = DATA_AT}, .prepare = unmask_x87, .outcome = VECTOR_MF},
    {"fld1; fidiv [rbx]; mov; fld [rbx+8]",
     CODE("\xd9\xe8\x31\xc0\x89\x03\xda\x33\x48\x89\xc8\xdd\x43\x08"), .gpr = {[GPR_RBX] = DATA_AT},
     .prepare = unmask_x87, .outcome = VECTOR_MF},
    {"fld1; fidiv [rbx]; movq mm0, [rbx]", CODE("\xd9\xe8\x31\xc0\x89\x03\xda\x33\x0f\x6f\x03"),
     .gpr = {[GPR_RBX] = DATA_AT}, .prepare = unmask_x87, .outcome = VECTOR_MF},
    {"fld1; fidiv [rbx]; addps xmm0, xmm1", CODE("\xd9\xe8\x31\xc0\x89\x03\xda\x33\x0f\x58\xc1"),
     .gpr = {[GPR_RBX] = DATA_AT}, .prepare = unmask_x87, .outcome = PORT_DONE},
    {"fadd of an empty stack; fld1", CODE("\xdc\x03\xd9\xe8"), .gpr = {[GPR_RBX] = DATA_AT},
     .prepare = unmask_x87, .outcome = VECTOR_MF},
    {"movq mm0, rax; paddb mm0, [rbx]; movq [rbx], mm0; emms",
     CODE("\x48\x0f\x6e\xc0\x0f\xfc\x03\x0f\x7f\x03\x0f\x77"), .gpr = {[GPR_RBX] = DATA_AT},
     .outcome = PORT_DONE},
    {"movq mm0, [rbx]; fld1", CODE("\x0f\x6f\x03\xd9\xe8"), .gpr = {[GPR_RBX] = DATA_AT},
     .outcome = PORT_DONE},
    {"fld1; fxsave [rbx]; fld1", CODE("\xd9\xe8\x0f\xae\x03\xd9\xe8"), .gpr = {[GPR_RBX] = DATA_AT},
     .outcome = PORT_DONE},
    {"fld1; fninit; fld1", CODE("\xd9\xe8\xdb\xe3\xd9\xe8"), .outcome = PORT_DONE},
    {"fld1; fcomi; jp; fcmovb", CODE("\xd9\xe8\xdb\xf0\x7a\x02\xda\xc0"), .outcome = PORT_DONE},
};

static void x87_and_mmx_are_exact(void **state)
{
    CHECK_SCENES(*state, x87);
}

int main(void)
{
    if (!translator_is_possible()) {
        print_message("1..0 # SKIP this host cannot run translations\n");
        return 0;
    }
    const struct CMUnitTest tests[] = {
        pair_test(copied_instructions_find_their_registers),
        pair_test(stack_pointers_may_hold_anything),
        pair_test(branches_lead_where_they_must),
        pair_test(every_condition_is_taken_rightly),
        pair_test(instructions_fault_by_themselves),
        pair_test(sse_exceptions_are_the_guests),
        pair_test(vectors_fault_after_a_task_switch),
        pair_test(avx_wants_to_be_enabled),
        pair_test(x87_works_without_sse),
        pair_test(vectors_survive_a_way_through_the_interpreter),
        pair_test(x87_and_mmx_are_exact),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
