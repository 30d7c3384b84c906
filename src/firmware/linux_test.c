#include <errno.h>

#include "firmware/boot_fixture.h"

enum { SETUP = 1024, KERNEL = 0x800 };

#define PREF_ADDRESS UINT64_C(0x200000)
#define INIT_SIZE    UINT64_C(0x100000)

/* One setup sector, then a "kernel" whose bytes tell where they come from. */
static void build(struct fixture *f)
{
    uint8_t *image = f->image;
    f->length = SETUP + KERNEL;
    for (size_t i = 0; i < KERNEL; i++)
        image[SETUP + i] = (uint8_t)(i * 7 + 1);
    image[0x1f1] = 1;
    put_le32(image + 0x1f4, KERNEL / 16);
    put_le16(image + 0x1fe, 0xaa55);
    image[0x200] = 0xeb;
    image[0x201] = 0x6a;
    put_le32(image + 0x202, 0x53726448); /* HdrS */
    put_le16(image + 0x206, 0x20f);
    image[0x211] = 0x01 | 0x80 | 0x40;
    put_le32(image + 0x214, 0x100000);
    put_le32(image + 0x22c, 0x7fffffff);
    put_le32(image + 0x230, 0x200000);
    image[0x234] = 1;
    put_le16(image + 0x236, 0x7f & ~0x02);
    put_le32(image + 0x238, 2047);
    put_le64(image + 0x258, PREF_ADDRESS);
    put_le32(image + 0x260, INIT_SIZE);
}

static void give_initrd(struct fixture *f, const uint8_t *bytes, size_t length)
{
    f->config.initrd.bytes = bytes;
    f->config.initrd.length = length;
}

static const uint8_t *params(const struct fixture *f)
{
    return fixture_at(f, f->state.rsi, 4096);
}

static uint64_t initrd_gpa(const struct fixture *f)
{
    return get_le32(params(f) + 0x218) | (uint64_t)get_le32(params(f) + 0xc0) << 32;
}

static void kernel_lies_at_pref_address_and_starts_at_its_64_bit_entry(void **state)
{
    struct fixture *f = *state;
    build(f);
    assert_boots(f, BOOT_MODE_LONG_64);
    assert_int_equal(f->state.rip, PREF_ADDRESS + 0x200);
    assert_memory_equal(fixture_at(f, PREF_ADDRESS, KERNEL), f->image + SETUP, KERNEL);
    assert_zero(f, PREF_ADDRESS + KERNEL, 4096);
    assert_int_equal(f->state.rsp % 16, 0);
    assert_true(mem_is_ram(f->mem, f->state.rsp - 1024, 1024));
}

static void boot_params_hold_the_header_and_what_the_loader_must_write(void **state)
{
    struct fixture *f = *state;
    build(f);
    f->config.command_line = "console=ttyS0 quiet";
    f->config.rsdp_gpa = 0xe0000;
    assert_boots(f, BOOT_MODE_LONG_64);
    const uint8_t *p = params(f);
    assert_memory_equal(p + 0x202, "HdrS", 4);
    assert_int_equal(get_le16(p + 0x1fa), 0xffff);
    assert_int_equal(p[0x210], 0xff);
    assert_int_equal(p[0x211], 0x01); /* neither heap nor kept segments */
    assert_int_equal(get_le32(p + 0x214), PREF_ADDRESS);
    assert_int_equal(get_le64(p + 0x258), PREF_ADDRESS);
    assert_int_equal(get_le64(p + 0x70), 0xe0000);
    assert_int_equal(p[0x1ef], 0);
    const char *line = (const char *)fixture_at(f, get_le32(p + 0x228), 64);
    assert_string_equal(line, "console=ttyS0 quiet");
    for (size_t i = 0; i < 0x40; i++)
        assert_int_equal(p[i], 0); /* screen_info: no screen */
    /* What follows the header in the image is no part of boot_params. */
    for (size_t i = 0x26c; i < 0x2d0; i++)
        assert_int_equal(p[i], 0);
}

