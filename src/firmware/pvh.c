/*
 * The PVH entry: 32-bit, paging off, EBX = struct hvm_start_info.
 * Xen docs/misc/pvh.pandoc and public/arch-x86/hvm/start_info.h (version 1).
 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "base/bytes.h"
#include "firmware/area.h"
#include "firmware/elf_image.h"
#include "firmware/memory_map.h"

#define START_INFO_MAGIC UINT32_C(0x336ec578)

enum {
    START_INFO_VERSION = 4,
    START_INFO_MODULE_COUNT = 12,
    START_INFO_MODULES = 16,
    START_INFO_COMMAND_LINE = 24,
    START_INFO_RSDP = 32,
    START_INFO_MEMORY_MAP = 40,
    START_INFO_MEMORY_MAP_COUNT = 48,
    START_INFO_SIZE = 56,
    MODULE_SIZE = 32,
    MAP_ENTRY_SIZE = 24,
    MODULE_AT = START_INFO_SIZE,
    MAP_AT = MODULE_AT + MODULE_SIZE,
    BLOCK_SIZE = MAP_AT + MEMORY_MAP_MAX * MAP_ENTRY_SIZE,
};

static int load_initrd(struct loading *loading, uint64_t *ret_gpa)
{
    const struct boot_file *initrd = &loading->config->initrd;
    if (initrd->bytes == NULL || initrd->length == 0)
        return 0;
    int r = loading_find(loading, initrd->length, AREA_4_GIB, "the initrd", ret_gpa);
    return r < 0 ? r : mem_write(loading->mem, *ret_gpa, initrd->bytes, initrd->length);
}

static void put_memory_map(const struct mem *mem, uint8_t *block, uint64_t block_gpa)
{
    struct memory_map map;
    memory_map_make(mem, &map);
    put_le64(block + START_INFO_MEMORY_MAP, block_gpa + MAP_AT);
    put_le32(block + START_INFO_MEMORY_MAP_COUNT, (uint32_t)map.count);
    for (size_t i = 0; i < map.count; i++) {
        uint8_t *entry = block + MAP_AT + i * MAP_ENTRY_SIZE;
        put_le64(entry, map.entry[i].gpa);
        put_le64(entry + 8, map.entry[i].size);
        put_le32(entry + 16, map.entry[i].type);
    }
}

static void put_module(uint8_t *block, uint64_t block_gpa, uint64_t gpa, uint64_t length)
{
    if (gpa == 0)
        return;
    put_le32(block + START_INFO_MODULE_COUNT, 1);
    put_le64(block + START_INFO_MODULES, block_gpa + MODULE_AT);
    put_le64(block + MODULE_AT, gpa);
    put_le64(block + MODULE_AT + 8, length);
}

static int put_start_info(struct loading *loading, uint64_t initrd_gpa, uint64_t command_line_gpa,
                          uint64_t *ret_gpa)
{
    uint8_t block[BLOCK_SIZE] = {0};
    int r = loading_find_low(loading, sizeof(block), "the start info", ret_gpa);
    if (r < 0)
        return r;
    put_le32(block, START_INFO_MAGIC);
    put_le32(block + START_INFO_VERSION, 1);
    put_le64(block + START_INFO_COMMAND_LINE, command_line_gpa);
    put_le64(block + START_INFO_RSDP, loading->config->rsdp_gpa);
    put_module(block, *ret_gpa, initrd_gpa, loading->config->initrd.length);
    put_memory_map(loading->mem, block, *ret_gpa);
    return mem_write(loading->mem, *ret_gpa, block, sizeof(block));
}

int pvh_start(struct loading *loading, const struct elf_image *image, struct boot_state *ret)
{
    struct boot_state state = {.mode = BOOT_MODE_PROTECTED_32, .rip = image->pvh_entry};
    const char *command_line = loading_command_line(loading);
    uint64_t initrd_gpa = 0;
    uint64_t command_line_gpa = 0;
    if (!elf_covers(image, image->pvh_entry))
        return loading_refuse(loading, -ENOEXEC, "PVH entry 0x%" PRIx32 " lies in no ELF segment",
                              image->pvh_entry);
    int r = load_initrd(loading, &initrd_gpa);
    if (r == 0)
        r = loading_put(loading, command_line, strlen(command_line) + 1, "the command line",
                        &command_line_gpa);
    if (r == 0)
        r = put_start_info(loading, initrd_gpa, command_line_gpa, &state.rbx);
    if (r == 0)
        r = entry_prepare(loading, &state);
    if (r == 0)
        *ret = state;
    return r;
}
