/*
 * What is said: RFC 2131 § 4.3; options: RFC 2132. A lease is for a day, and renewed while the
 * guest's place is its own, so nothing is kept here.
 */
#include "switchd/nat_lease.h"

#include <string.h>

#include "base/bytes.h"
#include "net/headers.h"
#include "switchd/nat_guests.h"

enum {
    DISCOVER = 1,
    OFFER = 2,
    REQUEST = 3,
    ACK = 5,
    NAK = 6,
    INFORM = 8,

    OPTION_MASK = 1,
    OPTION_ROUTER = 3,
    OPTION_NAMES = 6,
    OPTION_WISH = 50,
    OPTION_TIME = 51,
    OPTION_TYPE = 53,
    OPTION_SERVER = 54,
    OPTION_END = 255,

    ASKS = 1,
    ANSWERS = 2,
    SERVER = 67,
    CLIENT = 68,
    DAY = 86400,

    IP_HEADER = 20,
    UDP_HEADER = 8,
    /* Offsets in the message. */
    AT_ID = 4,
    AT_FLAGS = 10,
    AT_ADDRESS = 12,
    AT_YOURS = 16,
    AT_RELAY = 24,
    AT_MAC = 28,
    AT_COOKIE = 236,
    AT_OPTIONS = 240,
};
static const uint8_t cookie[] = {0x63, 0x82, 0x53, 0x63};
static const uint8_t host[] = {10, 0, 2, NAT_HOST};

/* ---- what is asked ---- */

struct options {
    const uint8_t *type, *wish, *server; /* NULL: not given */
};

static void take_option(uint8_t code, const uint8_t *value, size_t length, struct options *ret)
{
    if (code == OPTION_TYPE && length == 1)
        ret->type = value;
    if (code == OPTION_WISH && length == 4)
        ret->wish = value;
    if (code == OPTION_SERVER && length == 4)
        ret->server = value;
}

static void parse_options(const uint8_t *at, const uint8_t *end, struct options *ret)
{
    while (at < end && *at != OPTION_END) {
        if (*at == 0) { /* padding */
            at++;
            continue;
        }
        if (end - at < 2 || end - at - 2 < at[1])
            return;
        take_option(at[0], at + 2, at[1], ret);
        at += 2 + at[1];
    }
}

bool nat_lease_parse(const uint8_t *bytes, size_t length, struct nat_ask *ret)
{
    const struct net_headers headers = net_headers_parse(bytes, length);
    struct options options = {0};
    static const uint8_t nobody[4];

    if (headers.protocol != NET_PROTOCOL_UDP || length - headers.payload < AT_OPTIONS)
        return false;
    const uint8_t *message = bytes + headers.payload;
    if (message[0] != ASKS || message[1] != 1 || message[2] != sizeof(ret->mac) ||
        memcmp(message + AT_RELAY, nobody, sizeof(nobody)) != 0 ||
        memcmp(message + AT_MAC, bytes + NET_MAC_SIZE, NET_MAC_SIZE) != 0 ||
        memcmp(message + AT_COOKIE, cookie, sizeof(cookie)) != 0)
        return false;
    parse_options(message + AT_OPTIONS, bytes + length, &options);
    if (options.type == NULL ||
        (options.server != NULL && memcmp(options.server, host, sizeof(host)) != 0))
        return false;
    *ret = (struct nat_ask){.type = *options.type, .broadcast = (message[AT_FLAGS] & 0x80) != 0};
    memcpy(ret->id, message + AT_ID, sizeof(ret->id));
    memcpy(ret->address, message + AT_ADDRESS, sizeof(ret->address));
    memcpy(ret->wish, options.wish != NULL ? options.wish : ret->address, sizeof(ret->wish));
    memcpy(ret->mac, message + AT_MAC, sizeof(ret->mac));
    return true;
}

/* ---- what is said ---- */

static uint8_t *put_option(uint8_t *at, uint8_t code, const void *value, uint8_t length)
{
    at[0] = code;
    at[1] = length;
    memcpy(at + 2, value, length);
    return at + 2 + length;
}

