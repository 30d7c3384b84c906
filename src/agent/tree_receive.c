/* Receiving. */
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "agent/request.h"
#include "agent/tree.h"
#include "base/cleanup.h"
#include "base/crc32c.h"

enum { NAME_SIZE = 256 };
#define NS_PER_S UINT64_C(1000000000)

struct receiver {
    struct tree_peer *peer;
    struct tree_target target;
    struct reason *reason;
    int parent;                /* the root is in it, under this name */
    char root_name[NAME_SIZE]; /* "": parent itself is the root */
    int root;                  /* a folder that was opened; -1: none */
    bool begun;
    /* The file that is being received; fd -1: none. */
    int fd, folder;
    bool direct; /* no new file: it is a device or the like */
    char name[NAME_SIZE], temporary[NAME_SIZE];
    struct entry entry; /* without its strings */
    struct file_end so_far;
    uint64_t total;
};

static int failed(const struct receiver *receiver, const char *path, int error)
{
    return reason_set(receiver->reason, error, "%s%s%s: %s", receiver->target.path,
                      path[0] != '\0' ? "/" : "", path, strerrordesc_np(-error));
}

int tree_refusal(const struct frame *frame, struct reason *reason)
{
    char text[256];
    uint32_t code = 0;

    if (frame->type != FRAME_FAILED ||
        failure_decode(frame->payload, frame->length, &code, text, sizeof(text)) < 0)
        return reason_set(reason, -EPROTO, "the other side does not keep to the protocol");
    return reason_set(reason, -EREMOTEIO, "%s", text);
}

/* ---- where things go ---- */

static int split(const char *path, char ret_folder[REQUEST_MOST_PATH], char ret_name[NAME_SIZE])
{
    char copy[REQUEST_MOST_PATH];

    if (strlen(path) >= sizeof(copy))
        return -ENAMETOOLONG;
    (void)snprintf(copy, sizeof(copy), "%s", path);
    (void)snprintf(ret_folder, REQUEST_MOST_PATH, "%s",
                   dirname(copy)); /* NOLINT(concurrency-mt-unsafe) */
    (void)snprintf(copy, sizeof(copy), "%s", path);
    const char *name = basename(copy); /* NOLINT(concurrency-mt-unsafe) */
    if (strlen(name) >= NAME_SIZE)
        return -ENAMETOOLONG;
    (void)snprintf(ret_name, NAME_SIZE, "%s", name);
    return 0;
}

static int open_folder(const char *path, int *ret)
{
    *ret = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return *ret < 0 ? -errno : 0;
}

/* Beside what is there, or where nothing is. */
static int place_beside(struct receiver *receiver)
{
    char folder[REQUEST_MOST_PATH];
    int error = split(receiver->target.path, folder, receiver->root_name);

    return error < 0 ? error : open_folder(folder, &receiver->parent);
}

static int place_inside(struct receiver *receiver, enum entry_kind kind)
{
    if (receiver->target.name[0] == '\0' && kind != ENTRY_DIRECTORY)
        return -EISDIR;
    (void)snprintf(receiver->root_name, NAME_SIZE, "%s", receiver->target.name);
    return open_folder(receiver->target.path, &receiver->parent);
}

/*
 * /dev/stdout is a link, and may lead to a file: it is not replaced, but written through. Others
 * could have been laid by an earlier copy, and are not.
 */
static bool is_of_system(const char *path)
{
    return strncmp(path, "/dev/", 5) == 0 || strncmp(path, "/proc/", 6) == 0;
}

/* As docker cp has it: into a folder that is there, else to that name. */
static int find_place(struct receiver *receiver, enum entry_kind kind)
{
    const char *path = receiver->target.path;
    struct stat status;
    size_t length = strlen(path);

    if (stat(path, &status) < 0) {
        bool wants_folder = length > 0 && path[length - 1] == '/';
        return errno != ENOENT || (wants_folder && kind != ENTRY_DIRECTORY)
                   ? -errno
                   : place_beside(receiver);
    }
    if (S_ISDIR(status.st_mode))
        return place_inside(receiver, kind);
    if (kind == ENTRY_DIRECTORY)
        return -ENOTDIR;
    receiver->direct = !S_ISREG(status.st_mode) || is_of_system(path);
    return place_beside(receiver);
}

