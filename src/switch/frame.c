#include "switch/frame.h"

#include <string.h>

#include "base/bytes.h"

/* What is left of a frame. */
struct rest {
    const uint8_t *at;
    size_t length;
};

static bool skip(struct rest *rest, size_t length)
{
    if (rest->length < length)
        return false;
    rest->at += length;
    rest->length -= length;
    return true;
}

void frame_map_ipv4(const uint8_t *ipv4, struct frame_address *ret)
{
    *ret = (struct frame_address){{[10] = 0xff, [11] = 0xff}};
    memcpy(ret->bytes + 12, ipv4, 4);
}

/* ---- what is in IP ---- */

enum { TCP_FIN = 1, TCP_SYN = 2, TCP_RST = 4, TCP_ACK = 16, TCP_FLAGS_AT = 13 };

static void parse_transport(struct rest rest, struct frame *ret)
{
    if ((ret->protocol == FRAME_ICMP6 || ret->protocol == FRAME_ICMP) && rest.length >= 1)
        ret->icmp_type = rest.at[0];
    if ((ret->protocol != FRAME_TCP && ret->protocol != FRAME_UDP) || rest.length < 4)
        return;
    ret->has_ports = true;
    ret->from_port = get_be16(rest.at);
    ret->to_port = get_be16(rest.at + 2);
    if (ret->protocol != FRAME_TCP || rest.length <= TCP_FLAGS_AT)
        return;
    uint8_t flags = rest.at[TCP_FLAGS_AT];
    ret->starts_flow = (flags & (TCP_SYN | TCP_ACK)) == TCP_SYN;
    ret->ends_flow = (flags & (TCP_RST | TCP_FIN)) != 0;
}

static void parse_ipv4(struct rest rest, struct frame *ret)
{
    enum { LEAST = 20, OFFSET_MASK = 0x1fff };

    if (rest.length < LEAST || rest.at[0] >> 4 != 4)
        return;
    size_t header = (size_t)(rest.at[0] & 15) * 4;
    ret->has_ip = true;
    ret->protocol = rest.at[9];
    ret->is_fragment = (get_be16(rest.at + 6) & OFFSET_MASK) != 0;
    frame_map_ipv4(rest.at + 12, &ret->from);
    frame_map_ipv4(rest.at + 16, &ret->to);
    if (header >= LEAST && !ret->is_fragment && skip(&rest, header))
        parse_transport(rest, ret);
}

enum {
    V6_HOP_BY_HOP = 0,
    V6_ROUTING = 43,
    V6_FRAGMENT = 44,
    V6_AUTHENTICATION = 51,
    V6_OPTIONS = 60
};

/* How long an extension header is; 0: it is none. RFC 8200 § 4, RFC 4302 § 2. */
static size_t extension_length(uint8_t protocol, const uint8_t *at)
{
    switch (protocol) {
    case V6_HOP_BY_HOP:
    case V6_ROUTING:
    case V6_OPTIONS:
        return ((size_t)at[1] + 1) * 8;
    case V6_FRAGMENT:
        return 8;
    case V6_AUTHENTICATION:
        return ((size_t)at[1] + 2) * 4;
    default:
        return 0;
    }
}

static void parse_ipv6(struct rest rest, struct frame *ret)
{
    enum { HEADER = 40, MOST_EXTENSIONS = 8, OFFSET_MASK = 0xfff8 };

    if (rest.length < HEADER || rest.at[0] >> 4 != 6)
        return;
    ret->has_ip = true;
    ret->protocol = rest.at[6];
    memcpy(ret->from.bytes, rest.at + 8, sizeof(ret->from.bytes));
    memcpy(ret->to.bytes, rest.at + 24, sizeof(ret->to.bytes));
    (void)skip(&rest, HEADER);
    ret->is_unclear = true;
    for (unsigned i = 0; i < MOST_EXTENSIONS && rest.length >= 8; i++) {
        size_t length = extension_length(ret->protocol, rest.at);
        if (length == 0) {
            ret->is_unclear = false;
            parse_transport(rest, ret);
            return;
        }
        if (ret->protocol == V6_FRAGMENT)
            ret->is_fragment = (get_be16(rest.at + 2) & OFFSET_MASK) != 0;
        ret->protocol = rest.at[0];
        if (ret->is_fragment)
            ret->is_unclear = false;
        if (!skip(&rest, length) || ret->is_fragment)
            return;
    }
}

static void parse_arp(struct rest rest, struct frame *ret)
{
    static const uint8_t ethernet_ipv4[] = {0, 1, 8, 0, 6, 4};

    if (rest.length < 28 || memcmp(rest.at, ethernet_ipv4, sizeof(ethernet_ipv4)) != 0)
        return;
    ret->has_arp = true;
    memcpy(ret->arp_mac, rest.at + 8, FRAME_MAC_SIZE);
    frame_map_ipv4(rest.at + 14, &ret->arp_address);
}

/* ---- Ethernet ---- */

bool frame_parse(const uint8_t *bytes, size_t length, struct frame *ret)
{
    struct rest rest = {bytes, length < FRAME_LOOKED_AT ? length : FRAME_LOOKED_AT};

    *ret = (struct frame){0};
    if (length < FRAME_HEADER)
        return false;
    memcpy(ret->destination, bytes, FRAME_MAC_SIZE);
    memcpy(ret->source, bytes + FRAME_MAC_SIZE, FRAME_MAC_SIZE);
    ret->type = get_be16(bytes + 12);
    (void)skip(&rest, FRAME_HEADER);
    if (ret->type == FRAME_VLAN && rest.length >= FRAME_TAG) {
        ret->tagged = true;
        ret->vlan = get_be16(rest.at) & 0xfff;
        ret->priority = rest.at[0] >> 5;
        ret->type = get_be16(rest.at + 2);
        (void)skip(&rest, FRAME_TAG);
    }
    if (ret->type == FRAME_IPV4)
        parse_ipv4(rest, ret);
    else if (ret->type == FRAME_IPV6)
        parse_ipv6(rest, ret);
    else if (ret->type == FRAME_ARP)
        parse_arp(rest, ret);
    return true;
}

bool frame_is_multicast(const uint8_t *mac)
{
    return (mac[0] & 1) != 0;
}

/* A later fragment does not show its ports, but its first one was dropped, so it helps nobody. */
bool frame_is_from_dhcp_server(const struct frame *frame)
{
    enum { DHCP_SERVER = 67, DHCP6_SERVER = 547 };

    if (frame->is_unclear)
        return true;
    return frame->has_ports && frame->protocol == FRAME_UDP &&
           (frame->from_port == DHCP_SERVER || frame->from_port == DHCP6_SERVER);
}

bool frame_is_from_router(const struct frame *frame)
{
    enum { V4_REDIRECT = 5, V4_ADVERTISEMENT = 9, V6_ADVERTISEMENT = 134, V6_REDIRECT = 137 };

    if (frame->is_unclear)
        return true;
    if (!frame->has_ip || frame->is_fragment)
        return false;
    if (frame->protocol == FRAME_ICMP && frame->type == FRAME_IPV4)
        return frame->icmp_type == V4_REDIRECT || frame->icmp_type == V4_ADVERTISEMENT;
    return frame->protocol == FRAME_ICMP6 && frame->type == FRAME_IPV6 &&
           (frame->icmp_type == V6_ADVERTISEMENT || frame->icmp_type == V6_REDIRECT);
}
