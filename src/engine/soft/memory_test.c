/* Accesses to guest memory: across pages, outside RAM, through segments, locked, watched. */
#include "engine/soft/memory.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "tests/harness/soft_fixture.h"

enum { PRESENT = PAGE_P | PAGE_W | PAGE_U };

/* ---- across pages ---- */

static void word_across_pages_that_lie_apart(void **state)
{
    struct guest *g = *state;
    guest_map(g, DATA_AT + 0x1000, (DATA_AT + 0x5000) | PRESENT);
    guest_write64(g, DATA_AT + 0xff8, UINT64_C(0x8877665544332211));
    guest_write64(g, DATA_AT + 0x5000, UINT64_C(0xfedcba9876543210));
    g->cpu->gpr[GPR_RBX] = DATA_AT + 0xffd;
    assert_int_equal(TRY(g, "\x48\x8b\x03"), PORT_DONE); /* mov rax, [rbx] */
    assert_int_equal(g->cpu->gpr[GPR_RAX], UINT64_C(0x9876543210887766));
    g->cpu->gpr[GPR_RAX] = UINT64_C(0x0102030405060708);
    assert_int_equal(TRY(g, "\x48\x89\x03"), PORT_DONE); /* mov [rbx], rax */
    assert_int_equal(guest_read64(g, DATA_AT + 0xff8), UINT64_C(0x0607085544332211));
    assert_int_equal(guest_read64(g, DATA_AT + 0x5000), UINT64_C(0xfedcba0102030405));
}

static void fault_of_second_page_leaves_first_page_alone(void **state)
{
    struct guest *g = *state;
    guest_write64(g, DATA_AT + 0xff8, 0);
    guest_map(g, DATA_AT + 0x1000, (DATA_AT + 0x1000) | PAGE_P);
    g->cpu->gpr[GPR_RBX] = DATA_AT + 0xffd;
    g->cpu->gpr[GPR_RAX] = UINT64_MAX;
    assert_int_equal(TRY(g, "\x48\x89\x03"), VECTOR_PF); /* mov [rbx], rax */
    assert_int_equal(guest_read64(g, DATA_AT + 0xff8), 0);
    assert_int_equal(g->cpu->cr2, DATA_AT + 0x1000);
    assert_int_equal(guest_frame(g, 0), 3); /* present, write */
    assert_int_equal(guest_frame(g, 1), CODE_AT);
}

static void faulting_instruction_changes_no_register(void **state)
{
    struct guest *g = *state;
    static const struct {
        const char *code;
        unsigned length;
    } cases[] = {
        {"\x48\x01\x03", 3},         /* add [rbx], rax */
        {"\x48\x03\x03", 3},         /* add rax, [rbx] */
        {"\xff\x33", 2},             /* push qword [rbx] */
        {"\x8f\x03", 2},             /* pop qword [rbx] */
        {"\x87\x03", 2},             /* xchg [rbx], eax */
        {"\xf0\x0f\xb1\x0b", 4},     /* lock cmpxchg [rbx], ecx */
        {"\xf0\x48\x0f\xc1\x03", 5}, /* lock xadd [rbx], rax */
        {"\xa5", 1},                 /* movsd */
        {"\xf3\xab", 2},             /* rep stosd */
        {"\xff\x13", 2},             /* call [rbx] */
        {"\xd3\x23", 2},             /* shl dword [rbx], cl */
        {"\xff\x0b", 2},             /* dec dword [rbx] */
        {"\x0f\x4f\x03", 3},         /* cmovg eax, [rbx] */
        {"\xf7\x33", 2},             /* div dword [rbx] */
    };
    guest_map(g, DATA_AT, 0);
    for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        uint64_t before[GPR_COUNT];
        for (unsigned r = 0; r < GPR_COUNT; r++)
            g->cpu->gpr[r] = UINT64_C(0x1111111111111111) * (r + 1);
        g->cpu->gpr[GPR_RBX] = DATA_AT + 8;
        g->cpu->gpr[GPR_RDI] = DATA_AT + 16;
        g->cpu->gpr[GPR_RSI] = LARGE_AT;
        g->cpu->gpr[GPR_RSP] = STACK_TOP;
        g->cpu->flags = FLAG_FIXED | FLAG_ZF | FLAG_CF;
        memcpy(before, g->cpu->gpr, sizeof(before));
        assert_int_equal(guest_try(g, cases[i].code, cases[i].length), VECTOR_PF);
        assert_int_equal(guest_frame(g, 1), CODE_AT);
        assert_int_equal(guest_frame(g, 3), FLAG_FIXED | FLAG_ZF | FLAG_CF | FLAG_RF);
        assert_int_equal(guest_frame(g, 4), STACK_TOP);
        before[GPR_RSP] = g->cpu->gpr[GPR_RSP];
        assert_memory_equal(g->cpu->gpr, before, sizeof(before));
    }
}

