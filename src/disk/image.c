/* What tools do to images: each format does its part. */
#include "disk/image.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "disk/disk_private.h"

/* ---- make ---- */

static int fill_layout(struct image_layout *layout, const struct disk *parent,
                       struct reason *reason)
{
    if (parent != NULL) {
        const struct disk_geometry *geometry = &parent->geometry;
        if (layout->capacity == 0)
            layout->capacity = geometry->capacity;
        if (layout->capacity < geometry->capacity)
            return reason_set(reason, -EINVAL, "a child is not smaller than its parent");
        layout->logical_sector = geometry->logical_sector;
        if (layout->physical_sector == 0)
            layout->physical_sector = geometry->physical_sector;
    }
    if (layout->logical_sector == 0)
        layout->logical_sector = 512;
    if (layout->capacity == 0)
        return reason_set(reason, -EINVAL, "a disk has a size");
    if (layout->capacity % layout->logical_sector != 0)
        return reason_set(reason, -EINVAL, "the size is no multiple of %u bytes, a sector",
                          layout->logical_sector);
    return 0;
}

/* Also the kind and format of the parent have to fit. */
static int open_layout_parent(struct disk_host *host, const char *path,
                              const struct image_layout *layout, struct disk **ret,
                              struct reason *reason)
{
    *ret = NULL;
    if ((layout->kind == IMAGE_DIFFERENCING) != (layout->parent != NULL))
        return reason_set(reason, -EINVAL, "a differencing disk has a parent, and no other has");
    if (layout->parent == NULL)
        return 0;
    auto_free char *name = disk_beside(path, layout->parent);
    if (name == NULL)
        return -ENOMEM;
    int error = disk_open_with(host, name, 0, ret, reason);
    if (error == 0 && (*ret)->format != layout->format) {
        error = reason_set(reason, -EINVAL, "%s: a child has the format of its parent, %s", name,
                           image_format_name((*ret)->format));
        (void)disk_close(*ret);
        *ret = NULL;
    }
    return error;
}

static int create_in(struct disk_host *host, const char *path, const struct image_layout *layout,
                     struct disk *parent, struct reason *reason)
{
    struct file *file = NULL;
    struct reason why = {""};
    int error =
        host->open(host, path, (unsigned)FILE_WRITABLE | (unsigned)FILE_CREATE, &file, reason);

    if (error < 0)
        return error;
    error = disk_format(layout->format)->create(file, layout, parent, &why);
    if (error == 0)
        error = file_flush(file);
    file_close(file);
    if (error < 0 && host == &disk_host_files)
        (void)unlink(path);
    if (error < 0)
        return reason_set(reason, error, "%s: %s", path,
                          why.text[0] != '\0' ? why.text : strerrordesc_np(-error));
    return 0;
}

int image_create(struct disk_host *host, const char *path, const struct image_layout *layout,
                 struct reason *reason)
{
    struct image_layout filled = *layout;
    struct disk *parent = NULL;
    int error = open_layout_parent(host, path, layout, &parent, reason);

    if (error == 0)
        error = fill_layout(&filled, parent, reason);
    if (error == 0)
        error = create_in(host, path, &filled, parent, reason);
    (void)disk_close(parent);
    return error;
}

/* ---- describe ---- */

struct disk *image_parent(struct disk *disk)
{
    return disk->parent;
}

const char *image_path(const struct disk *disk)
{
    return disk->path != NULL ? disk->path : "";
}

int image_describe(struct disk *disk, struct image_info *ret)
{
    *ret = (struct image_info){.format = disk->format,
                               .geometry = disk->geometry,
                               .minimum = disk->geometry.logical_sector};
    int error = file_size(disk->file, &ret->file_size);
    if (error == 0)
        error = file_allocated(disk->file, &ret->allocated);
    if (error == 0 && disk->ops->describe != NULL)
        disk->ops->describe(disk, ret);
    return error;
}

bool image_is_parent(struct disk *child, const struct disk *parent)
{
    struct image_info info;

    return image_describe(child, &info) == 0 && info.kind == IMAGE_DIFFERENCING &&
           memcmp(info.parent_identity, parent->identity, sizeof(parent->identity)) == 0;
}

