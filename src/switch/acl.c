#include "switch/acl.h"

#include <errno.h>
#include <string.h>

/* A frame as the guest sees it. */
struct packet {
    struct frame_address local, remote;
    uint16_t local_port, remote_port;
    uint8_t mac[FRAME_MAC_SIZE]; /* of the remote */
    uint8_t protocol;
    bool has_addresses, has_local, out, is_unclear;
};

/* ARP has a sender; whom it asks for is no peer yet. */
static struct packet packet_of(const struct frame *frame, bool out)
{
    struct packet ret = {.out = out, .protocol = frame->protocol, .is_unclear = frame->is_unclear};

    memcpy(ret.mac, out ? frame->destination : frame->source, sizeof(ret.mac));
    if (frame->has_ip) {
        ret.has_addresses = ret.has_local = true;
        ret.local = out ? frame->from : frame->to;
        ret.remote = out ? frame->to : frame->from;
    } else if (frame->has_arp && out) {
        ret.has_local = true;
        ret.local = frame->arp_address;
    } else if (frame->has_arp) {
        ret.has_addresses = true;
        ret.remote = frame->arp_address;
    }
    if (frame->has_ports) {
        ret.local_port = out ? frame->from_port : frame->to_port;
        ret.remote_port = out ? frame->to_port : frame->from_port;
    }
    return ret;
}

bool acl_prefix_has(const struct acl_prefix *prefix, const struct frame_address *address)
{
    unsigned whole = prefix->length / 8;
    unsigned bits = prefix->length % 8;

    if (memcmp(prefix->address.bytes, address->bytes, whole) != 0)
        return false;
    return bits == 0 || (prefix->address.bytes[whole] ^ address->bytes[whole]) >> (8 - bits) == 0;
}

static bool matches(const struct acl_rule *rule, const struct packet *packet)
{
    if (packet->out ? !rule->out : !rule->in)
        return false;
    if (rule->remote.length != 0 &&
        (!packet->has_addresses || !acl_prefix_has(&rule->remote, &packet->remote)))
        return false;
    if (rule->local.length != 0 &&
        (!packet->has_local || !acl_prefix_has(&rule->local, &packet->local)))
        return false;
    if (rule->has_mac && memcmp(rule->mac, packet->mac, sizeof(rule->mac)) != 0)
        return false;
    if (packet->is_unclear && rule->action == ACL_DENY) /* it may be what is denied */
        return true;
    return (rule->protocol == 0 || rule->protocol == packet->protocol) &&
           (rule->local_port == 0 || rule->local_port == packet->local_port) &&
           (rule->remote_port == 0 || rule->remote_port == packet->remote_port);
}

static unsigned closeness(const struct acl_rule *rule)
{
    return rule->has_mac ? ACL_PREFIX_BITS + 1 : rule->remote.length;
}

/* Whether `a` goes before `b`. */
static bool is_closer(const struct acl_rule *a, const struct acl_rule *b)
{
    if (a->action != ACL_METER && a->weight != b->weight)
        return a->weight > b->weight;
    if (closeness(a) != closeness(b))
        return closeness(a) > closeness(b);
    if (a->local.length != b->local.length)
        return a->local.length > b->local.length;
    return a->action == ACL_DENY && b->action == ACL_ALLOW;
}

static struct acl_rule *closest(struct acl *acl, const struct packet *packet, bool meter)
{
    struct acl_rule *ret = NULL;

    for (unsigned i = 0; i < acl->count; i++) {
        struct acl_rule *rule = &acl->rule[i];
        if ((rule->action == ACL_METER) == meter && matches(rule, packet) &&
            (ret == NULL || is_closer(rule, ret)))
            ret = rule;
    }
    return ret;
}

static void count(struct acl_rule *rule, bool out, size_t length)
{
    if (rule == NULL)
        return;
    rule->frames[out]++;
    rule->bytes[out] += length;
}

/* ---- flows ---- */

enum { PROBES = 8 };

static unsigned place_of(const struct packet *packet)
{
    uint64_t key =
        (uint64_t)packet->local_port << 32 | (uint64_t)packet->remote_port << 8 | packet->protocol;

    for (unsigned i = 0; i < sizeof(packet->remote.bytes); i++)
        key = (key ^ packet->remote.bytes[i] ^ (uint64_t)packet->local.bytes[i] << 8) *
              UINT64_C(0x100000001b3);
    return (unsigned)(key >> 20) % ACL_FLOWS;
}