static void last_byte_of_the_address_space_wraps_to_a_fault(void **state)
{
    struct guest *g = *state;
    /* The page at the top of the address space is RAM, the next one is at address 0. */
    guest_write64(g, PML4_AT + 511 * 8, FREE_TABLES_AT | PRESENT);
    guest_write64(g, FREE_TABLES_AT + 511 * 8, (FREE_TABLES_AT + 0x1000) | PRESENT);
    guest_write64(g, FREE_TABLES_AT + 0x1000 + 511 * 8, (FREE_TABLES_AT + 0x2000) | PRESENT);
    guest_write64(g, FREE_TABLES_AT + 0x2000 + 511 * 8, DATA_AT | PRESENT);
    guest_write64(g, DATA_AT + 0xff8, UINT64_C(0x1122334455667788));
    g->cpu->gpr[GPR_RBX] = UINT64_MAX - 7;
    assert_int_equal(TRY(g, "\x48\x8b\x03"), PORT_DONE); /* mov rax, [rbx] */
    assert_int_equal(g->cpu->gpr[GPR_RAX], UINT64_C(0x1122334455667788));
}

static void addresses_that_are_not_canonical(void **state)
{
    struct guest *g = *state;
    uint64_t holes[] = {UINT64_C(1) << 47, UINT64_C(0x0123456789abcdef), (UINT64_C(1) << 47) - 4,
                        UINT64_C(0xffff7ffffffffff0)};
    /* The third begins below the hole: map its first page. */
    guest_write64(g, PML4_AT + 255 * 8, FREE_TABLES_AT | PRESENT);
    guest_write64(g, FREE_TABLES_AT + 511 * 8, (FREE_TABLES_AT + 0x1000) | PRESENT);
    guest_write64(g, FREE_TABLES_AT + 0x1000 + 511 * 8, (FREE_TABLES_AT + 0x2000) | PRESENT);
    guest_write64(g, FREE_TABLES_AT + 0x2000 + 511 * 8, DATA_AT | PRESENT);
    for (unsigned i = 0; i < sizeof(holes) / sizeof(holes[0]); i++) {
        g->cpu->gpr[GPR_RBX] = holes[i];
        g->cpu->gpr[GPR_RBP] = holes[i];
        g->cpu->gpr[GPR_RSP] = STACK_TOP;
        assert_int_equal(TRY(g, "\x48\x8b\x03"), VECTOR_GP); /* mov rax, [rbx] */
        assert_int_equal(guest_frame(g, 0), 0);
        g->cpu->gpr[GPR_RSP] = STACK_TOP;
        assert_int_equal(TRY(g, "\x48\x8b\x45\x00"), VECTOR_SS); /* mov rax, [rbp] */
    }
}

/* ---- mappings ---- */

