/*
 * Bringing children into a parent.
 *
 * The sectors that the children have are copied; no other sector of the parent is touched, so that
 * the chain reads as before all the time, and copying anew is no harm. Formats that tie a child to
 * its parent's data as it was are told before of the identity that the parent will get.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "disk/disk_private.h"

enum { PIECE = 1 << 20 };

struct merge {
    struct disk_host *host;
    unsigned levels;
    disk_progress_fn progress;
    void *owner;
    struct file *locks[DISK_MOST_PARENTS]; /* of the children */
    char *above, *target;                  /* paths: the lowest child, and what it stands on */
    uint8_t identity[16];                  /* what the target's will be */
    struct disk *from, *to;
};

static int copy_path(const struct disk *disk, char **ret)
{
    *ret = strdup(image_path(disk));
    return *ret != NULL ? 0 : -ENOMEM;
}

/* Whose images they are, and that nobody writes to the children. */
static int find_images(struct merge *merge, const char *path, struct reason *reason)
{
    struct disk *top = NULL;
    int error = disk_open_with(merge->host, path, DISK_NO_LOCK, &top, reason);
    struct disk *disk = top;

    for (unsigned i = 0; error == 0 && i < merge->levels; i++, disk = disk->parent) {
        if (disk->parent == NULL)
            error = reason_set(reason, -EINVAL, "%s: %s", path,
                               i == 0 ? "it has no parent to be merged into"
                                      : "it has fewer parents than that");
        else
            error = merge->host->open(merge->host, image_path(disk), 0, &merge->locks[i], reason);
        if (error == 0 && i == merge->levels - 1)
            error = copy_path(disk, &merge->above);
    }
    if (error == 0)
        error = copy_path(disk, &merge->target);
    (void)disk_close(top);
    return error;
}

static void unlock(struct merge *merge, unsigned level)
{
    file_close(merge->locks[level]);
    merge->locks[level] = NULL;
}

/* The lowest child learns which identity its parent will have; it is locked again behind that. */
static int announce(struct merge *merge, struct reason *reason)
{
    unsigned level = merge->levels - 1;
    struct disk *child = NULL;

    unlock(merge, level);
    int error = disk_open_with(merge->host, merge->above, DISK_WRITABLE, &child, reason);
    if (error < 0)
        return error;
    const struct image_parent parent = {.disk = child->parent, .next_identity = merge->identity};
    error = image_set_parent(child, &parent, reason);
    int closed = disk_close(child);
    if (error == 0 && closed < 0)
        error = reason_set(reason, closed, "%s: it cannot be closed", merge->above);
    if (error < 0)
        return error;
    return merge->host->open(merge->host, merge->above, 0, &merge->locks[level], reason);
}

/* The chain is opened first, while the parent is still what its child expects. */
static int open_both(struct merge *merge, const char *path, struct reason *reason)
{
    int error = disk_open_with(merge->host, path, DISK_NO_LOCK, &merge->from, reason);

    if (error == 0)
        error = disk_open_with(merge->host, merge->target, DISK_WRITABLE, &merge->to, reason);
    if (error < 0)
        return error;
    memcpy(merge->to->next_identity, merge->identity, sizeof(merge->identity));
    merge->to->has_next_identity = true;
    uint64_t capacity = merge->from->geometry.capacity;
    return capacity > merge->to->geometry.capacity ? image_resize(merge->to, capacity, reason) : 0;
}

static int copy_data(const struct merge *merge, uint8_t *buffer, uint64_t offset, uint64_t length)
{
    int error = 0;

    for (uint64_t at = 0; error == 0 && at < length;) {
        size_t piece = length - at < PIECE ? (size_t)(length - at) : (size_t)PIECE;
        error = disk_read(merge->from, buffer, piece, offset + at);
        if (error == 0)
            error = disk_write(merge->to, buffer, piece, offset + at);
        at += piece;
        if (error == 0)
            error = merge->progress(merge->owner, offset + at, merge->from->geometry.capacity);
    }
    return error;
}

/* What the children have of one extent; `*ret_end` is where it ends. */
static int merge_extent(const struct merge *merge, uint8_t *buffer, uint64_t offset,
                        uint64_t *ret_end)
{
    struct disk *from = merge->from;
    uint64_t capacity = from->geometry.capacity;
    struct disk_extent extent;
    int error = from->ops->map(from, DISK_READ, offset, capacity - offset, &extent);

    if (error < 0)
        return error;
    *ret_end = offset + extent.length;
    if (extent.layer >= merge->levels)
        return merge->progress(merge->owner, *ret_end, capacity);
    if (extent.file != NULL)
        return copy_data(merge, buffer, offset, extent.length);
    error = disk_unmap(merge->to, offset, extent.length);
    return error < 0 ? error : merge->progress(merge->owner, *ret_end, capacity);
}

static int merge_all(const struct merge *merge)
{
    uint64_t capacity = merge->from->geometry.capacity;
    uint8_t *buffer = malloc(PIECE);
    int error = buffer != NULL ? 0 : -ENOMEM;

    for (uint64_t offset = 0; error == 0 && offset < capacity;)
        error = merge_extent(merge, buffer, offset, &offset);
    free(buffer);
    return error;
}

static int run(struct merge *merge, const char *path, struct reason *reason)
{
    int error = find_images(merge, path, reason);

    if (error == 0)
        error = announce(merge, reason);
    if (error == 0)
        error = open_both(merge, path, reason);
    if (error < 0)
        return error;
    error = merge_all(merge);
    int closed = disk_close(merge->to);
    merge->to = NULL;
    if (error == 0)
        error = closed;
    return error < 0 ? reason_set(reason, error, "%s: %s", merge->target, strerrordesc_np(-error))
                     : 0;
}

int image_merge(struct disk_host *host, const char *path, unsigned levels,
                disk_progress_fn progress, void *owner, struct reason *reason)
{
    struct merge merge = {.host = host, .levels = levels, .progress = progress, .owner = owner};

    if (levels == 0 || levels > DISK_MOST_PARENTS)
        return reason_set(reason, -EINVAL, "%u parents cannot be merged into", levels);
    if (getrandom(merge.identity, sizeof(merge.identity), 0) != (ssize_t)sizeof(merge.identity))
        return reason_set(reason, -EIO, "no random numbers");
    int error = run(&merge, path, reason);
    (void)disk_close(merge.to);
    (void)disk_close(merge.from);
    for (unsigned i = 0; i < levels; i++)
        unlock(&merge, i);
    free(merge.above);
    free(merge.target);
    return error;
}
