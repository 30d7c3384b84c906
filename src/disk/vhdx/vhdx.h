/* A VHDX image that is open: what the files of this folder share. */
#ifndef DISK_VHDX_VHDX_H
#define DISK_VHDX_VHDX_H

#include "disk/disk_private.h"
#include "disk/vhdx/log.h"
#include "disk/vhdx/room.h"
#include "disk/vhdx/wire.h"

enum {
    VHDX_PAGE = 4096, /* of metadata: the log changes whole ones */
    VHDX_BAT_PAGE_ENTRIES = VHDX_PAGE / 8,
    VHDX_BITMAP_PAGE_SECTORS = VHDX_PAGE * 8,
    VHDX_BITMAP_PAGES = VHDX_UNIT / VHDX_PAGE, /* of a sector bitmap block */
};

/* One page of a sector bitmap, 16 or 128 MiB of the disk. */
struct vhdx_bitmap_page {
    uint8_t bits[VHDX_PAGE];
    bool dirty;
};

struct vhdx_bitmap_block {
    struct vhdx_bitmap_page *pages[VHDX_BITMAP_PAGES]; /* NULL: not read */
};

/* A page of metadata that the next commit makes durable. */
struct vhdx_dirty_page {
    bool bitmap;
    uint64_t index; /* of its kind, from the disk's beginning on */
};

/*
 * Between a map() for writing and the first commit after it was wanted, the session begins: the
 * headers get new identities, and a log (MS-VHDX § 2.2.2.1: before anything else is changed).
 */
enum vhdx_session { VHDX_SESSION_NONE, VHDX_SESSION_WANTED, VHDX_SESSION_OPEN };

struct vhdx {
    struct disk disk; /* its first member */
    struct vhdx_header header;
    unsigned header_slot; /* the one that counts now: 0 or 1 */
    struct vhdx_regions regions;
    struct vhdx_items items;
    struct vhdx_metadata metadata;
    unsigned block_shift, sector_shift, ratio_shift; /* ratio: blocks of data to one of bitmap */
    uint64_t blocks, entries;
    uint64_t *bat; /* as it shall be in the file; mapped in whole pages */
    size_t bat_bytes;
    uint8_t *bat_dirty;                 /* a bit a page */
    uint8_t *bat_used;                  /* a bit a page; clear: its entries are zero */
    struct vhdx_bitmap_block **bitmaps; /* by sector bitmap block; NULL: nothing read */
    uint64_t bitmap_blocks, bitmap_pages_loaded;
    bool pages_are_kept;           /* what a commit has set aside is not in the file yet */
    struct vhdx_dirty_page *dirty; /* `log.most` of them at most; from the first session on */
    unsigned dirty_count;
    struct vhdx_room room;     /* writable only */
    uint64_t file_size;        /* bytes, as map() has made it */
    struct vhdx_replay replay; /* read-only and not clean: what to read instead */
    struct vhdx_log log;       /* writable only */
    enum vhdx_session session, committed_session;
    bool keep_identity; /* of the session that is wanted */
    bool log_is_named;  /* the headers name our log: it is to be taken out at the end */
};

static inline struct vhdx *vhdx_of(struct disk *disk)
{
    return (struct vhdx *)(void *)disk; /* its first member */
}

static inline uint64_t vhdx_block_size(const struct vhdx *vhdx)
{
    return UINT64_C(1) << vhdx->block_shift;
}

/* Index in the BAT of a block of data, and of a block of sector bitmap (§ 2.5). */
static inline uint64_t vhdx_block_index(const struct vhdx *vhdx, uint64_t block)
{
    return block + (block >> vhdx->ratio_shift);
}

static inline uint64_t vhdx_bitmap_index(const struct vhdx *vhdx, uint64_t bitmap_block)
{
    return ((bitmap_block + 1) << vhdx->ratio_shift) + bitmap_block;
}

/* Entries that a disk of so many blocks has. */
uint64_t vhdx_entry_count(uint64_t blocks, unsigned ratio_shift, bool has_parent);
unsigned vhdx_ratio_shift(const struct vhdx_metadata *metadata);

/* ---- open.c ---- */

int vhdx_open(const struct disk_source *source, struct disk **ret, struct reason *reason);
void vhdx_close(struct disk *disk);
/* Metadata as it is with the log carried out. */
int vhdx_read(const struct vhdx *vhdx, void *bytes, size_t length, uint64_t offset);
int vhdx_load_regions(struct vhdx *vhdx, struct reason *reason);
int vhdx_load_metadata(struct vhdx *vhdx, struct reason *reason);

/* ---- bat.c ---- */

/* What the metadata says of the allocation table: shifts, and how many entries it has. */
void vhdx_lay_out(struct vhdx *vhdx);
int vhdx_load_bat(struct vhdx *vhdx, struct reason *reason);
void vhdx_release_bat(struct vhdx *vhdx);
/* Note all that is in use, for writing; -EEXIST and -ERANGE with a reason: it cannot be so. */
int vhdx_load_room(struct vhdx *vhdx, struct reason *reason);
/* The next entry from `index` on that is not zero; `entries`: there is none. */
uint64_t vhdx_next_entry(const struct vhdx *vhdx, uint64_t index);
void vhdx_note_used(struct vhdx *vhdx, uint64_t index);
/* Is entry `index` one of a sector bitmap? */
bool vhdx_is_bitmap_entry(const struct vhdx *vhdx, uint64_t index);
/* Which block has entry `index`, which is none of a sector bitmap. */
uint64_t vhdx_block_of(const struct vhdx *vhdx, uint64_t index);
/* Bytes of the room that entry `index` has when it has any. */
uint64_t vhdx_entry_length(const struct vhdx *vhdx, uint64_t index);

