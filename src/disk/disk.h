/*
 * Virtual disks in files: raw images and block devices, VHD and VHDX, behind one interface.
 *
 * 1. A request belongs to its submitter until it is handed in; then to the disk until ->done is
 *    called, which may happen before disk_submit() returns. Submitting allocates nothing.
 * 2. Offsets and lengths are multiples of the logical sector and lie within the capacity; other
 *    requests end with -EINVAL.
 * 3. What a write said is durable once a flush, submitted after its ->done, has ended with 0. After
 *    a power cut each sector written since then is old or new.
 * 4. After an error of a write, unmap or flush the disk accepts no further change (-EROFS): what
 *    is on the medium is no longer known.
 * 5. One thread at a time for each disk; disk_copy() reads on one of its own. Images are hostile:
 * each field is checked before its use.
 */
#ifndef DISK_DISK_H
#define DISK_DISK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "base/reason.h"
#include "disk/pending.h"

struct disk;
struct file;

/*
 * The name tells the format, as it does for Hyper-V: .vhd and .avhd, .vhdx and .avhdx; all else is
 * raw. What is in the file does not decide: a guest could write a header into its raw disk, and
 * with it name files of the host.
 */
enum disk_flags {
    DISK_WRITABLE = 1,
    DISK_NO_LOCK = 2, /* look at an image that a writer may have open */
    DISK_AS_RAW = 4,  /* whatever the name says; one of these at most */
    DISK_AS_VHD = 8,
    DISK_AS_VHDX = 16,
    DISK_ANY_PARENT = 32,     /* a parent that was changed behind its child is no error */
    DISK_WITHOUT_PARENT = 64, /* for image_set_parent() and image_describe(): what is the parent's
                                 cannot be read (-EIO) */
};

/* Where the files of a chain are: for all but tests the host's file system, file_open(). */
struct disk_host {
    int (*open)(struct disk_host *host, const char *path, unsigned file_flags, struct file **ret,
                struct reason *reason);
};
extern struct disk_host disk_host_files;

struct disk_geometry {
    uint64_t capacity;        /* bytes */
    uint32_t logical_sector;  /* bytes: 512 or 4096 */
    uint32_t physical_sector; /* bytes: 512 or 4096 */
    uint8_t id[16];           /* unique and lasting; zero for raw images, which have none */
    bool read_only;
};

struct disk_counts {
    uint64_t reads, writes, read_bytes, written_bytes;
};

enum disk_op { DISK_READ, DISK_WRITE, DISK_FLUSH, DISK_UNMAP };

struct disk_request {
    enum disk_op op;
    uint64_t offset, length; /* bytes; not for flush */
    const struct iovec *iov; /* read and write: `length` bytes in all */
    unsigned iov_count;
    void (*done)(struct disk_request *request, int error); /* 0 or a negative errno */
    struct disk_pending pending;                           /* the disk's own */
};

/*
 * The disk owns its file, and those of its parents, which are opened for reading. Errors have a
 * reason that begins with the path.
 */
int disk_open(const char *path, unsigned flags, struct disk **ret, struct reason *reason);
int disk_open_with(struct disk_host *host, const char *path, unsigned flags, struct disk **ret,
                   struct reason *reason);
/*
 * The same over a given file, which is taken only on success; reasons do not name it. It has no
 * name: it is raw unless the flags say otherwise, and has no parents.
 */
int disk_open_file(struct file *file, unsigned flags, struct disk **ret, struct reason *reason);
/* Wait for what is in flight, flush and free, whatever happens; the flush's error. NULL is
 * accepted.
 */
int disk_close(struct disk *disk);

const struct disk_geometry *disk_geometry(const struct disk *disk);
/* Of the requests that ended well. */
const struct disk_counts *disk_counts(const struct disk *disk);
/* At once, unless the disk has a queue (queue.h). */
void disk_submit(struct disk *disk, struct disk_request *request);

/* For tools: the same, at once. Unmapped bytes read as zeroes. */
int disk_read(struct disk *disk, void *bytes, size_t length, uint64_t offset);
int disk_write(struct disk *disk, const void *bytes, size_t length, uint64_t offset);
int disk_unmap(struct disk *disk, uint64_t offset, uint64_t length);
int disk_flush(struct disk *disk);
/* Up to `*ret_end`, a sector's end beyond `offset`, all may be data or all reads as zeroes. */
int disk_extent(struct disk *disk, uint64_t offset, uint64_t *ret_end, bool *ret_data);

/* Called now and then with the bytes done; not 0 ends the copy with that error. */
typedef int (*disk_progress_fn)(void *owner, uint64_t done, uint64_t total);

/* Copy what is not zero; `to` must read as zeroes and be as large as `from` or larger. */
int disk_copy(struct disk *from, struct disk *to, disk_progress_fn progress, void *owner);

#endif
