/* The software TLB: what must not survive a flush does not, and what may is still right. */
#include "engine/soft/tlb.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/harness/soft_fixture.h"

enum { PRESENT = PAGE_P | PAGE_W | PAGE_U, LARGE = PRESENT | PAGE_PS };

/* Give the first 8 bytes of each of `count` pages from `gpa` their own address as contents. */
static void number_pages(struct guest *g, uint64_t gpa, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        guest_write64(g, gpa + i * 0x1000, gpa + i * 0x1000);
}

/* ---- flushes ---- */

static void invlpg_forgets_a_small_page(void **state)
{
    struct guest *g = *state;
    number_pages(g, DATA_AT, 2);
    g->cpu->gpr[GPR_RBX] = DATA_AT;
    g->cpu->gpr[GPR_RDX] = DATA_AT + 0x123;
    assert_int_equal(TRY(g, "\x4c\x8b\x03"), PORT_DONE); /* mov r8, [rbx] */
    guest_map(g, DATA_AT, (DATA_AT + 0x1000) | PRESENT);
    /* invlpg [rdx]; mov rax, [rbx]; mov rcx, [rbx+0x5000] */
    assert_int_equal(TRY(g, "\x0f\x01\x3a\x48\x8b\x03\x48\x8b\x8b\x00\x50\x00\x00"), PORT_DONE);
    assert_int_equal(g->cpu->gpr[GPR_RAX], DATA_AT + 0x1000);
}

static void invlpg_forgets_all_of_a_large_page(void **state)
{
    struct guest *g = *state;
    number_pages(g, LARGE_AT, 8);
    number_pages(g, LARGE_AT + 0x200000, 8);
    g->cpu->gpr[GPR_RBX] = LARGE_AT;
    g->cpu->gpr[GPR_RDX] = LARGE_AT + 0x1ff000;
    /* mov rax, [rbx]; mov rcx, [rbx+0x5000] */
    assert_int_equal(TRY(g, "\x48\x8b\x03\x48\x8b\x8b\x00\x50\x00\x00"), PORT_DONE);
    assert_int_equal(g->cpu->gpr[GPR_RCX], LARGE_AT + 0x5000);
    guest_write64(g, PD_AT + (LARGE_AT >> 21) * 8, (LARGE_AT + 0x200000) | LARGE);
    assert_int_equal(TRY(g, "\x0f\x01\x3a\x48\x8b\x03\x48\x8b\x8b\x00\x50\x00\x00"), PORT_DONE);
    assert_int_equal(g->cpu->gpr[GPR_RAX], LARGE_AT + 0x200000);
    assert_int_equal(g->cpu->gpr[GPR_RCX], LARGE_AT + 0x205000);
}

static void invlpg_forgets_all_of_a_giant_page(void **state)
{
    struct guest *g = *state;
    enum { GIANT_LINEAR = 1 << 30 };
    number_pages(g, LARGE_AT, 8);
    guest_write64(g, PDPT_AT + 8, LARGE);
    g->cpu->gpr[GPR_RBX] = GIANT_LINEAR + LARGE_AT;
    g->cpu->gpr[GPR_RDX] = GIANT_LINEAR + 0x3ffff000;
    assert_int_equal(TRY(g, "\x48\x8b\x03\x48\x8b\x8b\x00\x50\x00\x00"), PORT_DONE);
    assert_int_equal(g->cpu->gpr[GPR_RCX], LARGE_AT + 0x5000);
    guest_write64(g, PDPT_AT + 8, 0);
    /* invlpg [rdx]; mov rax, [rbx] */
    assert_int_equal(TRY(g, "\x0f\x01\x3a\x48\x8b\x03"), VECTOR_PF);
    assert_int_equal(g->cpu->cr2, GIANT_LINEAR + LARGE_AT);
}

