#include "toy.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/crc32c.h"
#include "disk/disk_private.h"

enum {
    BLOCK = 1 << 16,
    TABLE = 4096,
    MOST = 256,  /* blocks of the disk */
    ROOM = 1024, /* of the file; the first is the tables' */
    AT_SEQUENCE = 0,
    AT_CAPACITY = 8,
    AT_ENTRIES = 16,
    AT_CHECKSUM = TABLE - 4, /* of all before */
    ENTRY = 8,               /* bytes, so that the table takes several sectors */
};

struct toy {
    struct disk disk; /* its first member */
    enum toy_fault fault;
    uint32_t sequence;
    uint16_t entries[MOST];       /* room of each block; 0: none */
    bool used[ROOM], freed[ROOM]; /* freed: and used until the next commit */
    bool dirty, committing[ROOM];
    uint8_t table[TABLE];
};

static struct toy *toy_of(struct disk *disk)
{
    return (struct toy *)(void *)disk; /* its first member */
}

const char *toy_name(enum toy_fault fault)
{
    static const char *const names[TOY_FAULTS] = {
        [TOY_RIGHT] = "toy",
        [TOY_NO_FLUSH_BEFORE] = "toy-no-flush-before",
        [TOY_NO_FLUSH_BEHIND] = "toy-no-flush-behind",
        [TOY_REUSES_EARLY] = "toy-reuses-early",
        [TOY_TEARS_TABLE] = "toy-tears-table",
        [TOY_FORGETS_OLD] = "toy-forgets-old",
        [TOY_TEARS_RECOVERY] = "toy-tears-recovery",
    };
    return names[fault];
}

/* ---- the table ---- */

static void encode(struct toy *toy)
{
    memset(toy->table, 0, sizeof(toy->table));
    put_le32(toy->table + AT_SEQUENCE, toy->sequence);
    put_le64(toy->table + AT_CAPACITY, toy->disk.geometry.capacity);
    for (unsigned i = 0; i < MOST; i++)
        put_le16(toy->table + AT_ENTRIES + ENTRY * i, toy->entries[i]);
    put_le32(toy->table + AT_CHECKSUM, crc32c(0, toy->table, AT_CHECKSUM));
}

static int write_table(const struct toy *toy)
{
    bool in_place = toy->fault == TOY_TEARS_TABLE;

    return file_write(toy->disk.file, toy->table, TABLE,
                      in_place ? 0 : (uint64_t)(toy->sequence % 2) * TABLE);
}

static void decode(struct toy *toy)
{
    toy->sequence = get_le32(toy->table + AT_SEQUENCE);
    toy->disk.geometry.capacity = get_le64(toy->table + AT_CAPACITY);
    for (unsigned i = 0; i < MOST; i++) {
        toy->entries[i] = get_le16(toy->table + AT_ENTRIES + ENTRY * i) % ROOM;
        toy->used[toy->entries[i]] = true;
    }
    toy->used[0] = true;
}

static int read_table(struct toy *toy)
{
    uint8_t bytes[TABLE];
    bool found = false;

    for (unsigned i = 0; i < 2; i++) {
        int error = file_read(toy->disk.file, bytes, sizeof(bytes), (uint64_t)i * TABLE);
        if (error < 0)
            return error;
        bool valid = get_le64(bytes + AT_CAPACITY) != 0 &&
                     get_le32(bytes + AT_CHECKSUM) == crc32c(0, bytes, AT_CHECKSUM);
        if (!valid || (found && get_le32(bytes + AT_SEQUENCE) < get_le32(toy->table + AT_SEQUENCE)))
            continue;
        memcpy(toy->table, bytes, sizeof(bytes));
        found = true;
    }
    if (!found)
        return -EINVAL;
    decode(toy);
    return 0;
}

/* ---- blocks ---- */

static int take_room(struct toy *toy, uint16_t *ret)
{
    for (unsigned i = 1; i < ROOM; i++) {
        if (toy->used[i])
            continue;
        toy->used[i] = true;
        *ret = (uint16_t)i;
        return toy->fault == TOY_FORGETS_OLD
                   ? 0
                   : file_punch(toy->disk.file, (uint64_t)i * BLOCK, BLOCK);
    }
    return -EBUSY;
}

static int toy_map(struct disk *disk, enum disk_op op, uint64_t offset, uint64_t length,
                   struct disk_extent *ret)
{
    struct toy *toy = toy_of(disk);
    uint16_t *entry = &toy->entries[offset / BLOCK];
    uint64_t left = BLOCK - offset % BLOCK;

