#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/bytes.h"
#include "machine/machine_private.h"

static void reset_state_is_table_9_1(void **state)
{
    struct engine_registers registers;
    (void)state;

    memset(&registers, 0xa5, sizeof(registers));
    registers.gpr[GPR_RDX] = 0x306a9;
    registers_after_reset(&registers);

    const struct engine_segment *cs = &registers.segment[SEGMENT_CS];
    assert_int_equal(cs->base + registers.rip, 0xfffffff0);
    assert_int_equal(cs->selector, 0xf000);
    assert_int_equal(cs->limit, 0xffff);
    assert_int_equal(registers.cr0, 0x60000010);
    assert_int_equal(registers.cr4, 0);
    assert_int_equal(registers.efer, 0);
    assert_int_equal(registers.rflags, 2);
    assert_int_equal(registers.dr[6], 0xffff0ff0);
    assert_int_equal(registers.dr[7], 0x400);
    assert_int_equal(registers.xcr0, 1);
    assert_int_equal(registers.gpr[GPR_RAX], 0);
    assert_int_equal(registers.gpr[GPR_RDX], 0x306a9);
    assert_int_equal(registers.tsc, 0); /* set() leaves it alone: all processors' agree */
    assert_int_equal(registers.idt.limit, 0xffff);
    assert_int_equal(get_le16(registers.xsave), 0x40);
    assert_int_equal(get_le16(registers.xsave + 24), 0x1f80);
}

static void protected_start_is_flat_and_unpaged(void **state)
{
    struct engine_registers registers = {0};
    const struct boot_state boot = {
        .mode = BOOT_MODE_PROTECTED_32,
        .rip = 0x100020,
        .rax = 0x2badb002,
        .rbx = 0x9500,
        .gdt_base = 0x1000,
        .gdt_limit = 0x1f,
    };
    (void)state;

    registers_after_reset(&registers);
    registers_for_boot(&registers, &boot);
    assert_int_equal(registers.rip, 0x100020);
    assert_int_equal(registers.gpr[GPR_RAX], 0x2badb002);
    assert_int_equal(registers.gpr[GPR_RBX], 0x9500);
    assert_int_equal(registers.cr0 & 0x80000001, 1);
    assert_int_equal(registers.cr4, 0);
    assert_int_equal(registers.efer, 0);
    assert_int_equal(registers.rflags, 2);
    assert_int_equal(registers.gdt.base, 0x1000);
    assert_int_equal(registers.segment[SEGMENT_CS].selector, 0x10);
    assert_int_equal(registers.segment[SEGMENT_CS].attributes, 0xc9b);
    assert_int_equal(registers.segment[SEGMENT_CS].limit, UINT32_MAX);
    for (int i = SEGMENT_SS; i <= SEGMENT_GS; i++) {
        assert_int_equal(registers.segment[i].selector, 0x18);
        assert_int_equal(registers.segment[i].attributes, 0xc93);
    }
}

static void long_start_is_paged_64_bit(void **state)
{
    struct engine_registers registers = {0};
    const struct boot_state boot = {
        .mode = BOOT_MODE_LONG_64,
        .rip = 0x1000200,
        .rsi = 0x90000,
        .cr3 = 0x8000,
        .gdt_base = 0x7000,
        .gdt_limit = 0x1f,
    };
    (void)state;

    registers_after_reset(&registers);
    registers_for_boot(&registers, &boot);
    assert_int_equal(registers.gpr[GPR_RSI], 0x90000);
    assert_int_equal(registers.cr3, 0x8000);
    assert_int_equal(registers.cr0 & 0x80000001, 0x80000001);
    assert_int_equal(registers.cr4 & 0x20, 0x20);
    assert_int_equal(registers.efer & 0x500, 0x500);
    assert_int_equal(registers.segment[SEGMENT_CS].attributes, 0xa9b);
    assert_int_equal(registers.segment[SEGMENT_TR].attributes, 0x8b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reset_state_is_table_9_1),
        cmocka_unit_test(protected_start_is_flat_and_unpaged),
        cmocka_unit_test(long_start_is_paged_64_bit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
