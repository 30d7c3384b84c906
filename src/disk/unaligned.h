/*
 * Ranges of bytes on a disk that has sectors: a sector of which only a part is meant is read,
 * changed and written as a whole. For callers that are the disk's only ones; they wait.
 */
#ifndef DISK_UNALIGNED_H
#define DISK_UNALIGNED_H

#include "disk/disk.h"

/* -EINVAL when the range leaves the disk, before anything is changed; else what disk.h says. */
int disk_unaligned_read(struct disk *disk, void *bytes, size_t length, uint64_t offset);
int disk_unaligned_write(struct disk *disk, const void *bytes, size_t length, uint64_t offset);
/* The range reads as zeroes; whole sectors of it are given back. */
int disk_unaligned_unmap(struct disk *disk, uint64_t offset, uint64_t length);

#endif
