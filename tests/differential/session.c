/*
 * Case number i of a seed depends on the seed, i, the --forms expression and the guest's CPUID
 * only, and so do the data pages of its batch: any case can be shown again alone.
 */
#include "session.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "report.h"
#include "values.h"

enum {
    TRIES = 1000,
    RANDOM_BYTES_PERCENT = 4,
    SEQUENCE_PERCENT = 20, /* of tries; not every try makes one */
    SEQUENCE_MAX = 6,
};

/* ---- set-up ---- */

/* Without an engine: what the host has of the features that a guest may be shown. */
static void host_features(struct policy *ret)
{
    for (unsigned i = 0; i < WORD_COUNT; i++) {
        uint32_t reg[4] = {policy_place[i].leaf, 0, policy_place[i].subleaf, 0};
        __asm__ volatile("cpuid" : "+a"(reg[0]), "=b"(reg[1]), "+c"(reg[2]), "=d"(reg[3]));
        ret->word[i] = reg[policy_place[i].reg];
    }
}

static int open_guest(struct session *session, struct reason *reason)
{
    if (session->options->self_check) {
        host_features(&session->policy);
        return 0;
    }
    int e = guest_create(&soft_engine, session->options->level, session->options->translate,
                         session->native.ring->has_ldt != 0, &session->guest, reason);
    if (e != 0)
        return e;
    e = guest_features(session->guest, &session->policy);
    return e == 0 ? 0 : reason_set(reason, e, "the guest's CPUID cannot be read");
}

/*
 * Groups get cases by what they are worth, not by how many forms they have; a form within its group
 * as often as any other.
 */
static const uint8_t group_weight[GROUP_COUNT] = {
    [GROUP_INTEGER] = 30, [GROUP_BRANCH] = 7, [GROUP_STACK] = 6,  [GROUP_STRING] = 8,
    [GROUP_SEGMENT] = 3,  [GROUP_BMI] = 5,    [GROUP_X87] = 10,   [GROUP_MMX] = 5,
    [GROUP_SSE] = 10,     [GROUP_AVX] = 14,   [GROUP_CRYPTO] = 3, [GROUP_XSAVE] = 3,
    [GROUP_SYSTEM] = 2,
};

static void choose_of_group(struct session *session, unsigned group, const regex_t *expression)
{
    session->group_start[group] = session->choice_count;
    for (size_t i = 0; i < session->forms.count; i++) {
        const struct form *form = &session->forms.form[i];
        bool runs = form->mode != DIFF_MODE16 || session->native.ring->has_ldt != 0;
        if (form->group == group && form->verdict != POLICY_SKIP && runs &&
            (expression == NULL || regexec(expression, form->name, 0, NULL, 0) == 0))
            session->choice[session->choice_count++] = form;
    }
    if (session->choice_count > session->group_start[group])
        session->weight += group_weight[group];
}

static int choose_forms(struct session *session, struct reason *reason)
{
    regex_t expression;
    const char *pattern = session->options->forms;
    session->choice = calloc(session->forms.count, sizeof(const struct form *));
    if (session->choice == NULL)
        return reason_set(reason, -ENOMEM, "no memory for the forms");
    if (pattern != NULL && regcomp(&expression, pattern, REG_EXTENDED | REG_NOSUB) != 0)
        return reason_set(reason, -EINVAL, "not a regular expression: %s", pattern);
    for (unsigned group = 0; group < GROUP_COUNT; group++)
        choose_of_group(session, group, pattern != NULL ? &expression : NULL);
    session->group_start[GROUP_COUNT] = session->choice_count;
    if (pattern != NULL)
        regfree(&expression);
    if (session->choice_count == 0)
        return reason_set(reason, -ENOENT, "no form matches");
    return 0;
}

int session_open(const struct session_options *options, struct session *ret, struct reason *reason)
{
    *ret = (struct session){.options = options};
    ret->build = calloc(DIFF_BATCH, sizeof(*ret->build));
    ret->other = calloc(DIFF_BATCH, sizeof(*ret->other));
    int e = native_start(&ret->native, reason);
    if (e == 0 && (ret->build == NULL || ret->other == NULL))
        e = reason_set(reason, -ENOMEM, "no memory for the cases");
    e = e != 0 ? e : open_guest(ret, reason);
    if (e == 0 && form_list_make(&ret->policy, &ret->forms) != 0)
        e = reason_set(reason, -ENOMEM, "no memory for the forms");
    e = e != 0 ? e : choose_forms(ret, reason);
    if (e == 0)
        build_context_init(&ret->policy, ret->native.ring->has_ldt != 0, &ret->context);
    else
        session_close(ret);
    return e;
}

