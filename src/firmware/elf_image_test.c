#include <elf.h>
#include <errno.h>

#include "firmware/boot_fixture.h"

enum {
    CODE_AT = 0x1000,
    CODE_SIZE = 0x300,
    CODE_ROOM = 0x1000,
    DATA_AT = 0x1400,
    DATA_SIZE = 0x10
};
enum { NOTE_AT = 0x1800, HEADERS = 3 };

#define CODE_GPA UINT64_C(0x200000)
#define DATA_GPA UINT64_C(0x300000)
#define VIRTUAL  UINT64_C(0xffffffff81000000)

/* Text with bss, data, and notes; as a kernel linked high and loaded low. */
static const Elf64_Phdr headers[HEADERS] = {
    {.p_type = PT_LOAD,
     .p_offset = CODE_AT,
     .p_vaddr = VIRTUAL,
     .p_paddr = CODE_GPA,
     .p_filesz = CODE_SIZE,
     .p_memsz = CODE_ROOM},
    {.p_type = PT_LOAD,
     .p_offset = DATA_AT,
     .p_vaddr = VIRTUAL + 0x100000,
     .p_paddr = DATA_GPA,
     .p_filesz = DATA_SIZE,
     .p_memsz = DATA_SIZE},
    {.p_type = PT_NOTE, .p_offset = NOTE_AT},
};

static void set_ident(struct fixture *f, uint8_t class)
{
    memset(f->image, 0, sizeof(f->image));
    memcpy(f->image, ELFMAG, SELFMAG);
    f->image[EI_CLASS] = class;
    f->image[EI_DATA] = ELFDATA2LSB;
    f->image[EI_VERSION] = EV_CURRENT;
    for (size_t i = 0; i < 0x500; i++)
        f->image[CODE_AT + i] = (uint8_t)(i * 3 + 1);
    f->length = NOTE_AT;
}

static Elf64_Phdr *phdr64(struct fixture *f, size_t index)
{
    return (Elf64_Phdr *)(void *)(f->image + sizeof(Elf64_Ehdr)) + index;
}

static Elf64_Ehdr *ehdr64(struct fixture *f)
{
    return (Elf64_Ehdr *)(void *)f->image;
}

static void build64(struct fixture *f)
{
    set_ident(f, ELFCLASS64);
    Elf64_Ehdr *header = ehdr64(f);
    header->e_type = ET_EXEC;
    header->e_machine = EM_X86_64;
    header->e_entry = CODE_GPA + 0x10;
    header->e_phoff = sizeof(*header);
    header->e_phentsize = sizeof(Elf64_Phdr);
    header->e_phnum = HEADERS;
    memcpy(phdr64(f, 0), headers, sizeof(headers));
}

static void build32(struct fixture *f)
{
    set_ident(f, ELFCLASS32);
    Elf32_Ehdr *header = (Elf32_Ehdr *)(void *)f->image;
    header->e_type = ET_EXEC;
    header->e_machine = EM_386;
    header->e_entry = (uint32_t)CODE_GPA;
    header->e_phoff = sizeof(*header);
    header->e_phentsize = sizeof(Elf32_Phdr);
    header->e_phnum = HEADERS;
    Elf32_Phdr *to = (Elf32_Phdr *)(void *)(header + 1);
    for (size_t i = 0; i < HEADERS; i++)
        to[i] = (Elf32_Phdr){
            .p_type = headers[i].p_type,
            .p_offset = (uint32_t)headers[i].p_offset,
            .p_vaddr = (uint32_t)headers[i].p_vaddr,
            .p_paddr = (uint32_t)headers[i].p_paddr,
            .p_filesz = (uint32_t)headers[i].p_filesz,
            .p_memsz = (uint32_t)headers[i].p_memsz,
        };
}

