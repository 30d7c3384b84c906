/*
 * A guest for tests of integration services: VMBus, the timers of the loop and the clock are here,
 * so that a test decides what the guest says and how much time passes. A service that uses a
 * channel which it withdrew aborts.
 */
#ifndef TESTS_HARNESS_IC_GUEST_H
#define TESTS_HARNESS_IC_GUEST_H

#include "vsp/ic.h"

enum { IC_GUEST_QUEUE = 40, IC_GUEST_BYTES = 8400 };

/* As on the wire: pipe header, message header, body. */
struct ic_message {
    size_t length;
    uint8_t bytes[IC_GUEST_BYTES];
};

/* A guest without any channel; forgets all of a former one. */
const struct ic_host *ic_guest_start(void);
/* All must be withdrawn, and all timers destroyed. */
void ic_guest_end(void);

/* The only offer, or the one of a class whose first byte is this; NULL: none. */
struct vmbus_channel *ic_guest_find(void);
struct vmbus_channel *ic_guest_find_class(uint8_t first);
void ic_guest_open(struct vmbus_channel *channel);
void ic_guest_close(struct vmbus_channel *channel);
/* How many messages of the host the ring holds. */
void ic_guest_set_room(unsigned room);
/* Offers are refused, as while the guest holds on to an old one. */
void ic_guest_refuse_offers(bool refuse);
/* The next message of the host; false: none. */
bool ic_guest_take(struct vmbus_channel *channel, struct ic_message *ret);
/* Put a message and signal. */
void ic_guest_put(struct vmbus_channel *channel, const void *bytes, size_t length);
/* Time goes by, and timers fire in their order. */
void ic_guest_pass(uint64_t ns);
uint64_t ic_guest_now(void);

/* ---- what a guest with Linux does ---- */

/* Answer the negotiation that is next; false: something else is. `version` 0: none is known. */
bool ic_guest_negotiate(struct vmbus_channel *channel, uint32_t framework, uint32_t version);
/* Open, and agree on these. */
void ic_guest_connect(struct vmbus_channel *channel, uint32_t version);
/* Answer `message`, with its body as it is now. */
void ic_guest_answer(struct vmbus_channel *channel, struct ic_message *message, uint32_t status);
static inline uint8_t *ic_guest_body(struct ic_message *message)
{
    return message->bytes + 28;
}

#endif
