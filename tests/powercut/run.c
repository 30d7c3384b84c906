#include "run.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "disk/disk_private.h"

void run_must(struct run *run, int error, const struct reason *reason, const char *what)
{
    char name[CUT_NAME];
    const char *why = reason != NULL ? reason->text : "";

    if (error == 0)
        return;
    if (run->text != NULL) {
        (void)snprintf(run->text, MODEL_TEXT, "%s: %s (%d)", what, why, error);
        run->failed = true;
        return;
    }
    workload_name(run->workload, name);
    (void)printf("Bail out! %s: %s: %s (%d)\n", name, what, why, error);
    exit(2); /* NOLINT(concurrency-mt-unsafe): one thread */
}

void run_release(struct run *run)
{
    cut_host_release(&run->host);
    free(run->history.changes);
}

/* ---- images ---- */

void run_create(struct run *run, const char *image, enum image_kind kind, uint64_t capacity,
                const char *parent)
{
    enum { VHD_BLOCK = RUN_MIB / 2 };
    static const uint32_t blocks[IMAGE_FORMATS] = {[IMAGE_VHD] = VHD_BLOCK, [IMAGE_VHDX] = RUN_MIB};
    struct reason reason = {""};
    char path[CUT_NAME];
    char parent_path[CUT_NAME];
    unsigned align = run->workload->script->align;

    workload_path(run->workload, image, path);
    if (parent != NULL)
        workload_path(run->workload, parent, parent_path);
    const struct image_layout layout = {
        .format = run->workload->format,
        .kind = kind,
        .capacity = capacity,
        .block_size = kind != IMAGE_FIXED || run->workload->format == IMAGE_VHDX
                          ? blocks[run->workload->format]
                          : 0,
        .logical_sector = align != 0 ? align * MODEL_SECTOR : 0,
        .parent = parent != NULL ? parent_path : NULL,
    };
    cut_mark(&run->host, MARK_CREATE, capacity);
    run_must(run,
             run->workload->toy != TOY_NONE ? toy_create(&run->host.host, path, capacity)
                                            : image_create(&run->host.host, path, &layout, &reason),
             &reason, "create");
    run->capacity = capacity;
}

void run_open(struct run *run, const char *image)
{
    struct reason reason = {""};

    run_must(
        run,
        workload_open(run->workload, &run->host.host, image, DISK_WRITABLE, &run->disk, &reason),
        &reason, "open");
    if (!run->failed)
        run->capacity = disk_geometry(run->disk)->capacity;
}

void run_close(struct run *run)
{
    run_must(run, disk_close(run->disk), NULL, "close"); /* also after a failure */
    run->disk = NULL;
    if (!run->failed)
        cut_mark(&run->host, MARK_FLUSHED, run->history.count);
}

void run_start(struct run *run)
{
    cut_mark(&run->host, MARK_START, 0);
}

/* ---- changes ---- */

static uint32_t note_change(struct run *run, uint32_t first, uint32_t count, bool zero)
{
    uint32_t id = model_add(&run->history, first, count, zero);

    cut_mark(&run->host, MARK_CHANGE, run->history.count - 1);
    return id;
}

/* Sectors from `first` on that lie one behind the other on the disk. */
static uint32_t piece_of(const struct run *run, uint32_t first, uint32_t count)
{
    uint32_t left = MODEL_GROUP - first % MODEL_GROUP;

    return workload_stride(run->workload) == MODEL_DENSE || count < left ? count : left;
}

void run_write(struct run *run, uint32_t first, uint32_t count)
{
    static uint8_t bytes[RUN_MIB];
    uint32_t id = note_change(run, first, count, false);

    for (uint32_t at = first; at < first + count && !run->failed;) {
        uint32_t piece = piece_of(run, at, first + count - at);
        piece = piece < RUN_MIB_SECTORS ? piece : (uint32_t)RUN_MIB_SECTORS;
        for (uint32_t i = 0; i < piece; i++)
            model_fill(bytes + (size_t)i * MODEL_SECTOR, at + i, id);
        run_must(run,
                 disk_write(run->disk, bytes, (size_t)piece * MODEL_SECTOR,
                            model_offset(workload_stride(run->workload), at)),
                 NULL, "write");
        at += piece;
    }
}

