/* partita disk map and diff: where data is, and where two disks differ. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/disk/tool.h"

/* ---- map ---- */

const struct cli_option disk_map_options[] = {
    {"format", 'f', CLI_WORDS, "FORMAT", "raw vhd vhdx", "raw, vhd or vhdx; else the name tells",
     tool_take_format},
    TOOL_JSON,
    TOOL_HELP,
    {0},
};

static const char map_usage[] =
    "Usage: partita disk map FILE [OPTION]...\n"
    "List the stretches of a disk: data or zeroes, which image of the chain has them (0 is FILE,\n"
    "1 its parent), and where in that image's file they lie.\n"
    "\n"
    "Examples:\n"
    "  partita disk map top.avhdx\n"
    "  partita disk map data.vhdx --json | jq '[.[] | select(.data) | .length] | add'\n";

static json_t *extent_json(const struct image_extent *extent)
{
    json_t *object = json_pack("{s:I, s:I, s:i, s:b, s:b}", "start", (json_int_t)extent->offset,
                               "length", (json_int_t)extent->length, "layer", (int)extent->layer,
                               "data", extent->data, "present", !extent->absent);

    if (object != NULL && extent->data)
        (void)json_object_set_new(object, "offset", json_integer((json_int_t)extent->file_offset));
    return object;
}

static void print_extent(const struct image_extent *extent)
{
    (void)printf("%16" PRIu64 " %16" PRIu64 " %6u  ", extent->offset, extent->length,
                 extent->layer);
    if (extent->data)
        (void)printf("data at %" PRIu64 "\n", extent->file_offset);
    else
        (void)puts(extent->absent ? "nothing" : "zeroes");
}

static int map_disk(const struct tool *tool, struct disk *disk)
{
    json_t *array = tool->json ? json_array() : NULL;
    uint64_t capacity = disk_geometry(disk)->capacity;
    struct image_extent extent;

    if (array == NULL)
        (void)printf("%16s %16s %6s  %s\n", "START", "LENGTH", "LAYER", "CONTENT");
    for (uint64_t offset = 0; offset < capacity; offset += extent.length) {
        int error = image_map(disk, offset, &extent);
        if (error < 0) {
            json_decref(array);
            return tool_fail(tool, error, NULL);
        }
        if (array == NULL)
            print_extent(&extent);
        else
            (void)json_array_append_new(array, extent_json(&extent));
    }
    return array != NULL ? tool_print_json(tool, array) : 0;
}

int disk_map_main(int argc, char **argv)
{
    struct tool tool = {.most_words = 1};
    struct disk *disk = NULL;
    bool in_use = false;
    int code = tool_parse(&tool, disk_map_options, 1, map_usage, argc, argv);

    if (code == 0)
        code = tool_open_shared(&tool, tool.words[0], &disk, &in_use);
    if (code != 0)
        return code < 0 ? 0 : code;
    return tool_close(&tool, tool.words[0], disk, map_disk(&tool, disk));
}

/* ---- diff ---- */

const struct cli_option disk_diff_options[] = {
    TOOL_JSON,
    TOOL_QUIET,
    TOOL_HELP,
    {0},
};

static const char diff_usage[] =
    "Usage: partita disk diff FILE FILE [OPTION]...\n"
    "Compare what two disks hold, whatever their formats. A longer one may end with zeroes.\n"
    "\n"
    "Exit codes: 0 the same, 1 they differ, 2 usage, 3 one cannot be read.\n"
    "\n"
    "Examples:\n"
    "  partita disk diff before.vhdx after.vhdx\n"
    "  partita disk diff image.raw image.vhdx --quiet && echo same\n";

enum { PIECE = 1 << 20, GRAIN = 4096 };

struct diff {
    const struct tool *tool;
    struct disk *disks[2];
    uint8_t *bytes[2];
    json_t *array;
    uint64_t start, end; /* the stretch that was found last */
    uint64_t total, stretches;
};

static void tell(struct diff *diff)
{
    if (diff->end == diff->start)
        return;
    diff->total += diff->end - diff->start;
    diff->stretches++;
    if (diff->array != NULL)
        (void)json_array_append_new(diff->array,
                                    json_pack("{s:I, s:I}", "start", (json_int_t)diff->start,
                                              "length", (json_int_t)(diff->end - diff->start)));
    else if (!diff->tool->quiet)
        (void)printf("%16" PRIu64 " %16" PRIu64 "\n", diff->start, diff->end - diff->start);
}

