#include "cli/disk/fs.h"

#define FUSE_USE_VERSION 31
#include <errno.h>
#include <fcntl.h>
#include <fuse.h>
#include <linux/falloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "disk/partition.h"

enum { NAME_SIZE = 16, SECTOR_MOST = 4096 };

struct fs_file {
    char name[NAME_SIZE];
    uint64_t offset, length; /* bytes of the disk */
};

struct fs {
    struct disk *disk;
    struct fs_file files[1 + PARTITION_MOST];
    unsigned count;
};

static struct fs *this_fs(void)
{
    return fuse_get_context()->private_data;
}

static const struct fs_file *find(const char *path)
{
    const struct fs *fs = this_fs();

    for (unsigned i = 0; i < fs->count; i++) {
        if (strcmp(path + 1, fs->files[i].name) == 0)
            return &fs->files[i];
    }
    return NULL;
}

static bool is_read_only(const struct fs *fs)
{
    return disk_geometry(fs->disk)->read_only;
}

/* ---- bytes: the disk has sectors ---- */

/* One sector, of which some bytes are wanted. */
static int read_part(struct disk *disk, char *to, size_t length, uint64_t offset)
{
    uint32_t sector = disk_geometry(disk)->logical_sector;
    uint64_t within = offset % sector;
    char bytes[SECTOR_MOST];
    int error = disk_read(disk, bytes, sector, offset - within);

    if (error == 0)
        memcpy(to, bytes + within, length);
    return error;
}

static int write_part(struct disk *disk, const char *from, size_t length, uint64_t offset)
{
    uint32_t sector = disk_geometry(disk)->logical_sector;
    uint64_t within = offset % sector;
    char bytes[SECTOR_MOST];
    int error = disk_read(disk, bytes, sector, offset - within);

    if (error < 0)
        return error;
    memcpy(bytes + within, from, length);
    return disk_write(disk, bytes, sector, offset - within);
}

/* How many bytes from `offset` on are done at once: whole sectors, or a part of one. */
static size_t piece_of(const struct disk *disk, uint64_t offset, size_t length, bool *ret_whole)
{
    uint32_t sector = disk_geometry(disk)->logical_sector;
    size_t left = sector - offset % sector;

    *ret_whole = offset % sector == 0 && length >= sector;
    if (*ret_whole)
        return length - length % sector;
    return length < left ? length : left;
}

static int read_bytes(struct disk *disk, char *to, size_t length, uint64_t offset)
{
    int error = 0;

    for (size_t done = 0; error == 0 && done < length;) {
        bool whole = false;
        size_t piece = piece_of(disk, offset + done, length - done, &whole);
        error = whole ? disk_read(disk, to + done, piece, offset + done)
                      : read_part(disk, to + done, piece, offset + done);
        done += piece;
    }
    return error;
}

static int write_bytes(struct disk *disk, const char *from, size_t length, uint64_t offset)
{
    int error = 0;

    for (size_t done = 0; error == 0 && done < length;) {
        bool whole = false;
        size_t piece = piece_of(disk, offset + done, length - done, &whole);
        error = whole ? disk_write(disk, from + done, piece, offset + done)
                      : write_part(disk, from + done, piece, offset + done);
        done += piece;
    }
    return error;
}

static int zero_bytes(struct disk *disk, uint64_t length, uint64_t offset)
{
    static const char zeroes[SECTOR_MOST];
    int error = 0;

    while (error == 0 && length > 0) {
        bool whole = false;
        size_t piece = piece_of(disk, offset, length, &whole);
        error = whole ? disk_unmap(disk, offset, piece) : write_part(disk, zeroes, piece, offset);
        offset += piece;
        length -= piece;
    }
    return error;
}

/* ---- what the kernel asks ---- */

static int fs_getattr(const char *path, struct stat *ret, struct fuse_file_info *info)
{
    const struct fs *fs = this_fs();
    const struct fs_file *file = find(path);

    (void)info;
    *ret = (struct stat){.st_uid = getuid(), .st_gid = getgid(), .st_blksize = 4096};
    if (strcmp(path, "/") == 0) {
        ret->st_mode = S_IFDIR | 0500;
        ret->st_nlink = 2;
        return 0;
    }
    if (file == NULL)
        return -ENOENT;
    ret->st_mode = S_IFREG | (is_read_only(fs) ? 0400 : 0600);
    ret->st_nlink = 1;
    ret->st_size = (off_t)file->length;
    ret->st_blocks = (blkcnt_t)(file->length / 512);
    return 0;
}

