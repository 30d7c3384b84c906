/*
 * The headers of an Ethernet frame, as far as checksums and queues need them; and the checksums.
 * Nothing here is to be trusted: the parser looks at no byte beyond what it is given.
 */
#ifndef NET_HEADERS_H
#define NET_HEADERS_H

#include "net/port.h"

enum {
    NET_ETHERNET = 14,     /* bytes of its header */
    NET_VLAN_TAG = 4,      /* bytes of a tag, behind the addresses */
    NET_MOST_HEADERS = 192 /* Ethernet, two tags, IPv6 with some extensions, TCP with options */
};
enum { NET_PROTOCOL_TCP = 6, NET_PROTOCOL_UDP = 17 };

struct net_headers {
    uint16_t ip;        /* offset of the IP header */
    uint16_t transport; /* offset of the TCP or UDP header */
    uint16_t payload;   /* offset behind it */
    uint8_t ip_version; /* 4 or 6; 0: another protocol */
    uint8_t protocol;   /* TCP or UDP, wholly there; 0: another, or a fragment */
};

/* Of the first `length` bytes of a frame. */
struct net_headers net_headers_parse(const uint8_t *bytes, size_t length);

/*
 * Make TCP's or UDP's checksum what virtio and the kernel want to find: that of the pseudo header
 * alone; and the lengths and IPv4's checksum those of the whole frame, of `length` bytes. Sets what
 * is left to do in `ret`.
 */
void net_headers_prepare(uint8_t *bytes, const struct net_headers *headers, size_t length,
                         struct net_offload *ret);

/* One's complement sum over the pieces from byte `start` on, folded to 16 bits, not inverted. */
uint16_t net_checksum(const struct iovec *iov, unsigned count, size_t start);
/* Do what `wants_checksum` says; the field is in the first piece, else -EINVAL. */
int net_finish_checksum(const struct net_frame *frame, uint8_t *first);

/*
 * One segment of a large TCP frame: `headers` holds the frame's own up to the payload, and becomes
 * those of the segment whose payload is the `length` bytes from `offset` on. The checksum is left
 * as net_headers_prepare leaves it.
 */
void net_segment_headers(uint8_t *headers, const struct net_headers *parsed, size_t offset,
                         size_t length, bool last, unsigned index);

/* Where a frame's bytes from `skip` on are: pieces in `ret`, and how many, at most `room`. */
unsigned net_iov_range(const struct iovec *iov, unsigned count, size_t skip, size_t length,
                       struct iovec *ret, unsigned room);
/* Copy from the start of a frame; how many bytes there were. */
size_t net_iov_copy(const struct iovec *iov, unsigned count, void *to, size_t length);

#endif
