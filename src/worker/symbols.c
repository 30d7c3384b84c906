/* Sources: nm(1), BSD format, which System.map has; ELF-64 Object File Format, ch. 3 and 4. */
#include "worker/symbols.h"

#include <elf.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"

struct symbol {
    uint64_t address;
    const char *name; /* not terminated */
    uint32_t name_length;
};

struct symbols {
    struct symbol *table; /* by address */
    size_t count, room;
    uint64_t slide;
    uint64_t entry; /* of system calls, if there is one */
    bool entry_sought, has_entry;
};

enum { NEAR = 16 * 1024 * 1024 };

static int add(struct symbols *symbols, const struct symbol *symbol)
{
    if (symbols->count == symbols->room) {
        size_t room = symbols->room == 0 ? 1024 : symbols->room * 2;
        struct symbol *table = reallocarray(symbols->table, room, sizeof(*table));
        if (table == NULL)
            return -ENOMEM;
        symbols->table = table;
        symbols->room = room;
    }
    symbols->table[symbols->count++] = *symbol;
    return 0;
}

static int hex_digit(uint8_t c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return -1;
}

/* "ffffffff81000000 T _stext" and, for a module's symbol, a tab and more. */
static bool parse_map_line(const uint8_t *line, size_t length, struct symbol *ret)
{
    uint64_t address = 0;
    size_t i = 0;

    for (; i < length && i < 16 && hex_digit(line[i]) >= 0; i++)
        address = address << 4 | (uint64_t)hex_digit(line[i]);
    if (i == 0 || length - i < 4 || line[i] != ' ' || line[i + 2] != ' ')
        return false;
    if (strchr("tTwW", line[i + 1]) == NULL || line[i + 1] == '\0')
        return false; /* only code is described */
    const char *name = (const char *)line + i + 3;
    size_t name_length = length - i - 3;
    const char *tab = memchr(name, '\t', name_length);
    if (tab != NULL)
        name_length = (size_t)(tab - name);
    *ret = (struct symbol){
        .address = address,
        .name = name,
        .name_length = name_length < 256 ? (uint32_t)name_length : 256,
    };
    return name_length > 0;
}

static int parse_map(struct symbols *symbols, const uint8_t *bytes, size_t length)
{
    while (length > 0) {
        const uint8_t *end = memchr(bytes, '\n', length);
        size_t line = end == NULL ? length : (size_t)(end - bytes);
        struct symbol symbol;
        if (parse_map_line(bytes, line, &symbol)) {
            int error = add(symbols, &symbol);
            if (error < 0)
                return error;
        }
        size_t whole = end == NULL ? line : line + 1;
        bytes += whole;
        length -= whole;
    }
    return 0;
}

/* ---- ELF ---- */

struct elf_section {
    uint32_t type, link;
    const uint8_t *bytes;
    uint64_t length;
};

/* False when the section, or its place in the header table, is not inside the file. */
static bool read_section(const uint8_t *bytes, size_t length, uint32_t index,
                         struct elf_section *ret)
{
    uint64_t table = get_le64(bytes + offsetof(Elf64_Ehdr, e_shoff));
    uint16_t count = get_le16(bytes + offsetof(Elf64_Ehdr, e_shnum));
    uint64_t offset = (uint64_t)index * sizeof(Elf64_Shdr);

    if (index >= count || get_le16(bytes + offsetof(Elf64_Ehdr, e_shentsize)) != sizeof(Elf64_Shdr))
        return false;
    if (table > length || offset + sizeof(Elf64_Shdr) > length - table)
        return false;
    const uint8_t *header = bytes + table + offset;
    uint64_t start = get_le64(header + offsetof(Elf64_Shdr, sh_offset));
    uint64_t size = get_le64(header + offsetof(Elf64_Shdr, sh_size));
    if (start > length || size > length - start)
        return false;
    *ret = (struct elf_section){
        .type = get_le32(header + offsetof(Elf64_Shdr, sh_type)),
        .link = get_le32(header + offsetof(Elf64_Shdr, sh_link)),
        .bytes = bytes + start,
        .length = size,
    };
    return true;
}

static bool read_elf_symbol(const uint8_t *entry, const struct elf_section *strings,
                            struct symbol *ret)
{
    uint32_t name = get_le32(entry + offsetof(Elf64_Sym, st_name));
    uint8_t type = ELF64_ST_TYPE(entry[offsetof(Elf64_Sym, st_info)]);
    uint16_t section = get_le16(entry + offsetof(Elf64_Sym, st_shndx));

    if ((type != STT_FUNC && type != STT_NOTYPE) || section == SHN_UNDEF || section == SHN_ABS)
        return false;
    if (name >= strings->length)
        return false;
    const char *text = (const char *)strings->bytes + name;
    uint64_t left = strings->length - name;
    size_t length = strnlen(text, left < 256 ? (size_t)left : 256);
    *ret = (struct symbol){
        .address = get_le64(entry + offsetof(Elf64_Sym, st_value)),
        .name = text,
        .name_length = (uint32_t)length,
    };
    return length > 0;
}

