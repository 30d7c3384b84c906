/*
 * Cut the power at every moment of a workload on a disk image, and look at what is left.
 *
 *   partita-powercut [--all] [--seed N] [--workload NAME [--cut N [--trial N]]]
 *
 * After each cut the image opens for writing, has no damage, and holds every sector as it was
 * flushed, or as it was written since; what is written then is kept too. The cut also comes in the
 * midst of opening. TAP on standard output.
 */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "workload.h"

enum { TEXT = 512, FEW_CUTS = 1000 };

struct options {
    bool all;
    uint64_t seed;
    const char *workload;
    long cut, trial; /* -1: each */
    unsigned forget_flush;
};

struct counts {
    unsigned long cuts, trials, recoveries, failures;
};

struct trial {
    const struct workload *workload;
    const struct options *options;
    const struct model *model;
    const struct cut_cursor *cursor;
    struct counts *counts;
    unsigned number;
    uint64_t seed;
    char text[TEXT];
};

/* ---- one cut ---- */

static void note_damage(void *owner, enum image_severity severity, uint64_t offset,
                        const char *text)
{
    char *to = owner;

    if (severity == IMAGE_DAMAGE && to[0] == '\0')
        (void)snprintf(to, TEXT, "damage at %#llx: %s", (unsigned long long)offset, text);
}

static bool check_images(struct trial *trial, struct cut_host *host)
{
    static const char *const names[] = {"a.raw", "base.vhdx", "a.vhdx", "b.vhdx"};

    for (unsigned i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        struct image_check check = {.found = note_damage, .owner = trial->text};
        struct file *file = NULL;
        if (host->host.open(&host->host, names[i], 0, &file, NULL) != 0)
            continue;
        if (image_check(&host->host, names[i], 0, false, &check, NULL) != 0 || check.damages != 0)
            return false;
    }
    return true;
}

enum { LATER = 4, LATER_STEP = 512, LATER_ID = 1 << 30 }; /* sectors, and what is put there */

static bool write_later(struct disk *disk)
{
    uint8_t bytes[MODEL_SECTOR];
    bool well = true;

    for (uint32_t sector = 0; well && sector < LATER * LATER_STEP; sector += LATER_STEP) {
        model_fill(bytes, sector, LATER_ID + sector);
        well = disk_write(disk, bytes, MODEL_SECTOR, (uint64_t)sector * MODEL_SECTOR) == 0;
    }
    return well;
}

static bool read_later(struct disk *disk)
{
    uint8_t bytes[MODEL_SECTOR];
    uint8_t wanted[MODEL_SECTOR];
    bool well = true;

    for (uint32_t sector = 0; well && sector < LATER * LATER_STEP; sector += LATER_STEP) {
        model_fill(wanted, sector, LATER_ID + sector);
        well = disk_read(disk, bytes, MODEL_SECTOR, (uint64_t)sector * MODEL_SECTOR) == 0 &&
               memcmp(bytes, wanted, MODEL_SECTOR) == 0;
    }
    return well;
}

/* Life goes on: what is written after the cut is there after the next start. Closes the disk. */
static bool go_on(struct trial *trial, struct cut_host *host, struct disk *disk)
{
    bool well = write_later(disk);
    int error = disk_close(disk);

    disk = NULL;
    if (error == 0)
        error = disk_open_with(&host->host, trial->workload->top, 0, &disk, NULL);
    well = well && error == 0 && read_later(disk);
    if (!well)
        (void)snprintf(trial->text, TEXT, "what was written after the cut is lost");
    (void)disk_close(disk);
    return well;
}

static int no_progress(void *owner, uint64_t done, uint64_t total)
{
    (void)owner;
    (void)done;
    (void)total;
    return 0;
}

/* A merge that was cut off is made again, and then the parent alone has all. */
static bool merge_again(struct trial *trial, struct cut_host *host)
{
    const struct workload *workload = trial->workload;
    struct reason reason = {""};
    struct disk *disk = NULL;
    int error =
        image_merge(&host->host, workload->top, workload->levels, no_progress, NULL, &reason);

    if (error == 0)
        error = disk_open_with(&host->host, workload->merged, DISK_WRITABLE, &disk, &reason);
    if (error < 0) {
        (void)snprintf(trial->text, TEXT, "merging again: %s", reason.text);
        return false;
    }
    bool well = model_verify(trial->model, disk, trial->text, TEXT);
    return disk_close(disk) == 0 && well;
}

