/* Frames for the switch's tests. */
#ifndef SWITCH_SWITCH_FIXTURE_H
#define SWITCH_SWITCH_FIXTURE_H

#include <string.h>

#include "base/bytes.h"
#include "switch/frame.h"

struct bytes {
    uint8_t at[300];
    size_t length;
};

static inline void add(struct bytes *bytes, const void *what, size_t length)
{
    memcpy(bytes->at + bytes->length, what, length);
    bytes->length += length;
}

static inline void add_be16(struct bytes *bytes, uint16_t value)
{
    put_be16(bytes->at + bytes->length, value);
    bytes->length += 2;
}

/* 00:15:5d:00:00:N; 255: broadcast */
static inline void add_mac(struct bytes *bytes, uint8_t number)
{
    uint8_t mac[FRAME_MAC_SIZE] = {0, 0x15, 0x5d, 0, 0, number};

    if (number == 0xff)
        memset(mac, 0xff, sizeof(mac));
    add(bytes, mac, sizeof(mac));
}

/* A number below `sides`; the same sequence each time (Marsaglia's xorshift). */
static inline unsigned roll(unsigned sides)
{
    static uint32_t state = 2463534242;

    state ^= state << 13;
    state ^= state >> 17;
    state ^= state << 5;
    return state % sides;
}

/* vlan -1: no tag */
static inline struct bytes ethernet(uint8_t to, uint8_t from, int vlan, uint16_t type)
{
    struct bytes ret = {{0}, 0};

    add_mac(&ret, to);
    add_mac(&ret, from);
    if (vlan >= 0) {
        add_be16(&ret, FRAME_VLAN);
        add_be16(&ret, (uint16_t)vlan);
    }
    add_be16(&ret, type);
    return ret;
}

struct ends {
    uint8_t from, to; /* 10.0.0.N, fd00::N */
    uint16_t from_port, to_port;
};

static inline void add_ipv4(struct bytes *bytes, uint8_t protocol, struct ends ends)
{
    uint8_t header[20] = {0x45, 0, 0,  40, 0, 0,         0,  0, 64, protocol,
                          0,    0, 10, 0,  0, ends.from, 10, 0, 0,  ends.to};

    add(bytes, header, sizeof(header));
}

static inline void add_ipv6(struct bytes *bytes, uint8_t next, struct ends ends)
{
    uint8_t header[40] = {
        0x60, [6] = next, [7] = 64, [8] = 0xfd, [23] = ends.from, [24] = 0xfd, [39] = ends.to};

    add(bytes, header, sizeof(header));
}

/* The first 20 bytes of TCP, of which UDP has the same first four. */
static inline void add_ports(struct bytes *bytes, struct ends ends, uint8_t tcp_flags)
{
    uint8_t rest[16] = {[8] = 0x50, [9] = tcp_flags};

    add_be16(bytes, ends.from_port);
    add_be16(bytes, ends.to_port);
    add(bytes, rest, sizeof(rest));
}

static inline struct bytes ipv4(uint8_t to, uint8_t from, uint8_t protocol, struct ends ends)
{
    struct bytes ret = ethernet(to, from, -1, FRAME_IPV4);

    add_ipv4(&ret, protocol, ends);
    add_ports(&ret, ends, 0);
    return ret;
}

static inline struct bytes arp(uint8_t to, uint8_t from, uint8_t sender, uint8_t address)
{
    struct bytes ret = ethernet(to, from, -1, FRAME_ARP);
    uint8_t head[] = {0, 1, 8, 0, 6, 4, 0, 1};
    uint8_t rest[] = {10, 0, 0, address, 0, 0, 0, 0, 0, 0, 10, 0, 0, 1};

    add(&ret, head, sizeof(head));
    add_mac(&ret, sender);
    add(&ret, rest, sizeof(rest));
    return ret;
}

#endif
