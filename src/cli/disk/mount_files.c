/*
 * What the kernel asks of a mounted disk.
 *
 * 1. File n of the table is inode n + 2; inode 1 is the folder. Names and sizes stay.
 * 2. The files are parts of each other, so the kernel must not cache what they hold: all of them
 *    are opened for direct I/O.
 * 3. At its end a file behaves like a block device: a write there is short, or has no room.
 */
#include "cli/disk/mount.h"

#define FUSE_USE_VERSION 35
#include <errno.h>
#include <fcntl.h>
#include <fuse_lowlevel.h>
#include <linux/falloc.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "disk/image.h"
#include "disk/unaligned.h"

enum { FIRST_FILE = FUSE_ROOT_ID + 1, STATUS_UNIT = 512 };
static const double name_seconds = 3600; /* nothing comes, nothing goes */
static const double status_seconds = 1;

/* ---- the table ---- */

static void add_file(struct mount_files *files, const char *name, uint64_t offset, uint64_t length)
{
    struct mount_file *file = &files->files[files->count++];

    (void)snprintf(file->name, sizeof(file->name), "%s", name);
    file->offset = offset;
    file->length = length;
}

/* It only holds other partitions: Linux does not let it be used either. */
static bool is_extended(const struct partition *partition)
{
    return partition->mbr_type == 0x05 || partition->mbr_type == 0x0f ||
           partition->mbr_type == 0x85;
}

void mount_files_init(struct mount_files *files, struct disk *disk, struct reason *reason)
{
    static struct partition_table table; /* too large for a stack */

    files->disk = disk;
    files->count = 0;
    reason->text[0] = '\0';
    (void)clock_gettime(CLOCK_REALTIME, &files->changed);
    add_file(files, MOUNT_DISK_FILE, 0, disk_geometry(disk)->capacity);
    int error = partition_read(disk, &table, reason);
    if (error < 0 && reason->text[0] == '\0')
        reason_fill(reason, "its partition table cannot be read: %s", strerrordesc_np(-error));
    for (unsigned i = 0; error == 0 && i < table.count; i++) {
        const struct partition *partition = &table.partitions[i];
        char name[16];
        (void)snprintf(name, sizeof(name), "part%u", partition->number);
        if (!is_extended(partition))
            add_file(files, name, partition->offset, partition->length);
    }
}

static struct mount_files *files_of(fuse_req_t request)
{
    return fuse_req_userdata(request);
}

/* NULL: it is the folder. */
static const struct mount_file *file_of(fuse_req_t request, fuse_ino_t inode)
{
    struct mount_files *files = files_of(request);

    return inode >= FIRST_FILE && inode - FIRST_FILE < files->count
               ? &files->files[inode - FIRST_FILE]
               : NULL;
}

/* How much of `length` bytes at `offset` the file has. */
static uint64_t clip(const struct mount_file *file, uint64_t offset, uint64_t length)
{
    uint64_t left = offset < file->length ? file->length - offset : 0;

    return length < left ? length : left;
}

static void reply_error(fuse_req_t request, int error)
{
    (void)fuse_reply_err(request, -error);
}

/* ---- names and what is told of files ---- */

/* A file takes no more room than the image does: enough for copies to look for holes. */
static uint64_t room_of(struct mount_files *files, uint64_t length)
{
    struct image_info info;

    if (image_describe(files->disk, &info) == 0 && info.allocated < length)
        return info.allocated;
    return length;
}

static void fill_status(struct mount_files *files, fuse_ino_t inode, struct stat *ret)
{
    bool read_only = disk_geometry(files->disk)->read_only;

    *ret = (struct stat){
        .st_ino = inode,
        .st_nlink = 1,
        .st_uid = geteuid(),
        .st_gid = getegid(),
        .st_blksize = MOUNT_MOST_BYTES,
        .st_atim = files->changed,
        .st_mtim = files->changed,
        .st_ctim = files->changed,
    };
    if (inode == FUSE_ROOT_ID) {
        ret->st_mode = S_IFDIR | 0500;
        ret->st_nlink = 2;
        return;
    }
    uint64_t length = files->files[inode - FIRST_FILE].length;
    ret->st_mode = S_IFREG | (read_only ? 0400 : 0600);
    ret->st_size = (off_t)length;
    ret->st_blocks = (blkcnt_t)((room_of(files, length) + STATUS_UNIT - 1) / STATUS_UNIT);
}

