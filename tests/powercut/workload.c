#include "workload.h"

#include <stdio.h>

#include "run.h"

enum {
    RAW = 1 << IMAGE_RAW,
    VHD = 1 << IMAGE_VHD,
    VHDX = 1 << IMAGE_VHDX,
};
static const uint64_t wide_stride = UINT64_C(512) * RUN_MIB; /* a page of the table for each */

/* ---- making ---- */

static void make_fixed(struct run *run)
{
    run_create(run, "a", IMAGE_FIXED, RUN_CAPACITY, NULL);
    run_start(run);
}

static void make_dynamic(struct run *run)
{
    run_create(run, "a", IMAGE_DYNAMIC, RUN_CAPACITY, NULL);
    run_start(run);
}

static void make_child(struct run *run)
{
    run_create(run, "base", IMAGE_DYNAMIC, RUN_CAPACITY, NULL);
    run_create(run, "a", IMAGE_DIFFERENCING, RUN_CAPACITY, "base");
    run_start(run);
}

/* ---- one image ---- */

/* Open, change, close, and again. */
static void sessions(struct run *run, const char *image, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        run_open(run, image);
        run_steps(run, 60);
        run_close(run);
    }
}

static void fixed(struct run *run)
{
    make_fixed(run);
    sessions(run, "a", 3);
}

static void dynamic(struct run *run)
{
    make_dynamic(run);
    sessions(run, "a", 5);
}

/* Nothing is done, or nothing but flushes. */
static void idle_sessions(struct run *run)
{
    make_dynamic(run);
    for (unsigned i = 0; i < 6; i++) {
        run_open(run, "a");
        if (i == 2)
            run_steps(run, 20);
        if (i % 3 == 1)
            run_flush(run);
        run_close(run);
    }
}

/* Until a log of 1 MiB has been gone around several times. */
static void small_commits(struct run *run)
{
    enum { COMMITS = 500 };

    make_dynamic(run);
    run_open(run, "a");
    for (unsigned i = 0; i < COMMITS; i++) {
        uint32_t block = (uint32_t)cut_random(&run->seed, RUN_CAPACITY / RUN_MIB) * RUN_MIB_SECTORS;
        if (cut_random(&run->seed, 2) == 0)
            run_write(run, block + (uint32_t)cut_random(&run->seed, RUN_MIB_SECTORS), 1);
        else
            run_unmap(run, block, RUN_MIB_SECTORS);
        run_flush(run);
    }
    run_close(run);
}

/* Room that one block gives up is what the next one takes. */
static void reuse(struct run *run)
{
    enum { ROUNDS = 80 };

    make_dynamic(run);
    run_open(run, "a");
    for (unsigned i = 0; i < ROUNDS; i++) {
        uint32_t blocks = RUN_CAPACITY / RUN_MIB;
        uint32_t from = (uint32_t)cut_random(&run->seed, blocks) * RUN_MIB_SECTORS;
        uint32_t to = (uint32_t)cut_random(&run->seed, blocks) * RUN_MIB_SECTORS;
        run_unmap(run, from, RUN_MIB_SECTORS);
        if (cut_random(&run->seed, 2) == 0)
            run_flush(run);
        run_write(run, to + (uint32_t)cut_random(&run->seed, RUN_MIB_SECTORS - 8), 8);
        if (cut_random(&run->seed, 4) == 0)
            run_flush(run);
    }
    run_close(run);
}

/* As under a queue. */
static void busy_sessions(struct run *run, const char *image)
{
    enum { ROUNDS = 20 };

    for (unsigned i = 0; i < 3; i++) {
        run_open(run, image);
        for (unsigned k = 0; k < ROUNDS; k++) {
            run_steps(run, 2);
            run_flush_with_writes(run);
        }
        run_close(run);
    }
}

static void busy(struct run *run)
{
    make_dynamic(run);
    busy_sessions(run, "a");
}

static void busy_fixed(struct run *run)
{
    make_fixed(run);
    busy_sessions(run, "a");
}

/* So many blocks between two flushes that the format has to commit by itself. */
static void fill_wide(struct run *run, unsigned rounds)
{
    uint32_t sectors = model_sectors(wide_stride, run->capacity);

    for (unsigned i = 0; i < rounds; i++) {
        for (uint32_t group = 0; group < sectors; group += MODEL_GROUP) {
            if (i == 0 || cut_random(&run->seed, 3) != 0)
                run_write(run, group + (uint32_t)cut_random(&run->seed, MODEL_GROUP), 1);
            else
                run_unmap(run, group, MODEL_GROUP);
        }
        run_flush(run);
    }
}

static void wide(struct run *run)
{
    run_create(run, "a", IMAGE_DYNAMIC, 160 * wide_stride, NULL);
    run_start(run);
    run_open(run, "a");
    fill_wide(run, 3);
    run_close(run);
}

