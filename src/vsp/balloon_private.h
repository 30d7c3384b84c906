/* Inside of dynamic memory: balloon.c has the channel, balloon_work.c what is asked of the guest.
 */
#ifndef VSP_BALLOON_PRIVATE_H
#define VSP_BALLOON_PRIVATE_H

#include "vsp/balloon.h"
#include "vsp/balloon_pages.h"
#include "vsp/balloon_wire.h"

enum balloon_phase {
    BALLOON_PHASE_CLOSED,
    BALLOON_PHASE_OPENED,    /* the guest is to name a version */
    BALLOON_PHASE_VERSIONED, /* and then what it can do */
    BALLOON_PHASE_READY,
};

enum balloon_work { BALLOON_WORK_NONE, BALLOON_WORK_TAKE, BALLOON_WORK_GIVE, BALLOON_WORK_ADD };

/* Sizes in pages. */
struct balloon {
    struct ic_host host;
    struct mem *mem;
    void (*listener)(void *owner);
    void *listener_owner;
    struct vmbus_channel *channel;
    struct loop_timer *reader, *pacer;
    enum balloon_phase phase;
    bool was_open, mismatch;
    uint32_t version;
    bool can_balloon, can_add;

    uint64_t startup, added, target;
    struct balloon_pages pages;
    enum balloon_work work;
    uint64_t wanted; /* TAKE: still to come; ADD: how many */
    bool fresh;      /* it reported since the last work was done */
    uint64_t take_after_ns, add_after_ns;
    bool short_of; /* it gave less than asked; what is free then, by its next report, it keeps: */
    uint64_t kept, kept_until_ns, kept_ns;
    unsigned add_failures;
    bool add_refused; /* for good */

    bool reported;
    uint64_t available, demand;
    uint64_t contact_ns;
    uint64_t reports, oddities;

    uint32_t transaction;              /* of the last message to the guest */
    uint32_t last_report, last_answer; /* numbers of the guest's messages */
    bool info_due;
    size_t unsent; /* bytes of output that wait for room */
    struct vmbus_packet packet;
    uint8_t output[DM_MESSAGE];
    uint8_t payload[DM_MESSAGE];
};

static inline uint64_t balloon_assigned(const struct balloon *balloon)
{
    return balloon->startup + balloon->added - balloon->pages.count;
}

/* ---- balloon.c ---- */

/* The header, before the rest of `output` is filled in; what is not filled in is zero. */
void balloon_begin_message(struct balloon *balloon, enum dm_type type, size_t length);
/* Send it, now or when there is room. The channel may be closed afterwards. */
void balloon_send_message(struct balloon *balloon);

/* ---- balloon_work.c ---- */

/* What is next on the way to the target, if anything is and nothing is under way. */
void balloon_continue(struct balloon *balloon);
/* It has reported what it has available. */
void balloon_note_report(struct balloon *balloon);
/* Answers of the guest; false: they make no sense. `length`: of the payload. */
bool balloon_take_pages(struct balloon *balloon, const uint8_t *payload, size_t length);
bool balloon_pages_taken_back(struct balloon *balloon, const uint8_t *payload, size_t length);
bool balloon_memory_added(struct balloon *balloon, const uint8_t *payload, size_t length);
/* The channel is closed: nothing is under way, and the balloon is empty. */
void balloon_forget(struct balloon *balloon);

#endif
