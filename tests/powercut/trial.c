#include "trial.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "run.h"

enum { SEQUEL_STEPS = 12, SECOND_CUTS = 4, MOST_TOLD = 20 };

static const enum replay_loss ways[] = {
    REPLAY_LOSE_NOTHING, REPLAY_LOSE_SOME, REPLAY_TEAR,      REPLAY_LOSE_ALL,
    REPLAY_LOSE_ONE,     REPLAY_TEAR,      REPLAY_KEEP_ONE,  REPLAY_LOSE_SOME,
    REPLAY_TEAR_COARSE,  REPLAY_TEAR,      REPLAY_LOSE_SOME, REPLAY_TEAR,
};

unsigned trial_ways(void)
{
    return sizeof(ways) / sizeof(ways[0]);
}

/* What one look needs. */
struct look {
    const struct trial *trial;
    const struct model *model;
    uint64_t seed;
    struct picture writer, other;
    char text[MODEL_TEXT];
};

/* ---- the state of the images ---- */

static void note_damage(void *owner, enum image_severity severity, uint64_t offset,
                        const char *text)
{
    char *to = owner;

    if (severity == IMAGE_DAMAGE && to[0] == '\0')
        (void)snprintf(to, MODEL_TEXT, "damage at byte %llu of the file: %s",
                       (unsigned long long)offset, text);
}

static bool check_images(struct look *look, struct cut_host *host)
{
    for (unsigned i = 0; i < host->count; i++) {
        struct image_check check = {.found = note_damage, .owner = look->text};
        int error = workload_check(look->trial->workload, &host->host, cut_host_name(host, i),
                                   false, &check);
        if (error < 0)
            (void)snprintf(look->text, MODEL_TEXT, "%s cannot be checked (%d)",
                           cut_host_name(host, i), error);
        if (error < 0 || check.damages != 0)
            return false;
    }
    return true;
}

static void ignore_finding(void *owner, enum image_severity severity, uint64_t offset,
                           const char *text)
{
    (void)owner;
    (void)severity;
    (void)offset;
    (void)text;
}

/* Somebody looks for damage first, and has it mended: nothing may be lost by that. */
static void repair_images(const struct look *look, struct cut_host *host)
{
    for (unsigned i = 0; i < host->count; i++) {
        struct image_check check = {.found = ignore_finding};
        (void)workload_check(look->trial->workload, &host->host, cut_host_name(host, i), true,
                             &check);
    }
}

static bool take(struct look *look, struct cut_host *host, const char *image, unsigned flags,
                 struct picture *ret)
{
    const struct workload *workload = look->trial->workload;
    struct reason reason = {""};
    struct disk *disk = NULL;
    int error = workload_open(workload, &host->host, image, flags, &disk, &reason);

    if (error < 0) {
        (void)snprintf(look->text, MODEL_TEXT, "%s does not open%s: %s (%d)", image,
                       (flags & DISK_WRITABLE) != 0 ? " for writing" : "", reason.text, error);
        return false;
    }
    bool well = picture_take(ret, disk, workload_stride(workload), look->text);
    error = disk_close(disk);
    if (well && error < 0)
        (void)snprintf(look->text, MODEL_TEXT, "%s cannot be closed (%d)", image, error);
    return well && error == 0;
}

/* The image `image` has to read as the writer's picture. */
static bool reads_alike(struct look *look, struct cut_host *host, const char *image)
{
    return take(look, host, image, 0, &look->other) &&
           picture_equals(&look->writer, &look->other, look->text);
}

/* The log is carried out for a writer, and only in its thoughts for a reader. */
static bool look_at(struct look *look, const struct cut_host *left)
{
    const char *top = look->trial->workload->script->top;
    bool reader = look->trial->all || cut_random(&look->seed, 2) == 0;
    struct cut_host host;

    cut_host_clone(left, &host);
    if (cut_random(&look->seed, 4) == 0)
        repair_images(look, &host);
    bool well = !reader || take(look, &host, top, 0, &look->other);
    well = well && take(look, &host, top, DISK_WRITABLE, &look->writer);
    well = well && model_allows(look->model, &look->writer, look->text);
    if (well && reader && !picture_equals(&look->other, &look->writer, look->text)) {
        (void)snprintf(look->text, MODEL_TEXT, "a reader sees something else than a writer");
        well = false;
    }
    well = well && check_images(look, &host);
    cut_host_release(&host);
    return well;
}

/* Is there an image, so that nothing of it may be lost? */
static bool opens(const struct look *look, const struct cut_host *left)
{
    struct disk *disk = NULL;
    struct cut_host host;

    cut_host_clone(left, &host);
    int error = workload_open(look->trial->workload, &host.host, look->trial->workload->script->top,
                              DISK_WRITABLE, &disk, NULL);
    if (error == 0)
        (void)disk_close(disk);
    cut_host_release(&host);
    return error == 0;
}