static void rom_is_read_and_its_writes_are_told(void **state)
{
    struct guest *g = *state;
    static uint8_t rom[4096];
    memset(rom, 0x5a, sizeof(rom));
    assert_int_equal(soft_engine.map(g->partition, MMIO_GPA, sizeof(rom), rom, false), 0);
    g->cpu->gpr[GPR_RBX] = MMIO_LINEAR;
    assert_int_equal(TRY(g, "\x8b\x03"), PORT_DONE); /* mov eax, [rbx] */
    assert_int_equal(g->cpu->gpr[GPR_RAX], 0x5a5a5a5a);
    assert_int_equal(TRY(g, "\x89\x03"), -1); /* mov [rbx], eax */
    assert_int_equal(g->exit.kind, ENGINE_EXIT_MMIO_WRITE);
    assert_int_equal(g->exit.mmio.gpa, MMIO_GPA);
    assert_int_equal(guest_run_to_port(g), PORT_DONE);
    assert_int_equal(rom[0], 0x5a);
    assert_int_equal(soft_engine.unmap(g->partition, MMIO_GPA, sizeof(rom)), 0);
    assert_int_equal(TRY(g, "\x8b\x03"), -1);
    assert_int_equal(g->exit.kind, ENGINE_EXIT_MMIO_READ);
}

static void overlay_hides_ram(void **state)
{
    struct guest *g = *state;
    static uint8_t page[4096];
    page[0] = 7;
    guest_write64(g, DATA_AT, 1);
    g->cpu->gpr[GPR_RBX] = DATA_AT;
    assert_int_equal(TRY(g, "\xfe\x03"), PORT_DONE); /* inc byte [rbx] */
    assert_int_equal(soft_engine.map(g->partition, DATA_AT, sizeof(page), page, true), 0);
    assert_int_equal(TRY(g, "\xfe\x03"), PORT_DONE);
    assert_int_equal(page[0], 8);
    assert_int_equal(guest_read64(g, DATA_AT), 2);
    assert_int_equal(soft_engine.unmap(g->partition, DATA_AT, sizeof(page)), 0);
    assert_int_equal(TRY(g, "\xfe\x03"), PORT_DONE);
    assert_int_equal(guest_read64(g, DATA_AT), 3);
    assert_int_equal(page[0], 8);
}

static void code_outside_ram_faults_every_time(void **state)
{
    struct guest *g = *state;
    static uint8_t rom[4096];
    memset(rom, 0x90, sizeof(rom));
    g->cpu->gpr[GPR_RBX] = MMIO_LINEAR;
    for (unsigned round = 0; round < 3; round++) {
        g->cpu->gpr[GPR_RSP] = STACK_TOP;
        assert_int_equal(TRY(g, "\xff\xe3"), VECTOR_GP); /* jmp rbx */
        assert_int_equal(guest_frame(g, 1), MMIO_LINEAR);
    }
    assert_int_equal(soft_engine.map(g->partition, MMIO_GPA, sizeof(rom), rom, false), 0);
    for (unsigned round = 0; round < 3; round++) {
        g->cpu->gpr[GPR_RSP] = STACK_TOP;
        assert_int_equal(TRY(g, "\xff\xe3"), VECTOR_GP);
        assert_int_equal(guest_frame(g, 1), MMIO_LINEAR);
    }
}

/* ---- locked ---- */

enum { ROUNDS = 20000 };

/* Two processors count in the same word; 1 = lock inc qword [rbx]; dec ecx; jnz 1. */
static void count_together(uint64_t at)
{
    struct guest *g = guest_create(2);
    guest_write64(g, at, 0);
    PLACE(g, CODE_AT, "\xf0\x48\xff\x03\xff\xc9\x75\xf8");
    for (unsigned i = 0; i < 2; i++) {
        g->cpus[i]->gpr[GPR_RBX] = at;
        g->cpus[i]->gpr[GPR_RCX] = ROUNDS;
    }
    guest_begin(g, 1);
    assert_int_equal(guest_run_to_port(g), PORT_DONE);
    assert_int_equal(guest_end(g, 1), PORT_DONE);
    assert_int_equal(guest_read64(g, at), 2 * ROUNDS);
    guest_destroy(g);
}

static void locked_words_are_atomic_between_processors(void **state)
{
    (void)state;
    count_together(DATA_AT + 8);
}

