/* partita disk resize, compact, merge and set-parent. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "cli/disk/tool.h"
#include "cli/size.h"
#include "disk/partition.h"

/* ---- resize ---- */

struct resize {
    struct tool tool; /* its first member */
    bool shrink;
};

static int take_shrink(void *command, const char *value)
{
    (void)value;
    ((struct resize *)command)->shrink = true;
    return 0;
}

const struct cli_option disk_resize_options[] = {
    {"shrink", 's', CLI_FLAG, NULL, NULL, "a smaller size is meant", take_shrink},
    {"format", 'f', CLI_WORDS, "FORMAT", "raw vhd vhdx", "raw, vhd or vhdx; else the name tells",
     tool_take_format},
    TOOL_QUIET,
    TOOL_HELP,
    {0},
};

static const char resize_usage[] =
    "Usage: partita disk resize FILE SIZE|+SIZE|-SIZE [OPTION]...\n"
    "Make a disk larger, or with --shrink smaller where it has no data. A GPT at its end moves\n"
    "with it; partitions stay as they are.\n"
    "\n"
    "Examples:\n"
    "  partita disk resize data.vhdx 128G\n"
    "  partita disk resize data.vhdx +16G\n"
    "  partita disk resize data.vhdx --shrink -- -16G\n";

static int parse_size(const struct tool *tool, uint64_t old, uint64_t *ret)
{
    const char *text = tool->words[1];
    bool sign = *text == '+' || *text == '-';
    uint64_t size = 0;

    if (size_parse(text + sign, &size) < 0 || (*text == '-' && size >= old) ||
        (*text == '+' && size > INT64_MAX - old)) {
        cli_error("%s: '%s' is no size for this disk; write 64G, +8G, -8G", tool->verb, text);
        return CLI_EXIT_USAGE;
    }
    *ret = *text == '+' ? old + size : *text == '-' ? old - size : size;
    return 0;
}

/* No partition may be cut off; a GPT is asked again when its copy moves. */
static int check_partitions(struct disk *disk, uint64_t size, struct reason *reason)
{
    auto_free struct partition_table *table = malloc(sizeof(*table));

    if (table == NULL)
        return -ENOMEM;
    if (partition_read(disk, table, NULL) < 0)
        return 0;
    for (unsigned i = 0; i < table->count; i++) {
        if (table->partitions[i].offset + table->partitions[i].length > size)
            return reason_set(reason, -ENOTEMPTY, "a partition reaches beyond the new end");
    }
    return 0;
}

/* A GPT keeps a copy at the disk's end, which goes before it; when that fails it goes back. */
static int shrink(struct disk *disk, uint64_t size, struct reason *reason)
{
    uint64_t old = disk_geometry(disk)->capacity;
    int error = check_partitions(disk, size, reason);

    if (error == 0)
        error = partition_move_backup(disk, size, reason);
    if (error < 0)
        return error;
    error = image_resize(disk, size, reason);
    if (error < 0)
        (void)partition_move_backup(disk, old, NULL);
    return error;
}

static int resize_disk(const struct tool *tool, struct disk *disk, uint64_t size)
{
    uint64_t old = disk_geometry(disk)->capacity;
    struct reason reason = {""};
    int error = size < old ? shrink(disk, size, &reason) : image_resize(disk, size, &reason);

    if (error == 0 && size > old)
        error = partition_move_backup(disk, size, &reason);
    if (error < 0)
        return tool_fail(tool, error, &reason);
    if (!tool->quiet)
        (void)printf("%s: %" PRIu64 " bytes, was %" PRIu64 "\n", tool->words[0], size, old);
    return 0;
}

int disk_resize_main(int argc, char **argv)
{
    struct resize resize = {.tool = {.most_words = 2}};
    const struct tool *tool = &resize.tool;
    struct disk *disk = NULL;
    uint64_t size = 0;
    int code = tool_parse(&resize.tool, disk_resize_options, 2, resize_usage, argc, argv);

    if (code == 0)
        code = tool_open(tool, tool->words[0], tool_flags(tool, DISK_WRITABLE), &disk);
    if (code == 0)
        code = parse_size(tool, disk_geometry(disk)->capacity, &size);
    if (code == 0 && size < disk_geometry(disk)->capacity && !resize.shrink) {
        cli_error("%s: that is smaller than it is; --shrink says that it is meant", tool->verb);
        code = CLI_EXIT_USAGE;
    }
    if (code == 0)
        code = resize_disk(tool, disk, size);
    code = disk != NULL ? tool_close(tool, tool->words[0], disk, code) : code;
    return code < 0 ? 0 : code;
}

