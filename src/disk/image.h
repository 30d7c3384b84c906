/*
 * Disk images as a tool handles them: make, describe, check, resize, compact, merge.
 *
 * 1. What a call has changed is durable when it returns 0. A power cut or a kill at any moment
 *    leaves an image that opens, with the old content or the new; nothing that was flushed is lost.
 * 2. Images are used by nobody else meanwhile: the file's lock sees to that.
 * 3. Long work calls `progress` (disk.h) now and then; what that returns, when not 0, ends it.
 * 4. Errors come with a reason. Not for several threads on one image.
 */
#ifndef DISK_IMAGE_H
#define DISK_IMAGE_H

#include "disk/disk.h"

enum image_format { IMAGE_RAW, IMAGE_VHD, IMAGE_VHDX, IMAGE_FORMATS };
enum image_kind { IMAGE_FIXED, IMAGE_DYNAMIC, IMAGE_DIFFERENCING };

/* "raw", "vhd", "vhdx" */
const char *image_format_name(enum image_format format);
bool image_format_parse(const char *name, enum image_format *ret);
/* The format that a path's suffix tells. */
enum image_format image_format_of(const char *path);

/* "qcow2": a format of others that the suffix tells; NULL: none. */
const char *image_foreign_of(const char *path);

/* What is to be made. 0 or NULL: the format's default; a child takes what it can of its parent. */
struct image_layout {
    enum image_format format;
    enum image_kind kind;
    uint64_t capacity;        /* bytes */
    uint32_t block_size;      /* bytes: VHDX 1 to 256 MiB (32 MiB), VHD 512 KiB or 2 MiB (2 MiB) */
    uint32_t logical_sector;  /* VHDX: 512 or 4096 */
    uint32_t physical_sector; /* VHDX: 512 or 4096 (4096) */
    const char *parent;       /* differencing: the path as the child shall name it, from its own
                                 folder on or absolute */
    bool preallocate;         /* fixed: take the room from the file system now */
};

/* Make a new file at `path`; -EEXIST. A file that cannot be finished is removed. */
int image_create(struct disk_host *host, const char *path, const struct image_layout *layout,
                 struct reason *reason);

/* How a child names its parent. */
struct image_parent {
    const char *path;             /* as image_layout.parent; NULL: as it is named now */
    const struct disk *disk;      /* the parent, open */
    const uint8_t *next_identity; /* what a merge will make of its identity; NULL: none */
};

enum { IMAGE_CREATOR_SIZE = 64, IMAGE_PARENT_SIZE = 4096 };

struct image_info {
    enum image_format format;
    enum image_kind kind;
    struct disk_geometry geometry;
    uint64_t file_size; /* bytes, as the file says */
    uint64_t allocated; /* bytes that it takes on the host's file system */
    uint64_t minimum; /* bytes: the least that it can be resized to (partition tables are not looked
                         at) */
    uint32_t block_size;     /* 0: fixed or raw */
    uint64_t blocks;         /* of the disk */
    uint64_t blocks_present; /* that have room in the file, in full or in part */
    uint64_t runs; /* of present blocks that follow each other in the file as on the disk */
    char creator[IMAGE_CREATOR_SIZE]; /* UTF-8; the program that made it */
    int64_t created;                  /* Unix time; 0: not told */
    uint8_t parent_identity[16];      /* differencing: what the parent must have */
    char parent[IMAGE_PARENT_SIZE]; /* differencing: as it was found, else as the image names it */
    bool parent_found;              /* and it has that identity */
    bool dirty; /* was not closed: its log holds changes, which opening for writing carries out */
    uint32_t log_size; /* VHDX: bytes */
};

/* Of an open image. */
int image_describe(struct disk *disk, struct image_info *ret);
/* Has `parent` the identity that the child's parent must have? */
bool image_is_parent(struct disk *child, const struct disk *parent);
/* The image that a differencing disk stands on, the disk's own; NULL: none. */
struct disk *image_parent(struct disk *disk);
/* As it was opened; "" when that is not known. */
const char *image_path(const struct disk *disk);

/* One stretch of a disk as a map shows it. */
struct image_extent {
    uint64_t offset, length; /* bytes of the disk */
    unsigned layer;          /* 0 the image, 1 its parent, … that answers for it */
    bool data;               /* false: it reads as zeroes */
    bool absent;             /* none of the chain has anything there */
    uint64_t file_offset;    /* data: where it lies in the layer's file */
};
/* The stretch that begins at `offset`, a sector's beginning. */
int image_map(struct disk *disk, uint64_t offset, struct image_extent *ret);

/* ---- check ---- */

enum image_severity {
    IMAGE_NOTE,   /* odd, and harmless: room that nothing uses */
    IMAGE_DAMAGE, /* against the format */
    IMAGE_MENDED, /* it was damage, and is repaired */
};

/* Collects what is found. `found` may be called many times; the text is valid during the call. */
struct image_check {
    void (*found)(void *owner, enum image_severity severity, uint64_t offset, const char *text);
    void *owner;
    uint64_t notes, damages, mended; /* counted by image_found() */
};
/* For the formats: tell of the structure at `offset` in the file. */
void image_found(struct image_check *check, enum image_severity severity, uint64_t offset,
                 const char *format, ...) __attribute__((format(printf, 4, 5)));

/*
 * Look at all of one image (not its parents). 0 when it could be looked at, whatever was found.
 * With `repair` what can be mended without a loss is mended.
 */
int image_check(struct disk_host *host, const char *path, unsigned flags, bool repair,
                struct image_check *check, struct reason *reason);

/* ---- change; of an image that is open for writing ---- */

/* -ENOTEMPTY: data would be cut off that is not zero. */
int image_resize(struct disk *disk, uint64_t capacity, struct reason *reason);
/* Give back the room of blocks that are zero, and close the holes in the file. */
int image_compact(struct disk *disk, disk_progress_fn progress, void *owner, struct reason *reason);
/* Of a disk that may be open with DISK_WITHOUT_PARENT: it is to be opened anew after that. */
int image_set_parent(struct disk *disk, const struct image_parent *parent, struct reason *reason);

/*
 * Bring the content of the child at `path` into its parent, `levels` parents deep (1: only the next
 * one). A kill in the midst leaves a chain that reads as before, and the call can be made again.
 * The children stay; they are of no more use and the caller may remove them.
 */
int image_merge(struct disk_host *host, const char *path, unsigned levels,
                disk_progress_fn progress, void *owner, struct reason *reason);

#endif