static void locked_words_across_a_cache_line_are_atomic(void **state)
{
    (void)state;
    count_together(DATA_AT + 61);
}

static void locked_words_across_pages_are_atomic(void **state)
{
    (void)state;
    count_together(DATA_AT + 0xffd);
}

/* ---- alignment checks ---- */

static void misaligned_user_access_raises_ac_when_asked_to(void **state)
{
    struct guest *g = *state;
    guest_use_user(g, 0);
    struct cpu *cpu = g->cpu;
    cpu->gpr[GPR_RBX] = DATA_AT + 1;
    cpu->flags |= FLAG_IOPL;                         /* for the port that ends the code */
    assert_int_equal(TRY(g, "\x8b\x03"), PORT_DONE); /* mov eax, [rbx] */
    cpu->cr0 |= CR0_AM;
    cpu_set_flags(cpu, cpu->flags | FLAG_AC);
    cpu_mode_changed(cpu);
    assert_int_equal(TRY(g, "\x8b\x03"), VECTOR_AC);
    assert_int_equal(guest_frame(g, 0), 0);
    assert_int_equal(cpu->cpl, 0);
    assert_int_equal(guest_run(g), ENGINE_EXIT_PORT_WRITE); /* a handler does not skip it */
}

static void aligned_user_access_is_fine_with_alignment_checks(void **state)
{
    struct guest *g = *state;
    guest_use_user(g, 0);
    g->cpu->cr0 |= CR0_AM;
    cpu_set_flags(g->cpu, g->cpu->flags | FLAG_AC | FLAG_IOPL);
    cpu_mode_changed(g->cpu);
    g->cpu->gpr[GPR_RBX] = DATA_AT + 4;
    assert_int_equal(TRY(g, "\x8b\x03\x8a\x43\x01"), PORT_DONE); /* mov eax,[rbx]; mov al,[rbx+1] */
}

/* ---- breakpoints ---- */

static void data_breakpoint_traps_behind_the_access(void **state)
{
    struct guest *g = *state;
    struct cpu *cpu = g->cpu;
    cpu->gpr[GPR_RBX] = DATA_AT;
    /* Before: the page is known to the TLB. mov [rbx], eax; mov [rbx+16], eax */
    assert_int_equal(TRY(g, "\x89\x03\x89\x43\x10"), PORT_DONE);
    assert_int_equal(debug_write(cpu, 0, DATA_AT + 0x10), STEP_NEXT);
    assert_int_equal(debug_write(cpu, 7, 0x400 | 2 | 0xd0000), STEP_NEXT); /* 4 bytes, writes */
    assert_int_equal(TRY(g, "\x8b\x43\x10\x89\x03\x89\x43\x10\x90"), VECTOR_DB);
    assert_int_equal(guest_frame(g, 0), CODE_AT + 8);
    assert_int_equal(cpu->dr[6] & 0xf, 1);
    assert_int_equal(debug_write(cpu, 7, 0x400), STEP_NEXT);
    assert_int_equal(guest_run_to_port(g), PORT_DONE);
}

/* ---- segments ---- */

static struct engine_segment segment(uint64_t base, uint32_t limit, unsigned type)
{
    return (struct engine_segment){.base = base,
                                   .limit = limit,
                                   .selector = DATA_SELECTOR,
                                   .attributes = (uint16_t)(SEGMENT_P | SEGMENT_S | type)};
}

static void limits_count_the_last_byte(void **state)
{
    struct guest *g = *state;
    guest_use_protected(g, 0);
    g->cpu->segment[SEGMENT_DS] = segment(DATA_AT, 0xfff, 3);
    guest_write64(g, DATA_AT + 0xffc, 0x12345678);
    g->cpu->gpr[GPR_RBX] = 0xffc;
    assert_int_equal(TRY(g, "\x8b\x03"), PORT_DONE); /* mov eax, [ebx] */
    assert_int_equal(g->cpu->gpr[GPR_RAX], 0x12345678);
    g->cpu->gpr[GPR_RBX] = 0xffd;
    assert_int_equal(TRY(g, "\x8b\x03"), VECTOR_GP);
    g->cpu->gpr[GPR_RBX] = UINT32_MAX;
    assert_int_equal(TRY(g, "\x8b\x03"), VECTOR_GP);
}

