#include "switchd/nat_guests.h"

#include <string.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "net/headers.h"

enum {
    TYPE_IP4 = 0x0800,
    TYPE_ARP = 0x0806,
    ARP_SIZE = 28,
    ARP_SENDER = 14, /* offset of its protocol address */
    IP4_SOURCE = 12,
    TCP_FLAGS = 13,
    TCP_SYN = 0x02,
    TCP_ACK = 0x10,
    DHCP_SERVER = 67,
    RECOUNT_NS = NS_PER_SECOND / 10,
    COUNTED_PART = 8,
    SILENT_SECONDS = 30,
};

/* ---- frames ---- */

uint8_t nat_place_of(const uint8_t address[4])
{
    static const uint8_t network[] = {10, 0, 2};
    return memcmp(address, network, sizeof(network)) == 0 && address[3] >= NAT_LEAST &&
                   address[3] < NAT_PLACES
               ? address[3]
               : 0;
}

/* A connection begins with SYN alone. What does not show its flags may hide one. */
static bool opens(const uint8_t *bytes, const struct net_headers *headers)
{
    if (headers->protocol != NET_PROTOCOL_TCP)
        return true;
    uint8_t flags = bytes[headers->transport + TCP_FLAGS];
    return (flags & TCP_SYN) != 0 && (flags & TCP_ACK) == 0;
}

static struct nat_frame parse_ip(const uint8_t *bytes, size_t length)
{
    const struct net_headers headers = net_headers_parse(bytes, length);
    struct nat_frame ret = {.kind = NAT_IP};

    if (headers.ip_version != 4)
        return (struct nat_frame){0};
    ret.place = nat_place_of(bytes + headers.ip + IP4_SOURCE);
    if (headers.protocol == NET_PROTOCOL_UDP &&
        get_be16(bytes + headers.transport + 2) == DHCP_SERVER)
        ret.kind = NAT_LEASE;
    else
        ret.opens = opens(bytes, &headers);
    return ret;
}

/* libslirp's own addresses are 52:55 and IPv4's. What goes to another guest is not for it. */
static bool is_for_us(const uint8_t *bytes)
{
    return (bytes[0] & 1) != 0 || (bytes[0] == 0x52 && bytes[1] == 0x55);
}

struct nat_frame nat_frame_parse(const uint8_t *bytes, size_t length)
{
    if (length < NET_ETHERNET || !is_for_us(bytes))
        return (struct nat_frame){0};
    if (get_be16(bytes + 12) == TYPE_IP4)
        return parse_ip(bytes, length);
    if (get_be16(bytes + 12) == TYPE_ARP && length >= NET_ETHERNET + ARP_SIZE)
        return (struct nat_frame){.kind = NAT_ARP,
                                  .place = nat_place_of(bytes + NET_ETHERNET + ARP_SENDER)};
    return (struct nat_frame){0};
}

/* ---- places ---- */

static int find(const struct nat_guests *guests, const uint8_t mac[6])
{
    const struct nat_guest *last = &guests->guest[guests->last];

    if (last->known && memcmp(last->mac, mac, sizeof(last->mac)) == 0)
        return (int)guests->last;
    for (int i = NAT_LEAST; i < NAT_PLACES; i++) {
        const struct nat_guest *guest = &guests->guest[i];
        if (guest->known && memcmp(guest->mac, mac, sizeof(guest->mac)) == 0)
            return i;
    }
    return -1;
}

static int find_free(const struct nat_guests *guests, uint8_t wished)
{
    int silent = -1;

    if (wished >= NAT_LEAST && wished < NAT_PLACES && !guests->guest[wished].known)
        return wished;
    for (int i = NAT_LEASED; i < NAT_PLACES; i++) {
        const struct nat_guest *guest = &guests->guest[i];
        if (!guest->known)
            return i;
        if (!guest->pinned && (silent < 0 || guest->seen_ns < guests->guest[silent].seen_ns))
            silent = i;
    }
    return silent;
}

int nat_guests_place(struct nat_guests *guests, const uint8_t mac[6], uint8_t wished,
                     uint64_t now_ns, bool *ret_new)
{
    int at = find(guests, mac);

    *ret_new = at < 0;
    if (at < 0)
        at = find_free(guests, wished);
    if (at < 0)
        return -1;
    struct nat_guest *guest = &guests->guest[at];
    if (*ret_new) {
        *guest = (struct nat_guest){.known = true, .pinned = guest->pinned};
        memcpy(guest->mac, mac, sizeof(guest->mac));
    }
    guest->seen_ns = now_ns;
    guests->last = (unsigned)at;
    return at;
}

static void leave(struct nat_guest *guest)
{
    *guest = (struct nat_guest){.pinned = guest->pinned};
}

void nat_guests_claim(struct nat_guests *guests, const uint8_t mac[6], uint8_t place,
                      uint64_t now_ns)
{
    struct nat_guest *there = &guests->guest[place];

    if (!there->pinned)
        return;
    int at = find(guests, mac);
    if (at == place ||
        (there->known && now_ns - there->seen_ns < (uint64_t)SILENT_SECONDS * NS_PER_SECOND))
        return;
    if (at >= 0)
        leave(&guests->guest[at]);
    leave(there);
}

void nat_guests_decline(struct nat_guests *guests, const uint8_t mac[6], uint8_t place)
{
    if (place == 0 || find(guests, mac) != place)
        return;
    leave(&guests->guest[place]);
    guests->guest[place].known = true; /* by an address that no card has */
}

/* ---- shares ---- */

/* To count costs as much as there are sockets: not for each frame. */
static bool may_count(const struct nat_guest *guest, unsigned share, uint64_t now_ns)
{
    return guest->asked >= share / COUNTED_PART || now_ns - guest->counted_ns >= RECOUNT_NS;
}

bool nat_guest_may_open(struct nat_guest *guest, unsigned share, uint64_t now_ns,
                        unsigned (*count)(void *owner), void *owner)
{
    if (guest->sockets + guest->asked >= share && may_count(guest, share, now_ns)) {
        guest->sockets = count(owner);
        guest->asked = 0;
        guest->counted_ns = now_ns;
    }
    if (guest->sockets + guest->asked >= share)
        return false;
    guest->asked++;
    return true;
}