static void load_of_cr3_forgets_many_pages(void **state)
{
    struct guest *g = *state;
    enum { PAGES = 1024, FIRST = LARGE_AT };
    number_pages(g, FIRST, PAGES);
    g->cpu->gpr[GPR_RBX] = FIRST;
    g->cpu->gpr[GPR_RCX] = PAGES;
    /* 1: mov rax, [rbx]; add rbx, 0x1000; dec ecx; jnz 1b */
    assert_int_equal(TRY(g, "\x48\x8b\x03\x48\x81\xc3\x00\x10\x00\x00\xff\xc9\x75\xf2"), PORT_DONE);
    assert_int_equal(g->cpu->gpr[GPR_RAX], FIRST + (PAGES - 1) * 0x1000);
    guest_write64(g, PD_AT + (FIRST >> 21) * 8, (FIRST + 0x200000) | LARGE);
    g->cpu->gpr[GPR_RAX] = PML4_AT;
    for (unsigned i = 0; i < 512; i += 73) {
        g->cpu->gpr[GPR_RBX] = FIRST + i * 0x1000;
        assert_int_equal(TRY(g, "\x0f\x22\xd8\x4c\x8b\x03"),
                         PORT_DONE); /* mov cr3, rax; mov r8, [rbx] */
        assert_int_equal(g->cpu->gpr[GPR_R8], FIRST + 0x200000 + i * 0x1000);
    }
}

static void a_large_flush_leaves_vector_registers_alone(void **state)
{
    struct guest *g = *state;
    enum { PAGES = 1024 };
    guest_write64(g, DATA_AT, UINT64_C(0x1122334455667788));
    guest_write64(g, DATA_AT + 8, UINT64_C(0x99aabbccddeeff00));
    g->cpu->gpr[GPR_RBX] = LARGE_AT;
    g->cpu->gpr[GPR_RCX] = PAGES;
    g->cpu->gpr[GPR_RDI] = DATA_AT;
    /*
     * movdqu xmm0, [rdi]; 1: mov rax, [rbx]; add rbx, 0x1000; dec ecx; jnz 1b; mov rax, cr3;
     * mov cr3, rax; movdqu [rdi+16], xmm0
     */
    PLACE(g, CODE_AT,
          "\xf3\x0f\x6f\x07\x48\x8b\x03\x48\x81\xc3\x00\x10\x00\x00\xff\xc9\x75\xf2\x0f\x20\xd8"
          "\x0f\x22\xd8\xf3\x0f\x7f\x47\x10");
    for (unsigned i = 0; i < 2; i++) { /* the second time all code is there already */
        g->cpu->gpr[GPR_RBX] = LARGE_AT;
        g->cpu->gpr[GPR_RCX] = PAGES;
        guest_start(g, CODE_AT);
        assert_int_equal(guest_run_to_port(g), PORT_DONE);
        assert_memory_equal(g->ram + DATA_AT + 16, g->ram + DATA_AT, 16);
    }
}

static void global_pages_go_with_cr4_pge(void **state)
{
    struct guest *g = *state;
    number_pages(g, DATA_AT, 2);
    g->cpu->cr4 |= CR4_PGE;
    guest_map(g, DATA_AT, DATA_AT | PRESENT | PAGE_G);
    g->cpu->gpr[GPR_RBX] = DATA_AT;
    assert_int_equal(TRY(g, "\x4c\x8b\x03"), PORT_DONE); /* mov r8, [rbx] */
    guest_map(g, DATA_AT, (DATA_AT + 0x1000) | PRESENT | PAGE_G);
    /* mov rax, cr4; xor al, 0x80; mov cr4, rax; xor al, 0x80; mov cr4, rax; mov r8, [rbx] */
    assert_int_equal(TRY(g, "\x0f\x20\xe0\x34\x80\x0f\x22\xe0\x34\x80\x0f\x22\xe0\x4c\x8b\x03"),
                     PORT_DONE);
    assert_int_equal(g->cpu->gpr[GPR_R8], DATA_AT + 0x1000);
}

static uint64_t read_tag(struct guest *g, uint64_t linear)
{
    return tlb_entry(g->cpu->tlb, linear)->read;
}

static void load_of_cr3_keeps_global_pages(void **state)
{
    struct guest *g = *state;
    enum { LOCAL_AT = DATA_AT + 0x1000 };
    g->cpu->cr4 |= CR4_PGE;
    guest_map(g, DATA_AT, DATA_AT | PRESENT | PAGE_G);
    g->cpu->gpr[GPR_RAX] = PML4_AT;
    g->cpu->gpr[GPR_RBX] = DATA_AT;
    /* mov r8, [rbx]; mov r8, [rbx+0x1000]; mov cr3, rax */
    assert_int_equal(TRY(g, "\x4c\x8b\x03\x4c\x8b\x83\x00\x10\x00\x00\x0f\x22\xd8"), PORT_DONE);
    assert_int_equal(read_tag(g, DATA_AT), tlb_tag(DATA_AT, 1));
    assert_int_equal(read_tag(g, LOCAL_AT), 0);
    /* One that is found again and is not global any more goes: mov [rbx], r8; mov cr3, rax */
    guest_map(g, DATA_AT, DATA_AT | PRESENT);
    assert_int_equal(TRY(g, "\x4c\x89\x03\x0f\x22\xd8"), PORT_DONE);
    assert_int_equal(read_tag(g, DATA_AT), 0);
    assert_true(g->cpu->tlb->used); /* what the code needs */
}