static void differs(struct diff *diff, uint64_t offset, uint64_t length)
{
    if (diff->end != offset) {
        tell(diff);
        diff->start = offset;
    }
    diff->end = offset + length;
}

/* Behind a disk's end there are zeroes. */
static int read_piece(struct disk *disk, uint8_t *bytes, size_t length, uint64_t offset)
{
    uint64_t capacity = disk_geometry(disk)->capacity;
    size_t there = offset >= capacity           ? 0
                   : length < capacity - offset ? length
                                                : (size_t)(capacity - offset);

    memset(bytes + there, 0, length - there);
    return there != 0 ? disk_read(disk, bytes, there, offset) : 0;
}

/* How far both read as zeroes from here on. */
static int both_empty(const struct diff *diff, uint64_t offset, uint64_t *ret_end)
{
    *ret_end = UINT64_MAX;
    for (unsigned i = 0; i < 2; i++) {
        uint64_t end = 0;
        bool data = false;
        if (offset >= disk_geometry(diff->disks[i])->capacity)
            continue;
        int error = disk_extent(diff->disks[i], offset, &end, &data);
        if (error < 0)
            return error;
        if (data)
            end = offset;
        *ret_end = end < *ret_end ? end : *ret_end;
    }
    return 0;
}

static int compare_piece(struct diff *diff, uint64_t offset, size_t length)
{
    int error = read_piece(diff->disks[0], diff->bytes[0], length, offset);

    if (error == 0)
        error = read_piece(diff->disks[1], diff->bytes[1], length, offset);
    if (error < 0 || memcmp(diff->bytes[0], diff->bytes[1], length) == 0)
        return error;
    for (size_t at = 0; at < length; at += GRAIN) {
        size_t grain = length - at < GRAIN ? length - at : (size_t)GRAIN;
        if (memcmp(diff->bytes[0] + at, diff->bytes[1] + at, grain) != 0)
            differs(diff, offset + at, grain);
    }
    return 0;
}

static int compare(struct diff *diff)
{
    uint64_t one = disk_geometry(diff->disks[0])->capacity;
    uint64_t other = disk_geometry(diff->disks[1])->capacity;
    uint64_t end = one > other ? one : other;
    int error = 0;

    for (uint64_t offset = 0; error == 0 && offset < end;) {
        uint64_t empty = 0;
        error = both_empty(diff, offset, &empty);
        if (error < 0 || empty >= end)
            break;
        offset = empty > offset ? empty & ~(uint64_t)(GRAIN - 1) : offset;
        size_t length = end - offset < PIECE ? (size_t)(end - offset) : (size_t)PIECE;
        error = compare_piece(diff, offset, length);
        offset += length;
    }
    tell(diff);
    return error;
}

static int report(struct diff *diff)
{
    int code = 0;

    if (diff->array != NULL)
        code = tool_print_json(diff->tool, json_incref(diff->array));
    else if (!diff->tool->quiet && diff->total != 0)
        (void)printf("%" PRIu64 " bytes differ, in %" PRIu64 " stretches\n", diff->total,
                     diff->stretches);
    else if (!diff->tool->quiet)
        (void)puts("the same");
    return code == 0 && diff->total != 0 ? CLI_EXIT_FAILED : code;
}

static int diff_disks(const struct tool *tool, struct disk *one, struct disk *other)
{
    uint8_t *bytes = malloc((size_t)2 * PIECE);
    struct diff diff = {
        .tool = tool, .disks = {one, other}, .array = tool->json ? json_array() : NULL};

    if (bytes == NULL) {
        json_decref(diff.array);
        return tool_fail(tool, -ENOMEM, NULL);
    }
    diff.bytes[0] = bytes;
    diff.bytes[1] = bytes + PIECE;
    int error = compare(&diff);
    int code = error < 0 ? tool_fail(tool, error, NULL) : report(&diff);
    free(bytes);
    json_decref(diff.array);
    return code;
}

int disk_diff_main(int argc, char **argv)
{
    struct tool tool = {.most_words = 2};
    struct disk *disks[2] = {NULL, NULL};
    bool in_use = false;
    int code = tool_parse(&tool, disk_diff_options, 2, diff_usage, argc, argv);

    for (unsigned i = 0; code == 0 && i < 2; i++)
        code = tool_open_shared(&tool, tool.words[i], &disks[i], &in_use);
    if (code == 0)
        code = diff_disks(&tool, disks[0], disks[1]);
    (void)disk_close(disks[0]);
    (void)disk_close(disks[1]);
    return code < 0 ? 0 : code;
}
