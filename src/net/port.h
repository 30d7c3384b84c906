/*
 * A port: where frames of a network card leave and enter the partition. The card is above it, a TAP
 * device, a socket to the switch or a NAT behind it.
 *
 * Threads: all functions and callbacks are for the thread of the port's loop. Nothing is allocated
 * and nothing is kept for a frame: what send or receive got belongs to the caller again when it
 * returns. Frames of the other side are hostile in content; their lengths are true.
 */
#ifndef NET_PORT_H
#define NET_PORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "base/reason.h"

struct net_port;

enum {
    NET_MOST_FRAME = 65536 + 18, /* with segmentation left to the other side; without FCS */
    NET_MOST_PIECES = 64,
    NET_BATCH = 64,
    NET_MAC_SIZE = 6,
};

/* What is still to be done for a frame, or known of it; as struct virtio_net_hdr says it. */
enum net_segmentation { NET_WHOLE, NET_TCP4, NET_TCP6 };
struct net_offload {
    bool wants_checksum; /* from checksum_start on, to be stored at checksum_offset from there */
    bool checksum_known; /* it was checked: the receiver need not */
    uint16_t checksum_start, checksum_offset; /* bytes from the start of the frame */
    enum net_segmentation segmentation;
    uint16_t segment_size;   /* payload bytes of each segment; not with NET_WHOLE */
    uint16_t headers_length; /* to the end of the TCP header; not with NET_WHOLE */
};

/* An Ethernet frame in pieces, a VLAN's tag in its place within, without FCS. */
struct net_frame {
    const struct iovec *iov;
    unsigned iov_count; /* at most NET_MOST_PIECES */
    size_t length;
    struct net_offload offload;
};

/* What the card above is told. */
struct net_port_user {
    void *owner;
    /* Frames for the guest, at most NET_BATCH; how many were taken. When fewer, no more come until
     * net_port_resume(). */
    unsigned (*receive)(void *owner, const struct net_frame *frames, unsigned count);
    /* After a send took fewer than it was given: there is room again. */
    void (*writable)(void *owner);
    /* The cable, as the other side has it; also told once soon after the start. */
    void (*link)(void *owner, bool up);
};

/* What the card wants to get. Filters may be coarse: the card looks at each frame itself. */
struct net_filter {
    bool promiscuous, all_multicast;
    uint8_t mac[NET_MAC_SIZE];
};

struct net_port_ops {
    const char *name; /* for reports: "tap" */
    /* How many were taken, in order; a frame that cannot be sent is dropped and counts as taken. */
    unsigned (*send)(struct net_port *port, const struct net_frame *frames, unsigned count);
    /* The card takes frames, or not any more. */
    void (*start)(struct net_port *port, const struct net_port_user *user);
    void (*stop)(struct net_port *port);
    /* Go on after a receive that took fewer. */
    void (*resume)(struct net_port *port);
    void (*set_filter)(struct net_port *port, const struct net_filter *filter);
    /* What frames to the guest may leave to it: checksums, segments. False: all must be done. */
    void (*set_offload)(struct net_port *port, bool checksum, bool segmentation);
    void (*destroy)(struct net_port *port);
};

/* The head of each kind's own structure. */
struct net_port {
    const struct net_port_ops *ops;
    bool takes_offload; /* frames may be sent with work left in `offload`; else the card does it */
    unsigned mtu;       /* without the Ethernet header */
};

#endif
