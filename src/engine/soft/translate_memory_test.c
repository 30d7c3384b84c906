/*
 * Accesses of translated code against those of the interpreter: at the edges of pages, of RAM and
 * of the address space, and to pages that do not allow them.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "engine/soft/tlb.h"
#include "engine/soft/translation.h"
#include "tests/harness/soft_pair.h"

enum { PAGE_END = DATA_AT + 0x1000 };

/* ---- one access ---- */

/* Every width at the last place of a page where it fits, and where it does not. */
static void accesses_end_and_cross_at_the_edge_of_a_page(void **state)
{
    static const struct {
        const char *load, *store; /* of RAX, at [RBX] */
        unsigned length;
    } rows[] = {{"\x8a\x03", "\x88\x03", 2},
                {"\x66\x8b\x03", "\x66\x89\x03", 3},
                {"\x8b\x03", "\x89\x03", 2},
                {"\x48\x8b\x03", "\x48\x89\x03", 3},
                {"\x0f\x10\x03", "\x0f\x11\x03", 3},          /* movups xmm0 */
                {"\xc5\xfc\x10\x03", "\xc5\xfc\x11\x03", 4}}; /* vmovups ymm0 */
    for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        for (unsigned back = 0; back <= 33; back++) {
            struct scene scene = {.name = "edge of a page",
                                  .code = back & 1 ? rows[i].load : rows[i].store,
                                  .length = rows[i].length,
                                  .gpr = {[GPR_RBX] = PAGE_END - back},
                                  .outcome = PORT_DONE};
            pair_check(*state, &scene);
            scene.code = back & 1 ? rows[i].store : rows[i].load;
            pair_check(*state, &scene);
        }
    }
}

/* Read-modify-write is one access that both reads and writes. */
static const struct scene edges[] = {
    {"add across pages", CODE("\x48\x01\x03"), .gpr = {[GPR_RBX] = PAGE_END - 3},
     .outcome = PORT_DONE},
    {"add before absent", CODE("\x48\x01\x03"), .gpr = {[GPR_RBX] = ABSENT_AT - 8},
     .outcome = PORT_DONE},
    {"add over the start of absent", CODE("\x48\x01\x03"), .gpr = {[GPR_RBX] = ABSENT_AT - 7},
     .flags_dead = true, .outcome = VECTOR_PF},
    {"load before absent", CODE("\x48\x8b\x03"), .gpr = {[GPR_RBX] = ABSENT_AT - 8},
     .outcome = PORT_DONE},
    {"load into absent", CODE("\x48\x8b\x03"), .gpr = {[GPR_RBX] = ABSENT_AT - 7},
     .outcome = VECTOR_PF},
    {"load from absent", CODE("\x48\x8b\x03"), .gpr = {[GPR_RBX] = ABSENT_AT + 8},
     .outcome = VECTOR_PF},
    {"store to read-only", CODE("\x48\x89\x03"), .gpr = {[GPR_RBX] = READ_ONLY_AT},
     .outcome = VECTOR_PF},
    {"store into read-only", CODE("\x48\x89\x03"), .gpr = {[GPR_RBX] = READ_ONLY_AT - 1},
     .outcome = VECTOR_PF},
    {"store across into absent", CODE("\x0f\x11\x03"), .gpr = {[GPR_RBX] = ABSENT_AT - 1},
     .outcome = VECTOR_PF},
    {"test then set a bit of read-only", CODE("\x48\x0f\xba\x23\x01\x48\x0f\xba\x2b\x02"),
     .gpr = {[GPR_RBX] = READ_ONLY_AT}, .outcome = VECTOR_PF},
    {"compare and exchange with read-only", CODE("\x48\x0f\xb1\x0b"),
     .gpr = {[GPR_RBX] = READ_ONLY_AT}, .flags_dead = true, .outcome = VECTOR_PF},
    {"user reads supervisor", CODE("\x48\x8b\x03"), .gpr = {[GPR_RBX] = SUPERVISOR_AT},
     .user = true, .outcome = VECTOR_PF},
    {"supervisor reads supervisor", CODE("\x48\x8b\x03"), .gpr = {[GPR_RBX] = SUPERVISOR_AT},
     .outcome = PORT_DONE},
    {"user writes supervisor", CODE("\x48\x89\x03"), .gpr = {[GPR_RBX] = SUPERVISOR_AT + 8},
     .user = true, .outcome = VECTOR_PF},
    {"through an alias", CODE("\x48\x89\x03\x48\x8b\x09"),
     .gpr = {[GPR_RBX] = ALIAS_AT + 8, [GPR_RCX] = DATA_AT + 8}, .outcome = PORT_DONE},
};

