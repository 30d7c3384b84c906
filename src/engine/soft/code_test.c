/* Decoded blocks: what is run is always what memory holds. */
#include "engine/soft/code.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "engine/soft/code_private.h"
#include "engine/soft/tlb.h"
#include "tests/harness/soft_fixture.h"

enum {
    PRESENT = PAGE_P | PAGE_W | PAGE_U,
    FUNCTION_AT = DATA_AT + 3, /* its immediate is aligned */
};

/* A function that returns `value` in EAX. */
static void put_function(struct guest *g, uint64_t at, uint32_t value)
{
    uint8_t code[] = {0xb8, 0, 0, 0, 0, 0xc3};
    memcpy(code + 1, &value, sizeof(value));
    guest_write(g, at, code, sizeof(code));
}

/* ---- one processor ---- */

static void store_into_the_next_instruction_counts(void **state)
{
    struct guest *g = *state;
    for (unsigned i = 0; i < 3; i++) {
        /* mov byte [rip+1], 0x42; mov al, 0x11 */
        assert_int_equal(TRY(g, "\xc6\x05\x01\x00\x00\x00\x42\xb0\x11"), PORT_DONE);
        assert_int_equal(g->cpu->gpr[GPR_RAX], 0x42);
    }
}

static void string_store_over_the_code_behind_it_counts(void **state)
{
    struct guest *g = *state;
    /* mov ecx, 64; mov al, 0x90; lea rdi, [rip+2]; rep stosb; then 64 bytes of UD2 */
    uint8_t code[80] = {0xb9, 0x40, 0x00, 0x00, 0x00, 0xb0, 0x90, 0x48,
                        0x8d, 0x3d, 0x02, 0x00, 0x00, 0x00, 0xf3, 0xaa};
    for (unsigned k = 16; k < sizeof(code); k++)
        code[k] = (k & 1) == 0 ? 0x0f : 0x0b;
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(guest_try(g, code, sizeof(code)), PORT_DONE);
    }
}

static void store_beside_code_in_its_page_keeps_it(void **state)
{
    struct guest *g = *state;
    put_function(g, FUNCTION_AT, 7);
    g->cpu->gpr[GPR_RBX] = FUNCTION_AT;
    g->cpu->gpr[GPR_RCX] = 99;
    for (unsigned i = 0; i < 3; i++) {
        g->cpu->gpr[GPR_RAX] = 0;
        /* mov [rbx+0x800], ecx; call rbx */
        assert_int_equal(TRY(g, "\x89\x8b\x00\x08\x00\x00\xff\xd3"), PORT_DONE);
        assert_int_equal(g->cpu->gpr[GPR_RAX], 7);
        assert_int_equal(guest_read32(g, FUNCTION_AT + 0x800), 99);
    }
}

static void store_through_another_address_counts(void **state)
{
    struct guest *g = *state;
    guest_map(g, DATA_AT + 0x8000, DATA_AT | PRESENT);
    put_function(g, FUNCTION_AT, 1);
    g->cpu->gpr[GPR_RBX] = FUNCTION_AT;
    g->cpu->gpr[GPR_RDX] = FUNCTION_AT + 0x8001;
    assert_int_equal(TRY(g, "\xff\xd3"), PORT_DONE); /* call rbx */
    g->cpu->gpr[GPR_RAX] = 0x12345678;
    assert_int_equal(TRY(g, "\x89\x02\xff\xd3"), PORT_DONE); /* mov [rdx], eax; call rbx */
    assert_int_equal(g->cpu->gpr[GPR_RAX], 0x12345678);
}