/* Append a note; the note segment of either class grows with it. */
static void add_note(struct fixture *f, const char *name, uint32_t type, const void *value,
                     uint32_t size)
{
    uint8_t *at = f->image + f->length;
    uint32_t name_size = (uint32_t)strlen(name) + 1;
    put_le32(at, name_size);
    put_le32(at + 4, size);
    put_le32(at + 8, type);
    memcpy(at + 12, name, name_size);
    memcpy(at + 12 + ((name_size + 3) & ~3U), value, size);
    f->length += 12 + ((name_size + 3) & ~3U) + ((size + 3) & ~3U);
    if (f->image[EI_CLASS] == ELFCLASS64) {
        phdr64(f, 2)->p_filesz = f->length - NOTE_AT;
        return;
    }
    Elf32_Phdr *notes = (Elf32_Phdr *)(void *)(f->image + sizeof(Elf32_Ehdr)) + 2;
    notes->p_filesz = (uint32_t)(f->length - NOTE_AT);
}

static void add_pvh_note(struct fixture *f, uint32_t entry)
{
    static const uint8_t words[8] = {1, 2, 3};
    uint8_t value[8] = {0};
    put_le32(value, entry);
    add_note(f, "GNU", 3, words, 5);
    add_note(f, "Xen", 17, words, 4);
    add_note(f, "NetBSD", 18, words, 4);
    add_note(f, "Xen", 18, value, f->image[EI_CLASS] == ELFCLASS64 ? 8 : 4);
}

static void assert_segments_loaded(const struct fixture *f)
{
    assert_memory_equal(fixture_at(f, CODE_GPA, CODE_SIZE), f->image + CODE_AT, CODE_SIZE);
    assert_zero(f, CODE_GPA + CODE_SIZE, CODE_ROOM - CODE_SIZE);
    assert_memory_equal(fixture_at(f, DATA_GPA, DATA_SIZE), f->image + DATA_AT, DATA_SIZE);
}

static void vmlinux_starts_at_its_physical_entry_with_boot_params(void **state)
{
    struct fixture *f = *state;
    static const uint8_t initrd[100] = {9};
    build64(f);
    f->config.command_line = "root=/dev/ram0";
    f->config.initrd.bytes = initrd;
    f->config.initrd.length = sizeof(initrd);
    mem_fill(f->mem, CODE_GPA, 0xcc, CODE_ROOM);
    assert_boots(f, BOOT_MODE_LONG_64);
    assert_segments_loaded(f);
    assert_int_equal(f->state.rip, CODE_GPA + 0x10);
    const uint8_t *p = fixture_at(f, f->state.rsi, 4096);
    assert_int_equal(get_le16(p + 0x1fe), 0xaa55);
    assert_memory_equal(p + 0x202, "HdrS", 4);
    assert_int_equal(p[0x211], 0x01);
    assert_string_equal((const char *)fixture_at(f, get_le32(p + 0x228), 64), "root=/dev/ram0");
    assert_int_equal(*fixture_at(f, get_le32(p + 0x218), 1), 9);
    assert_int_equal(get_le32(p + 0x21c), sizeof(initrd));
}

static void assert_pvh_start_info(struct fixture *f, const uint8_t *initrd, size_t length)
{
    const uint8_t *info = fixture_at(f, f->state.rbx, 56);
    assert_int_equal(get_le32(info), 0x336ec578);
    assert_int_equal(get_le32(info + 4), 1);
    assert_int_equal(get_le32(info + 8), 0);
    assert_int_equal(get_le32(info + 12), 1);
    const uint8_t *module = fixture_at(f, get_le64(info + 16), 32);
    assert_int_equal(get_le64(module + 8), length);
    assert_memory_equal(fixture_at(f, get_le64(module), length), initrd, length);
    assert_string_equal((const char *)fixture_at(f, get_le64(info + 24), 8), "a=b");
    assert_int_equal(get_le64(info + 32), 0xe0000);
    assert_int_equal(get_le32(info + 48), 4);
    const uint8_t *map = fixture_at(f, get_le64(info + 40), UINT64_C(4) * 24);
    assert_int_equal(get_le64(map + 72), 0x100000);
    assert_int_equal(get_le64(map + 80), 15 * FIXTURE_MIB);
    assert_int_equal(get_le32(map + 88), 1);
}

