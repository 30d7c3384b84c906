/*
 * Whatever is in a VHDX file, opening, reading, changing and checking it end in order, and what was
 * written to a disk that opened is read back. Checksums of what was changed are made right again.
 */
#include "disk/vhdx/vhdx.h"

#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/crc32c.h"
#include "disk/image_fuzz.h"
#include "disk/vhdx/log_wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* 0: dynamic and closed; 1: a child whose log is not carried out; 2: its parent. */
static void make(unsigned index, const char *path, const char *parent)
{
    const struct image_layout layout = {.format = IMAGE_VHDX,
                                        .kind = parent != NULL ? IMAGE_DIFFERENCING : IMAGE_DYNAMIC,
                                        .capacity = CAPACITY,
                                        .block_size = MIB,
                                        .parent = parent};
    struct disk *disk = make_open(index, path, &layout);

    if (parent != NULL)
        vhdx_close(disk); /* as if it had been killed */
    else
        must(disk_close(disk));
}

static void prepare(void)
{
    make(0, "0.vhdx", NULL);
    make(2, "2.vhdx", NULL);
    make(1, "1.vhdx", "2.vhdx");
    keep_sound();
}

/* ---- the changes ---- */

static void seal(struct page_file *file, uint64_t offset, size_t length, size_t sum_at)
{
    static uint8_t bytes[MIB];

    (void)page_read(&file->file, bytes, length, offset);
    put_le32(bytes + sum_at, 0);
    put_le32(bytes + sum_at, crc32c(0, bytes, length));
    must(page_write(&file->file, bytes + sum_at, 4, offset + sum_at));
}

/* Entries of the log, as long as they say that they are. */
static void seal_log(struct page_file *file)
{
    for (uint64_t at = MIB; at < 2 * MIB; at += LOG_SECTOR) {
        uint8_t header[LOG_ENTRY_HEADER];
        (void)page_read(&file->file, header, sizeof(header), at);
        uint32_t length = get_le32(header + ENTRY_LENGTH);
        if (memcmp(header, "loge", 4) == 0 && length >= LOG_SECTOR && length <= 2 * MIB - at)
            seal(file, at, length, ENTRY_CHECKSUM);
    }
}

enum place { HEADER_0 = 1, HEADER_1, REGIONS_0, LOG_FIRST, LOG_SECOND = 9, REGIONS_1, PLACES = 12 };

/* Returns a bit for each place that was changed. */
static unsigned change_places(struct page_file *file, struct input *input, bool child)
{
    const uint64_t log = child ? 4 * MIB : MIB; /* create.c: a child's is larger */
    const uint64_t metadata = MIB + log;
    const uint64_t places[PLACES] = {
        0,
        VHDX_HEADER_0,
        VHDX_HEADER_1,
        VHDX_REGIONS_0,
        MIB,
        metadata,
        metadata + VHDX_TABLE_SIZE,
        metadata + VHDX_LOCATOR_AT,
        metadata + MIB,
        MIB + LOG_SECTOR,
        VHDX_REGIONS_1,
        metadata + 2 * MIB,
    };
    unsigned count = take(input) % 16;
    unsigned changed = 0;

    for (unsigned i = 0; i < count; i++) {
        unsigned place = take(input) % PLACES;
        unsigned offset = take(input) | (take(input) & 3) << 8;
        uint8_t bytes[8];
        unsigned length = take(input) % sizeof(bytes) + 1;
        for (unsigned j = 0; j < length; j++)
            bytes[j] = (uint8_t)take(input);
        must(page_write(&file->file, bytes, length, places[place] + offset));
        changed |= 1U << place;
    }
    return changed;
}

static void spoil(struct page_file *file, struct input *input, bool child)
{
    unsigned changed = change_places(file, input, child);

    if ((changed & 1U << HEADER_0) != 0)
        seal(file, VHDX_HEADER_0, VHDX_HEADER_SIZE, 4);
    if ((changed & 1U << HEADER_1) != 0)
        seal(file, VHDX_HEADER_1, VHDX_HEADER_SIZE, 4);
    if ((changed & 1U << REGIONS_0) != 0)
        seal(file, VHDX_REGIONS_0, VHDX_TABLE_SIZE, 4);
    if ((changed & 1U << REGIONS_1) != 0)
        seal(file, VHDX_REGIONS_1, VHDX_TABLE_SIZE, 4);
    if ((changed & (1U << LOG_FIRST | 1U << LOG_SECOND)) != 0)
        seal_log(file);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input input = {data, size};

    if (served == NULL)
        prepare();
    unsigned flags = take(&input);
    bool child = (flags & 4) != 0;
    spoil(&files[child], &input, child);
    use(child ? "1.vhdx" : "0.vhdx", &input, flags);
    put_all_back();
    return 0;
}
