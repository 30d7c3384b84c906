/*
 * Network service: one synthetic network card on VMBus, the host's side of netvsc. Behind it is a
 * port (src/net/port.h), which stays the caller's and must outlive it.
 *
 * Threads: the loop's. Nothing waits: what the port does not take for a while is dropped, and what
 * the guest does not take stays in the port.
 */
#ifndef VSP_NETVSP_H
#define VSP_NETVSP_H

#include "base/loop.h"
#include "base/reason.h"
#include "mem/mem.h"
#include "net/port.h"
#include "vmbus/vmbus.h"

struct netvsp;

enum {
    NETVSP_MAX_CARDS = 8,
    NETVSP_MAX_SUBCHANNELS = 15,
    NETVSP_MOST_MTU = 9000,
    NETVSP_LEAST_MTU = 576,
    NETVSP_NO_VLAN = 0,
};

struct netvsp_config {
    struct vmbus *vmbus;
    struct mem *mem;
    struct loop *loop;
    struct net_port *port;
    unsigned card; /* part of the instance id, so it lasts over restarts */
    uint8_t mac[NET_MAC_SIZE];
    unsigned mtu;             /* the most that the guest may set */
    unsigned vlan;            /* the guest is within this one and sees no tags; or NETVSP_NO_VLAN */
    unsigned max_subchannels; /* offered to the guest */
};

/* -EINVAL, -ENOMEM, or what vmbus_offer said. */
int netvsp_create(const struct netvsp_config *config, struct netvsp **ret, struct reason *reason);
/* NULL is accepted. */
void netvsp_destroy(struct netvsp *netvsp);

/* Plug the cable in or out, beside what the port says of its own. */
void netvsp_set_link(struct netvsp *netvsp, bool up);

struct netvsp_counters {
    uint64_t frames, bytes, dropped;
};
struct netvsp_report {
    uint8_t id[16]; /* of its channel: its instance */
    uint8_t mac[NET_MAC_SIZE];
    bool link;        /* as the guest sees it */
    bool used;        /* the guest has brought its interface up */
    unsigned version; /* of NVSP: major << 16 | minor; 0: none yet */
    unsigned mtu;     /* that the guest set */
    unsigned channels;
    struct netvsp_counters sent, received; /* seen from the guest */
};
void netvsp_describe(const struct netvsp *netvsp, struct netvsp_report *ret);

#endif
