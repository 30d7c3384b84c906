/*
 * An ext2, ext3 or ext4 file system on part of a disk, through libext2fs; read-only.
 *
 * The journal is not replayed: what a guest that was not shut down had only in its journal is not
 * seen. libext2fs is not trusted with hostile disks: to be used in a child (child.h). One file
 * system is open at a time.
 */
#ifndef BOOTDISK_EXT_H
#define BOOTDISK_EXT_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "disk/disk.h"

struct ext;

/* -EINVAL when there is no such file system in [offset, offset + length), or it cannot be read. */
int ext_open(struct disk *disk, uint64_t offset, uint64_t length, struct ext **ret);
/* NULL is accepted. */
void ext_close(struct ext *ext);

void ext_uuid(const struct ext *ext, uint8_t ret[16]);

/* The type of what is there (S_IFREG, …), links followed or not; 0 when there is nothing. */
mode_t ext_type(struct ext *ext, const char *path, bool follow);

/* Call `each` for every name in a folder, until there are too many. */
typedef void (*ext_name_fn)(void *owner, const char *name);
int ext_list(struct ext *ext, const char *path, ext_name_fn each, void *owner);

/* Hand a regular file on, piece by piece: first() with its length, then next(). */
struct ext_reader {
    int (*first)(void *owner, uint64_t length);
    int (*next)(void *owner, const void *bytes, size_t length);
    void *owner;
};
int ext_read(struct ext *ext, const char *path, const struct ext_reader *reader);

#endif