static int open_below(int root, const char *path, int flags)
{
    const struct open_how how = {.flags = (uint64_t)(flags | O_CLOEXEC),
                                 .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS};
    long fd = syscall(SYS_openat2, root, path, &how, sizeof(how));
    return fd < 0 ? -errno : (int)fd;
}

/* The folder of an entry, and its name there. */
static int locate(const struct receiver *receiver, const char *path, int *ret_folder,
                  char ret_name[NAME_SIZE])
{
    char folder[REQUEST_MOST_PATH];

    if (path[0] == '\0') {
        (void)snprintf(ret_name, NAME_SIZE, "%s", receiver->root_name);
        *ret_folder = dup(receiver->parent);
        return *ret_folder < 0 ? -errno : 0;
    }
    if (receiver->root < 0)
        return -ENOTDIR;
    int error = split(path, folder, ret_name);
    if (error < 0)
        return error;
    *ret_folder = open_below(receiver->root, folder, O_RDONLY | O_DIRECTORY);
    return *ret_folder < 0 ? *ret_folder : 0;
}

/* ---- entries ---- */

static int make_directory(struct receiver *receiver, int folder, const char *name,
                          const struct entry *entry)
{
    const char *at = name[0] != '\0' ? name : ".";
    bool made = name[0] != '\0' && mkdirat(folder, name, 0700) == 0;
    bool is_root = entry->path[0] == '\0';
    /* Only the folder that was asked for by its whole name may be a link. */
    int follow = name[0] == '\0' ? 0 : O_NOFOLLOW;

    if (name[0] != '\0' && !made && errno != EEXIST)
        return -errno;
    auto_close int fd = openat(folder, at, O_RDONLY | O_DIRECTORY | O_CLOEXEC | follow);
    if (fd < 0)
        return -errno;
    /* What comes into it must be possible. */
    if (made && fchmod(fd, (entry->mode & receiver->target.mode_mask) | 0700) < 0)
        return -errno;
    if (is_root)
        receiver->root = take_fd(&fd);
    return 0;
}

static int make_link(int folder, const char *name, const struct entry *entry)
{
    if (symlinkat(entry->target, folder, name) == 0)
        return 0;
    if (errno != EEXIST || unlinkat(folder, name, 0) < 0)
        return -errno;
    return symlinkat(entry->target, folder, name) < 0 ? -errno : 0;
}

