/* Heartbeat (heartbeat.h); the guest's side: heartbeat_onchannelcallback in Linux' hv_util.c. */
#include "vsp/heartbeat.h"

#include <errno.h>
#include <stdlib.h>

#include "base/bytes.h"
#include "base/clock.h"

enum { BODY = 40 }; /* u64 sequence number, 32 bytes reserved */

#define PERIOD_NS  (UINT64_C(2) * NS_PER_SECOND)
#define TIMEOUT_NS (UINT64_C(10) * NS_PER_SECOND)

struct heartbeat {
    struct ic_host host;
    struct ic *ic;
    struct loop_timer *timer;
    uint64_t sequence;
};

static void beat(void *owner)
{
    struct heartbeat *heartbeat = owner;
    uint8_t body[BODY] = {0};

    put_le64(body, heartbeat->sequence);
    (void)ic_request(heartbeat->ic, body, sizeof(body), TIMEOUT_NS);
    loop_timer_set(heartbeat->timer, heartbeat->host.now() + PERIOD_NS);
}

static void ready(void *owner)
{
    struct heartbeat *heartbeat = owner;

    heartbeat->sequence = 0;
    beat(heartbeat);
}

static void gone(void *owner)
{
    const struct heartbeat *heartbeat = owner;
    loop_timer_set(heartbeat->timer, 0);
}

static void answered(void *owner, uint32_t status, const uint8_t *body, size_t length)
{
    struct heartbeat *heartbeat = owner;

    (void)status;
    if (length >= 8)
        heartbeat->sequence = get_le64(body) + 1;
}

static const struct ic_kind kind = {
    .name = "heartbeat",
    .helper = "hv_utils",
    /* 57164f39-9115-4e78-ab55-382f3bd5422d */
    .class_id = {0x39, 0x4f, 0x16, 0x57, 0x15, 0x91, 0x78, 0x4e, 0xab, 0x55, 0x38, 0x2f, 0x3b, 0xd5,
                 0x42, 0x2d},
    .type = 1,
    .version_count = 2,
    .versions = {IC_VERSION(3, 0), IC_VERSION(1, 0)},
    .ready = ready,
    .gone = gone,
    .answered = answered,
};

int heartbeat_create(const struct ic_host *host, struct heartbeat **ret)
{
    struct heartbeat *heartbeat = calloc(1, sizeof(*heartbeat));

    if (heartbeat == NULL)
        return -ENOMEM;
    heartbeat->host = *host;
    int error = loop_timer_create(host->loop, beat, heartbeat, &heartbeat->timer);
    if (error == 0)
        error = ic_create(host, &kind, heartbeat, &heartbeat->ic);
    if (error < 0)
        heartbeat_destroy(heartbeat);
    else
        *ret = heartbeat;
    return error;
}

void heartbeat_destroy(struct heartbeat *heartbeat)
{
    if (heartbeat == NULL)
        return;
    ic_destroy(heartbeat->ic);
    loop_timer_destroy(heartbeat->timer);
    free(heartbeat);
}

struct ic *heartbeat_ic(struct heartbeat *heartbeat)
{
    return heartbeat->ic;
}
