/* partita disk: the table of its verbs. */
#include "cli/disk.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "cli/disk/tool.h"

const struct cli_command disk_verbs[] = {
    {"create", "make an image, or a child of one", disk_create_main, disk_create_options, "FILE"},
    {"info", "show what an image is, and its parents", disk_info_main, disk_info_options, "FILE"},
    {"check", "look for damage, and mend it", disk_check_main, disk_check_options, "FILE"},
    {"convert", "copy into another format", disk_convert_main, disk_convert_options, "FILE FILE"},
    {"resize", "make larger or smaller", disk_resize_main, disk_resize_options, "FILE"},
    {"compact", "give unused room back to the host", disk_compact_main, disk_compact_options,
     "FILE"},
    {"merge", "bring a child into its parent", disk_merge_main, disk_merge_options, "FILE"},
    {"set-parent", "tell a child where its parent is", disk_set_parent_main,
     disk_set_parent_options, "FILE FILE"},
    {"map", "list where data is", disk_map_main, disk_map_options, "FILE"},
    {"diff", "compare what two disks hold", disk_diff_main, disk_diff_options, "FILE FILE"},
    {"mount", "show a disk and its partitions as files", disk_mount_main, disk_mount_options,
     "FILE FILE"},
    {"unmount", "end that, when all is durable", disk_unmount_main, disk_unmount_options, "FILE"},
    {"export-azure", "make the VHD that Azure takes", disk_export_azure_main,
     disk_export_azure_options, "FILE FILE"},
    {0},
};

const struct cli_option disk_options[] = {
    {0},
};

static void print_help(FILE *to)
{
    (void)fputs("Usage: partita disk VERB [OPTION]...\n"
                "Make, look at and change disk images: VHDX, VHD and raw.\n\n",
                to);
    for (const struct cli_command *verb = disk_verbs; verb->name != NULL; verb++)
        (void)fprintf(to, "  %-14s%s\n", verb->name, verb->summary);
    (void)fputs("\n'partita disk VERB --help' says more; so does partita-disk(1).\n", to);
}

static const struct cli_command *find_verb(const char *name)
{
    for (const struct cli_command *verb = disk_verbs; verb->name != NULL; verb++) {
        if (strcmp(verb->name, name) == 0)
            return verb;
    }
    return NULL;
}

static int refuse(const char *typed)
{
    enum { MOST = 32 };
    const char *names[MOST];
    size_t count = 0;

    for (; disk_verbs[count].name != NULL; count++)
        names[count] = disk_verbs[count].name;
    const char *meant = cli_nearest(typed, names, count);
    if (meant != NULL)
        cli_error("disk: unknown verb '%s'; did you mean %s?", typed, meant);
    else
        cli_error("disk: unknown verb '%s'; try 'partita disk --help'", typed);
    return CLI_EXIT_USAGE;
}

int disk_main(int argc, char **argv)
{
    if (argc < 2 || strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
        print_help(argc < 2 ? stderr : stdout);
        return argc < 2 ? CLI_EXIT_USAGE : 0;
    }
    const struct cli_command *verb = find_verb(argv[1]);
    auto_free char *name = NULL;

    if (verb == NULL)
        return refuse(argv[1]);
    /* Its lines begin with "disk create". */
    if (asprintf(&name, "disk %s", verb->name) < 0) {
        name = NULL;
        return CLI_EXIT_FAILED;
    }
    argv[1] = name;
    return verb->main(argc - 1, argv + 1);
}