static void wide_child(struct run *run)
{
    run_create(run, "base", IMAGE_DYNAMIC, 280 * wide_stride, NULL);
    run_create(run, "a", IMAGE_DIFFERENCING, 280 * wide_stride, "base");
    run_start(run);
    run_open(run, "a");
    fill_wide(run, 2);
    run_close(run);
}

/* ---- sizes ---- */

static void resize(struct run *run)
{
    enum { QUARTER = RUN_CAPACITY / 4, QUARTER_SECTORS = QUARTER / MODEL_SECTOR };

    run_create(run, "a", IMAGE_DYNAMIC, RUN_CAPACITY / 2, NULL);
    run_start(run);
    run_open(run, "a");
    run_steps(run, 20);
    run_flush(run);
    run_resize(run, RUN_CAPACITY);
    run_steps(run, 20);
    run_flush(run);
    run_resize(run, UINT64_C(300) << 30); /* the table moves */
    run_steps(run, 20);
    run_unmap(run, QUARTER_SECTORS, MODEL_SECTORS - QUARTER_SECTORS);
    run_flush(run);
    run_resize(run, QUARTER);
    run_steps(run, 20);
    run_flush(run);
    run_resize(run, RUN_CAPACITY);
    run_close(run);
    sessions(run, "a", 1);
}

static void resize_fixed(struct run *run)
{
    enum { QUARTER = RUN_CAPACITY / 4, SECTORS = RUN_CAPACITY / MODEL_SECTOR };

    run_create(run, "a", IMAGE_FIXED, RUN_CAPACITY / 2, NULL);
    run_start(run);
    run_open(run, "a");
    run_steps(run, 20);
    run_flush(run);
    run_resize(run, RUN_CAPACITY);
    run_steps(run, 20);
    run_unmap(run, QUARTER / MODEL_SECTOR, SECTORS - QUARTER / MODEL_SECTOR);
    run_flush(run);
    run_resize(run, QUARTER + MODEL_SECTOR);
    run_steps(run, 10);
    run_close(run);
}

static void resize_child(struct run *run)
{
    enum { BASE = RUN_CAPACITY / 2, SECTORS = RUN_CAPACITY / MODEL_SECTOR };

    run_create(run, "base", IMAGE_DYNAMIC, BASE, NULL);
    run_open(run, "base");
    run_steps(run, 40);
    run_close(run);
    run_create(run, "a", IMAGE_DIFFERENCING, BASE, "base");
    run_start(run);
    run_open(run, "a");
    run_steps(run, 20);
    run_flush(run);
    run_resize(run, RUN_CAPACITY);
    run_steps(run, 30);
    run_unmap(run, BASE / MODEL_SECTOR, SECTORS - BASE / MODEL_SECTOR);
    run_flush(run);
    run_resize(run, BASE);
    run_steps(run, 10);
    run_flush(run);
    run_resize(run, UINT64_C(40) << 30);
    run_steps(run, 10);
    run_close(run);
}

static void compact_rounds(struct run *run, const char *image)
{
    for (unsigned i = 0; i < 3; i++) {
        run_open(run, image);
        run_steps(run, 10);
        run_unmap(run, (uint32_t)cut_random(&run->seed, 6) * RUN_MIB_SECTORS, 3 * RUN_MIB_SECTORS);
        run_flush(run);
        run_compact(run);
        run_steps(run, 5);
        run_close(run);
    }
}

static void compact(struct run *run)
{
    run_create(run, "a", IMAGE_DYNAMIC, RUN_CAPACITY, NULL);
    run_open(run, "a");
    run_steps(run, 60);
    run_close(run);
    run_start(run);
    compact_rounds(run, "a");
}

/* ---- chains ---- */

/* A base, and `children` above it; each has something. */
static void make_chain(struct run *run, unsigned children)
{
    static const char *const names[] = {"base", "a", "b"};
    enum { BASE = RUN_CAPACITY - 2 * RUN_MIB };

    run_create(run, names[0], IMAGE_DYNAMIC, BASE, NULL);
    run_open(run, names[0]);
    run_steps(run, 40);
    run_close(run);
    for (unsigned i = 1; i <= children; i++) {
        run_create(run, names[i], IMAGE_DIFFERENCING, RUN_CAPACITY, names[i - 1]);
        run_open(run, names[i]);
        run_steps(run, 40);
        run_close(run);
    }
}

static void chain(struct run *run)
{
    make_chain(run, 2);
    run_start(run);
    sessions(run, "b", 4);
}

/* Below there is something nearly everywhere, so that what is named too early is seen. */
static void busy_chain(struct run *run)
{
    enum { MOST_OF_IT = RUN_MIB_SECTORS * 3 / 4 };
    uint32_t sectors = RUN_CAPACITY / MODEL_SECTOR;

    run_create(run, "base", IMAGE_DYNAMIC, RUN_CAPACITY, NULL);
    run_open(run, "base");
    for (uint32_t first = 0; first < sectors; first += RUN_MIB_SECTORS)
        run_write(run, first, MOST_OF_IT);
    run_close(run);
    run_create(run, "a", IMAGE_DIFFERENCING, RUN_CAPACITY, "base");
    run_start(run);
    busy_sessions(run, "a");
}