/* ---- entries that share a place ---- */

static void pages_of_one_index_take_turns(void **state)
{
    struct guest *g = *state;
    uint64_t other = LARGE_AT + (uint64_t)TLB_ENTRIES * 0x1000;
    guest_write64(g, PD_AT + (other >> 21) * 8, (LARGE_AT + 0x200000) | LARGE);
    number_pages(g, LARGE_AT, 1);
    number_pages(g, LARGE_AT + 0x200000, 1);
    g->cpu->gpr[GPR_RBX] = LARGE_AT;
    g->cpu->gpr[GPR_RDI] = other;
    for (unsigned i = 0; i < 3; i++) {
        /* mov rax, [rbx]; mov rcx, [rdi]; mov rdx, [rbx] */
        assert_int_equal(TRY(g, "\x48\x8b\x03\x48\x8b\x0f\x48\x8b\x13"), PORT_DONE);
        assert_int_equal(g->cpu->gpr[GPR_RAX], LARGE_AT);
        assert_int_equal(g->cpu->gpr[GPR_RCX], LARGE_AT + 0x200000);
        assert_int_equal(g->cpu->gpr[GPR_RDX], LARGE_AT);
    }
}

static void user_and_supervisor_have_their_own_views(void **state)
{
    struct guest *g = *state;
    guest_map(g, DATA_AT, DATA_AT | PAGE_P | PAGE_W);
    g->cpu->gpr[GPR_RBX] = DATA_AT;
    assert_int_equal(TRY(g, "\x4c\x8b\x03"), PORT_DONE); /* mov r8, [rbx] */
    struct engine_segment code = g->cpu->segment[SEGMENT_CS];
    for (unsigned i = 0; i < 2; i++) {
        guest_use_user(g, 0);
        assert_int_equal(TRY(g, "\x4c\x8b\x03"), VECTOR_PF);
        assert_int_equal(guest_frame(g, 0), 5); /* present, user */
        assert_int_equal(g->cpu->cpl, 0);
        g->cpu->segment[SEGMENT_CS] = code;
        assert_int_equal(TRY(g, "\x4c\x8b\x03"), PORT_DONE);
    }
}

static void write_needs_its_own_permission(void **state)
{
    struct guest *g = *state;
    guest_map(g, DATA_AT, DATA_AT | PAGE_P);
    g->cpu->gpr[GPR_RBX] = DATA_AT;
    assert_int_equal(TRY(g, "\x4c\x8b\x03"), PORT_DONE); /* mov r8, [rbx] */
    assert_int_equal(TRY(g, "\x4c\x89\x03"), VECTOR_PF); /* mov [rbx], r8 */
    /* With CR0.WP clear it goes; set again it does not. mov cr0, rax; mov [rbx], rax */
    g->cpu->gpr[GPR_RAX] = g->cpu->cr0 & ~(uint64_t)CR0_WP;
    assert_int_equal(TRY(g, "\x0f\x22\xc0\x48\x89\x03"), PORT_DONE);
    g->cpu->gpr[GPR_RAX] = g->cpu->cr0 | CR0_WP;
    assert_int_equal(TRY(g, "\x0f\x22\xc0\x48\x89\x03"), VECTOR_PF);
}

static void first_write_after_reads_sets_the_dirty_bit(void **state)
{
    struct guest *g = *state;
    g->cpu->gpr[GPR_RBX] = DATA_AT;
    assert_int_equal(TRY(g, "\x4c\x8b\x03"), PORT_DONE); /* mov r8, [rbx] */
    uint64_t at = PT_AT + (DATA_AT >> 12) * 8;
    assert_int_equal(guest_read64(g, at) & (PAGE_A | PAGE_D), PAGE_A);
    assert_int_equal(TRY(g, "\x4c\x89\x03"), PORT_DONE); /* mov [rbx], r8 */
    assert_int_equal(guest_read64(g, at) & (PAGE_A | PAGE_D), PAGE_A | PAGE_D);
}

