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
    char name[64];
    struct cut_content content;
};

static struct cut_file *cut_of(struct file *file)
{
    return (struct cut_file *)(void *)file; /* its first member */
}

static void *must(void *memory)
{
    if (memory == NULL) {
        (void)fputs("powercut: out of memory\n", stderr);
        exit(2); /* NOLINT(concurrency-mt-unsafe): one thread */
    }
    return memory;
}

/* ---- content ---- */

static void content_init(struct cut_content *content)
{
    *content = (struct cut_content){
        .pages = must(calloc(CUT_MOST_PAGES, sizeof(*content->pages))),
        .own = must(calloc(CUT_MOST_PAGES, sizeof(*content->own))),
    };
}

static void content_release(struct cut_content *content)
{
    for (unsigned i = 0; content->pages != NULL && i < content->used; i++) {
        if (content->own[i])
            free(content->pages[i]);
    }
    free(content->pages);
    free(content->own);
    *content = (struct cut_content){0};
}

static void content_clone(const struct cut_content *from, struct cut_content *to)
{
    content_init(to);
    memcpy(to->pages, from->pages, from->used * sizeof(*to->pages));
    to->used = from->used;
    to->size = from->size;
}

static uint8_t *own_page(struct cut_content *content, uint64_t index)
{
    uint8_t *old = content->pages[index];

    if (content->own[index])
        return old;
    uint8_t *page = must(calloc(1, CUT_PAGE));
    if (old != NULL)
        memcpy(page, old, CUT_PAGE);
    content->pages[index] = page;
    content->own[index] = true;
    if (index >= content->used)
        content->used = (unsigned)index + 1;
    return page;
}

/* Call for each piece that lies in one page. */
static void content_write(struct cut_content *content, const uint8_t *bytes, uint64_t length,
                          uint64_t offset)
{
    if (offset + length > content->size)
        content->size = offset + length;
    while (length > 0) {
        uint64_t within = offset % CUT_PAGE;
        uint64_t piece = length < CUT_PAGE - within ? length : CUT_PAGE - within;
        memcpy(own_page(content, offset / CUT_PAGE) + within, bytes, piece);
        bytes += piece;
        offset += piece;
        length -= piece;
    }
}

static void content_zero(struct cut_content *content, uint64_t offset, uint64_t length)
{
    while (length > 0) {
        uint64_t within = offset % CUT_PAGE;
        uint64_t piece = length < CUT_PAGE - within ? length : CUT_PAGE - within;
        uint64_t index = offset / CUT_PAGE;
        if (index >= content->used)
            return;
        if (piece == CUT_PAGE && content->own[index]) {
            free(content->pages[index]);
            content->own[index] = false;
        }
        if (piece == CUT_PAGE)
            content->pages[index] = NULL;
        else if (content->pages[index] != NULL)
            memset(own_page(content, index) + within, 0, piece);
        offset += piece;
        length -= piece;
    }
}

static void content_truncate(struct cut_content *content, uint64_t size)
{
    if (size < content->size)
        content_zero(content, size, content->size - size);
    content->size = size;
}

static void content_punch(struct cut_content *content, uint64_t offset, uint64_t length)
{
    if (offset >= content->size)
        return;
    uint64_t most = content->size - offset;
    content_zero(content, offset, length < most ? length : most);
}

/* ---- the log ---- */

static void remember(struct cut_log *log, const struct cut_event *event)
{
    if (log->count == log->room) {
        log->room = log->room * 2 + 64;
        log->events = must(reallocarray(log->events, log->room, sizeof(*log->events)));
    }
    log->events[log->count++] = *event;
}

void cut_mark(struct cut_host *host, uint64_t what, uint64_t value)
{
    const struct cut_event event = {.kind = CUT_MARK, .offset = what, .length = value};

    remember(&host->log, &event);
}

/* ---- files ---- */

static int cut_read(struct file *file, void *bytes, size_t length, uint64_t offset)
{
    const struct cut_content *content = &cut_of(file)->content;
    uint8_t *to = bytes;

    while (length > 0) {
        size_t within = offset % CUT_PAGE;
        size_t piece = length < CUT_PAGE - within ? length : CUT_PAGE - within;
        uint64_t index = offset / CUT_PAGE;
        if (index < content->used && content->pages[index] != NULL)
            memcpy(to, content->pages[index] + within, piece);
        else
            memset(to, 0, piece);
        to += piece;
        offset += piece;
        length -= piece;
    }
    return 0;
}

static int cut_write(struct file *file, const void *bytes, size_t length, uint64_t offset)
{
    struct cut_file *cut = cut_of(file);

    if (length > (uint64_t)CUT_MOST_PAGES * CUT_PAGE ||
        offset > (uint64_t)CUT_MOST_PAGES * CUT_PAGE - length)
        return -ENOSPC;
    const struct cut_event event = {.kind = CUT_WRITE,
                                    .file = cut->index,
                                    .offset = offset,
                                    .length = length,
                                    .bytes = must(malloc(length + 1))};
    memcpy(event.bytes, bytes, length);
    remember(&cut->host->log, &event);
    content_write(&cut->content, bytes, length, offset);
    return 0;
}

static int cut_flush(struct file *file)
{
    const struct cut_event event = {.kind = CUT_FLUSH, .file = cut_of(file)->index};

    remember(&cut_of(file)->host->log, &event);
    return 0;
}

static int cut_punch(struct file *file, uint64_t offset, uint64_t length)
{
    struct cut_file *cut = cut_of(file);
    const struct cut_event event = {
        .kind = CUT_PUNCH, .file = cut->index, .offset = offset, .length = length};

    remember(&cut->host->log, &event);
    content_punch(&cut->content, offset, length);
    return 0;
}

