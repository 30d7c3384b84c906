/* Volume shadow copy (vss.h); the guest's side: Linux' hv_snapshot.c, and hv_vss_daemon. */
#include "vsp/vss.h"

#include <errno.h>
#include <stdlib.h>

#include "base/clock.h"

/* u8 operation, 7 bytes, u32 flags. */
enum { BODY = 12, OPERATION_FREEZE = 5, OPERATION_THAW = 6 };

/* The guest's driver gives its daemon ten seconds. */
#define THAW_TIMEOUT_NS (UINT64_C(15) * NS_PER_SECOND)

enum phase { IDLE, FREEZING, FROZEN, THAWING };

struct vss {
    struct ic_host host;
    struct ic *ic;
    struct loop_timer *limit;
    enum phase phase;
    bool overrun;          /* the host thawed what the administrator froze, who has not been told */
    vss_answered answered; /* NULL: nobody waits */
    void *owner;
};

static void answer(struct vss *vss, int error, const char *why)
{
    vss_answered answered = vss->answered;
    struct reason reason = {""};

    vss->answered = NULL;
    reason_fill(&reason, "%s", why);
    if (answered != NULL)
        answered(vss->owner, error, &reason);
}

static int ask(struct vss *vss, uint8_t operation, uint64_t timeout_ns)
{
    const uint8_t body[BODY] = {operation};
    return ic_request(vss->ic, body, sizeof(body), timeout_ns);
}

/* A guest that is still at freezing finds this behind it. */
static void thaw(struct vss *vss)
{
    loop_timer_set(vss->limit, 0);
    vss->phase = THAWING;
    if (ask(vss, OPERATION_THAW, THAW_TIMEOUT_NS) < 0)
        vss->phase = IDLE; /* the channel is closed: the guest's driver has gone */
}

static void limit_reached(void *owner)
{
    struct vss *vss = owner;

    if (vss->phase != FROZEN)
        return;
    vss->overrun = true;
    thaw(vss);
}

static void freezing_failed(struct vss *vss, int error, const char *why)
{
    thaw(vss); /* some file systems may be frozen */
    answer(vss, error, why);
}

static void take_answer(void *owner, uint32_t status, const uint8_t *body, size_t length)
{
    struct vss *vss = owner;

    (void)body;
    (void)length;
    if (vss->phase == FREEZING && status != IC_OK) {
        freezing_failed(vss, -EIO,
                        "the guest could not freeze its file systems: is hv_vss_daemon running?");
    } else if (vss->phase == FREEZING) {
        vss->phase = FROZEN;
        answer(vss, 0, "");
    } else if (vss->phase == THAWING) {
        vss->phase = IDLE;
        answer(vss, status == IC_OK ? 0 : -EIO, "the guest could not thaw its file systems");
    }
}

static void silent(void *owner)
{
    struct vss *vss = owner;

    if (vss->phase == FREEZING) {
        freezing_failed(vss, -EAGAIN, "the guest took too long to freeze its file systems");
    } else if (vss->phase == THAWING) {
        vss->phase = IDLE;
        answer(vss, -EAGAIN, "the guest does not say that it has thawed its file systems");
    }
}

static void gone(void *owner)
{
    struct vss *vss = owner;

    loop_timer_set(vss->limit, 0);
    vss->phase = IDLE;
    vss->overrun = false;
    answer(vss, -EIO, "the guest closed the service");
}

static const struct ic_kind kind = {
    .name = "vss",
    .helper = "hv_vss_daemon",
    /* 35fa2e29-ea23-4236-96ae-3a6ebacba440 */
    .class_id = {0x29, 0x2e, 0xfa, 0x35, 0x23, 0xea, 0x36, 0x42, 0x96, 0xae, 0x3a, 0x6e, 0xba, 0xcb,
                 0xa4, 0x40},
    .type = 5,
    .version_count = 1,
    .versions = {IC_VERSION(5, 0)},
    .gone = gone,
    .answered = take_answer,
    .silent = silent,
};

int vss_create(const struct ic_host *host, struct vss **ret)
{
    struct vss *vss = calloc(1, sizeof(*vss));

    if (vss == NULL)
        return -ENOMEM;
    vss->host = *host;
    int error = loop_timer_create(host->loop, limit_reached, vss, &vss->limit);
    if (error == 0)
        error = ic_create(host, &kind, vss, &vss->ic);
    if (error < 0)
        vss_destroy(vss);
    else
        *ret = vss;
    return error;
}

void vss_destroy(struct vss *vss)
{
    if (vss == NULL)
        return;
    ic_destroy(vss->ic);
    loop_timer_destroy(vss->limit);
    free(vss);
}

struct ic *vss_ic(struct vss *vss)
{
    return vss->ic;
}

bool vss_is_frozen(const struct vss *vss)
{
    return vss->phase != IDLE;
}

int vss_freeze(struct vss *vss, vss_answered answered, void *owner, struct reason *reason)
{
    if (!ic_is_ready(vss->ic))
        return ic_refuse(vss->ic, reason);
    if (vss->phase != IDLE)
        return reason_set(reason, -EBUSY, "the guest's file systems are frozen already");
    int error = ask(vss, OPERATION_FREEZE, VSS_LIMIT_NS);
    if (error < 0)
        return reason_set(reason, error, "the guest cannot be asked");
    loop_timer_set(vss->limit, vss->host.now() + VSS_LIMIT_NS);
    vss->phase = FREEZING;
    vss->overrun = false;
    vss->answered = answered;
    vss->owner = owner;
    return 0;
}

int vss_thaw(struct vss *vss, vss_answered answered, void *owner, struct reason *reason)
{
    if (vss->overrun) {
        vss->overrun = false;
        return reason_set(reason, -EIO,
                          "too late: the host has thawed the guest's file systems by itself");
    }
    if (vss->phase != FROZEN)
        return reason_set(reason, vss->phase == IDLE ? -EINVAL : -EBUSY, "%s",
                          vss->phase == IDLE ? "the guest's file systems are not frozen"
                                             : "the guest is at freezing or thawing just now");
    thaw(vss);
    if (vss->phase == IDLE)
        return ic_refuse(vss->ic, reason);
    vss->answered = answered;
    vss->owner = owner;
    return 0;
}
