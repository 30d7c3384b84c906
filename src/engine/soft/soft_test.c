/* The seam: partitions, mappings, dirty pages, registers in and out. */
#include <errno.h>
#include <sched.h>
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
    g->exit.hypercall.rax = 17;
    assert_int_equal(guest_run_to_port(g), PORT_DONE);
    assert_int_equal(g->cpu->gpr[GPR_RCX], 17);
}

static void hypercall_shows_its_registers(void **state)
{
    struct guest *g = *state;
    PLACE(g, CODE_AT, "\x0f\x01\xc1"); /* vmcall */
    g->soft->config.hypervisor_leaf_count = 1;
    guest_start(g, CODE_AT);
    for (unsigned i = GPR_RAX; i <= GPR_R8; i++)
        g->cpu->gpr[i] = i == GPR_RSP ? STACK_TOP : UINT64_C(0x1111111111111111) * i;
    assert_int_equal(guest_run(g), ENGINE_EXIT_HYPERCALL);
    assert_true(g->exit.hypercall.long_mode);
    assert_int_equal(g->exit.hypercall.rcx, 0x1111111111111111);
    assert_int_equal(g->exit.hypercall.rdx, 0x2222222222222222);
    assert_int_equal(g->exit.hypercall.rbx, 0x3333333333333333);
    assert_int_equal(g->exit.hypercall.rsi, 0x6666666666666666);
    assert_int_equal(g->exit.hypercall.rdi, 0x7777777777777777);
    assert_int_equal(g->exit.hypercall.r8, 0x8888888888888888);
    assert_int_equal(guest_run_to_port(g), PORT_DONE);
    assert_int_equal(g->cpu->gpr[GPR_RAX], 0);
    assert_int_equal(g->cpu->gpr[GPR_RDX], 0x2222222222222222);
}

static void results_in_32_bit_code_are_low_halves(void **state)
{
    struct guest *g = *state;
    guest_use_protected(g, 0);
    PLACE(g, CODE_AT, "\x0f\x01\xd9"); /* vmmcall */
    g->soft->config.hypervisor_leaf_count = 1;
    guest_start(g, CODE_AT);
    assert_int_equal(guest_run(g), ENGINE_EXIT_HYPERCALL);
    assert_false(g->exit.hypercall.long_mode);
    g->exit.hypercall.rax = UINT64_C(0x100000002);
    g->exit.hypercall.rdx = UINT64_C(0x300000004);
    assert_int_equal(guest_run_to_port(g), PORT_DONE);
    assert_int_equal(g->cpu->gpr[GPR_RAX], 2);
    assert_int_equal(g->cpu->gpr[GPR_RDX], 4);
}

/* ---- what a hypervisor interface needs of the processor ---- */

static void ask_for_msr(struct guest *g)
{
    g->soft->config.exit_msr_first = 0x40000000;
    g->soft->config.exit_msr_last = 0x400000ff;
    PLACE(g, CODE_AT, "\xb9\xf0\x00\x00\x40\x0f\x32"); /* mov ecx, 0x400000f0; rdmsr */
    guest_start(g, CODE_AT);
    assert_int_equal(guest_run(g), ENGINE_EXIT_MSR_READ);
    assert_int_equal(g->exit.msr.index, 0x400000f0);
    assert_false(g->exit.msr.halt);
    g->exit.msr.value = 5;
    g->exit.msr.halt = true;
}

static void reading_an_msr_can_halt(void **state)
{
    struct guest *g = *state;
    g->cpu->flags |= FLAG_IF;
    ask_for_msr(g);
    soft_engine.kick(g->vcpu);
    assert_int_equal(guest_run(g), ENGINE_EXIT_KICKED); /* before the instruction has completed */
    struct engine_interrupt message = {.vector = 0x31};
    lapic_mmio_write(g->cpu, 0xf0, 0x1ff);
    assert_int_equal(soft_engine.interrupt(g->partition, &message), 0);
    g->cpu->flags |= FLAG_IF;
    assert_int_equal(guest_run_to_port(g), 0x31);
    assert_int_equal(guest_frame(g, 0), CODE_AT + 7);
    assert_int_equal(g->cpu->gpr[GPR_RAX], 5);
}

