/* What libext2fs reads through: a part of a disk. */
#ifndef BOOTDISK_EXT_IO_H
#define BOOTDISK_EXT_IO_H

#include <ext2fs/ext2fs.h>

#include "disk/disk.h"

/*
 * The manager to open a file system with, which reads `length` bytes from `offset` on, both whole
 * sectors. What it opens holds until the next call.
 */
io_manager ext_io_prepare(struct disk *disk, uint64_t offset, uint64_t length);

#endif
