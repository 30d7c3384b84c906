/*
 * Dynamic memory: the guest's driver reports its need, gives pages to the host (they are in its
 * balloon then), gets them back, and has memory added to it. Which size it is to have is somebody
 * else's to say; this brings it there, one request at a time, and never waits.
 *
 * 1. What the host has of a guest is what the guest gave when asked, as often as it named it: once.
 * 2. Memory is the guest's from when the host says so, not from when the guest has answered.
 * 3. When the channel closes, the balloon is empty: whoever opens it next knows of nothing.
 *
 * Threads: the loop's. Guests are hostile: each message is copied once and checked; what was not
 * asked for is counted and dropped. A guest that uses pages that it gave finds zeroes in them.
 */
#ifndef VSP_BALLOON_H
#define VSP_BALLOON_H

#include "mem/mem.h"
#include "vsp/ic.h"

struct balloon;

enum balloon_state {
    BALLOON_WAITING, /* the guest has not opened the channel */
    BALLOON_CLOSED,  /* it had it open before */
    BALLOON_NEGOTIATING,
    BALLOON_MISMATCH, /* no version that both know */
    BALLOON_IDLE,
    BALLOON_TAKING, /* the guest was asked for pages */
    BALLOON_GIVING, /* it gets pages of its balloon back */
    BALLOON_ADDING, /* memory is added to it */
    BALLOON_STATE_COUNT,
};

/* Sizes in bytes. */
struct balloon_report {
    enum balloon_state state;
    uint32_t version; /* 0: none agreed on */
    bool can_balloon, can_add;
    uint64_t startup, maximum, target;
    uint64_t assigned; /* startup and what was added, without the balloon */
    uint64_t added, balloon;
    bool reported;   /* the next three are known, from this guest's driver */
    uint64_t demand; /* what it uses: it has committed so much, or so much is not free */
    uint64_t available;
    uint64_t contact_ns;        /* since it reported */
    uint64_t reports, oddities; /* oddities: messages that made no sense */
};

/* Offered at once; what may be added is the memory's growth. */
int balloon_create(const struct ic_host *host, struct mem *mem, struct balloon **ret);
/* NULL is accepted. */
void balloon_destroy(struct balloon *balloon);
/* The guest starts anew with its startup memory; its channel is closed already. */
void balloon_reset(struct balloon *balloon);
/* Called when a report has come; a target may be set from within. */
void balloon_listen(struct balloon *balloon, void (*reported)(void *owner), void *owner);
/* The size to bring it to, in time, as far as the guest joins in. At first: startup. */
void balloon_set_target(struct balloon *balloon, uint64_t bytes);

void balloon_describe(const struct balloon *balloon, struct balloon_report *ret);
const char *balloon_state_name(enum balloon_state state);

#endif
