/*
 * Inside of the storage service.
 *
 *   storvsp.c          the controller: its units, its life, its saved state
 *   storvsp_protocol.c what a packet asks for, but commands
 *   storvsp_srb.c      commands: EXECUTE_SRB
 *   storvsp_channel.c  a channel: its pool of requests, reading packets, sending answers
 *
 * 1. Each packet takes a request of its channel's pool, which it has until its answer is in the
 *    ring. When the pool is used up the channel reads no more until a request comes back.
 * 2. A channel lives as long as the controller, open or not. Requests that are in flight when it
 *    closes stay in the pool's books; `opening` tells that their answers have nobody to go to.
 * 3. VMBus may close a channel within any call: who called looks at `open` afterwards.
 */
#ifndef VSP_STORVSP_PRIVATE_H
#define VSP_STORVSP_PRIVATE_H

#include "vsp/storvsp.h"
#include "vsp/storvsp_wire.h"

enum {
    STORVSP_POOL = 256, /* a ring of 128 KiB holds a few more at most */
    STORVSP_MAX_TRANSFER = 1 << 20,
    STORVSP_MAX_PIECES = STORVSP_MAX_TRANSFER / 4096 + 1, /* unaligned */
};

struct storvsp_channel;

/* One logical unit. */
struct storvsp_unit {
    struct scsi_target *target; /* NULL: none */
    bool leaving;               /* absent for the guest; goes when in_flight is 0 */
    unsigned in_flight;
    void (*removed)(void *owner, struct scsi_target *target);
    void *removed_owner;
};

struct storvsp_request {
    struct storvsp_channel *channel;
    struct storvsp_request *next; /* in the free list, or in the list of unsent answers */
    uint64_t transaction_id;
    uint32_t opening;               /* of the channel, when the packet came */
    uint32_t length;                /* of the answer, as the packet's */
    uint8_t packet[STORVSP_PACKET]; /* what came, then the answer */
    struct storvsp_unit *unit;      /* NULL: the command goes to none */
    struct scsi_command command;
    struct iovec iov[STORVSP_MAX_PIECES];
    uint64_t gpa[STORVSP_MAX_PIECES]; /* of each piece */
};

struct storvsp_channel {
    struct storvsp *storvsp;
    struct vmbus_channel *vmbus; /* NULL: not offered */
    uint16_t index;              /* 0: the primary */
    bool open, reading;
    bool starved;     /* the pool ran out: packets may be left in the ring */
    bool restored;    /* from saved state: goes on when VMBus opens it */
    uint32_t opening; /* counts */
    struct storvsp_request *pool, *free;
    unsigned used; /* requests from the pool's start on that have been in use */
    struct storvsp_request *first_unsent, *last_unsent;
};

enum storvsp_phase {
    STORVSP_BEGIN,
    STORVSP_VERSION,
    STORVSP_PROPERTIES,
    STORVSP_END,
    STORVSP_READY,
};

struct storvsp {
    struct storvsp_config config;
    enum storvsp_phase phase;
    uint16_t version;
    bool rescan_due; /* ENUMERATE_BUS is to be sent */
    bool stopped;    /* paused or dying: no packets are read */
    bool dying;
    unsigned in_flight; /* packets whose answer is not made yet */
    void (*paused)(void *owner);
    void *paused_owner;
    struct storvsp_unit unit[STORVSP_MAX_LUNS];
    struct vmbus_packet packet;
    uint8_t payload[STORVSP_PACKET];
    unsigned channel_count;           /* the primary and those that may be asked for */
    struct storvsp_channel channel[]; /* of which some are offered */
};

/* ---- storvsp.c ---- */

/* Called when no command is in flight while packets are not read: tells whoever waits for it. */
void storvsp_idle(struct storvsp *storvsp);
/* Offer sub-channels 1 to `count`; how many there are; withdraw all. */
int storvsp_offer_subchannels(struct storvsp *storvsp, unsigned count);
unsigned storvsp_subchannel_count(const struct storvsp *storvsp);
void storvsp_withdraw_subchannels(struct storvsp *storvsp);

/* ---- storvsp_channel.c ---- */

extern const struct vmbus_channel_ops storvsp_channel_ops;

/* -ENOMEM; a pool stays until the controller goes. */
int storvsp_channel_make_pool(struct storvsp_channel *channel);
void storvsp_channel_release_pool(struct storvsp_channel *channel);
/* A request for a packet of the channel's present opening; NULL: none is free. */
struct storvsp_request *storvsp_channel_take_request(struct storvsp_channel *channel);
void storvsp_channel_append_unsent(struct storvsp_request *request);
void storvsp_channel_read(struct storvsp_channel *channel);
/* The request's packet is the answer: send it, now or when there is room. */
void storvsp_channel_answer(struct storvsp_request *request);
/* Send ENUMERATE_BUS on the primary channel when it is due. */
void storvsp_channel_send_rescan(struct storvsp *storvsp);

/* ---- storvsp_protocol.c ---- */

/* Both lead to storvsp_channel_answer, at once or when a command has ended. */
void storvsp_protocol_serve(struct storvsp_request *request, const struct vmbus_packet *packet);
void storvsp_protocol_answer(struct storvsp_request *request, uint32_t status);

/* ---- storvsp_srb.c ---- */

void storvsp_srb_execute(struct storvsp_request *request, const struct vmbus_packet *packet);
void storvsp_srb_refuse(struct storvsp_request *request, uint32_t status);

#endif