/* On a disk with gaps a whole group takes its block with it. */
static uint64_t unmapped_bytes(const struct run *run, uint32_t piece)
{
    bool block = workload_stride(run->workload) != MODEL_DENSE && piece == MODEL_GROUP;

    return block ? (uint64_t)RUN_MIB : (uint64_t)piece * MODEL_SECTOR;
}

void run_unmap(struct run *run, uint32_t first, uint32_t count)
{
    (void)note_change(run, first, count, true);
    for (uint32_t at = first; at < first + count && !run->failed;) {
        uint32_t piece = piece_of(run, at, first + count - at);
        run_must(run,
                 disk_unmap(run->disk, model_offset(workload_stride(run->workload), at),
                            unmapped_bytes(run, piece)),
                 NULL, "unmap");
        at += piece;
    }
}

void run_flush(struct run *run)
{
    if (!run->failed)
        run_must(run, disk_flush(run->disk), NULL, "flush");
    if (!run->failed)
        cut_mark(&run->host, MARK_FLUSHED, run->history.count);
}

/* ---- writes during a commit ---- */

enum { MOST_MEANWHILE = 16 };

/* A map that needs a commit first is given up. */
static void begin_transfer(struct run *run)
{
    uint32_t sectors = model_sectors(MODEL_DENSE, run->capacity);
    uint32_t first = (uint32_t)cut_random(&run->seed, sectors - MOST_MEANWHILE);
    uint64_t length = (cut_random(&run->seed, MOST_MEANWHILE) + 1) * MODEL_SECTOR;
    struct disk_extent extent;

    if (run->disk->ops->map(run->disk, DISK_WRITE, model_offset(MODEL_DENSE, first), length,
                            &extent) != 0)
        return;
    length = extent.length < length ? extent.length : length;
    run->transfer = (struct run_transfer){.stage = RUN_MAPPED,
                                          .first = first,
                                          .count = (uint32_t)(length / MODEL_SECTOR),
                                          .file = extent.file,
                                          .file_offset = extent.offset};
}

static void transfer_bytes(struct run *run)
{
    struct run_transfer *transfer = &run->transfer;
    uint8_t bytes[MOST_MEANWHILE * MODEL_SECTOR];
    uint32_t id = note_change(run, transfer->first, transfer->count, false);

    for (uint32_t i = 0; i < transfer->count; i++)
        model_fill(bytes + (size_t)i * MODEL_SECTOR, transfer->first + i, id);
    run_must(run,
             file_write(transfer->file, bytes, (size_t)transfer->count * MODEL_SECTOR,
                        transfer->file_offset),
             NULL, "write meanwhile");
    transfer->stage = RUN_TRANSFERRED;
}

/* -EBUSY: a commit comes first. */
static int end_transfer(struct run *run)
{
    const struct disk_ops *ops = run->disk->ops;
    struct run_transfer *transfer = &run->transfer;
    int error = ops->written != NULL
                    ? ops->written(run->disk, model_offset(MODEL_DENSE, transfer->first),
                                   (uint64_t)transfer->count * MODEL_SECTOR)
                    : 0;

    if (error == -EBUSY)
        return error;
    run_must(run, error, NULL, "written meanwhile");
    transfer->stage = RUN_IDLE;
    return 0;
}

static void go_on_writing(struct run *run)
{
    for (uint64_t steps = cut_random(&run->seed, 4); steps > 0; steps--) {
        if (run->transfer.stage == RUN_IDLE)
            begin_transfer(run);
        else if (run->transfer.stage == RUN_MAPPED)
            transfer_bytes(run);
        else if (end_transfer(run) == -EBUSY)
            return;
    }
}

/* Mostly nothing, so that a transfer takes as long as a commit. */
static void write_meanwhile(void *owner)
{
    struct run *run = owner;

    if (cut_random(&run->seed, 4) == 0)
        go_on_writing(run);
}

static void finish_transfer(struct run *run)
{
    if (run->transfer.stage == RUN_MAPPED)
        transfer_bytes(run);
    while (run->transfer.stage == RUN_TRANSFERRED && !run->failed && end_transfer(run) == -EBUSY)
        run_must(run, disk_flush(run->disk), NULL, "flush");
}