int image_map(struct disk *disk, uint64_t offset, struct image_extent *ret)
{
    struct disk_extent extent;
    uint64_t capacity = disk->geometry.capacity;

    if (offset >= capacity || offset % disk->geometry.logical_sector != 0)
        return -EINVAL;
    int error = disk->ops->map(disk, DISK_READ, offset, capacity - offset, &extent);
    if (error < 0)
        return error;
    *ret = (struct image_extent){.offset = offset,
                                 .length = extent.length,
                                 .layer = extent.layer,
                                 .absent = extent.absent,
                                 .file_offset = extent.offset};
    if (extent.file == NULL)
        return 0;
    uint64_t end = 0;
    error = disk_extent(disk, offset, &end, &ret->data);
    if (error == 0 && end - offset < ret->length)
        ret->length = end - offset;
    return error;
}

/* ---- check ---- */

void image_found(struct image_check *check, enum image_severity severity, uint64_t offset,
                 const char *format, ...)
{
    char text[256];
    va_list args;

    va_start(args, format);
    (void)vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    uint64_t *const counts[] = {
        [IMAGE_NOTE] = &check->notes,
        [IMAGE_DAMAGE] = &check->damages,
        [IMAGE_MENDED] = &check->mended,
    };
    (*counts[severity])++;
    check->found(check->owner, severity, offset, text);
}

int image_check(struct disk_host *host, const char *path, unsigned flags, bool repair,
                struct image_check *check, struct reason *reason)
{
    struct file *file = NULL;
    const struct disk_format *format = disk_format(disk_choose_format(path, flags));
    unsigned file_flags = repair                 ? (unsigned)FILE_WRITABLE
                          : flags & DISK_NO_LOCK ? (unsigned)FILE_NO_LOCK
                                                 : 0;
    int error = host->open(host, path, file_flags, &file, reason);

    if (error < 0)
        return error;
    error = format->check(file, repair, check);
    if (error == 0 && repair)
        error = file_flush(file);
    file_close(file);
    return error < 0 ? reason_set(reason, error, "%s: %s", path, strerrordesc_np(-error)) : 0;
}

/* ---- change ---- */

/* The bytes beyond a new end have to be zero: 0, -ENOTEMPTY or an error. */
static int check_tail(struct disk *disk, uint64_t from, struct reason *reason)
{
    uint64_t data = 0;
    int error = disk_find_data(disk, from, disk->geometry.capacity, &data);

    if (error < 0 || data == disk->geometry.capacity)
        return error;
    return reason_set(reason, -ENOTEMPTY, "there is data behind the new end, near byte %llu",
                      (unsigned long long)data);
}

static int check_resize(struct disk *disk, uint64_t capacity, struct reason *reason)
{
    if (capacity == 0 || capacity % disk->geometry.logical_sector != 0)
        return reason_set(reason, -EINVAL, "the size is no multiple of %u bytes, a sector",
                          disk->geometry.logical_sector);
    if (disk->parent != NULL && capacity < disk->parent->geometry.capacity)
        return reason_set(reason, -EINVAL, "a child is not smaller than its parent");
    return capacity < disk->geometry.capacity ? check_tail(disk, capacity, reason) : 0;
}

int image_resize(struct disk *disk, uint64_t capacity, struct reason *reason)
{
    if (disk->geometry.read_only)
        return reason_set(reason, -EROFS, "the disk is read-only");
    if (disk->ops->resize == NULL)
        return reason_set(reason, -ENOTSUP, "disks of this format cannot be resized");
    int error = check_resize(disk, capacity, reason);
    if (error == 0)
        error = disk_flush(disk);
    if (error == 0)
        error = disk->ops->resize(disk, capacity, reason);
    return error;
}

int image_compact(struct disk *disk, disk_progress_fn progress, void *owner, struct reason *reason)
{
    if (disk->geometry.read_only)
        return reason_set(reason, -EROFS, "the disk is read-only");
    if (disk->ops->compact == NULL)
        return reason_set(reason, -ENOTSUP, "disks of this kind have nothing to compact");
    int error = disk_flush(disk);
    if (error == 0)
        error = disk->ops->compact(disk, progress, owner);
    return error < 0 ? reason_set(reason, error, "%s", strerrordesc_np(-error)) : 0;
}

int image_set_parent(struct disk *disk, const struct image_parent *parent, struct reason *reason)
{
    if (disk->geometry.read_only)
        return reason_set(reason, -EROFS, "the disk is read-only");
    if (disk->ops->set_parent == NULL)
        return reason_set(reason, -EINVAL, "disks of this format have no parents");
    int error = disk_flush(disk);
    return error < 0 ? error : disk->ops->set_parent(disk, parent, reason);
}
