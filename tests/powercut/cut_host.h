/*
 * A host of image files in memory that remembers every change, in order, and can be cut at any of
 * them: what a power cut leaves is what was flushed, and of the changes since then any subset, each
 * torn between its sectors.
 */
#ifndef TESTS_POWERCUT_CUT_HOST_H
#define TESTS_POWERCUT_CUT_HOST_H

#include "disk/image.h"

enum { CUT_FILES = 4, CUT_PAGE = 4096, CUT_SECTOR = 512, CUT_MOST_PAGES = 1 << 15 };

enum cut_kind { CUT_WRITE, CUT_TRUNCATE, CUT_PUNCH, CUT_FLUSH, CUT_MARK };

struct cut_event {
    enum cut_kind kind;
    unsigned file;
    uint64_t offset, length; /* truncate: offset is the new size; mark: the caller's */
    uint8_t *bytes;          /* write */
};

struct cut_log {
    struct cut_event *events;
    size_t count, room;
};

/* What a file holds; pages that are not its own belong to what it was cloned from. */
struct cut_content {
    uint8_t **pages;
    bool *own;
    uint64_t size;
    unsigned used; /* pages that may be there are below */
};

struct cut_file;

struct cut_host {
    struct disk_host host; /* its first member */
    struct cut_file *files[CUT_FILES];
    unsigned count;
    struct cut_log log;
};

void cut_host_init(struct cut_host *host);
void cut_host_release(struct cut_host *host);
/* Put what the tests want to find again into the log. */
void cut_mark(struct cut_host *host, uint64_t what, uint64_t value);

/* ---- replay ---- */

struct cut_cursor {
    const struct cut_log *log;
    const struct cut_host *names;
    size_t at; /* events before are done */
    struct cut_content durable[CUT_FILES];
    bool made[CUT_FILES]; /* the file is there: its creation is durable with its first flush */
    size_t *pending;      /* events since their file's last flush */
    size_t pending_count, pending_room;
    unsigned forget_flush; /* every so manieth flush does nothing: a test of the test; 0: none */
    unsigned flushes;
};

void cut_cursor_init(struct cut_cursor *cursor, const struct cut_host *host,
                     const struct cut_host *base);
void cut_cursor_release(struct cut_cursor *cursor);
/* One event further. */
void cut_cursor_step(struct cut_cursor *cursor);

enum cut_loss { CUT_LOSE_NOTHING, CUT_LOSE_ALL, CUT_LOSE_SOME, CUT_LOSE_AND_TEAR };
/* The files as a cut here leaves them; the cursor must outlive them. */
void cut_make(const struct cut_cursor *cursor, enum cut_loss loss, uint64_t *seed,
              struct cut_host *ret);

static inline uint64_t cut_random(uint64_t *seed, uint64_t below)
{
    *seed = *seed * 6364136223846793005U + 1442695040888963407U;
    return (*seed >> 33) % below;
}

#endif
