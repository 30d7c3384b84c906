#include "switch/forward.h"

#include <errno.h>
#include <string.h>

static const char *const reason_names[SWITCH_REASONS] = {
    [SWITCH_PASSED] = "passed",
    [SWITCH_MALFORMED] = "malformed",
    [SWITCH_OTHER_VLAN] = "other-vlan",
    [SWITCH_SPOOFED] = "mac-spoofing",
    [SWITCH_DHCP_SERVER] = "dhcp-guard",
    [SWITCH_ROUTER] = "router-guard",
    [SWITCH_DENIED] = "acl",
    [SWITCH_STORM] = "storm",
    [SWITCH_NO_PORT] = "no-port",
};

const char *switch_reason_name(enum switch_reason reason)
{
    return reason_names[reason];
}

/* ---- ports ---- */

static bool has_vlan(const uint64_t *set, uint16_t vlan)
{
    return (set[vlan / 64] >> vlan % 64 & 1) != 0;
}

static int check_config(const struct switch_port_config *config)
{
    return config->vlan >= FRAME_VLANS || frame_is_multicast(config->mac) ||
                   has_vlan(config->allowed, FRAME_VLANS)
               ? -EINVAL
               : 0;
}

static void take_config(struct switch_port *port, const struct switch_port_config *config,
                        uint64_t now_ns)
{
    port->config = *config;
    shape_set(&port->storm, config->storm_rate, config->storm_rate, now_ns);
}

void switch_init(struct switch_core *core, uint64_t age_ns)
{
    memset(core, 0, sizeof(*core));
    learn_init(&core->learn, age_ns);
}

int switch_add_port(struct switch_core *core, unsigned port,
                    const struct switch_port_config *config, uint64_t now_ns)
{
    int error = port < SWITCH_PORTS ? check_config(config) : -EINVAL;

    if (error == 0 && core->port[port].present)
        error = -EEXIST;
    if (error < 0)
        return error;
    memset(&core->port[port], 0, sizeof(core->port[port]));
    core->port[port].present = true;
    take_config(&core->port[port], config, now_ns);
    return 0;
}

/* What was learnt of it may not hold in other VLANs. */
int switch_change_port(struct switch_core *core, unsigned port,
                       const struct switch_port_config *config, uint64_t now_ns)
{
    int error = check_config(config);

    if (error < 0)
        return error;
    take_config(&core->port[port], config, now_ns);
    learn_forget_port(&core->learn, port);
    return 0;
}

void switch_remove_port(struct switch_core *core, unsigned port)
{
    core->port[port].present = false;
    learn_forget_port(&core->learn, port);
}

/* ---- admission ---- */

static bool is_member(const struct switch_port_config *config, uint16_t vlan)
{
    return vlan == config->vlan || (config->trunk && vlan != 0 && has_vlan(config->allowed, vlan));
}

static bool is_tag(uint16_t type)
{
    return type == FRAME_VLAN || type == FRAME_SERVICE_VLAN || type == FRAME_OLD_SERVICE_VLAN;
}

/*
 * A tag of VLAN 0 has a priority only. An access port takes no other tag, not even its own. A
 * second tag behind the first is refused: once the first is taken off, it would say where the frame
 * goes. So is a service tag: what it hides is looked at by receivers, and by no guard.
 */
static bool take_vlan(const struct switch_port_config *config, const struct frame *frame,
                      uint16_t *ret)
{
    *ret = frame->vlan == 0 ? config->vlan : frame->vlan;
    if (is_tag(frame->type))
        return false;
    return frame->vlan == 0 || (config->trunk && is_member(config, frame->vlan));
}

static bool is_spoofed(const struct switch_port_config *config, const struct frame *frame)
{
    if (frame_is_multicast(frame->source))
        return true;
    if (config->uplink || config->may_spoof)
        return false;
    return memcmp(frame->source, config->mac, FRAME_MAC_SIZE) != 0 ||
           (frame->has_arp && memcmp(frame->arp_mac, config->mac, FRAME_MAC_SIZE) != 0);
}

static enum switch_reason admit(struct switch_port *port, const struct frame *frame, size_t length,
                                uint64_t now_ns, uint16_t *ret_vlan)
{
    const struct switch_port_config *config = &port->config;

    if (!take_vlan(config, frame, ret_vlan))
        return SWITCH_OTHER_VLAN;
    if (is_spoofed(config, frame))
        return SWITCH_SPOOFED;
    if (!config->uplink && config->dhcp_guard && frame_is_from_dhcp_server(frame))
        return SWITCH_DHCP_SERVER;
    if (!config->uplink && config->router_guard && frame_is_from_router(frame))
        return SWITCH_ROUTER;
    return acl_pass(&port->acl, frame, true, length, now_ns) ? SWITCH_PASSED : SWITCH_DENIED;
}

/* ---- destinations ---- */

/* The addresses of guests are known, whatever somebody else may claim; and an uplink's is not. */
static int owner_of(const struct switch_core *core, const uint8_t *mac, uint16_t vlan)
{
    for (int i = 0; i < SWITCH_PORTS; i++) {
        const struct switch_port *port = &core->port[i];
        if (port->present && !port->config.uplink && is_member(&port->config, vlan) &&
            memcmp(port->config.mac, mac, FRAME_MAC_SIZE) == 0)
            return i;
    }
    return -1;
}