static void pages_allow_what_they_allow(void **state)
{
    CHECK_SCENES(*state, edges);
}

static const struct scene spaces[] = {
    {"last bytes of the low half", CODE("\x48\x8b\x03"), .gpr = {[GPR_RBX] = LOW_END - 8},
     .outcome = PORT_DONE},
    {"over the end of the low half", CODE("\x48\x8b\x03"), .gpr = {[GPR_RBX] = LOW_END - 7},
     .outcome = VECTOR_GP},
    {"in the hole", CODE("\x48\x8b\x03"), .gpr = {[GPR_RBX] = LOW_END}, .outcome = VECTOR_GP},
    {"in the hole's end", CODE("\x48\x89\x03"), .gpr = {[GPR_RBX] = HIGH_START - 8},
     .outcome = VECTOR_GP},
    {"out of the hole", CODE("\x48\x8b\x03"), .gpr = {[GPR_RBX] = HIGH_START - 1},
     .outcome = VECTOR_GP},
    {"first bytes of the high half", CODE("\x48\x89\x03"), .gpr = {[GPR_RBX] = HIGH_START},
     .outcome = PORT_DONE},
    {"last bytes of all", CODE("\x48\x89\x03"), .gpr = {[GPR_RBX] = TOP_PAGE + 0xff8},
     .outcome = PORT_DONE},
    {"round the end of all", CODE("\x48\x8b\x03"), .gpr = {[GPR_RBX] = TOP_PAGE + 0xffc},
     .outcome = PORT_DONE},
    {"store round the end of all", CODE("\x0f\x11\x03"), .gpr = {[GPR_RBX] = UINT64_MAX},
     .outcome = PORT_DONE},
    {"sum wraps round", CODE("\x48\x8b\x44\x8b\x10"),
     .gpr = {[GPR_RBX] = DATA_AT + 8, [GPR_RCX] = UINT64_MAX}, .outcome = PORT_DONE},
    {"distance wraps round", CODE("\x48\x8b\x83\x00\x00\x00\x80"),
     .gpr = {[GPR_RBX] = DATA_AT + UINT64_C(0x80000000)}, .outcome = PORT_DONE},
    {"through the stack segment into the hole", CODE("\x48\x8b\x45\x00"),
     .gpr = {[GPR_RBP] = LOW_END + 8}, .outcome = VECTOR_SS},
    {"stack pointer in the hole", CODE("\x48\x8b\x44\x24\x08"), .gpr = {[GPR_RSP] = LOW_END},
     .outcome = VECTOR_SS},
    {"32-bit address", CODE("\x67\x48\x8b\x43\x10"),
     .gpr = {[GPR_RBX] = UINT64_C(0xdead00000000) + DATA_AT}, .outcome = PORT_DONE},
    {"32-bit address wraps round", CODE("\x67\x48\x8b\x44\x0b\x10"),
     .gpr = {[GPR_RBX] = UINT64_C(0xffffffff) + DATA_AT - 0xf000, [GPR_RCX] = 0xf001},
     .outcome = PORT_DONE},
};

static void addresses_wrap_and_fault_as_they_must(void **state)
{
    CHECK_SCENES(*state, spaces);
}

/* ---- the end of RAM ---- */

static const struct scene ends[] = {
    {"last bytes of RAM", CODE("\x48\x89\x03\x48\x8b\x0b"), .gpr = {[GPR_RBX] = LAST_AT + 0xff8},
     .outcome = PORT_DONE},
    {"load over the end of RAM", CODE("\x48\x8b\x03"), .gpr = {[GPR_RBX] = LAST_AT + 0xff9},
     .outcome = -1},
    {"store over the end of RAM", CODE("\x48\x89\x03"), .gpr = {[GPR_RBX] = LAST_AT + 0xfff},
     .outcome = -1},
    {"store behind RAM", CODE("\x48\x89\x03"), .gpr = {[GPR_RBX] = LAST_AT + 0x1000},
     .outcome = -1},
    {"sixteen bytes over the end of RAM", CODE("\x0f\x10\x03"),
     .gpr = {[GPR_RBX] = LAST_AT + 0xff1}, .outcome = -1},
    /* The window of the shared look-up has bytes behind RAM that no access touches. */
    {"shared look-up at the end of RAM", CODE("\x8a\x43\x10\x48\x89\x03\x8b\x4b\x20"),
     .gpr = {[GPR_RBX] = LAST_AT + 0xfdc}, .outcome = PORT_DONE},
    {"shared look-up over the end of RAM", CODE("\x8a\x43\x10\x48\x89\x03\x8b\x4b\x20"),
     .gpr = {[GPR_RBX] = LAST_AT + 0xfdd}, .outcome = -1},
};

