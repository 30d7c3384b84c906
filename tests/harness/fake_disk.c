#include "tests/harness/fake_disk.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct disk *fake_disk_create(uint64_t capacity, uint32_t sector)
{
    struct disk *disk = calloc(1, sizeof(*disk));
    if (disk == NULL)
        abort();
    disk->geometry = (struct disk_geometry){
        .capacity = capacity, .logical_sector = sector, .physical_sector = 4096};
    disk->bytes = calloc(1, capacity);
    if (disk->bytes == NULL)
        abort();
    return disk;
}

void fake_disk_destroy(struct disk *disk)
{
    if (disk->pending_count != 0)
        abort();
    free(disk->bytes);
    free(disk);
}

const struct disk_geometry *disk_geometry(const struct disk *disk)
{
    return &disk->geometry;
}

static bool is_zero(const struct disk *disk, uint64_t offset)
{
    const uint8_t *at = disk->bytes + offset;
    return at[0] == 0 && memcmp(at, at + 1, disk->geometry.logical_sector - 1) == 0;
}

/* What is zero is taken for a hole. */
int disk_extent(struct disk *disk, uint64_t offset, uint64_t *ret_end, bool *ret_data)
{
    uint32_t sector = disk->geometry.logical_sector;
    int error = disk->fail[DISK_READ];

    if (offset >= disk->geometry.capacity || offset % sector != 0)
        abort();
    disk->fail[DISK_READ] = 0;
    *ret_data = !is_zero(disk, offset);
    for (*ret_end = offset + sector; *ret_end < disk->geometry.capacity; *ret_end += sector) {
        if (is_zero(disk, *ret_end) == *ret_data)
            break;
    }
    return error;
}

static void check_request(const struct disk *disk, const struct disk_request *request)
{
    uint32_t mask = disk->geometry.logical_sector - 1;
    uint64_t sum = 0;

    if (request->op == DISK_FLUSH)
        return;
    if (((request->offset | request->length) & mask) != 0 ||
        request->length > disk->geometry.capacity ||
        request->offset > disk->geometry.capacity - request->length)
        abort();
    if (request->op == DISK_UNMAP)
        return;
    for (unsigned i = 0; i < request->iov_count; i++) {
        if ((request->iov[i].iov_len & mask) != 0)
            abort();
        sum += request->iov[i].iov_len;
    }
    if (sum != request->length || (disk->geometry.read_only && request->op == DISK_WRITE))
        abort();
}

static void unmap(struct disk *disk, uint64_t offset, uint64_t length)
{
    uint64_t end = offset + length;

    if (disk->keep_unmapped) {
        offset = (offset + 4095) & ~UINT64_C(4095);
        end &= ~UINT64_C(4095);
    }
    if (end > offset)
        memset(disk->bytes + offset, 0, end - offset);
}

static void move(struct disk *disk, const struct disk_request *request)
{
    uint8_t *at = disk->bytes + request->offset;

    for (unsigned i = 0; i < request->iov_count; i++) {
        const struct iovec *piece = &request->iov[i];
        if (request->op == DISK_READ)
            memcpy(piece->iov_base, at, piece->iov_len);
        else
            memcpy(at, piece->iov_base, piece->iov_len);
        at += piece->iov_len;
    }
}

static int perform(struct disk *disk, const struct disk_request *request)
{
    int error = disk->fail[request->op];

    disk->fail[request->op] = 0;
    if (error != 0)
        return error;
    disk->count[request->op]++;
    if (request->op == DISK_READ || request->op == DISK_WRITE)
        move(disk, request);
    else if (request->op == DISK_UNMAP)
        unmap(disk, request->offset, request->length);
    if (request->op != DISK_READ)
        disk->unflushed = request->op != DISK_FLUSH;
    return 0;
}

void disk_submit(struct disk *disk, struct disk_request *request)
{
    check_request(disk, request);
    if (!disk->late) {
        request->done(request, perform(disk, request));
        return;
    }
    if (disk->pending_count == FAKE_DISK_PENDING)
        abort();
    disk->pending[disk->pending_count++] = request;
}

void fake_disk_end(struct disk *disk, unsigned index)
{
    struct disk_request *request = disk->pending[index];

    disk->pending_count--;
    for (unsigned i = index; i < disk->pending_count; i++)
        disk->pending[i] = disk->pending[i + 1];
    request->done(request, perform(disk, request));
}

void fake_disk_end_all(struct disk *disk)
{
    while (disk->pending_count > 0)
        fake_disk_end(disk, 0);
}