static void write_tag_from_before_the_code_ran_is_no_way_round(void **state)
{
    struct guest *g = *state;
    put_function(g, FUNCTION_AT, 1);
    g->cpu->gpr[GPR_RBX] = FUNCTION_AT;
    g->cpu->gpr[GPR_RSI] = DATA_AT + 0x900;
    g->cpu->gpr[GPR_RCX] = 5;
    /* The first store makes the page writable in the TLB, the call makes it a page of code. */
    assert_int_equal(TRY(g, "\x89\x0e\xff\xd3"), PORT_DONE); /* mov [rsi], ecx; call rbx */
    assert_int_equal(g->cpu->gpr[GPR_RAX], 1);
    /* mov [rsi], ecx; mov [rbx+1], ecx; call rbx */
    assert_int_equal(TRY(g, "\x89\x0e\x89\x4b\x01\xff\xd3"), PORT_DONE);
    assert_int_equal(g->cpu->gpr[GPR_RAX], 5);
}

static void write_of_a_device_counts(void **state)
{
    struct guest *g = *state;
    g->cpu->gpr[GPR_RBX] = FUNCTION_AT;
    PLACE(g, CODE_AT, "\xff\xd3"); /* call rbx */
    for (uint32_t i = 1; i < 10; i++) {
        put_function(g, FUNCTION_AT, i);
        guest_start(g, CODE_AT);
        assert_int_equal(guest_run_to_port(g), PORT_DONE);
        assert_int_equal(g->cpu->gpr[GPR_RAX], i);
    }
}

static void bytes_that_were_no_instruction_may_become_one(void **state)
{
    struct guest *g = *state;
    assert_int_equal(TRY(g, "\x0f\xff\xff\xff"), VECTOR_UD); /* UD0 */
    assert_int_equal(TRY(g, "\xff\xff\xff\xff"), VECTOR_UD); /* FF /7 is none */
    assert_int_equal(TRY(g, "\xff\xc0\xff\xc0"), PORT_DONE); /* inc eax; inc eax */
    assert_int_equal(g->cpu->gpr[GPR_RAX], 2);
}

static void fifteen_bytes_are_the_most(void **state)
{
    struct guest *g = *state;
    assert_int_equal(TRY(g, "\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x90"),
                     PORT_DONE);
    assert_int_equal(TRY(g, "\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x90"),
                     VECTOR_GP);
    assert_int_equal(guest_frame(g, 0), 0);
    assert_int_equal(guest_frame(g, 1), CODE_AT);
}

/* ---- pages ---- */

static void remapped_page_of_code_counts_after_invlpg(void **state)
{
    struct guest *g = *state;
    put_function(g, FUNCTION_AT, 1);
    put_function(g, FUNCTION_AT + 0x1000, 2);
    g->cpu->gpr[GPR_RBX] = FUNCTION_AT;
    assert_int_equal(TRY(g, "\xff\xd3"), PORT_DONE); /* call rbx */
    guest_map(g, DATA_AT, (DATA_AT + 0x1000) | PRESENT);
    assert_int_equal(TRY(g, "\x0f\x01\x3b\xff\xd3"), PORT_DONE); /* invlpg [rbx]; call rbx */
    assert_int_equal(g->cpu->gpr[GPR_RAX], 2);
    guest_map(g, DATA_AT, DATA_AT | PRESENT);
    assert_int_equal(TRY(g, "\x0f\x01\x3b\xff\xd3"), PORT_DONE);
    assert_int_equal(g->cpu->gpr[GPR_RAX], 1);
}

static void code_at_two_addresses_knows_where_it_is(void **state)
{
    struct guest *g = *state;
    guest_map(g, DATA_AT + 0x8000, DATA_AT | PRESENT);
    guest_write(g, DATA_AT, "\x48\x8d\x05\x00\x00\x00\x00\xc3", 8); /* lea rax, [rip]; ret */
    for (unsigned i = 0; i < 4; i++) {
        uint64_t at = DATA_AT + (i & 1) * 0x8000;
        g->cpu->gpr[GPR_RBX] = at;
        assert_int_equal(TRY(g, "\xff\xd3"), PORT_DONE); /* call rbx */
        assert_int_equal(g->cpu->gpr[GPR_RAX], at + 7);
    }
}