static void nothing_behind_the_end_of_ram_is_touched(void **state)
{
    CHECK_SCENES(*state, ends);
}

/* ---- shared look-ups ---- */

/* mov [rbx-8], rax; add rbx, 0x20; mov rcx, [rbx+0x10]; inc byte [rbx]; lea rbx, [rbx-0x18];
 * mov edx, [rbx+4] */
#define WALK "\x48\x89\x43\xf8\x48\x83\xc3\x20\x48\x8b\x4b\x10\xfe\x03\x48\x8d\x5b\xe8\x8b\x53\x04"

static void shared_look_ups_see_the_same_bytes(void **state)
{
    for (unsigned back = 0; back < 0x50; back++) {
        struct scene scene = {.name = "walk over the end of a page",
                              CODE(WALK),
                              .gpr = {[GPR_RBX] = PAGE_END - back},
                              .outcome = PORT_DONE};
        pair_check(*state, &scene);
    }
}

static void shared_look_ups_fault_where_the_access_does(void **state)
{
    static const uint64_t edge[] = {ABSENT_AT, LOW_END};
    static const int outcome[] = {VECTOR_PF, VECTOR_GP};
    for (unsigned back = 1; back < 0x38; back++) {
        struct scene scene = {.name = "walk into a page that faults",
                              CODE(WALK),
                              .gpr = {[GPR_RBX] = edge[back % 2] - back},
                              .outcome = outcome[back % 2]};
        pair_check(*state, &scene);
    }
}

/* mov rax, [r12]; mov [r12+8], rax; add r12, 0x10; mov rcx, [r12+8]; mov r13, [r13]; mov r14,
 * [r12+0x18] */
static const struct scene high_bases[] = {
    {"bases that live in memory",
     CODE("\x49\x8b\x04\x24\x49\x89\x44\x24\x08\x49\x83\xc4\x10\x49\x8b\x4c\x24\x08\x4d\x8b\x6d\x00"
          "\x4d\x8b\x74\x24\x18"),
     .gpr = {[GPR_R12] = DATA_AT + 0x20, [GPR_R13] = DATA_AT + 0x80}, .outcome = PORT_DONE},
    /* mov rax, [rbx]; mov rcx, [rsi]; mov [rbx+8], rcx; mov [rsi+8], rax; mov rdx, [rbx+0x10] */
    {"two bases in turn",
     CODE("\x48\x8b\x03\x48\x8b\x0e\x48\x89\x4b\x08\x48\x89\x46\x08\x48\x8b\x53\x10"),
     .gpr = {[GPR_RBX] = DATA_AT, [GPR_RSI] = DATA_AT + 0x1000}, .outcome = PORT_DONE},
    {"two bases in turn, one page faults late",
     CODE("\x48\x8b\x03\x48\x8b\x0e\x48\x89\x4b\x08\x48\x89\x46\x08\x48\x8b\x53\x10"),
     .gpr = {[GPR_RBX] = DATA_AT, [GPR_RSI] = READ_ONLY_AT}, .outcome = VECTOR_PF},
    /* mov rax, [rbx]; mov rbx, [rbx+8]; mov rcx, [rbx+16]: the second base is what was loaded */
    {"a base that its own access replaces", CODE("\x48\x8b\x03\x48\x8b\x5b\x08\x48\x8b\x4b\x10"),
     .gpr = {[GPR_RBX] = DATA_AT}, .outcome = VECTOR_GP},
};

static void bases_of_all_kinds_share_look_ups(void **state)
{
    CHECK_SCENES(*state, high_bases);
}

/* ---- the near page: of the stack ---- */

/* push rax; push rcx; mov [rsp+0x18], rdx; pop rdi; mov rsi, [rsp+0x20]; pop rbp */
#define STACK_WALK "\x50\x51\x48\x89\x54\x24\x18\x5f\x48\x8b\x74\x24\x20\x5d"

