/* Regular files and block devices by pread, pwrite and their kin. */
#include "disk/file.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"

struct host_file {
    struct file file;
    int fd;
    bool block_device;
};

static struct host_file *host(struct file *file)
{
    return (struct host_file *)(void *)file; /* its first member */
}

static int host_read(struct file *file, void *bytes, size_t length, uint64_t offset)
{
    uint8_t *to = bytes;
    while (length > 0) {
        ssize_t got = pread(host(file)->fd, to, length, (off_t)offset);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return -errno;
        if (got == 0) {
            memset(to, 0, length);
            return 0;
        }
        to += got;
        offset += (uint64_t)got;
        length -= (size_t)got;
    }
    return 0;
}

static int host_write(struct file *file, const void *bytes, size_t length, uint64_t offset)
{
    const uint8_t *from = bytes;
    while (length > 0) {
        ssize_t done = pwrite(host(file)->fd, from, length, (off_t)offset);
        if (done < 0 && errno == EINTR)
            continue;
        if (done <= 0)
            return done < 0 ? -errno : -EIO;
        from += done;
        offset += (uint64_t)done;
        length -= (size_t)done;
    }
    return 0;
}

static int host_flush(struct file *file)
{
    return fdatasync(host(file)->fd) == 0 ? 0 : -errno;
}

static int host_size(struct file *file, uint64_t *ret)
{
    struct stat status;

    if (host(file)->block_device)
        return ioctl(host(file)->fd, BLKGETSIZE64, ret) == 0 ? 0 : -errno;
    if (fstat(host(file)->fd, &status) != 0)
        return -errno;
    *ret = (uint64_t)status.st_size;
    return 0;
}

static int host_allocated(struct file *file, uint64_t *ret)
{
    enum { UNIT = 512 }; /* of st_blocks, whatever the file system's block is */
    struct stat status;

    if (host(file)->block_device)
        return host_size(file, ret);
    if (fstat(host(file)->fd, &status) != 0)
        return -errno;
    *ret = (uint64_t)status.st_blocks * UNIT;
    return 0;
}

static int host_allocate(struct file *file, uint64_t offset, uint64_t length)
{
    return fallocate(host(file)->fd, 0, (off_t)offset, (off_t)length) == 0 ? 0 : -errno;
}

static int host_truncate(struct file *file, uint64_t size)
{
    if (host(file)->block_device)
        return -ENOTSUP;
    return ftruncate(host(file)->fd, (off_t)size) == 0 ? 0 : -errno;
}

static int write_zeroes(struct file *file, uint64_t offset, uint64_t length)
{
    enum { PIECE = 1 << 16 };
    static const uint8_t zeroes[PIECE];

    while (length > 0) {
        size_t piece = length < PIECE ? (size_t)length : PIECE;
        int error = host_write(file, zeroes, piece, offset);
        if (error < 0)
            return error;
        offset += piece;
        length -= piece;
    }
    return 0;
}

static int host_punch(struct file *file, uint64_t offset, uint64_t length)
{
    uint64_t size = 0;
    int error = host_size(file, &size);

    if (error < 0 || offset >= size)
        return error;
    if (length > size - offset)
        length = size - offset;
    if (length == 0)
        return 0;
    if (fallocate(host(file)->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)offset,
                  (off_t)length) == 0)
        return 0;
    return write_zeroes(file, offset, length);
}

static int host_extent(struct file *file, uint64_t offset, uint64_t *ret_end, bool *ret_data)
{
    *ret_data = true;
    *ret_end = INT64_MAX;
    off_t data = lseek(host(file)->fd, (off_t)offset, SEEK_DATA);
    if (data < 0 && errno == ENXIO) {
        *ret_data = false;
        return 0;
    }
    if (data < 0) /* no file system that knows holes */
        return errno == EINVAL || errno == ENOTSUP ? 0 : -errno;
    if ((uint64_t)data > offset) {
        *ret_data = false;
        *ret_end = (uint64_t)data;
        return 0;
    }
    off_t hole = lseek(host(file)->fd, data, SEEK_HOLE);
    if (hole > data)
        *ret_end = (uint64_t)hole;
    return 0;
}

static int host_descriptor(struct file *file)
{
    return host(file)->fd;
}

static void host_close(struct file *file)
{
    (void)close(host(file)->fd);
    free(host(file));
}

static const struct file_ops host_ops = {
    .read = host_read,
    .write = host_write,
    .flush = host_flush,
    .punch = host_punch,
    .truncate = host_truncate,
    .size = host_size,
    .allocated = host_allocated,
    .allocate = host_allocate,
    .extent = host_extent,
    .descriptor = host_descriptor,
    .close = host_close,
};

static int lock(int fd, unsigned flags, const char *path, struct reason *reason)
{
    struct flock whole = {.l_type = flags & FILE_WRITABLE ? F_WRLCK : F_RDLCK,
                          .l_whence = SEEK_SET};

    if ((flags & FILE_NO_LOCK) != 0 || fcntl(fd, F_OFD_SETLK, &whole) == 0)
        return 0;
    if (errno == EAGAIN || errno == EACCES)
        return reason_set(reason, -EBUSY, "%s: in use by another process", path);
    return 0; /* a file system without locks */
}

int file_open(const char *path, unsigned flags, struct file **ret, struct reason *reason)
{
    int mode = flags & FILE_WRITABLE ? O_RDWR : O_RDONLY;
    if (flags & FILE_CREATE)
        mode |= O_CREAT | O_EXCL;
    auto_close int fd = open(path, mode | O_CLOEXEC | O_NONBLOCK, 0644);
    if (fd < 0) {
        int error = -errno;
        return reason_set(reason, error, "%s: %s", path, strerrordesc_np(-error));
    }
    struct stat status;
    if (fstat(fd, &status) != 0)
        return -errno;
    if (!S_ISREG(status.st_mode) && !S_ISBLK(status.st_mode))
        return reason_set(reason, -EINVAL, "%s: neither a file nor a block device", path);
    /* It kept a FIFO from making us wait; of a file it would say that asynchronous work may not. */
    (void)fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) & ~O_NONBLOCK);
    int error = lock(fd, flags, path, reason);
    if (error < 0)
        return error;
    struct host_file *file = calloc(1, sizeof(*file));
    if (file == NULL)
        return -ENOMEM;
    file->file.ops = &host_ops;
    file->fd = take_fd(&fd);
    file->block_device = S_ISBLK(status.st_mode);
    *ret = &file->file;
    return 0;
}
