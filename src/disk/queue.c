/*
 * 1. A request has one transfer at a time; one that crosses the border of an extent has several,
 *    one after the other, and one that crosses a border within a piece of memory has that piece's
 *    parts for itself. So the slice of the pieces needs no room of its own.
 * 2. Begun reads and writes are `active` until ->done, for what they hold of the format's map. The
 *    format must not be asked for anything else while an unmap is carried out (`unmapping`).
 * 3. What has to wait is in one of four lists: `waiting` behind an unmap, `busy` for a commit that
 *    the format wants (-EBUSY), `flushes` for the next commit, `covered` for the one under way.
 * 4. A commit and an unmap that both wait take turns: a commit that has ended lets the unmap go
 *    first.
 */
#include "disk/queue.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "disk/disk_private.h"

struct request_list {
    struct disk_request *first, **end;
};

struct disk_queue {
    struct disk *disk;
    struct disk_io *io;
    struct disk_pace pace;
    struct request_list waiting, busy, flushes, covered;
    struct disk_request *unmap; /* the barrier that is next or under way */
    struct disk_job unmap_job, commit_job;
    int unmap_error, commit_error;
    unsigned active;
    bool unmapping, unmap_is_busy, committing, pumping;
};

static void pump(struct disk_queue *queue);

/* ---- lists ---- */

static void empty(struct request_list *list)
{
    list->first = NULL;
    list->end = &list->first;
}

static void append(struct request_list *list, struct disk_request *request)
{
    request->pending.next = NULL;
    *list->end = request;
    list->end = &request->pending.next;
}

static struct disk_request *pop(struct request_list *list)
{
    struct disk_request *request = list->first;

    if (request == NULL)
        return NULL;
    list->first = request->pending.next;
    if (list->first == NULL)
        empty(list);
    return request;
}

/* Move all to `to`, which is empty. */
static void take_all(struct request_list *from, struct request_list *to)
{
    *to = *from;
    if (from->first == NULL)
        empty(to);
    empty(from);
}

/* ---- the pieces of a request ---- */

static void move_on(struct disk_request *request, uint64_t length)
{
    struct disk_pending *pending = &request->pending;

    pending->done += length;
    pending->left -= length;
    pending->file_offset += length;
    while (length > 0) {
        size_t rest = request->iov[pending->piece].iov_len - pending->within;
        if (length < rest) {
            pending->within += (size_t)length;
            return;
        }
        length -= rest;
        pending->piece++;
        pending->within = 0;
    }
}

/* What of the extent lies in one piece; there is some. */
static struct iovec next_part(struct disk_request *request)
{
    struct disk_pending *pending = &request->pending;

    while (request->iov[pending->piece].iov_len == pending->within) {
        pending->piece++;
        pending->within = 0;
    }
    const struct iovec *piece = &request->iov[pending->piece];
    size_t rest = piece->iov_len - pending->within;
    return (struct iovec){(uint8_t *)piece->iov_base + pending->within,
                          rest < pending->left ? rest : (size_t)pending->left};
}

/* How many pieces from the next one on lie in the extent in whole. */
static unsigned whole_pieces(const struct disk_request *request)
{
    const struct disk_pending *pending = &request->pending;
    const struct iovec *piece = &request->iov[pending->piece];
    unsigned most = request->iov_count - pending->piece;
    uint64_t left = pending->left;
    unsigned count = 0;

    most = most < IOV_MAX ? most : IOV_MAX;
    for (; count < most && piece[count].iov_len <= left; count++)
        left -= piece[count].iov_len;
    return pending->within == 0 ? count : 0;
}

static void fill_zeroes(struct disk_request *request)
{
    while (request->pending.left > 0) {
        struct iovec part = next_part(request);
        memset(part.iov_base, 0, part.iov_len);
        move_on(request, part.iov_len);
    }
}

/* ---- reads and writes ---- */

static struct disk_request *request_of(struct disk_transfer *transfer)
{
    return (struct disk_request *)(void *)((uint8_t *)transfer -
                                           offsetof(struct disk_request, pending.transfer));
}

static void end_request(struct disk_request *request, int error)
{
    struct disk_queue *queue = request->pending.queue;

    queue->active--;
    if (request->op == DISK_WRITE)
        (void)disk_latch(queue->disk, error);
    if (error == 0)
        disk_count(queue->disk, request);
    request->done(request, error);
}

/* What a transfer has brought: 0, or an error. */
static int take_result(struct disk_request *request)
{
    const struct disk_transfer *transfer = &request->pending.transfer;
    int64_t result = transfer->result;

    if (result > 0) {
        move_on(request, (uint64_t)result);
        return 0;
    }
    /* Formats alone say that they are busy. */
    if (result < 0)
        return result == -EBUSY || result == -EINPROGRESS ? -EIO : (int)result;
    if (transfer->write)
        return -EIO;
    fill_zeroes(request); /* behind the end of the file */
    return 0;
}

