/* Looking at all structures of one image, and mending what has a good copy. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "disk/vhd/vhd.h"

struct checker {
    struct vhd vhd; /* as opening would fill it, without a parent */
    struct image_check *check;
    bool repair;
};

static void found(const struct checker *checker, enum image_severity severity, uint64_t offset,
                  const char *what, const char *why)
{
    if (checker->repair && severity != IMAGE_NOTE)
        severity = IMAGE_MENDED;
    image_found(checker->check, severity, offset, "%s: %s", what, why);
}

static int damage(const struct checker *checker, uint64_t offset, const char *what, const char *why)
{
    image_found(checker->check, IMAGE_DAMAGE, offset, "%s: %s", what, why);
    return -EUCLEAN;
}

/* What opening has said already names the structure. */
static int damage_as_told(const struct checker *checker, uint64_t offset, const struct reason *why)
{
    image_found(checker->check, IMAGE_DAMAGE, offset, "%s", why->text);
    return -EUCLEAN;
}

static void check_fixed(const struct checker *checker)
{
    const struct vhd *vhd = &checker->vhd;
    uint64_t capacity = vhd_capacity(vhd->footer);

    if (capacity > vhd->footer_at)
        (void)damage(checker, vhd->footer_at, "footer", "the disk's size is not the file's");
    else if (capacity < vhd->footer_at)
        found(checker, IMAGE_NOTE, capacity, "footer", "it does not lie directly behind the disk");
}

/* ---- footers ---- */

static int check_footer(struct checker *checker)
{
    struct vhd *vhd = &checker->vhd;
    struct reason why = {""};
    int error =
        vhd_read_footer(vhd->disk.file, vhd->footer, &vhd->footer_at, &vhd->footer_is_lost, &why);

    if (error == -EINVAL)
        return damage(checker, vhd->footer_at, "footer", why.text);
    if (error == 0 && vhd->footer_is_lost)
        found(checker, IMAGE_DAMAGE, vhd->footer_at - VHD_FOOTER, "footer", why.text);
    return error;
}

/* One that is older is what a cut of the power leaves, and opening for writing mends it. */
static int check_copy(struct checker *checker)
{
    struct vhd *vhd = &checker->vhd;
    uint8_t copy[VHD_FOOTER];
    struct reason why = {""};
    int error = file_read(vhd->disk.file, copy, VHD_FOOTER, 0);

    if (error < 0)
        return error;
    bool same = memcmp(copy, vhd->footer, VHD_FOOTER) == 0;
    if (!vhd_check_footer(copy, &why))
        found(checker, IMAGE_DAMAGE, 0, "copy of the footer", why.text);
    else if (!same)
        image_found(checker->check, checker->repair ? IMAGE_MENDED : IMAGE_NOTE, 0,
                    "copy of the footer: it is older than the footer");
    return checker->repair && (!same || vhd->footer_is_lost) ? vhd_write_footers(vhd) : 0;
}

/* ---- what the footers name ---- */

static int check_header(struct checker *checker)
{
    struct vhd *vhd = &checker->vhd;
    struct reason why = {""};
    int error = vhd_read_header(vhd, &why);

    if (error == -EINVAL)
        return damage_as_told(checker, vhd->header_at, &why);
    if (error < 0)
        return error;
    vhd_lay_out(vhd);
    error = vhd_load_table(vhd, &why);
    return error == -EINVAL ? damage_as_told(checker, vhd_table_offset(vhd->header), &why) : error;
}

static void check_range(const struct checker *checker, const struct vhd_range *range,
                        uint64_t free_from)
{
    uint64_t end = checker->vhd.footer_at / VHD_SECTOR;
    char what[64];
    const char *wrong = range->sector + range->count > end ? "it lies outside of the file"
                        : range->sector < free_from        ? "it lies over something else"
                                                           : NULL;

    if (wrong == NULL)
        return;
    if (range->count == checker->vhd.block_sectors)
        (void)snprintf(what, sizeof(what), "block %u", range->block);
    else
        (void)snprintf(what, sizeof(what), "%s", range->what);
    (void)damage(checker, range->sector * VHD_SECTOR, what, wrong);
}

static int check_ranges(struct checker *checker)
{
    struct vhd *vhd = &checker->vhd;
    struct vhd_range *ranges = NULL;
    size_t count = 0;
    uint64_t end = 0;
    int error = vhd_list_ranges(vhd, &ranges, &count);

    for (size_t i = 0; error == 0 && i < count; i++) {
        check_range(checker, &ranges[i], end);
        uint64_t stop = ranges[i].sector + ranges[i].count;
        end = stop > end ? stop : end;
    }
    free(ranges);
    if (error == 0 && end + vhd->block_sectors <= vhd->footer_at / VHD_SECTOR)
        found(checker, IMAGE_NOTE, end * VHD_SECTOR, "file", "nothing uses what lies behind there");
    return error;
}

static int check_all(struct checker *checker)
{
    int error = check_footer(checker);

    if (error < 0)
        return error;
    if (vhd_type(checker->vhd.footer) == VHD_FIXED) {
        check_fixed(checker);
        return 0;
    }
    error = check_header(checker);
    if (error == 0)
        error = check_ranges(checker);
    return error < 0 ? error : check_copy(checker);
}

int vhd_check(struct file *file, bool repair, struct image_check *check)
{
    struct checker checker = {.vhd = {.disk = {.file = file}}, .check = check, .repair = repair};
    int error = check_all(&checker);

    vhd_bitmap_release(&checker.vhd);
    free(checker.vhd.table);
    return error == -EUCLEAN ? 0 : error;
}
