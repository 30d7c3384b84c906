/*
 * Whatever is in a VHD file, opening, reading, changing and checking it end in order, and what was
 * written to a disk that opened is read back. Checksums of what was changed are made right again.
 */
#include "disk/vhd/vhd.h"

#include "disk/image_fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* 0: dynamic; 1: a child that was not closed; 2: its parent, also dynamic. */
static void make(unsigned index, const char *path, const char *parent)
{
    const struct image_layout layout = {.format = IMAGE_VHD,
                                        .kind = parent != NULL ? IMAGE_DIFFERENCING : IMAGE_DYNAMIC,
                                        .capacity = CAPACITY,
                                        .block_size = MIB,
                                        .parent = parent};
    struct disk *disk = make_open(index, path, &layout);

    if (parent != NULL)
        vhd_close(disk); /* as if it had been killed */
    else
        must(disk_close(disk));
}

static void prepare(void)
{
    make(0, "0.vhd", NULL);
    make(2, "2.vhd", NULL);
    make(1, "1.vhd", "2.vhd");
    keep_sound();
}

/* ---- the changes ---- */

static void seal(struct page_file *file, uint64_t offset, size_t length, size_t sum_at)
{
    uint8_t bytes[VHD_HEADER];
    uint32_t sum = 0;

    (void)page_read(&file->file, bytes, length, offset);
    put_be32(bytes + sum_at, 0);
    for (size_t i = 0; i < length; i++)
        sum += bytes[i];
    put_be32(bytes + sum_at, ~sum);
    must(page_write(&file->file, bytes, length, offset));
}

static void spoil(struct page_file *file, struct input *input)
{
    enum { HEADER = VHD_FOOTER, TABLE = VHD_FOOTER + VHD_HEADER, SUM = 64, HEADER_SUM = 36 };
    const uint64_t end = file->size - VHD_FOOTER;
    const uint64_t places[] = {0, HEADER, HEADER + 576, TABLE, end, TABLE + VHD_SECTOR};
    unsigned count = take(input) % 16;

    for (unsigned i = 0; i < count; i++) {
        uint64_t place = places[take(input) % (sizeof(places) / sizeof(places[0]))];
        unsigned offset = take(input) | (take(input) & 1) << 8;
        uint8_t bytes[8];
        unsigned length = take(input) % sizeof(bytes) + 1;
        for (unsigned j = 0; j < length; j++)
            bytes[j] = (uint8_t)take(input);
        if (place + offset + length <= file->size)
            must(page_write(&file->file, bytes, length, place + offset));
    }
    if (take(input) % 4 != 0)
        seal(file, 0, VHD_FOOTER, SUM);
    if (take(input) % 4 != 0)
        seal(file, end, VHD_FOOTER, SUM);
    seal(file, HEADER, VHD_HEADER, HEADER_SUM);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input input = {data, size};

    if (served == NULL)
        prepare();
    unsigned flags = take(&input);
    bool child = (flags & 4) != 0;
    spoil(&files[child], &input);
    use(child ? "1.vhd" : "0.vhd", &input, flags);
    put_all_back();
    return 0;
}