/* What lies at 0 lies at `index` times 512 GiB, too. */
static void map_again(struct guest *g, unsigned index)
{
    guest_write64(g, PML4_AT + index * UINT64_C(8), PDPT_AT | PAGE_P | PAGE_W | PAGE_U);
}

static void put_library(struct guest *g)
{
    /* lea rax, [rip]; call 1000; mov rcx, [rip to 2000] */
    PLACE(g, CODE_AT,
          "\x48\x8d\x05\x00\x00\x00\x00\xe8\xf4\x0f\x00\x00\x48\x8b\x0d\xed\x1f\x00\x00");
    /* 1000: mov rdx, [rsp]; call rbx; ret */
    guest_write(g, CODE_AT + 0x1000, "\x48\x8b\x14\x24\xff\xd3\xc3", 7);
    /* 1800: lea rsi, [rip]; ret */
    guest_write(g, CODE_AT + 0x1800, "\x48\x8d\x35\x00\x00\x00\x00\xc3", 8);
    guest_write64(g, CODE_AT + 0x2000, 0x1122334455667788);
}

static void library_at_two_addresses_shares_its_blocks(void **state)
{
    struct guest *g = *state;
    uint64_t decoded = 0;
    put_library(g);
    map_again(g, 1);
    map_again(g, 2);
    guest_use_user(g, 0);
    cpu_set_flags(g->cpu, g->cpu->flags | FLAG_IOPL); /* the end is an OUT */
    for (unsigned i = 0; i < 8; i++) {
        uint64_t at = CODE_AT + ((uint64_t)(1 + i % 2) << 39);
        g->cpu->gpr[GPR_RBX] = at + 0x1800;
        guest_start(g, at);
        assert_int_equal(guest_run_to_port(g), PORT_DONE);
        assert_int_equal(g->cpu->gpr[GPR_RAX], at + 7);
        assert_int_equal(g->cpu->gpr[GPR_RDX], at + 12);
        assert_int_equal(g->cpu->gpr[GPR_RSI], at + 0x1807);
        assert_int_equal(g->cpu->gpr[GPR_RCX], 0x1122334455667788);
        if (i == 0)
            decoded = g->soft->code->stats.decoded;
        if (i == 1)
            assert_int_equal(g->soft->code->stats.decoded, decoded);
    }
}

/* `mov eax, imm32` whose opcode and first byte end a page. */
static void put_crossing(struct guest *g)
{
    put_function(g, DATA_AT + 0xffe, 0x11111111);
    put_function(g, DATA_AT + 0x5ffe, 0x22222222);
    g->cpu->gpr[GPR_RBX] = DATA_AT + 0xffe;
    g->cpu->gpr[GPR_RDX] = DATA_AT + 0x1000;
}

static void crossing_instruction_follows_its_second_page(void **state)
{
    struct guest *g = *state;
    put_crossing(g);
    assert_int_equal(TRY(g, "\xff\xd3"), PORT_DONE); /* call rbx */
    assert_int_equal(g->cpu->gpr[GPR_RAX], 0x11111111);
    guest_map(g, DATA_AT + 0x1000, (DATA_AT + 0x6000) | PRESENT);
    assert_int_equal(TRY(g, "\x0f\x01\x3a\xff\xd3"), PORT_DONE); /* invlpg [rdx]; call rbx */
    assert_int_equal(g->cpu->gpr[GPR_RAX], 0x22222211);
    guest_map(g, DATA_AT + 0x1000, (DATA_AT + 0x1000) | PRESENT);
    assert_int_equal(TRY(g, "\x0f\x01\x3a\xff\xd3"), PORT_DONE);
    assert_int_equal(g->cpu->gpr[GPR_RAX], 0x11111111);
}

