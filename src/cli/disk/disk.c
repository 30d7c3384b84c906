/* partita disk: the table of its verbs. */
#include "cli/disk.h"

#include "cli/disk/tool.h"
#include "cli/verb.h"

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

int disk_main(int argc, char **argv)
{
    return cli_verb_main("disk", "Make, look at and change disk images: VHDX, VHD and raw.",
                         disk_verbs, argc, argv);
}
