/*
 * Inside of the network service.
 *
 *   netvsp.c          the card: its life, its cable, its sub-channels
 *   netvsp_channel.c  a channel: reading packets, answers that wait for room
 *   netvsp_buffer.c   the guest's send and receive buffers, and the sections of the latter
 *   netvsp_nvsp.c     NVSP but data
 *   netvsp_rndis.c    RNDIS but data: requests, and answers that wait for a section
 *   netvsp_oid.c      what requests ask for and set
 *   netvsp_send.c     frames of the guest
 *   netvsp_receive.c  frames for the guest
 *   netvsp_filter.c   which of them it wants, and on which channel
 *
 * 1. What the guest wrote into its memory is copied here before it is looked at, but for payload:
 *    that goes from its memory to the port as it is.
 * 2. A channel reads a packet only when there is room for all that may come of it: frames in the
 *    batch, an answer in `unsent`.
 * 3. VMBus may close a channel within any call: who called looks at `open` afterwards.
 */
#ifndef VSP_NETVSP_PRIVATE_H
#define VSP_NETVSP_PRIVATE_H

#include "net/headers.h"
#include "vsp/netvsp.h"
#include "vsp/netvsp_wire.h"

enum {
    NETVSP_PAYLOAD = 64,      /* of a packet; messages are shorter */
    NETVSP_MOST_PAGES = 8192, /* of a buffer of the guest: 32 MiB */
    NETVSP_SEND_SECTION = 6144,
    NETVSP_SMALL_SECTION = 4096, /* of the receive buffer */
    NETVSP_LARGE_SECTION = 16384,
    NETVSP_MOST_SECTIONS = 4096,
    NETVSP_LEAST_SECTIONS = 8,
    NETVSP_MOST_MESSAGES = 32,  /* RNDIS messages of a packet; the guest is asked for 8 */
    NETVSP_MOST_INFO = 256,     /* bytes of per-packet information */
    NETVSP_MOST_CONTROL = 1024, /* of an RNDIS message that is no packet */
    NETVSP_CONTROL_ANSWER = 512,
    NETVSP_CONTROL_QUEUE = 8,
    NETVSP_UNSENT = NET_BATCH + 2,
    NETVSP_MULTICASTS = 32,
    NETVSP_LARGE_SEND = 61440, /* bytes of a frame that the guest may leave to be segmented */
    NETVSP_NO_RANGE = 0xffff,
    NETVSP_MOST_PARTS = VMBUS_MAX_SEGMENTS + 4,
};

struct netvsp_answer {
    uint64_t transaction;
    uint8_t message[NVSP_MESSAGE];
};

/* A frame of the guest until the port has it. */
struct netvsp_outgoing {
    struct netvsp_channel *channel; /* NULL: it was closed */
    uint64_t transaction;
    bool last;   /* of its packet, which is answered then */
    bool answer; /* the guest waits for that */
    struct iovec iov[NET_MOST_PIECES];
    uint8_t head[NET_MOST_HEADERS];
};

/* Frames for the guest that are in its memory and not told yet: sections by ranges. */
struct netvsp_transfer {
    struct vmbus_transfer_range range[VMBUS_MAX_TRANSFER_RANGES];
    unsigned count;
    uint16_t first; /* section; the others follow by netvsp->next */
    bool control;
};

struct netvsp_channel {
    struct netvsp *netvsp;
    struct vmbus_channel *vmbus; /* NULL: not offered */
    uint16_t index;              /* 0: the primary */
    bool open, reading;
    struct netvsp_answer unsent[NETVSP_UNSENT]; /* completions that found no room, in order */
    unsigned unsent_count;
    struct netvsp_transfer transfer;
};

/* A buffer that the guest gave for good. */
struct netvsp_buffer {
    bool set;
    uint16_t id;
    uint32_t size, section_size, section_count;
    uint64_t page[NETVSP_MOST_PAGES]; /* addresses */
};