static void e820_lists_ram_and_reserves_the_firmware(void **state)
{
    struct fixture *f = *state;
    static const struct {
        uint64_t gpa, end;
        uint32_t type;
    } expected[] = {
        {0, 0x9fc00, 1},
        {0x9fc00, 0xa0000, 2},
        {0xe0000, 0x100000, 2},
        {0x100000, 8 * FIXTURE_MIB, 1},
        {UINT64_C(0x100000000), UINT64_C(0x100000000) + 4 * FIXTURE_MIB, 1},
    };
    build(f);
    fixture_memory(f, 12 * FIXTURE_MIB, 8 * FIXTURE_MIB);
    assert_boots(f, BOOT_MODE_LONG_64);
    assert_int_equal(params(f)[0x1e8], 5);
    for (size_t i = 0; i < 5; i++) {
        const uint8_t *entry = params(f) + 0x2d0 + i * 20;
        assert_int_equal(get_le64(entry), expected[i].gpa);
        assert_int_equal(get_le64(entry + 8), expected[i].end - expected[i].gpa);
        assert_int_equal(get_le32(entry + 16), expected[i].type);
    }
}

/* Walk the page tables as a processor would: three levels, the last one 2 MiB pages. */
static uint64_t translate(const struct fixture *f, uint64_t address)
{
    uint64_t table = f->state.cr3;
    for (unsigned shift = 39; shift >= 21; shift -= 9) {
        uint64_t entry = get_le64(fixture_at(f, table, 4096) + (address >> shift & 0x1ff) * 8);
        assert_int_equal(entry & 3, 3);
        assert_int_equal((entry & 0x80) != 0, shift == 21);
        table = entry & UINT64_C(0x000ffffffffff000);
    }
    return table + (address & 0x1fffff);
}

static void page_tables_map_the_first_4_gib_to_themselves(void **state)
{
    struct fixture *f = *state;
    build(f);
    assert_boots(f, BOOT_MODE_LONG_64);
    assert_int_equal(f->state.cr3 % 4096, 0);
    for (uint64_t address = 0; address < UINT64_C(0x100000000); address += 0x1fffff)
        assert_int_equal(translate(f, address), address);
    assert_int_equal(get_le64(fixture_at(f, f->state.cr3 + 8, 8)), 0);
}

static void initrd_lies_as_high_as_ram_allows(void **state)
{
    struct fixture *f = *state;
    static uint8_t initrd[5000];
    memset(initrd, 0x5a, sizeof(initrd));
    build(f);
    give_initrd(f, initrd, sizeof(initrd));
    assert_boots(f, BOOT_MODE_LONG_64);
    assert_int_equal(initrd_gpa(f), 16 * FIXTURE_MIB - 8192);
    assert_int_equal(get_le32(params(f) + 0x21c), sizeof(initrd));
    assert_memory_equal(fixture_at(f, initrd_gpa(f), sizeof(initrd)), initrd, sizeof(initrd));
}

static void initrd_ends_at_initrd_addr_max(void **state)
{
    struct fixture *f = *state;
    static const uint8_t initrd[5000] = {1};
    build(f);
    put_le32(f->image + 0x22c, 0x9fffff);
    give_initrd(f, initrd, sizeof(initrd));
    assert_boots(f, BOOT_MODE_LONG_64);
    assert_int_equal(initrd_gpa(f), 0xa00000 - 8192);
    /* One byte less, and a whole page of initrd does not fit there any more. */
    give_initrd(f, initrd, 4096);
    put_le32(f->image + 0x22c, 0x9ffffe);
    assert_boots(f, BOOT_MODE_LONG_64);
    assert_int_equal(initrd_gpa(f), 0xa00000 - 8192);
}

static void initrd_goes_above_4_gib_only_where_the_kernel_can(void **state)
{
    struct fixture *f = *state;
    static const uint8_t initrd[2 * 1024 * 1024] = {1};
    build(f);
    fixture_memory(f, 8 * FIXTURE_MIB, 4 * FIXTURE_MIB);
    give_initrd(f, initrd, sizeof(initrd));
    assert_refused(f, -ENOMEM, "no room in 8 MiB of memory for the initrd");
    put_le16(f->image + 0x236, 0x7f);
    assert_boots(f, BOOT_MODE_LONG_64);
    assert_int_equal(initrd_gpa(f), UINT64_C(0x100000000) + 2 * FIXTURE_MIB);
    assert_int_equal(*fixture_at(f, initrd_gpa(f), sizeof(initrd)), 1);
}

