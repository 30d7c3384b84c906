/*
 * A file on its way into the guest (copy.h).
 *
 * There are two blocks. The thread fills them in turn, the loop thread empties them in turn; `full`
 * says whose a block is. All that both use is guarded by `lock`.
 */
#include "worker/copy.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"

/* A piece of the service lies in one block. */
enum { BLOCK = 32 * FCOPY_PIECE, BLOCKS = 2 };

struct copy {
    struct fcopy *fcopy;
    int fd;
    struct stat before;
    uint64_t size;
    bool running;
    int error; /* once it does not run */
    struct reason reason;
    struct loop_event *arrived;
    pthread_t thread;
    bool thread_started;
    pthread_mutex_t lock;
    pthread_cond_t emptied;
    bool stop;
    int read_error;
    bool full[BLOCKS];
    uint8_t block[BLOCKS][BLOCK];
};

/* ---- the thread ---- */

static int read_block(const struct copy *copy, uint64_t offset, uint8_t *to)
{
    uint64_t left = copy->size - offset;
    size_t wanted = left < BLOCK ? (size_t)left : BLOCK;
    size_t done = 0;

    while (done < wanted) {
        ssize_t part = pread(copy->fd, to + done, wanted - done, (off_t)(offset + done));
        if (part < 0 && errno != EINTR)
            return -errno;
        if (part == 0)
            return -EIO; /* it has become shorter */
        done += part > 0 ? (size_t)part : 0;
    }
    return 0;
}

static bool wait_for_room(struct copy *copy, unsigned which)
{
    (void)pthread_mutex_lock(&copy->lock);
    while (copy->full[which] && !copy->stop)
        (void)pthread_cond_wait(&copy->emptied, &copy->lock);
    bool stop = copy->stop;
    (void)pthread_mutex_unlock(&copy->lock);
    return !stop;
}

static void *read_ahead(void *argument)
{
    struct copy *copy = argument;
    int error = 0;

    for (uint64_t at = 0; error == 0 && at < copy->size; at += BLOCK) {
        unsigned which = at / BLOCK % BLOCKS;
        if (!wait_for_room(copy, which))
            break;
        error = read_block(copy, at, copy->block[which]);
        (void)pthread_mutex_lock(&copy->lock);
        copy->full[which] = true;
        copy->read_error = error;
        (void)pthread_mutex_unlock(&copy->lock);
        loop_event_raise(copy->arrived);
    }
    return NULL;
}

/* ---- what the service asks ---- */

static void block_arrived(void *owner)
{
    const struct copy *copy = owner;

    if (copy->running)
        fcopy_continue(copy->fcopy);
}

static int give_piece(void *owner, uint64_t offset, uint8_t *to, size_t size)
{
    struct copy *copy = owner;
    unsigned which = offset / BLOCK % BLOCKS;

    (void)pthread_mutex_lock(&copy->lock);
    int error = copy->full[which] ? copy->read_error : -EAGAIN;
    if (error == 0) {
        memcpy(to, copy->block[which] + offset % BLOCK, size);
        copy->full[which] = (offset + size) % BLOCK != 0;
        (void)pthread_cond_signal(&copy->emptied);
    }
    (void)pthread_mutex_unlock(&copy->lock);
    return error;
}

static int check_unchanged(void *owner, struct reason *reason)
{
    const struct copy *copy = owner;
    struct stat now;

    if (fstat(copy->fd, &now) == 0 && now.st_size == copy->before.st_size &&
        memcmp(&now.st_mtim, &copy->before.st_mtim, sizeof(now.st_mtim)) == 0)
        return 0;
    return reason_set(reason, -EBUSY, "the file was changed while it was copied");
}

static void ended(void *owner, int error, const struct reason *reason)
{
    struct copy *copy = owner;

    copy->running = false;
    copy->error = error;
    copy->reason = *reason;
}

/* ---- life ---- */

static int open_file(struct copy *copy, const char *path, struct reason *reason)
{
    /* A pipe or a terminal would not be waited for: it is refused next. */
    copy->fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (copy->fd < 0 || fstat(copy->fd, &copy->before) < 0)
        return reason_set(reason, -errno, "%s: %s", path, strerrordesc_np(errno));
    if (!S_ISREG(copy->before.st_mode))
        return reason_set(reason, -EINVAL, "%s: not a file with contents", path);
    copy->size = (uint64_t)copy->before.st_size;
    return 0;
}

static int start(struct copy *copy, const struct copy_config *config, struct reason *reason)
{
    const struct fcopy_job job = {
        .path = config->destination,
        .size = copy->size,
        .overwrite = config->overwrite,
        .make_folders = config->make_folders,
        .owner = copy,
        .read = give_piece,
        .check = check_unchanged,
        .ended = ended,
    };

    if (pthread_create(&copy->thread, NULL, read_ahead, copy) != 0)
        return reason_set(reason, -ENOMEM, "the host has no thread for the copy");
    copy->thread_started = true;
    int error = fcopy_start(copy->fcopy, &job, reason);
    copy->running = error == 0;
    return error;
}

int copy_start(struct loop *loop, struct fcopy *fcopy, const struct copy_config *config,
               struct copy **ret, struct reason *reason)
{
    struct copy *copy = calloc(1, sizeof(*copy));

    if (copy == NULL)
        return reason_set(reason, -ENOMEM, "out of memory");
    copy->fcopy = fcopy;
    copy->fd = -1;
    (void)pthread_mutex_init(&copy->lock, NULL);
    (void)pthread_cond_init(&copy->emptied, NULL);
    int error = open_file(copy, config->path, reason);
    if (error == 0 && loop_event_create(loop, block_arrived, copy, &copy->arrived) < 0)
        error = reason_set(reason, -ENOMEM, "out of memory");
    if (error == 0)
        error = start(copy, config, reason);
    if (error < 0)
        copy_destroy(copy);
    else
        *ret = copy;
    return error;
}

void copy_cancel(struct copy *copy)
{
    if (copy->running)
        fcopy_cancel(copy->fcopy);
}

bool copy_is_running(const struct copy *copy, uint64_t *ret_done, uint64_t *ret_size)
{
    *ret_size = copy->size;
    *ret_done = copy->running ? fcopy_done(copy->fcopy) : copy->size;
    return copy->running;
}

int copy_result(const struct copy *copy, struct reason *reason)
{
    return copy->error < 0 ? reason_set(reason, copy->error, "%s", copy->reason.text) : 0;
}

void copy_destroy(struct copy *copy)
{
    if (copy == NULL)
        return;
    if (copy->thread_started) {
        (void)pthread_mutex_lock(&copy->lock);
        copy->stop = true;
        (void)pthread_cond_signal(&copy->emptied);
        (void)pthread_mutex_unlock(&copy->lock);
        (void)pthread_join(copy->thread, NULL);
    }
    if (copy->arrived != NULL)
        loop_event_destroy(copy->arrived);
    if (copy->fd >= 0)
        (void)close(copy->fd);
    (void)pthread_cond_destroy(&copy->emptied);
    (void)pthread_mutex_destroy(&copy->lock);
    free(copy);
}
