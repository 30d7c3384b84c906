/*
 * Rules of a port: what may pass between its guest and whom, and what is counted.
 *
 * "Local" is the guest behind the port, "remote" the peer; "out" is what the guest sends. Of the
 * rules that match, allow and deny: the greatest weight decides, then the longest remote prefix,
 * the longest local one, then deny. None: the frame passes. Rules that meter never decide; each
 * frame is counted by the one with the longest remote prefix. A rule with an address matches ARP
 * too, by the sender's. A MAC address counts as longer than any prefix.
 *
 * A stateful rule that allows remembers the flow; frames of the same flow the other way pass,
 * whatever the rules say, until it was idle for its time.
 */
#ifndef SWITCH_ACL_H
#define SWITCH_ACL_H

#include "switch/frame.h"

enum { ACL_RULES = 128, ACL_FLOWS = 512, ACL_PREFIX_BITS = 128 };

enum acl_action { ACL_ALLOW, ACL_DENY, ACL_METER };

/* An address of IPv4 has 96 bits more: 10.0.0.0/8 is ::ffff:10.0.0.0/104. Length 0: any. */
struct acl_prefix {
    struct frame_address address;
    uint8_t length;
};

struct acl_rule {
    enum acl_action action;
    bool in, out; /* one of them at least */
    bool stateful;
    uint16_t weight;
    struct acl_prefix local, remote;
    bool has_mac; /* the remote is known by its MAC address, instead of by `remote` */
    uint8_t mac[FRAME_MAC_SIZE];
    uint8_t protocol;                 /* 0: any */
    uint16_t local_port, remote_port; /* 0: any */
    uint64_t idle_ns;                 /* of a stateful rule */
    uint64_t frames[2], bytes[2];     /* what it decided or metered: in, out */
};

struct acl_flow {
    uint64_t seen_ns, idle_ns; /* idle_ns 0: empty */
    struct frame_address local, remote;
    uint16_t local_port, remote_port;
    uint8_t protocol;
    bool out; /* the first frame was the guest's */
};

struct acl {
    unsigned count;
    struct acl_rule rule[ACL_RULES];
    struct acl_flow flow[ACL_FLOWS];
};

/* -EINVAL: the rule makes no sense; -ENOSPC. The counters start at 0. */
int acl_add(struct acl *acl, const struct acl_rule *rule);
/* The flows that a rule allowed go with it. -ENOENT. */
int acl_remove(struct acl *acl, unsigned number);
/* Decide about a frame of `length` bytes, count it and remember its flow. True: it may pass. */
bool acl_pass(struct acl *acl, const struct frame *frame, bool out, size_t length, uint64_t now_ns);
bool acl_prefix_has(const struct acl_prefix *prefix, const struct frame_address *address);

#endif