/* ---- compact ---- */

const struct cli_option disk_compact_options[] = {
    {"format", 'f', CLI_WORDS, "FORMAT", "vhd vhdx", "vhd or vhdx; else the name tells",
     tool_take_format},
    TOOL_QUIET,
    TOOL_HELP,
    {0},
};

static const char compact_usage[] =
    "Usage: partita disk compact FILE [OPTION]...\n"
    "Give the room of blocks of zeroes back to the host, and close the holes in the file. What a\n"
    "guest has deleted is zero when it has discarded it (fstrim).\n"
    "\n"
    "Example:\n"
    "  partita disk compact data.vhdx\n";

static int compact_disk(const struct tool *tool, struct disk *disk)
{
    struct progress progress;
    struct image_info before;
    struct image_info after = {.file_size = 0};
    struct reason reason = {""};
    int error = image_describe(disk, &before);

    progress_start(&progress, tool, "compact");
    if (error == 0)
        error = image_compact(disk, progress_step, &progress, &reason);
    progress_end(&progress);
    if (error == 0)
        error = image_describe(disk, &after);
    if (error < 0)
        return tool_fail(tool, error, &reason);
    if (!tool->quiet)
        (void)printf("%s: %s, was %s\n", tool->words[0], size_text(after.file_size).text,
                     size_text(before.file_size).text);
    return 0;
}

int disk_compact_main(int argc, char **argv)
{
    struct tool tool = {.most_words = 1};
    struct disk *disk = NULL;
    int code = tool_parse(&tool, disk_compact_options, 1, compact_usage, argc, argv);

    if (code == 0)
        code = tool_open(&tool, tool.words[0], tool_flags(&tool, DISK_WRITABLE), &disk);
    if (code != 0)
        return code < 0 ? 0 : code;
    return tool_close(&tool, tool.words[0], disk, compact_disk(&tool, disk));
}

/* ---- merge ---- */

struct merge {
    struct tool tool; /* its first member */
    const char *into;
    bool keep;
};

static int take_into(void *command, const char *value)
{
    ((struct merge *)command)->into = value;
    return 0;
}

static int take_keep(void *command, const char *value)
{
    (void)value;
    ((struct merge *)command)->keep = true;
    return 0;
}

const struct cli_option disk_merge_options[] = {
    {"into", 'i', CLI_FILE, "FILE", NULL, "the parent, of the chain, that gets all; else the next",
     take_into},
    {"keep", 0, CLI_FLAG, NULL, NULL, "do not remove the children afterwards", take_keep},
    TOOL_QUIET,
    TOOL_HELP,
    {0},
};

static const char merge_usage[] =
    "Usage: partita disk merge FILE [OPTION]...\n"
    "Bring what FILE and its parents have into one of these parents, and remove the images that\n"
    "are of no more use. When that is interrupted the chain is as it was; do it again. Other\n"
    "children of the parent are lost by it.\n"
    "\n"
    "Examples:\n"
    "  partita disk merge top.avhdx\n"
    "  partita disk merge top.avhdx --into base.vhdx\n";

enum { MOST_LEVELS = 64 };

/* The images of the chain above the target, top first. */
struct chain {
    char *paths[MOST_LEVELS];
    unsigned levels;
};

static bool is_target(const struct merge *merge, const struct disk *disk)
{
    auto_free char *wanted = merge->into != NULL ? realpath(merge->into, NULL) : NULL;
    auto_free char *path = realpath(image_path(disk), NULL);

    if (merge->into == NULL)
        return true;
    return wanted != NULL && path != NULL && strcmp(wanted, path) == 0;
}

