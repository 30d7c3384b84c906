#include "worker/symbols.h"

#include <elf.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/bytes.h"

static const char map[] = "0000000000000000 A fixed_percpu_data\n"
                          "ffffffff81000000 T _stext\n"
                          "ffffffff81000200 t helper\n"
                          "not a line\n"
                          "ffffffff81000100 T start\n"
                          "ffffffff82000000 D data\n"
                          "ffffffff81c00000 T entry_SYSCALL_64";

static struct symbols *parse(const void *bytes, size_t length)
{
    struct symbols *symbols = NULL;
    struct reason reason;
    assert_int_equal(symbols_parse(bytes, length, &symbols, &reason), 0);
    return symbols;
}

static void map_describes_code(void **state)
{
    struct symbols *symbols = parse(map, sizeof(map) - 1);
    char name[64];
    (void)state;

    assert_int_equal(symbols_count(symbols), 4);
    assert_true(symbols_describe(symbols, UINT64_C(0xffffffff8100011c), name, sizeof(name)));
    assert_string_equal(name, "start+0x1c");
    assert_true(symbols_describe(symbols, UINT64_C(0xffffffff81000200), name, sizeof(name)));
    assert_string_equal(name, "helper+0x0");
    assert_true(symbols_describe(symbols, UINT64_C(0xffffffff81c00001), name, sizeof(name)));
    assert_string_equal(name, "entry_SYSCALL_64+0x1");
    assert_false(symbols_describe(symbols, 0x1000, name, sizeof(name)));
    assert_false(symbols_describe(symbols, UINT64_MAX, name, sizeof(name)));
    symbols_destroy(symbols);
}

static void slide_moves_all(void **state)
{
    struct symbols *symbols = parse(map, sizeof(map) - 1);
    uint64_t address = 0;
    char name[64];
    (void)state;

    assert_true(symbols_find(symbols, "entry_SYSCALL_64", &address));
    assert_int_equal(address, UINT64_C(0xffffffff81c00000));
    assert_false(symbols_find(symbols, "entry_SYSCALL", &address));
    symbols_set_slide(symbols, 0x4000000);
    assert_true(symbols_describe(symbols, UINT64_C(0xffffffff85000100), name, sizeof(name)));
    assert_string_equal(name, "start+0x0");
    symbols_destroy(symbols);
}

static void slide_follows_from_the_entry_of_system_calls(void **state)
{
    static const char no_entry[] = "ffffffff81000100 T start\n";
    struct symbols *symbols = parse(map, sizeof(map) - 1);
    const uint64_t entry = UINT64_C(0xffffffff81c00000);
    char name[64];
    (void)state;

    assert_false(symbols_follow_lstar(symbols, 0));
    assert_false(symbols_follow_lstar(symbols, entry + 0x1000)); /* another kernel's */
    assert_true(symbols_follow_lstar(symbols, entry + 0x4000000));
    assert_true(symbols_describe(symbols, UINT64_C(0xffffffff85000100), name, sizeof(name)));
    assert_string_equal(name, "start+0x0");
    symbols_destroy(symbols);
    symbols = parse(no_entry, sizeof(no_entry) - 1);
    assert_true(symbols_follow_lstar(symbols, 0));
    assert_true(symbols_describe(symbols, UINT64_C(0xffffffff81000101), name, sizeof(name)));
    assert_string_equal(name, "start+0x1");
    symbols_destroy(symbols);
}

static void others_are_refused(void **state)
{
    struct symbols *symbols = NULL;
    struct reason reason = {0};
    (void)state;

    assert_int_equal(symbols_parse((const uint8_t *)"hello\n", 6, &symbols, &reason), -ENOEXEC);
    assert_non_null(strstr(reason.text, "System.map"));
    assert_int_equal(symbols_parse((const uint8_t *)"", 0, &symbols, &reason), -ENOEXEC);
    assert_int_equal(symbols_parse((const uint8_t *)"\177ELF\2\1", 6, &symbols, &reason), -ENOEXEC);
}

/* ---- ELF ---- */

enum {
    SECTIONS = sizeof(Elf64_Ehdr),
    SYMBOLS = SECTIONS + 3 * sizeof(Elf64_Shdr),
    STRINGS = SYMBOLS + 3 * sizeof(Elf64_Sym),
    FILE_SIZE = STRINGS + 16,
};