static void boot_pvh(struct fixture *f)
{
    static const uint8_t initrd[100] = {9, 8, 7};
    f->config.command_line = "a=b";
    f->config.rsdp_gpa = 0xe0000;
    f->config.initrd.bytes = initrd;
    f->config.initrd.length = sizeof(initrd);
    add_pvh_note(f, (uint32_t)CODE_GPA + 0x20);
    assert_boots(f, BOOT_MODE_PROTECTED_32);
    assert_int_equal(f->state.rip, CODE_GPA + 0x20);
    assert_segments_loaded(f);
    assert_pvh_start_info(f, initrd, sizeof(initrd));
}

static void pvh_note_of_a_64_bit_image_is_its_entry(void **state)
{
    struct fixture *f = *state;
    build64(f);
    boot_pvh(f);
}

static void pvh_note_of_a_32_bit_image_is_its_entry(void **state)
{
    struct fixture *f = *state;
    build32(f);
    boot_pvh(f);
}

static void pvh_without_initrd_has_no_module(void **state)
{
    struct fixture *f = *state;
    build64(f);
    add_pvh_note(f, (uint32_t)CODE_GPA);
    assert_boots(f, BOOT_MODE_PROTECTED_32);
    const uint8_t *info = fixture_at(f, f->state.rbx, 56);
    assert_int_equal(get_le32(info + 12), 0);
    assert_int_equal(get_le64(info + 16), 0);
    assert_string_equal((const char *)fixture_at(f, get_le64(info + 24), 1), "");
}

static void pvh_entry_outside_the_image_is_refused(void **state)
{
    struct fixture *f = *state;
    build64(f);
    add_pvh_note(f, (uint32_t)(CODE_GPA + CODE_ROOM));
    assert_refused(f, -ENOEXEC, "PVH entry 0x201000 lies in no ELF segment");
}

static void broken_notes_are_no_pvh_notes(void **state)
{
    struct fixture *f = *state;
    static const size_t fields[] = {0, 4};
    static const uint32_t values[] = {UINT32_MAX, UINT32_MAX - 2, 0x7fffffff, 100};
    for (size_t i = 0; i < 2; i++)
        for (size_t k = 0; k < 4; k++) {
            build64(f);
            add_note(f, "Xen", 18, "\0\0\x20", 4);
            put_le32(f->image + NOTE_AT + fields[i], values[k]);
            assert_boots(f, BOOT_MODE_LONG_64);
        }
    build64(f);
    add_note(f, "Xen", 18, "\0\0", 2);
    assert_boots(f, BOOT_MODE_LONG_64);
}

static void thirty_two_bit_image_needs_a_note_or_a_multiboot_header(void **state)
{
    struct fixture *f = *state;
    build32(f);
    assert_refused(f, -ENOEXEC, "32-bit ELF without a multiboot header or a PVH note");
}