static void initrd_too_large_for_ram_is_refused(void **state)
{
    struct fixture *f = *state;
    static const uint8_t initrd[14 * 1024 * 1024] = {1};
    build(f);
    give_initrd(f, initrd, sizeof(initrd));
    assert_refused(f, -ENOMEM, "the initrd");
}

static void empty_initrd_is_none(void **state)
{
    struct fixture *f = *state;
    static const uint8_t initrd[1];
    build(f);
    give_initrd(f, initrd, 0);
    assert_boots(f, BOOT_MODE_LONG_64);
    assert_int_equal(initrd_gpa(f), 0);
    assert_int_equal(get_le32(params(f) + 0x21c), 0);
}

static void kernel_without_64_bit_entry_starts_in_protected_mode(void **state)
{
    struct fixture *f = *state;
    build(f);
    put_le16(f->image + 0x236, 0x04);
    assert_boots(f, BOOT_MODE_PROTECTED_32);
    assert_int_equal(f->state.rip, PREF_ADDRESS);
    assert_int_equal(f->state.rbx, 0);
    assert_memory_equal(params(f) + 0x202, "HdrS", 4);
    /* Before 2.12 the field was something else. */
    put_le16(f->image + 0x236, 0x7f);
    put_le16(f->image + 0x206, 0x20b);
    assert_boots(f, BOOT_MODE_PROTECTED_32);
}

static void relocatable_kernel_is_aligned_upward(void **state)
{
    struct fixture *f = *state;
    build(f);
    put_le64(f->image + 0x258, 0x201000);
    assert_boots(f, BOOT_MODE_LONG_64);
    assert_int_equal(f->state.rip, 0x400200);
    assert_int_equal(get_le32(params(f) + 0x214), 0x400000);
    f->image[0x234] = 0;
    assert_boots(f, BOOT_MODE_LONG_64);
    assert_int_equal(f->state.rip, 0x201200);
}

static void zero_setup_sectors_mean_four(void **state)
{
    struct fixture *f = *state;
    build(f);
    memmove(f->image + (size_t)5 * 512, f->image + SETUP, KERNEL);
    f->image[0x1f1] = 0;
    f->length = (size_t)5 * 512 + KERNEL;
    assert_boots(f, BOOT_MODE_LONG_64);
    assert_int_equal(*fixture_at(f, PREF_ADDRESS, 1), 1);
}

static void last_paragraph_may_be_short_and_a_signature_is_not_loaded(void **state)
{
    struct fixture *f = *state;
    build(f);
    f->length -= 15;
    assert_boots(f, BOOT_MODE_LONG_64);
    assert_zero(f, PREF_ADDRESS + KERNEL - 15, 15);
    f->length -= 1;
    assert_refused(f, -ENOEXEC, "truncated");
    f->length = SETUP + KERNEL + 100;
    memset(f->image + SETUP + KERNEL, 0xcc, 100);
    assert_boots(f, BOOT_MODE_LONG_64);
    assert_zero(f, PREF_ADDRESS + KERNEL, 100);
}

static void command_line_is_as_long_as_the_kernel_takes(void **state)
{
    struct fixture *f = *state;
    char line[66];
    memset(line, 'x', sizeof(line));
    line[64] = '\0';
    build(f);
    put_le32(f->image + 0x238, 64);
    f->config.command_line = line;
    assert_boots(f, BOOT_MODE_LONG_64);
    line[64] = 'x';
    line[65] = '\0';
    assert_refused(f, -E2BIG, "command line of 65 bytes; this kernel takes at most 64");
}

static void modules_are_not_for_linux(void **state)
{
    struct fixture *f = *state;
    static const struct boot_module module = {.file = {.name = "m"}};
    build(f);
    f->config.modules = &module;
    f->config.module_count = 1;
    assert_refused(f, -EINVAL, "not a multiboot kernel");
}

struct defect {
    const char *why;
    size_t at;
    size_t width;
    uint64_t value;
    int error;
};