static void write_to_the_second_page_of_a_crossing_instruction_counts(void **state)
{
    struct guest *g = *state;
    put_crossing(g);
    assert_int_equal(TRY(g, "\xff\xd3"), PORT_DONE); /* call rbx */
    g->cpu->gpr[GPR_RAX] = 0xc3334455;
    assert_int_equal(TRY(g, "\x89\x02\xff\xd3"), PORT_DONE); /* mov [rdx], eax; call rbx */
    assert_int_equal(g->cpu->gpr[GPR_RAX], 0x33445511);
    guest_write(g, DATA_AT + 0x1002, "\x99", 1);
    assert_int_equal(TRY(g, "\xff\xd3"), PORT_DONE);
    assert_int_equal(g->cpu->gpr[GPR_RAX], 0x99445511);
}

static void crossing_instruction_faults_on_its_second_page(void **state)
{
    struct guest *g = *state;
    put_crossing(g);
    for (unsigned i = 0; i < 2; i++) {
        guest_map(g, DATA_AT + 0x1000, i == 0 ? 0 : (DATA_AT + 0x1000) | PRESENT | PAGE_XD);
        g->cpu->gpr[GPR_RSP] = STACK_TOP;
        assert_int_equal(TRY(g, "\x0f\x01\x3a\xff\xd3"), VECTOR_PF); /* invlpg [rdx]; call rbx */
        assert_int_equal(g->cpu->cr2, DATA_AT + 0x1000);
        assert_int_equal(guest_frame(g, 0), i == 0 ? 0x10 : 0x11);
        assert_int_equal(guest_frame(g, 1), DATA_AT + 0xffe);
    }
    /* What lies in front of it is run first. */
    guest_write(g, DATA_AT + 0xffc, "\xff\xc1", 2); /* inc ecx */
    g->cpu->gpr[GPR_RBX] = DATA_AT + 0xffc;
    g->cpu->gpr[GPR_RCX] = 0;
    assert_int_equal(TRY(g, "\xff\xd3"), VECTOR_PF);
    assert_int_equal(g->cpu->gpr[GPR_RCX], 1);
    assert_int_equal(guest_frame(g, 1), DATA_AT + 0xffe);
}

/* ---- several processors ---- */

/* The second calls the function for ever and stores its result at RDI. */
static void start_caller(struct guest *g)
{
    enum { CALLER_AT = CODE_AT + 0x1000 };
    put_function(g, FUNCTION_AT, 0);
    PLACE(g, CALLER_AT, "\xff\xd3\x89\x07\xeb\xfa"); /* 1: call rbx; mov [rdi], eax; jmp 1b */
    for (unsigned i = 0; i < 2; i++) {
        g->cpus[i]->gpr[GPR_RBX] = FUNCTION_AT;
        g->cpus[i]->gpr[GPR_RDI] = LARGE_AT;
    }
    g->cpus[1]->rip = CALLER_AT;
    guest_begin(g, 1);
}

static void end_caller(struct guest *g)
{
    soft_engine.kick(g->vcpus[1]);
    assert_int_equal(guest_end(g, 1), -1);
    assert_int_equal(g->exits[1].kind, ENGINE_EXIT_KICKED);
}

static void patch_while_it_runs(struct guest *g)
{
    start_caller(g);
    /*
     * 1: mov [rbx+1], ecx; mov r8d, 0x4000000; 2: dec r8d; jz 3f; pause; cmp [rdi], ecx; jne 2b;
     * inc ecx; cmp ecx, 500; jne 1b; 3: mov eax, r8d
     */
    PLACE(g, CODE_AT,
          "\x89\x4b\x01\x41\xb8\x00\x00\x00\x04\x41\xff\xc8\x74\x10\xf3\x90\x39\x0f\x75\xf5\xff\xc1"
          "\x81\xf9\xf4\x01\x00\x00\x75\xe2\x44\x89\xc0");
    g->cpu->gpr[GPR_RCX] = 1;
    guest_start(g, CODE_AT);
    assert_int_equal(guest_run_to_port(g), PORT_DONE);
    assert_int_equal(g->cpu->gpr[GPR_RCX], 500);
    end_caller(g);
}

static void code_patched_by_another_processor_counts(void **state)
{
    (void)state;
    struct guest *g = guest_create(2);
    patch_while_it_runs(g);
    guest_destroy(g);
}