struct netvsp_filter {
    uint32_t packets; /* NDIS_FILTER_…; 0: the interface is down */
    uint8_t mac[NET_MAC_SIZE];
    unsigned multicast_count;
    uint8_t multicast[NETVSP_MULTICASTS][NET_MAC_SIZE];
};

struct netvsp_rss {
    bool on;
    unsigned table_size;                /* entries */
    uint8_t table[NDIS_RSS_MOST_TABLE]; /* channels */
    uint32_t hash[36][256];             /* Toeplitz, by place and value of a byte */
};

/* An RNDIS message, or several, as the guest laid it out: its bytes in order. */
struct netvsp_stream {
    struct vmbus_segment part[NETVSP_MOST_PARTS];
    unsigned count;
    size_t length;
};

struct netvsp_control {
    uint16_t length;
    uint8_t message[NETVSP_CONTROL_ANSWER];
};

struct netvsp {
    struct netvsp_config config;

    /* NVSP */
    uint32_t version;      /* 0: not agreed yet */
    uint64_t capabilities; /* of the guest */
    unsigned mtu;          /* that it set */
    struct netvsp_buffer send_buffer, receive_buffer;
    unsigned subchannels_owed; /* offers whose old names are not free yet: 1 to so many */
    struct loop_timer *offer_timer;

    /* RNDIS */
    bool initialized; /* the guest's RNDIS is at work */
    bool coalesces;   /* it takes large frames in parts */
    bool link_due;    /* it is to be told of the cable */
    struct netvsp_filter filter;
    struct netvsp_rss rss;
    struct netvsp_control control[NETVSP_CONTROL_QUEUE]; /* answers, in order */
    unsigned control_first, control_count;

    /* the cable */
    bool port_up, plugged;

    /* sending */
    struct net_frame frames[NET_BATCH];
    struct netvsp_outgoing outgoing[NET_BATCH];
    unsigned frame_count, frames_done;
    bool blocked;    /* the port has no room: the guest waits a little */
    bool discarding; /* it has had none for too long: frames are dropped until it has */
    struct loop_timer *patience;
    struct netvsp_counters sent, received;

    /* receiving; sections by number, a free one leads to the next free */
    uint16_t next[NETVSP_MOST_SECTIONS];
    bool told[NETVSP_MOST_SECTIONS]; /* it is the first of a transfer that the guest has */
    uint16_t free_section;
    unsigned free_count;
    bool starved; /* frames wait in the port */

    struct netvsp_stream stream;
    struct vmbus_packet packet;
    uint8_t payload[NETVSP_PAYLOAD];
    uint8_t scratch[NETVSP_MOST_CONTROL];
    unsigned channel_count;
    struct netvsp_channel channel[]; /* the primary and those that may be asked for */
};

/* ---- netvsp.c ---- */

/* Offer sub-channels 1 to `count`, those whose names are not free yet a little later. */
void netvsp_offer_subchannels(struct netvsp *netvsp, unsigned count);
/* The primary was closed: nothing of what the guest has set up is left. */
void netvsp_end_connection(struct netvsp *netvsp);
static inline bool netvsp_link(const struct netvsp *netvsp)
{
    return netvsp->port_up && netvsp->plugged;
}
/* What the card wants of the port, after any of it has changed. */
void netvsp_tell_port(struct netvsp *netvsp);

/* ---- netvsp_channel.c ---- */

extern const struct vmbus_channel_ops netvsp_channel_ops;

void netvsp_channel_read(struct netvsp_channel *channel);
void netvsp_channel_read_all(struct netvsp *netvsp);
/* Answer a packet, now or when there is room. */
void netvsp_channel_answer(struct netvsp_channel *channel, uint64_t transaction,
                           const uint8_t message[NVSP_MESSAGE]);
void netvsp_channel_answer_rndis(struct netvsp_channel *channel, uint64_t transaction,
                                 enum nvsp_status status);

/* ---- netvsp_buffer.c ---- */

/* -EINVAL: it is no whole pages, too small or too large; or what VMBus says of the GPADL. */
int netvsp_buffer_take(struct netvsp *netvsp, struct netvsp_buffer *buffer, uint32_t gpadl,
                       uint16_t id, uint32_t section_size);