void session_close(struct session *session)
{
    guest_destroy(session->guest);
    native_stop(&session->native);
    form_list_free(&session->forms);
    free(session->choice);
    free(session->build);
    free(session->other);
}

/* ---- making a batch ---- */

static const struct form *pick_form(const struct session *session, struct rng *rng)
{
    uint32_t at = rng_below(rng, session->weight);
    for (unsigned group = 0; group < GROUP_COUNT; group++) {
        size_t count = session->group_start[group + 1] - session->group_start[group];
        if (count == 0)
            continue;
        if (at < group_weight[group])
            return session->choice[session->group_start[group] + rng_below(rng, (uint32_t)count)];
        at -= group_weight[group];
    }
    return session->choice[0];
}

/* `first` and others of its mode. */
static bool try_sequence(struct session *session, struct rng *rng, const struct form *first,
                         struct build *ret)
{
    const struct form *forms[SEQUENCE_MAX];
    size_t count = 2 + rng_below(rng, SEQUENCE_MAX - 1);
    forms[0] = first;
    for (size_t i = 1; i < count; i++)
        for (unsigned t = 0; t < TRIES && (t == 0 || forms[i]->mode != first->mode); t++)
            forms[i] = pick_form(session, rng);
    return build_sequence(&session->context, rng, forms, count, ret);
}

static bool try_build(struct session *session, struct rng *rng, struct build *ret)
{
    bool random = session->options->forms == NULL && rng_percent(rng, RANDOM_BYTES_PERCENT);
    if (random)
        return build_random_bytes(&session->context, rng, ret);
    const struct form *form = pick_form(session, rng);
    if (rng_percent(rng, SEQUENCE_PERCENT))
        return try_sequence(session, rng, form, ret);
    if (form->verdict == POLICY_HIDDEN && session->options->forms == NULL &&
        !rng_percent(rng, session->options->hidden))
        return false;
    return build_from_form(&session->context, rng, form, ret);
}

static bool make_case(struct session *session, uint64_t index, struct build *ret)
{
    struct rng rng = rng_fork(session->options->seed, index);
    for (unsigned i = 0; i < TRIES; i++)
        if (try_build(session, &rng, ret))
            return true;
    return false;
}

static void make_data(struct session *session, uint64_t batch)
{
    struct rng rng = rng_fork(~session->options->seed, batch);
    values_data(&rng, session->native.ring->data);
}

static void put_case(struct session *session, uint32_t at)
{
    struct diff_ring *ring = session->native.ring;
    ring->cases[at] = session->build[at].c;
    ring->results[at].outcome = DIFF_NOT_RUN;
    if (session->build[at].kind == BUILD_HIDDEN)
        compare_expect_undefined_opcode(&session->build[at], ring->data, &ring->results[at]);
}

/* ---- running a batch ---- */

static int run_other_side(struct session *session, struct reason *reason)
{
    struct diff_ring *ring = session->native.ring;
    if (session->guest == NULL) {
        memcpy(session->other, ring->results, ring->count * sizeof(*session->other));
        for (uint32_t i = 0; i < ring->count; i++)
            put_case(session, i);
        return native_run_batch(&session->native, reason);
    }
    for (uint32_t i = 0; i < ring->count; i++) {
        int e = guest_run(session->guest, ring->data, &session->build[i].c, &session->other[i]);
        if (e != 0) {
            char text[256];
            report_instruction(&session->build[i], text, sizeof(text));
            return reason_set(reason, e, "the engine gave up (%d) on %s", e, text);
        }
    }
    return 0;
}

/* Cases of one form count once: its address in the list, or the mnemonic and kind of loose bytes.
 */
