#include "firmware/linux_params.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "base/bytes.h"
#include "firmware/area.h"
#include "firmware/memory_map.h"

/* boot_params outside the setup header: Linux Documentation/x86/zero-page.rst. */
enum {
    PARAMS_SIZE = 4096,
    PARAMS_ACPI_RSDP = 0x070,
    PARAMS_EXT_RAMDISK_IMAGE = 0x0c0,
    PARAMS_EXT_RAMDISK_SIZE = 0x0c4,
    PARAMS_EXT_CMD_LINE = 0x0c8,
    PARAMS_E820_ENTRIES = 0x1e8,
    PARAMS_E820_TABLE = 0x2d0,
    E820_ENTRY_SIZE = 20,
    STACK_SIZE = 4096,
};

static int check_command_line(const struct loading *loading, uint64_t maximum)
{
    size_t length = strlen(loading_command_line(loading));
    if (length <= maximum)
        return 0;
    return loading_refuse(loading, -E2BIG,
                          "command line of %zu bytes; this kernel takes at most %" PRIu64, length,
                          maximum);
}

static int load_initrd(struct loading *loading, const struct linux_start *start, uint64_t *ret_gpa)
{
    const struct boot_file *initrd = &loading->config->initrd;
    if (initrd->bytes == NULL || initrd->length == 0)
        return 0;
    uint64_t limit = start->initrd_last < AREA_4_GIB ? start->initrd_last + 1 : AREA_4_GIB;
    int r = placement_find(&loading->placement, initrd->length, MEM_PAGE_SIZE, limit, ret_gpa);
    if (r < 0 && start->initrd_above_4_gib)
        limit = mem_end(loading->mem);
    if (r < 0)
        r = loading_find(loading, initrd->length, limit, "the initrd", ret_gpa);
    return r < 0 ? r : mem_write(loading->mem, *ret_gpa, initrd->bytes, initrd->length);
}

static void put_split(uint8_t *params, size_t low, size_t high, uint64_t value)
{
    put_le32(params + low, (uint32_t)value);
    put_le32(params + high, (uint32_t)(value >> 32));
}

static void put_e820(const struct mem *mem, uint8_t *params)
{
    struct memory_map map;
    memory_map_make(mem, &map);
    params[PARAMS_E820_ENTRIES] = (uint8_t)map.count;
    for (size_t i = 0; i < map.count; i++) {
        uint8_t *entry = params + PARAMS_E820_TABLE + i * E820_ENTRY_SIZE;
        put_le64(entry, map.entry[i].gpa);
        put_le64(entry + 8, map.entry[i].size);
        put_le32(entry + 16, map.entry[i].type);
    }
}

/* A kernel without a setup header is told what its own would have said. */
static void put_header(const struct linux_start *start, uint8_t *params)
{
    if (start->header != NULL) {
        memcpy(params + LINUX_SETUP_SECTS, start->header, start->header_length);
        return;
    }
    put_le16(params + LINUX_BOOT_FLAG, LINUX_BOOT_FLAG_VALUE);
    put_le32(params + LINUX_HEADER_MAGIC, LINUX_MAGIC_VALUE);
    put_le16(params + LINUX_VERSION, 0x20c);
    params[LINUX_LOADFLAGS] = LINUX_LOADED_HIGH;
    put_le16(params + LINUX_XLOADFLAGS, LINUX_XLF_KERNEL_64);
}

/*
 * screen_info stays zero, which tells Linux that there is no text screen; hdr fields that a loader
 * must fill in are those marked "write" or "modify" in boot.rst.
 */
static void fill_params(const struct loading *loading, const struct linux_start *start,
                        uint64_t initrd_gpa, uint64_t command_line_gpa, uint8_t *params)
{
    const struct boot_config *config = loading->config;
    put_header(start, params);
    put_le16(params + LINUX_VID_MODE, LINUX_VID_MODE_NORMAL);
    params[LINUX_TYPE_OF_LOADER] = LINUX_LOADER_UNDEFINED;
    params[LINUX_LOADFLAGS] &= (uint8_t) ~(LINUX_KEEP_SEGMENTS | LINUX_CAN_USE_HEAP);
    put_le32(params + LINUX_CODE32_START, (uint32_t)start->load_gpa);
    put_split(params, LINUX_CMD_LINE_PTR, PARAMS_EXT_CMD_LINE, command_line_gpa);
    put_split(params, LINUX_RAMDISK_IMAGE, PARAMS_EXT_RAMDISK_IMAGE, initrd_gpa);
    put_split(params, LINUX_RAMDISK_SIZE, PARAMS_EXT_RAMDISK_SIZE,
              initrd_gpa != 0 ? config->initrd.length : 0);
    put_le64(params + PARAMS_ACPI_RSDP, config->rsdp_gpa);
    put_e820(loading->mem, params);
}

int linux_params_load(struct loading *loading, const struct linux_start *start,
                      struct boot_state *ret)
{
    struct boot_state state = {.mode = start->mode, .rip = start->entry};
    const char *command_line = loading_command_line(loading);
    uint64_t initrd_gpa = 0;
    uint64_t command_line_gpa = 0;
    uint64_t stack_gpa = 0;
    int r = check_command_line(loading, start->command_line_max);
    if (r == 0)
        r = load_initrd(loading, start, &initrd_gpa);
    if (r == 0)
        r = loading_put(loading, command_line, strlen(command_line) + 1, "the command line",
                        &command_line_gpa);
    if (r == 0)
        r = loading_find_low(loading, STACK_SIZE, "a stack", &stack_gpa);
    if (r == 0)
        r = entry_prepare(loading, &state);
    if (r < 0)
        return r;
    uint8_t params[PARAMS_SIZE] = {0};
    fill_params(loading, start, initrd_gpa, command_line_gpa, params);
    r = loading_put(loading, params, sizeof(params), "the boot parameters", &state.rsi);
    if (r < 0)
        return r;
    state.rsp = stack_gpa + STACK_SIZE;
    *ret = state;
    return 0;
}
