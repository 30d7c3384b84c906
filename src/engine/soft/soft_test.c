/* The seam: partitions, mappings, dirty pages, registers in and out. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "engine/soft/tlb.h"
#include "mem/mem.h"
#include "tests/harness/soft_fixture.h"

enum { PAGES = GUEST_RAM >> 12, WORDS = PAGES / 64 };

/* ---- partitions and processors ---- */

static void counts_of_processors_are_checked(void **state)
{
    struct guest *g = *state;
    struct engine_config config = {.mem = g->mem};
    struct engine_partition *partition = NULL;
    struct reason reason;
    assert_int_equal(soft_engine.partition_create(&config, &partition, &reason), -EINVAL);
    config.vcpu_count = ENGINE_MAX_VCPUS + 1;
    assert_int_equal(soft_engine.partition_create(&config, &partition, &reason), -EINVAL);
    assert_null(partition);
    struct engine_vcpu *vcpu = NULL;
    assert_int_equal(soft_engine.vcpu_create(g->partition, 0, &vcpu, &reason), -EINVAL);
    assert_int_equal(soft_engine.vcpu_create(g->partition, 1, &vcpu, &reason), -EINVAL);
    assert_null(vcpu);
}

static void a_processor_can_be_made_again(void **state)
{
    struct guest *g = *state;
    struct reason reason;
    soft_engine.vcpu_destroy(g->vcpu);
    assert_null(g->soft->cpu[0]);
    assert_int_equal(soft_engine.vcpu_create(g->partition, 0, &g->vcpu, &reason), 0);
    g->vcpus[0] = g->vcpu;
    g->cpus[0] = g->cpu = g->soft->cpu[0];
    guest_use_long(g, 0);
    assert_int_equal(TRY(g, "\x90"), PORT_DONE);
}

static void destroying_nothing_is_fine(void **state)
{
    (void)state;
    soft_engine.vcpu_destroy(NULL);
    soft_engine.partition_destroy(NULL);
}

/* ---- mappings ---- */

static void mappings_are_whole_pages(void **state)
{
    struct guest *g = *state;
    static uint8_t page[4096];
    assert_int_equal(soft_engine.map(g->partition, MMIO_GPA + 1, 4096, page, true), -EINVAL);
    assert_int_equal(soft_engine.map(g->partition, MMIO_GPA, 100, page, true), -EINVAL);
    assert_int_equal(soft_engine.map(g->partition, MMIO_GPA, 0, page, true), -EINVAL);
    assert_int_equal(soft_engine.map(g->partition, UINT64_MAX & PAGE_MASK, 8192, page, true),
                     -EINVAL);
    assert_int_equal(soft_engine.unmap(g->partition, MMIO_GPA, 4096), -ENOENT);
}

static void mappings_are_limited_in_number(void **state)
{
    struct guest *g = *state;
    static uint8_t page[4096];
    for (unsigned i = 0; i < SOFT_MAX_MAPPINGS; i++)
        assert_int_equal(soft_engine.map(g->partition, MMIO_GPA + i * 4096, 4096, page, true), 0);
    assert_int_equal(soft_engine.map(g->partition, 0, 4096, page, true), -ENOSPC);
    assert_int_equal(soft_engine.unmap(g->partition, MMIO_GPA + 4096, 8192), -ENOENT);
    assert_int_equal(soft_engine.unmap(g->partition, MMIO_GPA + 4096, 4096), 0);
    assert_int_equal(soft_engine.map(g->partition, 0, 4096, page, true), 0);
}

/* ---- dirty pages ---- */

static bool is_set(const uint64_t *bitmap, uint64_t gpa)
{
    uint64_t page = gpa >> 12;
    return (bitmap[page / 64] >> (page % 64)) & 1;
}

static void take_all(struct guest *g, uint64_t *bitmap)
{
    memset(bitmap, 0, WORDS * sizeof(*bitmap));
    assert_int_equal(soft_engine.take_dirty(g->partition, 0, PAGES, bitmap), 0);
}

static unsigned count_set(const uint64_t *bitmap)
{
    unsigned count = 0;
    for (unsigned i = 0; i < WORDS; i++)
        count += (unsigned)__builtin_popcountll(bitmap[i]);
    return count;
}

static void dirty_pages_are_told_once(void **state)
{
    struct guest *g = *state;
    uint64_t bitmap[WORDS];
    g->cpu->gpr[GPR_RBX] = DATA_AT;
    assert_int_equal(TRY(g, "\x89\x03"), PORT_DONE); /* mov [rbx], eax */
    take_all(g, bitmap);
    assert_int_equal(count_set(bitmap), 0); /* logging starts now */
    for (unsigned i = 0; i < 3; i++) {
        guest_start(g, CODE_AT);
        assert_int_equal(guest_run_to_port(g), PORT_DONE);
        take_all(g, bitmap);
        assert_true(is_set(bitmap, DATA_AT));
        assert_int_equal(count_set(bitmap), 1);
        take_all(g, bitmap);
        assert_int_equal(count_set(bitmap), 0);
    }
}