static void bad_headers_are_refused(void **state)
{
    struct fixture *f = *state;
    static const struct {
        size_t at, width;
        uint64_t value;
        const char *why;
    } defects[] = {
        {EI_CLASS, 1, 0, "class 0"},
        {EI_CLASS, 1, 3, "class 3"},
        {EI_DATA, 1, ELFDATA2MSB, "data 2"},
        {offsetof(Elf64_Ehdr, e_type), 2, ET_DYN, "type 3"},
        {offsetof(Elf64_Ehdr, e_type), 2, ET_REL, "type 1"},
        {offsetof(Elf64_Ehdr, e_machine), 2, EM_AARCH64, "machine 183"},
        {offsetof(Elf64_Ehdr, e_entry), 8, 0, "entry 0x0"},
        {offsetof(Elf64_Ehdr, e_entry), 8, CODE_GPA - 1, "entry 0x1fffff"},
        {offsetof(Elf64_Ehdr, e_entry), 8, CODE_GPA + CODE_ROOM, "entry 0x201000"},
        {offsetof(Elf64_Ehdr, e_entry), 8, UINT64_MAX, "entry"},
        {offsetof(Elf64_Ehdr, e_phoff), 8, UINT64_MAX, "program headers"},
        {offsetof(Elf64_Ehdr, e_phoff), 8, NOTE_AT - 56 * 3 + 1, "program headers"},
        {offsetof(Elf64_Ehdr, e_phnum), 2, 0, "program headers"},
        {offsetof(Elf64_Ehdr, e_phnum), 2, 0xffff, "program headers"},
        {offsetof(Elf64_Ehdr, e_phentsize), 2, 55, "program headers"},
        {offsetof(Elf64_Ehdr, e_phentsize), 2, 0xffff, "program headers"},
    };
    for (size_t i = 0; i < sizeof(defects) / sizeof(defects[0]); i++) {
        build64(f);
        memcpy(f->image + defects[i].at, &defects[i].value, defects[i].width);
        assert_refused(f, -ENOEXEC, defects[i].why);
    }
}

struct segment_defect {
    Elf64_Phdr header;
    int error;
    const char *why;
};

#define SEGMENT(offset, paddr, filesz, memsz)                                              \
    {                                                                                      \
        .p_type = PT_LOAD, .p_offset = (offset), .p_paddr = (paddr), .p_filesz = (filesz), \
        .p_memsz = (memsz)                                                                 \
    }

static const struct segment_defect segment_defects[] = {
    {SEGMENT(CODE_AT, DATA_GPA, 16, 8), -ENOEXEC, "longer in the file"},
    {SEGMENT(UINT64_MAX, DATA_GPA, 16, 16), -ENOEXEC, "not in the file"},
    {SEGMENT(UINT64_MAX - 15, DATA_GPA, 16, 16), -ENOEXEC, "not in the file"},
    {SEGMENT(NOTE_AT - 15, DATA_GPA, 16, 16), -ENOEXEC, "not in the file"},
    {SEGMENT(16, DATA_GPA, UINT64_MAX, UINT64_MAX), -ENOEXEC, "not in the file"},
    {SEGMENT(0, DATA_GPA, 16, UINT64_MAX), -ENOMEM, "an ELF segment needs"},
    {SEGMENT(0, DATA_GPA, 16, 14 * FIXTURE_MIB), -ENOMEM, "an ELF segment needs"},
    {SEGMENT(0, UINT64_MAX, 16, 16), -ENOMEM, "an ELF segment needs"},
    {SEGMENT(0, UINT64_MAX - 15, 16, 16), -ENOMEM, "an ELF segment needs"},
    {SEGMENT(0, 16 * FIXTURE_MIB, 16, 16), -ENOMEM, "an ELF segment needs"},
    {SEGMENT(0, 16 * FIXTURE_MIB - 8, 16, 16), -ENOMEM, "an ELF segment needs"},
    {SEGMENT(0, UINT64_C(0x100000000), 16, 16), -ENOMEM, "an ELF segment needs"},
    {SEGMENT(0, 0, 16, 16), -ENOEXEC, "overlaps"},
    {SEGMENT(0, 0xfff, 16, 16), -ENOEXEC, "overlaps"},
    {SEGMENT(0, 0x9fbff, 16, 16), -ENOEXEC, "overlaps"},
    {SEGMENT(0, 0xb8000, 16, 16), -ENOEXEC, "overlaps"},
    {SEGMENT(0, 0xe0000, 16, 16), -ENOEXEC, "overlaps"},
    {SEGMENT(0, 0xfffff, 16, 16), -ENOEXEC, "overlaps"},
    {SEGMENT(0, CODE_GPA + CODE_ROOM - 1, 16, 16), -ENOEXEC, "overlaps"},
    {SEGMENT(0, CODE_GPA - 15, 16, 16), -ENOEXEC, "overlaps"},
};