/* All sections are free. */
void netvsp_sections_reset(struct netvsp *netvsp);
/* One that is free; there has to be one. */
uint16_t netvsp_section_take(struct netvsp *netvsp);
/* Those of a transfer. */
void netvsp_sections_give_back(struct netvsp *netvsp, uint16_t first);
/* Write at a place of the receive buffer, within a section. */
void netvsp_section_write(struct netvsp *netvsp, uint32_t at, const void *bytes, size_t length);
/* Whether `length` bytes of a section of the send buffer exist; they are added to the stream. */
bool netvsp_stream_add_section(struct netvsp *netvsp, uint32_t section, uint32_t length);
void netvsp_stream_add(struct netvsp_stream *stream, struct vmbus_segment segment);
/* Copy out of it; false: it does not reach so far. */
bool netvsp_stream_read(const struct netvsp *netvsp, size_t at, void *ret, size_t length);
/* Bytes of the stream as host pieces; 0: more than `room`. */
unsigned netvsp_stream_range(const struct netvsp *netvsp, size_t at, size_t length,
                             struct iovec *ret, unsigned room);

/* ---- netvsp_nvsp.c ---- */

void netvsp_nvsp_serve(struct netvsp_channel *channel, const struct vmbus_packet *packet);

/* ---- netvsp_rndis.c ---- */

/* The message of the stream, of a guest's RNDIS; its answer goes by netvsp_rndis_send. */
enum nvsp_status netvsp_rndis_serve(struct netvsp *netvsp);
/* Send answers and news as far as there are sections and room. */
void netvsp_rndis_send(struct netvsp *netvsp);

/* ---- netvsp_oid.c ---- */

/* `ret` has room for NETVSP_CONTROL_ANSWER - RNDIS_QUERY_ANSWER bytes. RNDIS_… */
uint32_t netvsp_oid_query(const struct netvsp *netvsp, uint32_t oid, uint32_t room, uint8_t *ret,
                          uint32_t *ret_length);
uint32_t netvsp_oid_set(struct netvsp *netvsp, uint32_t oid, const uint8_t *bytes, size_t length);

/* ---- netvsp_send.c ---- */

static inline bool netvsp_send_has_room(const struct netvsp *netvsp)
{
    return !netvsp->blocked && netvsp->frame_count + NETVSP_MOST_MESSAGES <= NET_BATCH;
}
/* The packet whose stream is set up; false: nothing of it was taken, answer it. */
bool netvsp_send_stream(struct netvsp_channel *channel, const struct vmbus_packet *packet);
void netvsp_send_flush(struct netvsp *netvsp);
void netvsp_send_forget(struct netvsp_channel *channel);
/* Of the port, and of a timer. */
void netvsp_send_writable(void *owner);
void netvsp_send_give_up(void *owner);

/* ---- netvsp_receive.c ---- */

/* As struct net_port_user has it. */
unsigned netvsp_receive(void *owner, const struct net_frame *frames, unsigned count);
/* A transfer that waits for room; false: it still does. */
bool netvsp_receive_flush(struct netvsp_channel *channel);
/* The guest has done with a transfer. */
void netvsp_receive_completed(struct netvsp *netvsp, uint64_t transaction);
/* Let the port go on when there is room. */
void netvsp_receive_resume(struct netvsp *netvsp);
/* A message on the primary channel; false: no section is free, or a transfer waits there. */
bool netvsp_receive_control(struct netvsp *netvsp, const uint8_t *message, size_t length);

/* ---- netvsp_filter.c ---- */

bool netvsp_filter_wants(const struct netvsp_filter *filter, const uint8_t *address);
void netvsp_rss_set_key(struct netvsp_rss *rss, const uint8_t key[NDIS_RSS_KEY]);
/* The channel for a frame: one that is open. */
struct netvsp_channel *netvsp_rss_choose(struct netvsp *netvsp, const uint8_t *bytes,
                                         const struct net_headers *headers);

#endif
