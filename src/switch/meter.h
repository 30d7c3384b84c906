/*
 * With whom a port's guest exchanges how much: a table of peers of fixed size. Those for whom there
 * is no place are counted together.
 */
#ifndef SWITCH_METER_H
#define SWITCH_METER_H

#include "switch/frame.h"

enum { METER_PEERS = 256 };

struct meter_peer {
    struct frame_address address;
    uint64_t frames[2], bytes[2]; /* to the guest, from it */
};

struct meter {
    unsigned count;
    struct meter_peer peer[METER_PEERS];
    uint16_t index[METER_PEERS * 2]; /* place by hash: number of the peer + 1; 0: none */
    struct meter_peer others;        /* no place, or no IP */
};

void meter_count(struct meter *meter, const struct frame *frame, bool from_guest, size_t length);

#endif
