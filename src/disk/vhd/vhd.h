/* A VHD image that is open: what the files of this folder share. */
#ifndef DISK_VHD_VHD_H
#define DISK_VHD_VHD_H

#include "disk/disk_private.h"
#include "disk/vhd/wire.h"

enum {
    VHD_TABLE_SECTOR_ENTRIES = VHD_SECTOR / 4,
    VHD_PAGE_SECTORS = VHD_SECTOR * 8, /* of the disk, that one sector of a bitmap tells of */
    VHD_MOST_DIRTY = 256,              /* sectors of bitmaps, and of the table, in one commit */
};

/* One sector of a sector bitmap. The first sector of the disk is its first byte's highest bit. */
struct vhd_page {
    uint8_t bits[VHD_SECTOR];
    bool dirty;
};

/* Sectors of metadata as a commit writes them. */
struct vhd_changes {
    unsigned count;
    uint64_t homes[VHD_MOST_DIRTY];
    uint8_t sectors[VHD_MOST_DIRTY][VHD_SECTOR];
};

/* Places for blocks: the sectors of the file where they begin. */
struct vhd_places {
    uint32_t *first;
    size_t count, room;
};

/* The file's end moves, so that there is room for more blocks. */
struct vhd_growth {
    uint32_t first, count; /* the first new place, and how many */
    uint64_t footer_at;    /* 0: it does not grow */
};

struct vhd {
    struct disk disk; /* its first member */
    uint8_t footer[VHD_FOOTER];
    uint64_t footer_at; /* bytes */
    uint64_t stale;     /* fixed.c; UINT64_MAX: none */

    /* dynamic and differencing */
    uint8_t header[VHD_HEADER];
    uint64_t header_at;
    bool has_parent;
    bool footer_is_lost; /* that at the end: its copy is used */
    unsigned block_shift;
    uint32_t blocks, present;
    uint32_t bitmap_sectors, block_sectors; /* of one block; a block: with its bitmap */
    uint32_t *table;                        /* as it shall be in the file, in the host's order */
    struct vhd_page **bitmaps;              /* `bitmap_sectors` a block; NULL: not read */
    uint64_t pages_loaded;
    bool pages_are_kept; /* what a commit has set aside is not in the file yet */

    /* writable only */
    uint8_t *table_dirty; /* a bit a sector */
    uint32_t dirty_table[VHD_MOST_DIRTY];
    uint64_t dirty_pages[VHD_MOST_DIRTY]; /* some may be clean or gone again */
    unsigned dirty_table_count, dirty_page_count;
    struct vhd_changes *bitmap_changes, *table_changes;
    struct vhd_places free, released, committing; /* released: named on the medium still */
    bool wants_growth;
    struct vhd_growth growth; /* of the commit under way */
    uint64_t zero_from;       /* free room from here on reads as zeroes */
};

static inline struct vhd *vhd_of(struct disk *disk)
{
    return (struct vhd *)(void *)disk; /* its first member */
}

static inline uint64_t vhd_block_bytes(const struct vhd *vhd)
{
    return UINT64_C(1) << vhd->block_shift;
}

static inline uint64_t vhd_table_bytes(uint32_t entries)
{
    return ((uint64_t)entries * 4 + VHD_SECTOR - 1) & ~(uint64_t)(VHD_SECTOR - 1);
}

/* ---- open.c ---- */

/* The footer that counts: 0 and where it is, -EINVAL with a reason, or an error. */
int vhd_read_footer(struct file *file, uint8_t ret[VHD_FOOTER], uint64_t *ret_at, bool *ret_is_lost,
                    struct reason *reason);
int vhd_read_header(struct vhd *vhd, struct reason *reason);
/* What footer and header say of the table. */
void vhd_lay_out(struct vhd *vhd);
int vhd_load_table(struct vhd *vhd, struct reason *reason);
void vhd_close(struct disk *disk);

/* ---- fixed.c ---- */

int vhd_open_fixed(struct vhd *vhd, struct reason *reason);

/* ---- block.c ---- */

/* Does the block whose entry this is lie within the file? */
bool vhd_is_in_file(const struct vhd *vhd, uint32_t entry);
int vhd_map(struct disk *disk, enum disk_op op, uint64_t offset, uint64_t length,
            struct disk_extent *ret);