static int fs_readdir(const char *path, void *buffer, fuse_fill_dir_t fill, off_t offset,
                      struct fuse_file_info *info, enum fuse_readdir_flags flags)
{
    const struct fs *fs = this_fs();

    (void)offset;
    (void)info;
    (void)flags;
    if (strcmp(path, "/") != 0)
        return -ENOTDIR;
    (void)fill(buffer, ".", NULL, 0, 0);
    (void)fill(buffer, "..", NULL, 0, 0);
    for (unsigned i = 0; i < fs->count; i++)
        (void)fill(buffer, fs->files[i].name, NULL, 0, 0);
    return 0;
}

/* Past the page cache: the same bytes are in several files. */
static int fs_open(const char *path, struct fuse_file_info *info)
{
    if (find(path) == NULL)
        return -ENOENT;
    if ((info->flags & O_ACCMODE) != O_RDONLY && is_read_only(this_fs()))
        return -EROFS;
    info->direct_io = 1;
    return 0;
}

/* The part of [offset, offset + length) that lies in the file; its place on the disk. */
static uint64_t clip(const struct fs_file *file, off_t offset, uint64_t *length)
{
    uint64_t from = (uint64_t)offset < file->length ? (uint64_t)offset : file->length;

    if (*length > file->length - from)
        *length = file->length - from;
    return file->offset + from;
}

static int fs_read(const char *path, char *to, size_t size, off_t offset,
                   struct fuse_file_info *info)
{
    const struct fs_file *file = find(path);
    uint64_t length = size;

    (void)info;
    if (file == NULL || offset < 0)
        return -ENOENT;
    uint64_t at = clip(file, offset, &length);
    int error = read_bytes(this_fs()->disk, to, length, at);
    return error < 0 ? error : (int)length;
}

static int fs_write(const char *path, const char *from, size_t size, off_t offset,
                    struct fuse_file_info *info)
{
    const struct fs_file *file = find(path);
    uint64_t length = size;

    (void)info;
    if (file == NULL || offset < 0)
        return -ENOENT;
    uint64_t at = clip(file, offset, &length);
    if (length == 0 && size != 0)
        return -ENOSPC;
    int error = write_bytes(this_fs()->disk, from, length, at);
    return error < 0 ? error : (int)length;
}

static int fs_fsync(const char *path, int data_only, struct fuse_file_info *info)
{
    (void)path;
    (void)data_only;
    (void)info;
    return disk_flush(this_fs()->disk);
}

static int fs_truncate(const char *path, off_t size, struct fuse_file_info *info)
{
    const struct fs_file *file = find(path);

    (void)info;
    if (file == NULL)
        return -ENOENT;
    return (uint64_t)size == file->length ? 0 : -EPERM;
}

static int fs_fallocate(const char *path, int mode, off_t offset, off_t size,
                        struct fuse_file_info *info)
{
    const struct fs_file *file = find(path);
    uint64_t length = (uint64_t)size;

    (void)info;
    if (file == NULL || offset < 0 || size < 0)
        return -ENOENT;
    if ((mode & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE)) == 0)
        return -EOPNOTSUPP;
    uint64_t at = clip(file, offset, &length);
    return zero_bytes(this_fs()->disk, length, at);
}

/* SEEK_DATA and SEEK_HOLE, for those who copy sparse. */
static off_t fs_lseek(const char *path, off_t offset, int whence, struct fuse_file_info *info)
{
    const struct fs_file *file = find(path);
    struct disk *disk = this_fs()->disk;
    uint64_t sector = disk_geometry(disk)->logical_sector;
    uint64_t at = (uint64_t)offset;

    (void)info;
    if (file == NULL || (whence != SEEK_DATA && whence != SEEK_HOLE))
        return -EINVAL;
    while (offset >= 0 && at < file->length) {
        uint64_t from = file->offset + at - (file->offset + at) % sector;
        uint64_t end = 0;
        bool data = false;
        int error = disk_extent(disk, from, &end, &data);
        if (error < 0)
            return error;
        if (data == (whence == SEEK_DATA))
            return (off_t)at;
        at = end - file->offset;
    }
    return whence == SEEK_HOLE && offset >= 0 && (uint64_t)offset < file->length
               ? (off_t)file->length
               : -ENXIO;
}