static void expand_down_segments_begin_above_their_limit(void **state)
{
    struct guest *g = *state;
    guest_use_protected(g, 0);
    g->cpu->segment[SEGMENT_DS] = segment(0, DATA_AT, 7 | SEGMENT_DB);
    g->cpu->gpr[GPR_RBX] = DATA_AT + 1;
    assert_int_equal(TRY(g, "\x8b\x03"), PORT_DONE);
    g->cpu->gpr[GPR_RBX] = DATA_AT;
    assert_int_equal(TRY(g, "\x8b\x03"), VECTOR_GP);
    g->cpu->gpr[GPR_RBX] = UINT32_MAX - 2;
    assert_int_equal(TRY(g, "\x8b\x03"), VECTOR_GP); /* past 4 GiB */
    g->cpu->segment[SEGMENT_DS] = segment(DATA_AT, 0xfff, 7);
    g->cpu->gpr[GPR_RBX] = 0xfffd;
    assert_int_equal(TRY(g, "\x8b\x03"), VECTOR_GP); /* past 64 KiB */
    g->cpu->gpr[GPR_RBX] = 0xfffc;
    assert_int_equal(TRY(g, "\x8b\x03"), PORT_DONE);
}

static void types_of_segments_are_checked(void **state)
{
    struct guest *g = *state;
    guest_use_protected(g, 0);
    g->cpu->gpr[GPR_RBX] = DATA_AT;
    assert_int_equal(TRY(g, "\x2e\x89\x03"), VECTOR_GP);    /* mov cs:[ebx], eax */
    assert_int_equal(TRY(g, "\x2e\x8b\x03"), PORT_DONE);    /* mov eax, cs:[ebx] */
    g->cpu->segment[SEGMENT_DS].attributes &= (uint16_t)~2; /* read-only data */
    assert_int_equal(TRY(g, "\x89\x03"), VECTOR_GP);
    assert_int_equal(TRY(g, "\x8b\x03"), PORT_DONE);
    g->cpu->segment[SEGMENT_ES].attributes |= SEGMENT_UNUSABLE;
    assert_int_equal(TRY(g, "\x26\x89\x03"), VECTOR_GP); /* mov es:[ebx], eax */
}

static void linear_addresses_wrap_at_4_gib(void **state)
{
    struct guest *g = *state;
    guest_use_protected(g, 0);
    g->cpu->segment[SEGMENT_DS].base = UINT32_C(0xfffff000);
    guest_write64(g, DATA_AT, 0x1234);
    g->cpu->gpr[GPR_RBX] = DATA_AT + 0x1000;
    assert_int_equal(TRY(g, "\x8b\x03"), PORT_DONE); /* mov eax, [ebx] */
    assert_int_equal(g->cpu->gpr[GPR_RAX], 0x1234);
}

static void bases_of_fs_and_gs_count_in_64_bit_code(void **state)
{
    struct guest *g = *state;
    g->cpu->segment[SEGMENT_FS].base = DATA_AT;
    g->cpu->segment[SEGMENT_DS].base = 0x1000;
    g->cpu->gpr[GPR_RBX] = 0x10;
    g->cpu->gpr[GPR_RAX] = 0x77;
    assert_int_equal(TRY(g, "\x64\x88\x03"), PORT_DONE); /* mov fs:[rbx], al */
    assert_int_equal(guest_read64(g, DATA_AT + 0x10) & 0xff, 0x77);
    g->cpu->gpr[GPR_RBX] = DATA_AT + 0x20;
    assert_int_equal(TRY(g, "\x88\x03"), PORT_DONE); /* mov [rbx], al: DS has no base */
    assert_int_equal(guest_read64(g, DATA_AT + 0x20) & 0xff, 0x77);
    g->cpu->gpr[GPR_RBX] = UINT64_C(1) << 47;
    assert_int_equal(TRY(g, "\x64\x88\x03"), VECTOR_GP);
}

