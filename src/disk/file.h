/*
 * The bytes under a disk image: what a format reads and writes.
 *
 * 1. A call does all that it was asked, or returns a negative errno; there are no short transfers.
 * 2. Bytes past the end read as zeroes; a write past the end makes the file longer.
 * 3. Nothing is durable before file_flush() has returned 0. Writes between two flushes may reach
 * the medium in any order, each in part or not at all.
 * 4. One thread at a time, unless io.h says otherwise. Lengths of transfers fit into ssize_t.
 */
#ifndef DISK_FILE_H
#define DISK_FILE_H

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/reason.h"

struct file;

struct file_ops {
    int (*read)(struct file *file, void *bytes, size_t length, uint64_t offset);
    int (*write)(struct file *file, const void *bytes, size_t length, uint64_t offset);
    int (*flush)(struct file *file);
    /* The range reads as zeroes, and takes no room where the file system can do that. */
    int (*punch)(struct file *file, uint64_t offset, uint64_t length);
    int (*truncate)(struct file *file, uint64_t size);
    int (*size)(struct file *file, uint64_t *ret);
    /* Bytes that it takes on its file system; for a device, or NULL, its size. */
    int (*allocated)(struct file *file, uint64_t *ret);
    /* Give the range its room now; what was there stays. NULL, -ENOTSUP: not possible. */
    int (*allocate)(struct file *file, uint64_t offset, uint64_t length);
    /* Up to `*ret_end` (more than `offset`) all is data, or all is a hole that reads as zeroes. */
    int (*extent)(struct file *file, uint64_t offset, uint64_t *ret_end, bool *ret_data);
    /* For reads and writes past this interface, with its offsets. NULL, -1: it has none. */
    int (*descriptor)(struct file *file);
    void (*close)(struct file *file);
};

/* The first member of every implementation. */
struct file {
    const struct file_ops *ops;
};

enum file_flags {
    FILE_WRITABLE = 1,
    FILE_CREATE = 2,  /* a new file; -EEXIST when there is one */
    FILE_NO_LOCK = 4, /* look at a file that a writer may have open */
};

/*
 * A regular file or a block device. It is locked against other users of this library: one writer,
 * or any number of readers, else -EBUSY.
 */
int file_open(const char *path, unsigned flags, struct file **ret, struct reason *reason);

static inline int file_read(struct file *file, void *bytes, size_t length, uint64_t offset)
{
    return file->ops->read(file, bytes, length, offset);
}

static inline int file_write(struct file *file, const void *bytes, size_t length, uint64_t offset)
{
    return file->ops->write(file, bytes, length, offset);
}

static inline int file_flush(struct file *file)
{
    return file->ops->flush(file);
}

static inline int file_punch(struct file *file, uint64_t offset, uint64_t length)
{
    return file->ops->punch(file, offset, length);
}

static inline int file_truncate(struct file *file, uint64_t size)
{
    return file->ops->truncate(file, size);
}

static inline int file_size(struct file *file, uint64_t *ret)
{
    return file->ops->size(file, ret);
}

static inline int file_allocated(struct file *file, uint64_t *ret)
{
    return file->ops->allocated != NULL ? file->ops->allocated(file, ret)
                                        : file->ops->size(file, ret);
}

static inline int file_allocate(struct file *file, uint64_t offset, uint64_t length)
{
    return file->ops->allocate != NULL ? file->ops->allocate(file, offset, length) : -ENOTSUP;
}

static inline int file_extent(struct file *file, uint64_t offset, uint64_t *ret_end, bool *ret_data)
{
    return file->ops->extent(file, offset, ret_end, ret_data);
}

static inline int file_descriptor(struct file *file)
{
    return file->ops->descriptor != NULL ? file->ops->descriptor(file) : -1;
}

/* NULL is accepted. */
static inline void file_close(struct file *file)
{
    if (file != NULL)
        file->ops->close(file);
}

#endif