static void bad_segments_are_refused(void **state)
{
    struct fixture *f = *state;
    for (size_t i = 0; i < sizeof(segment_defects) / sizeof(segment_defects[0]); i++) {
        build64(f);
        *phdr64(f, 1) = segment_defects[i].header;
        assert_refused(f, segment_defects[i].error, segment_defects[i].why);
    }
}

static void segments_above_4_gib_are_refused_even_where_ram_is(void **state)
{
    struct fixture *f = *state;
    build64(f);
    fixture_memory(f, 16 * FIXTURE_MIB, 8 * FIXTURE_MIB);
    phdr64(f, 1)->p_paddr = UINT64_C(0x100000000);
    assert_refused(f, -ENOMEM, "an ELF segment needs");
}

static void too_many_segments_are_refused(void **state)
{
    struct fixture *f = *state;
    build64(f);
    ehdr64(f)->e_phnum = 33;
    for (size_t i = 0; i < 33; i++)
        *phdr64(f, i) = (Elf64_Phdr)SEGMENT(0, CODE_GPA + i * 0x1000, 1, 1);
    assert_refused(f, -ENOEXEC, "more than 32 ELF segments");
    ehdr64(f)->e_phnum = 32;
    ehdr64(f)->e_entry = CODE_GPA;
    assert_boots(f, BOOT_MODE_LONG_64);
}

static void image_without_segments_is_refused(void **state)
{
    struct fixture *f = *state;
    build64(f);
    phdr64(f, 0)->p_memsz = 0;
    phdr64(f, 1)->p_type = PT_NULL;
    assert_refused(f, -ENOEXEC, "without anything to load");
}

static void low_segments_push_our_structures_aside(void **state)
{
    struct fixture *f = *state;
    build64(f);
    /* All conventional memory but its first pages. */
    *phdr64(f, 1) = (Elf64_Phdr)SEGMENT(0, 0x8000, 16, 0x9fc00 - 0x8000);
    assert_boots(f, BOOT_MODE_LONG_64);
    assert_zero(f, 0x8010, 0x9fc00 - 0x8010);
    assert_true(f->state.rsi < 0x8000);
    *phdr64(f, 1) = (Elf64_Phdr)SEGMENT(0, 0x1000, 16, 0x9fc00 - 0x1000);
    assert_boots(f, BOOT_MODE_LONG_64);
    assert_zero(f, 0x1010, 0x9fc00 - 0x1010);
    assert_true(f->state.rsi >= DATA_GPA);
}

static void every_truncation_is_refused(void **state)
{
    struct fixture *f = *state;
    build64(f);
    add_pvh_note(f, (uint32_t)CODE_GPA);
    for (size_t length = f->length - 1; length > 0; length--) {
        f->length = length;
        assert_int_equal(fixture_boot(f), -ENOEXEC);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        fixture_test(vmlinux_starts_at_its_physical_entry_with_boot_params),
        fixture_test(pvh_note_of_a_64_bit_image_is_its_entry),
        fixture_test(pvh_note_of_a_32_bit_image_is_its_entry),
        fixture_test(pvh_without_initrd_has_no_module),
        fixture_test(pvh_entry_outside_the_image_is_refused),
        fixture_test(broken_notes_are_no_pvh_notes),
        fixture_test(thirty_two_bit_image_needs_a_note_or_a_multiboot_header),
        fixture_test(bad_headers_are_refused),
        fixture_test(bad_segments_are_refused),
        fixture_test(segments_above_4_gib_are_refused_even_where_ram_is),
        fixture_test(too_many_segments_are_refused),
        fixture_test(image_without_segments_is_refused),
        fixture_test(low_segments_push_our_structures_aside),
        fixture_test(every_truncation_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
