/* partita disk create */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "cli/disk/tool.h"
#include "cli/size.h"

struct create {
    struct tool tool; /* its first member */
    struct image_layout layout;
    bool has_kind;
};

static int take_size(struct create *create, const char *option, const char *value, uint64_t most,
                     uint64_t *ret)
{
    if (size_parse(value, ret) == 0 && *ret <= most)
        return 0;
    cli_error("%s: %s '%s': a size is wanted, as 64G or 4096", create->tool.verb, option, value);
    return CLI_EXIT_USAGE;
}

static int take_kind(void *command, const char *value)
{
    struct create *create = command;

    create->has_kind = true;
    for (unsigned kind = IMAGE_FIXED; kind <= IMAGE_DIFFERENCING; kind++) {
        if (strcmp(value, tool_kind_name((enum image_kind)kind)) != 0)
            continue;
        create->layout.kind = (enum image_kind)kind;
        return 0;
    }
    cli_error("%s: no kind '%s'; there are fixed, dynamic and differencing", create->tool.verb,
              value);
    return CLI_EXIT_USAGE;
}

static int take_parent(void *command, const char *value)
{
    ((struct create *)command)->layout.parent = value;
    return 0;
}

static int take_block(void *command, const char *value)
{
    struct create *create = command;
    uint64_t size = 0;
    int code = take_size(create, "--block-size", value, UINT32_MAX, &size);

    create->layout.block_size = (uint32_t)size;
    return code;
}

static int take_sector(void *command, const char *value)
{
    struct create *create = command;
    uint64_t size = 0;
    int code = take_size(create, "--sector", value, UINT32_MAX, &size);

    create->layout.logical_sector = (uint32_t)size;
    return code;
}

static int take_physical(void *command, const char *value)
{
    struct create *create = command;
    uint64_t size = 0;
    int code = take_size(create, "--physical-sector", value, UINT32_MAX, &size);

    create->layout.physical_sector = (uint32_t)size;
    return code;
}

static int take_preallocate(void *command, const char *value)
{
    (void)value;
    ((struct create *)command)->layout.preallocate = true;
    return 0;
}

const struct cli_option disk_create_options[] = {
    {"format", 'f', CLI_WORDS, "FORMAT", "raw vhd vhdx", "raw, vhd or vhdx; else the name tells",
     tool_take_format},
    {"kind", 'k', CLI_WORDS, "KIND", "fixed dynamic differencing",
     "dynamic, fixed (raw is), or differencing (with --parent)", take_kind},
    {"parent", 'p', CLI_FILE, "FILE", NULL, "make a child: what is written stays off FILE",
     take_parent},
    {"block-size", 'b', CLI_TEXT, "SIZE", NULL,
     "unit of allocation; VHDX 1M to 256M (32M), VHD from 512K (2M)", take_block},
    {"sector", 0, CLI_WORDS, "BYTES", "512 4096", "logical sector of a VHDX (512)", take_sector},
    {"physical-sector", 0, CLI_WORDS, "BYTES", "512 4096", "what a VHDX tells its guest (4096)",
     take_physical},
    {"preallocate", 0, CLI_FLAG, NULL, NULL, "fixed: take all the room now", take_preallocate},
    TOOL_QUIET,
    TOOL_HELP,
    {0},
};

static const char usage[] =
    "Usage: partita disk create FILE SIZE [OPTION]...\n"
    "       partita disk create FILE --parent FILE [SIZE] [OPTION]...\n"
    "Make a disk image. Its suffix tells the format: .vhdx, .vhd, else raw.\n"
    "\n"
    "Examples:\n"
    "  partita disk create data.vhdx 64G\n"
    "  partita disk create clone.vhdx --parent golden.vhdx\n"
    "  partita disk create boot.vhdx 8G --kind fixed --sector 4096\n";

/* As the child shall name it: from its own folder on, when both paths are relative to here. */
static char *name_parent(const char *child, const char *parent)
{
    const char *slash = strrchr(child, '/');

    if (parent[0] == '/' || slash == NULL)
        return strdup(parent);
    size_t folder = (size_t)(slash - child) + 1;
    if (strncmp(child, parent, folder) == 0)
        return strdup(parent + folder);
    return realpath(parent, NULL);
}

static int create_image(struct create *create, const char *path)
{
    struct reason reason = {""};
    const char *parent = create->layout.parent;
    auto_free char *name = parent != NULL ? name_parent(path, parent) : NULL;

    if (parent != NULL && name == NULL) {
        cli_error("%s: %s: %s", create->tool.verb, parent, strerrordesc_np(errno));
        return CLI_EXIT_FILE;
    }
    create->layout.parent = name;
    int error = image_create(&disk_host_files, path, &create->layout, &reason);
    if (error < 0)
        return tool_fail(&create->tool, error, &reason);
    if (!create->tool.quiet)
        (void)printf("%s: %s, %s\n", path, image_format_name(create->layout.format),
                     tool_kind_name(create->layout.kind));
    return 0;
}

static int check_words(struct create *create)
{
    const struct tool *tool = &create->tool;

    if (tool->word_count == 2 && size_parse(tool->words[1], &create->layout.capacity) < 0) {
        cli_error("%s: '%s' is no size; write 64G, 512M", tool->verb, tool->words[1]);
        return CLI_EXIT_USAGE;
    }
    if (tool->word_count < 2 && create->layout.parent == NULL) {
        cli_error("%s: how large? write 'partita disk create %s 64G'", tool->verb, tool->words[0]);
        return CLI_EXIT_USAGE;
    }
    return 0;
}

int disk_create_main(int argc, char **argv)
{
    struct create create = {.tool = {.most_words = 2}};
    int code = tool_parse(&create.tool, disk_create_options, 1, usage, argc, argv);

    if (code == 0)
        code = check_words(&create);
    if (code != 0)
        return code < 0 ? 0 : code;
    create.layout.format =
        create.tool.has_format ? create.tool.format : image_format_of(create.tool.words[0]);
    if (!create.has_kind)
        create.layout.kind = create.layout.parent != NULL        ? IMAGE_DIFFERENCING
                             : create.layout.format == IMAGE_RAW ? IMAGE_FIXED
                                                                 : IMAGE_DYNAMIC;
    return create_image(&create, create.tool.words[0]);
}
