/* partita disk info */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/cleanup.h"
#include "cli/disk/tool.h"
#include "cli/size.h"
#include "disk/partition.h"

struct info {
    struct tool tool; /* its first member */
    bool chain;
};

/* All that is told of one image. */
struct facts {
    struct image_info image;
    bool in_use;
    struct partition_table *table; /* NULL: it cannot be read */
    unsigned generation;           /* of the guest on it: 1, 2; 0: none boots from it */
};

static int take_chain(void *command, const char *value)
{
    (void)value;
    ((struct info *)command)->chain = true;
    return 0;
}

const struct cli_option disk_info_options[] = {
    {"chain", 'c', CLI_FLAG, NULL, NULL, "its parents too, up to the base", take_chain},
    {"format", 'f', CLI_WORDS, "FORMAT", "raw vhd vhdx", "raw, vhd or vhdx; else the name tells",
     tool_take_format},
    TOOL_JSON,
    TOOL_HELP,
    {0},
};

static const char usage[] =
    "Usage: partita disk info FILE [OPTION]...\n"
    "Show what an image is; also of one that a running guest has.\n"
    "\n"
    "Examples:\n"
    "  partita disk info data.vhdx\n"
    "  partita disk info top.avhdx --chain --json | jq -r '.chain[].path'\n";

/*
 * Generation 2 boots by UEFI from an EFI system partition of a GPT, generation 1 by BIOS from an
 * MBR, or from a GPT with a BIOS boot partition.
 */
static unsigned guess_generation(const struct partition_table *table)
{
    static const char efi[] = "c12a7328-f81f-11d2-ba4b-00a0c93ec93b";
    static const char bios[] = "21686148-6449-6e6f-744e-656564454649";

    if (table->scheme == PARTITION_MBR)
        return 1;
    for (unsigned i = 0; i < table->count; i++) {
        if (partition_guid_is(&table->partitions[i].type, efi))
            return 2;
    }
    for (unsigned i = 0; i < table->count; i++) {
        if (partition_guid_is(&table->partitions[i].type, bios))
            return 1;
    }
    return 0;
}

/* No partition can be cut off; a GPT has its copy behind the last. */
static uint64_t minimum(const struct partition_table *table, uint64_t otherwise, uint64_t capacity)
{
    enum { GPT_COPY = 33 * 512 };
    uint64_t end = 0;

    if (table == NULL || table->count == 0)
        return otherwise;
    for (unsigned i = 0; i < table->count; i++) {
        uint64_t stop = table->partitions[i].offset + table->partitions[i].length;
        end = stop > end ? stop : end;
    }
    end += table->scheme == PARTITION_GPT ? GPT_COPY : 0;
    return end < capacity ? end : capacity;
}

static int collect(struct disk *disk, struct facts *ret)
{
    int error = image_describe(disk, &ret->image);

    ret->table = calloc(1, sizeof(*ret->table));
    if (ret->table != NULL && partition_read(disk, ret->table, NULL) < 0) {
        free(ret->table);
        ret->table = NULL;
    }
    ret->image.minimum = minimum(ret->table, ret->image.minimum, ret->image.geometry.capacity);
    ret->generation = ret->table != NULL ? guess_generation(ret->table) : 0;
    return error;
}

static unsigned fragmentation(const struct image_info *image)
{
    if (image->blocks_present < 2)
        return 0;
    return (unsigned)((image->runs - 1) * 100 / (image->blocks_present - 1));
}

static const char *scheme_name(const struct partition_table *table)
{
    static const char *const names[] = {
        [PARTITION_NONE] = "none", [PARTITION_MBR] = "mbr", [PARTITION_GPT] = "gpt"};
    return table != NULL ? names[table->scheme] : "unreadable";
}

/* ---- for programs ---- */

static json_t *partitions_json(const struct partition_table *table)
{
    json_t *array = json_array();

    for (unsigned i = 0; table != NULL && i < table->count; i++) {
        const struct partition *partition = &table->partitions[i];
        char type[PARTITION_GUID_TEXT];
        if (table->scheme == PARTITION_GPT)
            partition_guid_text(&partition->type, type);
        else
            (void)snprintf(type, sizeof(type), "%02x", partition->mbr_type);
        (void)json_array_append_new(array, json_pack("{s:i, s:I, s:I, s:s}", "number",
                                                     (int)partition->number, "offset",
                                                     (json_int_t)partition->offset, "length",
                                                     (json_int_t)partition->length, "type", type));
    }
    return array;
}

static json_t *facts_json(const char *path, const struct facts *facts)
{
    const struct image_info *image = &facts->image;
    char id[PARTITION_GUID_TEXT];
    struct partition_guid guid;

    memcpy(guid.bytes, image->geometry.id, sizeof(guid.bytes));
    partition_guid_text(&guid, id);
    json_t *object = json_pack(
        "{s:s, s:s, s:s, s:I, s:I, s:I, s:I, s:i, s:i, s:s, s:b, s:s, s:i, s:o}", "path", path,
        "format", image_format_name(image->format), "kind", tool_kind_name(image->kind), "size",
        (json_int_t)image->geometry.capacity, "file_size", (json_int_t)image->file_size,
        "allocated", (json_int_t)image->allocated, "minimum_size", (json_int_t)image->minimum,
        "logical_sector", (int)image->geometry.logical_sector, "physical_sector",
        (int)image->geometry.physical_sector, "id", id, "in_use", facts->in_use ? 1 : 0,
        "partition_table", scheme_name(facts->table), "generation", (int)facts->generation,
        "partitions", partitions_json(facts->table));
    if (object != NULL && image->block_size != 0)
        (void)json_object_update_new(
            object, json_pack("{s:i, s:I, s:I, s:i, s:b}", "block_size", (int)image->block_size,
                              "blocks", (json_int_t)image->blocks, "blocks_present",
                              (json_int_t)image->blocks_present, "fragmentation_percent",
                              (int)fragmentation(image), "dirty", image->dirty ? 1 : 0));
    if (object != NULL && image->creator[0] != '\0')
        (void)json_object_set_new(object, "creator", json_string(image->creator));
    if (object != NULL && image->kind == IMAGE_DIFFERENCING)
        (void)json_object_update_new(object, json_pack("{s:s, s:b}", "parent", image->parent,
                                                       "parent_found", image->parent_found));
    return object;
}

