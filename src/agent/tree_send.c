/* Sending: a walk by descriptors, so that what is renamed meanwhile leads nowhere else. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/request.h"
#include "agent/tree.h"
#include "base/cleanup.h"
#include "base/crc32c.h"

enum { MOST_DEPTH = 64 };
#define NS_PER_S UINT64_C(1000000000)

struct sender {
    struct tree_peer *peer;
    struct reason *reason;
    const char *root;             /* for reasons */
    char path[REQUEST_MOST_PATH]; /* below it */
    unsigned depth;
    uint64_t total;
    uint8_t bytes[FRAME_MOST];
};

static int send_directory(struct sender *sender, int fd);

static int failed(const struct sender *sender, int error)
{
    return reason_set(sender->reason, error, "%s%s%s: %s", sender->root,
                      sender->path[0] != '\0' ? "/" : "", sender->path, strerrordesc_np(-error));
}

/* The other side speaks before the end only when it has failed. */
static int listen_to_peer(const struct sender *sender)
{
    struct pollfd poll_fd = {.fd = sender->peer->fd, .events = POLLIN};
    struct frame frame;

    if (poll(&poll_fd, 1, 0) <= 0)
        return 0;
    int error = frame_read(sender->peer->reader, sender->peer->fd, &frame);
    return error < 0 ? reason_set(sender->reason, error, "the connection broke")
                     : tree_refusal(&frame, sender->reason);
}

static int send_frame(const struct sender *sender, enum frame_type type, const void *payload,
                      size_t length)
{
    int error = listen_to_peer(sender);

    if (error < 0)
        return error;
    error = frame_write(sender->peer->fd, type, payload, length);
    if (error == 0)
        return 0;
    error = listen_to_peer(sender); /* its last words say more */
    return error < 0 ? error : reason_set(sender->reason, -EPIPE, "the connection broke");
}

/* What is older is taken for that. */
static uint64_t since_1970(const struct timespec *time)
{
    return time->tv_sec < 0 ? 0 : (uint64_t)time->tv_sec * NS_PER_S + (uint64_t)time->tv_nsec;
}

static int send_entry(struct sender *sender, const struct stat *status, const char *target)
{
    struct entry entry = {.kind = ENTRY_FILE,
                          .mode = status->st_mode & 07777,
                          .modified_ns = since_1970(&status->st_mtim),
                          .path = sender->path,
                          .target = target};

    if (S_ISDIR(status->st_mode))
        entry.kind = ENTRY_DIRECTORY;
    else if (S_ISLNK(status->st_mode))
        entry.kind = ENTRY_LINK;
    else
        entry.size = (uint64_t)status->st_size;
    int length = entry_encode(&entry, sender->bytes);
    return length < 0 ? failed(sender, length)
                      : send_frame(sender, FRAME_ENTRY, sender->bytes, (size_t)length);
}

static int send_contents(struct sender *sender, int fd)
{
    struct file_end end = {0};
    int error = 0;

    for (;;) {
        ssize_t length = read(fd, sender->bytes, FRAME_DATA);
        if (length < 0 && errno == EINTR)
            continue;
        if (length < 0)
            return failed(sender, -errno);
        if (length == 0)
            break;
        end.crc = crc32c(end.crc, sender->bytes, (size_t)length);
        end.length += (uint64_t)length;
        error = send_frame(sender, FRAME_DATA_BYTES, sender->bytes, (size_t)length);
        if (error < 0)
            return error;
        sender->total += (uint64_t)length;
        if (sender->peer->progress != NULL)
            sender->peer->progress(sender->peer->owner, sender->total);
    }
    file_end_encode(&end, sender->bytes);
    return send_frame(sender, FRAME_END, sender->bytes, FILE_END_SIZE);
}

static int send_open(struct sender *sender, int fd, const struct stat *status)
{
    int error = send_entry(sender, status, "");

    if (error < 0)
        return error;
    return S_ISDIR(status->st_mode) ? send_directory(sender, fd) : send_contents(sender, fd);
}

static int send_link(struct sender *sender, int folder, const char *name, const struct stat *status)
{
    char target[REQUEST_MOST_PATH];
    ssize_t length = readlinkat(folder, name, target, sizeof(target) - 1);

    if (length <= 0)
        return failed(sender, length < 0 ? -errno : -EINVAL);
    target[length] = '\0';
    return send_entry(sender, status, target);
}

/* Sockets, devices and pipes in a folder are left out. */
static int send_named(struct sender *sender, int folder, const char *name)
{
    struct stat status;

    if (fstatat(folder, name, &status, AT_SYMLINK_NOFOLLOW) < 0)
        return errno == ENOENT ? 0 : failed(sender, -errno);
    if (S_ISLNK(status.st_mode))
        return send_link(sender, folder, name, &status);
    if (!S_ISDIR(status.st_mode) && !S_ISREG(status.st_mode))
        return 0;
    auto_close int fd = openat(folder, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &status) < 0)
        return failed(sender, -errno);
    return send_open(sender, fd, &status);
}

static int send_child(struct sender *sender, int folder, const char *name)
{
    size_t length = strlen(sender->path);
    int added = snprintf(sender->path + length, sizeof(sender->path) - length, "%s%s",
                         length > 0 ? "/" : "", name);
    int error;

    if (added < 0 || (size_t)added >= sizeof(sender->path) - length)
        error = -ENAMETOOLONG;
    else
        error = send_named(sender, folder, name);
    sender->path[length] = '\0';
    return error == -ENAMETOOLONG ? failed(sender, error) : error;
}

static int send_directory(struct sender *sender, int fd)
{
    int own = dup(fd);
    DIR *directory = own >= 0 ? fdopendir(own) : NULL;
    int error = 0;

    if (directory == NULL) {
        error = failed(sender, -errno);
        if (own >= 0)
            (void)close(own);
        return error;
    }
    if (++sender->depth > MOST_DEPTH)
        error = failed(sender, -ELOOP);
    while (error == 0) {
        const struct dirent *entry = readdir(directory); /* NOLINT(concurrency-mt-unsafe) */
        if (entry == NULL)
            break;
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            error = send_child(sender, fd, entry->d_name);
    }
    sender->depth--;
    (void)closedir(directory);
    return error;
}

int tree_send(struct tree_peer *peer, const char *path, struct reason *reason)
{
    auto_close int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    struct stat status;

    if (fd < 0 || fstat(fd, &status) < 0)
        return reason_set(reason, -errno, "%s: %s", path, strerrordesc_np(errno));
    auto_free struct sender *sender = calloc(1, sizeof(*sender));
    if (sender == NULL)
        return reason_set(reason, -ENOMEM, "out of memory");
    sender->peer = peer;
    sender->reason = reason;
    sender->root = path;
    (void)fcntl(fd, F_SETFL, O_RDONLY); /* a pipe is waited for from now on */
    int error = send_open(sender, fd, &status);
    return error < 0 ? error : send_frame(sender, FRAME_DONE, NULL, 0);
}
