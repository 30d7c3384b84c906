/*
 * For fuzz targets of image formats: images in memory that were sound, of which some bytes are
 * changed; then the input says what is done with the disk. What was written to a disk that opened
 * is read back.
 *
 * Images are found by the first character of their name: "0.vhdx".
 */
#ifndef DISK_IMAGE_FUZZ_H
#define DISK_IMAGE_FUZZ_H

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/coverage.h"
#include "disk/file.h"
#include "disk/image.h"

enum {
    MIB = 1 << 20,
    FUZZ_PAGE = 4096,
    MOST_SIZE = 64 * MIB,
    PAGES = MOST_SIZE / FUZZ_PAGE,
    CAPACITY = 8 * MIB,
    SECTOR = 512,
    IMAGES = 3,
};

/* A file in pages; what was changed since it was sound is put back after each input. */
struct page_file {
    struct file file;              /* its first member */
    const struct page_file *sound; /* NULL: this is it */
    uint8_t *pages[PAGES];
    uint64_t size;
    unsigned changed[4 * PAGES], changed_count;
};

static struct page_file *page_file_of(struct file *file)
{
    return (struct page_file *)(void *)file; /* its first member */
}

/* Pages that were given back are used again: an allocator that looks for mistakes is slow. */
union free_page {
    union free_page *next;
    uint8_t bytes[FUZZ_PAGE];
};

static union free_page *free_pages;

static uint8_t *take_page(void)
{
    union free_page *page = free_pages;

    if (page != NULL)
        free_pages = page->next;
    else
        page = malloc(sizeof(*page));
    if (page == NULL)
        abort();
    return page->bytes;
}

static void release_page(uint8_t *bytes)
{
    union free_page *page = (union free_page *)(void *)bytes;

    page->next = free_pages;
    free_pages = page;
}

static uint8_t *page_for_writing(struct page_file *file, uint64_t index)
{
    const uint8_t *old = file->sound != NULL ? file->sound->pages[index] : NULL;

    if (file->pages[index] != NULL && file->pages[index] != old)
        return file->pages[index];
    uint8_t *page = take_page();
    if (old != NULL && file->pages[index] != NULL)
        memcpy(page, old, FUZZ_PAGE);
    else
        memset(page, 0, FUZZ_PAGE);
    file->pages[index] = page;
    if (file->sound != NULL)
        file->changed[file->changed_count++ % (4 * PAGES)] = (unsigned)index;
    return page;
}

static void drop_page(struct page_file *file, uint64_t index)
{
    const uint8_t *old = file->sound != NULL ? file->sound->pages[index] : NULL;

    if (file->pages[index] == NULL)
        return;
    if (file->pages[index] != old)
        release_page(file->pages[index]);
    else
        file->changed[file->changed_count++ % (4 * PAGES)] = (unsigned)index;
    file->pages[index] = NULL;
}

NO_COVERAGE static int page_read(struct file *file, void *bytes, size_t length, uint64_t offset)
{
    const struct page_file *from = page_file_of(file);
    uint8_t *to = bytes;

    while (length > 0) {
        size_t within = offset % FUZZ_PAGE;
        size_t piece = length < FUZZ_PAGE - within ? length : FUZZ_PAGE - within;
        const uint8_t *page = offset < from->size ? from->pages[offset / FUZZ_PAGE] : NULL;
        if (page != NULL)
            memcpy(to, page + within, piece);
        else
            memset(to, 0, piece);
        to += piece;
        offset += piece;
        length -= piece;
    }
    return 0;
}

NO_COVERAGE static int page_write(struct file *file, const void *bytes, size_t length,
                                  uint64_t offset)
{
    struct page_file *to = page_file_of(file);
    const uint8_t *from = bytes;

    if (length > MOST_SIZE || offset > MOST_SIZE - length)
        return -ENOSPC;
    if (offset + length > to->size)
        to->size = offset + length;
    while (length > 0) {
        size_t within = offset % FUZZ_PAGE;
        size_t piece = length < FUZZ_PAGE - within ? length : FUZZ_PAGE - within;
        memcpy(page_for_writing(to, offset / FUZZ_PAGE) + within, from, piece);
        from += piece;
        offset += piece;
        length -= piece;
    }
    return 0;
}