static void serve_lookup(fuse_req_t request, fuse_ino_t parent, const char *name)
{
    struct mount_files *files = files_of(request);
    struct fuse_entry_param entry = {.attr_timeout = status_seconds, .entry_timeout = name_seconds};

    for (unsigned i = 0; parent == FUSE_ROOT_ID && i < files->count; i++) {
        if (strcmp(files->files[i].name, name) != 0)
            continue;
        entry.ino = FIRST_FILE + i;
        fill_status(files, entry.ino, &entry.attr);
        (void)fuse_reply_entry(request, &entry);
        return;
    }
    reply_error(request, -ENOENT);
}

static void serve_getattr(fuse_req_t request, fuse_ino_t inode, struct fuse_file_info *info)
{
    struct stat status;

    (void)info;
    if (inode != FUSE_ROOT_ID && file_of(request, inode) == NULL) {
        reply_error(request, -ENOENT);
        return;
    }
    fill_status(files_of(request), inode, &status);
    (void)fuse_reply_attr(request, &status, status_seconds);
}

/* Times may be set, to no effect; nothing else may. */
static void serve_setattr(fuse_req_t request, fuse_ino_t inode, struct stat *status, int set,
                          struct fuse_file_info *info)
{
    const int fixed = FUSE_SET_ATTR_MODE | FUSE_SET_ATTR_UID | FUSE_SET_ATTR_GID;
    const struct mount_file *file = file_of(request, inode);
    bool resize = (set & FUSE_SET_ATTR_SIZE) != 0 &&
                  (file == NULL || (uint64_t)status->st_size != file->length);

    if (resize || (set & fixed) != 0)
        reply_error(request, -EPERM);
    else
        serve_getattr(request, inode, info);
}

static void serve_readdir(fuse_req_t request, fuse_ino_t inode, size_t size, off_t offset,
                          struct fuse_file_info *info)
{
    enum { DOTS = 2 };
    struct mount_files *files = files_of(request);
    size_t used = 0;

    (void)info;
    size = size < sizeof(files->bytes) ? size : sizeof(files->bytes);
    for (uint64_t i = (uint64_t)offset; inode == FUSE_ROOT_ID && i < DOTS + files->count; i++) {
        const struct stat status = {.st_ino = i < DOTS ? FUSE_ROOT_ID : FIRST_FILE + i - DOTS,
                                    .st_mode = i < DOTS ? S_IFDIR : S_IFREG};
        const char *name = i == 0 ? "." : i == 1 ? ".." : files->files[i - DOTS].name;
        size_t length = fuse_add_direntry(request, (char *)files->bytes + used, size - used, name,
                                          &status, (off_t)(i + 1));
        if (length > size - used)
            break;
        used += length;
    }
    (void)fuse_reply_buf(request, (const char *)files->bytes, used);
}

static void serve_statfs(fuse_req_t request, fuse_ino_t inode)
{
    const struct mount_files *files = files_of(request);
    const struct statvfs status = {
        .f_bsize = STATUS_UNIT,
        .f_frsize = STATUS_UNIT,
        .f_blocks = disk_geometry(files->disk)->capacity / STATUS_UNIT,
        .f_files = files->count,
        .f_namemax = sizeof(files->files[0].name) - 1,
    };

    (void)inode;
    (void)fuse_reply_statfs(request, &status);
}

static void serve_getxattr(fuse_req_t request, fuse_ino_t inode, const char *name, size_t size)
{
    char text[16];
    int length = snprintf(text, sizeof(text), "%d", (int)getpid());

    if (inode != FUSE_ROOT_ID || strcmp(name, MOUNT_PROCESS_ATTRIBUTE) != 0)
        reply_error(request, -ENODATA);
    else if (size == 0)
        (void)fuse_reply_xattr(request, (size_t)length);
    else if (size < (size_t)length)
        reply_error(request, -ERANGE);
    else
        (void)fuse_reply_buf(request, text, (size_t)length);
}

