/*
 * Synthetic timers: TLFS, "Timers". Deadlines are in reference time; each VP asks its host for one
 * wake-up, the earliest. A message that finds no room is kept by its timer and tried again at the
 * next event of the SynIC: it is never lost, and a one-shot timer that expired before the guest had
 * a message page does not stall.
 *
 * A periodic timer whose time was missed (TLFS, "Periodic Timers") catches up by shorter periods,
 * and what is too far behind is skipped. If it is lazy, all that was missed is one expiration,
 * which is skipped too when the next is near.
 */
#include <errno.h>
#include <string.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "hv/hv_private.h"
#include "state/state.h"

enum {
    CONFIG_ENABLED = 1 << 0,
    CONFIG_PERIODIC = 1 << 1,
    CONFIG_LAZY = 1 << 2,
    CONFIG_AUTO_ENABLE = 1 << 3,
    CONFIG_VECTOR_SHIFT = 4,
    CONFIG_DIRECT = 1 << 12,
    CONFIG_SINT_SHIFT = 16,
    CONFIG_VALID = 0xf1fff,
    MESSAGE_LENGTH = 24,
    UNIT_NS = 100,
    MOST_BEHIND = 8, /* periods that are caught up with */
    LAZY_PART = 8,   /* of a period: so near is the next expiration that a late one is skipped */
};
#define MESSAGE_TIMER_EXPIRED UINT32_C(0x80000010)
/* Shorter periods than this are stretched: a guest cannot have the host busy with its timer. */
#define SHORTEST_PERIOD UINT64_C(500)
/* A wake-up further ahead is asked for again when it comes. */
#define FARTHEST_NS (UINT64_C(3600) * NS_PER_SECOND)

static unsigned sint_of(const struct hv_stimer *timer)
{
    return (unsigned)(timer->config >> CONFIG_SINT_SHIFT) & (HV_SINT_COUNT - 1);
}

/* When it is to be told of. */
static uint64_t due(const struct hv_stimer *timer)
{
    return timer->deadline > timer->not_before ? timer->deadline : timer->not_before;
}

/* With the VP's lock. */
static void arm(struct hv_vp *vp, uint64_t now)
{
    uint64_t earliest = UINT64_MAX;

    for (unsigned i = 0; i < HV_STIMER_COUNT; i++) {
        if (vp->stimer[i].deadline != 0 && due(&vp->stimer[i]) < earliest)
            earliest = due(&vp->stimer[i]);
    }
    uint64_t deadline_ns = 0;
    if (earliest != UINT64_MAX) {
        uint64_t units = earliest > now ? earliest - now : 0;
        uint64_t ahead = units < FARTHEST_NS / UNIT_NS ? units * UNIT_NS : FARTHEST_NS;
        deadline_ns = clock_monotonic_ns() + ahead;
    }
    vp->hv->host.set_timer(vp->hv->host.owner, vp->index, deadline_ns);
}

static bool deliver_message(struct hv_vp *vp, unsigned index)
{
    const struct hv_stimer *timer = &vp->stimer[index];
    struct hv_message message = {.type = MESSAGE_TIMER_EXPIRED, .length = MESSAGE_LENGTH};

    put_le32(message.payload, index);
    put_le64(message.payload + 8, timer->expired_at);
    put_le64(message.payload + 16, hv_reference_time(vp->hv));
    return synic_deliver(vp, sint_of(timer), &message);
}

static uint64_t add(uint64_t time, uint64_t units)
{
    return time + units < time ? UINT64_MAX : time + units;
}

/* The next deadline of a periodic timer that has expired; false: this one is not told of. */
static bool advance(struct hv_stimer *timer, uint64_t now)
{
    uint64_t period = timer->count > SHORTEST_PERIOD ? timer->count : SHORTEST_PERIOD;
    uint64_t late = now - timer->deadline;
    uint64_t missed = late / period;

    if (timer->config & CONFIG_LAZY) {
        timer->deadline = add(timer->deadline + missed * period, period);
        return timer->deadline - now >= period / LAZY_PART;
    }
    if (missed > MOST_BEHIND)
        timer->deadline += (missed - MOST_BEHIND) * period;
    timer->expired_at = timer->deadline;
    timer->deadline = add(timer->deadline, period);
    timer->not_before = timer->deadline <= now ? now + period / 2 : 0;
    return true;
}

static void expire(struct hv_vp *vp, unsigned index, uint64_t now)
{
    struct hv_stimer *timer = &vp->stimer[index];

    timer->expired_at = timer->deadline;
    if (timer->config & CONFIG_PERIODIC) {
        if (!advance(timer, now))
            return;
    } else {
        timer->deadline = 0;
        timer->config &= ~(uint64_t)CONFIG_ENABLED;
    }
    if (timer->config & CONFIG_DIRECT)
        vp->hv->host.interrupt(vp->hv->host.owner, vp->index,
                               (uint8_t)(timer->config >> CONFIG_VECTOR_SHIFT), false);
    else
        timer->message_due = !deliver_message(vp, index);
}