static int fs_getxattr(const char *path, const char *name, char *value, size_t size)
{
    char text[NAME_SIZE];
    int length = snprintf(text, sizeof(text), "%d", (int)getpid());

    if (strcmp(path, "/") != 0 || strcmp(name, FS_PID_XATTR) != 0)
        return -ENODATA;
    if (size != 0 && size < (size_t)length)
        return -ERANGE;
    if (size != 0)
        memcpy(value, text, (size_t)length);
    return length;
}

static const struct fuse_operations operations = {
    .getattr = fs_getattr,
    .readdir = fs_readdir,
    .open = fs_open,
    .read = fs_read,
    .write = fs_write,
    .fsync = fs_fsync,
    .truncate = fs_truncate,
    .fallocate = fs_fallocate,
    .lseek = fs_lseek,
    .getxattr = fs_getxattr,
};

/* ---- mounting ---- */

/* A disk without a table, or with a damaged one, is still there as a whole. */
static int list_files(struct fs *fs)
{
    struct partition_table *table = calloc(1, sizeof(*table));

    if (table == NULL)
        return -ENOMEM;
    fs->files[0] =
        (struct fs_file){.name = FS_DISK_NAME, .length = disk_geometry(fs->disk)->capacity};
    fs->count = 1;
    if (partition_read(fs->disk, table, NULL) == 0) {
        for (unsigned i = 0; i < table->count; i++) {
            struct fs_file *file = &fs->files[fs->count++];
            file->offset = table->partitions[i].offset;
            file->length = table->partitions[i].length;
            (void)snprintf(file->name, sizeof(file->name), "part%u", table->partitions[i].number);
        }
    }
    free(table);
    return 0;
}

static int make_arguments(const struct fs_mount *mount, struct fuse_args *args)
{
    char *options = NULL;
    char *name = NULL;
    int failed = asprintf(&name, "fsname=%s", mount->source) < 0;

    if (failed)
        return -ENOMEM;
    failed = fuse_opt_add_opt(&options, "subtype=partita,default_permissions") != 0 ||
             fuse_opt_add_opt_escaped(&options, name) != 0 ||
             (disk_geometry(mount->disk)->read_only && fuse_opt_add_opt(&options, "ro") != 0) ||
             fuse_opt_add_arg(args, "partita") != 0 || fuse_opt_add_arg(args, "-o") != 0 ||
             fuse_opt_add_arg(args, options) != 0;
    free(name);
    free(options);
    return failed ? -ENOMEM : 0;
}

static int serve(struct fuse *fuse, const struct fs_mount *mount, struct reason *reason)
{
    struct fuse_session *session = fuse_get_session(fuse);

    if (fuse_mount(fuse, mount->folder) != 0)
        return reason_set(reason, -EIO, "%s: FUSE cannot mount there", mount->folder);
    (void)fflush(stdout);
    int error = fuse_daemonize(mount->foreground) == 0 ? 0 : -EAGAIN;
    if (error == 0 && fuse_set_signal_handlers(session) != 0)
        error = -EIO;
    if (error == 0)
        (void)fuse_loop(fuse); /* its result is the signal that ended it */
    fuse_remove_signal_handlers(session);
    fuse_unmount(fuse);
    return error;
}

/* FUSE would say it, too, and in a line of its own. */
static int check_folder(const char *folder, struct reason *reason)
{
    struct stat status;

    /* What stat says may be from a cache. */
    if (getxattr(folder, FS_PID_XATTR, NULL, 0) < 0 && errno == ENOTCONN)
        return reason_set(reason, -ENOTCONN,
                          "%s: who served it was killed; 'partita disk unmount' frees it", folder);
    if (stat(folder, &status) == 0 && S_ISDIR(status.st_mode))
        return 0;
    return reason_set(reason, -ENOTDIR, "%s: not a folder", folder);
}

int fs_serve(const struct fs_mount *mount, struct reason *reason)
{
    struct fuse_args args = FUSE_ARGS_INIT(0, NULL);
    struct fs *fs = calloc(1, sizeof(*fs));
    int error = fs != NULL ? check_folder(mount->folder, reason) : -ENOMEM;

    if (error == 0) {
        fs->disk = mount->disk;
        error = list_files(fs);
    }
    if (error == 0)
        error = make_arguments(mount, &args);
    struct fuse *fuse = error == 0 ? fuse_new(&args, &operations, sizeof(operations), fs) : NULL;
    if (error == 0)
        error = fuse != NULL ? serve(fuse, mount, reason) : -EIO;
    if (fuse != NULL)
        fuse_destroy(fuse);
    fuse_opt_free_args(&args);
    free(fs);
    return error;
}
