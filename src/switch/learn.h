/*
 * Which port a MAC address is behind: a table of fixed size, filled by what ports send.
 *
 * An address belongs to a VLAN. Entries age; a port may have only so many, so that none can push
 * the others' out (IEEE 802.1Q § 8.8). Time is the caller's.
 */
#ifndef SWITCH_LEARN_H
#define SWITCH_LEARN_H

#include <stdbool.h>
#include <stdint.h>

#include "switch/frame.h"

enum {
    LEARN_ENTRIES = 4096, /* a power of two */
    LEARN_MOST_OF_A_PORT = 1024,
    LEARN_PORTS = 64,
};

struct learn_entry {
    uint64_t seen_ns; /* 0: empty */
    uint16_t vlan;
    uint8_t port;
    uint8_t mac[FRAME_MAC_SIZE];
};

struct learn {
    uint64_t age_ns, swept_ns;
    unsigned of_port[LEARN_PORTS];
    struct learn_entry entry[LEARN_ENTRIES];
};

void learn_init(struct learn *learn, uint64_t age_ns);
/* A port sent from this address; `now_ns` is not 0 and does not go back. */
void learn_source(struct learn *learn, const uint8_t *mac, uint16_t vlan, unsigned port,
                  uint64_t now_ns);
/* The port, or -1. */
int learn_find(const struct learn *learn, const uint8_t *mac, uint16_t vlan, uint64_t now_ns);
void learn_forget_port(struct learn *learn, unsigned port);

#endif