static bool look_at(struct trial *trial, struct cut_host *host)
{
    struct reason reason = {""};
    struct disk *disk = NULL;
    int error = disk_open_with(&host->host, trial->workload->top, DISK_WRITABLE, &disk, &reason);

    if (error < 0 && trial->workload->creates && !trial->model->started)
        return true; /* not yet an image */
    if (error < 0) {
        (void)snprintf(trial->text, TEXT, "it does not open: %s", reason.text);
        return false;
    }
    bool well = !trial->model->started || model_verify(trial->model, disk, trial->text, TEXT);
    if (well)
        well = check_images(trial, host);
    if (!well || trial->workload->merged != NULL) {
        error = disk_close(disk);
        return well && error == 0 && merge_again(trial, host);
    }
    if (cut_random(&trial->seed, 4) == 0)
        return go_on(trial, host, disk);
    return disk_close(disk) == 0;
}

/* ---- trials ---- */

static const enum cut_loss losses[] = {CUT_LOSE_NOTHING,  CUT_LOSE_SOME, CUT_LOSE_AND_TEAR,
                                       CUT_LOSE_ALL,      CUT_LOSE_SOME, CUT_LOSE_AND_TEAR,
                                       CUT_LOSE_AND_TEAR, CUT_LOSE_SOME};
enum { TRIALS = sizeof(losses) / sizeof(losses[0]), FEW_TRIALS = 3 };

static void complain(struct trial *trial, const char *where)
{
    if (trial->options->forget_flush == 0 && trial->counts->failures < 20)
        (void)printf("# %s --seed %llu --cut %zu --trial %u%s: %s\n", trial->workload->name,
                     (unsigned long long)trial->options->seed, trial->cursor->at, trial->number,
                     where, trial->text);
    trial->counts->failures++;
}

/* The power fails again while the image is opened. */
static void cut_recovery(struct trial *trial, const struct cut_host *recovered,
                         const struct cut_host *before)
{
    struct cut_cursor cursor;
    struct cut_host host;
    size_t at = cut_random(&trial->seed, recovered->log.count);

    cut_cursor_init(&cursor, recovered, before);
    while (cursor.at <= at)
        cut_cursor_step(&cursor);
    cut_make(&cursor, CUT_LOSE_AND_TEAR, &trial->seed, &host);
    trial->counts->recoveries++;
    if (!look_at(trial, &host))
        complain(trial, ", cut again in recovery");
    cut_host_release(&host);
    cut_cursor_release(&cursor);
}

/* Open and close, so that the log has what recovery does, and the rest of its life. */
static void recover(struct trial *trial, enum cut_loss loss, uint64_t seed)
{
    struct cut_host host;
    struct cut_host before;
    struct disk *disk = NULL;
    uint64_t same = seed;

    cut_make(trial->cursor, loss, &seed, &host);
    cut_make(trial->cursor, loss, &same, &before);
    if (disk_open_with(&host.host, trial->workload->top, DISK_WRITABLE, &disk, NULL) == 0)
        (void)disk_close(disk);
    if (host.log.count != 0)
        cut_recovery(trial, &host, &before);
    cut_host_release(&host);
    cut_host_release(&before);
}

static void try_cut(struct trial *trial, unsigned number)
{
    uint64_t seed = trial->options->seed * 1000003 + trial->cursor->at * 64 + number;
    uint64_t first_seed = seed;
    struct cut_host host;

    trial->number = number;
    trial->text[0] = '\0';
    trial->seed = seed ^ 0x5555;
    cut_make(trial->cursor, losses[number], &seed, &host);
    trial->counts->trials++;
    if (!look_at(trial, &host))
        complain(trial, "");
    cut_host_release(&host);
    if (number % 3 == 2)
        recover(trial, losses[number], first_seed);
}

static void try_all(struct trial *trial)
{
    unsigned trials = trial->options->all ? (unsigned)TRIALS : (unsigned)FEW_TRIALS;

    trial->counts->cuts++;
    if (trial->options->trial >= 0) {
        try_cut(trial, (unsigned)trial->options->trial % TRIALS);
        return;
    }
    for (unsigned i = 0; i < trials; i++)
        try_cut(trial, i);
}

