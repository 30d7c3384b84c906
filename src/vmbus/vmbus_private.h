/*
 * VMBus as its own files see it. Everything belongs to the loop thread but what is marked:
 *   I  incoming_lock: filled by VP threads
 *   (a) atomic, any thread
 */
#ifndef VMBUS_VMBUS_PRIVATE_H
#define VMBUS_VMBUS_PRIVATE_H

#include <pthread.h>
#include <stdatomic.h>

#include "vmbus/ring.h"
#include "vmbus/vmbus.h"
#include "vmbus/vmbus_wire.h"

enum {
    VMBUS_MAX_RELID = HV_EVENT_FLAGS, /* event flags; 0 is none */
    VMBUS_INCOMING = 256,
    VMBUS_OUTGOING = 256, /* beyond offers, which wait in their channels */
    VMBUS_MAX_GPADLS = 4096,
    VMBUS_MAX_GPADL_PAGES = 1 << 17, /* of all together: 512 MiB */
    VMBUS_BATCH = 256,               /* packets of a channel before others have their turn */
    VMBUS_SCRATCH = 16384,           /* bytes of ranges before a payload */
};

/* A list of guest pages, complete when filled == count. */
struct gpadl {
    struct gpadl *next;
    uint32_t id, relid;
    uint32_t byte_offset, byte_count;
    size_t count, filled;
    uint64_t pfns[];
};

struct vmbus_channel {
    struct vmbus *vmbus;
    struct vmbus_channel *next;
    struct vmbus_offer offer;
    const struct vmbus_channel_ops *ops;
    void *owner;
    uint32_t relid;
    bool announced; /* the guest was told of the offer */
    bool rescinded; /* withdrawn; freed when the guest lets go */
    bool rescind_told;
    bool open;
    unsigned target_vp;
    uint32_t gpadl; /* of the rings */
    struct ring in, out;
    uint8_t **pages;        /* of both rings */
    bool wants_room;        /* a send got -EAGAIN */
    unsigned batch;         /* packets that may still be read in this turn */
    _Atomic bool signalled; /* (a) */
    unsigned at_once;       /* signals to be served without a wait */
    bool late;              /* waits for more packets */
    struct vmbus_channel_report report;
};

struct vmbus {
    struct vmbus_config config;
    struct loop_event *wake;  /* there is something to do */
    struct loop_timer *retry; /* what the guest had no room for */
    struct loop_timer *late;  /* the end of a wait for more packets, when it is due */
    bool late_due;
    struct vmbus_channel *channels; /* in the order of their offers */
    struct vmbus_channel *by_relid[VMBUS_MAX_RELID];
    uint32_t last_relid; /* the highest that was ever given */
    uint32_t version;    /* 0: not connected */
    unsigned target_vp;
    bool offers_wanted, all_told;
    vmbus_connect_fn connect; /* NULL: no host service listens for sockets */
    void *connect_owner;
    struct gpadl *gpadls;
    size_t gpadl_count, gpadl_pages;

    struct hv_message outgoing[VMBUS_OUTGOING];
    unsigned outgoing_first, outgoing_count;

    pthread_mutex_t incoming_lock;
    struct hv_message incoming[VMBUS_INCOMING]; /* I */
    unsigned incoming_first, incoming_count;    /* I */
    uint8_t scratch[VMBUS_SCRATCH];
};

/* ---- server.c ---- */

void server_wake(struct vmbus *vmbus);
/* Send a channel message of `length` bytes; there is room (server_has_room). */
void server_send(struct vmbus *vmbus, const void *bytes, size_t length);
bool server_has_room(const struct vmbus *vmbus);

/* ---- message.c ---- */

/* A message of the guest: ignored when it is too short or makes no sense. */
void message_handle(struct vmbus *vmbus, const struct hv_message *message);

/* ---- gpadl.c ---- */

void gpadl_header(struct vmbus *vmbus, const uint8_t *message, size_t length);
void gpadl_body(struct vmbus *vmbus, const uint8_t *message, size_t length);
void gpadl_teardown(struct vmbus *vmbus, const uint8_t *message);
/* Complete, and of that channel; or NULL. */
const struct gpadl *gpadl_find(const struct vmbus *vmbus, uint32_t id, uint32_t relid);
/* A guest that lets go of a withdrawn channel does not tear down what it made for it. */
void gpadl_forget_channel(struct vmbus *vmbus, uint32_t relid);
void gpadl_forget_all(struct vmbus *vmbus);

/* ---- channel.c ---- */

void channel_open(struct vmbus_channel *channel, const uint8_t *message);
void channel_close(struct vmbus_channel *channel);
void channel_modify(struct vmbus_channel *channel, const uint8_t *message);
void channel_released(struct vmbus_channel *channel);
/* Tell the guest of channels that it has not heard of; false: no room for messages now. */
bool channel_announce_all(struct vmbus *vmbus);
/* The guest broke its ring. */
int channel_broken(struct vmbus_channel *channel, const char *why);
/* The guest is gone: close, and free what it had not released. */
void channel_reset_all(struct vmbus *vmbus);

/* ---- signal.c ---- */

/* Serve those that the guest signalled, or have them wait for more packets. */
void channel_serve_all(struct vmbus *vmbus);
/* Serve those that have waited. */
void channel_serve_late(struct vmbus *vmbus);
void channel_signal_guest(struct vmbus_channel *channel);
/* A guest's first signals are served at once. */
void signal_reset(struct vmbus_channel *channel);

/* ---- packet.c ---- */

/* After the guest's signal: a send that found no room may be tried again. */
void packet_check_room(struct vmbus_channel *channel);

#endif
