/* Images of other programs: qemu-img, when it is installed, makes raw ones of them. */
#ifndef CLI_DISK_FOREIGN_H
#define CLI_DISK_FOREIGN_H

#include "cli/disk/tool.h"

/* Does the name say so? ".qcow2", ".vmdk", … */
bool foreign_is(const char *path);
/*
 * `*ret` is a raw image beside `target`, the caller's to remove and to free, also after an error
 * when it is not NULL. 0, or an exit code after one line.
 */
int foreign_to_raw(const struct tool *tool, const char *path, const char *target, char **ret);

#endif
