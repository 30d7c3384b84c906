#include "workload.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "disk/file.h"

enum { MIB = 1 << 20, DISK = 12 * MIB };

static void must(int error, const struct reason *reason, const char *what)
{
    if (error == 0)
        return;
    (void)fprintf(stderr, "powercut: %s: %s (%d)\n", what, reason != NULL ? reason->text : "",
                  error);
    exit(2); /* NOLINT(concurrency-mt-unsafe): one thread */
}

/* ---- steps ---- */

static void note_change(struct run *run, uint32_t first, uint32_t count, bool zero, uint32_t *ret)
{
    *ret = model_add(&run->history, first, count, zero);
    cut_mark(&run->host, MARK_CHANGE, run->history.count - 1);
}

static void put(struct run *run, uint32_t first, uint32_t count)
{
    enum { MOST = 2048 };
    static uint8_t bytes[MOST * MODEL_SECTOR];
    uint32_t id = 0;

    note_change(run, first, count, false, &id);
    for (uint32_t i = 0; i < count; i++)
        model_fill(bytes + (size_t)i * MODEL_SECTOR, first + i, id);
    must(disk_write(run->disk, bytes, (size_t)count * MODEL_SECTOR, (uint64_t)first * MODEL_SECTOR),
         NULL, "write");
}

static void unmap(struct run *run, uint32_t first, uint32_t count)
{
    uint32_t id = 0;

    note_change(run, first, count, true, &id);
    must(disk_unmap(run->disk, (uint64_t)first * MODEL_SECTOR, (uint64_t)count * MODEL_SECTOR),
         NULL, "unmap");
}

static void flush(struct run *run)
{
    must(disk_flush(run->disk), NULL, "flush");
    cut_mark(&run->host, MARK_FLUSHED, 0);
}

static uint32_t sectors_of(const struct run *run)
{
    uint64_t sectors = run->capacity / MODEL_SECTOR;
    return (uint32_t)(sectors < MODEL_SECTORS ? sectors : (uint64_t)MODEL_SECTORS);
}

void run_step(struct run *run)
{
    enum { BLOCK = MIB / MODEL_SECTOR };
    uint32_t sectors = sectors_of(run);
    uint32_t first = (uint32_t)cut_random(&run->seed, sectors);
    uint32_t most = cut_random(&run->seed, 10) == 0 ? 1500 : 24;
    uint32_t count = (uint32_t)cut_random(&run->seed, most) + 1;
    uint64_t kind = cut_random(&run->seed, 20);

    if (count > sectors - first)
        count = sectors - first;
    if (kind < 12) {
        put(run, first, count);
    } else if (kind < 16) {
        if (cut_random(&run->seed, 3) != 0) { /* a whole block, which is freed */
            first = first / BLOCK * BLOCK;
            count = sectors - first < BLOCK ? sectors - first : BLOCK;
        }
        unmap(run, first, count);
    } else {
        flush(run);
    }
}

/* ---- images ---- */

static void create(struct run *run, const char *path, enum image_format format,
                   enum image_kind kind, uint64_t capacity, const char *parent)
{
    const struct image_layout layout = {.format = format,
                                        .kind = kind,
                                        .capacity = capacity,
                                        .block_size = format == IMAGE_RAW ? 0 : MIB,
                                        .parent = parent};
    struct reason reason = {""};

    must(image_create(&run->host.host, path, &layout, &reason), &reason, "create");
    run->capacity = capacity;
}

static void open_disk(struct run *run, const char *path)
{
    struct reason reason = {""};

    must(disk_open_with(&run->host.host, path, DISK_WRITABLE, &run->disk, &reason), &reason,
         "open");
    run->capacity = disk_geometry(run->disk)->capacity;
}

static void close_disk(struct run *run)
{
    must(disk_close(run->disk), NULL, "close");
    cut_mark(&run->host, MARK_FLUSHED, 0);
}