static bool is_wanted(const struct options *options, size_t at, size_t count, uint64_t *seed)
{
    if (options->cut >= 0)
        return at == (size_t)options->cut;
    return options->all || count <= FEW_CUTS || cut_random(seed, count) < FEW_CUTS;
}

static void cut_workload(const struct workload *workload, const struct options *options,
                         struct counts *counts)
{
    struct run run = {.seed = options->seed};
    struct cut_cursor cursor;
    static struct model model;
    uint64_t seed = options->seed;

    *counts = (struct counts){0};
    cut_host_init(&run.host);
    workload->perform(&run);
    model = (struct model){.history = &run.history};
    cut_cursor_init(&cursor, &run.host, NULL);
    cursor.forget_flush = options->forget_flush;
    struct trial trial = {.workload = workload,
                          .options = options,
                          .model = &model,
                          .cursor = &cursor,
                          .counts = counts};
    while (cursor.at < run.host.log.count) {
        const struct cut_event *event = &run.host.log.events[cursor.at];
        if (event->kind == CUT_MARK)
            model_follow(&model, event->offset, event->length);
        cut_cursor_step(&cursor);
        if ((model.started || workload->creates) &&
            is_wanted(options, cursor.at, run.host.log.count, &seed))
            try_all(&trial);
    }
    cut_cursor_release(&cursor);
    cut_host_release(&run.host);
    free(run.history.changes);
}

/* ---- tests ---- */

static unsigned test_number;

static bool report(bool well, const char *name, const struct counts *counts)
{
    (void)printf("%sok %u - %s\n", well ? "" : "not ", ++test_number, name);
    (void)printf("# %s: %lu cuts, %lu subsets, %lu cut again in recovery, %lu wrong\n", name,
                 counts->cuts, counts->trials, counts->recoveries, counts->failures);
    (void)fflush(stdout);
    return well;
}

/* A disk whose flush does nothing now and then has to be caught, or all of this shows nothing. */
static bool test_the_test(const struct options *options)
{
    static const unsigned forgotten[] = {1, 2, 3};
    bool well = true;

    for (unsigned i = 0; i < sizeof(forgotten) / sizeof(forgotten[0]); i++) {
        struct options broken = *options;
        struct counts counts;
        char name[64];
        broken.forget_flush = forgotten[i];
        broken.all = false;
        cut_workload(&workloads[2], &broken, &counts);
        (void)snprintf(name, sizeof(name), "caught: every flush of %u is forgotten", forgotten[i]);
        well = report(counts.failures != 0, name, &counts) && well;
    }
    return well;
}

static int parse(int argc, char **argv, struct options *ret)
{
    static const struct option longs[] = {
        {"all", no_argument, NULL, 'a'},
        {"seed", required_argument, NULL, 's'},
        {"workload", required_argument, NULL, 'w'},
        {"cut", required_argument, NULL, 'c'},
        {"trial", required_argument, NULL, 't'},
        {0},
    };
    int found = 0;

    *ret = (struct options){.seed = 1, .cut = -1, .trial = -1};
    /* One thread. */
    while ((found = getopt_long(argc, argv, "", longs, NULL)) !=
           -1) { /* NOLINT(concurrency-mt-unsafe) */
        if (found == 'a')
            ret->all = true;
        else if (found == 's')
            ret->seed = strtoull(optarg, NULL, 10);
        else if (found == 'w')
            ret->workload = optarg;
        else if (found == 'c')
            ret->cut = strtol(optarg, NULL, 10);
        else if (found == 't')
            ret->trial = strtol(optarg, NULL, 10);
        else
            return -1;
    }
    return 0;
}

int main(int argc, char **argv)
{
    struct options options;
    bool well = true;
    unsigned done = 0;

    if (parse(argc, argv, &options) < 0)
        return 2;
    for (unsigned i = 0; i < workload_count; i++) {
        struct counts counts;
        if (options.workload != NULL && strcmp(options.workload, workloads[i].name) != 0)
            continue;
        cut_workload(&workloads[i], &options, &counts);
        well =
            report(counts.failures == 0 && counts.trials != 0, workloads[i].name, &counts) && well;
        done++;
    }
    if (options.workload == NULL)
        well = test_the_test(&options) && well;
    (void)printf("1..%u\n", test_number);
    return well && done != 0 ? 0 : 1;
}
