/*
 * VMBus, the host's side: offers devices to the guest and carries packets through their rings.
 * Sources: the guest's drivers (Linux drivers/hv) as the peer; there is no public specification.
 *
 * Threads. All functions and all callbacks belong to the thread of config.loop, but vmbus_reset and
 * vmbus_destroy, which may also be called while no VP runs and the loop is not in a callback.
 * Guests are hostile. Each word of a message or a ring is read once; a channel whose ring is broken
 * is closed from the host's side (ops->closed) and stays dead until the guest opens it anew.
 */
#ifndef VMBUS_VMBUS_H
#define VMBUS_VMBUS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/loop.h"
#include "base/reason.h"
#include "hv/hv.h"
#include "mem/mem.h"

struct vmbus;
struct vmbus_channel;

struct vmbus_config {
    struct hv *hv;
    struct mem *mem;
    struct loop *loop;
    unsigned vp_count;
    /* How long a packet of a busy channel may wait for others, so that they share an interrupt; 0:
     * not at all. Worth it where processors take longer than this for two packets. */
    uint64_t patience_ns;
};

int vmbus_create(const struct vmbus_config *config, struct vmbus **ret, struct reason *reason);
/* All channels must be withdrawn before. NULL is accepted. */
void vmbus_destroy(struct vmbus *vmbus);
/* The guest starts anew: open channels are closed (ops->closed), GPADLs and connection forgotten.
 */
void vmbus_reset(struct vmbus *vmbus);

/* ---- channels ---- */

/* What the guest is told of a channel (OFFERCHANNEL); GUIDs in the byte order of the wire. */
struct vmbus_offer {
    const char *name; /* for reports: "scsi 0" */
    uint8_t class_id[16], instance_id[16];
    uint16_t flags;      /* VMBUS_CHANNEL_…: chn_flags */
    uint16_t subchannel; /* 0: the primary */
    uint16_t mmio_megabytes;
    uint8_t user_defined[120];
};

/* `owner` is what vmbus_offer was given. A send or read may be made from within each. */
struct vmbus_channel_ops {
    /* The guest opened it. Not 0: the guest's open is refused. */
    int (*opened)(void *owner, struct vmbus_channel *channel);
    /* The rings are gone: close by the guest, reset, rescind or a broken ring. */
    void (*closed)(void *owner, struct vmbus_channel *channel);
    /* The guest signalled: read until -EAGAIN. Also called once after opened. */
    void (*readable)(void *owner, struct vmbus_channel *channel);
    /* After a send got -EAGAIN: there is room now. */
    void (*writable)(void *owner, struct vmbus_channel *channel);
    /* After vmbus_rescind: the guest has let go; the channel is freed after this call. May be NULL.
     */
    void (*released)(void *owner, struct vmbus_channel *channel);
};

/* `ops` must live as long as the channel; the offer is copied. -EEXIST: class, instance,
 * subchannel. */
int vmbus_offer(struct vmbus *vmbus, const struct vmbus_offer *offer,
                const struct vmbus_channel_ops *ops, void *owner, struct vmbus_channel **ret);
/* Withdraw the offer; ops->closed comes first when it is open. Freed by ->released, or at once when
 * no guest knows it. */
void vmbus_rescind(struct vmbus_channel *channel);
/* Whether it is offered under these two, or was until it was withdrawn. */
bool vmbus_channel_is_named(const struct vmbus_channel *channel, const uint8_t class_id[16],
                            const uint8_t instance_id[16]);
bool vmbus_channel_is_open(const struct vmbus_channel *channel);

/* ---- packets ---- */

enum vmbus_packet_type {
    VMBUS_PACKET_DATA_INBAND = 6,
    VMBUS_PACKET_DATA_TRANSFER_PAGES = 7,
    VMBUS_PACKET_DATA_GPA_DIRECT = 9,
    VMBUS_PACKET_COMPLETION = 11,
};

enum {
    VMBUS_MAX_SEGMENTS = 514, /* two ranges of 1 MiB, unaligned */
    VMBUS_MAX_TRANSFER_RANGES = 64,
};

/* Guest-physical bytes, RAM throughout; neighbours are joined. */
struct vmbus_segment {
    uint64_t gpa;
    uint64_t length;
};

/* The reader's own, made once; `payload` and `payload_room` are set by the owner. */
struct vmbus_packet {
    uint8_t *payload;
    size_t payload_room;
    size_t payload_length;
    enum vmbus_packet_type type;
    bool wants_completion;
    uint64_t transaction_id;
    unsigned segment_count; /* GPA direct: the bytes behind all ranges, in order */
    struct vmbus_segment segment[VMBUS_MAX_SEGMENTS];
};

/*
 * Take the next packet out of the guest's ring, copied once. 0, -EAGAIN: none, interrupts are armed
 * again; -EMSGSIZE: longer than payload_room or with too many segments, skipped (answer it if
 * wants_completion); -EPROTO: the ring is broken and the channel closed; -ENOTCONN.
 */
int vmbus_read(struct vmbus_channel *channel, struct vmbus_packet *packet);

/*
 * Put a packet into the ring to the guest and signal it when it waits. 0, -EAGAIN: no room now,
 * ->writable follows; -EMSGSIZE; -EPROTO; -ENOTCONN.
 */
int vmbus_send(struct vmbus_channel *channel, const void *payload, size_t length,
               uint64_t transaction_id, bool wants_completion);
int vmbus_complete(struct vmbus_channel *channel, uint64_t transaction_id, const void *payload,
                   size_t length);

/* One range of a buffer that the guest gave by GPADL, TRANSFER_PAGES packets name them. */
struct vmbus_transfer_range {
    uint32_t length, offset;
};
struct vmbus_transfer {
    uint16_t set_id;
    const struct vmbus_transfer_range *ranges;
    unsigned range_count; /* at most VMBUS_MAX_TRANSFER_RANGES */
};
int vmbus_send_transfer(struct vmbus_channel *channel, const struct vmbus_transfer *transfer,
                        uint64_t transaction_id, const void *payload, size_t length);

/* A GPADL of the guest by its id, for buffers beside the rings: its bytes as segments. */
int vmbus_gpadl_segments(struct vmbus_channel *channel, uint32_t id, struct vmbus_segment *ret,
                         size_t room, size_t *ret_count);

/* ---- sockets of the guest (hv_sock) ---- */

/*
 * The guest connects to a service of the host, from an endpoint of its own; GUIDs as on the wire.
 * 0: an offer with the service as class and the endpoint as instance was made; else the guest is
 * told that nobody listens.
 */
typedef int (*vmbus_connect_fn)(void *owner, const uint8_t service[16], const uint8_t endpoint[16]);
void vmbus_set_sockets(struct vmbus *vmbus, vmbus_connect_fn connect, void *owner);
/* Offers that are made now reach the guest. */
bool vmbus_takes_offers(const struct vmbus *vmbus);

/* ---- what an administrator sees ---- */

struct vmbus_channel_report {
    const char *name;
    uint32_t relid;
    bool open;
    unsigned target_vp;
    uint64_t packets_in, packets_out, bytes_in, bytes_out, signals_in, signals_out;
    struct reason fault; /* why the ring was found broken; empty when it was not */
};

/* 0 = not connected, else major << 16 | minor. */
uint32_t vmbus_version(const struct vmbus *vmbus);
unsigned vmbus_open_channels(const struct vmbus *vmbus);
void vmbus_channel_describe(const struct vmbus_channel *channel, struct vmbus_channel_report *ret);

#endif