    *ret = (struct disk_extent){.length = length < left ? length : left};
    if (*entry == 0 && op == DISK_READ)
        return 0;
    if (*entry == 0) {
        int error = take_room(toy, entry);
        if (error < 0)
            return error;
        toy->dirty = true;
    }
    ret->file = disk->file;
    ret->offset = (uint64_t)*entry * BLOCK + offset % BLOCK;
    return 0;
}

static void free_block(struct toy *toy, uint16_t *entry)
{
    if (*entry == 0)
        return;
    toy->freed[*entry] = true;
    if (toy->fault == TOY_REUSES_EARLY)
        toy->used[*entry] = toy->freed[*entry] = false;
    *entry = 0;
    toy->dirty = true;
}

static int toy_unmap(struct disk *disk, uint64_t offset, uint64_t length)
{
    struct toy *toy = toy_of(disk);
    int error = 0;

    for (uint64_t end = offset + length; error == 0 && offset < end;) {
        uint64_t left = BLOCK - offset % BLOCK;
        uint64_t piece = end - offset < left ? end - offset : left;
        uint16_t *entry = &toy->entries[offset / BLOCK];
        if (piece == BLOCK)
            free_block(toy, entry);
        else if (*entry != 0)
            error = file_punch(disk->file, (uint64_t)*entry * BLOCK + offset % BLOCK, piece);
        offset += piece;
    }
    return error;
}

/* ---- commit ---- */

static void toy_commit_prepare(struct disk *disk)
{
    struct toy *toy = toy_of(disk);

    toy->sequence += toy->dirty;
    encode(toy);
    memcpy(toy->committing, toy->freed, sizeof(toy->freed));
    memset(toy->freed, 0, sizeof(toy->freed));
}

static int toy_commit_write(struct disk *disk)
{
    struct toy *toy = toy_of(disk);
    int error = toy->fault == TOY_NO_FLUSH_BEFORE && toy->dirty ? 0 : file_flush(disk->file);

    if (error < 0 || !toy->dirty)
        return error;
    error = write_table(toy);
    return error < 0 || toy->fault == TOY_NO_FLUSH_BEHIND ? error : file_flush(disk->file);
}

static void toy_commit_done(struct disk *disk, int error)
{
    struct toy *toy = toy_of(disk);

    for (unsigned i = 0; error == 0 && i < ROOM; i++)
        toy->used[i] = toy->used[i] && !toy->committing[i];
    toy->dirty = toy->dirty && error != 0;
}

static const struct disk_ops toy_ops = {
    .map = toy_map,
    .unmap = toy_unmap,
    .commit_prepare = toy_commit_prepare,
    .commit_write = toy_commit_write,
    .commit_done = toy_commit_done,
    .close = disk_free,
};

/* ---- open ---- */

static int open_file(struct disk_host *host, const char *path, unsigned flags, struct toy **ret)
{
    struct toy *toy = calloc(1, sizeof(*toy));
    int error = toy != NULL ? host->open(host, path, flags, &toy->disk.file, NULL) : -ENOMEM;

    if (error < 0) {
        free(toy);
        return error;
    }
    toy->disk.ops = &toy_ops;
    toy->disk.geometry.logical_sector = toy->disk.geometry.physical_sector = 512;
    *ret = toy;
    return 0;
}

int toy_create(struct disk_host *host, const char *path, uint64_t capacity)
{
    struct toy *toy = NULL;
    int error = open_file(host, path, (unsigned)FILE_WRITABLE | (unsigned)FILE_CREATE, &toy);

    if (error < 0)
        return error;
    toy->disk.geometry.capacity = capacity;
    encode(toy);
    error = write_table(toy);
    if (error == 0)
        error = file_flush(toy->disk.file);
    disk_free(&toy->disk);
    return error;
}

/* What opening would do to an image that was not closed: make both tables the same. */
static int recover(struct toy *toy)
{
    int error = 0;

    for (unsigned i = 0; error == 0 && i < 2; i++) {
        toy->sequence += toy->fault == TOY_TEARS_RECOVERY ? 2 : 1;
        encode(toy);
        error = write_table(toy);
        if (error == 0)
            error = file_flush(toy->disk.file);
    }
    return error;
}

int toy_open(struct disk_host *host, const char *path, unsigned flags, enum toy_fault fault,
             struct disk **ret)
{
    struct toy *toy = NULL;
    bool writable = (flags & DISK_WRITABLE) != 0;
    int error = open_file(host, path, writable ? FILE_WRITABLE : 0, &toy);

    if (error < 0)
        return error;
    toy->fault = fault;
    toy->disk.geometry.read_only = !writable;
    error = read_table(toy);
    if (error == 0 && writable)
        error = recover(toy);
    if (error < 0) {
        disk_free(&toy->disk);
        return error;
    }
    *ret = &toy->disk;
    return 0;
}
