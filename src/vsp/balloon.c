/* Dynamic memory's channel: versions, abilities, reports (balloon.h). */
#include "vsp/balloon.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "vsp/balloon_private.h"

static const uint32_t versions[] = {DM_VERSION(2, 0), DM_VERSION(1, 0), DM_VERSION(0, 3)};
enum { VERSION_COUNT = sizeof(versions) / sizeof(versions[0]) };

enum {
    PACKETS_A_TURN = 32,
    /* Linux asks for 128 MiB, 2^7; who wants more finds the growth not aligned. */
    MOST_ALIGNMENT = 7,
    /* Next to nothing is less than the least buffer: what has that in reserve rests. */
    SCARCE_PART = 32,
    SCARCE_PAGES = 65536, /* 256 MiB */
};

/* Pages: more is nothing that a guest can have, and sums do not wrap. */
#define MOST_PAGES (UINT64_C(1) << 40)

/* ---- sending ---- */

void balloon_begin_message(struct balloon *balloon, enum dm_type type, size_t length)
{
    memset(balloon->output, 0, sizeof(balloon->output));
    put_le16(balloon->output + DM_TYPE, (uint16_t)type);
    put_le16(balloon->output + DM_SIZE, (uint16_t)length);
    put_le32(balloon->output + DM_TRANSACTION, ++balloon->transaction);
}

/* Any error but a full ring means that the channel is gone, which `closed` tells. */
static void send_output(struct balloon *balloon)
{
    size_t length = balloon->unsent;

    if (length > 0 && vmbus_send(balloon->channel, balloon->output, length, 0, false) != -EAGAIN)
        balloon->unsent = 0;
}

void balloon_send_message(struct balloon *balloon)
{
    balloon->unsent = get_le16(balloon->output + DM_SIZE);
    send_output(balloon);
}

static void tell_maximum(struct balloon *balloon)
{
    uint64_t most = balloon->startup + mem_growth(balloon->mem).size / MEM_PAGE_SIZE;

    balloon->info_due = false;
    balloon_begin_message(balloon, DM_INFO, DM_INFO_LENGTH);
    put_le32(balloon->output + DM_INFO_SIZE, DM_INFO_LENGTH - DM_INFO_TYPE);
    put_le32(balloon->output + DM_INFO_DATA_SIZE, 8);
    put_le64(balloon->output + DM_INFO_PAGES, most);
    balloon_send_message(balloon);
}

/* What waited for the ring to have room, and what comes next. */
static void go_on(struct balloon *balloon)
{
    send_output(balloon);
    if (balloon->phase == BALLOON_PHASE_READY && balloon->unsent == 0 && balloon->info_due)
        tell_maximum(balloon);
    balloon_continue(balloon);
}

/* ---- agreeing ---- */

/* The answer has the number of what it answers. */
static void answer(struct balloon *balloon, enum dm_type type, const uint8_t *payload,
                   bool accepted)
{
    balloon_begin_message(balloon, type, DM_ACCEPTED_LENGTH);
    put_le32(balloon->output + DM_TRANSACTION, get_le32(payload + DM_TRANSACTION));
    put_le64(balloon->output + DM_ACCEPTED, accepted);
    balloon_send_message(balloon);
}

static bool take_version(struct balloon *balloon, const uint8_t *payload, size_t length)
{
    uint32_t version = get_le32(payload + DM_ASKED_VERSION);
    bool known = false;

    (void)length;
    if (balloon->phase != BALLOON_PHASE_OPENED)
        return false;
    for (unsigned i = 0; i < VERSION_COUNT; i++)
        known |= versions[i] == version;
    balloon->mismatch = !known;
    if (known) {
        balloon->phase = BALLOON_PHASE_VERSIONED;
        balloon->version = version;
    }
    answer(balloon, DM_VERSION_RESPONSE, payload, known);
    return true;
}