static const struct defect defects[] = {
    {"too old", 0x206, 2, 0x209, -ENOEXEC},
    {"setup header ends at", 0x201, 1, 0x61, -ENOEXEC},
    {"setup header ends at", 0x201, 1, 0x8f, -ENOEXEC},
    {"setup header ends at", 0x201, 1, 0xff, -ENOEXEC},
    {"truncated", 0x1f1, 1, 255, -ENOEXEC},
    {"truncated", 0x1f1, 1, 5, -ENOEXEC},
    {"truncated", 0x1f4, 4, KERNEL / 16 + 1, -ENOEXEC},
    {"truncated", 0x1f4, 4, UINT32_MAX, -ENOEXEC},
    {"truncated", 0x1f4, 4, 0, -ENOEXEC},
    {"zImage", 0x211, 1, 0, -ENOEXEC},
    {"power of two", 0x230, 4, 0, -ENOEXEC},
    {"power of two", 0x230, 4, 0x300000, -ENOEXEC},
    {"pref_address", 0x258, 8, 0, -ENOEXEC},
    {"pref_address", 0x258, 8, UINT64_MAX, -ENOEXEC},
    {"pref_address", 0x258, 8, UINT64_C(0x100000000), -ENOEXEC},
    {"the kernel needs", 0x258, 8, UINT64_C(0xffffffff), -ENOMEM},
    {"the kernel needs", 0x258, 8, UINT64_C(0x1000000), -ENOMEM},
    {"the kernel needs", 0x258, 8, UINT64_C(0xe00001), -ENOMEM},
    {"the kernel needs", 0x260, 4, 0xe00001, -ENOMEM},
    {"the kernel needs", 0x260, 4, UINT32_MAX, -ENOMEM},
    {"64-bit entry", 0x1f4, 4, 0x200 / 16, -ENOEXEC},
    {"no room", 0x22c, 4, 0, -ENOMEM},
    {"no room", 0x22c, 4, 0x1000, -ENOMEM},
    {"neither", 0x1fe, 2, 0, -ENOEXEC},
    {"neither", 0x202, 4, 0x12345678, -ENOEXEC},
};

static void malformed_images_are_refused(void **state)
{
    struct fixture *f = *state;
    static const uint8_t initrd[16] = {1};
    give_initrd(f, initrd, sizeof(initrd));
    for (size_t i = 0; i < sizeof(defects) / sizeof(defects[0]); i++) {
        build(f);
        assert_boots(f, BOOT_MODE_LONG_64);
        memcpy(f->image + defects[i].at, &defects[i].value, defects[i].width);
        assert_refused(f, defects[i].error, defects[i].why);
    }
}

static void every_truncation_is_refused(void **state)
{
    struct fixture *f = *state;
    build(f);
    for (size_t length = SETUP + KERNEL - 16; length > 0; length--) {
        f->length = length;
        assert_int_equal(fixture_boot(f), -ENOEXEC);
    }
    f->length = 0;
    assert_refused(f, -ENOEXEC, "empty");
}

static void room_that_ends_with_ram_is_enough(void **state)
{
    struct fixture *f = *state;
    build(f);
    put_le32(f->image + 0x260, 0xe00000);
    assert_boots(f, BOOT_MODE_LONG_64);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        fixture_test(kernel_lies_at_pref_address_and_starts_at_its_64_bit_entry),
        fixture_test(boot_params_hold_the_header_and_what_the_loader_must_write),
        fixture_test(e820_lists_ram_and_reserves_the_firmware),
        fixture_test(page_tables_map_the_first_4_gib_to_themselves),
        fixture_test(initrd_lies_as_high_as_ram_allows),
        fixture_test(initrd_ends_at_initrd_addr_max),
        fixture_test(initrd_goes_above_4_gib_only_where_the_kernel_can),
        fixture_test(initrd_too_large_for_ram_is_refused),
        fixture_test(empty_initrd_is_none),
        fixture_test(kernel_without_64_bit_entry_starts_in_protected_mode),
        fixture_test(relocatable_kernel_is_aligned_upward),
        fixture_test(zero_setup_sectors_mean_four),
        fixture_test(last_paragraph_may_be_short_and_a_signature_is_not_loaded),
        fixture_test(command_line_is_as_long_as_the_kernel_takes),
        fixture_test(modules_are_not_for_linux),
        fixture_test(malformed_images_are_refused),
        fixture_test(every_truncation_is_refused),
        fixture_test(room_that_ends_with_ram_is_enough),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