static int begin_file(struct receiver *receiver, int *folder, const char *name)
{
    static unsigned count;

    if (receiver->direct) {
        receiver->fd = openat(*folder, name, O_WRONLY | O_TRUNC | O_NOCTTY | O_CLOEXEC);
        return receiver->fd < 0 ? -errno : 0;
    }
    (void)snprintf(receiver->name, NAME_SIZE, "%s", name);
    (void)snprintf(receiver->temporary, NAME_SIZE, ".partita-%d-%u", (int)getpid(), count++);
    receiver->fd = openat(*folder, receiver->temporary,
                          O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (receiver->fd < 0)
        return -errno;
    receiver->folder = take_fd(folder);
    return 0;
}

/* One file goes into a stream, and nothing else. */
static int begin_stream(struct receiver *receiver, const struct entry *entry)
{
    if (entry->kind != ENTRY_FILE || entry->path[0] != '\0')
        return failed(receiver, "", -EISDIR);
    receiver->direct = true;
    receiver->so_far = (struct file_end){0};
    receiver->fd = fcntl(receiver->target.stream, F_DUPFD_CLOEXEC, 0);
    return receiver->fd < 0 ? failed(receiver, "", -errno) : 0;
}

static int take_entry(struct receiver *receiver, const struct frame *frame)
{
    struct entry entry;
    char name[NAME_SIZE] = "";
    auto_close int folder = -1;
    int error = entry_decode(frame->payload, frame->length, &entry);

    if (error < 0 || receiver->fd >= 0 || receiver->begun == (entry.path[0] == '\0'))
        return failed(receiver, "", -EPROTO);
    receiver->begun = true;
    /* A sender follows the link that it is asked for: who sends one lays a trap for the next copy.
     */
    if (entry.path[0] == '\0' && entry.kind == ENTRY_LINK)
        return failed(receiver, "", -EPROTO);
    if (receiver->target.stream != 0)
        return begin_stream(receiver, &entry);
    if (entry.path[0] == '\0')
        error = find_place(receiver, entry.kind);
    if (error == 0)
        error = locate(receiver, entry.path, &folder, name);
    if (error < 0)
        return failed(receiver, entry.path, error);
    receiver->entry = entry;
    receiver->so_far = (struct file_end){0};
    if (entry.kind == ENTRY_DIRECTORY)
        error = make_directory(receiver, folder, name, &entry);
    else if (entry.kind == ENTRY_LINK)
        error = make_link(folder, name, &entry);
    else
        error = begin_file(receiver, &folder, name);
    return error < 0 ? failed(receiver, entry.path, error) : 0;
}

/* ---- a file's bytes ---- */

static int take_data(struct receiver *receiver, const struct frame *frame)
{
    if (receiver->fd < 0)
        return failed(receiver, "", -EPROTO);
    for (size_t done = 0; done < frame->length;) {
        ssize_t part = write(receiver->fd, frame->payload + done, frame->length - done);
        if (part < 0 && errno != EINTR)
            return failed(receiver, receiver->name, -errno);
        done += part > 0 ? (size_t)part : 0;
    }
    receiver->so_far.crc = crc32c(receiver->so_far.crc, frame->payload, frame->length);
    receiver->so_far.length += frame->length;
    receiver->total += frame->length;
    if (receiver->peer->progress != NULL)
        receiver->peer->progress(receiver->peer->owner, receiver->total);
    return 0;
}

static int keep_file(const struct receiver *receiver)
{
    const struct timespec times[2] = {
        {.tv_nsec = UTIME_NOW},
        {.tv_sec = (time_t)(receiver->entry.modified_ns / NS_PER_S),
         .tv_nsec = (long)(receiver->entry.modified_ns % NS_PER_S)},
    };

    if (receiver->direct)
        return 0;
    if (fchmod(receiver->fd, receiver->entry.mode & receiver->target.mode_mask) < 0 ||
        futimens(receiver->fd, times) < 0 ||
        renameat(receiver->folder, receiver->temporary, receiver->folder, receiver->name) < 0)
        return -errno;
    return 0;
}

static void drop_file(struct receiver *receiver, bool keep)
{
    if (receiver->fd < 0)
        return;
    if (!keep && receiver->folder >= 0)
        (void)unlinkat(receiver->folder, receiver->temporary, 0);
    (void)close(receiver->fd);
    if (receiver->folder >= 0)
        (void)close(receiver->folder);
    receiver->fd = -1;
    receiver->folder = -1;
}

static int take_end(struct receiver *receiver, const struct frame *frame)
{
    struct file_end end;

    if (receiver->fd < 0 || file_end_decode(frame->payload, frame->length, &end) < 0)
        return failed(receiver, "", -EPROTO);
    if (end.length != receiver->so_far.length || end.crc != receiver->so_far.crc)
        return failed(receiver, receiver->name, -EBADMSG);
    int error = keep_file(receiver);
    drop_file(receiver, error == 0);
    return error < 0 ? failed(receiver, receiver->name, error) : 0;
}

/* ---- all of it ---- */

/* 1: done. */
static int take_frame(struct receiver *receiver, const struct frame *frame)
{
    switch (frame->type) {
    case FRAME_ENTRY:
        return take_entry(receiver, frame);
    case FRAME_DATA_BYTES:
        return take_data(receiver, frame);
    case FRAME_END:
        return take_end(receiver, frame);
    case FRAME_DONE:
        return receiver->fd >= 0 || !receiver->begun ? failed(receiver, "", -EPROTO) : 1;
    default:
        return tree_refusal(frame, receiver->reason);
    }
}

int tree_receive(struct tree_peer *peer, const struct tree_target *target, struct reason *reason)
{
    struct receiver receiver = {.peer = peer,
                                .target = *target,
                                .reason = reason,
                                .parent = -1,
                                .root = -1,
                                .fd = -1,
                                .folder = -1};
    struct frame frame;
    int result = 0;

    while (result == 0) {
        result = frame_read(peer->reader, peer->fd, &frame);
        if (result < 0)
            (void)reason_set(reason, result, "the connection broke");
        else
            result = take_frame(&receiver, &frame);
    }
    drop_file(&receiver, false);
    if (receiver.root >= 0)
        (void)close(receiver.root);
    if (receiver.parent >= 0)
        (void)close(receiver.parent);
    return result < 0 ? result : 0;
}
