/*
 * VHD images of a fixed size: the bytes of the disk, and behind them a footer of one sector.
 * (Microsoft, Virtual Hard Disk Image Format Specification, 1.0: "Hard Disk Footer Format".)
 *
 * The footer moves when the disk's size changes. Meanwhile it, or its copy, lies where the disk has
 * zeroes: the footer that counts, the one at the file's end, says where ("stale", in its reserved
 * bytes). Opening for writing puts the zeroes there; reading takes them for granted.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include "base/bytes.h"
#include "disk/disk_private.h"

enum {
    FOOTER = 512,
    FEATURES = 8,
    VERSION = 12,
    DATA_OFFSET = 16,
    TIME_STAMP = 24,
    CREATOR = 28,
    CREATOR_VERSION = 32,
    CREATOR_HOST = 36,
    ORIGINAL_SIZE = 40,
    CURRENT_SIZE = 48,
    GEOMETRY = 56,
    DISK_TYPE = 60,
    CHECKSUM = 64,
    UNIQUE_ID = 68,
    STALE = 96, /* of the reserved bytes: ours, "prtS" and an offset */
    TYPE_FIXED = 2,
    TYPE_DYNAMIC = 3,
    TYPE_DIFFERENCING = 4,
    VERSION_1 = 0x10000,
    EPOCH = 946684800, /* 2000-01-01 as Unix time */
};
#define VHD_MOST (UINT64_C(2040) << 30)

struct vhd {
    struct disk disk; /* its first member */
    uint8_t footer[FOOTER];
    uint64_t stale; /* UINT64_MAX: none */
};

static struct vhd *vhd_of(struct disk *disk)
{
    return (struct vhd *)(void *)disk; /* its first member */
}

/* ---- the footer ---- */

static uint32_t checksum(const uint8_t footer[FOOTER])
{
    uint32_t sum = 0;

    for (unsigned i = 0; i < FOOTER; i++)
        sum += i >= CHECKSUM && i < CHECKSUM + 4 ? 0 : footer[i];
    return ~sum;
}

/* "CHS Calculation" of the appendix. */
static void put_geometry(uint8_t *to, uint64_t capacity)
{
    const uint64_t most = UINT64_C(65535) * 16 * 255;
    uint64_t sectors = capacity / 512 < most ? capacity / 512 : most;
    uint64_t per_track = 255;
    uint64_t heads = 16;
    uint64_t tracks = sectors / per_track;

    if (sectors < UINT64_C(65535) * 16 * 63) {
        per_track = 17;
        tracks = sectors / per_track;
        heads = (tracks + 1023) / 1024;
        heads = heads < 4 ? 4 : heads;
        if (tracks >= heads * 1024 || heads > 16) {
            per_track = 31;
            heads = 16;
            tracks = sectors / per_track;
        }
        if (tracks >= heads * 1024) {
            per_track = 63;
            heads = 16;
            tracks = sectors / per_track;
        }
    }
    put_be16(to, (uint16_t)(tracks / heads));
    to[2] = (uint8_t)heads;
    to[3] = (uint8_t)per_track;
}

static void put_tag(uint8_t *to, const char *tag)
{
    for (unsigned i = 0; i < 4; i++)
        to[i] = (uint8_t)tag[i];
}

static void seal(uint8_t footer[FOOTER], uint64_t capacity, uint64_t stale)
{
    put_be64(footer + CURRENT_SIZE, capacity);
    put_geometry(footer + GEOMETRY, capacity);
    memset(footer + STALE, 0, 12);
    if (stale != UINT64_MAX) {
        put_tag(footer + STALE, "prtS");
        put_be64(footer + STALE + 4, stale);
    }
    put_be32(footer + CHECKSUM, checksum(footer));
}

static int decode(const uint8_t footer[FOOTER], uint64_t file_end, struct reason *reason)
{
    uint32_t type = get_be32(footer + DISK_TYPE);
    uint64_t capacity = get_be64(footer + CURRENT_SIZE);

    if (memcmp(footer, "conectix", 8) != 0)
        return reason_set(reason, -EINVAL, "not a VHD file (no 'conectix' at its end)");
    if (get_be32(footer + CHECKSUM) != checksum(footer))
        return reason_set(reason, -EINVAL, "the checksum of its footer is wrong");
    if (type == TYPE_DYNAMIC || type == TYPE_DIFFERENCING)
        return reason_set(
            reason, -ENOTSUP,
            "a %s VHD, which cannot be used; 'partita disk convert' makes a VHDX of it",
            type == TYPE_DYNAMIC ? "dynamic" : "differencing");
    if (type != TYPE_FIXED || get_be32(footer + VERSION) >> 16 != VERSION_1 >> 16)
        return reason_set(reason, -EINVAL, "its footer is of an unknown type or version");
    if (capacity == 0 || capacity % 512 != 0 || capacity > VHD_MOST || capacity > file_end - FOOTER)
        return reason_set(reason, -EINVAL, "the disk's size in its footer is not the file's");
    return 0;
}

