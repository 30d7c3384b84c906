#include <elf.h>
#include <errno.h>

#include "firmware/boot_fixture.h"

enum { HEADER_AT = 0x40, IMAGE_SIZE = 0x600, BSS = 0x1000 };

#define LOAD_GPA  UINT64_C(0x100000)
#define ADDRESSES (UINT32_C(1) << 16)

static void put_header(struct fixture *f, size_t at, uint32_t flags)
{
    put_le32(f->image + at, 0x1badb002);
    put_le32(f->image + at + 4, flags);
    put_le32(f->image + at + 8, -(uint32_t)(0x1badb002 + flags));
}

/* An image by address fields, the whole file from LOAD_GPA on. */
static void build(struct fixture *f)
{
    f->length = IMAGE_SIZE;
    for (size_t i = 0; i < IMAGE_SIZE; i++)
        f->image[i] = (uint8_t)(i * 5 + 1);
    put_header(f, HEADER_AT, ADDRESSES | 3);
    uint8_t *fields = f->image + HEADER_AT + 12;
    put_le32(fields, (uint32_t)LOAD_GPA + HEADER_AT);
    put_le32(fields + 4, (uint32_t)LOAD_GPA);
    put_le32(fields + 8, (uint32_t)LOAD_GPA + IMAGE_SIZE);
    put_le32(fields + 12, (uint32_t)LOAD_GPA + IMAGE_SIZE + BSS);
    put_le32(fields + 16, (uint32_t)LOAD_GPA + 0x80);
}

static void set_field(struct fixture *f, size_t index, uint64_t value)
{
    put_le32(f->image + HEADER_AT + 12 + index * 4, (uint32_t)value);
}

/* An ELF of one segment with a header in it; linked at `virtual`. */
static void build_elf(struct fixture *f, bool is_64, uint64_t virtual, uint64_t entry)
{
    memset(f->image, 0, sizeof(f->image));
    f->length = IMAGE_SIZE;
    memcpy(f->image, ELFMAG, SELFMAG);
    f->image[EI_CLASS] = is_64 ? ELFCLASS64 : ELFCLASS32;
    f->image[EI_DATA] = ELFDATA2LSB;
    if (is_64) {
        Elf64_Ehdr *header = (Elf64_Ehdr *)(void *)f->image;
        header->e_type = ET_EXEC;
        header->e_machine = EM_X86_64;
        header->e_entry = entry;
        header->e_phoff = sizeof(*header);
        header->e_phentsize = sizeof(Elf64_Phdr);
        header->e_phnum = 1;
        *(Elf64_Phdr *)(void *)(header + 1) = (Elf64_Phdr){.p_type = PT_LOAD,
                                                           .p_vaddr = virtual,
                                                           .p_paddr = LOAD_GPA,
                                                           .p_filesz = IMAGE_SIZE,
                                                           .p_memsz = IMAGE_SIZE + BSS};
    } else {
        Elf32_Ehdr *header = (Elf32_Ehdr *)(void *)f->image;
        header->e_type = ET_EXEC;
        header->e_machine = EM_386;
        header->e_entry = (uint32_t)entry;
        header->e_phoff = sizeof(*header);
        header->e_phentsize = sizeof(Elf32_Phdr);
        header->e_phnum = 1;
        *(Elf32_Phdr *)(void *)(header + 1) = (Elf32_Phdr){.p_type = PT_LOAD,
                                                           .p_vaddr = (uint32_t) virtual,
                                                           .p_paddr = LOAD_GPA,
                                                           .p_filesz = IMAGE_SIZE,
                                                           .p_memsz = IMAGE_SIZE + BSS};
    }
    put_header(f, 0x200, 0);
}

static const uint8_t *info(const struct fixture *f)
{
    return fixture_at(f, f->state.rbx, 120);
}

static const char *string_at(const struct fixture *f, uint32_t gpa)
{
    return (const char *)fixture_at(f, gpa, 1);
}

static void image_by_addresses_is_loaded_and_its_bss_cleared(void **state)
{
    struct fixture *f = *state;
    build(f);
    mem_fill(f->mem, LOAD_GPA, 0xcc, 0x4000);
    assert_boots(f, BOOT_MODE_PROTECTED_32);
    assert_int_equal(f->state.rip, LOAD_GPA + 0x80);
    assert_int_equal(f->state.rax, 0x2badb002);
    assert_memory_equal(fixture_at(f, LOAD_GPA, IMAGE_SIZE), f->image, IMAGE_SIZE);
    assert_zero(f, LOAD_GPA + IMAGE_SIZE, BSS);
    assert_int_equal(*fixture_at(f, LOAD_GPA + IMAGE_SIZE + BSS, 1), 0xcc);
}