static int page_flush(struct file *file)
{
    (void)file;
    return 0;
}

NO_COVERAGE static int page_punch(struct file *file, uint64_t offset, uint64_t length)
{
    struct page_file *to = page_file_of(file);
    uint64_t end = offset >= to->size           ? offset
                   : length < to->size - offset ? offset + length
                                                : to->size;

    while (offset < end) {
        uint64_t within = offset % FUZZ_PAGE;
        uint64_t piece = end - offset < FUZZ_PAGE - within ? end - offset : FUZZ_PAGE - within;
        if (piece == FUZZ_PAGE)
            drop_page(to, offset / FUZZ_PAGE);
        else if (to->pages[offset / FUZZ_PAGE] != NULL)
            memset(page_for_writing(to, offset / FUZZ_PAGE) + within, 0, piece);
        offset += piece;
    }
    return 0;
}

static int page_truncate(struct file *file, uint64_t size)
{
    struct page_file *to = page_file_of(file);

    if (size > MOST_SIZE)
        return -EFBIG;
    if (size < to->size)
        (void)page_punch(file, size, to->size - size);
    to->size = size;
    return 0;
}

static int page_size(struct file *file, uint64_t *ret)
{
    *ret = page_file_of(file)->size;
    return 0;
}

NO_COVERAGE static int page_extent(struct file *file, uint64_t offset, uint64_t *ret_end,
                                   bool *ret_data)
{
    const struct page_file *from = page_file_of(file);
    uint64_t page = offset / FUZZ_PAGE;
    uint64_t end = (from->size + FUZZ_PAGE - 1) / FUZZ_PAGE; /* behind it is no page */

    *ret_data = page < end && from->pages[page] != NULL;
    while (page < end && (from->pages[page] != NULL) == *ret_data)
        page++;
    *ret_end = page < end || *ret_data ? page * FUZZ_PAGE : (uint64_t)INT64_MAX;
    return 0;
}

static void page_close(struct file *file)
{
    (void)file; /* static */
}

static const struct file_ops page_ops = {
    .read = page_read,
    .write = page_write,
    .flush = page_flush,
    .punch = page_punch,
    .truncate = page_truncate,
    .size = page_size,
    .extent = page_extent,
    .close = page_close,
};

NO_COVERAGE static void put_back(struct page_file *file)
{
    for (unsigned i = 0; i < file->changed_count && i < 4 * PAGES; i++) {
        unsigned index = file->changed[i];
        if (file->pages[index] != NULL && file->pages[index] != file->sound->pages[index])
            release_page(file->pages[index]);
        file->pages[index] = file->sound->pages[index];
    }
    file->changed_count = 0;
    file->size = file->sound->size;
}

/* ---- sound images ---- */

static struct page_file sound[IMAGES], files[IMAGES];
static struct page_file *served; /* sound or files */

static int open_image(struct disk_host *host, const char *path, unsigned flags, struct file **ret,
                      struct reason *reason)
{
    const char *slash = strrchr(path, '/');
    unsigned index = (unsigned)((slash != NULL ? slash[1] : path[0]) - '0');

    (void)host;
    (void)flags;
    if (index >= IMAGES)
        return reason_set(reason, -ENOENT, "%s: no such file", path);
    *ret = &served[index].file;
    return 0;
}

static struct disk_host host = {open_image};

static void must(int error)
{
    if (error != 0)
        abort();
}

/* What was made is sound; what the input changes is put back after it. */
static void keep_sound(void)
{
    for (unsigned i = 0; i < IMAGES; i++) {
        files[i].file.ops = &page_ops;
        files[i].sound = &sound[i];
        files[i].size = sound[i].size;
        memcpy(files[i].pages, sound[i].pages, sizeof(files[i].pages));
    }
    served = files;
}

static void put_all_back(void)
{
    for (unsigned i = 0; i < IMAGES; i++)
        put_back(&files[i]);
}

