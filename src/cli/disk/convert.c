/* partita disk convert and export-azure. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "cli/disk/foreign.h"
#include "cli/disk/tool.h"
#include "cli/size.h"
#include "disk/partition.h"

struct convert {
    struct tool tool; /* its first member; its format is the target's */
    struct image_layout layout;
    struct new_file target;
    unsigned source_flags;
    const char *foreign; /* what the source is; NULL: one of ours */
    bool has_kind, azure;
};

static int take_source_format(void *command, const char *value)
{
    struct convert *convert = command;
    struct tool source = {.verb = convert->tool.verb};
    char name[16];

    (void)snprintf(name, sizeof(name), ".%s", value);
    convert->foreign = image_foreign_of(name);
    if (convert->foreign != NULL)
        return 0;
    int code = tool_take_format(&source, value);

    convert->source_flags = tool_flags(&source, 0);
    return code;
}

static int take_kind(void *command, const char *value)
{
    struct convert *convert = command;

    convert->has_kind = true;
    if (strcmp(value, "fixed") == 0)
        convert->layout.kind = IMAGE_FIXED;
    else if (strcmp(value, "dynamic") == 0)
        convert->layout.kind = IMAGE_DYNAMIC;
    else {
        cli_error("%s: no kind '%s'; there are fixed and dynamic", convert->tool.verb, value);
        return CLI_EXIT_USAGE;
    }
    return 0;
}

static int take_block(void *command, const char *value)
{
    struct convert *convert = command;
    uint64_t size = 0;

    if (size_parse(value, &size) < 0 || size > UINT32_MAX) {
        cli_error("%s: --block-size '%s': a size is wanted, as 32M", convert->tool.verb, value);
        return CLI_EXIT_USAGE;
    }
    convert->layout.block_size = (uint32_t)size;
    return 0;
}

static int take_force(void *command, const char *value)
{
    (void)value;
    ((struct convert *)command)->target.replace = true;
    return 0;
}

#define FORCE                                                                          \
    {                                                                                  \
        "force", 'F', CLI_FLAG, NULL, NULL, "replace a file that is there", take_force \
    }
#define SOURCE_FORMAT                                                             \
    {                                                                             \
        "source-format", 's', CLI_WORDS, "FORMAT", "raw vhd vhdx qcow2 vmdk vdi", \
            "of SOURCE; else its name tells", take_source_format                  \
    }

const struct cli_option disk_convert_options[] = {
    {"format", 'f', CLI_WORDS, "FORMAT", "raw vhd vhdx", "of TARGET; else its name tells",
     tool_take_format},
    SOURCE_FORMAT,
    {"kind", 'k', CLI_WORDS, "KIND", "fixed dynamic", "of TARGET: dynamic, or fixed", take_kind},
    {"block-size", 'b', CLI_TEXT, "SIZE", NULL, "of a dynamic TARGET", take_block},
    FORCE,
    TOOL_QUIET,
    TOOL_HELP,
    {0},
};

static const char convert_usage[] =
    "Usage: partita disk convert SOURCE TARGET [OPTION]...\n"
    "Copy a disk into a new image of another format; zeroes take no room there. A chain becomes\n"
    "one image. qcow2, vmdk, vdi and others are read with qemu-img's help when it is installed.\n"
    "\n"
    "Examples:\n"
    "  partita disk convert debian.raw debian.vhdx\n"
    "  partita disk convert top.avhdx flat.vhdx\n"
    "  partita disk convert appliance.vmdk appliance.vhdx\n";

/* ---- copying ---- */

static int copy(const struct convert *convert, struct disk *from, const char *path,
                struct disk **ret)
{
    const struct tool *tool = &convert->tool;
    struct progress progress;
    struct reason reason = {""};
    struct tool target = {.verb = tool->verb, .has_format = true, .format = convert->layout.format};

    int error = image_create(&disk_host_files, path, &convert->layout, &reason);
    if (error == 0)
        error = disk_open(path, tool_flags(&target, DISK_WRITABLE), ret, &reason);
    if (error < 0)
        return tool_fail(tool, error, &reason);
    progress_start(&progress, tool, "convert");
    error = disk_copy(from, *ret, progress_step, &progress);
    progress_end(&progress);
    return error < 0 ? tool_fail(tool, error, NULL) : 0;
}

static void print_summary(const struct convert *convert, struct disk *to)
{
    struct image_info info;

    if (!convert->tool.quiet && image_describe(to, &info) == 0)
        (void)printf("%s: %s, %s; %s, of which %s on the host\n", convert->target.path,
                     image_format_name(info.format), tool_kind_name(info.kind),
                     size_text(info.geometry.capacity).text, size_text(info.allocated).text);
}

/* Read back what was written, for those who send it far away. */
static int verify(const struct convert *convert, struct disk *from, struct disk *to)
{
    enum { PIECE = 1 << 20 };
    uint64_t capacity = disk_geometry(from)->capacity;
    uint64_t offset = 0;
    bool same = true;
    uint8_t *bytes = malloc((size_t)2 * PIECE);
    int error = bytes != NULL ? 0 : -ENOMEM;

    while (error == 0 && same && offset < capacity) {
        size_t length = capacity - offset < PIECE ? (size_t)(capacity - offset) : (size_t)PIECE;
        error = disk_read(from, bytes, length, offset);
        if (error == 0)
            error = disk_read(to, bytes + PIECE, length, offset);
        same = error == 0 && memcmp(bytes, bytes + PIECE, length) == 0;
        offset += length;
    }
    free(bytes);
    if (error < 0)
        return tool_fail(&convert->tool, error, NULL);
    if (!same)
        cli_error("%s: what was written is not what is read back, before byte %" PRIu64,
                  convert->tool.verb, offset);
    return same ? 0 : CLI_EXIT_FAILED;
}

