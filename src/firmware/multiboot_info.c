#include "firmware/multiboot_info.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/bytes.h"
#include "base/cleanup.h"
#include "firmware/area.h"
#include "firmware/memory_map.h"

/* Boot information, § 3.3. */
enum {
    INFO_FLAGS = 0,
    INFO_MEM_LOWER = 4,
    INFO_MEM_UPPER = 8,
    INFO_COMMAND_LINE = 16,
    INFO_MODULE_COUNT = 20,
    INFO_MODULES = 24,
    INFO_MAP_LENGTH = 44,
    INFO_MAP = 48,
    INFO_LOADER_NAME = 64,
    INFO_SIZE = 120,
    MODULE_SIZE = 16,
    MAP_ENTRY_SIZE = 24, /* its size field counts the 20 bytes that follow it */
    HAS_MEMORY = 1 << 0,
    HAS_COMMAND_LINE = 1 << 2,
    HAS_MODULES = 1 << 3,
    HAS_MAP = 1 << 6,
    HAS_LOADER_NAME = 1 << 9,
};

static const char loader_name[] = "Partita";

struct loaded_module {
    const struct boot_file *file;
    const char *arguments; /* NULL: none */
    uint64_t gpa;
};

/* Where the parts of the one block lie, from its start. */
struct block {
    uint8_t *bytes;
    uint64_t gpa;
    size_t map_at;
    size_t modules_at;
    size_t strings_at;
    size_t size;
    size_t used; /* of the strings, from the block's start */
};

struct module_list {
    size_t count;
    struct loaded_module module[BOOT_MAX_MODULES + 1];
};

static void list_modules(const struct boot_config *config, struct module_list *ret)
{
    ret->count = 0;
    if (config->initrd.bytes != NULL)
        ret->module[ret->count++] = (struct loaded_module){.file = &config->initrd};
    for (size_t i = 0; i < config->module_count; i++)
        ret->module[ret->count++] = (struct loaded_module){
            .file = &config->modules[i].file,
            .arguments = config->modules[i].command_line,
        };
}

/* An empty module still needs an address of its own. */
static int load_modules(struct loading *loading, struct module_list *list)
{
    int r = 0;
    for (size_t i = 0; r == 0 && i < list->count; i++) {
        struct loaded_module *module = &list->module[i];
        size_t length = module->file->length;
        r = loading_find(loading, length > 0 ? length : 1, AREA_4_GIB, module->file->name,
                         &module->gpa);
        if (r == 0)
            r = mem_write(loading->mem, module->gpa, module->file->bytes, length);
    }
    return r;
}

/* Bytes of "name arguments" with its final zero. */
static size_t string_size(const char *name, const char *arguments)
{
    size_t size = strlen(name) + 1;
    return arguments != NULL && arguments[0] != '\0' ? size + 1 + strlen(arguments) : size;
}

/* Kernels drop the first word of every command line, because loaders put the file's name there. */
static uint32_t put_string(struct block *block, const char *name, const char *arguments)
{
    size_t size = string_size(name, arguments);
    uint64_t gpa = block->gpa + block->used;
    char *at = (char *)block->bytes + block->used;
    size_t name_length = strlen(name);
    memcpy(at, name, name_length);
    if (name_length + 1 < size) {
        at[name_length] = ' ';
        memcpy(at + name_length + 1, arguments, size - name_length - 2);
    }
    at[size - 1] = '\0';
    block->used += size;
    return (uint32_t)gpa;
}

static void plan_block(const struct loading *loading, const struct module_list *list,
                       struct block *ret)
{
    *ret = (struct block){.map_at = INFO_SIZE};
    ret->modules_at = ret->map_at + (size_t)MEMORY_MAP_MAX * MAP_ENTRY_SIZE;
    ret->strings_at = ret->modules_at + list->count * MODULE_SIZE;
    ret->used = ret->strings_at;
    ret->size = ret->strings_at + sizeof(loader_name) +
                string_size(loading->config->kernel.name, loading->config->command_line);
    for (size_t i = 0; i < list->count; i++)
        ret->size += string_size(list->module[i].file->name, list->module[i].arguments);
}

static void fill_modules(struct block *block, const struct module_list *list)
{
    put_le32(block->bytes + INFO_MODULE_COUNT, (uint32_t)list->count);
    put_le32(block->bytes + INFO_MODULES, (uint32_t)(block->gpa + block->modules_at));
    for (size_t i = 0; i < list->count; i++) {
        const struct loaded_module *module = &list->module[i];
        uint8_t *entry = block->bytes + block->modules_at + i * MODULE_SIZE;
        put_le32(entry, (uint32_t)module->gpa);
        put_le32(entry + 4, (uint32_t)(module->gpa + module->file->length));
        put_le32(entry + 8, put_string(block, module->file->name, module->arguments));
    }
}

/* mem_upper ends at the first hole: § 3.3. */
static void fill_memory(struct block *block, const struct mem *mem)
{
    struct mem_range low = mem_range_at(mem, 0);
    struct memory_map map;
    memory_map_make(mem, &map);
    put_le32(block->bytes + INFO_MEM_LOWER, (uint32_t)(AREA_LOW_TOP >> 10));
    put_le32(block->bytes + INFO_MEM_UPPER, (uint32_t)((low.size - AREA_HIGH) >> 10));
    put_le32(block->bytes + INFO_MAP_LENGTH, (uint32_t)(map.count * MAP_ENTRY_SIZE));
    put_le32(block->bytes + INFO_MAP, (uint32_t)(block->gpa + block->map_at));
    for (size_t i = 0; i < map.count; i++) {
        uint8_t *entry = block->bytes + block->map_at + i * MAP_ENTRY_SIZE;
        put_le32(entry, MAP_ENTRY_SIZE - 4);
        put_le64(entry + 4, map.entry[i].gpa);
        put_le64(entry + 12, map.entry[i].size);
        put_le32(entry + 20, map.entry[i].type);
    }
}

static void fill_block(const struct loading *loading, const struct module_list *list,
                       struct block *block)
{
    const struct boot_config *config = loading->config;
    uint8_t *info = block->bytes;
    put_le32(info + INFO_FLAGS,
             HAS_MEMORY | HAS_COMMAND_LINE | HAS_MODULES | HAS_MAP | HAS_LOADER_NAME);
    fill_memory(block, loading->mem);
    put_le32(info + INFO_COMMAND_LINE,
             put_string(block, config->kernel.name, config->command_line));
    put_le32(info + INFO_LOADER_NAME, put_string(block, loader_name, NULL));
    fill_modules(block, list);
}

int multiboot_info_load(struct loading *loading, uint64_t *ret_gpa)
{
    struct module_list list;
    struct block block;
    if (loading->config->module_count > BOOT_MAX_MODULES)
        return loading_refuse(loading, -E2BIG, "more than %d modules", BOOT_MAX_MODULES);
    list_modules(loading->config, &list);
    int r = load_modules(loading, &list);
    if (r < 0)
        return r;
    plan_block(loading, &list, &block);
    auto_free uint8_t *bytes = calloc(1, block.size);
    if (bytes == NULL)
        return loading_refuse(loading, -ENOMEM, "no memory for %zu bytes of command lines",
                              block.size);
    block.bytes = bytes;
    r = loading_find_low(loading, block.size, "the boot information", &block.gpa);
    if (r < 0)
        return r;
    fill_block(loading, &list, &block);
    *ret_gpa = block.gpa;
    return mem_write(loading->mem, block.gpa, block.bytes, block.size);
}