static void advance(struct disk_request *request);

static void transfer_ended(struct disk_transfer *transfer)
{
    struct disk_request *request = request_of(transfer);
    struct disk_queue *queue = request->pending.queue;
    int error = take_result(request);

    if (error < 0)
        end_request(request, error);
    else
        advance(request);
    pump(queue);
}

/* A transfer for what is next; -EINPROGRESS: it is under way. */
static int transfer(struct disk_request *request)
{
    struct disk_pending *pending = &request->pending;
    struct disk_queue *queue = pending->queue;

    pending->part = next_part(request);
    unsigned whole = whole_pieces(request);
    pending->transfer = (struct disk_transfer){
        .file = pending->file,
        .fd = disk_io_descriptor(pending->file),
        .iov = whole > 0 ? &request->iov[pending->piece] : &pending->part,
        .iov_count = whole > 0 ? whole : 1,
        .offset = pending->file_offset,
        .write = request->op == DISK_WRITE,
        .ended = transfer_ended,
    };
    if (!disk_io_start(queue->io, &pending->transfer, &queue->pace))
        return -EINPROGRESS;
    return take_result(request);
}

/* All of the extent is moved: the format notes it, or wants a commit first (-EBUSY). */
static int end_extent(struct disk_request *request)
{
    struct disk_pending *pending = &request->pending;
    struct disk *disk = pending->queue->disk;
    int error = 0;

    if (request->op == DISK_WRITE && pending->extent_length != 0 && disk->ops->written != NULL)
        error = disk->ops->written(disk, request->offset + pending->done - pending->extent_length,
                                   pending->extent_length);
    if (error == 0)
        pending->extent_length = 0;
    return error;
}

static int begin_extent(struct disk_request *request)
{
    struct disk_pending *pending = &request->pending;
    struct disk *disk = pending->queue->disk;
    struct disk_extent extent;
    int error = disk->ops->map(disk, request->op, request->offset + pending->done,
                               request->length - pending->done, &extent);

    if (error < 0)
        return error;
    pending->file = extent.file;
    pending->file_offset = extent.offset;
    pending->left = pending->extent_length = extent.length;
    if (extent.file == NULL)
        fill_zeroes(request);
    return 0;
}

/* Go on until a transfer is under way, a commit is wanted, or the request has ended. */
static void advance(struct disk_request *request)
{
    const struct disk_pending *pending = &request->pending;
    int error = 0;

    while (error == 0) {
        if (pending->left > 0) {
            error = transfer(request);
            continue;
        }
        error = end_extent(request);
        if (error == 0 && pending->done == request->length)
            break;
        if (error == 0)
            error = begin_extent(request);
    }
    if (error == -EBUSY)
        append(&pending->queue->busy, request);
    else if (error != -EINPROGRESS)
        end_request(request, error);
}

/* The disk may have failed while it waited. */
static void begin(struct disk_queue *queue, struct disk_request *request)
{
    int error = request->op == DISK_WRITE ? disk_check_change(queue->disk) : 0;

    queue->active++;
    if (error < 0)
        end_request(request, error);
    else
        advance(request);
}

/* ---- unmap ---- */

static void unmap_work(struct disk_job *job)
{
    struct disk_queue *queue =
        (struct disk_queue *)(void *)((uint8_t *)job - offsetof(struct disk_queue, unmap_job));
    const struct disk_request *request = queue->unmap;

    queue->unmap_error = queue->disk->ops->unmap(queue->disk, request->offset, request->length);
}

static void end_unmap(struct disk_queue *queue, int error)
{
    struct disk_request *request = queue->unmap;

    queue->unmap = NULL;
    queue->unmap_is_busy = false;
    request->done(request, disk_latch(queue->disk, error));
}

static void unmap_done(struct disk_job *job)
{
    struct disk_queue *queue =
        (struct disk_queue *)(void *)((uint8_t *)job - offsetof(struct disk_queue, unmap_job));

    queue->unmapping = false;
    if (queue->unmap_error == -EBUSY)
        queue->unmap_is_busy = true;
    else
        end_unmap(queue, queue->unmap_error);
    pump(queue);
}

/* The one that waits, if it may. False: there is none, or it may not yet. */
static bool start_unmap(struct disk_queue *queue)
{
    if (queue->unmap == NULL || queue->active > 0 || queue->committing || queue->unmapping ||
        queue->unmap_is_busy)
        return false;
    int error = disk_check_change(queue->disk);
    if (error < 0 || queue->unmap->length == 0) {
        end_unmap(queue, error);
        return true;
    }
    queue->unmapping = true;
    disk_io_help(queue->io, &queue->unmap_job);
    return true;
}

/* ---- commits ---- */