static void string_stores_make_each_page_dirty(void **state)
{
    struct guest *g = *state;
    uint64_t bitmap[WORDS];
    g->cpu->gpr[GPR_RDI] = LARGE_AT;
    g->cpu->gpr[GPR_RCX] = 0x3000;
    assert_int_equal(TRY(g, "\xf3\xaa"), PORT_DONE); /* rep stosb */
    take_all(g, bitmap);
    g->cpu->gpr[GPR_RDI] = LARGE_AT;
    g->cpu->gpr[GPR_RCX] = 0x2001;
    guest_start(g, CODE_AT);
    assert_int_equal(guest_run_to_port(g), PORT_DONE);
    take_all(g, bitmap);
    assert_int_equal(count_set(bitmap), 3);
    assert_true(is_set(bitmap, LARGE_AT) && is_set(bitmap, LARGE_AT + 0x2000));
}

static void writes_of_devices_make_pages_dirty(void **state)
{
    struct guest *g = *state;
    uint64_t bitmap[WORDS];
    take_all(g, bitmap);
    guest_write64(g, DATA_AT + 0xffc, 1);
    take_all(g, bitmap);
    assert_int_equal(count_set(bitmap), 2);
    assert_true(is_set(bitmap, DATA_AT) && is_set(bitmap, DATA_AT + 0x1000));
}

static void part_of_the_bitmap_starts_at_its_first_page(void **state)
{
    struct guest *g = *state;
    uint64_t bitmap[WORDS];
    uint64_t part = 0;
    take_all(g, bitmap);
    guest_write64(g, DATA_AT, 1);
    guest_write64(g, DATA_AT + 0x3000, 1);
    assert_int_equal(soft_engine.take_dirty(g->partition, DATA_AT + 0x1000, 4, &part), 0);
    assert_int_equal(part, 4);
    take_all(g, bitmap);
    assert_int_equal(count_set(bitmap), 1);
    assert_true(is_set(bitmap, DATA_AT));
    assert_int_equal(soft_engine.take_dirty(g->partition, 1, 1, &part), -EINVAL);
    assert_int_equal(soft_engine.take_dirty(g->partition, GUEST_RAM, 1, &part), -EINVAL);
    assert_int_equal(soft_engine.take_dirty(g->partition, 0, PAGES + 1, &part), -EINVAL);
    assert_int_equal(soft_engine.take_dirty(g->partition, 4096, UINT64_MAX, &part), -EINVAL);
}

static void overlays_are_not_logged(void **state)
{
    struct guest *g = *state;
    uint64_t bitmap[WORDS];
    static uint8_t page[4096];
    assert_int_equal(soft_engine.map(g->partition, MMIO_GPA, sizeof(page), page, true), 0);
    g->cpu->gpr[GPR_RBX] = MMIO_LINEAR;
    assert_int_equal(TRY(g, "\xc6\x03\x06"), PORT_DONE); /* mov byte [rbx], 6: sets A and D bits */
    take_all(g, bitmap);
    assert_int_equal(TRY(g, "\xc6\x03\x07"), PORT_DONE);
    assert_int_equal(page[0], 7);
    take_all(g, bitmap);
    assert_true(is_set(bitmap, CODE_AT)); /* by guest_place */
    assert_int_equal(count_set(bitmap), 1);
}

/* ---- registers ---- */

static void registers_come_back_as_they_were_set(void **state)
{
    struct guest *g = *state;
    static struct engine_registers in;
    static struct engine_registers out;
    assert_int_equal(soft_engine.get(g->vcpu, &in), 0);
    for (unsigned i = 0; i < GPR_COUNT; i++)
        in.gpr[i] = UINT64_C(0x0123456789abcdef) * (i + 1);
    in.dr[0] = 0x1234;
    in.cr2 = UINT64_C(0xffff888000000000);
    in.cr8 = 5;
    in.star = UINT64_C(0x0023001000000000);
    in.lstar = UINT64_C(0xffffffff81000000);
    in.cstar = UINT64_C(0xffffffff81000040);
    in.sfmask = 0x47700;
    in.kernel_gs_base = UINT64_C(0xffff888000001000);
    in.sysenter_cs = 8;
    in.sysenter_esp = 0x9000;
    in.sysenter_eip = 0xa000;
    in.tsc_aux = 3;
    in.nmi_blocked = true;
    in.interrupt_shadow = true;
    in.activity = ENGINE_ACTIVITY_HALTED;
    in.segment[SEGMENT_FS].base = UINT64_C(0x00007f0000000000);
    assert_int_equal(soft_engine.set(g->vcpu, &in), 0);
    assert_int_equal(soft_engine.get(g->vcpu, &out), 0);
    assert_true(out.tsc >= in.tsc);
    out.tsc = in.tsc;
    assert_memory_equal(&out, &in, sizeof(in));
}