static void image_by_addresses_may_start_within_the_file(void **state)
{
    struct fixture *f = *state;
    build(f);
    set_field(f, 0, 0x200000);
    set_field(f, 1, 0x200000 - 0x20);
    set_field(f, 2, 0);
    set_field(f, 3, 0);
    set_field(f, 4, 0x200000);
    assert_boots(f, BOOT_MODE_PROTECTED_32);
    size_t rest = IMAGE_SIZE - (HEADER_AT - 0x20);
    assert_memory_equal(fixture_at(f, 0x200000 - 0x20, rest), f->image + HEADER_AT - 0x20, rest);
    assert_zero(f, 0x200000 - 0x20 + rest, 4096);
}

static void elf_images_of_both_classes_are_loaded(void **state)
{
    struct fixture *f = *state;
    for (int is_64 = 0; is_64 < 2; is_64++) {
        build_elf(f, is_64, LOAD_GPA, LOAD_GPA + 0x300);
        mem_fill(f->mem, LOAD_GPA, 0xcc, 0x4000);
        assert_boots(f, BOOT_MODE_PROTECTED_32);
        assert_int_equal(f->state.rip, LOAD_GPA + 0x300);
        assert_int_equal(f->state.rax, 0x2badb002);
        assert_memory_equal(fixture_at(f, LOAD_GPA, IMAGE_SIZE), f->image, IMAGE_SIZE);
        assert_zero(f, LOAD_GPA + IMAGE_SIZE, BSS);
    }
}

static void virtual_entry_of_an_elf_is_translated(void **state)
{
    struct fixture *f = *state;
    build_elf(f, false, 0xc0000000, 0xc0000300);
    assert_boots(f, BOOT_MODE_PROTECTED_32);
    assert_int_equal(f->state.rip, LOAD_GPA + 0x300);
    build_elf(f, false, 0xc0000000, LOAD_GPA + 0x300);
    assert_boots(f, BOOT_MODE_PROTECTED_32);
    assert_int_equal(f->state.rip, LOAD_GPA + 0x300);
    build_elf(f, false, 0xc0000000, 0xc0000000 - 1);
    assert_refused(f, -ENOEXEC, "entry 0xbfffffff lies in no ELF segment");
}

static void information_tells_memory_and_the_loader(void **state)
{
    struct fixture *f = *state;
    build(f);
    assert_boots(f, BOOT_MODE_PROTECTED_32);
    assert_int_equal(get_le32(info(f)) & 0x245, 0x245);
    assert_int_equal(get_le32(info(f) + 4), 639);
    assert_int_equal(get_le32(info(f) + 8), 15 * 1024);
    assert_string_equal(string_at(f, get_le32(info(f) + 64)), "Partita");
    uint32_t length = get_le32(info(f) + 44);
    const uint8_t *map = fixture_at(f, get_le32(info(f) + 48), length);
    assert_int_equal(length, 4 * 24);
    for (uint32_t at = 0; at < length; at += 24)
        assert_int_equal(get_le32(map + at), 20);
    assert_int_equal(get_le64(map + 72 + 4), 0x100000);
    assert_int_equal(get_le64(map + 72 + 12), 15 * FIXTURE_MIB);
    assert_int_equal(get_le32(map + 72 + 20), 1);
}

static void upper_memory_ends_at_the_hole(void **state)
{
    struct fixture *f = *state;
    build(f);
    fixture_memory(f, 16 * FIXTURE_MIB, 8 * FIXTURE_MIB);
    assert_boots(f, BOOT_MODE_PROTECTED_32);
    assert_int_equal(get_le32(info(f) + 8), 7 * 1024);
    assert_int_equal(get_le32(info(f) + 44), 5 * 24);
}

static void command_line_begins_with_the_kernels_name(void **state)
{
    struct fixture *f = *state;
    build(f);
    f->config.command_line = "one two";
    assert_boots(f, BOOT_MODE_PROTECTED_32);
    assert_string_equal(string_at(f, get_le32(info(f) + 16)), "kernel one two");
    f->config.command_line = NULL;
    assert_boots(f, BOOT_MODE_PROTECTED_32);
    assert_string_equal(string_at(f, get_le32(info(f) + 16)), "kernel");
    f->config.command_line = "";
    assert_boots(f, BOOT_MODE_PROTECTED_32);
    assert_string_equal(string_at(f, get_le32(info(f) + 16)), "kernel");
}