static bool is_alive(const struct acl_flow *flow, uint64_t now_ns)
{
    return flow->idle_ns != 0 && now_ns - flow->seen_ns <= flow->idle_ns;
}

static bool is_of(const struct acl_flow *flow, const struct packet *packet)
{
    return flow->idle_ns != 0 && flow->protocol == packet->protocol &&
           flow->local_port == packet->local_port && flow->remote_port == packet->remote_port &&
           memcmp(&flow->local, &packet->local, sizeof(flow->local)) == 0 &&
           memcmp(&flow->remote, &packet->remote, sizeof(flow->remote)) == 0;
}

static struct acl_flow *find_flow(struct acl *acl, const struct packet *packet, uint64_t now_ns)
{
    unsigned place = place_of(packet);

    for (unsigned i = 0; i < PROBES; i++) {
        struct acl_flow *flow = &acl->flow[(place + i) % ACL_FLOWS];
        if (is_of(flow, packet) && is_alive(flow, now_ns))
            return flow;
    }
    return NULL;
}

/* Where there is no room, the one that was idle longest gives way. */
static void remember_flow(struct acl *acl, const struct packet *packet, uint64_t idle_ns,
                          uint64_t now_ns)
{
    struct acl_flow *flow = find_flow(acl, packet, now_ns);
    unsigned place = place_of(packet);

    for (unsigned i = 0; flow == NULL && i < PROBES; i++) {
        struct acl_flow *other = &acl->flow[(place + i) % ACL_FLOWS];
        if (!is_alive(other, now_ns))
            flow = other;
    }
    if (flow == NULL) {
        flow = &acl->flow[place];
        for (unsigned i = 1; i < PROBES; i++) {
            struct acl_flow *other = &acl->flow[(place + i) % ACL_FLOWS];
            flow = other->seen_ns < flow->seen_ns ? other : flow;
        }
    }
    *flow = (struct acl_flow){
        .seen_ns = now_ns,
        .idle_ns = idle_ns,
        .local = packet->local,
        .remote = packet->remote,
        .local_port = packet->local_port,
        .remote_port = packet->remote_port,
        .protocol = packet->protocol,
        .out = packet->out,
    };
}

/* An answer in a flow that was allowed. Of TCP, the other side starts none of its own in it. */
static bool is_answer(struct acl *acl, const struct frame *frame, const struct packet *packet,
                      uint64_t now_ns)
{
    if (!frame->has_ip || frame->is_fragment)
        return false;
    struct acl_flow *flow = find_flow(acl, packet, now_ns);
    if (flow == NULL || flow->out == packet->out || frame->starts_flow)
        return false;
    flow->seen_ns = now_ns;
    return true;
}

/* ---- rules ---- */

int acl_add(struct acl *acl, const struct acl_rule *rule)
{
    bool stateful_allow = rule->stateful && rule->action == ACL_ALLOW && rule->idle_ns != 0;

    if ((!rule->in && !rule->out) || rule->remote.length > ACL_PREFIX_BITS ||
        rule->local.length > ACL_PREFIX_BITS || (rule->stateful && !stateful_allow))
        return -EINVAL;
    if (acl->count == ACL_RULES)
        return -ENOSPC;
    acl->rule[acl->count] = *rule;
    memset(acl->rule[acl->count].frames, 0, sizeof(rule->frames));
    memset(acl->rule[acl->count].bytes, 0, sizeof(rule->bytes));
    acl->count++;
    return 0;
}

int acl_remove(struct acl *acl, unsigned number)
{
    if (number >= acl->count)
        return -ENOENT;
    if (acl->rule[number].stateful)
        memset(acl->flow, 0, sizeof(acl->flow));
    acl->count--;
    memmove(&acl->rule[number], &acl->rule[number + 1],
            (acl->count - number) * sizeof(acl->rule[0]));
    return 0;
}

bool acl_pass(struct acl *acl, const struct frame *frame, bool out, size_t length, uint64_t now_ns)
{
    if (acl->count == 0)
        return true;
    const struct packet packet = packet_of(frame, out);
    bool pass = is_answer(acl, frame, &packet, now_ns);

    if (!pass) {
        struct acl_rule *rule = closest(acl, &packet, false);
        count(rule, out, length);
        pass = rule == NULL || rule->action == ACL_ALLOW;
        if (rule != NULL && rule->stateful && frame->has_ip && !frame->is_fragment)
            remember_flow(acl, &packet, rule->idle_ns, now_ns);
    }
    if (pass)
        count(closest(acl, &packet, true), out, length);
    return pass;
}