static void set_forgets_what_was_asked(void **state)
{
    struct guest *g = *state;
    static struct engine_registers r;
    g->cpu->gpr[GPR_RBX] = MMIO_LINEAR;
    PLACE(g, CODE_AT, "\x8b\x03"); /* mov eax, [rbx] */
    guest_start(g, CODE_AT);
    assert_int_equal(guest_run(g), ENGINE_EXIT_MMIO_READ);
    assert_int_equal(soft_engine.get(g->vcpu, &r), 0);
    r.gpr[GPR_RBX] = DATA_AT;
    guest_write64(g, DATA_AT, 77);
    assert_int_equal(soft_engine.set(g->vcpu, &r), 0);
    g->exit.mmio.value = 5;
    assert_int_equal(guest_run_to_port(g), PORT_DONE);
    assert_int_equal(g->cpu->gpr[GPR_RAX], 77);
}

static void vector_state_passes_through_the_registers(void **state)
{
    struct guest *g = *state;
    static struct engine_registers r;
    enum { XMM1 = 160 + 16 };
    guest_write64(g, DATA_AT, UINT64_C(0x1122334455667788));
    g->cpu->gpr[GPR_RBX] = DATA_AT;
    assert_int_equal(TRY(g, "\xf3\x0f\x7e\x0b"), PORT_DONE); /* movq xmm1, [rbx] */
    assert_int_equal(soft_engine.get(g->vcpu, &r), 0);
    uint64_t word;
    memcpy(&word, r.xsave + XMM1, sizeof(word));
    assert_int_equal(word, UINT64_C(0x1122334455667788));
    word = 42;
    memcpy(r.xsave + XMM1, &word, sizeof(word));
    assert_int_equal(soft_engine.set(g->vcpu, &r), 0);
    assert_int_equal(TRY(g, "\x66\x48\x0f\x7e\xc8"), PORT_DONE); /* movq rax, xmm1 */
    assert_int_equal(g->cpu->gpr[GPR_RAX], 42);
}

static void set_loads_the_page_directory_pointers_of_pae(void **state)
{
    struct guest *g = *state;
    static struct engine_registers r;
    guest_use_protected(g, 0);
    guest_write64(g, FREE_TABLES_AT, PD_AT | PAGE_P);
    assert_int_equal(soft_engine.get(g->vcpu, &r), 0);
    r.cr0 |= CR0_PG;
    r.cr4 |= CR4_PAE;
    r.cr3 = FREE_TABLES_AT;
    assert_int_equal(soft_engine.set(g->vcpu, &r), 0);
    g->cpu->gpr[GPR_RBX] = DATA_AT;
    guest_write64(g, DATA_AT, 9);
    assert_int_equal(TRY(g, "\x8b\x03"), PORT_DONE); /* mov eax, [ebx] */
    assert_int_equal(g->cpu->gpr[GPR_RAX], 9);
}

/* ---- hypercalls ---- */

static void hypercall_leaves_behind_its_instruction(void **state)
{
    struct guest *g = *state;
    PLACE(g, CODE_AT, "\x0f\x01\xc1\x89\xc1"); /* vmcall; mov ecx, eax */
    guest_start(g, CODE_AT);
    assert_int_equal(guest_run_to_port(g), VECTOR_UD);
    g->soft->config.hypervisor_leaf_count = 1; /* as if the guest had been told of one */
    guest_start(g, CODE_AT);
    assert_int_equal(guest_run(g), ENGINE_EXIT_HYPERCALL);
    assert_int_equal(g->cpu->rip, CODE_AT + 3);
    g->cpu->gpr[GPR_RAX] = 17;
    assert_int_equal(guest_run_to_port(g), PORT_DONE);
    assert_int_equal(g->cpu->gpr[GPR_RCX], 17);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, guest_setup, guest_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(counts_of_processors_are_checked),
        TEST(a_processor_can_be_made_again),
        cmocka_unit_test(destroying_nothing_is_fine),
        TEST(mappings_are_whole_pages),
        TEST(mappings_are_limited_in_number),
        TEST(dirty_pages_are_told_once),
        TEST(string_stores_make_each_page_dirty),
        TEST(writes_of_devices_make_pages_dirty),
        TEST(part_of_the_bitmap_starts_at_its_first_page),
        TEST(overlays_are_not_logged),
        TEST(registers_come_back_as_they_were_set),
        TEST(set_forgets_what_was_asked),
        TEST(vector_state_passes_through_the_registers),
        TEST(set_loads_the_page_directory_pointers_of_pae),
        TEST(hypercall_leaves_behind_its_instruction),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