static uint64_t stale_of(const uint8_t footer[FOOTER])
{
    uint64_t stale = get_be64(footer + STALE + 4);
    uint64_t capacity = get_be64(footer + CURRENT_SIZE);
    bool named = memcmp(footer + STALE, "prtS", 4) == 0;

    return named && stale % 512 == 0 && stale < capacity ? stale : UINT64_MAX;
}

static int read_footer(struct file *file, uint8_t ret[FOOTER], struct reason *reason)
{
    uint64_t size = 0;
    int error = file_size(file, &size);

    if (error == 0 && size < FOOTER)
        return reason_set(reason, -EINVAL, "not a VHD file (shorter than a footer)");
    if (error == 0)
        error = file_read(file, ret, FOOTER, size - FOOTER);
    return error < 0 ? reason_set(reason, error, "its footer cannot be read")
                     : decode(ret, size, reason);
}

static int write_footer(const struct vhd *vhd, uint64_t offset)
{
    int error = file_write(vhd->disk.file, vhd->footer, FOOTER, offset);

    return error < 0 ? error : file_flush(vhd->disk.file);
}

/* Zeroes where a footer was; then the one at the end forgets it. */
static int clear_stale(struct vhd *vhd)
{
    static const uint8_t zeroes[FOOTER];
    uint64_t capacity = vhd->disk.geometry.capacity;
    int error = file_write(vhd->disk.file, zeroes, FOOTER, vhd->stale);

    if (error == 0)
        error = file_flush(vhd->disk.file);
    seal(vhd->footer, capacity, UINT64_MAX);
    vhd->stale = UINT64_MAX;
    return error < 0 ? error : write_footer(vhd, capacity);
}

/* ---- the disk ---- */

static int vhd_map(struct disk *disk, enum disk_op op, uint64_t offset, uint64_t length,
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
    ret->length = FOOTER;
    return 0;
}

static int vhd_unmap(struct disk *disk, uint64_t offset, uint64_t length)
{
    return file_punch(disk->file, offset, length);
}

static void vhd_commit_prepare(struct disk *disk)
{
    (void)disk; /* no metadata changes with the data */
}

static int vhd_commit_write(struct disk *disk)
{
    return file_flush(disk->file);
}

static void vhd_commit_done(struct disk *disk, int error)
{
    (void)disk;
    (void)error;
}

static void vhd_describe(struct disk *disk, struct image_info *ret)
{
    const struct vhd *vhd = vhd_of(disk);

    ret->kind = IMAGE_FIXED;
    memcpy(ret->creator, vhd->footer + CREATOR, 4);
    for (unsigned i = 0; i < 4; i++) {
        if (ret->creator[i] < ' ' || ret->creator[i] > '~')
            ret->creator[i] = '\0';
    }
    ret->created = (int64_t)get_be32(vhd->footer + TIME_STAMP) + EPOCH;
}

/*
 * The write of the new footer is what makes the file longer. A smaller disk first notes, at the old
 * end, where the new footer will lie.
 */
static int vhd_resize(struct disk *disk, uint64_t capacity, struct reason *reason)
{
    struct vhd *vhd = vhd_of(disk);
    uint64_t old = disk->geometry.capacity;
    int error = 0;

    if (capacity > VHD_MOST)
        return reason_set(reason, -EFBIG, "a VHD disk has at most 2040 GiB");
    if (capacity > old) {
        seal(vhd->footer, capacity, old);
        error = write_footer(vhd, capacity);
        disk->geometry.capacity = capacity;
        vhd->stale = old;
        return error < 0 ? error : clear_stale(vhd);
    }
    if (capacity == old)
        return 0;
    seal(vhd->footer, old, capacity);
    error = write_footer(vhd, old);
    seal(vhd->footer, capacity, UINT64_MAX);
    if (error == 0)
        error = write_footer(vhd, capacity);
    if (error == 0)
        error = file_truncate(disk->file, capacity + FOOTER);
    disk->geometry.capacity = capacity;
    return error < 0 ? error : file_flush(disk->file);
}