static void modules_follow_the_initrd_page_aligned(void **state)
{
    struct fixture *f = *state;
    static const uint8_t bytes[3][5000] = {{1}, {2}, {3}};
    static const struct boot_module modules[] = {
        {.file = {.name = "first", .bytes = bytes[1], .length = 5000}, .command_line = "x=1"},
        {.file = {.name = "second", .bytes = bytes[2], .length = 1}},
    };
    static const char *const lines[] = {"initrd", "first x=1", "second"};
    static const size_t lengths[] = {100, 5000, 1};
    build(f);
    f->config.initrd.bytes = bytes[0];
    f->config.initrd.length = 100;
    f->config.modules = modules;
    f->config.module_count = 2;
    assert_boots(f, BOOT_MODE_PROTECTED_32);
    assert_true(get_le32(info(f)) & 8);
    assert_int_equal(get_le32(info(f) + 20), 3);
    for (size_t i = 0; i < 3; i++) {
        const uint8_t *entry = fixture_at(f, get_le32(info(f) + 24) + i * 16, 16);
        uint32_t start = get_le32(entry);
        assert_int_equal(start % 4096, 0);
        assert_int_equal(get_le32(entry + 4) - start, lengths[i]);
        assert_memory_equal(fixture_at(f, start, lengths[i]), bytes[i], lengths[i]);
        assert_string_equal(string_at(f, get_le32(entry + 8)), lines[i]);
    }
}

static void too_many_or_too_large_modules_are_refused(void **state)
{
    struct fixture *f = *state;
    static const uint8_t bytes[15 * 1024 * 1024] = {1};
    static struct boot_module modules[BOOT_MAX_MODULES + 1];
    for (size_t i = 0; i <= BOOT_MAX_MODULES; i++)
        modules[i].file = (struct boot_file){.name = "m", .bytes = bytes, .length = 1};
    build(f);
    f->config.modules = modules;
    f->config.module_count = BOOT_MAX_MODULES + 1;
    assert_refused(f, -E2BIG, "more than 32 modules");
    f->config.module_count = BOOT_MAX_MODULES;
    f->config.initrd = (struct boot_file){.name = "i", .bytes = bytes, .length = 1};
    assert_boots(f, BOOT_MODE_PROTECTED_32);
    assert_int_equal(get_le32(info(f) + 20), BOOT_MAX_MODULES + 1);
    modules[7].file = (struct boot_file){.name = "huge", .bytes = bytes, .length = sizeof(bytes)};
    assert_refused(f, -ENOMEM, "no room in 16 MiB of memory for huge");
}

static void long_command_lines_go_above_1_mib(void **state)
{
    struct fixture *f = *state;
    size_t length = 0xa0000;
    char *line = malloc(length + 1);
    assert_non_null(line);
    memset(line, 'y', length);
    line[length] = '\0';
    build(f);
    f->config.command_line = line;
    assert_boots(f, BOOT_MODE_PROTECTED_32);
    assert_true(f->state.rbx > 0x100000);
    assert_string_equal(string_at(f, get_le32(info(f) + 16)) + 7, line);
    free(line);
}

static void low_image_keeps_its_place(void **state)
{
    struct fixture *f = *state;
    build(f);
    set_field(f, 0, 0x8000 + HEADER_AT);
    set_field(f, 1, 0x8000);
    set_field(f, 2, 0x8000 + IMAGE_SIZE);
    set_field(f, 3, 0x9f000);
    set_field(f, 4, 0x8000);
    assert_boots(f, BOOT_MODE_PROTECTED_32);
    assert_memory_equal(fixture_at(f, 0x8000, IMAGE_SIZE), f->image, IMAGE_SIZE);
    assert_zero(f, 0x8000 + IMAGE_SIZE, 0x9f000 - 0x8000 - IMAGE_SIZE);
    assert_true(f->state.rbx < 0x8000 || f->state.rbx >= 0x9f000);
}

static void header_must_lie_aligned_in_the_first_8_kib(void **state)
{
    struct fixture *f = *state;
    memset(f->image, 0, sizeof(f->image));
    f->length = sizeof(f->image);
    put_header(f, 8192 - 12, 0);
    assert_refused(f, -ENOEXEC, "multiboot kernel that is not ELF and has no address fields");
    memset(f->image, 0, sizeof(f->image));
    put_header(f, 8192 - 8, 0);
    assert_refused(f, -ENOEXEC, "neither");
    memset(f->image, 0, sizeof(f->image));
    put_header(f, 0x42, 0);
    assert_refused(f, -ENOEXEC, "neither");
}

static void wrong_checksum_is_no_header(void **state)
{
    struct fixture *f = *state;
    build(f);
    f->image[HEADER_AT + 8] ^= 1;
    assert_refused(f, -ENOEXEC, "neither");
}