static bool take_capabilities(struct balloon *balloon, const uint8_t *payload, size_t length)
{
    uint64_t can = get_le64(payload + DM_CAPABILITIES);

    (void)length;
    if (balloon->phase != BALLOON_PHASE_VERSIONED)
        return false;
    balloon->phase = BALLOON_PHASE_READY;
    balloon->can_balloon = (can & DM_CAN_BALLOON) != 0;
    balloon->can_add = (can & DM_CAN_HOT_ADD) != 0 &&
                       (can >> DM_ALIGNMENT_SHIFT & DM_ALIGNMENT_MASK) <= MOST_ALIGNMENT;
    balloon->info_due = balloon->version >= DM_VERSION(1, 0);
    balloon->last_report = get_le32(payload + DM_TRANSACTION);
    balloon->last_answer = balloon->last_report;
    answer(balloon, DM_CAPABILITIES_RESPONSE, payload, true);
    return true;
}

/* ---- reports and answers ---- */

/* Numbers of the guest's messages rise, and begin anew behind the last. */
static bool is_newer(const uint8_t *payload, uint32_t *last)
{
    uint32_t number = get_le32(payload + DM_TRANSACTION);

    if ((int32_t)(number - *last) <= 0)
        return false;
    *last = number;
    return true;
}

static uint64_t get_pages(const uint8_t *at)
{
    uint64_t pages = get_le64(at);
    return pages < MOST_PAGES ? pages : MOST_PAGES;
}

/*
 * What Linux calls committed is what was promised to programs; with the balloon, which is not used.
 * Caches of the kernel's own are in neither, but they are not free: the larger counts. One with
 * next to nothing left would use more if it could; until its next report is a second, in which a
 * program can take all of it, and is killed.
 */
static uint64_t demand_of(const struct balloon *balloon, uint64_t committed)
{
    uint64_t assigned = balloon_assigned(balloon);
    uint64_t in_balloon = balloon->pages.count;
    uint64_t promised = committed > in_balloon ? committed - in_balloon : 0;
    uint64_t used = assigned > balloon->available ? assigned - balloon->available : 0;

    if (balloon->available < assigned / SCARCE_PART)
        used += assigned / 4 > SCARCE_PAGES ? assigned / 4 : SCARCE_PAGES;
    return promised > used ? promised : used;
}

static bool take_report(struct balloon *balloon, const uint8_t *payload, size_t length)
{
    (void)length;
    if (balloon->phase != BALLOON_PHASE_READY || !is_newer(payload, &balloon->last_report))
        return false;
    balloon->available = get_pages(payload + DM_AVAILABLE);
    balloon->demand = demand_of(balloon, get_pages(payload + DM_COMMITTED));
    balloon->reported = true;
    balloon_note_report(balloon);
    balloon->reports++;
    if (balloon->listener != NULL)
        balloon->listener(balloon->listener_owner);
    return true;
}

typedef bool (*take_fn)(struct balloon *balloon, const uint8_t *payload, size_t length);

/* Messages of a guest, their least length, and whether they answer a request. */
static const struct {
    take_fn take;
    size_t least;
    bool answers;
} kinds[DM_TYPE_COUNT] = {
    [DM_VERSION_REQUEST] = {take_version, DM_VERSION_LENGTH, false},
    [DM_CAPABILITIES_REPORT] = {take_capabilities, DM_CAPABILITIES_LENGTH, false},
    [DM_STATUS_REPORT] = {take_report, DM_STATUS_LENGTH, false},
    [DM_BALLOON_RESPONSE] = {balloon_take_pages, DM_RANGES, true},
    [DM_UNBALLOON_RESPONSE] = {balloon_pages_taken_back, DM_BODY, true},
    [DM_HOT_ADD_RESPONSE] = {balloon_memory_added, DM_ADDED_LENGTH, true},
};

/* False: it makes no sense. */
static bool take_message(struct balloon *balloon, const uint8_t *payload, size_t length)
{
    if (length < DM_BODY)
        return false;
    size_t type = get_le16(payload + DM_TYPE);
    size_t size = get_le16(payload + DM_SIZE);
    if (type >= DM_TYPE_COUNT || kinds[type].take == NULL || size > length ||
        size < kinds[type].least)
        return false;
    if (kinds[type].answers &&
        (balloon->phase != BALLOON_PHASE_READY || !is_newer(payload, &balloon->last_answer)))
        return false;
    balloon->contact_ns = balloon->host.now();
    return kinds[type].take(balloon, payload, size);
}