static int parse_symbol_table(struct symbols *symbols, const struct elf_section *table,
                              const struct elf_section *strings)
{
    for (uint64_t at = 0; table->length - at >= sizeof(Elf64_Sym); at += sizeof(Elf64_Sym)) {
        struct symbol symbol;
        if (!read_elf_symbol(table->bytes + at, strings, &symbol))
            continue;
        int error = add(symbols, &symbol);
        if (error < 0)
            return error;
    }
    return 0;
}

static int parse_elf(struct symbols *symbols, const uint8_t *bytes, size_t length)
{
    if (length < sizeof(Elf64_Ehdr) || bytes[EI_CLASS] != ELFCLASS64 ||
        bytes[EI_DATA] != ELFDATA2LSB)
        return 0;
    uint16_t count = get_le16(bytes + offsetof(Elf64_Ehdr, e_shnum));
    for (uint32_t i = 0; i < count; i++) {
        struct elf_section table;
        struct elf_section strings;
        if (!read_section(bytes, length, i, &table) || table.type != SHT_SYMTAB)
            continue;
        if (!read_section(bytes, length, table.link, &strings) || strings.type != SHT_STRTAB)
            continue;
        return parse_symbol_table(symbols, &table, &strings);
    }
    return 0;
}

/* ---- both ---- */

static int by_address(const void *left, const void *right)
{
    const struct symbol *a = left;
    const struct symbol *b = right;
    return (a->address > b->address) - (a->address < b->address);
}

int symbols_parse(const uint8_t *bytes, size_t length, struct symbols **ret, struct reason *reason)
{
    struct symbols *symbols = calloc(1, sizeof(*symbols));
    if (symbols == NULL)
        return reason_set(reason, -ENOMEM, "out of memory");

    bool elf = length >= SELFMAG && memcmp(bytes, ELFMAG, SELFMAG) == 0;
    int error = elf ? parse_elf(symbols, bytes, length) : parse_map(symbols, bytes, length);
    if (error == 0 && symbols->count == 0)
        error = reason_set(reason, -ENOEXEC,
                           "no symbols: neither a System.map nor an unstripped "
                           "64-bit ELF file");
    else if (error < 0)
        (void)reason_set(reason, error, "out of memory");
    if (error < 0) {
        symbols_destroy(symbols);
        return error;
    }
    qsort(symbols->table, symbols->count, sizeof(symbols->table[0]), by_address);
    *ret = symbols;
    return 0;
}

void symbols_destroy(struct symbols *symbols)
{
    if (symbols == NULL)
        return;
    free(symbols->table);
    free(symbols);
}

size_t symbols_count(const struct symbols *symbols)
{
    return symbols->count;
}

bool symbols_find(const struct symbols *symbols, const char *name, uint64_t *ret_address)
{
    size_t length = strlen(name);

    for (size_t i = 0; i < symbols->count; i++) {
        const struct symbol *symbol = &symbols->table[i];
        if (symbol->name_length == length && memcmp(symbol->name, name, length) == 0) {
            *ret_address = symbol->address;
            return true;
        }
    }
    return false;
}

void symbols_set_slide(struct symbols *symbols, uint64_t slide)
{
    symbols->slide = slide;
}

/* Linux with KASLR moves its code by a multiple of 2 MiB. */
bool symbols_follow_lstar(struct symbols *symbols, uint64_t lstar)
{
    enum { ALIGNMENT = 2 * 1024 * 1024 };

    if (!symbols->entry_sought)
        symbols->has_entry = symbols_find(symbols, "entry_SYSCALL_64", &symbols->entry);
    symbols->entry_sought = true;
    if (!symbols->has_entry)
        return true;
    if (lstar == 0 || (lstar - symbols->entry) % ALIGNMENT != 0)
        return false;
    symbols->slide = lstar - symbols->entry;
    return true;
}

bool symbols_describe(const struct symbols *symbols, uint64_t address, char *ret, size_t size)
{
    size_t low = 0;
    size_t high = symbols->count;

    address -= symbols->slide;
    while (low < high) { /* the first symbol above the address */
        size_t middle = low + (high - low) / 2;
        if (symbols->table[middle].address <= address)
            low = middle + 1;
        else
            high = middle;
    }
    if (low == 0 || address - symbols->table[low - 1].address > NEAR)
        return false;
    const struct symbol *symbol = &symbols->table[low - 1];
    (void)snprintf(ret, size, "%.*s+0x%llx", (int)symbol->name_length, symbol->name,
                   (unsigned long long)(address - symbol->address));
    return true;
}
