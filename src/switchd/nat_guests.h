/*
 * The guests of a NAT: which of its addresses each has, by the hardware address it sends from, and
 * how many sockets of the host it may hold. So that none can take what the others need.
 */
#ifndef SWITCHD_NAT_GUESTS_H
#define SWITCHD_NAT_GUESTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    NAT_HOST = 2, /* 10.0.2.2 */
    NAT_NAMES = 3,
    NAT_LEAST = 4,    /* the least address of a guest */
    NAT_LEASED = 15,  /* the least one that is leased */
    NAT_PLACES = 255, /* one more than the greatest */
    NAT_SOCKETS = 1024,
};

struct nat_guest {
    uint8_t mac[6];
    bool known;  /* by that address */
    bool pinned; /* the place stays whose it is: a forward leads there */
    uint64_t seen_ns;
    unsigned sockets; /* as counted at counted_ns */
    unsigned asked;   /* frames since, each of which may have opened one */
    uint64_t counted_ns;
};

struct nat_guests {
    struct nat_guest guest[NAT_PLACES]; /* by the last byte of 10.0.2.x */
    unsigned last;                      /* who sent the last frame */
};

/* Of an address; 0: it is none of a guest here. */
uint8_t nat_place_of(const uint8_t address[4]);

/* What a NAT makes of a frame. */
enum nat_kind { NAT_NOTHING, NAT_ARP, NAT_IP, NAT_LEASE /* DHCP, to a server */ };
struct nat_frame {
    enum nat_kind kind;
    uint8_t place; /* the sender's, by its own word; 0: none of this network */
    bool opens;    /* may make a socket */
};
struct nat_frame nat_frame_parse(const uint8_t *bytes, size_t length);

/*
 * The place of who sends from `mac`. One who is new gets `wished` (0: no wish) when that is free,
 * else the first free one, else that of who has been silent longest; `ret_new` says so, and his
 * other fields are zero. -1: every place is pinned.
 */
int nat_guests_place(struct nat_guests *guests, const uint8_t mac[6], uint8_t wished,
                     uint64_t now_ns, bool *ret_new);

/*
 * A guest uses the address of a place that a forward leads to, which it had not when it was first
 * heard of: its probe for others that have it comes from none (RFC 5227), and whose the place was
 * may be gone. It is its own from now on, unless another was heard there lately.
 */
void nat_guests_claim(struct nat_guests *guests, const uint8_t mac[6], uint8_t place,
                      uint64_t now_ns);
/* A guest found that someone else has its address: the place is nobody's, and the first to be given
 * away when there are no others. */
void nat_guests_decline(struct nat_guests *guests, const uint8_t mac[6], uint8_t place);

/*
 * Whether a frame that may open a socket goes on; `share` of them are a guest's. `count` tells how
 * many it has: called when that may have come to the share, but ten times a second at most where an
 * eighth of the share did not pass in between. Most datagrams belong to a socket that is there.
 */
bool nat_guest_may_open(struct nat_guest *guest, unsigned share, uint64_t now_ns,
                        unsigned (*count)(void *owner), void *owner);

#endif