/* ---- PCIDs: more address spaces than slots ---- */

enum { SPACES = 12, TABLES_AT = 0x600000, KEEP_BIT = 63 };

static uint64_t space_tables(unsigned space)
{
    return TABLES_AT + space * 0x4000;
}

/* The same as the first one, but that DATA_AT is page `page`. */
static void make_space(struct guest *g, unsigned space, uint64_t page)
{
    uint64_t at = space_tables(space);
    guest_write64(g, at, (at + 0x1000) | PRESENT);
    guest_write64(g, at + 0x1000, (at + 0x2000) | PRESENT);
    for (unsigned i = 0; i < 512; i++) {
        guest_write64(g, at + 0x2000 + i * 8, guest_read64(g, PD_AT + i * 8));
        guest_write64(g, at + 0x3000 + i * 8, (uint64_t)i << 12 | PRESENT);
    }
    guest_write64(g, at + 0x2000, (at + 0x3000) | PRESENT);
    guest_write64(g, at + 0x3000 + (DATA_AT >> 12) * 8, page | PRESENT);
}

static uint64_t read_in_space(struct guest *g, unsigned space, bool keep)
{
    g->cpu->gpr[GPR_RAX] = space_tables(space) | (space + 1) | (uint64_t)keep << KEEP_BIT;
    g->cpu->gpr[GPR_RBX] = DATA_AT;
    assert_int_equal(TRY(g, "\x0f\x22\xd8\x4c\x8b\x03"),
                     PORT_DONE); /* mov cr3, rax; mov r8, [rbx] */
    return g->cpu->gpr[GPR_R8];
}

static void use_spaces(struct guest *g)
{
    g->cpu->cr4 |= CR4_PCIDE;
    number_pages(g, LARGE_AT, 2 * SPACES);
    for (unsigned i = 0; i < SPACES; i++)
        make_space(g, i, LARGE_AT + i * 0x1000);
}

static void more_address_spaces_than_slots_keep_apart(void **state)
{
    struct guest *g = *state;
    use_spaces(g);
    for (unsigned round = 0; round < 3; round++) {
        for (unsigned i = 0; i < SPACES; i++)
            assert_int_equal(read_in_space(g, i, true), LARGE_AT + i * 0x1000);
        for (unsigned i = 0; i < 3; i++)
            assert_int_equal(read_in_space(g, i, true), LARGE_AT + i * 0x1000);
    }
}

static void remap_space(struct guest *g, unsigned space)
{
    guest_write64(g, space_tables(space) + 0x3000 + (DATA_AT >> 12) * 8,
                  (LARGE_AT + (SPACES + space) * 0x1000) | PRESENT);
}

static void load_of_cr3_without_keeping_flushes_that_pcid(void **state)
{
    struct guest *g = *state;
    use_spaces(g);
    for (unsigned i = 0; i < 3; i++)
        (void)read_in_space(g, i, true);
    remap_space(g, 1);
    (void)read_in_space(g, 0, true);
    assert_int_equal(read_in_space(g, 1, false), LARGE_AT + (SPACES + 1) * 0x1000);
}

static void invpcid(struct guest *g, unsigned type, uint64_t pcid, uint64_t address)
{
    enum { DESCRIPTOR_AT = DATA_AT + 0x3000 };
    guest_write64(g, DESCRIPTOR_AT, pcid);
    guest_write64(g, DESCRIPTOR_AT + 8, address);
    g->cpu->gpr[GPR_RAX] = type;
    g->cpu->gpr[GPR_RDX] = DESCRIPTOR_AT;
    g->cpu->gpr[GPR_RBX] = DATA_AT + 0x3000;
    assert_int_equal(TRY(g, "\x66\x0f\x38\x82\x02\x4c\x8b\x03"),
                     PORT_DONE); /* invpcid rax, [rdx] */
}

static void invpcid_reaches_address_spaces_not_in_use(void **state)
{
    struct guest *g = *state;
    use_spaces(g);
    for (unsigned type = 0; type < 4; type++) {
        (void)read_in_space(g, type, true);
        (void)read_in_space(g, 5, true);
        remap_space(g, type);
        invpcid(g, type, type < 2 ? type + 1 : 0, type == 0 ? DATA_AT : 0);
        assert_int_equal(read_in_space(g, type, true), LARGE_AT + (SPACES + type) * 0x1000);
    }
}

