/*
 * Where a frame goes: the switch without its sockets. It does no I/O, has no clock of its own and
 * allocates nothing for a frame.
 *
 *   bytes -> frame_parse -> switch_forward: admission (VLAN, guards, rules, storm) -> a set of
 * ports
 *
 * 1. No frame goes back to the port that it came from.
 * 2. A frame leaves only by ports that are members of its VLAN.
 * 3. Between two isolated ports nothing passes.
 * 4. Each frame that came in is in one counter: passed, or one of the reasons.
 */
#ifndef SWITCH_FORWARD_H
#define SWITCH_FORWARD_H

#include "switch/acl.h"
#include "switch/frame.h"
#include "switch/learn.h"
#include "switch/meter.h"
#include "switch/shape.h"

enum { SWITCH_PORTS = 64 };

enum switch_reason {
    SWITCH_PASSED,
    SWITCH_MALFORMED,
    SWITCH_OTHER_VLAN, /* the port is no member of the frame's */
    SWITCH_SPOOFED,    /* a source address that is not the port's */
    SWITCH_DHCP_SERVER,
    SWITCH_ROUTER,
    SWITCH_DENIED, /* by a rule, of its own port */
    SWITCH_STORM,
    SWITCH_NO_PORT, /* nobody is there who may have it */
    SWITCH_REASONS,
};
const char *switch_reason_name(enum switch_reason reason);

enum switch_mirror { SWITCH_NO_MIRROR, SWITCH_MIRROR_SOURCE, SWITCH_MIRROR_DESTINATION };

struct switch_port_config {
    uint8_t mac[FRAME_MAC_SIZE];
    bool uplink;       /* the way out: any address may be behind it, no guard looks at it */
    bool may_spoof;    /* any source address */
    bool dhcp_guard;   /* it is no DHCP server */
    bool router_guard; /* it is no router */
    bool isolated;
    enum switch_mirror mirror;
    uint16_t vlan;        /* of frames without a tag; 0: the VLAN that has no tag */
    bool trunk;           /* frames with tags of `allowed` may come and go */
    uint64_t allowed[64]; /* a bit for each VLAN */
    uint64_t storm_rate;  /* frames a second to all or to unknown places; 0: no limit */
};

struct switch_port {
    bool present;
    struct switch_port_config config;
    struct shape storm;
    struct acl acl;
    struct meter meter;
    uint64_t in_frames[SWITCH_REASONS], in_bytes; /* from the guest; bytes of those that passed */
    uint64_t out_frames, out_bytes;               /* for the guest */
    uint64_t denied_out;                          /* for the guest, but its rules say no */
};

struct switch_core {
    struct learn learn;
    struct switch_port port[SWITCH_PORTS];
};

struct switch_verdict {
    enum switch_reason reason;
    uint64_t ports;   /* a bit for each that gets it; 0 unless it passed */
    uint64_t mirrors; /* further ports that get a copy */
    uint16_t vlan;    /* the frame's; 0: the one without a tag */
};

void switch_init(struct switch_core *core, uint64_t age_ns);
/* Rules and counters start anew. -EINVAL: a VLAN above 4094, or a MAC address of many. -EEXIST. */
int switch_add_port(struct switch_core *core, unsigned port,
                    const struct switch_port_config *config, uint64_t now_ns);
/* The same for a port that is there; its rules and counters stay. */
int switch_change_port(struct switch_core *core, unsigned port,
                       const struct switch_port_config *config, uint64_t now_ns);
void switch_remove_port(struct switch_core *core, unsigned port);

/* A frame of `length` bytes came from a port that is there; FRAME_LOOKED_AT bytes are looked at. */
void switch_forward(struct switch_core *core, unsigned port, const uint8_t *bytes, size_t length,
                    uint64_t now_ns, struct switch_verdict *ret);
/* Is it for one guest of this switch? Nothing is counted or learnt. */
bool switch_stays(const struct switch_core *core, unsigned port, const uint8_t *bytes,
                  size_t length);
/* With which VLAN's tag a frame leaves by this port; 0: without. */
uint16_t switch_tag(const struct switch_core *core, unsigned port, uint16_t vlan);

#endif