static void the_stack_crosses_pages(void **state)
{
    for (unsigned back = 0; back < 0x40; back++) {
        struct scene scene = {.name = "stack over the end of a page",
                              CODE(STACK_WALK),
                              .gpr = {[GPR_RSP] = PAGE_END + 0x18 - back},
                              .outcome = PORT_DONE};
        pair_check(*state, &scene);
        scene.name = "stack over the start of an absent page";
        scene.gpr[GPR_RSP] = ABSENT_AT + 0x18 - back;
        scene.outcome = back < 0x40 - 8 ? VECTOR_PF : PAIR_ANY;
        pair_check(*state, &scene);
    }
}

static void make_writable(struct guest *guest)
{
    guest_map(guest, DATA_AT, DATA_AT | PAGE_P | PAGE_W | PAGE_U);
    tlb_flush_all(guest->cpu);
}

/* Behind a load of CR3 no page is near: mov rcx, cr3; mov cr3, rcx; jmp +0 */
#define FORGET "\x0f\x20\xd9\x0f\x22\xd9\xeb\x00"

/* The first finds the page in the tables, the second in the TLB, and then it is near:
 * mov [rsp], rax; jmp +0; mov [rsp], rax */
#define TWICE "\x48\x89\x04\x24\xeb\x00\x48\x89\x04\x24"

static const struct scene stacks[] = {
    {"where the mark of no page would be", CODE(FORGET "\x50"),
     .gpr = {[GPR_RSP] = NEAR_NONE + 0x100}, .outcome = VECTOR_SS},
    {"at its start", CODE(FORGET "\x58"), .gpr = {[GPR_RSP] = NEAR_NONE}, .outcome = VECTOR_SS},
    {"shared, where the mark would be", CODE(FORGET "\x50\x51\x58"),
     .gpr = {[GPR_RSP] = NEAR_NONE + 0x100}, .outcome = VECTOR_SS},
    /* Its distance is kept, but no page: mov rax, [DATA_AT] by RSP; then there */
    {"where the mark would be, behind a page that may be read only",
     CODE("\x48\x8b\x04\x24\x48\x89\xdc\x50"),
     .gpr = {[GPR_RSP] = READ_ONLY_AT, [GPR_RBX] = NEAR_NONE + 8}, .outcome = VECTOR_SS},
    {"reads of a page that may be read only", CODE("\x58\x59\x48\x8b\x94\x24\x00\x04\x00\x00"),
     .gpr = {[GPR_RSP] = READ_ONLY_AT + 8}, .outcome = PORT_DONE},
    /* mov rax, [rsp+0x400]; mov [rsp], rax: two windows */
    {"a write behind a read", CODE("\x48\x8b\x84\x24\x00\x04\x00\x00\x48\x89\x04\x24"),
     .gpr = {[GPR_RSP] = READ_ONLY_AT + 8}, .outcome = VECTOR_PF},
    {"user code behind the kernel's", CODE("\x58\x50"), .gpr = {[GPR_RSP] = SUPERVISOR_AT + 8},
     .user = true, .outcome = VECTOR_PF},
    /* and byte [rbx], ~2; invlpg [rsp]; jmp +0; mov [rsp], rcx */
    {"that may not be written any more",
     CODE(TWICE "\x80\x23\xfd\x0f\x01\x3c\x24\xeb\x00\x48\x89\x0c\x24"),
     .gpr = {[GPR_RSP] = DATA_AT + 0x800, [GPR_RBX] = PT_AT + (DATA_AT >> 12) * 8},
     .prepare = make_writable, .outcome = VECTOR_PF},
    /* and byte [rbx], ~2; mov rcx, cr3; mov cr3, rcx; jmp +0; mov [rsp], rcx */
    {"that a load of CR3 forgets", CODE(TWICE "\x80\x23\xfd" FORGET "\x48\x89\x0c\x24"),
     .gpr = {[GPR_RSP] = DATA_AT + 0x800, [GPR_RBX] = PT_AT + (DATA_AT >> 12) * 8},
     .prepare = make_writable, .outcome = VECTOR_PF},
};

static void the_stack_is_where_it_may_be(void **state)
{
    CHECK_SCENES(*state, stacks);
}

/* ---- segments ---- */

static void give_bases(struct guest *guest)
{
    guest->cpu->segment[SEGMENT_FS].base = DATA_AT + 0x100;
    guest->cpu->segment[SEGMENT_GS].base = UINT64_MAX - DATA_AT;
}

