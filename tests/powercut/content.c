#include "content.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct content_page {
    unsigned owners;
    uint8_t bytes[CONTENT_PAGE];
};

struct content_chunk {
    unsigned owners;
    struct content_page *pages[CONTENT_CHUNK_PAGES];
};

void *content_must(void *memory)
{
    if (memory == NULL) {
        (void)fputs("powercut: out of memory\n", stderr);
        exit(2); /* NOLINT(concurrency-mt-unsafe): one thread */
    }
    return memory;
}

void content_init(struct content *content)
{
    *content = (struct content){0};
}

static void drop_page(struct content_page *page)
{
    if (page != NULL && --page->owners == 0)
        free(page);
}

static void drop_chunk(struct content_chunk *chunk)
{
    if (chunk == NULL || --chunk->owners != 0)
        return;
    for (unsigned i = 0; i < CONTENT_CHUNK_PAGES; i++)
        drop_page(chunk->pages[i]);
    free(chunk);
}

void content_release(struct content *content)
{
    for (unsigned i = 0; i < content->used; i++)
        drop_chunk(content->chunks[i]);
    free(content->chunks);
    *content = (struct content){0};
}

void content_clone(const struct content *from, struct content *to)
{
    *to = *from;
    to->chunks = content_must(calloc(from->used + 1, sizeof(struct content_chunk *)));
    for (unsigned i = 0; i < from->used; i++) {
        to->chunks[i] = from->chunks[i];
        if (to->chunks[i] != NULL)
            to->chunks[i]->owners++;
    }
}

static struct content_chunk *copy_chunk(const struct content_chunk *from)
{
    struct content_chunk *chunk = content_must(malloc(sizeof(*chunk)));

    *chunk = *from;
    chunk->owners = 1;
    for (unsigned i = 0; i < CONTENT_CHUNK_PAGES; i++) {
        if (chunk->pages[i] != NULL)
            chunk->pages[i]->owners++;
    }
    return chunk;
}

/* The content's own, so that it may be changed. */
static struct content_chunk *own_chunk(struct content *content, uint64_t index)
{
    if (index >= content->used) {
        content->chunks =
            content_must(reallocarray(content->chunks, index + 1, sizeof(struct content_chunk *)));
        memset(content->chunks + content->used, 0,
               (index + 1 - content->used) * sizeof(struct content_chunk *));
        content->used = (unsigned)index + 1;
    }
    struct content_chunk *chunk = content->chunks[index];
    if (chunk == NULL) {
        chunk = content_must(calloc(1, sizeof(*chunk)));
        chunk->owners = 1;
    } else if (chunk->owners > 1) {
        chunk->owners--;
        chunk = copy_chunk(chunk);
    }
    content->chunks[index] = chunk;
    return chunk;
}

static uint8_t *own_page(struct content *content, uint64_t index)
{
    struct content_chunk *chunk = own_chunk(content, index / CONTENT_CHUNK_PAGES);
    struct content_page **place = &chunk->pages[index % CONTENT_CHUNK_PAGES];
    struct content_page *old = *place;

    if (old != NULL && old->owners == 1)
        return old->bytes;
    struct content_page *page = content_must(calloc(1, sizeof(*page)));
    page->owners = 1;
    if (old != NULL) {
        memcpy(page->bytes, old->bytes, CONTENT_PAGE);
        old->owners--;
    }
    *place = page;
    return page->bytes;
}

static struct content_page *find_page(const struct content *content, uint64_t index)
{
    uint64_t chunk = index / CONTENT_CHUNK_PAGES;

    return chunk < content->used && content->chunks[chunk] != NULL
               ? content->chunks[chunk]->pages[index % CONTENT_CHUNK_PAGES]
               : NULL;
}

static uint64_t in_page(uint64_t offset, uint64_t length)
{
    uint64_t left = CONTENT_PAGE - offset % CONTENT_PAGE;
    return length < left ? length : left;
}

void content_write(struct content *content, const uint8_t *bytes, uint64_t length, uint64_t offset)
{
    if (length > 0 && offset + length > content->size)
        content->size = offset + length;
    while (length > 0) {
        uint64_t piece = in_page(offset, length);
        memcpy(own_page(content, offset / CONTENT_PAGE) + offset % CONTENT_PAGE, bytes, piece);
        bytes += piece;
        offset += piece;
        length -= piece;
    }
}

void content_read(const struct content *content, uint8_t *bytes, uint64_t length, uint64_t offset)
{
    while (length > 0) {
        uint64_t piece = in_page(offset, length);
        const struct content_page *page = find_page(content, offset / CONTENT_PAGE);
        if (page != NULL)
            memcpy(bytes, page->bytes + offset % CONTENT_PAGE, piece);
        else
            memset(bytes, 0, piece);
        bytes += piece;
        offset += piece;
        length -= piece;
    }
}

static void zero(struct content *content, uint64_t offset, uint64_t length)
{
    uint64_t most = (uint64_t)content->used * CONTENT_CHUNK_PAGES * CONTENT_PAGE;

    while (length > 0 && offset < most) {
        uint64_t piece = in_page(offset, length);
        uint64_t index = offset / CONTENT_PAGE;
        struct content_page *page = find_page(content, index);
        if (page != NULL && piece < CONTENT_PAGE) {
            memset(own_page(content, index) + offset % CONTENT_PAGE, 0, piece);
        } else if (page != NULL) {
            struct content_chunk *chunk = own_chunk(content, index / CONTENT_CHUNK_PAGES);
            chunk->pages[index % CONTENT_CHUNK_PAGES] = NULL;
            drop_page(page);
        }
        offset += piece;
        length -= piece;
    }
}

void content_truncate(struct content *content, uint64_t size)
{
    if (size < content->size)
        zero(content, size, content->size - size);
    content->size = size;
}

void content_punch(struct content *content, uint64_t offset, uint64_t length)
{
    if (offset >= content->size)
        return;
    uint64_t most = content->size - offset;
    zero(content, offset, length < most ? length : most);
}

uint64_t content_extent(const struct content *content, uint64_t offset, bool *ret_data)
{
    uint64_t most = (uint64_t)content->used * CONTENT_CHUNK_PAGES;
    uint64_t page = offset / CONTENT_PAGE;

    *ret_data = find_page(content, page) != NULL;
    while (page < most && (find_page(content, page) != NULL) == *ret_data)
        page++;
    return page < most || *ret_data ? page * CONTENT_PAGE : (uint64_t)INT64_MAX;
}