/* ---- header.c ---- */

/* The one that counts, by sequence; -EINVAL: there is none. */
int vhdx_read_header(struct file *file, struct vhdx_header *ret, unsigned *ret_slot,
                     struct reason *reason);
/* Write the header as it is now into both slots, one after the other; durable. */
int vhdx_write_header(struct vhdx *vhdx);
void vhdx_new_guid(struct partition_guid *ret);

/* ---- commit.c ---- */

/* Before the first change, which the next commit lets go on: memory for it, and a session. */
int vhdx_want_session(struct vhdx *vhdx);
bool vhdx_bat_page_is_dirty(const struct vhdx *vhdx, uint64_t page);
/* Will so many more pages fit into the next commit? */
bool vhdx_has_dirty_room(const struct vhdx *vhdx, unsigned pages);
/* Change an entry; there is room for its page. */
void vhdx_set_entry(struct vhdx *vhdx, uint64_t index, uint64_t entry);
void vhdx_note_dirty(struct vhdx *vhdx, bool bitmap, uint64_t page);
void vhdx_commit_prepare(struct disk *disk);
int vhdx_commit_write(struct disk *disk);
void vhdx_commit_done(struct disk *disk, int error);
int vhdx_finish(struct disk *disk);
/*
 * Change other metadata, a few pages of it, as one: begin, ask for each page, commit. Nothing is in
 * flight meanwhile.
 */
enum vhdx_edit { VHDX_NEW_IDENTITY, VHDX_KEEP_IDENTITY }; /* keep: no data is changed */
int vhdx_edit_begin(struct vhdx *vhdx, enum vhdx_edit edit);
int vhdx_edit_page(struct vhdx *vhdx, uint64_t offset, uint8_t **ret);
/* Put bytes over several pages. */
int vhdx_edit_put(struct vhdx *vhdx, const uint8_t *bytes, size_t length, uint64_t offset);
int vhdx_edit_commit(struct vhdx *vhdx);

/* ---- block.c ---- */

int vhdx_map(struct disk *disk, enum disk_op op, uint64_t offset, uint64_t length,
             struct disk_extent *ret);
int vhdx_written(struct disk *disk, uint64_t offset, uint64_t length);
int vhdx_unmap(struct disk *disk, uint64_t offset, uint64_t length);
/* Room for `count` units that reads as zeroes. */
int vhdx_take_room(struct vhdx *vhdx, uint64_t count, uint64_t *ret_offset);

/* ---- bitmap.c ---- */

/* How many of `count` sectors from `sector` on are alike: in this file or not. */
int vhdx_bitmap_run(struct vhdx *vhdx, uint64_t sector, uint64_t count, uint64_t *ret_count,
                    bool *ret_here);
/* -EBUSY: the dirty pages have no room left. What is set already costs none. */
int vhdx_bitmap_set(struct vhdx *vhdx, uint64_t sector, uint64_t count);
/* Forget the sectors of a block that has had room before. */
int vhdx_bitmap_clear(struct vhdx *vhdx, uint64_t sector, uint64_t count);
/* Drop what was read and not changed. */
void vhdx_bitmap_forget(struct vhdx *vhdx);
void vhdx_bitmap_release(struct vhdx *vhdx);

/* ---- locator.c ---- */

struct vhdx_locator {
    struct partition_guid linkage, linkage2; /* linkage2: zero when there is none */
    char relative[IMAGE_PARENT_SIZE], absolute[IMAGE_PARENT_SIZE]; /* UTF-8, slashes; "" none */
};

bool vhdx_decode_locator(const uint8_t *bytes, size_t length, struct vhdx_locator *ret,
                         struct reason *reason);
/* The bytes that it takes, or -ENAMETOOLONG, -EILSEQ. */
int vhdx_encode_locator(const struct vhdx_locator *locator, uint8_t *ret, size_t size);
int vhdx_make_locator(const struct disk *parent, const char *path, struct vhdx_locator *ret);
/* Has the parent the identity that its child knows? */
bool vhdx_is_expected(const struct vhdx_locator *locator, const struct disk *parent);
int vhdx_read_locator(const struct vhdx *vhdx, struct vhdx_locator *ret, struct reason *reason);
int vhdx_open_parent(struct vhdx *vhdx, const struct disk_source *source, struct reason *reason);
int vhdx_set_parent(struct disk *disk, const struct image_parent *parent, struct reason *reason);

/* ---- create.c, check.c, describe.c, resize.c, compact.c ---- */

int vhdx_create(struct file *file, const struct image_layout *layout, struct disk *parent,
                struct reason *reason);
int vhdx_check(struct file *file, bool repair, struct image_check *check);
void vhdx_describe(struct disk *disk, struct image_info *ret);
int vhdx_resize(struct disk *disk, uint64_t capacity, struct reason *reason);
int vhdx_compact(struct disk *disk, disk_progress_fn progress, void *owner);

#endif
