/*
 * A second implementation of vmbus.h, for tests of services: the test is the guest. Rings are
 * queues of whole packets. What a service must not do (use a channel that it withdrew, send to one
 * that is closed without looking) aborts.
 */
#ifndef TESTS_HARNESS_FAKE_VMBUS_H
#define TESTS_HARNESS_FAKE_VMBUS_H

#include "vmbus/vmbus.h"

enum { FAKE_PAYLOAD = 128, FAKE_RING = 512 };

/* A packet of the guest. */
struct fake_packet {
    enum vmbus_packet_type type;
    bool no_completion;
    uint64_t transaction_id;
    size_t length; /* of the payload; longer than FAKE_PAYLOAD: only the length is kept */
    uint8_t payload[FAKE_PAYLOAD];
    unsigned segment_count;
    const struct vmbus_segment *segment; /* copied */
};

/* A packet of the host. */
struct fake_answer {
    bool completion;
    uint64_t transaction_id;
    size_t length;
    uint8_t payload[FAKE_PAYLOAD];
    unsigned range_count; /* of a transfer */
    uint16_t set_id;
    struct vmbus_transfer_range range[VMBUS_MAX_TRANSFER_RANGES];
};

struct vmbus *fake_vmbus_create(void);
/* Channels that were not withdrawn abort. */
void fake_vmbus_destroy(struct vmbus *vmbus);

/* An offer that stands, by controller (the last byte of its instance id) and sub-channel, or NULL.
 */
struct vmbus_channel *fake_vmbus_find(struct vmbus *vmbus, uint8_t instance, uint16_t subchannel);
unsigned fake_vmbus_offers(const struct vmbus *vmbus);
/* While set, withdrawn offers stay known, so the same cannot be offered again. */
void fake_vmbus_keep_withdrawn(struct vmbus *vmbus, bool keep);
/* Refuse the next offer. */
void fake_vmbus_refuse_offer(struct vmbus *vmbus, int error);

/* Make `pages` pages from `gpa` on known as a GPADL; every other page is left out, so that none are
 * neighbours. Ids are small. */
enum { FAKE_GPADLS = 8 };
void fake_vmbus_set_gpadl(struct vmbus *vmbus, uint32_t id, uint64_t gpa, unsigned pages);

int fake_guest_open(struct vmbus_channel *channel);
void fake_guest_close(struct vmbus_channel *channel);
/* False when the ring is full. `fake_guest_signal` makes the service read. */
bool fake_guest_put(struct vmbus_channel *channel, const struct fake_packet *packet);
void fake_guest_signal(struct vmbus_channel *channel);
/* The next packet of the host; false: none. Room that it makes is told to the service. */
bool fake_guest_take(struct vmbus_channel *channel, struct fake_answer *ret);
/* How many packets of the host the ring holds, FAKE_RING at most. */
void fake_guest_set_room(struct vmbus_channel *channel, unsigned room);
/* The next use of the ring finds it broken. */
void fake_guest_break(struct vmbus_channel *channel);
unsigned fake_guest_left(const struct vmbus_channel *channel); /* packets not read yet */

#endif
