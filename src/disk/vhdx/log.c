/* Entries of the log, as they are written. */
#include "disk/vhdx/log.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/bytes.h"
#include "base/crc32c.h"
#include "disk/vhdx/log_wire.h"

/* Sectors of an entry before its data. */
static unsigned descriptor_sectors(unsigned count)
{
    return ((unsigned)LOG_ENTRY_HEADER + count * (unsigned)LOG_DESCRIPTOR + LOG_SECTOR - 1) /
           LOG_SECTOR;
}

/* Sectors of the longest entry. */
static unsigned most_sectors(const struct vhdx_log *log)
{
    return log->length / LOG_SECTOR / 2;
}

/* The pages, then the entry. */
static size_t memory_size(const struct vhdx_log *log)
{
    return (size_t)(log->most + most_sectors(log)) * LOG_SECTOR;
}

void vhdx_log_init(struct vhdx_log *log, const struct vhdx_header *header)
{
    *log = (struct vhdx_log){.offset = header->log_offset, .length = header->log_length};
    log->most = most_sectors(log) - descriptor_sectors(most_sectors(log));
}

/* Mapped, so that it takes as much memory as the largest entry that was written. */
int vhdx_log_reserve(struct vhdx_log *log)
{
    if (log->pages != NULL)
        return 0;
    if (log->homes == NULL)
        log->homes = calloc(log->most, sizeof(*log->homes));
    if (log->homes == NULL)
        return -ENOMEM;
    void *memory = mmap(NULL, memory_size(log), PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED)
        return -ENOMEM;
    log->pages = memory;
    log->entry = log->pages + (size_t)log->most * LOG_SECTOR;
    return 0;
}

void vhdx_log_release(struct vhdx_log *log)
{
    free(log->homes);
    if (log->pages != NULL)
        (void)munmap(log->pages, memory_size(log));
}

void vhdx_log_restart(struct vhdx_log *log, const struct partition_guid *guid)
{
    log->guid = *guid;
    log->sequence = 1;
    log->head = 0;
}

uint8_t *vhdx_log_add(struct vhdx_log *log, uint64_t home)
{
    log->homes[log->count] = home;
    return log->pages + (size_t)log->count++ * LOG_SECTOR;
}

/* The first eight and last four bytes of a page are in its descriptor: their place is taken. */
static void seal_page(const struct vhdx_log *log, unsigned index, uint8_t *descriptor,
                      uint8_t *sector)
{
    const uint8_t *page = log->pages + (size_t)index * LOG_SECTOR;

    vhdx_put_tag(descriptor, "desc", 4);
    memcpy(descriptor + DESCRIPTOR_TRAILING, page + LOG_SECTOR - 4, 4);
    memcpy(descriptor + DESCRIPTOR_LEADING, page, 8);
    put_le64(descriptor + DESCRIPTOR_OFFSET, log->homes[index]);
    put_le64(descriptor + DESCRIPTOR_SEQUENCE, log->sequence);
    vhdx_put_tag(sector, "data", 4);
    put_le32(sector + 4, (uint32_t)(log->sequence >> 32));
    memcpy(sector + 8, page + 8, LOG_SECTOR - 12);
    put_le32(sector + LOG_SECTOR - 4, (uint32_t)log->sequence);
}

void vhdx_log_seal(struct vhdx_log *log, uint64_t file_end)
{
    uint8_t *entry = log->entry;
    unsigned before = descriptor_sectors(log->count);

    log->entry_length = (size_t)(before + log->count) * LOG_SECTOR;
    memset(entry, 0, (size_t)before * LOG_SECTOR);
    vhdx_put_tag(entry, "loge", 4);
    put_le32(entry + ENTRY_LENGTH, (uint32_t)log->entry_length);
    put_le32(entry + ENTRY_TAIL, log->head);
    put_le64(entry + ENTRY_SEQUENCE, log->sequence);
    put_le32(entry + ENTRY_COUNT, log->count);
    memcpy(entry + ENTRY_GUID, log->guid.bytes, 16);
    put_le64(entry + ENTRY_FLUSHED_END, file_end);
    put_le64(entry + ENTRY_LAST_END, file_end);
    for (unsigned i = 0; i < log->count; i++)
        seal_page(log, i, entry + LOG_ENTRY_HEADER + (size_t)i * LOG_DESCRIPTOR,
                  entry + (size_t)(before + i) * LOG_SECTOR);
    put_le32(entry + 4, crc32c(0, entry, log->entry_length)); /* its place was zero */
}

int vhdx_log_write(struct vhdx_log *log, struct file *file)
{
    size_t until_end = log->length - log->head;
    size_t first = log->entry_length < until_end ? log->entry_length : until_end;
    int error = file_write(file, log->entry, first, log->offset + log->head);

    if (error == 0 && first < log->entry_length)
        error = file_write(file, log->entry + first, log->entry_length - first, log->offset);
    if (error < 0)
        return error;
    log->head = (uint32_t)((log->head + log->entry_length) % log->length);
    log->sequence++;
    return 0;
}

int vhdx_log_write_home(struct vhdx_log *log, struct file *file)
{
    int error = 0;

    for (unsigned i = 0; error == 0 && i < log->count; i++)
        error = file_write(file, log->pages + (size_t)i * LOG_SECTOR, LOG_SECTOR, log->homes[i]);
    log->count = 0;
    return error;
}