static void commit_work(struct disk_job *job)
{
    struct disk_queue *queue =
        (struct disk_queue *)(void *)((uint8_t *)job - offsetof(struct disk_queue, commit_job));

    queue->commit_error = queue->disk->ops->commit_write(queue->disk);
}

static void end_flushes(struct request_list *flushes, int error)
{
    struct disk_request *request;

    while ((request = pop(flushes)) != NULL)
        request->done(request, error);
}

/* What waited for it goes on; it may have to wait for the next one. */
static void resume_busy(struct disk_queue *queue, int error)
{
    struct request_list busy;
    struct disk_request *request;

    take_all(&queue->busy, &busy);
    queue->unmap_is_busy = false;
    if (queue->unmap != NULL && error < 0)
        end_unmap(queue, -EROFS);
    while ((request = pop(&busy)) != NULL) {
        if (error < 0)
            end_request(request, error);
        else
            advance(request);
    }
}

static void commit_done(struct disk_job *job)
{
    struct disk_queue *queue =
        (struct disk_queue *)(void *)((uint8_t *)job - offsetof(struct disk_queue, commit_job));
    int error = queue->commit_error;
    struct request_list covered; /* before a ->done can have another commit begun */

    take_all(&queue->covered, &covered);
    queue->committing = false;
    queue->disk->ops->commit_done(queue->disk, error);
    (void)disk_latch(queue->disk, error);
    resume_busy(queue, error);
    end_flushes(&covered, error);
    (void)start_unmap(queue);
    pump(queue);
}

static bool start_commit(struct disk_queue *queue)
{
    if (queue->committing || queue->unmapping ||
        (queue->busy.first == NULL && !queue->unmap_is_busy && queue->flushes.first == NULL))
        return false;
    int error = disk_check_change(queue->disk);
    if (error < 0) {
        resume_busy(queue, error);
        end_flushes(&queue->flushes, error);
        return true;
    }
    take_all(&queue->flushes, &queue->covered);
    queue->committing = true;
    queue->disk->ops->commit_prepare(queue->disk);
    disk_io_help(queue->io, &queue->commit_job);
    return true;
}

/* ---- the queue ---- */

/* Begin what may begin, one step; false: nothing may. */
static bool step(struct disk_queue *queue)
{
    if (queue->unmapping)
        return false;
    if (start_commit(queue))
        return true;
    if (queue->unmap != NULL)
        return start_unmap(queue);
    struct disk_request *request = pop(&queue->waiting);
    if (request == NULL)
        return false;
    if (request->op == DISK_UNMAP)
        queue->unmap = request;
    else
        begin(queue, request);
    return true;
}

/* What ->done submits comes here again, and is seen to by the call further out. */
static void pump(struct disk_queue *queue)
{
    if (queue->pumping)
        return;
    queue->pumping = true;
    while (step(queue))
        ;
    queue->pumping = false;
}

void disk_queue_submit(struct disk_request *request, struct disk_queue *queue)
{
    struct disk_pending *pending = &request->pending;

    pending->queue = queue;
    pending->done = pending->left = pending->extent_length = 0;
    pending->piece = 0;
    pending->within = 0;
    if (request->op == DISK_FLUSH && queue->disk->geometry.read_only)
        request->done(request, 0);
    else if (request->op == DISK_FLUSH)
        append(&queue->flushes, request);
    else if (request->op == DISK_UNMAP || queue->waiting.first != NULL || queue->unmap != NULL)
        append(&queue->waiting, request);
    else
        begin(queue, request);
    pump(queue);
}

static bool is_idle(const struct disk_queue *queue)
{
    return queue->active == 0 && queue->unmap == NULL && queue->waiting.first == NULL &&
           queue->flushes.first == NULL && queue->covered.first == NULL && !queue->committing;
}

void disk_queue_settle(struct disk *disk)
{
    if (disk->queue != NULL && disk->queue->unmapping)
        disk_io_await(disk->queue->io, &disk->queue->unmap_job);
}

void disk_queue_drain(struct disk *disk)
{
    while (disk->queue != NULL && !is_idle(disk->queue))
        disk_io_turn(disk->queue->io);
}

void disk_queue_stop(struct disk *disk)
{
    disk_queue_drain(disk);
    free(disk->queue);
    disk->queue = NULL;
}

int disk_queue_start(struct disk *disk, struct disk_io *io)
{
    struct disk_queue *queue = calloc(1, sizeof(*queue));

    if (queue == NULL)
        return -ENOMEM;
    queue->disk = disk;
    queue->io = io;
    queue->unmap_job = (struct disk_job){.work = unmap_work, .done = unmap_done};
    queue->commit_job = (struct disk_job){.work = commit_work, .done = commit_done};
    empty(&queue->waiting);
    empty(&queue->busy);
    empty(&queue->flushes);
    empty(&queue->covered);
    disk->queue = queue;
    return 0;
}
