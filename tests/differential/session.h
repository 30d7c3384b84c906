/*
 * One run of the tester: batches of cases through the host's processor and the engine.
 */
#ifndef DIFFERENTIAL_SESSION_H
#define DIFFERENTIAL_SESSION_H

#include <regex.h>

#include "build.h"
#include "compare.h"
#include "forms.h"
#include "guest.h"
#include "native.h"

enum { SESSION_MAX_FAILURES = 1000, SESSION_VECTORS = 32 };

struct session_options {
    uint64_t seed;
    uint64_t cases;
    const char *forms; /* regular expression on form names, or NULL */
    bool self_check;   /* native against native: shows that cases are deterministic */
    bool verbose;
    uint32_t hidden;   /* percent of the choices of a hidden form that are run */
    uint64_t failures; /* stop after that many forms have failed, SESSION_MAX_FAILURES at most */
    enum engine_cpu_level level;
    enum engine_translate translate;
};

struct session_counts {
    uint64_t group[GROUP_COUNT];
    uint64_t group_failed[GROUP_COUNT];
    uint64_t kind[BUILD_KIND_COUNT];
    uint64_t kind_failed[BUILD_KIND_COUNT];
    uint64_t vector[SESSION_VECTORS];
    uint64_t total, failed;
    uint64_t undefined[ZYDIS_MNEMONIC_MAX_VALUE + 1]; /* cases that differ in undefined flags */
};

struct session {
    const struct session_options *options;
    struct native native;
    struct guest *guest; /* NULL when self_check */
    struct policy policy;
    struct build_context context;
    struct form_list forms;
    const struct form **choice; /* those that options->forms matches, by group */
    size_t choice_count;
    size_t group_start[GROUP_COUNT + 1]; /* indices into choice */
    uint32_t weight;                     /* sum over the groups that have a form in choice */
    struct session_counts counts;
    uint64_t failed_form[SESSION_MAX_FAILURES]; /* what identifies a form, see session.c */
    unsigned failed_forms;
    struct build *build; /* DIFF_BATCH of them */
    struct diff_result *other;
};

int session_open(const struct session_options *options, struct session *ret, struct reason *reason);
void session_close(struct session *session);

/* Run options->cases cases, or until options->failures forms have failed. */
int session_run(struct session *session, struct reason *reason);

/* Run `count` cases of the given bytes. */
int session_replay(struct session *session, enum diff_mode mode, const uint8_t *bytes,
                   size_t length, uint64_t count, struct reason *reason);

/* Run the one case numbered `index` of the seed and print it, whether it differs or not. */
int session_show(struct session *session, uint64_t index, struct reason *reason);

void session_list(const struct session *session);

#endif