void run_flush_with_writes(struct run *run)
{
    const struct disk_ops *ops = run->disk->ops;

    go_on_writing(run);
    /* What is transferred, and not yet said to be written, need not be durable. */
    size_t before = run->history.count - (run->transfer.stage == RUN_TRANSFERRED);
    ops->commit_prepare(run->disk);
    run->host.owner = run;
    run->host.meanwhile = write_meanwhile;
    int error = ops->commit_write(run->disk);
    run->host.meanwhile = NULL;
    ops->commit_done(run->disk, error);
    run_must(run, error, NULL, "commit");
    cut_mark(&run->host, MARK_FLUSHED, before);
    finish_transfer(run);
}

/* ---- at random ---- */

static void unmap_somewhere(struct run *run, uint32_t first, uint32_t count, uint32_t sectors)
{
    bool dense = workload_stride(run->workload) == MODEL_DENSE;
    uint32_t block = dense ? (uint32_t)RUN_MIB_SECTORS : (uint32_t)MODEL_GROUP;

    if (cut_random(&run->seed, 3) != 0) { /* a whole block, which is freed */
        first = first / block * block;
        count = sectors - first < block ? sectors - first : block;
    }
    run_unmap(run, first, count);
}

static void step(struct run *run)
{
    uint32_t align = run->workload->script->align != 0 ? run->workload->script->align : 1;
    uint32_t sectors = model_sectors(workload_stride(run->workload), run->capacity);
    uint32_t first = (uint32_t)cut_random(&run->seed, sectors) / align * align;
    uint32_t most = cut_random(&run->seed, 10) == 0 ? 3000 : 24;
    uint32_t count = ((uint32_t)cut_random(&run->seed, most) + align) / align * align;
    uint64_t kind = cut_random(&run->seed, 20);

    if (count > sectors - first)
        count = sectors - first;
    if (kind < 12)
        run_write(run, first, count);
    else if (kind < 16)
        unmap_somewhere(run, first, count, sectors);
    else
        run_flush(run);
}

void run_steps(struct run *run, unsigned count)
{
    for (unsigned i = 0; i < count && !run->failed; i++)
        step(run);
}

void run_resize(struct run *run, uint64_t capacity)
{
    struct reason reason = {""};

    cut_mark(&run->host, MARK_RESIZE, capacity);
    run_must(run, image_resize(run->disk, capacity, &reason), &reason, "resize");
    cut_mark(&run->host, MARK_RESIZED, 0);
    run->capacity = capacity;
}

static int no_progress(void *owner, uint64_t done, uint64_t total)
{
    (void)owner;
    (void)done;
    (void)total;
    return 0;
}

void run_compact(struct run *run)
{
    struct reason reason = {""};

    run_must(run, image_compact(run->disk, no_progress, NULL, &reason), &reason, "compact");
}

/* ---- the workload's images, by what it is made of ---- */

void workload_name(const struct workload *workload, char ret[CUT_NAME])
{
    if (workload->toy != TOY_NONE)
        (void)snprintf(ret, CUT_NAME, "%s", toy_name(workload->toy));
    else
        (void)snprintf(ret, CUT_NAME, "%s-%s", image_format_name(workload->format),
                       workload->script->name);
}

void workload_path(const struct workload *workload, const char *image, char ret[CUT_NAME])
{
    (void)snprintf(ret, CUT_NAME, "%s.%s", image,
                   workload->toy != TOY_NONE ? "toy" : image_format_name(workload->format));
}

uint64_t workload_stride(const struct workload *workload)
{
    return workload->script->stride != 0 ? workload->script->stride : (uint64_t)MODEL_DENSE;
}

int workload_open(const struct workload *workload, struct disk_host *host, const char *image,
                  unsigned flags, struct disk **ret, struct reason *reason)
{
    char path[CUT_NAME];

    workload_path(workload, image, path);
    return workload->toy != TOY_NONE ? toy_open(host, path, flags, workload->toy, ret)
                                     : disk_open_with(host, path, flags, ret, reason);
}

/* A toy that opens is whole: its table has a checksum. */
int workload_check(const struct workload *workload, struct disk_host *host, const char *path,
                   bool repair, struct image_check *check)
{
    return workload->toy != TOY_NONE ? 0 : image_check(host, path, 0, repair, check, NULL);
}

int workload_merge(const struct workload *workload, struct disk_host *host, struct reason *reason)
{
    char path[CUT_NAME];

    workload_path(workload, workload->script->top, path);
    return image_merge(host, path, workload->script->levels, no_progress, NULL, reason);
}
