#include <errno.h>

#include "firmware/boot_fixture.h"

/* The least that boots: a multiboot header with address fields, then one page of nothing. */
static void build(struct fixture *f)
{
    static const uint32_t words[] = {
        0x1badb002, 0x10000,  -(0x1badb002U + 0x10000U), /* header */
        0x200000,   0x200000, 0,                         /* header, load, load end */
        0,          0x200020,                            /* bss end, entry */
    };
    memset(f->image, 0, 64);
    memcpy(f->image, words, sizeof(words));
    f->length = 64;
}

static void compressed_kernels_are_refused_with_a_hint(void **state)
{
    struct fixture *f = *state;
    static const struct {
        const char *magic;
        size_t length;
        const char *why;
    } known[] = {
        {"\x1f\x8b", 2, "kernel: compressed with gzip; unpack it with gunzip first"},
        {"\xfd\x37zXZ\0", 6, "kernel: compressed with xz; unpack it with unxz first"},
        {"\x28\xb5\x2f\xfd", 4, "kernel: compressed with zstd; unpack it with unzstd first"},
        {"BZh", 3, "kernel: compressed with bzip2; unpack it with bunzip2 first"},
        {"\x02\x21\x4c\x18", 4, "kernel: compressed with lz4; unpack it with unlz4 first"},
    };
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
        memcpy(f->image, known[i].magic, known[i].length);
        f->length = known[i].length;
        assert_refused(f, -ENOEXEC, known[i].why);
        f->length--;
        assert_refused(f, -ENOEXEC, "neither");
    }
}

static void what_is_no_kernel_is_refused(void **state)
{
    struct fixture *f = *state;
    f->length = 0;
    assert_refused(f, -ENOEXEC, "kernel: empty");
    f->length = 1;
    assert_refused(f, -ENOEXEC, "neither a Linux bzImage nor ELF nor a multiboot image");
    f->length = sizeof(f->image);
    assert_refused(f, -ENOEXEC, "neither a Linux bzImage nor ELF nor a multiboot image");
}

static void long_names_leave_a_whole_reason(void **state)
{
    struct fixture *f = *state;
    char name[1000];
    memset(name, 'n', sizeof(name));
    name[sizeof(name) - 1] = '\0';
    f->config.kernel.name = name;
    f->length = 1;
    assert_refused(f, -ENOEXEC, "nnn");
    assert_true(strlen(f->reason.text) < sizeof(f->reason.text));
}

static void reason_may_be_left_out(void **state)
{
    struct fixture *f = *state;
    struct boot_state ignored;
    f->config.kernel.bytes = f->image;
    f->config.kernel.length = 1;
    assert_int_equal(boot_load(f->mem, &f->config, &ignored, NULL), -ENOEXEC);
}

static void bios_data_area_names_com1_and_low_memory(void **state)
{
    struct fixture *f = *state;
    build(f);
    assert_boots(f, BOOT_MODE_PROTECTED_32);
    assert_int_equal(f->state.rip, 0x200020);
    assert_int_equal(get_le16(fixture_at(f, 0x400, 2)), 0x3f8);
    assert_int_equal(get_le16(fixture_at(f, 0x40e, 2)), 0x9fc0);
    assert_int_equal(get_le16(fixture_at(f, 0x413, 2)), 639);
    assert_int_equal(*fixture_at(f, 0x9fc00, 1), 1);
}

static void booting_again_gives_the_same_state(void **state)
{
    struct fixture *f = *state;
    build(f);
    assert_boots(f, BOOT_MODE_PROTECTED_32);
    struct boot_state first = f->state;
    assert_boots(f, BOOT_MODE_PROTECTED_32);
    assert_int_equal(f->state.rip, first.rip);
    assert_int_equal(f->state.rbx, first.rbx);
    assert_int_equal(f->state.gdt_base, first.gdt_base);
}

static void the_least_memory_is_too_little_for_a_kernel_at_1_mib(void **state)
{
    struct fixture *f = *state;
    build(f);
    fixture_memory(f, FIXTURE_MIB, FIXTURE_MIB);
    assert_refused(f, -ENOMEM, "at 0x200000, which 1 MiB of memory do not have");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        fixture_test(compressed_kernels_are_refused_with_a_hint),
        fixture_test(what_is_no_kernel_is_refused),
        fixture_test(long_names_leave_a_whole_reason),
        fixture_test(reason_may_be_left_out),
        fixture_test(bios_data_area_names_com1_and_low_memory),
        fixture_test(booting_again_gives_the_same_state),
        fixture_test(the_least_memory_is_too_little_for_a_kernel_at_1_mib),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