static bool is_new_failure(struct session *session, const struct build *build)
{
    uint64_t key = (uint64_t)build->mnemonic << 32 | (uint64_t)build->kind << 24;
    if (build->form != NULL)
        key = 1 + (uint64_t)(build->form - session->forms.form);
    for (unsigned i = 0; i < session->failed_forms; i++)
        if (session->failed_form[i] == key)
            return false;
    session->failed_form[session->failed_forms++] = key;
    return true;
}

static void count_case(struct session *session, const struct build *build,
                       const struct diff_result *native, const struct difference *difference)
{
    struct session_counts *counts = &session->counts;
    counts->total++;
    counts->group[build->group]++;
    counts->kind[build->kind]++;
    if (native->outcome == DIFF_TRAPPED && native->vector < SESSION_VECTORS)
        counts->vector[native->vector]++;
    if (difference->undefined != 0)
        counts->undefined[build->mnemonic]++;
    if (!difference->fails)
        return;
    counts->failed++;
    counts->group_failed[build->group]++;
    counts->kind_failed[build->kind]++;
}

static void judge_batch(struct session *session, uint64_t first, bool show)
{
    struct diff_ring *ring = session->native.ring;
    for (uint32_t i = 0; i < ring->count && session->failed_forms < session->options->failures;
         i++) {
        struct difference difference;
        const struct build *build = &session->build[i];
        uint64_t number = first + i;
        compare_results(build, &ring->results[i], &session->other[i],
                        session->options->translate == ENGINE_TRANSLATE_ALWAYS, &difference);
        count_case(session, build, &ring->results[i], &difference);
        bool report = show || (difference.fails &&
                               (is_new_failure(session, build) || session->options->verbose));
        if (!report)
            continue;
        (void)printf("# case %llu of seed %llu:\n", (unsigned long long)number,
                     (unsigned long long)session->options->seed);
        report_case(stdout, build, &ring->results[i], &session->other[i], &difference);
    }
}

static int run_batch(struct session *session, uint64_t first, bool show, struct reason *reason)
{
    for (uint32_t i = 0; i < session->native.ring->count; i++)
        put_case(session, i);
    int e = native_run_batch(&session->native, reason);
    e = e != 0 ? e : run_other_side(session, reason);
    if (e == 0)
        judge_batch(session, first, show);
    return e;
}

int session_run(struct session *session, struct reason *reason)
{
    for (uint64_t first = 0; first < session->options->cases; first += DIFF_BATCH) {
        make_data(session, first / DIFF_BATCH);
        for (uint32_t i = 0; i < DIFF_BATCH; i++)
            if (!make_case(session, first + i, &session->build[i]))
                return reason_set(reason, -ENOENT, "no case can be made of these forms");
        session->native.ring->count = DIFF_BATCH;
        int e = run_batch(session, first, false, reason);
        if (e != 0)
            return e;
        if (session->failed_forms >= session->options->failures)
            return 0;
    }
    return 0;
}

int session_show(struct session *session, uint64_t index, struct reason *reason)
{
    make_data(session, index / DIFF_BATCH);
    if (!make_case(session, index, &session->build[0]))
        return reason_set(reason, -ENOENT, "there is no such case");
    session->native.ring->count = 1;
    return run_batch(session, index, true, reason);
}

int session_replay(struct session *session, enum diff_mode mode, const uint8_t *bytes,
                   size_t length, uint64_t count, struct reason *reason)
{
    for (uint64_t first = 0; first < count; first += DIFF_BATCH) {
        make_data(session, first / DIFF_BATCH);
        for (uint32_t i = 0; i < DIFF_BATCH; i++) {
            struct rng rng = rng_fork(session->options->seed, first + i);
            if (!build_from_bytes(&session->context, &rng, mode, bytes, length, &session->build[i]))
                return reason_set(reason, -EPERM, "these bytes may not run on the host");
        }
        session->native.ring->count = DIFF_BATCH;
        int e = run_batch(session, first, false, reason);
        if (e != 0)
            return e;
    }
    return 0;
}

void session_list(const struct session *session)
{
    static const char *const verdict[] = {"compare", "hidden", "skip"};
    for (size_t i = 0; i < session->forms.count; i++)
        (void)printf("%-8s %-8s %s\n", verdict[session->forms.form[i].verdict],
                     policy_group_name[session->forms.form[i].group], session->forms.form[i].name);
}
