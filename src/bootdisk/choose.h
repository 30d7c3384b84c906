/* Which kernel of a file system: a pure choice over names, so that it is tested without disks. */
#ifndef BOOTDISK_CHOOSE_H
#define BOOTDISK_CHOOSE_H

#include <stdbool.h>

#include "bootdisk/bootdisk.h"

typedef void (*choose_name_fn)(void *owner, const char *name);

/* A file system to choose in. Folders are "/boot" and "/". */
struct choose_tree {
    void *owner;
    bool (*is_file)(void *owner, const char *path); /* links followed */
    void (*list)(void *owner, const char *folder, choose_name_fn each, void *each_owner);
};

struct choice {
    char kernel[BOOTDISK_NAME_SIZE];
    char initrd[BOOTDISK_NAME_SIZE]; /* empty: none */
};

/*
 * In a root file system the links of its distribution, /vmlinuz and /initrd.img or the same in
 * /boot, when both lead to files; else the newest /boot/vmlinuz-VERSION with its initrd; else a
 * link to a kernel alone. On a partition that is mounted at /boot (`is_boot`) the same at its top.
 */
bool choose_kernel(const struct choose_tree *tree, bool is_boot, struct choice *ret);

#endif