/* ---- what is in files ---- */

static void serve_open(fuse_req_t request, fuse_ino_t inode, struct fuse_file_info *info)
{
    bool change = (info->flags & O_ACCMODE) != O_RDONLY;

    if (file_of(request, inode) == NULL) {
        reply_error(request, -EISDIR);
    } else if (change && disk_geometry(files_of(request)->disk)->read_only) {
        reply_error(request, -EROFS);
    } else {
        info->direct_io = 1;
        (void)fuse_reply_open(request, info);
    }
}

static void serve_read(fuse_req_t request, fuse_ino_t inode, size_t size, off_t offset,
                       struct fuse_file_info *info)
{
    struct mount_files *files = files_of(request);
    const struct mount_file *file = file_of(request, inode);
    uint64_t at = (uint64_t)offset;

    (void)info;
    if (file == NULL || size > sizeof(files->bytes)) {
        reply_error(request, file == NULL ? -EISDIR : -EINVAL);
        return;
    }
    size_t length = (size_t)clip(file, at, size);
    int error =
        length > 0 ? disk_unaligned_read(files->disk, files->bytes, length, file->offset + at) : 0;
    if (error < 0)
        reply_error(request, error);
    else
        (void)fuse_reply_buf(request, (const char *)files->bytes, length);
}

static void note_change(struct mount_files *files)
{
    (void)clock_gettime(CLOCK_REALTIME, &files->changed);
}

static void serve_write(fuse_req_t request, fuse_ino_t inode, const char *bytes, size_t size,
                        off_t offset, struct fuse_file_info *info)
{
    struct mount_files *files = files_of(request);
    const struct mount_file *file = file_of(request, inode);
    uint64_t at = (uint64_t)offset;
    size_t length = file != NULL ? (size_t)clip(file, at, size) : 0;

    if (length == 0) {
        reply_error(request, file == NULL ? -EISDIR : -ENOSPC);
        return;
    }
    int error = disk_unaligned_write(files->disk, bytes, length, file->offset + at);
    /* Direct I/O makes the kernel forget that such a file wants each write to be durable. */
    if (error == 0 && (info->flags & O_DSYNC) != 0)
        error = disk_flush(files->disk);
    note_change(files);
    if (error < 0)
        reply_error(request, error);
    else
        (void)fuse_reply_write(request, length);
}

static void serve_fsync(fuse_req_t request, fuse_ino_t inode, int data_only,
                        struct fuse_file_info *info)
{
    (void)inode;
    (void)data_only;
    (void)info;
    reply_error(request, disk_flush(files_of(request)->disk));
}

static int punch(struct mount_files *files, const struct mount_file *file, int mode,
                 uint64_t offset, uint64_t length)
{
    uint64_t inside = clip(file, offset, length);

    if (mode != (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE) &&
        (mode & ~FALLOC_FL_KEEP_SIZE) != FALLOC_FL_ZERO_RANGE)
        return -EOPNOTSUPP;
    if ((mode & FALLOC_FL_KEEP_SIZE) == 0 && inside != length)
        return -ENOSPC;
    if (inside == 0)
        return 0;
    note_change(files);
    return disk_unaligned_unmap(files->disk, file->offset + offset, inside);
}

static void serve_fallocate(fuse_req_t request, fuse_ino_t inode, int mode, off_t offset,
                            off_t length, struct fuse_file_info *info)
{
    const struct mount_file *file = file_of(request, inode);

    (void)info;
    reply_error(request, file == NULL ? -EISDIR
                                      : punch(files_of(request), file, mode, (uint64_t)offset,
                                              (uint64_t)length));
}