static int cut_truncate(struct file *file, uint64_t size)
{
    struct cut_file *cut = cut_of(file);
    const struct cut_event event = {.kind = CUT_TRUNCATE, .file = cut->index, .offset = size};

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
    const struct cut_content *content = &cut_of(file)->content;
    uint64_t page = offset / CUT_PAGE;

    *ret_data = page < content->used && content->pages[page] != NULL;
    while (page < content->used && (content->pages[page] != NULL) == *ret_data)
        page++;
    *ret_end = page < content->used || *ret_data ? page * CUT_PAGE : (uint64_t)INT64_MAX;
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

static struct cut_file *add_file(struct cut_host *host, const char *name)
{
    struct cut_file *file = must(calloc(1, sizeof(*file)));

    if (host->count == CUT_FILES)
        (void)must(NULL);
    *file = (struct cut_file){.file = {&cut_ops}, .host = host, .index = host->count};
    (void)snprintf(file->name, sizeof(file->name), "%s", name);
    host->files[host->count++] = file;
    return file;
}

static int cut_open(struct disk_host *disk_host, const char *path, unsigned flags,
                    struct file **ret, struct reason *reason)
{
    struct cut_host *host = (struct cut_host *)(void *)disk_host; /* its first member */
    const char *slash = strrchr(path, '/');

    path = slash != NULL ? slash + 1 : path; /* there is one folder */
    for (unsigned i = 0; i < host->count; i++) {
        if (strcmp(host->files[i]->name, path) != 0)
            continue;
        *ret = &host->files[i]->file;
        return (flags & FILE_CREATE) != 0 ? reason_set(reason, -EEXIST, "%s: exists", path) : 0;
    }
    if ((flags & FILE_CREATE) == 0)
        return reason_set(reason, -ENOENT, "%s: no such file", path);
    struct cut_file *file = add_file(host, path);
    content_init(&file->content);
    *ret = &file->file;
    return 0;
}

void cut_host_init(struct cut_host *host)
{
    *host = (struct cut_host){.host = {cut_open}};
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
}

/* ---- replay ---- */

void cut_cursor_init(struct cut_cursor *cursor, const struct cut_host *host,
                     const struct cut_host *base)
{
    *cursor = (struct cut_cursor){.log = &host->log, .names = host};
    for (unsigned i = 0; i < CUT_FILES; i++) {
        cursor->made[i] = base != NULL && i < base->count;
        if (cursor->made[i])
            content_clone(&base->files[i]->content, &cursor->durable[i]);
        else
            content_init(&cursor->durable[i]);
    }
}

void cut_cursor_release(struct cut_cursor *cursor)
{
    for (unsigned i = 0; i < CUT_FILES; i++)
        content_release(&cursor->durable[i]);
    free(cursor->pending);
}

static void apply(struct cut_content *content, const struct cut_event *event)
{
    if (event->kind == CUT_WRITE)
        content_write(content, event->bytes, event->length, event->offset);
    else if (event->kind == CUT_TRUNCATE)
        content_truncate(content, event->offset);
    else if (event->kind == CUT_PUNCH)
        content_punch(content, event->offset, event->length);
}

/* What is pending for a file is durable now. */
static void flush_pending(struct cut_cursor *cursor, unsigned file)
{
    size_t kept = 0;

    for (size_t i = 0; i < cursor->pending_count; i++) {
        const struct cut_event *event = &cursor->log->events[cursor->pending[i]];
        if (event->file == file)
            apply(&cursor->durable[file], event);
        else
            cursor->pending[kept++] = cursor->pending[i];
    }
    cursor->pending_count = kept;
    cursor->made[file] = true;
}

void cut_cursor_step(struct cut_cursor *cursor)
{
    const struct cut_event *event = &cursor->log->events[cursor->at];

    if (event->kind == CUT_FLUSH) {
        cursor->flushes++;
        if (cursor->forget_flush == 0 || cursor->flushes % cursor->forget_flush != 0)
            flush_pending(cursor, event->file);
    } else if (event->kind != CUT_MARK) {
        if (cursor->pending_count == cursor->pending_room) {
            cursor->pending_room = cursor->pending_room * 2 + 64;
            cursor->pending =
                must(reallocarray(cursor->pending, cursor->pending_room, sizeof(*cursor->pending)));
        }
        cursor->pending[cursor->pending_count++] = cursor->at;
    }
    cursor->at++;
}

/* Each sector of a write reaches the medium, or not. */
static void apply_torn(struct cut_content *content, const struct cut_event *event, uint64_t *seed)
{
    for (uint64_t at = 0; at < event->length;) {
        uint64_t left = CUT_SECTOR - (event->offset + at) % CUT_SECTOR;
        uint64_t piece = event->length - at < left ? event->length - at : left;
        if (cut_random(seed, 2) == 0)
            content_write(content, event->bytes + at, piece, event->offset + at);
        at += piece;
    }
}

void cut_make(const struct cut_cursor *cursor, enum cut_loss loss, uint64_t *seed,
              struct cut_host *ret)
{
    cut_host_init(ret);
    for (unsigned i = 0; i < cursor->names->count; i++) {
        struct cut_file *file = add_file(ret, cursor->names->files[i]->name);
        content_clone(&cursor->durable[i], &file->content);
    }
    for (size_t i = 0; loss != CUT_LOSE_ALL && i < cursor->pending_count; i++) {
        const struct cut_event *event = &cursor->log->events[cursor->pending[i]];
        struct cut_content *content = &ret->files[event->file]->content;
        if (loss != CUT_LOSE_NOTHING && cut_random(seed, 2) == 0)
            continue;
        if (loss == CUT_LOSE_AND_TEAR && event->kind == CUT_WRITE)
            apply_torn(content, event, seed);
        else
            apply(content, event);
    }
}
