/* For tests: a file in memory whose calls can be made to fail. */
#ifndef DISK_MEMORY_FILE_H
#define DISK_MEMORY_FILE_H

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "disk/file.h"

struct memory_file {
    struct file file;
    uint8_t *bytes; /* zero behind the size */
    uint64_t size, room;
    unsigned writes, flushes, punches; /* that succeeded */
    int fail;                          /* what changes and flushes return when it is not 0 */
    int fail_truncate;                 /* and this alone */
    bool closed;
};

static inline struct memory_file *memory_of(struct file *file)
{
    return (struct memory_file *)(void *)file; /* its first member */
}

static int memory_read(struct file *file, void *bytes, size_t length, uint64_t offset)
{
    const struct memory_file *memory = memory_of(file);
    memset(bytes, 0, length);
    if (offset < memory->room)
        memcpy(bytes, memory->bytes + offset,
               length < memory->room - offset ? length : (size_t)(memory->room - offset));
    return 0;
}

static int memory_write(struct file *file, const void *bytes, size_t length, uint64_t offset)
{
    struct memory_file *memory = memory_of(file);
    if (memory->fail != 0)
        return memory->fail;
    if (length > memory->room || offset > memory->room - length)
        return -ENOSPC;
    memcpy(memory->bytes + offset, bytes, length);
    if (offset + length > memory->size)
        memory->size = offset + length;
    memory->writes++;
    return 0;
}

static int memory_flush(struct file *file)
{
    struct memory_file *memory = memory_of(file);
    if (memory->fail != 0)
        return memory->fail;
    memory->flushes++;
    return 0;
}

static int memory_punch(struct file *file, uint64_t offset, uint64_t length)
{
    struct memory_file *memory = memory_of(file);
    if (memory->fail != 0)
        return memory->fail;
    if (offset < memory->size) {
        uint64_t most = memory->size - offset;
        memset(memory->bytes + offset, 0, length < most ? length : most);
    }
    memory->punches++;
    return 0;
}

static int memory_truncate(struct file *file, uint64_t size)
{
    struct memory_file *memory = memory_of(file);
    if (memory->fail_truncate != 0)
        return memory->fail_truncate;
    if (size > memory->room)
        return -ENOSPC;
    if (size < memory->size)
        memset(memory->bytes + size, 0, memory->size - size);
    memory->size = size;
    return 0;
}

static int memory_size(struct file *file, uint64_t *ret)
{
    *ret = memory_of(file)->size;
    return 0;
}

/* Holes are pages of zeroes. */
static int memory_extent(struct file *file, uint64_t offset, uint64_t *ret_end, bool *ret_data)
{
    enum { PAGE = 4096 };
    static const uint8_t zeroes[PAGE];
    const struct memory_file *memory = memory_of(file);
    uint64_t page = offset & ~(uint64_t)(PAGE - 1);
    bool first = true;

    for (; page + PAGE <= memory->room; page += PAGE, first = false) {
        bool data = memcmp(memory->bytes + page, zeroes, PAGE) != 0;
        if (!first && data != *ret_data)
            break;
        *ret_data = data;
    }
    *ret_end = page > offset ? page : UINT64_MAX;
    if (first)
        *ret_data = false;
    return 0;
}

static void memory_close(struct file *file)
{
    memory_of(file)->closed = true;
}

static const struct file_ops memory_file_ops = {
    .read = memory_read,
    .write = memory_write,
    .flush = memory_flush,
    .punch = memory_punch,
    .truncate = memory_truncate,
    .size = memory_size,
    .extent = memory_extent,
    .close = memory_close,
};

/* `room` is a multiple of 4096, and the most that the file can grow to. */
static inline void memory_file_init(struct memory_file *memory, uint64_t size, uint64_t room)
{
    *memory = (struct memory_file){.file = {&memory_file_ops}, .size = size, .room = room};
    memory->bytes = calloc(1, room);
    if (memory->bytes == NULL)
        abort();
}

#endif