static void put_message(uint8_t *message, uint8_t type, const struct nat_ask *ask,
                        const uint8_t yours[4])
{
    static const uint8_t mask[] = {255, 255, 255, 0};
    static const uint8_t names[] = {10, 0, 2, NAT_NAMES};
    uint8_t day[4];
    uint8_t *at = message + AT_OPTIONS;

    message[0] = ANSWERS;
    message[1] = 1;
    message[2] = sizeof(ask->mac);
    memcpy(message + AT_ID, ask->id, sizeof(ask->id));
    message[AT_FLAGS] = ask->broadcast ? 0x80 : 0;
    memcpy(message + AT_MAC, ask->mac, sizeof(ask->mac));
    memcpy(message + AT_COOKIE, cookie, sizeof(cookie));
    at = put_option(at, OPTION_TYPE, &type, sizeof(type));
    at = put_option(at, OPTION_SERVER, host, sizeof(host));
    if (type != NAK) {
        memcpy(message + AT_ADDRESS, ask->address, sizeof(ask->address));
        memcpy(message + AT_YOURS, yours, 4);
        at = put_option(at, OPTION_MASK, mask, sizeof(mask));
        at = put_option(at, OPTION_ROUTER, host, sizeof(host));
        at = put_option(at, OPTION_NAMES, names, sizeof(names));
    }
    if (type != NAK && ask->type != INFORM) {
        put_be32(day, DAY);
        at = put_option(at, OPTION_TIME, day, sizeof(day));
    }
    *at = OPTION_END;
}

/* To the guest's own card always, so that no other sees it; by IP to all where it has no address.
 */
static void put_headers(uint8_t *frame, const struct nat_ask *ask, const uint8_t to[4])
{
    static const uint8_t router[] = {0x52, 0x55, 10, 0, 2, NAT_HOST}; /* libslirp's */
    uint8_t *ip = frame + NET_ETHERNET;
    uint8_t *udp = ip + IP_HEADER;

    memcpy(frame, ask->mac, NET_MAC_SIZE);
    memcpy(frame + NET_MAC_SIZE, router, sizeof(router));
    put_be16(frame + 12, 0x0800);
    ip[0] = 0x45;
    ip[8] = 64; /* TTL */
    ip[9] = NET_PROTOCOL_UDP;
    memcpy(ip + 12, host, sizeof(host));
    memcpy(ip + 16, to, 4);
    put_be16(udp, SERVER);
    put_be16(udp + 2, CLIENT);
}

static uint8_t answer_to(const struct nat_ask *ask, const uint8_t own[4])
{
    if (ask->type == DISCOVER)
        return OFFER;
    if (ask->type == REQUEST)
        return memcmp(ask->wish, own, 4) == 0 ? ACK : NAK;
    return ask->type == INFORM ? ACK : 0;
}

bool nat_lease_answer(const struct nat_ask *ask, uint8_t place, uint8_t ret[NAT_LEASE_SIZE])
{
    static const uint8_t all[] = {255, 255, 255, 255};
    static const uint8_t nobody[4];
    const uint8_t own[] = {10, 0, 2, place};
    bool has_address = memcmp(ask->address, nobody, sizeof(nobody)) != 0;
    uint8_t type = answer_to(ask, own);
    struct net_offload offload = {0};

    if (type == 0)
        return false;
    memset(ret, 0, NAT_LEASE_SIZE);
    put_message(ret + NET_ETHERNET + IP_HEADER + UDP_HEADER, type, ask,
                ask->type == INFORM ? nobody : own);
    if (type == NAK || (!has_address && ask->broadcast))
        put_headers(ret, ask, all);
    else
        put_headers(ret, ask, has_address ? ask->address : own);
    const struct iovec iov = {ret, NAT_LEASE_SIZE};
    const struct net_headers headers = net_headers_parse(ret, NAT_LEASE_SIZE);
    net_headers_prepare(ret, &headers, NAT_LEASE_SIZE, &offload);
    const struct net_frame frame = {&iov, 1, NAT_LEASE_SIZE, offload};
    (void)net_finish_checksum(&frame, ret);
    return true;
}