static void read_packet(struct balloon *balloon, int error)
{
    if (balloon->packet.wants_completion)
        (void)vmbus_complete(balloon->channel, balloon->packet.transaction_id, NULL, 0);
    if (error != 0 || balloon->packet.type != VMBUS_PACKET_DATA_INBAND ||
        !take_message(balloon, balloon->payload, balloon->packet.payload_length))
        balloon->oddities++;
}

/* Nothing is read while an answer waits for room, nor so much that others do not come in. */
static void read_packets(void *owner)
{
    struct balloon *balloon = owner;

    for (unsigned i = 0; i < PACKETS_A_TURN; i++) {
        if (balloon->phase == BALLOON_PHASE_CLOSED || balloon->unsent > 0)
            return;
        int error = vmbus_read(balloon->channel, &balloon->packet);
        if (error != 0 && error != -EMSGSIZE)
            return;
        read_packet(balloon, error);
        if (balloon->phase != BALLOON_PHASE_CLOSED)
            go_on(balloon);
    }
    if (balloon->phase != BALLOON_PHASE_CLOSED)
        loop_timer_set(balloon->reader, 1);
}

/* ---- the channel ---- */

static int opened(void *owner, struct vmbus_channel *channel)
{
    struct balloon *balloon = owner;

    (void)channel;
    balloon->phase = BALLOON_PHASE_OPENED;
    balloon->was_open = true;
    balloon->mismatch = false;
    return 0;
}

static void closed(void *owner, struct vmbus_channel *channel)
{
    struct balloon *balloon = owner;

    (void)channel;
    balloon->phase = BALLOON_PHASE_CLOSED;
    balloon->version = 0;
    balloon->can_balloon = false;
    balloon->can_add = false;
    balloon->reported = false;
    balloon->info_due = false;
    balloon->unsent = 0;
    loop_timer_set(balloon->reader, 0);
    loop_timer_set(balloon->pacer, 0);
    balloon_forget(balloon);
}

static void readable(void *owner, struct vmbus_channel *channel)
{
    (void)channel;
    read_packets(owner);
}

static void writable(void *owner, struct vmbus_channel *channel)
{
    struct balloon *balloon = owner;

    (void)channel;
    go_on(balloon);
    read_packets(balloon);
}

static void pause_is_over(void *owner)
{
    balloon_continue(owner);
}

static const struct vmbus_channel_ops channel_ops = {
    .opened = opened, .closed = closed, .readable = readable, .writable = writable};

/* ---- life ---- */

static int offer(struct balloon *balloon)
{
    static const struct vmbus_offer the_offer = {
        .name = "memory",
        /* 525074dc-8985-46e2-8057-a307dc18a502 */
        .class_id = {0xdc, 0x74, 0x50, 0x52, 0x85, 0x89, 0xe2, 0x46, 0x80, 0x57, 0xa3, 0x07, 0xdc,
                     0x18, 0xa5, 0x02},
        .instance_id = {0xdc, 0x74, 0x50, 0x52, 0x85, 0x89, 0xe2, 0x46, 0x80, 0x57, 'p', 'a', 'r',
                        't', 'i', 'c'},
    };
    return vmbus_offer(balloon->host.vmbus, &the_offer, &channel_ops, balloon, &balloon->channel);
}