static atomic_bool trimming;

static void *trim_all_the_time(void *argument)
{
    const struct guest *g = argument;
    while (atomic_load(&trimming)) {
        code_trim(g->soft, 0);
        (void)usleep(2000);
    }
    return NULL;
}

static void code_patched_while_all_is_trimmed_counts(void **state)
{
    (void)state;
    struct guest *g = guest_create(2);
    pthread_t thread;
    atomic_store(&trimming, true);
    assert_int_equal(pthread_create(&thread, NULL, trim_all_the_time, g), 0);
    patch_while_it_runs(g);
    atomic_store(&trimming, false);
    assert_int_equal(pthread_join(thread, NULL), 0);
    guest_destroy(g);
}

/* Its memory reads as zero, and the code runs again. */
static void only_what_is_too_much_is_trimmed(void **state)
{
    struct guest *g = *state;
    struct code_cache *code = g->soft->code;
    for (uint32_t i = 1; i < 4; i++) {
        put_function(g, FUNCTION_AT, i);
        g->cpu->gpr[GPR_RBX] = FUNCTION_AT;
        assert_int_equal(TRY(g, "\xff\xd3"), PORT_DONE); /* call rbx */
        assert_int_equal(g->cpu->gpr[GPR_RAX], i);
        size_t used = code->arena_used;
        code_trim(g->soft, code->arena_size + code->host_size);
        assert_int_equal(code->arena_used, used);
        assert_non_null(code_lookup(code, FUNCTION_AT, FUNCTION_AT, g->cpu->mode));
        code_trim(g->soft, 0);
        assert_int_equal(code->arena_used, 0);
        assert_int_equal(code->arena[0], 0);
        assert_null(code_lookup(code, FUNCTION_AT, FUNCTION_AT, g->cpu->mode));
    }
}

/* Between a processor's look at what is pending and its look for code, another may mark the page.
 */
static void code_is_not_run_with_write_tags_from_before_its_page_was_marked(void **state)
{
    (void)state;
    struct guest *g = guest_create(2);
    struct block *block;
    g->cpu->gpr[GPR_RBX] = FUNCTION_AT + 0x800;
    assert_int_equal(TRY(g, "\x89\x0b"), PORT_DONE); /* mov [rbx], ecx */
    atomic_store(&g->cpu->outside, false);
    assert_int_not_equal(tlb_entry(g->cpu->tlb, FUNCTION_AT)->write, 0);
    put_function(g, FUNCTION_AT, 1);
    g->cpus[1]->rip = FUNCTION_AT;
    assert_int_equal(code_find(g->cpus[1], g->cpus[1]->mode, &block), 0);
    g->cpu->rip = FUNCTION_AT;
    assert_int_equal(code_find(g->cpu, g->cpu->mode, &block), 0);
    assert_int_equal(tlb_entry(g->cpu->tlb, FUNCTION_AT)->write, 0);
    atomic_store(&g->cpu->outside, true);
    guest_destroy(g);
}

enum { ROOM = 5, PAGE_END = DATA_AT + 0x1000 };
static atomic_bool flipping;

/* A NOP, or the first bytes of an instruction that goes on in the next page. */
static void *flip_bytes(void *argument)
{
    const struct guest *g = argument;
    while (atomic_load(&flipping)) {
        memcpy(g->ram + PAGE_END - ROOM, "\x90\x90\x90\x90\x90", ROOM);
        memcpy(g->ram + PAGE_END - ROOM, "\x66\x66\x66\x66\x66", ROOM);
    }
    return NULL;
}