static void start(struct run *run)
{
    cut_mark(&run->host, MARK_START, run->capacity);
}

static void steps(struct run *run, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        run_step(run);
}

/* Open, change, close, and again. */
static void sessions(struct run *run, const char *path, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        open_disk(run, path);
        steps(run, 40);
        close_disk(run);
    }
}

static void raw(struct run *run)
{
    create(run, "a.raw", IMAGE_RAW, IMAGE_FIXED, DISK, NULL);
    start(run);
    sessions(run, "a.raw", 2);
}

static void vhdx_create(struct run *run)
{
    create(run, "a.vhdx", IMAGE_VHDX, IMAGE_DYNAMIC, DISK, NULL);
    start(run);
}

static void vhdx_dynamic(struct run *run)
{
    create(run, "a.vhdx", IMAGE_VHDX, IMAGE_DYNAMIC, DISK, NULL);
    start(run);
    sessions(run, "a.vhdx", 3);
}

static void vhdx_fixed(struct run *run)
{
    create(run, "a.vhdx", IMAGE_VHDX, IMAGE_FIXED, DISK, NULL);
    start(run);
    sessions(run, "a.vhdx", 2);
}

/* Small commits, until the log has been gone around several times. */
static void vhdx_log_wraps(struct run *run)
{
    enum { BLOCK = MIB / MODEL_SECTOR, COMMITS = 500 };

    create(run, "a.vhdx", IMAGE_VHDX, IMAGE_DYNAMIC, DISK, NULL);
    start(run);
    open_disk(run, "a.vhdx");
    for (unsigned i = 0; i < COMMITS; i++) {
        uint32_t block = (uint32_t)cut_random(&run->seed, DISK / MIB) * BLOCK;
        if (cut_random(&run->seed, 2) == 0)
            put(run, block + (uint32_t)cut_random(&run->seed, BLOCK), 1);
        else
            unmap(run, block, BLOCK);
        flush(run);
    }
    close_disk(run);
}

/* A base, and `children` above it; each has something. */
static void make_chain(struct run *run, unsigned children)
{
    static const char *const names[] = {"base.vhdx", "a.vhdx", "b.vhdx"};

    create(run, names[0], IMAGE_VHDX, IMAGE_DYNAMIC, DISK - 2 * MIB, NULL);
    open_disk(run, names[0]);
    steps(run, 40);
    close_disk(run);
    for (unsigned i = 1; i <= children; i++) {
        create(run, names[i], IMAGE_VHDX, IMAGE_DIFFERENCING, DISK, names[i - 1]);
        open_disk(run, names[i]);
        steps(run, 40);
        close_disk(run);
    }
}

static void vhdx_chain(struct run *run)
{
    make_chain(run, 2);
    start(run);
    sessions(run, "b.vhdx", 3);
}

static int no_progress(void *owner, uint64_t done, uint64_t total)
{
    (void)owner;
    (void)done;
    (void)total;
    return 0;
}

static void merge(struct run *run, const char *top, unsigned levels)
{
    struct reason reason = {""};

    start(run);
    must(image_merge(&run->host.host, top, levels, no_progress, NULL, &reason), &reason, "merge");
}

static void vhdx_merge(struct run *run)
{
    make_chain(run, 2);
    merge(run, "b.vhdx", 1);
}

static void vhdx_merge_to_base(struct run *run)
{
    make_chain(run, 2);
    merge(run, "b.vhdx", 2);
}

static void resize(struct run *run, uint64_t capacity)
{
    struct reason reason = {""};

    cut_mark(&run->host, MARK_RESIZE, capacity);
    must(image_resize(run->disk, capacity, &reason), &reason, "resize");
    cut_mark(&run->host, MARK_RESIZED, 0);
    run->capacity = capacity;
}

