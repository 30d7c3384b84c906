/*
 * What a switch looks at in an Ethernet frame. The frame is hostile: every offset is checked, a
 * header that is cut short is as if it were not there.
 *
 * Sources: IEEE 802.3 § 3, IEEE 802.1Q § 9, RFC 826 (ARP), RFC 791, RFC 8200, RFC 2131, RFC 8415,
 * RFC 4861.
 */
#ifndef SWITCH_FRAME_H
#define SWITCH_FRAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    FRAME_MAC_SIZE = 6,
    FRAME_HEADER = 14,
    FRAME_TAG = 4, /* of a VLAN */
    FRAME_LOOKED_AT =
        256,            /* bytes at most: Ethernet, a tag, IP with extensions, the first of UDP */
    FRAME_VLANS = 4095, /* identifiers 1 to 4094 */
};

enum frame_ethertype {
    FRAME_IPV4 = 0x0800,
    FRAME_ARP = 0x0806,
    FRAME_VLAN = 0x8100,
    FRAME_SERVICE_VLAN = 0x88a8, /* IEEE 802.1ad */
    FRAME_OLD_SERVICE_VLAN = 0x9100,
    FRAME_IPV6 = 0x86dd,
};

enum frame_protocol {
    FRAME_ICMP = 1,
    FRAME_TCP = 6,
    FRAME_UDP = 17,
    FRAME_ICMP6 = 58,
};

/* An address of IPv4 is mapped into IPv6's, ::ffff:a.b.c.d. */
struct frame_address {
    uint8_t bytes[16];
};

struct frame {
    uint8_t destination[FRAME_MAC_SIZE], source[FRAME_MAC_SIZE];
    bool tagged;      /* with an 802.1Q tag, even one of VLAN 0 */
    uint16_t vlan;    /* 0: none */
    uint8_t priority; /* of the tag */
    uint16_t type;    /* behind the tag */
    bool has_ip;      /* from, to and protocol are there */
    bool is_fragment; /* a later one: it has no ports */
    bool is_unclear;  /* IPv6 whose extensions hide what it carries; RFC 7113 */
    bool has_ports;   /* TCP or UDP */
    bool starts_flow; /* TCP: SYN without ACK */
    bool ends_flow;   /* TCP: RST or FIN */
    struct frame_address from, to;
    uint8_t protocol; /* behind all extension headers */
    uint16_t from_port, to_port;
    uint8_t icmp_type; /* of ICMPv6 */
    bool has_arp;
    uint8_t arp_mac[FRAME_MAC_SIZE]; /* the sender's own */
    struct frame_address arp_address;
};

/* False: it is shorter than an Ethernet header. `bytes` needs no more than FRAME_LOOKED_AT. */
bool frame_parse(const uint8_t *bytes, size_t length, struct frame *ret);

bool frame_is_multicast(const uint8_t *mac); /* or broadcast */
/* What only a server of DHCP, for IPv4 or IPv6, sends; or what hides whether it is. */
bool frame_is_from_dhcp_server(const struct frame *frame);
/* Router advertisement or redirect, of IPv6 or by ICMP of IPv4; or what hides whether it is. */
bool frame_is_from_router(const struct frame *frame);
void frame_map_ipv4(const uint8_t *ipv4, struct frame_address *ret);

#endif