static void stack_of_16_bits_wraps(void **state)
{
    struct guest *g = *state;
    guest_use_real(g, 0);
    g->cpu->gpr[GPR_RSP] = 0xabcd0000;
    g->cpu->gpr[GPR_RAX] = 0x4321;
    assert_int_equal(TRY(g, "\x50"), PORT_DONE); /* push ax */
    assert_int_equal(g->cpu->gpr[GPR_RSP], 0xabcdfffe);
    assert_int_equal(guest_read32(g, 0xfffe) & 0xffff, 0x4321);
    g->cpu->gpr[GPR_RSP] = 1;
    /* At 0xffff it would leave the segment: #SS, whose frame has no room either. */
    assert_int_equal(TRY(g, "\x50"), -1);
    assert_int_equal(g->exit.kind, ENGINE_EXIT_SHUTDOWN);
}

/* ARPL reads first: Intel SDM vol. 2A leaves open which access a page fault tells of. */
static void arpl_faults_as_a_read_unless_only_writing_is_refused(void **state)
{
    enum { READ_ONLY = DATA_AT + 0x1000, ABSENT = DATA_AT + 0x2000, PF_OF_WRITE = 3 };
    struct guest *g = *state;
    g->cpu->segment[SEGMENT_CS].attributes &= (uint16_t)~SEGMENT_L;
    g->cpu->segment[SEGMENT_CS].attributes |= SEGMENT_DB;
    cpu_mode_changed(g->cpu);
    guest_map(g, READ_ONLY, READ_ONLY | PAGE_P);
    guest_map(g, ABSENT, 0);
    PLACE(g, CODE_AT, "\x63\x0b"); /* arpl [ebx], cx */
    g->cpu->gpr[GPR_RCX] = 3;
    g->cpu->gpr[GPR_RBX] = ABSENT;
    guest_start(g, CODE_AT);
    assert_int_equal(guest_run_to_port(g), VECTOR_PF);
    assert_int_equal(guest_frame(g, 0), 0);
    guest_use_long(g, 0);
    g->cpu->segment[SEGMENT_CS].attributes &= (uint16_t)~SEGMENT_L;
    g->cpu->segment[SEGMENT_CS].attributes |= SEGMENT_DB;
    cpu_mode_changed(g->cpu);
    g->cpu->gpr[GPR_RCX] = 3;
    g->cpu->gpr[GPR_RBX] = READ_ONLY;
    guest_start(g, CODE_AT);
    assert_int_equal(guest_run_to_port(g), VECTOR_PF);
    assert_int_equal(guest_frame(g, 0), PF_OF_WRITE);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, guest_setup, guest_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(arpl_faults_as_a_read_unless_only_writing_is_refused),
        TEST(word_across_pages_that_lie_apart),
        TEST(fault_of_second_page_leaves_first_page_alone),
        TEST(faulting_instruction_changes_no_register),
        TEST(last_byte_of_the_address_space_wraps_to_a_fault),
        TEST(addresses_that_are_not_canonical),
        TEST(rom_is_read_and_its_writes_are_told),
        TEST(overlay_hides_ram),
        TEST(code_outside_ram_faults_every_time),
        cmocka_unit_test(locked_words_are_atomic_between_processors),
        cmocka_unit_test(locked_words_across_a_cache_line_are_atomic),
        cmocka_unit_test(locked_words_across_pages_are_atomic),
        TEST(misaligned_user_access_raises_ac_when_asked_to),
        TEST(aligned_user_access_is_fine_with_alignment_checks),
        TEST(data_breakpoint_traps_behind_the_access),
        TEST(limits_count_the_last_byte),
        TEST(expand_down_segments_begin_above_their_limit),
        TEST(types_of_segments_are_checked),
        TEST(linear_addresses_wrap_at_4_gib),
        TEST(bases_of_fs_and_gs_count_in_64_bit_code),
        TEST(stack_of_16_bits_wraps),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
