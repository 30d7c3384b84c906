/* Time synchronisation (timesync.h); the guest's side: timesync_onchannelcallback in hv_util.c. */
#include "vsp/timesync.h"

#include <errno.h>
#include <stdlib.h>

#include "base/bytes.h"
#include "base/clock.h"

/* Version 4: u64 host time, u64 reference time, u8 flags, u8 leap, u8 stratum, 3 bytes. */
enum { V4_REFERENCE = 8, V4_FLAGS = 16, V4_STRATUM = 18, V4_BODY = 22 };
/* Before: u64 host time, u64 guest time, u64 round trip, u8 flags; the middle two are not used. */
enum { V1_FLAGS = 24, V1_BODY = 25 };
enum { FLAG_FORCED = 1, FLAG_SAMPLE = 2 };
enum { STRATUM = 2 };

/* 1601 to 1970 in units of 100 ns. */
#define EPOCH UINT64_C(116444736000000000)

#define TICK_NS    ((uint64_t)NS_PER_SECOND)
#define TIMEOUT_NS (UINT64_C(10) * NS_PER_SECOND)
#define LATE_NS    (UINT64_C(2) * NS_PER_SECOND) /* a tick as late as this: we were stopped */
#define STEP_NS    (UINT64_C(20) * 1000000)      /* the clocks moved apart: one was set */
enum { TICKS_A_SAMPLE = 5 };

struct timesync {
    struct ic_host host;
    struct timesync_clocks clocks;
    struct ic *ic;
    struct loop_timer *timer;
    unsigned ticks;
    bool force;
    uint64_t last_ns, last_real; /* of the last tick */
};

static size_t fill(const struct timesync *timesync, uint8_t flags, uint8_t body[V1_BODY])
{
    uint64_t reference = timesync->clocks.reference(timesync->clocks.owner);

    put_le64(body, timesync->clocks.real(timesync->clocks.owner) / 100 + EPOCH);
    if (ic_version(timesync->ic) < IC_VERSION(4, 0)) {
        body[V1_FLAGS] = flags;
        return V1_BODY;
    }
    put_le64(body + V4_REFERENCE, reference);
    body[V4_FLAGS] = flags;
    body[V4_STRATUM] = STRATUM;
    return V4_BODY;
}

/* What cannot be sent now is old later: the next tick does it anew. */
static void tell(struct timesync *timesync)
{
    uint8_t body[V1_BODY] = {0};
    size_t length = fill(timesync, timesync->force ? FLAG_FORCED : FLAG_SAMPLE, body);

    if (ic_request(timesync->ic, body, length, TIMEOUT_NS) < 0)
        return;
    timesync->ticks = 0;
    timesync->force = false;
}

static uint64_t distance(uint64_t a, uint64_t b)
{
    return a > b ? a - b : b - a;
}

static void look_at_clocks(struct timesync *timesync)
{
    uint64_t now = timesync->host.now();
    uint64_t real = timesync->clocks.real(timesync->clocks.owner);
    uint64_t passed = now - timesync->last_ns;

    /* CLOCK_MONOTONIC stands while a host sleeps, CLOCK_REALTIME does not. */
    if (passed > TICK_NS + LATE_NS || distance(real, timesync->last_real + passed) > STEP_NS)
        timesync->force = true;
    timesync->last_ns = now;
    timesync->last_real = real;
}

static void tick(void *owner)
{
    struct timesync *timesync = owner;

    look_at_clocks(timesync);
    if (++timesync->ticks >= TICKS_A_SAMPLE || timesync->force)
        tell(timesync);
    loop_timer_set(timesync->timer, timesync->host.now() + TICK_NS);
}

static void ready(void *owner)
{
    struct timesync *timesync = owner;

    timesync->force = true;
    timesync->last_ns = timesync->host.now();
    timesync->last_real = timesync->clocks.real(timesync->clocks.owner);
    tick(timesync);
}

static void gone(void *owner)
{
    const struct timesync *timesync = owner;
    loop_timer_set(timesync->timer, 0);
}

/* A guest that did not answer may have stood still. */
static void silent(void *owner)
{
    struct timesync *timesync = owner;
    timesync->force = true;
}

static const struct ic_kind kind = {
    .name = "timesync",
    .helper = "hv_utils",
    /* 9527e630-d0ae-497b-adce-e80ab0175caf */
    .class_id = {0x30, 0xe6, 0x27, 0x95, 0xae, 0xd0, 0x7b, 0x49, 0xad, 0xce, 0xe8, 0x0a, 0xb0, 0x17,
                 0x5c, 0xaf},
    .type = 4,
    .version_count = 3,
    .versions = {IC_VERSION(4, 0), IC_VERSION(3, 0), IC_VERSION(1, 0)},
    .ready = ready,
    .gone = gone,
    .silent = silent,
};

int timesync_create(const struct ic_host *host, const struct timesync_clocks *clocks,
                    struct timesync **ret)
{
    struct timesync *timesync = calloc(1, sizeof(*timesync));

    if (timesync == NULL)
        return -ENOMEM;
    timesync->host = *host;
    timesync->clocks = *clocks;
    int error = loop_timer_create(host->loop, tick, timesync, &timesync->timer);
    if (error == 0)
        error = ic_create(host, &kind, timesync, &timesync->ic);
    if (error < 0)
        timesync_destroy(timesync);
    else
        *ret = timesync;
    return error;
}

void timesync_destroy(struct timesync *timesync)
{
    if (timesync == NULL)
        return;
    ic_destroy(timesync->ic);
    loop_timer_destroy(timesync->timer);
    free(timesync);
}

struct ic *timesync_ic(struct timesync *timesync)
{
    return timesync->ic;
}

void timesync_force(struct timesync *timesync)
{
    timesync->force = true;
    tell(timesync);
}
