#include "net/headers.h"

#include <errno.h>
#include <string.h>

#include "base/bytes.h"

enum {
    TYPE_IP4 = 0x0800,
    TYPE_IP6 = 0x86dd,
    TYPE_VLAN = 0x8100,
    TYPE_SERVICE_VLAN = 0x88a8,
    IP4_LEAST = 20,
    IP6_HEADER = 40,
    TCP_LEAST = 20,
    TCP_CHECKSUM = 16, /* offset of the field */
    TCP_FLAGS = 13,
    UDP_HEADER = 8,
    UDP_CHECKSUM = 6,
    MOST_EXTENSIONS = 6, /* of IPv6 */
};

/* ---- finding headers ---- */

static void find_transport(const uint8_t *bytes, size_t length, uint8_t protocol, size_t at,
                           struct net_headers *ret)
{
    size_t end = at;

    if (protocol == NET_PROTOCOL_TCP && at + TCP_LEAST <= length) {
        size_t size = (size_t)(bytes[at + 12] >> 4) * 4;
        end = at + (size >= TCP_LEAST ? size : length);
    } else if (protocol == NET_PROTOCOL_UDP) {
        end = at + UDP_HEADER;
    } else {
        return;
    }
    if (end > length)
        return;
    ret->protocol = protocol;
    ret->transport = (uint16_t)at;
    ret->payload = (uint16_t)end;
}

static void parse_ip4(const uint8_t *bytes, size_t length, size_t at, struct net_headers *ret)
{
    if (at + IP4_LEAST > length || bytes[at] >> 4 != 4)
        return;
    size_t size = (size_t)(bytes[at] & 15) * 4;
    if (size < IP4_LEAST || at + size > length)
        return;
    ret->ip_version = 4;
    ret->ip = (uint16_t)at;
    if ((get_be16(bytes + at + 6) & 0x3fff) == 0) /* neither more fragments nor an offset */
        find_transport(bytes, length, bytes[at + 9], at + size, ret);
}

/* Hop-by-hop, routing and destination options are all {next, length in eights without the first}.
 */
static bool is_extension(uint8_t next)
{
    return next == 0 || next == 43 || next == 60;
}

static void parse_ip6(const uint8_t *bytes, size_t length, size_t at, struct net_headers *ret)
{
    if (at + IP6_HEADER > length || bytes[at] >> 4 != 6)
        return;
    ret->ip_version = 6;
    ret->ip = (uint16_t)at;
    uint8_t next = bytes[at + 6];
    at += IP6_HEADER;
    for (int i = 0; i < MOST_EXTENSIONS && is_extension(next) && at + 8 <= length; i++) {
        next = bytes[at];
        at += ((size_t)bytes[at + 1] + 1) * 8;
    }
    if (at <= length)
        find_transport(bytes, length, next, at, ret);
}

struct net_headers net_headers_parse(const uint8_t *bytes, size_t length)
{
    struct net_headers ret = {0};
    size_t at = NET_ETHERNET;

    if (length < NET_ETHERNET)
        return ret;
    uint16_t type = get_be16(bytes + 12);
    for (int tags = 0; tags < 2 && (type == TYPE_VLAN || type == TYPE_SERVICE_VLAN); tags++) {
        if (at + NET_VLAN_TAG > length)
            return ret;
        type = get_be16(bytes + at + 2);
        at += NET_VLAN_TAG;
    }
    if (type == TYPE_IP4)
        parse_ip4(bytes, length, at, &ret);
    else if (type == TYPE_IP6)
        parse_ip6(bytes, length, at, &ret);
    return ret;
}

/* ---- sums, RFC 1071 ---- */

static uint16_t fold(uint64_t sum)
{
    while (sum >> 16 != 0)
        sum = (sum & 0xffff) + (sum >> 16);
    return (uint16_t)sum;
}

/* As if the bytes were 16-bit words of this machine; the order does not matter to the sum. */
static uint64_t add_bytes(const uint8_t *bytes, size_t length)
{
    uint64_t low = 0;
    uint64_t high = 0;

    for (; length >= 8; bytes += 8, length -= 8) {
        uint64_t word = get_le64(bytes);
        low += (uint32_t)word;
        high += word >> 32;
    }
    for (; length >= 2; bytes += 2, length -= 2)
        low += get_le16(bytes);
    if (length > 0)
        low += *bytes;
    return (uint64_t)fold(low) + fold(high);
}