/* With the VP's lock. */
static void look(struct hv_vp *vp)
{
    uint64_t now = hv_reference_time(vp->hv);

    for (unsigned i = 0; i < HV_STIMER_COUNT; i++) {
        if (vp->stimer[i].deadline != 0 && due(&vp->stimer[i]) <= now)
            expire(vp, i, now);
    }
    arm(vp, now);
}

void stimer_retry(struct hv_vp *vp)
{
    for (unsigned i = 0; i < HV_STIMER_COUNT; i++) {
        if (vp->stimer[i].message_due)
            vp->stimer[i].message_due = !deliver_message(vp, i);
    }
}

void hv_timer_expired(struct hv *hv, unsigned vp)
{
    (void)pthread_mutex_lock(&hv->vps[vp].lock);
    look(&hv->vps[vp]);
    (void)pthread_mutex_unlock(&hv->vps[vp].lock);
}

/* A timer that is enabled and has a count runs; one that is neither direct nor has a SINT cannot.
 */
static void start(struct hv_vp *vp, struct hv_stimer *timer)
{
    bool leads_somewhere = (timer->config & CONFIG_DIRECT) != 0 || sint_of(timer) != 0;

    if (!leads_somewhere)
        timer->config &= ~(uint64_t)CONFIG_ENABLED;
    timer->deadline = 0;
    timer->not_before = 0;
    timer->message_due = false;
    if ((timer->config & CONFIG_ENABLED) != 0 && timer->count != 0) {
        uint64_t from = timer->config & CONFIG_PERIODIC ? hv_reference_time(vp->hv) : 0;
        timer->deadline = add(from, timer->count);
    }
    look(vp);
}

void stimer_write_config(struct hv_vp *vp, unsigned timer, uint64_t value)
{
    (void)pthread_mutex_lock(&vp->lock);
    vp->stimer[timer].config = value & CONFIG_VALID;
    start(vp, &vp->stimer[timer]);
    (void)pthread_mutex_unlock(&vp->lock);
}

void stimer_write_count(struct hv_vp *vp, unsigned timer, uint64_t value)
{
    struct hv_stimer *written = &vp->stimer[timer];

    (void)pthread_mutex_lock(&vp->lock);
    written->count = value;
    if (value == 0)
        written->config &= ~(uint64_t)CONFIG_ENABLED;
    else if (written->config & CONFIG_AUTO_ENABLE)
        written->config |= CONFIG_ENABLED;
    start(vp, written);
    (void)pthread_mutex_unlock(&vp->lock);
}

void stimer_reset(struct hv_vp *vp)
{
    memset(vp->stimer, 0, sizeof(vp->stimer));
    vp->hv->host.set_timer(vp->hv->host.owner, vp->index, 0);
}

/* ---- saved state ---- */

/* A timer in saved state, eight bytes each: config, count, deadline, expired at, message due. */
enum { SAVED_FIELDS = 5 };

void stimer_visit(struct hv_vp *vp, struct state_visitor *visitor)
{
    uint64_t saved[HV_STIMER_COUNT][SAVED_FIELDS];
    uint64_t not_before[HV_STIMER_COUNT];

    for (unsigned i = 0; i < HV_STIMER_COUNT; i++) {
        const struct hv_stimer *timer = &vp->stimer[i];
        const uint64_t fields[SAVED_FIELDS] = {timer->config, timer->count, timer->deadline,
                                               timer->expired_at, timer->message_due};
        memcpy(saved[i], fields, sizeof(fields));
        not_before[i] = timer->not_before;
    }
    state_bytes(visitor, "stimers", saved, sizeof(saved));
    state_bytes(visitor, "stimers-not-before", not_before, sizeof(not_before));
    if (!state_is_load(visitor))
        return;
    for (unsigned i = 0; i < HV_STIMER_COUNT; i++) {
        if ((saved[i][0] & ~(uint64_t)CONFIG_VALID) != 0 || saved[i][4] > 1)
            state_fail(visitor, -EINVAL);
        vp->stimer[i] = (struct hv_stimer){.config = saved[i][0] & CONFIG_VALID,
                                           .count = saved[i][1],
                                           .deadline = saved[i][2],
                                           .not_before = not_before[i],
                                           .expired_at = saved[i][3],
                                           .message_due = saved[i][4] != 0};
    }
    arm(vp, hv_reference_time(vp->hv));
}