static const struct scene segments[] = {
    {"fs", CODE("\x64\x48\x8b\x03"), .gpr = {[GPR_RBX] = 0x10}, .prepare = give_bases,
     .outcome = PORT_DONE},
    {"gs wraps round", CODE("\x65\x48\x8b\x03"), .gpr = {[GPR_RBX] = 2 * DATA_AT + 0x11},
     .prepare = give_bases, .outcome = PORT_DONE},
    {"fs with a constant address", CODE("\x64\x48\x8b\x04\x25\x28\x00\x00\x00"),
     .prepare = give_bases, .outcome = PORT_DONE},
    {"fs out of the hole", CODE("\x64\x48\x89\x03"), .gpr = {[GPR_RBX] = LOW_END - DATA_AT},
     .prepare = give_bases, .outcome = VECTOR_GP},
    {"fs and 32-bit address", CODE("\x64\x67\x48\x8b\x43\xf0"),
     .gpr = {[GPR_RBX] = UINT64_C(0x700000020)}, .prepare = give_bases, .outcome = PORT_DONE},
    {"lea has no base", CODE("\x64\x48\x8d\x43\x10"), .prepare = give_bases, .outcome = PORT_DONE},
};

static void segments_have_their_bases(void **state)
{
    CHECK_SCENES(*state, segments);
}

/* ---- flags on the way ---- */

/* The look-up changes the host's flags: those of the guest must be there again. */
static const struct scene flags[] = {
    /* add rax, rcx; mov rdx, [rbx]; adc rsi, rdx */
    {"carry over a load", CODE("\x48\x01\xc8\x48\x8b\x13\x48\x11\xd6"),
     .gpr = {[GPR_RAX] = UINT64_MAX, [GPR_RBX] = DATA_AT}, .outcome = PORT_DONE},
    /* add rax, rax; mov [rbx], rax; seto cl; pushfq */
    {"overflow over a store", CODE("\x48\x01\xc0\x48\x89\x03\x0f\x90\xc1\x9c"),
     .gpr = {[GPR_RAX] = UINT64_C(0x4000000000000000), [GPR_RBX] = DATA_AT}, .outcome = PORT_DONE},
    /* stc; shl rax, cl (by 0); mov rdx, [rbx]; rcl rdx, 1 */
    {"a shift by nothing keeps them", CODE("\xf9\x48\xd3\xe0\x48\x8b\x13\x48\xd1\xd2"),
     .gpr = {[GPR_RCX] = 64, [GPR_RBX] = DATA_AT}, .outcome = PORT_DONE},
    /* cmp rax, rcx; mov rdx, [rbx]; inc rdx; jc +2; inc esi */
    {"inc keeps carry", CODE("\x48\x39\xc8\x48\x8b\x13\x48\xff\xc2\x72\x02\xff\xc6"),
     .gpr = {[GPR_RAX] = 1, [GPR_RBX] = DATA_AT}, .outcome = PORT_DONE},
    /* xor eax, eax; mov rdx, [rbx] into a page that is not there */
    {"in the frame of a fault", CODE("\x31\xc0\x48\x8b\x13"), .gpr = {[GPR_RBX] = ABSENT_AT},
     .outcome = VECTOR_PF},
    {"from before the block", CODE("\x48\x8b\x13\x48\x8b\x4b\x08"), .gpr = {[GPR_RBX] = DATA_AT},
     .flags = FLAGS_ARITHMETIC, .outcome = PORT_DONE},
    {"from before the block into the frame", CODE("\x48\x8b\x13"), .gpr = {[GPR_RBX] = ABSENT_AT},
     .flags = FLAGS_ARITHMETIC, .outcome = VECTOR_PF},
};

static void flags_survive_look_ups(void **state)
{
    CHECK_SCENES(*state, flags);
}

int main(void)
{
    if (!translator_is_possible()) {
        print_message("1..0 # SKIP this host cannot run translations\n");
        return 0;
    }
    const struct CMUnitTest tests[] = {
        pair_test(accesses_end_and_cross_at_the_edge_of_a_page),
        pair_test(pages_allow_what_they_allow),
        pair_test(addresses_wrap_and_fault_as_they_must),
        pair_test(nothing_behind_the_end_of_ram_is_touched),
        pair_test(shared_look_ups_see_the_same_bytes),
        pair_test(shared_look_ups_fault_where_the_access_does),
        pair_test(bases_of_all_kinds_share_look_ups),
        pair_test(the_stack_crosses_pages),
        pair_test(the_stack_is_where_it_may_be),
        pair_test(segments_have_their_bases),
        pair_test(flags_survive_look_ups),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