uint16_t net_checksum(const struct iovec *iov, unsigned count, size_t start)
{
    uint64_t sum = 0;
    size_t done = 0; /* summed so far: its parity is that of the next byte */

    for (unsigned i = 0; i < count; i++) {
        if (start >= iov[i].iov_len) {
            start -= iov[i].iov_len;
            continue;
        }
        size_t length = iov[i].iov_len - start;
        uint16_t part = fold(add_bytes((const uint8_t *)iov[i].iov_base + start, length));
        sum += done % 2 == 0 ? part : __builtin_bswap16(part);
        done += length;
        start = 0;
    }
    return fold(sum);
}

/* Of addresses, length and protocol; in this machine's order. */
static uint16_t pseudo_sum(const uint8_t *bytes, const struct net_headers *headers, size_t length)
{
    uint8_t tail[6] = {0};
    const uint8_t *ip = bytes + headers->ip;

    put_be32(tail, (uint32_t)length);
    tail[5] = headers->protocol;
    uint64_t sum = add_bytes(tail, sizeof(tail));
    sum += headers->ip_version == 4 ? add_bytes(ip + 12, 8) : add_bytes(ip + 8, 32);
    return fold(sum);
}

static void set_ip_length(uint8_t *ip, const struct net_headers *headers, size_t length)
{
    if (headers->ip_version == 6) {
        put_be16(ip + 4, (uint16_t)(length - IP6_HEADER));
        return;
    }
    put_be16(ip + 2, (uint16_t)length);
    put_le16(ip + 10, 0);
    put_le16(ip + 10, (uint16_t)~fold(add_bytes(ip, (size_t)(ip[0] & 15) * 4)));
}

void net_headers_prepare(uint8_t *bytes, const struct net_headers *headers, size_t length,
                         struct net_offload *ret)
{
    unsigned at = headers->protocol == NET_PROTOCOL_TCP ? TCP_CHECKSUM : UDP_CHECKSUM;
    size_t transport_length = length - headers->transport;

    set_ip_length(bytes + headers->ip, headers, length - headers->ip);
    if (headers->protocol == NET_PROTOCOL_UDP)
        put_be16(bytes + headers->transport + 4, (uint16_t)transport_length);
    put_le16(bytes + headers->transport + at, pseudo_sum(bytes, headers, transport_length));
    ret->wants_checksum = true;
    ret->checksum_start = headers->transport;
    ret->checksum_offset = (uint16_t)at;
}

int net_finish_checksum(const struct net_frame *frame, uint8_t *first)
{
    const struct net_offload *offload = &frame->offload;
    size_t at = (size_t)offload->checksum_start + offload->checksum_offset;

    if (at + 2 > frame->iov[0].iov_len || offload->checksum_start > frame->length)
        return -EINVAL;
    uint16_t sum = (uint16_t)~net_checksum(frame->iov, frame->iov_count, offload->checksum_start);
    put_le16(first + at, sum != 0 ? sum : 0xffff); /* UDP: 0 says that there is none */
    return 0;
}

void net_segment_headers(uint8_t *headers, const struct net_headers *parsed, size_t offset,
                         size_t length, bool last, unsigned index)
{
    uint8_t *ip = headers + parsed->ip;
    uint8_t *tcp = headers + parsed->transport;
    struct net_offload ignored;

    put_be32(tcp + 4, get_be32(tcp + 4) + (uint32_t)offset);
    if (parsed->ip_version == 4)
        put_be16(ip + 4, (uint16_t)(get_be16(ip + 4) + index)); /* identification */
    if (!last)
        tcp[TCP_FLAGS] &= (uint8_t)~0x09; /* FIN, PSH */
    if (index > 0)
        tcp[TCP_FLAGS] &= (uint8_t)~0x80; /* CWR */
    net_headers_prepare(headers, parsed, parsed->payload + length, &ignored);
}

/* ---- pieces ---- */

unsigned net_iov_range(const struct iovec *iov, unsigned count, size_t skip, size_t length,
                       struct iovec *ret, unsigned room)
{
    unsigned made = 0;

    for (unsigned i = 0; i < count && length > 0 && made < room; i++) {
        if (skip >= iov[i].iov_len) {
            skip -= iov[i].iov_len;
            continue;
        }
        size_t part = iov[i].iov_len - skip;
        part = part < length ? part : length;
        ret[made++] = (struct iovec){(uint8_t *)iov[i].iov_base + skip, part};
        length -= part;
        skip = 0;
    }
    return made;
}

size_t net_iov_copy(const struct iovec *iov, unsigned count, void *to, size_t length)
{
    size_t done = 0;

    for (unsigned i = 0; i < count && done < length; i++) {
        size_t part = iov[i].iov_len < length - done ? iov[i].iov_len : length - done;
        memcpy((uint8_t *)to + done, iov[i].iov_base, part);
        done += part;
    }
    return done;
}
