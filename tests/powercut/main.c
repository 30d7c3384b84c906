/*
 * Cut the power at every moment of a workload on a disk image, and look at what is left: trial.h.
 *
 *   partita-powercut [--all | --cuts N] [--seed N] [--share K/N] [--list]
 *                    [--workload NAME [--cut N [--trial N]]]
 *
 * Without --all it is a sample, of about N cuts a workload. TAP on standard output; a failure is
 * told with the arguments that repeat it.
 */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "run.h"
#include "trial.h"

enum { FEW_CUTS = 150, FEW_WAYS = 3 };

struct options {
    bool all, list;
    uint64_t seed;
    const char *workload;
    long cut, trial;    /* -1: each */
    unsigned long cuts; /* of each workload, without --all */
    unsigned share, shares;
};

/* ---- one workload ---- */

struct job {
    struct workload workload;
    unsigned forget_flush;
    bool broken; /* and that has to be found */
};

static void try_here(const struct trial *trial, const struct options *options)
{
    unsigned count = trial_ways();
    unsigned wanted = options->all ? count : (unsigned)FEW_WAYS;

    trial->counts->cuts++;
    if (options->trial >= 0) {
        trial_cut(trial, (unsigned)options->trial % count);
        return;
    }
    if (trial->replay->pending_count == 0) /* there is nothing to lose */
        wanted = 1;
    for (unsigned i = 0; i < wanted; i++)
        trial_cut(trial, (unsigned)(trial->replay->at * FEW_WAYS + i) % count);
}

/* Before a flush most is at stake: all that may be lost earlier may be lost there too. */
static bool is_wanted(const struct options *options, const struct replay *replay, uint64_t *seed)
{
    enum { OFTEN = 4 };
    const struct cut_log *log = &replay->recorded->log;
    bool flush = replay->at < log->count && log->events[replay->at].kind == CUT_FLUSH;

    if (options->cut >= 0)
        return replay->at == (size_t)options->cut;
    return options->all ||
           cut_random(seed, log->count) < (flush ? OFTEN * options->cuts : options->cuts);
}

static void cut_all(const struct job *job, const struct options *options, const struct run *run,
                    struct trial_counts *counts)
{
    struct model *model = content_must(calloc(1, sizeof(*model)));
    struct replay replay;
    uint64_t seed = options->seed;
    const struct trial trial = {.workload = &job->workload,
                                .model = model,
                                .replay = &replay,
                                .counts = counts,
                                .seed = options->seed,
                                .all = options->all,
                                .quiet = job->broken};

    model->history = &run->history;
    model->stride = workload_stride(&job->workload);
    replay_init(&replay, &run->host, NULL);
    replay.forget_flush = job->forget_flush;
    while (replay.at < run->host.log.count) {
        const struct cut_event *event = &run->host.log.events[replay.at];
        if (event->kind == CUT_MARK)
            model_follow(model, event->offset, event->length);
        replay_step(&replay);
        if ((model->exists || (model->may_exist && job->workload.script->creates)) &&
            is_wanted(options, &replay, &seed))
            try_here(&trial, options);
    }
    replay_release(&replay);
    free(model);
}

static bool run_job(const struct job *job, const struct options *options, const char *name)
{
    static unsigned number;
    struct run run = {.workload = &job->workload, .seed = options->seed};
    struct trial_counts counts = {0};

    cut_host_init(&run.host);
    job->workload.script->perform(&run);
    cut_all(job, options, &run, &counts);
    run_release(&run);
    bool well = counts.subsets != 0 && (counts.failures != 0) == job->broken;
    (void)printf("%sok %u - %s%s\n", well ? "" : "not ", ++number, job->broken ? "caught: " : "",
                 name);
    (void)printf("# %s: %lu cuts, %lu subsets, %lu sequels, %lu second cuts, %lu lost\n", name,
                 counts.cuts, counts.subsets, counts.sequels, counts.second_cuts, counts.failures);
    (void)fflush(stdout);
    return well;
}

/* ---- all of them ---- */

/* What is to be done, and what of it was. */
struct session {
    const struct options *options;
    unsigned seen, done;
    bool failed;
};

static void offer(struct session *session, const struct job *job, const char *name)
{
    const struct options *options = session->options;

    if (options->workload != NULL ? strcmp(options->workload, name) != 0
                                  : session->seen++ % options->shares != options->share)
        return;
    session->done++;
    if (options->list)
        (void)printf("%s\n", name);
    else if (!run_job(job, options, name))
        session->failed = true;
}