static void unmet_needs_are_refused(void **state)
{
    struct fixture *f = *state;
    build(f);
    put_header(f, HEADER_AT, ADDRESSES | 4);
    assert_refused(f, -ENOEXEC, "needs a video mode");
    for (unsigned bit = 3; bit < 16; bit++) {
        put_header(f, HEADER_AT, ADDRESSES | UINT32_C(1) << bit);
        assert_refused(f, -ENOEXEC, "unknown needs");
    }
    put_header(f, HEADER_AT, ADDRESSES | UINT32_C(0xfffe0000));
    assert_boots(f, BOOT_MODE_PROTECTED_32);
}

static void bad_addresses_are_refused(void **state)
{
    struct fixture *f = *state;
    enum { HEADER_ADDRESS, LOAD, LOAD_END, BSS_END, ENTRY };
    static const struct {
        size_t field;
        uint64_t value;
        int error;
        const char *why;
    } defects[] = {
        {HEADER_ADDRESS, 0, -ENOEXEC, "before the file"},
        {HEADER_ADDRESS, LOAD_GPA + HEADER_AT + 1, -ENOEXEC, "before the file"},
        {HEADER_ADDRESS, UINT32_MAX, -ENOEXEC, "before the file"},
        {LOAD, 0, -ENOEXEC, "before the file"},
        {LOAD, LOAD_GPA + HEADER_AT + 1, -ENOEXEC, "before the file"},
        {LOAD, UINT32_MAX, -ENOEXEC, "before the file"},
        {LOAD_END, LOAD_GPA, -ENOEXEC, "do not fit"},
        {LOAD_END, LOAD_GPA - 1, -ENOEXEC, "do not fit"},
        {LOAD_END, LOAD_GPA + IMAGE_SIZE + 1, -ENOEXEC, "do not fit"},
        {LOAD_END, UINT32_MAX, -ENOEXEC, "do not fit"},
        {BSS_END, LOAD_GPA + IMAGE_SIZE - 1, -ENOEXEC, "do not fit"},
        {BSS_END, 1, -ENOEXEC, "do not fit"},
        {BSS_END, 16 * FIXTURE_MIB + 1, -ENOMEM, "the kernel needs"},
        {BSS_END, UINT32_MAX, -ENOMEM, "the kernel needs"},
        {ENTRY, LOAD_GPA - 1, -ENOEXEC, "outside the image"},
        {ENTRY, LOAD_GPA + IMAGE_SIZE + BSS, -ENOEXEC, "outside the image"},
        {ENTRY, UINT32_MAX, -ENOEXEC, "outside the image"},
    };
    for (size_t i = 0; i < sizeof(defects) / sizeof(defects[0]); i++) {
        build(f);
        set_field(f, defects[i].field, defects[i].value);
        assert_refused(f, defects[i].error, defects[i].why);
    }
}

static void image_over_the_firmware_is_refused(void **state)
{
    struct fixture *f = *state;
    static const uint64_t places[] = {0, 0x9f800, 0xa0000, 0xe0000, 0xffc00};
    for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
        build(f);
        set_field(f, 0, places[i] + HEADER_AT);
        set_field(f, 1, places[i]);
        set_field(f, 2, places[i] + IMAGE_SIZE);
        set_field(f, 3, 0);
        set_field(f, 4, places[i]);
        assert_refused(f, -ENOEXEC, "overlaps");
    }
}

static void truncated_header_is_refused(void **state)
{
    struct fixture *f = *state;
    build(f);
    for (size_t length = HEADER_AT + 31; length >= HEADER_AT + 12; length--) {
        f->length = length;
        assert_refused(f, -ENOEXEC, "truncated within its multiboot header");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        fixture_test(image_by_addresses_is_loaded_and_its_bss_cleared),
        fixture_test(image_by_addresses_may_start_within_the_file),
        fixture_test(elf_images_of_both_classes_are_loaded),
        fixture_test(virtual_entry_of_an_elf_is_translated),
        fixture_test(information_tells_memory_and_the_loader),
        fixture_test(upper_memory_ends_at_the_hole),
        fixture_test(command_line_begins_with_the_kernels_name),
        fixture_test(modules_follow_the_initrd_page_aligned),
        fixture_test(too_many_or_too_large_modules_are_refused),
        fixture_test(long_command_lines_go_above_1_mib),
        fixture_test(low_image_keeps_its_place),
        fixture_test(header_must_lie_aligned_in_the_first_8_kib),
        fixture_test(wrong_checksum_is_no_header),
        fixture_test(unmet_needs_are_refused),
        fixture_test(bad_addresses_are_refused),
        fixture_test(image_over_the_firmware_is_refused),
        fixture_test(truncated_header_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