static bool may_reach(const struct switch_core *core, unsigned from, unsigned to, uint16_t vlan)
{
    const struct switch_port_config *source = &core->port[from].config;
    const struct switch_port *target = &core->port[to];

    return to != from && target->present && is_member(&target->config, vlan) &&
           !(source->isolated && target->config.isolated);
}

static uint64_t all_of(const struct switch_core *core, unsigned from, uint16_t vlan)
{
    uint64_t ret = 0;

    for (unsigned i = 0; i < SWITCH_PORTS; i++) {
        if (may_reach(core, from, i, vlan))
            ret |= UINT64_C(1) << i;
    }
    return ret;
}

/* A guest's own port needs no frames for unknown places: its address is known. */
static uint64_t unknown_of(const struct switch_core *core, unsigned from, uint16_t vlan)
{
    uint64_t ret = all_of(core, from, vlan);

    for (unsigned i = 0; i < SWITCH_PORTS; i++) {
        const struct switch_port_config *config = &core->port[i].config;
        if (!config->uplink && !config->may_spoof)
            ret &= ~(UINT64_C(1) << i);
    }
    return ret;
}

/* False: for many or for an unknown place, and more of those than the port may send. */
static bool find_ports(struct switch_core *core, unsigned from, const struct frame *frame,
                       uint16_t vlan, uint64_t now_ns, uint64_t *ret)
{
    bool many = frame_is_multicast(frame->destination);
    int to = many ? -1 : owner_of(core, frame->destination, vlan);

    if (to < 0 && !many)
        to = learn_find(&core->learn, frame->destination, vlan, now_ns);
    if (to >= 0) {
        *ret = may_reach(core, from, (unsigned)to, vlan) ? UINT64_C(1) << to : 0;
        return true;
    }
    *ret = many ? all_of(core, from, vlan) : unknown_of(core, from, vlan);
    return shape_take(&core->port[from].storm, 1, now_ns);
}

/* Each guest's own rules for what it gets. */
static void keep_allowed(struct switch_core *core, const struct frame *frame, size_t length,
                         uint64_t now_ns, uint64_t *ports)
{
    for (uint64_t rest = *ports; rest != 0; rest &= rest - 1) {
        unsigned index = (unsigned)__builtin_ctzll(rest);
        struct switch_port *port = &core->port[index];
        if (!acl_pass(&port->acl, frame, false, length, now_ns)) {
            port->denied_out++;
            *ports &= ~(UINT64_C(1) << index);
            continue;
        }
        port->out_frames++;
        port->out_bytes += length;
        meter_count(&port->meter, frame, false, length);
    }
}

/* What a source of a mirror sends or gets is copied, within its VLAN. */
static uint64_t mirrors_of(const struct switch_core *core, unsigned from, uint64_t ports,
                           uint16_t vlan)
{
    bool wanted = core->port[from].config.mirror == SWITCH_MIRROR_SOURCE;
    uint64_t ret = 0;

    for (unsigned i = 0; i < SWITCH_PORTS; i++) {
        const struct switch_port *port = &core->port[i];
        uint64_t bit = UINT64_C(1) << i;
        if ((ports & bit) != 0 && port->config.mirror == SWITCH_MIRROR_SOURCE)
            wanted = true;
        if (port->present && port->config.mirror == SWITCH_MIRROR_DESTINATION && i != from &&
            is_member(&port->config, vlan) && (ports & bit) == 0)
            ret |= bit;
    }
    return wanted ? ret : 0;
}

static void forward(struct switch_core *core, unsigned from, const struct frame *frame,
                    size_t length, uint64_t now_ns, struct switch_verdict *ret)
{
    struct switch_port *port = &core->port[from];
    uint64_t ports = 0;

    ret->reason = admit(port, frame, length, now_ns, &ret->vlan);
    if (ret->reason != SWITCH_PASSED)
        return;
    if (port->config.uplink || port->config.may_spoof)
        learn_source(&core->learn, frame->source, ret->vlan, from, now_ns);
    if (!find_ports(core, from, frame, ret->vlan, now_ns, &ports)) {
        ret->reason = SWITCH_STORM;
        return;
    }
    keep_allowed(core, frame, length, now_ns, &ports);
    ret->mirrors = mirrors_of(core, from, ports, ret->vlan);
    ret->ports = ports;
    if ((ports | ret->mirrors) == 0)
        ret->reason = SWITCH_NO_PORT;
    else
        meter_count(&port->meter, frame, true, length);
}

void switch_forward(struct switch_core *core, unsigned port, const uint8_t *bytes, size_t length,
                    uint64_t now_ns, struct switch_verdict *ret)
{
    struct frame frame;

    *ret = (struct switch_verdict){.reason = SWITCH_MALFORMED};
    if (frame_parse(bytes, length, &frame))
        forward(core, port, &frame, length, now_ns, ret);
    core->port[port].in_frames[ret->reason]++;
    if (ret->reason == SWITCH_PASSED)
        core->port[port].in_bytes += length;
}

bool switch_stays(const struct switch_core *core, unsigned port, const uint8_t *bytes,
                  size_t length)
{
    struct frame frame;
    uint16_t vlan = 0;

    return frame_parse(bytes, length, &frame) && !frame_is_multicast(frame.destination) &&
           take_vlan(&core->port[port].config, &frame, &vlan) &&
           owner_of(core, frame.destination, vlan) >= 0;
}

uint16_t switch_tag(const struct switch_core *core, unsigned port, uint16_t vlan)
{
    return vlan == core->port[port].config.vlan ? 0 : vlan;
}