static void offer_formats(struct session *session)
{
    for (unsigned format = 0; format < IMAGE_FORMATS; format++) {
        for (unsigned i = 0; i < script_count; i++) {
            const struct job job = {
                .workload = {.script = &scripts[i], .format = (enum image_format)format}};
            char name[CUT_NAME];
            if ((scripts[i].formats >> format & 1) == 0)
                continue;
            workload_name(&job.workload, name);
            offer(session, &job, name);
        }
    }
}

/* On a disk that forgets one flush of so many. */
static void offer_forgetful(struct session *session, const struct script *script,
                            enum image_format format)
{
    for (unsigned every = 1; every <= 3; every++) {
        const struct job job = {.workload = {.script = script, .format = format},
                                .forget_flush = every,
                                .broken = true};
        char name[2 * CUT_NAME];
        char of[CUT_NAME];
        workload_name(&job.workload, of);
        (void)snprintf(name, sizeof(name), "%s-forgets-flush-of-%u", of, every);
        offer(session, &job, name);
    }
}

/* A disk that forgets flushes, and formats with a mistake, have to be caught. */
static void offer_broken(struct session *session)
{
    for (unsigned fault = TOY_RIGHT; fault < TOY_FAULTS; fault++) {
        const struct job job = {.workload = {.script = &toy_script, .toy = (enum toy_fault)fault},
                                .broken = fault != TOY_RIGHT};
        offer(session, &job, toy_name((enum toy_fault)fault));
    }
    for (unsigned i = 0; i < script_count; i++) {
        if (strcmp(scripts[i].name, "dynamic") != 0)
            continue;
        offer_forgetful(session, &scripts[i], IMAGE_VHD);
        offer_forgetful(session, &scripts[i], IMAGE_VHDX);
    }
}

/* ---- arguments ---- */

static bool parse_share(const char *text, struct options *ret)
{
    char *end = NULL;
    unsigned long share = strtoul(text, &end, 10);
    unsigned long shares = *end == '/' ? strtoul(end + 1, &end, 10) : 0;

    ret->share = (unsigned)share - 1;
    ret->shares = (unsigned)shares;
    return *end == '\0' && share >= 1 && share <= shares && shares <= UINT16_MAX;
}

static bool take_option(int option, struct options *ret)
{
    switch (option) {
    case 'a':
        ret->all = true;
        return true;
    case 'l':
        ret->list = true;
        return true;
    case 's':
        ret->seed = strtoull(optarg, NULL, 10);
        return true;
    case 'w':
        ret->workload = optarg;
        return true;
    case 'c':
        ret->cut = strtol(optarg, NULL, 10);
        return true;
    case 'n':
        ret->cuts = strtoul(optarg, NULL, 10);
        return true;
    case 't':
        ret->trial = strtol(optarg, NULL, 10);
        return true;
    case 'k':
        return parse_share(optarg, ret);
    default:
        return false;
    }
}

static bool parse(int argc, char **argv, struct options *ret)
{
    static const struct option longs[] = {
        {"all", no_argument, NULL, 'a'},
        {"list", no_argument, NULL, 'l'},
        {"seed", required_argument, NULL, 's'},
        {"workload", required_argument, NULL, 'w'},
        {"cut", required_argument, NULL, 'c'},
        {"cuts", required_argument, NULL, 'n'},
        {"trial", required_argument, NULL, 't'},
        {"share", required_argument, NULL, 'k'},
        {0},
    };
    int option = 0;

    *ret = (struct options){.seed = 1, .cut = -1, .trial = -1, .cuts = FEW_CUTS, .shares = 1};
    /* The only thread. NOLINTNEXTLINE(concurrency-mt-unsafe) */
    while ((option = getopt_long(argc, argv, "", longs, NULL)) != -1) {
        if (!take_option(option, ret))
            return false;
    }
    return optind == argc;
}

int main(int argc, char **argv)
{
    struct options options;
    struct session session = {.options = &options};

    if (!parse(argc, argv, &options))
        return 2;
    offer_formats(&session);
    offer_broken(&session);
    if (!options.list)
        (void)printf("1..%u\n", session.done);
    return session.failed || session.done == 0 ? 1 : 0;
}