static void without_interrupts_an_msr_does_not_halt(void **state)
{
    struct guest *g = *state;
    ask_for_msr(g);
    assert_int_equal(guest_run_to_port(g), PORT_DONE);
}

static uint64_t apic_read(struct guest *g, enum engine_apic_register which)
{
    uint64_t value = 0;
    assert_int_equal(soft_engine.apic(g->vcpu, which, false, &value), 0);
    return value;
}

static int apic_write(struct guest *g, enum engine_apic_register which, uint64_t value)
{
    return soft_engine.apic(g->vcpu, which, true, &value);
}

static void check_apic_registers(struct guest *g, uint64_t other)
{
    uint64_t value = 0;
    assert_int_equal(apic_write(g, ENGINE_APIC_TPR, 0x40), 0);
    assert_int_equal(apic_read(g, ENGINE_APIC_TPR), 0x40);
    assert_int_equal(lapic_read_cr8(g->cpu), 4);
    assert_int_equal(apic_write(g, ENGINE_APIC_TPR, 0), 0);
    assert_int_equal(apic_write(g, ENGINE_APIC_ICR, other | 0x52), 0);
    assert_int_equal(apic_read(g, ENGINE_APIC_ICR), other | 0x52);
    assert_true(atomic_load(&g->cpus[1]->lapic.irr[0x52 / 32]) & 1 << 0x52 % 32);
    lapic_accept(g->cpu, 0x61);
    assert_int_equal(lapic_pending_vector(g->cpu), -1);
    assert_int_equal(apic_write(g, ENGINE_APIC_EOI, 0), 0);
    assert_int_equal(g->cpu->lapic.isr[0x61 / 32], 0);
    assert_int_equal(soft_engine.apic(g->vcpu, ENGINE_APIC_EOI, false, &value), -EINVAL);
}

static void apic_registers_are_those_of_both_modes(void **state)
{
    (void)state;
    struct guest *g = guest_create(2);
    lapic_mmio_write(g->cpu, 0xf0, 0x1ff);
    lapic_mmio_write(g->cpus[1], 0xf0, 0x1ff);
    check_apic_registers(g, UINT64_C(1) << 56);
    assert_true(lapic_msr_write(g->cpu, 0x1b, 0xfee00d00));
    check_apic_registers(g, UINT64_C(1) << 32);
    assert_int_equal(apic_write(g, ENGINE_APIC_TPR, 0x100), -EINVAL);
    assert_true(lapic_msr_write(g->cpu, 0x1b, 0xfee00000));
    assert_int_equal(apic_write(g, ENGINE_APIC_TPR, 0), -EINVAL);
    guest_destroy(g);
}

/* It reads a page until what it sees there changes, by a translation that only a flush renews. */
static void flush_reaches_a_running_processor(void **state)
{
    (void)state;
    enum { OTHER_AT = DATA_AT + 0x2000 };
    struct guest *g = guest_create(2);
    guest_use_long(g, 1);
    guest_write64(g, DATA_AT, 1);
    g->cpus[1]->gpr[GPR_RBX] = DATA_AT;
    /* l: inc qword [rbx + 0x100]; cmp byte [rbx], 1; je l */
    PLACE(g, CODE_AT, "\x48\xff\x83\x00\x01\x00\x00\x80\x3b\x01\x74\xf4");
    guest_begin(g, 1);
    while (__atomic_load_n((uint64_t *)(void *)(g->ram + DATA_AT + 0x100), __ATOMIC_RELAXED) < 1000)
        (void)sched_yield();
    guest_map(g, DATA_AT, OTHER_AT | PAGE_P | PAGE_W | PAGE_U);
    soft_engine.flush_tlb(g->partition, 1 << 1);
    guest_write64(g, OTHER_AT, 2);
    assert_int_equal(guest_end(g, 1), PORT_DONE);
    soft_engine.flush_tlb(g->partition, 3); /* nobody runs: it does not wait */
    guest_destroy(g);
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
        TEST(hypercall_shows_its_registers),
        TEST(results_in_32_bit_code_are_low_halves),
        TEST(reading_an_msr_can_halt),
        TEST(without_interrupts_an_msr_does_not_halt),
        cmocka_unit_test(apic_registers_are_those_of_both_modes),
        cmocka_unit_test(flush_reaches_a_running_processor),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
