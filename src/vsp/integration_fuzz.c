/*
 * Invariant: whatever a guest answers, when, and on which channels, each request of the host's ends
 * once, at the latest when its time is over; a guest that was frozen is told to thaw within the
 * limit; and what is seen of a service can be shown.
 *
 * The input is a sequence of actions: a byte that chooses, then what the action needs.
 */
#include "vsp/integration.h"

#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "tests/harness/fuzz_input.h"
#include "tests/harness/ic_guest.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length);

enum { ACTIONS = 100, MOST_UNDER_WAY = 64 };

static const uint8_t classes[INTEGRATION_COUNT] = {0x39, 0x31, 0x30, 0xe7, 0x29, 0xe3};

static struct fuzz_input in;
static struct integration *services;
static unsigned under_way;
static uint64_t frozen_since; /* the request to freeze; 0: none, or one to thaw after it */
static bool cramped;          /* the guest left no room for a request to thaw */
static struct ic_message message;

static void require(bool condition)
{
    if (!condition)
        abort();
}

static uint64_t some_time(void *owner)
{
    (void)owner;
    return ic_guest_now();
}

/* ---- what the host asks ---- */

static void end_one(int error)
{
    require(under_way > 0 && error <= 0);
    under_way--;
}

static void ended(void *owner, int error, const struct reason *reason)
{
    (void)owner;
    require(memchr(reason->text, '\0', sizeof(reason->text)) != NULL);
    end_one(error);
}

static void pair_ended(void *owner, int error, const struct kvp_request *answer,
                       const struct reason *reason)
{
    require(memchr(answer->key, '\0', sizeof(answer->key)) != NULL);
    require(memchr(answer->value, '\0', sizeof(answer->value)) != NULL);
    require(memchr(answer->ip.servers, '\0', sizeof(answer->ip.servers)) != NULL);
    ended(owner, error, reason);
}

static int read_piece(void *owner, uint64_t offset, uint8_t *to, size_t size)
{
    int choice = (int)fuzz_take(&in, 1);

    (void)owner;
    require(offset + size <= 20000);
    memset(to, 1, size);
    if (choice < 0xc0)
        return 0;
    return choice < 0xf0 ? -11 : -5;
}

static int check_source(void *owner, struct reason *reason)
{
    (void)owner;
    reason_fill(reason, "changed");
    return fuzz_take(&in, 1) > 0xe0 ? -16 : 0;
}

static void ask_pair(uint8_t choice)
{
    static struct kvp_request request;

    request.operation = (enum kvp_operation)(choice % 6);
    request.pool = (enum kvp_pool)(choice % KVP_POOL_COUNT);
    request.index = choice;
    memset(request.key, 'k', 3);
    fuzz_take_bytes(&in, (uint8_t *)request.value, 5);
    under_way += kvp_ask(services->kvp, &request, pair_ended, NULL, NULL) == 0;
}

static void ask(uint8_t choice)
{
    const struct fcopy_job job = {.path = "/a/b",
                                  .size = (uint64_t)choice * 70,
                                  .read = read_piece,
                                  .check = check_source,
                                  .ended = ended};

    switch (choice % 8) {
    case 0:
        under_way += shutdown_request(services->shutdown, (enum shutdown_way)(choice / 8 % 3),
                                      ended, NULL, NULL) == 0;
        break;
    case 1:
        if (vss_freeze(services->vss, ended, NULL, NULL) == 0) {
            under_way++;
            frozen_since = ic_guest_now();
        }
        break;
    case 2:
        under_way += vss_thaw(services->vss, ended, NULL, NULL) == 0;
        break;
    case 3:
        under_way += fcopy_start(services->fcopy, &job, NULL) == 0;
        break;
    case 4:
        fcopy_cancel(services->fcopy);
        break;
    case 5:
        fcopy_continue(services->fcopy);
        break;
    case 6:
        timesync_force(services->timesync);
        break;
    default:
        ask_pair(choice / 8);
        break;
    }
    require(under_way < MOST_UNDER_WAY);
}

/* ---- what the guest does ---- */

static void look_at_request(unsigned service)
{
    if (service == INTEGRATION_VSS && get_le16(message.bytes + 12) != 0 &&
        ic_guest_body(&message)[0] == 6)
        frozen_since = 0;
}

