/* What a file in memory holds: pages that clones share until one of them changes them. */
#ifndef TESTS_POWERCUT_CONTENT_H
#define TESTS_POWERCUT_CONTENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    CONTENT_PAGE = 4096,
    CONTENT_CHUNK_PAGES = 64,
    CONTENT_CHUNKS = 4096,
};
#define CONTENT_MOST ((uint64_t)CONTENT_PAGE * CONTENT_CHUNK_PAGES * CONTENT_CHUNKS)

struct content_chunk;

struct content {
    struct content_chunk **chunks;
    unsigned used; /* those that are there are below */
    uint64_t size;
};

/* Ends the program when there is no memory: nothing can be told of the disk then. */
void *content_must(void *memory);

void content_init(struct content *content);
void content_release(struct content *content);
/* Costs what the chunks cost, not what the pages do. */
void content_clone(const struct content *from, struct content *to);

/* Within CONTENT_MOST. A write past the end makes it longer. */
void content_write(struct content *content, const uint8_t *bytes, uint64_t length, uint64_t offset);
void content_read(const struct content *content, uint8_t *bytes, uint64_t length, uint64_t offset);
void content_truncate(struct content *content, uint64_t size);
void content_punch(struct content *content, uint64_t offset, uint64_t length);
/* Up to the result all pages are there, or none is. */
uint64_t content_extent(const struct content *content, uint64_t offset, bool *ret_data);

#endif