/* ---- the parts by themselves ---- */

static void a_flush_changes_the_context(void **state)
{
    struct guest *g = *state;
    struct cpu *cpu = g->cpu;
    cpu->gpr[GPR_RBX] = DATA_AT;
    assert_int_equal(TRY(g, "\x4c\x8b\x03"), PORT_DONE); /* mov r8, [rbx] */
    uint64_t context = tlb_code_context(cpu);
    assert_true(tlb_entry(cpu->tlb, DATA_AT)->read == tlb_tag(DATA_AT, 8));
    assert_int_equal(tlb_entry(cpu->tlb, DATA_AT)->read, tlb_tag(DATA_AT, 1));
    tlb_flush_page(cpu, DATA_AT); /* no code there */
    assert_int_equal(tlb_code_context(cpu), context);
    assert_int_equal(tlb_entry(cpu->tlb, DATA_AT)->read, 0);
    tlb_flush_page(cpu, CODE_AT);
    assert_true(tlb_code_context(cpu) > context);
    context = tlb_code_context(cpu);
    tlb_flush_all(cpu);
    assert_true(tlb_code_context(cpu) > context);
    assert_false(cpu->tlb->used);
}

/* There are fewer bits than pages: kernel code must not meet user data there. */
static void data_in_the_other_half_is_no_code(void **state)
{
    struct guest *g = *state;
    struct cpu *cpu = g->cpu;
    const uint64_t kernel = UINT64_C(0xffffffff81234000);
    tlb_flush_all(cpu);
    tlb_note_fetch(cpu, kernel, true);
    tlb_note_large(cpu, kernel, 21);
    uint64_t context = tlb_code_context(cpu);
    for (uint64_t i = 0; i < 2 * FETCHED_BITS; i++)
        tlb_flush_page(cpu, i << 12);
    for (uint64_t i = 0; i < 2 * 64 * LARGE_WORDS; i++)
        tlb_flush_page(cpu, i << 22);
    assert_int_equal(tlb_code_context(cpu), context);
    tlb_flush_page(cpu, kernel);
    assert_true(tlb_code_context(cpu) > context);
}

static void global_code_of_a_program_is_still_known_behind_a_load_of_cr3(void **state)
{
    struct guest *g = *state;
    struct cpu *cpu = g->cpu;
    cpu->cpl = 3;
    tlb_select(cpu);
    tlb_take(cpu->tlb, CODE_AT, 0, true)->fetch = tlb_tag(CODE_AT, 1);
    tlb_note_fetch(cpu, CODE_AT, true);
    tlb_switch(cpu, 0, false);
    assert_int_equal(tlb_entry(cpu->tlb, CODE_AT)->fetch, tlb_tag(CODE_AT, 1));
    uint64_t context = tlb_code_context(cpu);
    tlb_flush_page(cpu, CODE_AT);
    assert_true(tlb_code_context(cpu) > context);
    cpu->cpl = 0;
}

static void tag_of_an_access_that_leaves_its_page_matches_nothing(void **state)
{
    (void)state;
    assert_int_equal(tlb_tag(0x1ff8, 8), 0x1fff);
    assert_int_equal(tlb_tag(0x1ff9, 8), 0x2fff);
    assert_int_equal(tlb_tag(UINT64_MAX, 2), 0xfff);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, guest_setup, guest_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(invlpg_forgets_a_small_page),
        TEST(invlpg_forgets_all_of_a_large_page),
        TEST(invlpg_forgets_all_of_a_giant_page),
        TEST(load_of_cr3_forgets_many_pages),
        TEST(a_large_flush_leaves_vector_registers_alone),
        TEST(global_pages_go_with_cr4_pge),
        TEST(load_of_cr3_keeps_global_pages),
        TEST(pages_of_one_index_take_turns),
        TEST(user_and_supervisor_have_their_own_views),
        TEST(write_needs_its_own_permission),
        TEST(first_write_after_reads_sets_the_dirty_bit),
        TEST(more_address_spaces_than_slots_keep_apart),
        TEST(load_of_cr3_without_keeping_flushes_that_pcid),
        TEST(invpcid_reaches_address_spaces_not_in_use),
        TEST(a_flush_changes_the_context),
        TEST(data_in_the_other_half_is_no_code),
        TEST(global_code_of_a_program_is_still_known_behind_a_load_of_cr3),
        cmocka_unit_test(tag_of_an_access_that_leaves_its_page_matches_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