/* The host's message comes back, with a few of its bytes changed. */
static void answer(unsigned service, struct vmbus_channel *channel, uint8_t choice)
{
    if (!ic_guest_take(channel, &message))
        return;
    look_at_request(service);
    for (unsigned i = choice & 3; i > 0; i--) {
        size_t at = (size_t)fuzz_take(&in, (choice & 4) != 0 ? 2 : 1) % message.length;
        message.bytes[at] = (uint8_t)fuzz_take(&in, 1);
    }
    if ((choice & 8) != 0)
        message.length = (size_t)fuzz_take(&in, 2) % (message.length + 1);
    ic_guest_answer(channel, &message, (choice & 0x10) != 0 ? (uint32_t)fuzz_take(&in, 4) : 0);
}

static void put_any(struct vmbus_channel *channel)
{
    size_t length = (size_t)fuzz_take(&in, 2) % IC_GUEST_BYTES;

    memset(message.bytes, 0, length);
    fuzz_take_bytes(&in, message.bytes, length < 60 ? length : 60);
    ic_guest_put(channel, message.bytes, length);
}

static void connect(unsigned service, struct vmbus_channel *channel)
{
    static const uint32_t versions[INTEGRATION_COUNT] = {IC_VERSION(3, 0), IC_VERSION(3, 2),
                                                         IC_VERSION(4, 0), IC_VERSION(4, 0),
                                                         IC_VERSION(5, 0), IC_VERSION(1, 1)};

    ic_guest_close(channel); /* else the next message may be another */
    frozen_since = service == INTEGRATION_VSS ? 0 : frozen_since;
    ic_guest_open(channel);
    (void)ic_guest_negotiate(channel, IC_VERSION(3, 0), versions[service]);
}

static void guest_acts(unsigned service, uint8_t choice)
{
    struct vmbus_channel *channel = ic_guest_find_class(classes[service]);

    if (channel == NULL)
        return;
    switch (choice >> 5) {
    case 0:
        ic_guest_open(channel);
        break;
    case 1:
        connect(service, channel);
        break;
    case 2:
        ic_guest_close(channel);
        frozen_since = service == INTEGRATION_VSS ? 0 : frozen_since;
        break;
    case 3:
        put_any(channel);
        break;
    default:
        answer(service, channel, choice);
        break;
    }
}

static void look(void)
{
    struct ic_report report;

    for (unsigned i = 0; i < INTEGRATION_COUNT; i++) {
        ic_describe(services->ic[i], &report);
        require(ic_state_name(report.state) != NULL && strlen(report.advice) < 200);
        require(report.answers + report.silences <= report.requests);
    }
}

/* The messages that wait are taken, so that a request to thaw is seen. */
static void check_frozen(void)
{
    struct vmbus_channel *channel = ic_guest_find_class(classes[INTEGRATION_VSS]);

    while (channel != NULL && ic_guest_take(channel, &message))
        look_at_request(INTEGRATION_VSS);
    require(frozen_since == 0 || channel == NULL || cramped ||
            ic_guest_now() - frozen_since <= UINT64_C(10) * NS_PER_SECOND);
}

static void act(uint8_t action)
{
    uint8_t choice = (uint8_t)fuzz_take(&in, 1);

    switch (action % 16) {
    case 0:
        ic_guest_pass((uint64_t)choice * NS_PER_SECOND / 8);
        break;
    case 1:
        (void)integration_enable(services, (enum integration_service)(choice % INTEGRATION_COUNT),
                                 (choice & 0x80) != 0, NULL);
        frozen_since = ic_guest_find_class(classes[INTEGRATION_VSS]) == NULL ? 0 : frozen_since;
        break;
    case 2:
        ic_guest_set_room(choice % IC_GUEST_QUEUE);
        cramped |= choice % IC_GUEST_QUEUE < 3;
        break;
    case 3:
        look();
        break;
    case 4:
    case 5:
    case 6:
    case 7:
        ask(choice);
        break;
    default:
        guest_acts((action >> 4) % INTEGRATION_COUNT, choice);
        break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
    static const struct timesync_clocks clocks = {NULL, some_time, some_time};

    in = (struct fuzz_input){bytes, length};
    under_way = 0;
    frozen_since = 0;
    cramped = false;
    require(integration_create(ic_guest_start(), &clocks, INTEGRATION_ALL, &services) == 0);
    for (unsigned i = 0; i < ACTIONS && in.left > 0; i++)
        act((uint8_t)fuzz_take(&in, 1));
    ic_guest_set_room(IC_GUEST_QUEUE);
    check_frozen();
    ic_guest_pass(UINT64_C(30) * NS_PER_SECOND);
    check_frozen();
    for (unsigned i = 0; i < INTEGRATION_COUNT; i++) {
        struct vmbus_channel *channel = ic_guest_find_class(classes[i]);
        if (channel != NULL)
            ic_guest_close(channel);
    }
    require(under_way == 0);
    integration_destroy(services);
    ic_guest_end();
    return 0;
}
