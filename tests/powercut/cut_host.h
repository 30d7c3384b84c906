/*
 * A host of image files in memory that remembers every change, in order: what replay.h cuts at any
 * of them. All files lie in one folder.
 */
#ifndef TESTS_POWERCUT_CUT_HOST_H
#define TESTS_POWERCUT_CUT_HOST_H

#include "content.h"
#include "disk/image.h"

enum { CUT_FILES = 4, CUT_NAME = 64 };

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

struct cut_file;

struct cut_host {
    struct disk_host host; /* its first member */
    struct cut_file *files[CUT_FILES];
    unsigned count;
    struct cut_log log;
    /* What another thread does between two changes of a file; NULL: nothing. */
    void (*meanwhile)(void *owner);
    void *owner;
};

void cut_host_init(struct cut_host *host);
void cut_host_release(struct cut_host *host);
/* The same files, and an empty log. */
void cut_host_clone(const struct cut_host *from, struct cut_host *to);
/* One more file; its content is the caller's to fill. */
struct content *cut_host_add(struct cut_host *host, const char *name);
const char *cut_host_name(const struct cut_host *host, unsigned file);
struct content *cut_host_content(const struct cut_host *host, unsigned file);
/* Put what a test wants to find again into the log. */
void cut_mark(struct cut_host *host, uint64_t what, uint64_t value);

static inline uint64_t cut_random(uint64_t *seed, uint64_t below)
{
    *seed = *seed * 6364136223846793005U + 1442695040888963407U;
    return (*seed >> 33) % below;
}

#endif
