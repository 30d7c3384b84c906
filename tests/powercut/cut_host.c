#include "cut_host.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "disk/file.h"

struct cut_file {
    struct file file; /* its first member */
    struct cut_host *host;
    unsigned index;
    char name[CUT_NAME];
    struct content content;
};

static struct cut_file *cut_of(struct file *file)
{
    return (struct cut_file *)(void *)file; /* its first member */
}

/* ---- the log ---- */

static void remember(struct cut_log *log, const struct cut_event *event)
{
    if (log->count == log->room) {
        log->room = log->room * 2 + 64;
        log->events = content_must(reallocarray(log->events, log->room, sizeof(*log->events)));
    }
    log->events[log->count++] = *event;
}

void cut_mark(struct cut_host *host, uint64_t what, uint64_t value)
{
    const struct cut_event event = {.kind = CUT_MARK, .offset = what, .length = value};

    remember(&host->log, &event);
}

/* What is done meanwhile is not interrupted itself. */
static void let_others(struct cut_host *host)
{
    void (*meanwhile)(void *owner) = host->meanwhile;

    if (meanwhile == NULL)
        return;
    host->meanwhile = NULL;
    meanwhile(host->owner);
    host->meanwhile = meanwhile;
}

/* ---- files ---- */

static int cut_read(struct file *file, void *bytes, size_t length, uint64_t offset)
{
    content_read(&cut_of(file)->content, bytes, length, offset);
    return 0;
}

static int cut_write(struct file *file, const void *bytes, size_t length, uint64_t offset)
{
    struct cut_file *cut = cut_of(file);

    let_others(cut->host);
    if (length > CONTENT_MOST || offset > CONTENT_MOST - length)
        return -ENOSPC;
    const struct cut_event event = {.kind = CUT_WRITE,
                                    .file = cut->index,
                                    .offset = offset,
                                    .length = length,
                                    .bytes = content_must(malloc(length + 1))};
    memcpy(event.bytes, bytes, length);
    remember(&cut->host->log, &event);
    content_write(&cut->content, bytes, length, offset);
    return 0;
}

static int cut_flush(struct file *file)
{
    const struct cut_event event = {.kind = CUT_FLUSH, .file = cut_of(file)->index};

    let_others(cut_of(file)->host);
    remember(&cut_of(file)->host->log, &event);
    return 0;
}

static int cut_punch(struct file *file, uint64_t offset, uint64_t length)
{
    struct cut_file *cut = cut_of(file);
    const struct cut_event event = {
        .kind = CUT_PUNCH, .file = cut->index, .offset = offset, .length = length};

    let_others(cut->host);
    remember(&cut->host->log, &event);
    content_punch(&cut->content, offset, length);
    return 0;
}

static int cut_truncate(struct file *file, uint64_t size)
{
    struct cut_file *cut = cut_of(file);
    const struct cut_event event = {.kind = CUT_TRUNCATE, .file = cut->index, .offset = size};

    let_others(cut->host);
    if (size > CONTENT_MOST)
        return -EFBIG;
    remember(&cut->host->log, &event);
    content_truncate(&cut->content, size);
    return 0;
}

static int cut_size(struct file *file, uint64_t *ret)
{
    *ret = cut_of(file)->content.size;
    return 0;
}

static int cut_extent(struct file *file, uint64_t offset, uint64_t *ret_end, bool *ret_data)
{
    *ret_end = content_extent(&cut_of(file)->content, offset, ret_data);
    return 0;
}

static void cut_close(struct file *file)
{
    (void)file; /* the host's */
}

static const struct file_ops cut_ops = {
    .read = cut_read,
    .write = cut_write,
    .flush = cut_flush,
    .punch = cut_punch,
    .truncate = cut_truncate,
    .size = cut_size,
    .extent = cut_extent,
    .close = cut_close,
};

/* ---- the host ---- */

struct content *cut_host_add(struct cut_host *host, const char *name)
{
    struct cut_file *file = content_must(host->count < CUT_FILES ? calloc(1, sizeof(*file)) : NULL);

    *file = (struct cut_file){.file = {&cut_ops}, .host = host, .index = host->count};
    (void)snprintf(file->name, sizeof(file->name), "%s", name);
    host->files[host->count++] = file;
    return &file->content;
}

const char *cut_host_name(const struct cut_host *host, unsigned file)
{
    return host->files[file]->name;
}

struct content *cut_host_content(const struct cut_host *host, unsigned file)
{
    return &host->files[file]->content;
}

static int cut_open(struct disk_host *disk_host, const char *path, unsigned flags,
                    struct file **ret, struct reason *reason)
{
    struct cut_host *host = (struct cut_host *)(void *)disk_host; /* its first member */
    const char *slash = strrchr(path, '/');

    path = slash != NULL ? slash + 1 : path;
    for (unsigned i = 0; i < host->count; i++) {
        if (strcmp(host->files[i]->name, path) != 0)
            continue;
        *ret = &host->files[i]->file;
        return (flags & FILE_CREATE) != 0 ? reason_set(reason, -EEXIST, "%s: exists", path) : 0;
    }
    if ((flags & FILE_CREATE) == 0)
        return reason_set(reason, -ENOENT, "%s: no such file", path);
    (void)cut_host_add(host, path);
    *ret = &host->files[host->count - 1]->file;
    return 0;
}

void cut_host_init(struct cut_host *host)
{
    *host = (struct cut_host){.host = {cut_open}};
}

void cut_host_clone(const struct cut_host *from, struct cut_host *to)
{
    cut_host_init(to);
    for (unsigned i = 0; i < from->count; i++)
        content_clone(&from->files[i]->content, cut_host_add(to, from->files[i]->name));
}

void cut_host_release(struct cut_host *host)
{
    for (size_t i = 0; i < host->log.count; i++)
        free(host->log.events[i].bytes);
    free(host->log.events);
    for (unsigned i = 0; i < host->count; i++) {
        content_release(&host->files[i]->content);
        free(host->files[i]);
    }
    *host = (struct cut_host){0};
}