int balloon_create(const struct ic_host *host, struct mem *mem, struct balloon **ret)
{
    struct balloon *balloon = calloc(1, sizeof(*balloon));

    if (balloon == NULL)
        return -ENOMEM;
    balloon->host = *host;
    balloon->mem = mem;
    balloon->startup = mem_size(mem) / MEM_PAGE_SIZE;
    balloon->target = balloon->startup;
    balloon->packet.payload = balloon->payload;
    balloon->packet.payload_room = sizeof(balloon->payload);
    int error = balloon_pages_create(&balloon->pages, mem_limit(mem) / MEM_PAGE_SIZE);
    if (error == 0)
        error = loop_timer_create(host->loop, read_packets, balloon, &balloon->reader);
    if (error == 0)
        error = loop_timer_create(host->loop, pause_is_over, balloon, &balloon->pacer);
    if (error == 0)
        error = offer(balloon);
    if (error < 0)
        balloon_destroy(balloon);
    else
        *ret = balloon;
    return error;
}

void balloon_destroy(struct balloon *balloon)
{
    if (balloon == NULL)
        return;
    if (balloon->channel != NULL)
        vmbus_rescind(balloon->channel); /* which closes it first */
    if (balloon->reader != NULL)
        loop_timer_destroy(balloon->reader);
    if (balloon->pacer != NULL)
        loop_timer_destroy(balloon->pacer);
    balloon_pages_release(&balloon->pages);
    free(balloon);
}

void balloon_reset(struct balloon *balloon)
{
    balloon->added = 0;
    balloon->target = balloon->startup;
    balloon->was_open = false;
}

void balloon_listen(struct balloon *balloon, void (*reported)(void *owner), void *owner)
{
    balloon->listener = reported;
    balloon->listener_owner = owner;
}

void balloon_set_target(struct balloon *balloon, uint64_t bytes)
{
    balloon->target = bytes / MEM_PAGE_SIZE;
    balloon_continue(balloon);
}

/* ---- what is seen of it ---- */

static enum balloon_state state_of(const struct balloon *balloon)
{
    static const enum balloon_state at_work[] = {
        [BALLOON_WORK_NONE] = BALLOON_IDLE,
        [BALLOON_WORK_TAKE] = BALLOON_TAKING,
        [BALLOON_WORK_GIVE] = BALLOON_GIVING,
        [BALLOON_WORK_ADD] = BALLOON_ADDING,
    };

    if (balloon->phase == BALLOON_PHASE_READY)
        return at_work[balloon->work];
    if (balloon->phase == BALLOON_PHASE_CLOSED)
        return balloon->was_open ? BALLOON_CLOSED : BALLOON_WAITING;
    return balloon->mismatch ? BALLOON_MISMATCH : BALLOON_NEGOTIATING;
}

void balloon_describe(const struct balloon *balloon, struct balloon_report *ret)
{
    *ret = (struct balloon_report){
        .state = state_of(balloon),
        .version = balloon->version,
        .can_balloon = balloon->can_balloon,
        .can_add = balloon->can_add && !balloon->add_refused,
        .startup = balloon->startup * MEM_PAGE_SIZE,
        .maximum = balloon->startup * MEM_PAGE_SIZE + mem_growth(balloon->mem).size,
        .target = balloon->target * MEM_PAGE_SIZE,
        .assigned = balloon_assigned(balloon) * MEM_PAGE_SIZE,
        .added = balloon->added * MEM_PAGE_SIZE,
        .balloon = balloon->pages.count * MEM_PAGE_SIZE,
        .reported = balloon->reported,
        .reports = balloon->reports,
        .oddities = balloon->oddities,
    };
    if (!balloon->reported)
        return;
    ret->demand = balloon->demand * MEM_PAGE_SIZE;
    ret->available = balloon->available * MEM_PAGE_SIZE;
    ret->contact_ns = balloon->host.now() - balloon->contact_ns;
}

const char *balloon_state_name(enum balloon_state state)
{
    static const char *const names[BALLOON_STATE_COUNT] = {
        [BALLOON_WAITING] = "waiting for the guest",
        [BALLOON_CLOSED] = "closed by the guest",
        [BALLOON_NEGOTIATING] = "negotiating",
        [BALLOON_MISMATCH] = "protocol mismatch",
        [BALLOON_IDLE] = "idle",
        [BALLOON_TAKING] = "taking memory",
        [BALLOON_GIVING] = "giving memory back",
        [BALLOON_ADDING] = "adding memory",
    };
    return names[state];
}