/* ---- for people ---- */

static void print_partitions(const struct facts *facts)
{
    const struct partition_table *table = facts->table;

    (void)printf("%-18s%s\n", "Partitions:", scheme_name(table));
    for (unsigned i = 0; table != NULL && i < table->count; i++) {
        const struct partition *partition = &table->partitions[i];
        (void)printf("  %-16u%s at %s\n", partition->number, size_text(partition->length).text,
                     size_text(partition->offset).text);
    }
    if (facts->generation != 0)
        (void)printf("%-18s%u (%s)\n", "Guest generation:", facts->generation,
                     facts->generation == 2 ? "UEFI" : "BIOS");
}

static void print_blocks(const struct image_info *image)
{
    tool_print_size("Block size:", image->block_size);
    (void)printf("%-18s%" PRIu64 " of %" PRIu64 "\n", "Blocks:", image->blocks_present,
                 image->blocks);
    (void)printf("%-18s%u%%\n", "Fragmentation:", fragmentation(image));
}

static void print_facts(const char *path, const struct facts *facts)
{
    const struct image_info *image = &facts->image;

    (void)printf("%-18s%s\n", "File:", path);
    (void)printf("%-18s%s, %s\n", "Format:", image_format_name(image->format),
                 tool_kind_name(image->kind));
    tool_print_size("Size:", image->geometry.capacity);
    tool_print_size("File size:", image->file_size);
    tool_print_size("On the host:", image->allocated);
    tool_print_size("Minimum size:", image->minimum);
    (void)printf("%-18s%u logical, %u physical\n", "Sectors:", image->geometry.logical_sector,
                 image->geometry.physical_sector);
    if (image->block_size != 0)
        print_blocks(image);
    if (image->kind == IMAGE_DIFFERENCING)
        (void)printf("%-18s%s%s\n", "Parent:", image->parent,
                     image->parent_found ? "" : " (not found, or changed since)");
    if (image->creator[0] != '\0')
        (void)printf("%-18s%s\n", "Made by:", image->creator);
    if (facts->in_use)
        (void)printf("%-18sby a running process\n", "In use:");
    else if (image->dirty)
        (void)printf("%-18swas not closed; opening for writing mends that\n", "State:");
    print_partitions(facts);
}

/* ---- the chain ---- */

static int show_one(const struct info *info, struct disk *disk, bool in_use, json_t *chain)
{
    struct facts facts = {.in_use = in_use};
    const char *path = image_path(disk);
    int error = collect(disk, &facts);
    auto_free struct partition_table *table = facts.table;

    (void)table; /* freed here */
    if (error < 0)
        return tool_fail(&info->tool, error, NULL);
    if (chain == NULL) {
        print_facts(path, &facts);
        return 0;
    }
    return json_array_append_new(chain, facts_json(path, &facts)) == 0
               ? 0
               : tool_fail(&info->tool, -ENOMEM, NULL);
}

static int print_chain(const struct info *info, json_t *chain)
{
    json_t *top = json_array_get(chain, 0);
    json_t *all = json_incref(top);

    if (info->chain) {
        json_decref(all);
        all = json_copy(top);
        if (json_object_set(all, "chain", chain) < 0)
            return tool_fail(&info->tool, -ENOMEM, NULL);
    }
    return tool_print_json(&info->tool, all);
}

/* One whose parent is not there, or not what it was, is shown without it. */
static int open_any(const struct tool *tool, struct disk **ret, bool *ret_in_use)
{
    const char *path = tool->words[0];
    unsigned flags = tool_flags(tool, DISK_WITHOUT_PARENT | DISK_NO_LOCK);

    *ret_in_use = false;
    if (disk_open(path, flags, ret, NULL) == 0) {
        struct image_info image;
        struct disk *whole = NULL;
        bool broken = image_describe(*ret, &image) == 0 && image.kind == IMAGE_DIFFERENCING &&
                      disk_open(path, tool_flags(tool, DISK_NO_LOCK), &whole, NULL) < 0;
        (void)disk_close(whole);
        if (broken)
            return 0;
        (void)disk_close(*ret);
    }
    return tool_open_shared(tool, path, ret, ret_in_use);
}

int disk_info_main(int argc, char **argv)
{
    struct info info = {.tool = {.most_words = 1}};
    struct disk *top = NULL;
    bool in_use = false;
    int code = tool_parse(&info.tool, disk_info_options, 1, usage, argc, argv);

    if (code == 0)
        code = open_any(&info.tool, &top, &in_use);
    if (code != 0)
        return code < 0 ? 0 : code;
    json_t *chain = info.tool.json ? json_array() : NULL;
    for (struct disk *disk = top; code == 0 && disk != NULL; disk = image_parent(disk)) {
        if (disk != top && chain == NULL)
            (void)putchar('\n');
        code = show_one(&info, disk, in_use && disk == top, chain);
        if (!info.chain)
            break;
    }
    if (code == 0 && chain != NULL)
        code = print_chain(&info, chain);
    json_decref(chain);
    return tool_close(&info.tool, info.tool.words[0], top, code);
}