static void vhdx_resize(struct run *run)
{
    create(run, "a.vhdx", IMAGE_VHDX, IMAGE_DYNAMIC, DISK / 2, NULL);
    start(run);
    open_disk(run, "a.vhdx");
    steps(run, 20);
    flush(run);
    resize(run, DISK);
    steps(run, 20);
    flush(run);
    resize(run, UINT64_C(300) << 30); /* the table moves */
    steps(run, 20);
    unmap(run, DISK / 4 / MODEL_SECTOR, MODEL_SECTORS - DISK / 4 / MODEL_SECTOR);
    flush(run);
    resize(run, DISK / 4);
    steps(run, 20);
    flush(run);
    resize(run, DISK);
    close_disk(run);
}

static void vhdx_fixed_resize(struct run *run)
{
    create(run, "a.vhdx", IMAGE_VHDX, IMAGE_FIXED, DISK / 2, NULL);
    start(run);
    open_disk(run, "a.vhdx");
    steps(run, 20);
    flush(run);
    resize(run, DISK);
    steps(run, 20);
    unmap(run, DISK / 4 / MODEL_SECTOR, (DISK - DISK / 4) / MODEL_SECTOR);
    flush(run);
    resize(run, DISK / 4 + MODEL_SECTOR);
    close_disk(run);
}

static void vhdx_compact(struct run *run)
{
    struct reason reason = {""};

    create(run, "a.vhdx", IMAGE_VHDX, IMAGE_DYNAMIC, DISK, NULL);
    open_disk(run, "a.vhdx");
    steps(run, 60);
    close_disk(run);
    start(run);
    for (unsigned i = 0; i < 3; i++) {
        open_disk(run, "a.vhdx");
        steps(run, 10);
        unmap(run, (uint32_t)cut_random(&run->seed, 6) * 2048, 3 * 2048);
        flush(run);
        must(image_compact(run->disk, no_progress, NULL, &reason), &reason, "compact");
        close_disk(run);
    }
}

static void vhdx_set_parent(struct run *run)
{
    struct reason reason = {""};
    struct disk *base = NULL;

    make_chain(run, 1);
    start(run);
    for (unsigned i = 0; i < 4; i++) {
        must(disk_open_with(&run->host.host, "base.vhdx", 0, &base, &reason), &reason, "open");
        const struct image_parent parent = {.path = i % 2 == 0 ? "./base.vhdx" : "base.vhdx",
                                            .disk = base};
        open_disk(run, "a.vhdx");
        must(image_set_parent(run->disk, &parent, &reason), &reason, "set parent");
        close_disk(run);
        must(disk_close(base), NULL, "close");
    }
}

const struct workload workloads[] = {
    {.name = "raw", .perform = raw, .top = "a.raw"},
    {.name = "vhdx-create", .perform = vhdx_create, .top = "a.vhdx", .creates = true},
    {.name = "vhdx-dynamic", .perform = vhdx_dynamic, .top = "a.vhdx"},
    {.name = "vhdx-fixed", .perform = vhdx_fixed, .top = "a.vhdx"},
    {.name = "vhdx-log-wraps", .perform = vhdx_log_wraps, .top = "a.vhdx"},
    {.name = "vhdx-chain", .perform = vhdx_chain, .top = "b.vhdx"},
    {.name = "vhdx-merge", .perform = vhdx_merge, .top = "b.vhdx", .merged = "a.vhdx", .levels = 1},
    {.name = "vhdx-merge-to-base",
     .perform = vhdx_merge_to_base,
     .top = "b.vhdx",
     .merged = "base.vhdx",
     .levels = 2},
    {.name = "vhdx-resize", .perform = vhdx_resize, .top = "a.vhdx"},
    {.name = "vhdx-fixed-resize", .perform = vhdx_fixed_resize, .top = "a.vhdx"},
    {.name = "vhdx-compact", .perform = vhdx_compact, .top = "a.vhdx"},
    {.name = "vhdx-set-parent", .perform = vhdx_set_parent, .top = "a.vhdx"},
};
const unsigned workload_count = sizeof(workloads) / sizeof(workloads[0]);