static void put_section(uint8_t *file, unsigned index, uint32_t type, uint64_t offset,
                        uint64_t size)
{
    uint8_t *header = file + SECTIONS + index * sizeof(Elf64_Shdr);

    put_le32(header + offsetof(Elf64_Shdr, sh_type), type);
    put_le64(header + offsetof(Elf64_Shdr, sh_offset), offset);
    put_le64(header + offsetof(Elf64_Shdr, sh_size), size);
    put_le32(header + offsetof(Elf64_Shdr, sh_link), 2);
}

static void put_symbol(uint8_t *file, unsigned index, uint32_t name, uint64_t value)
{
    uint8_t *entry = file + SYMBOLS + index * sizeof(Elf64_Sym);

    put_le32(entry + offsetof(Elf64_Sym, st_name), name);
    entry[offsetof(Elf64_Sym, st_info)] = ELF64_ST_INFO(STB_GLOBAL, STT_FUNC);
    put_le16(entry + offsetof(Elf64_Sym, st_shndx), 1);
    put_le64(entry + offsetof(Elf64_Sym, st_value), value);
}

static void make_elf(uint8_t file[FILE_SIZE])
{
    memset(file, 0, FILE_SIZE);
    put_le32(file, 0x464c457f); /* ELFMAG */
    file[EI_CLASS] = ELFCLASS64;
    file[EI_DATA] = ELFDATA2LSB;
    put_le64(file + offsetof(Elf64_Ehdr, e_shoff), SECTIONS);
    put_le16(file + offsetof(Elf64_Ehdr, e_shnum), 3);
    put_le16(file + offsetof(Elf64_Ehdr, e_shentsize), sizeof(Elf64_Shdr));
    put_section(file, 1, SHT_SYMTAB, SYMBOLS, 3 * sizeof(Elf64_Sym));
    put_section(file, 2, SHT_STRTAB, STRINGS, 16);
    memcpy(file + STRINGS, "\0main\0unending_", 16);
    file[STRINGS + 15] = '!';
    put_symbol(file, 1, 1, 0x401000);
    put_symbol(file, 2, 6, 0x402000);
}

static void elf_symbols_are_read(void **state)
{
    uint8_t file[FILE_SIZE];
    char name[64];
    (void)state;

    make_elf(file);
    struct symbols *symbols = parse(file, sizeof(file));
    assert_int_equal(symbols_count(symbols), 2);
    assert_true(symbols_describe(symbols, 0x401010, name, sizeof(name)));
    assert_string_equal(name, "main+0x10");
    /* A name that the table does not end is cut at the table's end. */
    assert_true(symbols_describe(symbols, 0x402000, name, sizeof(name)));
    assert_string_equal(name, "unending_!+0x0");
    symbols_destroy(symbols);
}

static void elf_that_points_outside_is_refused(void **state)
{
    uint8_t file[FILE_SIZE];
    struct symbols *symbols = NULL;
    (void)state;

    make_elf(file);
    put_section(file, 1, SHT_SYMTAB, UINT64_MAX - 8, 3 * sizeof(Elf64_Sym));
    assert_int_equal(symbols_parse(file, sizeof(file), &symbols, NULL), -ENOEXEC);
    make_elf(file);
    put_section(file, 2, SHT_STRTAB, STRINGS, 17);
    assert_int_equal(symbols_parse(file, sizeof(file), &symbols, NULL), -ENOEXEC);
    make_elf(file);
    put_le64(file + offsetof(Elf64_Ehdr, e_shoff), UINT64_MAX);
    assert_int_equal(symbols_parse(file, sizeof(file), &symbols, NULL), -ENOEXEC);
    make_elf(file);
    put_symbol(file, 1, 16, 0x401000);
    put_symbol(file, 2, UINT32_MAX, 0x401000);
    assert_int_equal(symbols_parse(file, sizeof(file), &symbols, NULL), -ENOEXEC);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(map_describes_code),
        cmocka_unit_test(slide_moves_all),
        cmocka_unit_test(slide_follows_from_the_entry_of_system_calls),
        cmocka_unit_test(others_are_refused),
        cmocka_unit_test(elf_symbols_are_read),
        cmocka_unit_test(elf_that_points_outside_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
