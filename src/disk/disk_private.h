/*
 * For the formats: what lies behind disk.h.
 *
 * A format only says where bytes are and keeps its metadata; it moves no data of a guest itself.
 * disk.c (at once, for tools) and queue.c (many requests in flight, for a worker) do that alike:
 *
 *   read    map(READ) → bytes of a file, or zeroes
 *   write   map(WRITE), which gives every byte a place → transfer → written()
 *   unmap   with no transfer in flight: unmap()
 *   flush   commit_prepare() → commit_write() → commit_done()
 *
 * 1. map, written, unmap, commit_prepare and commit_done write no metadata (they may read
 *    some that was not read yet). All that makes metadata durable is in commit_write.
 * 2. Order within commit_write: first the data (file_flush), then metadata that points to it, so
 *    that after a power cut each sector is old or new. Journal, then home place, as the format has
 *    it. Metadata names a byte as present only after written() has been called for it.
 * 3. Room that unmap set free is given to other data only after a commit has made that durable.
 * 4. commit_write may run on another thread while map and written go on: it touches only what
 *    commit_prepare set aside. One commit at a time, also under memory pressure: when map or
 *    written returns -EBUSY, a commit must come first; then the call is made again.
 */
#ifndef DISK_DISK_PRIVATE_H
#define DISK_DISK_PRIVATE_H

#include "disk/disk.h"
#include "disk/file.h"

struct disk_extent {
    struct file *file; /* NULL: reads as zeroes */
    uint64_t offset;   /* in the file */
    uint64_t length;   /* bytes from the asked offset on; whole sectors, not 0 */
};

/* Ranges are checked before: aligned to sectors, within the capacity, not empty. */
struct disk_ops {
    /* DISK_READ or DISK_WRITE: the first extent of [offset, offset + length). */
    int (*map)(struct disk *disk, enum disk_op op, uint64_t offset, uint64_t length,
               struct disk_extent *ret);
    /* A transfer to what map(WRITE) gave has ended well. NULL: nothing to note. */
    int (*written)(struct disk *disk, uint64_t offset, uint64_t length);
    /* May leave alone what it cannot free cheaply, but never in part of a sector. */
    int (*unmap)(struct disk *disk, uint64_t offset, uint64_t length);
    void (*commit_prepare)(struct disk *disk);
    int (*commit_write)(struct disk *disk);
    void (*commit_done)(struct disk *disk, int error);
    /* Frees all, parents too; writes nothing (disk_close flushed before). */
    void (*close)(struct disk *disk);
};

/* The first member of every format's own struct. */
struct disk {
    const struct disk_ops *ops;
    struct file *file;
    struct disk_geometry geometry;
    struct disk_counts counts;
    int failed;               /* the error after which nothing is changed any more */
    struct disk_queue *queue; /* NULL: requests are served at once */
};

int raw_open(struct file *file, unsigned flags, struct disk **ret, struct reason *reason);

#endif