/* ---- life goes on ---- */

/* A merge that was cut off is made again, and then the parent alone has all, and the chain too. */
static bool merge_again(struct look *look, struct cut_host *host)
{
    const struct script *script = look->trial->workload->script;
    struct reason reason = {""};
    int error = workload_merge(look->trial->workload, &host->host, &reason);

    if (error < 0) {
        (void)snprintf(look->text, MODEL_TEXT, "merging again: %s", reason.text);
        return false;
    }
    return reads_alike(look, host, script->merged) && reads_alike(look, host, script->top) &&
           check_images(look, host);
}

static bool use_again(struct look *look, struct run *run)
{
    run_open(run, look->trial->workload->script->top);
    run_steps(run, SEQUEL_STEPS);
    if (run->disk != NULL)
        run_close(run);
    return !run->failed;
}

static void complain(const struct look *look, unsigned way, const char *when)
{
    const struct trial *trial = look->trial;
    char name[CUT_NAME];

    workload_name(trial->workload, name);
    if (!trial->quiet && trial->counts->failures < MOST_TOLD)
        (void)printf("# --workload %s --seed %llu --cut %zu --trial %u: %s%s\n", name,
                     (unsigned long long)trial->seed, trial->replay->at, way, when, look->text);
    trial->counts->failures++;
}

/* After a cut in the sequel the image holds what it must, and a merge can be made once more. */
static bool look_again(struct look *look, const struct cut_host *left)
{
    struct cut_host host;

    if (!look_at(look, left))
        return false;
    if (look->trial->workload->script->merged == NULL)
        return true;
    cut_host_clone(left, &host);
    bool well = merge_again(look, &host);
    cut_host_release(&host);
    return well;
}

/* Cut the sequel, at a few of its changes or at one of them; more often in the recovery. */
static void cut_sequel(struct look *look, const struct run *run, const struct cut_host *left,
                       struct model *model, unsigned way)
{
    size_t count = run->host.log.count;
    size_t wanted = look->trial->all ? (size_t)SECOND_CUTS : 1;
    enum { OFTEN = 6 };
    bool recovers = true;
    struct replay replay;
    struct cut_host host;

    replay_init(&replay, &run->host, left);
    while (replay.at < count) {
        const struct cut_event *event = &run->host.log.events[replay.at];
        if (event->kind == CUT_MARK)
            model_follow(model, event->offset, event->length);
        recovers = recovers && event->kind != CUT_MARK;
        replay_step(&replay);
        if (cut_random(&look->seed, count) >= (recovers ? OFTEN * wanted : wanted))
            continue;
        uint64_t loss = cut_random(&look->seed, trial_ways());
        replay_cut(&replay, ways[loss], &look->seed, &host);
        look->trial->counts->second_cuts++;
        if (!look_again(look, &host))
            complain(look, way, "cut again: ");
        cut_host_release(&host);
    }
    replay_release(&replay);
}

static void go_on(struct look *look, const struct cut_host *left, unsigned way)
{
    const struct trial *trial = look->trial;
    struct run run = {.workload = trial->workload, .seed = look->seed, .text = look->text};
    auto_free struct model *model = content_must(calloc(1, sizeof(*model)));
    bool merges = trial->workload->script->merged != NULL;

    trial->counts->sequels++;
    cut_host_clone(left, &run.host);
    bool well = merges ? merge_again(look, &run.host) : use_again(look, &run);
    model->stride = look->model->stride;
    model_restart(model, &run.history, &look->writer);
    look->model = model;
    if (well)
        cut_sequel(look, &run, left, model, way); /* at its end the model is at the end, too */
    if (!well || !look_at(look, &run.host))
        complain(look, way, "gone on: ");
    run_release(&run);
}

/* ---- a cut ---- */

void trial_cut(const struct trial *trial, unsigned way)
{
    uint64_t seed = trial->seed * 1000003 + trial->replay->at * 64 + way;
    auto_free struct look *look = content_must(calloc(1, sizeof(*look)));
    struct cut_host left;

    *look = (struct look){.trial = trial, .model = trial->model, .seed = seed ^ 0x5555};
    replay_cut(trial->replay, ways[way], &seed, &left);
    trial->counts->subsets++;
    if (!trial->model->exists && !opens(look, &left)) {
        cut_host_release(&left);
        return;
    }
    if (!look_at(look, &left))
        complain(look, way, "");
    else if (trial->all || cut_random(&look->seed, 2) == 0)
        go_on(look, &left, way);
    cut_host_release(&left);
}