/* The disk may be larger now: a GPT has its copy at the end. */
static int move_backup(const struct convert *convert, struct disk *to)
{
    struct reason reason = {""};
    int error = partition_move_backup(to, disk_geometry(to)->capacity, &reason);

    return error < 0 ? tool_fail(&convert->tool, error, &reason) : 0;
}

static int copy_to_new_file(struct convert *convert, struct disk *from)
{
    struct disk *to = NULL;

    progress_catch_signals(); /* from now on there is something to be removed */
    int code = new_file_begin(&convert->tool, &convert->target);

    if (code == 0)
        code = copy(convert, from, convert->target.temporary, &to);
    if (code == 0) {
        int error = disk_flush(to);
        code = error < 0 ? tool_fail(&convert->tool, error, NULL) : 0;
    }
    if (code == 0 && convert->azure)
        code = verify(convert, from, to);
    if (code == 0 && convert->azure)
        code = move_backup(convert, to);
    if (code == 0)
        print_summary(convert, to);
    code = to != NULL ? tool_close(&convert->tool, convert->target.path, to, code) : code;
    return new_file_end(&convert->tool, &convert->target, code);
}

/* Azure takes whole MiB; the disk's own size is in the VHD's footer. */
static uint64_t target_size(const struct convert *convert, const struct disk *from)
{
    const uint64_t mib = 1 << 20;
    uint64_t size = disk_geometry(from)->capacity;

    return convert->azure ? (size + mib - 1) & ~(mib - 1) : size;
}

static int convert_disk(struct convert *convert, const char *source, unsigned flags)
{
    struct disk *from = NULL;
    int code = tool_open(&convert->tool, source, flags, &from);

    if (code != 0)
        return code;
    convert->layout.capacity = target_size(convert, from);
    if (convert->layout.format == IMAGE_VHD && disk_geometry(from)->logical_sector != 512) {
        cli_error("%s: %s: its sectors have 4096 bytes, those of a VHD 512", convert->tool.verb,
                  source);
        (void)disk_close(from);
        return CLI_EXIT_FILE;
    }
    if (convert->layout.format == IMAGE_VHDX)
        convert->layout.logical_sector = disk_geometry(from)->logical_sector;
    code = copy_to_new_file(convert, from);
    (void)disk_close(from);
    return code;
}

/* By way of a raw image, which is gone again afterwards. */
static int convert_foreign(struct convert *convert, const char *source)
{
    auto_free char *raw = NULL;
    int code = foreign_to_raw(&convert->tool, source, convert->foreign, convert->target.path, &raw);

    if (code == 0)
        code = convert_disk(convert, raw, DISK_AS_RAW);
    if (raw != NULL)
        (void)unlink(raw);
    return code;
}

static int run(struct convert *convert)
{
    const char *source = convert->tool.words[0];

    convert->target.path = convert->tool.words[1];
    if (!convert->has_kind)
        convert->layout.kind =
            convert->layout.format == IMAGE_RAW || convert->azure ? IMAGE_FIXED : IMAGE_DYNAMIC;
    if (convert->source_flags == 0 && convert->foreign == NULL)
        convert->foreign = image_foreign_of(source);
    if (convert->foreign != NULL)
        return convert_foreign(convert, source);
    return convert_disk(convert, source, convert->source_flags);
}

int disk_convert_main(int argc, char **argv)
{
    struct convert convert = {.tool = {.most_words = 2}};
    int code = tool_parse(&convert.tool, disk_convert_options, 2, convert_usage, argc, argv);

    if (code != 0)
        return code < 0 ? 0 : code;
    code = tool_target_format(&convert.tool, convert.tool.words[1], &convert.layout.format);
    return code != 0 ? code : run(&convert);
}

/* ---- export-azure ---- */

const struct cli_option disk_export_azure_options[] = {
    SOURCE_FORMAT, FORCE, TOOL_QUIET, TOOL_HELP, {0},
};

static const char azure_usage[] =
    "Usage: partita disk export-azure SOURCE TARGET.vhd [OPTION]...\n"
    "Make the fixed VHD that Azure takes: whole MiB, its footer behind them, read back and\n"
    "compared. Upload it as a page blob, or with 'az storage blob upload --type page'.\n"
    "\n"
    "Example:\n"
    "  partita disk export-azure debian.vhdx debian.vhd\n";

int disk_export_azure_main(int argc, char **argv)
{
    struct convert convert = {.tool = {.most_words = 2}, .azure = true};
    int code = tool_parse(&convert.tool, disk_export_azure_options, 2, azure_usage, argc, argv);

    if (code != 0)
        return code < 0 ? 0 : code;
    convert.layout.format = IMAGE_VHD;
    if (image_format_of(convert.tool.words[1]) != IMAGE_VHD) {
        cli_error("%s: %s: the name of a VHD ends with .vhd", convert.tool.verb,
                  convert.tool.words[1]);
        return CLI_EXIT_USAGE;
    }
    return run(&convert);
}