int vhd_written(struct disk *disk, uint64_t offset, uint64_t length);
int vhd_unmap(struct disk *disk, uint64_t offset, uint64_t length);
/* Without a look at what it holds; -EBUSY. */
int vhd_free_block(struct vhd *vhd, uint32_t block);

/* ---- bitmap.c: sectors of the disk, within one block that has room ---- */

/* How many of `count` sectors from `sector` on are alike: in this file or not. */
int vhd_bitmap_run(struct vhd *vhd, uint64_t sector, uint64_t count, uint64_t *ret_count,
                   bool *ret_here);
/* -EBUSY: the dirty pages have no room left. */
int vhd_bitmap_set(struct vhd *vhd, uint64_t sector, uint64_t count);
/* A block that is new: all of it is here, or nothing. There is room for its pages. */
int vhd_bitmap_begin(struct vhd *vhd, uint32_t block, bool here);
void vhd_bitmap_drop(struct vhd *vhd, uint32_t block);
void vhd_bitmap_release(struct vhd *vhd);

/* ---- room.c ---- */

/* Find what is free, for writing; -EINVAL with a reason: something lies over something else. */
int vhd_load_room(struct vhd *vhd, struct reason *reason);
/* What lies where. `found` is told of each range that is not wholly behind the one before. */
struct vhd_range {
    uint64_t sector, count;
    const char *what;
    uint32_t block; /* of a block */
};
/* All ranges in use, by their place; the caller frees them. */
int vhd_list_ranges(const struct vhd *vhd, struct vhd_range **ret, size_t *ret_count);
uint64_t vhd_used_end(const struct vhd *vhd); /* bytes */
/* -EBUSY: a commit is to make room. */
int vhd_take_place(struct vhd *vhd, uint32_t *ret);
int vhd_release_place(struct vhd *vhd, uint32_t first);
void vhd_plan_growth(struct vhd *vhd);
/* The commit is durable. */
int vhd_places_committed(struct vhd *vhd);

/* ---- commit.c ---- */

bool vhd_has_dirty_pages(const struct vhd *vhd, unsigned pages);
/* -EBUSY: the dirty sectors of the table have no room left. */
int vhd_set_entry(struct vhd *vhd, uint32_t block, uint32_t entry);
void vhd_commit_prepare(struct disk *disk);
int vhd_commit_write(struct disk *disk);
void vhd_commit_done(struct disk *disk, int error);
int vhd_finish(struct disk *disk);
/* Durable at its place; then the copy. */
int vhd_write_footers(struct vhd *vhd);
/* Another header, and what it names, are written behind the end; then the footers name it. */
struct vhd_new_header {
    uint64_t capacity;
    uint32_t entries;          /* more than the table has; 0: it stays */
    struct vhd_parent *parent; /* its locators are relative to `names`; NULL: it stays */
    const uint8_t *names;
    size_t names_length; /* whole sectors */
};
int vhd_replace_header(struct vhd *vhd, const struct vhd_new_header *new);

/* ---- parent.c ---- */

/* The bytes of the names, at `at` in the file: `*ret_length` of them, whole sectors. */
enum { VHD_NAMES = 8 * IMAGE_PARENT_SIZE };
int vhd_name_parent(const struct disk *parent, const char *path, struct vhd_parent *ret,
                    uint8_t names[VHD_NAMES], size_t *ret_length);
/* The locators' offsets are from the names' beginning on until then. */
void vhd_place_names(struct vhd_parent *parent, uint64_t at);
/* As it is named, slashes and all; false: it is not. */
bool vhd_parent_path(const struct vhd *vhd, char ret[IMAGE_PARENT_SIZE]);
int vhd_open_parent(struct vhd *vhd, const struct disk_source *source, struct reason *reason);
int vhd_set_parent(struct disk *disk, const struct image_parent *parent, struct reason *reason);

/* ---- create.c, check.c, describe.c, resize.c, compact.c ---- */

int vhd_create(struct file *file, const struct image_layout *layout, struct disk *parent,
               struct reason *reason);
/* `entries` of no block each, at `offset`. */
int vhd_write_empty_table(struct file *file, uint64_t offset, uint32_t entries);
int vhd_check(struct file *file, bool repair, struct image_check *check);
void vhd_describe(struct disk *disk, struct image_info *ret);
int vhd_resize(struct disk *disk, uint64_t capacity, struct reason *reason);
int vhd_compact(struct disk *disk, disk_progress_fn progress, void *owner);

#endif