/* The first byte from `at` on that is data, or not; the end of the file when there is none. */
static int seek(struct mount_files *files, const struct mount_file *file, bool wanted, uint64_t *at)
{
    uint64_t mask = disk_geometry(files->disk)->logical_sector - 1;

    while (*at < file->length) {
        uint64_t end = 0;
        bool data = false;
        int error = disk_extent(files->disk, (file->offset + *at) & ~mask, &end, &data);
        if (error < 0 || data == wanted)
            return error;
        *at = end - file->offset;
    }
    *at = file->length;
    return 0;
}

static void serve_lseek(fuse_req_t request, fuse_ino_t inode, off_t offset, int whence,
                        struct fuse_file_info *info)
{
    const struct mount_file *file = file_of(request, inode);
    uint64_t at = (uint64_t)offset;
    int error = 0;

    (void)info;
    if (file == NULL || (whence != SEEK_DATA && whence != SEEK_HOLE))
        error = -EINVAL;
    else if (offset < 0 || at >= file->length)
        error = -ENXIO;
    else
        error = seek(files_of(request), file, whence == SEEK_DATA, &at);
    if (error == 0 && whence == SEEK_DATA && at == file->length)
        error = -ENXIO;
    if (error < 0)
        reply_error(request, error);
    else
        (void)fuse_reply_lseek(request, (off_t)at);
}

/* ---- what is refused: without these the kernel would say that it is not implemented ---- */

static void refuse_mknod(fuse_req_t request, fuse_ino_t parent, const char *name, mode_t mode,
                         dev_t device)
{
    (void)parent;
    (void)name;
    (void)mode;
    (void)device;
    reply_error(request, -EPERM);
}

static void refuse_mkdir(fuse_req_t request, fuse_ino_t parent, const char *name, mode_t mode)
{
    refuse_mknod(request, parent, name, mode, 0);
}

static void refuse_unlink(fuse_req_t request, fuse_ino_t parent, const char *name)
{
    refuse_mknod(request, parent, name, 0, 0);
}

static void refuse_symlink(fuse_req_t request, const char *target, fuse_ino_t parent,
                           const char *name)
{
    (void)target;
    refuse_mknod(request, parent, name, 0, 0);
}

static void refuse_rename(fuse_req_t request, fuse_ino_t parent, const char *name,
                          fuse_ino_t new_parent, const char *new_name, unsigned flags)
{
    (void)new_parent;
    (void)new_name;
    (void)flags;
    refuse_mknod(request, parent, name, 0, 0);
}

static void refuse_link(fuse_req_t request, fuse_ino_t inode, fuse_ino_t parent, const char *name)
{
    (void)inode;
    refuse_mknod(request, parent, name, 0, 0);
}

static void refuse_create(fuse_req_t request, fuse_ino_t parent, const char *name, mode_t mode,
                          struct fuse_file_info *info)
{
    (void)info;
    refuse_mknod(request, parent, name, mode, 0);
}

static void serve_init(void *user_data, struct fuse_conn_info *connection)
{
    struct mount_files *files = user_data;

    if (connection->max_write > MOUNT_MOST_BYTES)
        connection->max_write = MOUNT_MOST_BYTES;
    /* An open that truncates is then two requests, and the second is refused. */
    connection->want &= ~(unsigned)FUSE_CAP_ATOMIC_O_TRUNC;
    files->ready(files->owner);
}

const struct fuse_lowlevel_ops mount_operations = {
    .init = serve_init,
    .lookup = serve_lookup,
    .getattr = serve_getattr,
    .setattr = serve_setattr,
    .readdir = serve_readdir,
    .statfs = serve_statfs,
    .getxattr = serve_getxattr,
    .open = serve_open,
    .read = serve_read,
    .write = serve_write,
    .fsync = serve_fsync,
    .fallocate = serve_fallocate,
    .lseek = serve_lseek,
    .mknod = refuse_mknod,
    .mkdir = refuse_mkdir,
    .unlink = refuse_unlink,
    .rmdir = refuse_unlink,
    .symlink = refuse_symlink,
    .rename = refuse_rename,
    .link = refuse_link,
    .create = refuse_create,
};