/* Two blocks in part, one that is freed again, one of a few sectors; little of it all is data. */
static void fill(struct disk *disk, uint8_t value)
{
    enum { PIECE = 16 << 10 };
    static const uint64_t places[] = {MIB / 2, MIB - PIECE, MIB, 2 * MIB, 2 * MIB + MIB / 2};
    static uint8_t bytes[PIECE];

    memset(bytes, value, sizeof(bytes));
    for (unsigned i = 0; i < sizeof(places) / sizeof(places[0]); i++)
        must(disk_write(disk, bytes, PIECE, places[i]));
    must(disk_write(disk, bytes, 3 * SECTOR, 5 * MIB + value * (uint64_t)SECTOR));
    must(disk_unmap(disk, MIB, MIB));
    must(disk_flush(disk));
}

/* Into sound[index]; the disk is left open. */
static struct disk *make_open(unsigned index, const char *path, const struct image_layout *layout)
{
    struct disk *disk = NULL;

    served = sound;
    sound[index].file.ops = &page_ops;
    must(image_create(&host, path, layout, NULL));
    must(disk_open_with(&host, path, DISK_WRITABLE, &disk, NULL));
    fill(disk, (uint8_t)(index + 1));
    return disk;
}

/* ---- the input ---- */

struct input {
    const uint8_t *data;
    size_t size;
};

static unsigned take(struct input *input)
{
    if (input->size == 0)
        return 0;
    input->size--;
    return *input->data++;
}

/* ---- what is done with the disk ---- */

static void write_and_read(struct disk *disk, uint64_t offset, size_t length, uint8_t value)
{
    static uint8_t bytes[64 << 10];

    memset(bytes, value, length);
    if (disk_write(disk, bytes, length, offset) != 0)
        return;
    memset(bytes, (uint8_t)~value, length);
    if (disk_read(disk, bytes, length, offset) != 0)
        abort();
    if (bytes[0] != value || memcmp(bytes, bytes + 1, length - 1) != 0)
        abort();
}

static int no_progress(void *owner, uint64_t done, uint64_t total)
{
    (void)owner;
    return done > total ? -EINVAL : 0;
}

static void act(struct disk *disk, struct input *input)
{
    static uint8_t bytes[64 << 10];
    const struct disk_geometry *geometry = disk_geometry(disk);
    uint64_t sectors = geometry->capacity / geometry->logical_sector;
    uint64_t offset = (take(input) << 8 | take(input)) * UINT64_C(7) % sectors;
    size_t length = (size_t)(take(input) % 16 + 1) * geometry->logical_sector;
    struct image_extent extent;
    unsigned what = take(input) % 8;

    offset *= geometry->logical_sector;
    if (length > geometry->capacity - offset)
        length = (size_t)(geometry->capacity - offset);
    if (what < 2)
        (void)disk_read(disk, bytes, length, offset);
    else if (what < 4)
        write_and_read(disk, offset, length, (uint8_t)take(input));
    else if (what == 4)
        (void)disk_unmap(disk, offset,
                         geometry->capacity - offset < 3 * MIB ? geometry->capacity - offset
                                                               : (uint64_t)3 * MIB);
    else if (what == 5)
        (void)disk_flush(disk);
    else if (what == 6)
        (void)image_map(disk, offset, &extent);
    else if (geometry->capacity <= 2 * CAPACITY && take(input) % 8 == 0) /* slow */
        (void)image_compact(disk, no_progress, NULL, NULL);
}

static void note(void *owner, enum image_severity severity, uint64_t offset, const char *text)
{
    (void)severity;
    (void)offset;
    *(size_t *)owner += strlen(text);
}

static void use(const char *path, struct input *input, unsigned flags)
{
    struct disk *disk = NULL;
    struct image_info info;
    size_t told = 0;
    struct image_check check = {.found = note, .owner = &told};

    if ((flags & 8) != 0)
        (void)image_check(&host, path, 0, (flags & 16) != 0, &check, NULL);
    if (disk_open_with(&host, path, (flags & 1) | (flags & 2 ? (unsigned)DISK_ANY_PARENT : 0),
                       &disk, NULL) != 0)
        return;
    (void)image_describe(disk, &info);
    for (unsigned i = 0; i < 12 && input->size > 0; i++)
        act(disk, input);
    (void)disk_close(disk);
}

#endif
