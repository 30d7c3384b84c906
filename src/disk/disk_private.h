/*
 * For the formats: what lies behind disk.h.
 *
 * A format only says where bytes are and keeps its metadata; it moves no data of a guest itself.
 * disk.c (at once, for tools) and queue.c (many requests in flight, for a worker) do that alike:
 *
 *   read    map(READ) → bytes of a file, or zeroes
 *   write   map(WRITE), which gives every byte a place → transfer → written()
 *   unmap   with no transfer in flight, and no commit: unmap()
 *   flush   commit_prepare() → commit_write() → commit_done()
 *
 * 1. map, written, unmap, commit_prepare and commit_done write no metadata (they may read
 *    some that was not read yet). All that makes metadata durable is in commit_write.
 * 2. Order within commit_write: first the data (file_flush), then metadata that points to it, so
 *    that after a power cut each sector is old or new. Journal, then home place, as the format has
 *    it. Metadata names a byte as present only after written() has been called for it.
 * 3. Room that unmap set free is given to other data only after a commit has made that durable.
 * 4. commit_write may run on another thread while map and written go on: it touches only what
 *    commit_prepare set aside. unmap may run on another thread while nothing else goes on. One
 * commit at a time, also under memory pressure: when map or written returns -EBUSY, a commit must
 * come first; then the call is made again.
 */
#ifndef DISK_DISK_PRIVATE_H
#define DISK_DISK_PRIVATE_H

#include "disk/disk.h"
#include "disk/file.h"
#include "disk/image.h"

struct disk_extent {
    struct file *file; /* NULL: reads as zeroes */
    uint64_t offset;   /* in the file */
    uint64_t length;   /* bytes from the asked offset on; whole sectors, not 0 */
    /*
     * Who says so: 0 this image, 1 its parent, … The base of a chain answers for all that none
     * has, also where it has nothing itself.
     */
    unsigned layer;
    bool absent; /* no image of the chain has anything here: zeroes that nobody wrote */
};

/* Ranges are checked before: aligned to sectors, within the capacity, not empty. */
struct disk_ops {
    /* DISK_READ or DISK_WRITE: the first extent of [offset, offset + length). */
    int (*map)(struct disk *disk, enum disk_op op, uint64_t offset, uint64_t length,
               struct disk_extent *ret);
    /* A transfer to what map(WRITE) gave has ended well. NULL: nothing to note. */
    int (*written)(struct disk *disk, uint64_t offset, uint64_t length);
    /* May leave alone what it cannot free cheaply, but never in part of a sector. */
    int (*unmap)(struct disk *disk, uint64_t offset, uint64_t length);
    void (*commit_prepare)(struct disk *disk);
    int (*commit_write)(struct disk *disk);
    void (*commit_done)(struct disk *disk, int error);
    /* After the last flush: the image was closed in order. NULL: nothing to note. */
    int (*finish)(struct disk *disk);
    /* Frees all, parents too; writes nothing. */
    void (*close)(struct disk *disk);

    /* For image.h, with nothing in flight; what they change is durable when they return 0. */
    void (*describe)(struct disk *disk, struct image_info *ret); /* NULL: nothing but the generic */
    int (*resize)(struct disk *disk, uint64_t capacity, struct reason *reason);
    int (*compact)(struct disk *disk, disk_progress_fn progress, void *owner); /* NULL: fixed */
    /* image_set_parent(); the image's own identity stays. */
    int (*set_parent)(struct disk *disk, const struct image_parent *parent, struct reason *reason);
};

/* The first member of every format's own struct. */
struct disk {
    const struct disk_ops *ops;
    struct file *file;
    struct disk_geometry geometry;
    struct disk_counts counts;
    int failed;               /* the error after which nothing is changed any more */
    struct disk_queue *queue; /* NULL: requests are served at once */
    struct disk *parent;      /* of a differencing disk; its own: ->close closes it */
    char *path;               /* as it was opened; NULL: unknown; freed by disk_free() */
    enum image_format format;
    uint8_t identity[16]; /* of its data: what a child's name for it has beside the path */
    /* What a change makes of it, for formats that tie children to the data as it was. */
    uint8_t next_identity[16];
    bool has_next_identity; /* else a new one */
};

enum { DISK_MOST_PARENTS = 64 };

/* What a format opens. The file is taken on success only. */
struct disk_source {
    struct file *file;
    const char *path; /* NULL: unknown, so that parents cannot be found */
    unsigned flags;
    struct disk_host *host;
    unsigned depth; /* how many children are open already */
};

/* As an image names its parent: with slashes, "" when it does not in that way. */
struct disk_parent_names {
    const char *relative,
        *absolute; /* from the folder of the image on; absolute perhaps elsewhere */
};
/*
 * The first file that the names lead to, the absolute one's last part beside the image too;
 * read-only, in the format that `flags` says. Another name is tried only when that file is not
 * there: not when one of its own parents is missing. -ELOOP when the chain is longer than
 * DISK_MOST_PARENTS.
 */
int disk_open_parent(const struct disk_source *child, const struct disk_parent_names *names,
                     unsigned flags, struct disk **ret, struct reason *reason);

/* One a format: the table is in format.c. */
struct disk_format {
    const char *name;                     /* "vhdx" */
    const char *suffixes[3];              /* ".vhdx", ".avhdx" */
    unsigned flag;                        /* DISK_AS_… */
    bool (*recognise)(struct file *file); /* for hints only; NULL: never */
    int (*open)(const struct disk_source *source, struct disk **ret, struct reason *reason);
    /* Into an empty file; all fields of the layout are set, and `parent` is open when it has one.
     */
    int (*create)(struct file *file, const struct image_layout *layout, struct disk *parent,
                  struct reason *reason);
    /* Of one image, not of its parents; the file is writable when `repair`. */
    int (*check)(struct file *file, bool repair, struct image_check *check);
};

extern const struct disk_format raw_format, vhd_format, vhdx_format;

/* ---- format.c ---- */

const struct disk_format *disk_format(enum image_format format);
enum image_format disk_choose_format(const char *path, unsigned flags);
/* `name` seen from the folder of `path`; NULL: no memory. */
char *disk_beside(const char *path, const char *name);

/* ---- disk.c: for the queue ---- */

/* -EINVAL, or -EROFS for what would change a disk that is not to be changed. */
int disk_check_request(const struct disk *disk, const struct disk_request *request);
int disk_check_change(const struct disk *disk);
/* An error of a change: the disk accepts no further one. Returns it. */
int disk_latch(struct disk *disk, int error);
void disk_count(struct disk *disk, const struct disk_request *request);

/*
 * What an image has not: its parent's, behind whose end there are zeroes. From `offset` on
 * ret->length bytes are wanted. -EIO: the parent is not open (DISK_WITHOUT_PARENT).
 */
int disk_map_parent(const struct disk *disk, uint64_t offset, struct disk_extent *ret);
/* `*ret_data` lies by the first byte of [from, end) that is not zero, at most 64 KiB before; or it
 * is `end`. */
int disk_find_data(struct disk *disk, uint64_t from, uint64_t end, uint64_t *ret_data);
bool disk_is_zero(const uint8_t *bytes, size_t length);

/* ---- queue.c ---- */

void disk_queue_submit(struct disk_request *request, struct disk_queue *queue);
/* Before map() is called by others: let an unmap that another thread carries out come to its end.
 */
void disk_queue_settle(struct disk *disk);

/* For ->close: parent, file and path, and the disk itself. */
void disk_free(struct disk *disk);

#endif
