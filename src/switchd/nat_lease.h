/*
 * The NAT's DHCP (RFC 2131): one address for each guest, the one of its place. libslirp has its
 * own, which knows 16 guests and never forgets one.
 */
#ifndef SWITCHD_NAT_LEASE_H
#define SWITCHD_NAT_LEASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    NAT_LEASE_SIZE = 14 + 20 + 8 + 300, /* of an answer, a whole frame */
    NAT_DECLINE = 4,                    /* a type: someone else has the address */
};

struct nat_ask {
    uint8_t type; /* of DHCP */
    bool broadcast;
    uint8_t id[4];
    uint8_t address[4]; /* that it uses; zero: none */
    uint8_t wish[4];    /* that it asks for, or uses; zero: none */
    uint8_t mac[6];
};

/* Of a frame that nat_frame_parse() calls a NAT_LEASE; false: it asks nothing of this server. */
bool nat_lease_parse(const uint8_t *bytes, size_t length, struct nat_ask *ret);
/* What to say about 10.0.2.<place>: false: nothing. */
bool nat_lease_answer(const struct nat_ask *ask, uint8_t place, uint8_t ret[NAT_LEASE_SIZE]);

#endif
