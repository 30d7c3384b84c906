/* Shutdown (shutdown.h); the guest's side: shutdown_onchannelcallback in Linux' hv_util.c. */
#include "vsp/shutdown.h"

#include <errno.h>
#include <stdlib.h>

#include "base/bytes.h"
#include "base/clock.h"

/* u32 reason, u32 seconds, u32 flags, a text for the person at the screen. */
enum { AT_FLAGS = 8, BODY = 12 + 2048 };
enum { FLAG_FORCED = 1, WAY_SHIFT = 1 };

#define TIMEOUT_NS (UINT64_C(15) * NS_PER_SECOND)

struct shutdown {
    struct ic *ic;
    void (*answered)(void *owner, int error, const struct reason *reason); /* NULL: none asked */
    void *owner;
};

/* It may ask again from within. */
static void answer(struct shutdown *shutdown, int error, const char *why)
{
    void (*answered)(void *owner, int error, const struct reason *reason) = shutdown->answered;
    struct reason reason = {""};

    shutdown->answered = NULL;
    reason_fill(&reason, "%s", why);
    if (answered != NULL)
        answered(shutdown->owner, error, &reason);
}

static void gone(void *owner)
{
    answer(owner, -EIO, "the guest closed the shutdown service");
}

static void take_answer(void *owner, uint32_t status, const uint8_t *body, size_t length)
{
    (void)body;
    (void)length;
    if (status == IC_OK)
        answer(owner, 0, "");
    else
        answer(owner, -EOPNOTSUPP, "the guest refuses: it cannot do this");
}

static void silent(void *owner)
{
    answer(owner, -EAGAIN, "the guest does not answer");
}

static const struct ic_kind kind = {
    .name = "shutdown",
    .helper = "hv_utils",
    /* 0e0b6031-5213-4934-818b-38d90ced39db */
    .class_id = {0x31, 0x60, 0x0b, 0x0e, 0x13, 0x52, 0x34, 0x49, 0x81, 0x8b, 0x38, 0xd9, 0x0c, 0xed,
                 0x39, 0xdb},
    .type = 3,
    .version_count = 4,
    .versions = {IC_VERSION(3, 2), IC_VERSION(3, 1), IC_VERSION(3, 0), IC_VERSION(1, 0)},
    .gone = gone,
    .answered = take_answer,
    .silent = silent,
};

int shutdown_create(const struct ic_host *host, struct shutdown **ret)
{
    struct shutdown *shutdown = calloc(1, sizeof(*shutdown));

    if (shutdown == NULL)
        return -ENOMEM;
    int error = ic_create(host, &kind, shutdown, &shutdown->ic);
    if (error < 0)
        free(shutdown);
    else
        *ret = shutdown;
    return error;
}

void shutdown_destroy(struct shutdown *shutdown)
{
    if (shutdown == NULL)
        return;
    ic_destroy(shutdown->ic);
    free(shutdown);
}

struct ic *shutdown_ic(struct shutdown *shutdown)
{
    return shutdown->ic;
}

int shutdown_request(struct shutdown *shutdown, enum shutdown_way way,
                     void (*answered)(void *owner, int error, const struct reason *reason),
                     void *owner, struct reason *reason)
{
    static const uint32_t since[] = {0, IC_VERSION(3, 1), IC_VERSION(3, 2)};
    uint8_t body[BODY] = {0};

    if (!ic_is_ready(shutdown->ic))
        return ic_refuse(shutdown->ic, reason);
    if (ic_version(shutdown->ic) < since[way])
        return reason_set(reason, -EOPNOTSUPP, "the guest's shutdown service is too old for this");
    /* Forced as far as programs go that would ask the person at the screen. */
    put_le32(body + AT_FLAGS, (uint32_t)way << WAY_SHIFT | FLAG_FORCED);
    int error = ic_request(shutdown->ic, body, sizeof(body), TIMEOUT_NS);
    if (error < 0)
        return reason_set(reason, error, "the guest has not answered the last request yet");
    shutdown->answered = answered;
    shutdown->owner = owner;
    return 0;
}