static void instruction_that_shrinks_while_it_is_decoded_ends_in_its_page(void **state)
{
    (void)state;
    struct guest *g = guest_create(1);
    pthread_t thread;
    atomic_store(&flipping, true);
    assert_int_equal(pthread_create(&thread, NULL, flip_bytes, g), 0);
    for (unsigned i = 0; i < 20000; i++) {
        struct fetch fetch = {.rip = PAGE_END - ROOM,
                              .gpa = PAGE_END - ROOM,
                              .mode = g->cpu->mode,
                              .host = g->ram + PAGE_END - ROOM,
                              .room = ROOM};
        struct block *block;
        assert_int_equal(code_build(g->cpu, &fetch, &block), 0);
        assert_int_equal(block->second_gpa != UINT64_MAX, block->length > ROOM);
        code_retire(g->cpu, block);
    }
    atomic_store(&flipping, false);
    assert_int_equal(pthread_join(thread, NULL), 0);
    guest_destroy(g);
}

static void code_patched_by_a_device_thread_counts(void **state)
{
    (void)state;
    struct guest *g = guest_create(2);
    start_caller(g);
    unsigned waits = 0;
    for (uint32_t i = 1; i <= 200; i++) {
        guest_write(g, FUNCTION_AT + 1, &i, sizeof(i));
        while (guest_read32(g, LARGE_AT) != i && ++waits < 100000)
            (void)usleep(100);
        assert_int_equal(guest_read32(g, LARGE_AT), i);
    }
    end_caller(g);
    guest_destroy(g);
}

/* Two processors run through more code than the arena has room for, twice. */
static void full_arena_is_emptied_under_running_processors(void **state)
{
    (void)state;
    struct guest *g = guest_create(2);
    enum { COUNT = 1600 << 10, ROUNDS = 2 };
    static uint8_t code[2 * COUNT];
    for (unsigned i = 0; i < sizeof(code); i++)
        code[i] = (i & 1) == 0 ? 0xff : 0xc0; /* inc eax */
    guest_place(g, LARGE_AT, code, sizeof(code));
    g->soft->code->arena_size = 24 << 20;
    uint64_t before = atomic_load(&g->soft->code->generation);
    for (unsigned round = 0; round < ROUNDS; round++) {
        for (unsigned i = 0; i < 2; i++)
            g->cpus[i]->gpr[GPR_RAX] = 0;
        g->cpus[1]->rip = LARGE_AT;
        guest_begin(g, 1);
        guest_start(g, LARGE_AT);
        assert_int_equal(guest_run_to_port(g), PORT_DONE);
        assert_int_equal(guest_end(g, 1), PORT_DONE);
        assert_int_equal(g->cpus[0]->gpr[GPR_RAX], COUNT);
        assert_int_equal(g->cpus[1]->gpr[GPR_RAX], COUNT);
    }
    assert_true(atomic_load(&g->soft->code->generation) > before + 1);
    guest_destroy(g);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, guest_setup, guest_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(store_into_the_next_instruction_counts),
        TEST(string_store_over_the_code_behind_it_counts),
        TEST(store_beside_code_in_its_page_keeps_it),
        TEST(store_through_another_address_counts),
        TEST(write_tag_from_before_the_code_ran_is_no_way_round),
        TEST(write_of_a_device_counts),
        TEST(bytes_that_were_no_instruction_may_become_one),
        TEST(fifteen_bytes_are_the_most),
        TEST(remapped_page_of_code_counts_after_invlpg),
        TEST(code_at_two_addresses_knows_where_it_is),
        TEST(library_at_two_addresses_shares_its_blocks),
        TEST(crossing_instruction_follows_its_second_page),
        TEST(write_to_the_second_page_of_a_crossing_instruction_counts),
        TEST(crossing_instruction_faults_on_its_second_page),
        TEST(only_what_is_too_much_is_trimmed),
        cmocka_unit_test(code_patched_by_another_processor_counts),
        cmocka_unit_test(code_patched_while_all_is_trimmed_counts),
        cmocka_unit_test(code_is_not_run_with_write_tags_from_before_its_page_was_marked),
        cmocka_unit_test(instruction_that_shrinks_while_it_is_decoded_ends_in_its_page),
        cmocka_unit_test(code_patched_by_a_device_thread_counts),
        cmocka_unit_test(full_arena_is_emptied_under_running_processors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
