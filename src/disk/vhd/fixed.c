/*
 * Images of a fixed size: the bytes of the disk, and behind them a footer of one sector.
 *
 * The footer moves when the disk's size changes. Meanwhile it, or its copy, lies where the disk has
 * zeroes: the footer that counts, the one at the file's end, says where ("stale", in its reserved
 * bytes). Opening for writing puts the zeroes there; reading takes them for granted.
 */
#include <errno.h>

#include "disk/vhd/vhd.h"

static int write_footer(const struct vhd *vhd, uint64_t offset)
{
    int error = file_write(vhd->disk.file, vhd->footer, VHD_FOOTER, offset);

    return error < 0 ? error : file_flush(vhd->disk.file);
}

static void change_footer(struct vhd *vhd, uint64_t capacity, uint64_t stale)
{
    vhd_set_capacity(vhd->footer, capacity);
    vhd_set_stale(vhd->footer, stale);
}

/* Zeroes where a footer was; then the one at the end forgets it. */
static int clear_stale(struct vhd *vhd)
{
    static const uint8_t zeroes[VHD_FOOTER];
    uint64_t capacity = vhd->disk.geometry.capacity;
    int error = file_write(vhd->disk.file, zeroes, VHD_FOOTER, vhd->stale);

    if (error == 0)
        error = file_flush(vhd->disk.file);
    vhd_set_stale(vhd->footer, UINT64_MAX);
    vhd->stale = UINT64_MAX;
    return error < 0 ? error : write_footer(vhd, capacity);
}

static int fixed_map(struct disk *disk, enum disk_op op, uint64_t offset, uint64_t length,
                     struct disk_extent *ret)
{
    const struct vhd *vhd = vhd_of(disk);

    *ret = (struct disk_extent){.file = disk->file, .offset = offset, .length = length};
    if (op == DISK_WRITE || vhd->stale < offset || vhd->stale - offset >= length)
        return 0;
    if (vhd->stale != offset) {
        ret->length = vhd->stale - offset;
        return 0;
    }
    ret->file = NULL;
    ret->length = VHD_FOOTER;
    return 0;
}

static int fixed_unmap(struct disk *disk, uint64_t offset, uint64_t length)
{
    return file_punch(disk->file, offset, length);
}

static void fixed_commit_prepare(struct disk *disk)
{
    (void)disk; /* no metadata changes with the data */
}

static int fixed_commit_write(struct disk *disk)
{
    return file_flush(disk->file);
}

static void fixed_commit_done(struct disk *disk, int error)
{
    (void)disk;
    (void)error;
}

/*
 * The write of the new footer is what makes the file longer. A smaller disk first notes, at the old
 * end, where the new footer will lie.
 */
static int fixed_resize(struct disk *disk, uint64_t capacity, struct reason *reason)
{
    struct vhd *vhd = vhd_of(disk);
    uint64_t old = disk->geometry.capacity;
    int error = 0;

    if (capacity > VHD_MOST_CAPACITY)
        return reason_set(reason, -EFBIG, "a VHD disk has at most 2040 GiB");
    if (capacity > old) {
        change_footer(vhd, capacity, old);
        error = write_footer(vhd, capacity);
        disk->geometry.capacity = capacity;
        vhd->stale = old;
        return disk_latch(disk, error < 0 ? error : clear_stale(vhd));
    }
    if (capacity == old)
        return 0;
    change_footer(vhd, old, capacity);
    error = write_footer(vhd, old);
    change_footer(vhd, capacity, UINT64_MAX);
    if (error == 0)
        error = write_footer(vhd, capacity);
    if (error == 0)
        error = file_truncate(disk->file, capacity + VHD_FOOTER);
    disk->geometry.capacity = capacity;
    return disk_latch(disk, error < 0 ? error : file_flush(disk->file));
}

static const struct disk_ops fixed_ops = {
    .map = fixed_map,
    .unmap = fixed_unmap,
    .commit_prepare = fixed_commit_prepare,
    .commit_write = fixed_commit_write,
    .commit_done = fixed_commit_done,
    .close = vhd_close,
    .describe = vhd_describe,
    .resize = fixed_resize,
};

int vhd_open_fixed(struct vhd *vhd, struct reason *reason)
{
    if (vhd_capacity(vhd->footer) > vhd->footer_at)
        return reason_set(reason, -EINVAL, "the disk's size in its footer is not the file's");
    vhd->disk.ops = &fixed_ops;
    vhd->stale = vhd_stale(vhd->footer);
    return vhd->stale != UINT64_MAX && !vhd->disk.geometry.read_only ? clear_stale(vhd) : 0;
}
