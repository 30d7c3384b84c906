/* For tests of images: a host whose files are in memory, found by the last part of their path. */
#ifndef DISK_IMAGE_FIXTURE_H
#define DISK_IMAGE_FIXTURE_H

#include <stdio.h>

#include "disk/image.h"
#include "disk/memory_file.h"

enum { FIXTURE_FILES = 8, FIXTURE_ROOM = 256 << 20 };

struct fixture_file {
    char name[64];
    struct memory_file memory;
};

struct fixture_host {
    struct disk_host host; /* its first member */
    struct fixture_file files[FIXTURE_FILES];
    unsigned count;
};

static inline struct fixture_file *fixture_find(struct fixture_host *host, const char *path)
{
    const char *slash = strrchr(path, '/');
    const char *name = slash != NULL ? slash + 1 : path;

    for (unsigned i = 0; i < host->count; i++) {
        if (strcmp(host->files[i].name, name) == 0)
            return &host->files[i];
    }
    return NULL;
}

static int fixture_open(struct disk_host *disk_host, const char *path, unsigned flags,
                        struct file **ret, struct reason *reason)
{
    struct fixture_host *host = (struct fixture_host *)(void *)disk_host; /* its first member */
    struct fixture_file *file = fixture_find(host, path);
    const char *slash = strrchr(path, '/');

    if (file != NULL && (flags & FILE_CREATE) != 0)
        return reason_set(reason, -EEXIST, "%s: exists", path);
    if (file == NULL && (flags & FILE_CREATE) == 0)
        return reason_set(reason, -ENOENT, "%s: no such file", path);
    if (file == NULL) {
        if (host->count == FIXTURE_FILES)
            abort();
        file = &host->files[host->count++];
        (void)snprintf(file->name, sizeof(file->name), "%s", slash != NULL ? slash + 1 : path);
        memory_file_init(&file->memory, 0, FIXTURE_ROOM);
    }
    *ret = &file->memory.file;
    return 0;
}

static inline void fixture_init(struct fixture_host *host)
{
    *host = (struct fixture_host){.host = {fixture_open}};
}

static inline void fixture_release(struct fixture_host *host)
{
    for (unsigned i = 0; i < host->count; i++)
        free(host->files[i].memory.bytes);
}

#endif
