/* What is seen of an integration service, and its saved state (ic_private.h). */
#include <errno.h>
#include <stdio.h>

#include "base/clock.h"
#include "state/state.h"
#include "vsp/ic_private.h"

/* A guest has so long to open a channel before that is worth a word. */
#define PATIENCE_NS (UINT64_C(30) * NS_PER_SECOND)

const char *ic_state_name(enum ic_state state)
{
    static const char *const names[IC_STATE_COUNT] = {
        [IC_STATE_DISABLED] = "disabled",
        [IC_STATE_LEAVING] = "leaving",
        [IC_STATE_WAITING] = "waiting for the guest",
        [IC_STATE_UNOPENED] = "offered but never opened",
        [IC_STATE_CLOSED] = "closed by the guest",
        [IC_STATE_ASKED] = "negotiating",
        [IC_STATE_MISMATCH] = "protocol mismatch",
        [IC_STATE_RUNNING] = "running",
        [IC_STATE_SILENT] = "no answer",
    };
    return names[state];
}

static enum ic_state unopened_state(const struct ic *ic)
{
    if (!ic->wanted)
        return ic->channel != NULL ? IC_STATE_LEAVING : IC_STATE_DISABLED;
    if (ic->was_open)
        return IC_STATE_CLOSED;
    bool had_time = ic->channel != NULL && vmbus_version(ic->host.vmbus) != 0 &&
                    ic->host.now() - ic->offered_ns > PATIENCE_NS;
    return had_time ? IC_STATE_UNOPENED : IC_STATE_WAITING;
}

static enum ic_state state_of(const struct ic *ic)
{
    switch (ic->phase) {
    case IC_PHASE_CLOSED:
        return unopened_state(ic);
    case IC_PHASE_OPENED:
    case IC_PHASE_ASKED:
        return IC_STATE_ASKED;
    case IC_PHASE_MISMATCH:
        return IC_STATE_MISMATCH;
    case IC_PHASE_READY:
        break;
    }
    if (!ic->wanted)
        return IC_STATE_LEAVING;
    return ic->silent ? IC_STATE_SILENT : IC_STATE_RUNNING;
}

/* What to do about it. */
static void advise(const struct ic *ic, enum ic_state state, char *ret, size_t size)
{
    const char *helper = ic->kind->helper;

    ret[0] = '\0';
    switch (state) {
    case IC_STATE_UNOPENED:
        (void)snprintf(ret, size,
                       "no driver in the guest has opened it: load hv_utils there, or mend its "
                       "kernel's configuration (CONFIG_HYPERV_UTILS)");
        break;
    case IC_STATE_WAITING:
        if (vmbus_version(ic->host.vmbus) == 0)
            (void)snprintf(ret, size, "the guest does not use VMBus, or not yet");
        break;
    case IC_STATE_CLOSED:
        (void)snprintf(ret, size, "the guest has closed it: is hv_utils loaded there?");
        break;
    case IC_STATE_ASKED:
        (void)snprintf(ret, size,
                       "the guest has opened it, but not said which versions it knows: "
                       "is %s running there?",
                       helper);
        break;
    case IC_STATE_MISMATCH:
        (void)snprintf(ret, size, "the guest knows no version from %u.%u to %u.%u: update its %s",
                       ic->kind->versions[ic->kind->version_count - 1] >> 16,
                       ic->kind->versions[ic->kind->version_count - 1] & 0xffff,
                       ic->kind->versions[0] >> 16, ic->kind->versions[0] & 0xffff, helper);
        break;
    case IC_STATE_SILENT:
        (void)snprintf(ret, size, "the guest does not answer: is %s running there?", helper);
        break;
    default:
        break;
    }
}

void ic_describe(const struct ic *ic, struct ic_report *ret)
{
    *ret = (struct ic_report){
        .name = ic->kind->name,
        .enabled = ic->wanted,
        .state = state_of(ic),
        .framework = ic->framework,
        .version = ic->version,
        .newest = ic->kind->versions[0],
        .contact_ns = ic->contact_ns != 0 ? ic->host.now() - ic->contact_ns : UINT64_MAX,
        .requests = ic->requests,
        .answers = ic->answers,
        .silences = ic->silences,
        .oddities = ic->oddities,
    };
    advise(ic, ret->state, ret->advice, sizeof(ret->advice));
}

int ic_refuse(const struct ic *ic, struct reason *reason)
{
    struct ic_report report;

    ic_describe(ic, &report);
    if (!ic->wanted)
        reason_fill(reason, "the service '%s' is disabled", report.name);
    else
        reason_fill(reason, "the service '%s' is not at work in the guest: %s%s%s", report.name,
                    ic_state_name(report.state), report.advice[0] != '\0' ? "; " : "",
                    report.advice);
    return -ENOTCONN;
}

/* ---- saved state ---- */

struct saved {
    bool wanted, ready;
    uint32_t framework, version;
    uint8_t transaction;
};

static bool is_sane(const struct ic *ic, const struct saved *saved)
{
    bool known = false;

    for (unsigned i = 0; i < ic->kind->version_count; i++)
        known |= ic->kind->versions[i] == saved->version;
    return !saved->ready || (known && saved->wanted && ic->channel != NULL);
}

int ic_visit_state(struct ic *ic, struct state_visitor *visitor)
{
    char section[32];
    struct saved saved = {ic->wanted, ic->phase == IC_PHASE_READY || ic->restored, ic->framework,
                          ic->version, ic->transaction};

    (void)snprintf(section, sizeof(section), "ic-%s", ic->kind->name);
    state_begin(visitor, section, 1);
    state_bool(visitor, "wanted", &saved.wanted);
    state_bool(visitor, "ready", &saved.ready);
    state_u32(visitor, "framework", &saved.framework);
    state_u32(visitor, "version", &saved.version);
    state_u8(visitor, "transaction", &saved.transaction);
    if (state_is_load(visitor) && !is_sane(ic, &saved))
        state_fail(visitor, -EINVAL);
    int error = state_end(visitor);
    if (error < 0 || !state_is_load(visitor))
        return error;
    ic->restored = saved.ready;
    ic->framework = saved.framework;
    ic->version = saved.version;
    ic->transaction = saved.transaction;
    return 0;
}