static const struct disk_ops vhd_ops = {
    .map = vhd_map,
    .unmap = vhd_unmap,
    .commit_prepare = vhd_commit_prepare,
    .commit_write = vhd_commit_write,
    .commit_done = vhd_commit_done,
    .close = disk_free,
    .describe = vhd_describe,
    .resize = vhd_resize,
};

static int vhd_open(const struct disk_source *source, struct disk **ret, struct reason *reason)
{
    struct vhd *vhd = calloc(1, sizeof(*vhd));

    if (vhd == NULL)
        return -ENOMEM;
    int error = read_footer(source->file, vhd->footer, reason);
    vhd->disk.ops = &vhd_ops;
    vhd->disk.file = source->file;
    vhd->disk.geometry = (struct disk_geometry){.capacity = get_be64(vhd->footer + CURRENT_SIZE),
                                                .logical_sector = 512,
                                                .physical_sector = 512,
                                                .read_only = (source->flags & DISK_WRITABLE) == 0};
    memcpy(vhd->disk.geometry.id, vhd->footer + UNIQUE_ID, 16);
    memcpy(vhd->disk.identity, vhd->footer + UNIQUE_ID, 16);
    vhd->stale = stale_of(vhd->footer);
    if (error == 0 && vhd->stale != UINT64_MAX && !vhd->disk.geometry.read_only)
        error = clear_stale(vhd);
    if (error < 0) {
        free(vhd);
        return error;
    }
    *ret = &vhd->disk;
    return 0;
}

static int vhd_create(struct file *file, const struct image_layout *layout, struct disk *parent,
                      struct reason *reason)
{
    uint8_t footer[FOOTER] = {0};

    (void)parent;
    if (layout->kind != IMAGE_FIXED)
        return reason_set(reason, -ENOTSUP,
                          "only fixed VHDs can be made; a VHDX can be dynamic or have a parent");
    if (layout->capacity > VHD_MOST || layout->logical_sector != 512)
        return reason_set(reason, -EINVAL, "a VHD has sectors of 512 bytes, up to 2040 GiB");
    put_tag(footer, "cone");
    put_tag(footer + 4, "ctix");
    put_be32(footer + FEATURES, 2); /* the reserved bit that is always set */
    put_be32(footer + VERSION, VERSION_1);
    put_be64(footer + DATA_OFFSET, UINT64_MAX);
    put_be32(footer + TIME_STAMP, (uint32_t)(time(NULL) - EPOCH));
    /* Others believe the size of a few creators only, of all else the geometry, which is rounded. */
    put_tag(footer + CREATOR, "win ");
    put_be32(footer + CREATOR_VERSION, VERSION_1);
    put_tag(footer + CREATOR_HOST, "Wi2k"); /* the specification knows this and "Mac " */
    put_be64(footer + ORIGINAL_SIZE, layout->capacity);
    put_be32(footer + DISK_TYPE, TYPE_FIXED);
    if (getrandom(footer + UNIQUE_ID, 16, 0) != 16)
        return -EIO;
    seal(footer, layout->capacity, UINT64_MAX);
    int error = layout->preallocate ? file_allocate(file, 0, layout->capacity) : 0;
    return error < 0 ? error : file_write(file, footer, FOOTER, layout->capacity);
}

static int vhd_check(struct file *file, bool repair, struct image_check *check)
{
    uint8_t footer[FOOTER] = {0};
    struct reason why = {""};
    uint64_t size = 0;
    int error = file_size(file, &size);

    (void)repair; /* a fixed VHD has no copy of its footer */
    if (error < 0)
        return error;
    error = read_footer(file, footer, &why);
    if (error == -EINVAL) {
        image_found(check, IMAGE_DAMAGE, size > FOOTER ? size - FOOTER : 0, "footer: %s", why.text);
        return 0;
    }
    if (error == 0 && get_be64(footer + CURRENT_SIZE) != size - FOOTER)
        image_found(check, IMAGE_NOTE, get_be64(footer + CURRENT_SIZE),
                    "the footer does not lie directly behind the disk");
    return error;
}

const struct disk_format vhd_format = {
    .name = "vhd",
    .suffixes = {".vhd", ".avhd"},
    .flag = DISK_AS_VHD,
    .open = vhd_open,
    .create = vhd_create,
    .check = vhd_check,
};