static void compact_child(struct run *run)
{
    make_chain(run, 1);
    run_start(run);
    compact_rounds(run, "a");
}

static void merge(struct run *run)
{
    struct reason reason = {""};

    make_chain(run, 2);
    run_start(run);
    run_must(run, workload_merge(run->workload, &run->host.host, &reason), &reason, "merge");
}

/* There is one folder: however the path begins, it leads to the same file. */
static void long_path(char *ret, size_t length, const char *name)
{
    for (size_t i = 0; i < length; i++)
        ret[i] = i % 2 == 0 ? 'x' : '/';
    (void)snprintf(ret + length, CUT_NAME, "%s", name);
}

static void set_parent(struct run *run)
{
    enum { LONG = 300 }; /* that its end is in another sector of the file */
    struct reason reason = {""};
    struct disk *base = NULL;
    char path[LONG + CUT_NAME];

    make_chain(run, 1);
    run_start(run);
    for (unsigned i = 0; i < 4; i++) {
        run_must(run, workload_open(run->workload, &run->host.host, "base", 0, &base, &reason),
                 &reason, "open");
        long_path(path, i % 2 == 0 ? (size_t)LONG : 0, image_path(base));
        const struct image_parent parent = {.path = path, .disk = base};
        run_open(run, "a");
        run_must(run, image_set_parent(run->disk, &parent, &reason), &reason, "set parent");
        run_close(run);
        run_must(run, disk_close(base), NULL, "close");
    }
}

/* ---- the lists ---- */

const struct script scripts[] = {
    {.name = "create-fixed",
     .creates = true,
     .perform = make_fixed,
     .top = "a",
     .formats = RAW | VHD | VHDX},
    {.name = "create-dynamic",
     .creates = true,
     .perform = make_dynamic,
     .top = "a",
     .formats = VHD | VHDX},
    {.name = "create-child",
     .creates = true,
     .perform = make_child,
     .top = "a",
     .formats = VHD | VHDX},
    {.name = "fixed", .perform = fixed, .top = "a", .formats = RAW | VHD | VHDX},
    {.name = "dynamic", .perform = dynamic, .top = "a", .formats = VHD | VHDX},
    {.name = "sectors-4k", .perform = dynamic, .top = "a", .formats = VHDX, .align = 8},
    {.name = "chain-4k", .perform = chain, .top = "b", .formats = VHDX, .align = 8},
    {.name = "idle", .perform = idle_sessions, .top = "a", .formats = VHD | VHDX},
    {.name = "small-commits", .perform = small_commits, .top = "a", .formats = VHD | VHDX},
    {.name = "reuse", .perform = reuse, .top = "a", .formats = VHD | VHDX},
    {.name = "busy", .perform = busy, .top = "a", .formats = VHD | VHDX},
    {.name = "busy-fixed", .perform = busy_fixed, .top = "a", .formats = RAW | VHD | VHDX},
    {.name = "busy-chain", .perform = busy_chain, .top = "a", .formats = VHD | VHDX},
    {.name = "wide",
     .perform = wide,
     .top = "a",
     .formats = VHDX,
     .stride = UINT64_C(512) * RUN_MIB},
    {.name = "wide-child",
     .perform = wide_child,
     .top = "a",
     .formats = VHDX,
     .stride = UINT64_C(512) * RUN_MIB},
    {.name = "chain", .perform = chain, .top = "b", .formats = VHD | VHDX},
    {.name = "merge",
     .perform = merge,
     .top = "b",
     .merged = "a",
     .levels = 1,
     .formats = VHD | VHDX},
    {.name = "merge-to-base",
     .perform = merge,
     .top = "b",
     .merged = "base",
     .levels = 2,
     .formats = VHD | VHDX},
    {.name = "resize", .perform = resize, .top = "a", .formats = VHD | VHDX},
    {.name = "resize-fixed", .perform = resize_fixed, .top = "a", .formats = RAW | VHD | VHDX},
    {.name = "resize-child", .perform = resize_child, .top = "a", .formats = VHD | VHDX},
    {.name = "compact", .perform = compact, .top = "a", .formats = VHD | VHDX},
    {.name = "compact-child", .perform = compact_child, .top = "a", .formats = VHD | VHDX},
    {.name = "set-parent", .perform = set_parent, .top = "a", .formats = VHD | VHDX},
};
const unsigned script_count = sizeof(scripts) / sizeof(scripts[0]);

const struct script toy_script = {.name = "toy", .perform = dynamic, .top = "a"};