static int find_chain(const struct merge *merge, struct chain *ret)
{
    const struct tool *tool = &merge->tool;
    struct disk *top = NULL;
    int code = tool_open(tool, tool->words[0], DISK_NO_LOCK, &top);

    if (code != 0)
        return code;
    bool found = false;
    for (struct disk *disk = top; !found && image_parent(disk) != NULL && ret->levels < MOST_LEVELS;
         disk = image_parent(disk)) {
        ret->paths[ret->levels++] = strdup(image_path(disk));
        found = is_target(merge, image_parent(disk));
    }
    if (!found && merge->into != NULL)
        cli_error("%s: %s is no parent of %s", tool->verb, merge->into, tool->words[0]);
    else if (!found)
        cli_error("%s: %s has no parent", tool->verb, tool->words[0]);
    (void)disk_close(top);
    return found ? 0 : CLI_EXIT_FILE;
}

static int merge_chain(const struct merge *merge, const struct chain *chain)
{
    const struct tool *tool = &merge->tool;
    struct progress progress;
    struct reason reason = {""};

    progress_start(&progress, tool, "merge");
    int error = image_merge(&disk_host_files, tool->words[0], chain->levels, progress_step,
                            &progress, &reason);
    progress_end(&progress);
    if (error < 0)
        return tool_fail(tool, error, &reason);
    for (unsigned i = 0; !merge->keep && i < chain->levels; i++) {
        if (chain->paths[i] == NULL || unlink(chain->paths[i]) == 0)
            continue;
        cli_error("%s: merged, but %s stays: %s", tool->verb, chain->paths[i],
                  strerrordesc_np(errno));
        return CLI_EXIT_FILE;
    }
    if (!tool->quiet)
        (void)printf("%s: merged%s\n", tool->words[0], merge->keep ? "" : " and removed");
    return 0;
}

int disk_merge_main(int argc, char **argv)
{
    struct merge merge = {.tool = {.most_words = 1}};
    struct chain chain = {.levels = 0};
    int code = tool_parse(&merge.tool, disk_merge_options, 1, merge_usage, argc, argv);

    if (code == 0)
        code = find_chain(&merge, &chain);
    if (code == 0)
        code = merge_chain(&merge, &chain);
    for (unsigned i = 0; i < chain.levels; i++)
        free(chain.paths[i]);
    return code < 0 ? 0 : code;
}

/* ---- set-parent ---- */

struct set_parent {
    struct tool tool; /* its first member */
    bool force;
};

static int take_force(void *command, const char *value)
{
    (void)value;
    ((struct set_parent *)command)->force = true;
    return 0;
}

const struct cli_option disk_set_parent_options[] = {
    {"force", 'F', CLI_FLAG, NULL, NULL, "also a parent that was changed since, or another",
     take_force},
    TOOL_HELP,
    {0},
};

static const char set_parent_usage[] =
    "Usage: partita disk set-parent FILE PARENT [OPTION]...\n"
    "Tell a child where its parent is now. PARENT is a path from here on.\n"
    "\n"
    "Example:\n"
    "  partita disk set-parent clone.vhdx /srv/golden.vhdx\n";

static int set_parent(const struct set_parent *set, struct disk *child, struct disk *disk)
{
    const struct tool *tool = &set->tool;
    auto_free char *path = realpath(tool->words[1], NULL);
    const struct image_parent parent = {.path = path, .disk = disk};
    struct image_info info;
    struct reason reason = {""};
    int error = path != NULL ? image_describe(child, &info) : -errno;

    if (error == 0 && !set->force && !image_is_parent(child, disk)) {
        cli_error("%s: %s is not what it was when the child was made; --force takes it nonetheless",
                  tool->verb, tool->words[1]);
        return CLI_EXIT_FILE;
    }
    if (error == 0)
        error = image_set_parent(child, &parent, &reason);
    return error < 0 ? tool_fail(tool, error, &reason) : 0;
}

int disk_set_parent_main(int argc, char **argv)
{
    struct set_parent set = {.tool = {.most_words = 2}};
    const struct tool *tool = &set.tool;
    struct disk *child = NULL;
    struct disk *parent = NULL;
    int code = tool_parse(&set.tool, disk_set_parent_options, 2, set_parent_usage, argc, argv);

    if (code == 0)
        code = tool_open(tool, tool->words[1], 0, &parent);
    if (code == 0)
        code = tool_open(tool, tool->words[0], DISK_WRITABLE | DISK_WITHOUT_PARENT, &child);
    if (code == 0)
        code = set_parent(&set, child, parent);
    code = child != NULL ? tool_close(tool, tool->words[0], child, code) : code;
    (void)disk_close(parent);
    return code < 0 ? 0 : code;
}
