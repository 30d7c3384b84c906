/*
 * Invariant: whatever frames ports send and however they are configured, no frame goes back, none
 * leaves its VLAN, none passes between isolated ports, and each is in one counter.
 *
 * The input is a sequence of actions: a byte that chooses, then what the action needs.
 */
#include "switch/forward.h"

#include <stdlib.h>
#include <string.h>

#include "tests/harness/fuzz_input.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length);

enum { PORTS = 6 };

static struct switch_core core;
static uint64_t sent, now;

static void require(bool what)
{
    if (!what)
        abort();
}

static void configure(struct fuzz_input *in)
{
    unsigned port = (unsigned)fuzz_take(in, 1) % PORTS;
    uint8_t flags = (uint8_t)fuzz_take(in, 1);
    struct switch_port_config config = {
        .mac = {0, 0x15, 0x5d, 0, 0, (uint8_t)port},
        .uplink = (flags & 1) != 0,
        .may_spoof = (flags & 2) != 0,
        .isolated = (flags & 4) != 0,
        .trunk = (flags & 8) != 0,
        .dhcp_guard = (flags & 16) != 0,
        .router_guard = (flags & 32) != 0,
        .mirror = (enum switch_mirror)(flags >> 6) % 3,
        .vlan = (uint16_t)fuzz_take(in, 1) % 4,
        .allowed = {fuzz_take(in, 1)},
        .storm_rate = fuzz_take(in, 1),
    };

    require(switch_change_port(&core, port, &config, now) == 0);
}

static void take_prefix(struct fuzz_input *in, struct acl_prefix *ret)
{
    fuzz_take_bytes(in, ret->address.bytes, sizeof(ret->address.bytes));
    ret->length = (uint8_t)fuzz_take(in, 1);
}

static void add_rule(struct fuzz_input *in)
{
    struct acl *acl = &core.port[fuzz_take(in, 1) % PORTS].acl;
    uint8_t flags = (uint8_t)fuzz_take(in, 1);
    struct acl_rule rule = {
        .action = (enum acl_action)(flags & 3) % 3,
        .in = (flags & 4) != 0,
        .out = (flags & 8) != 0,
        .stateful = (flags & 16) != 0,
        .idle_ns = fuzz_take(in, 1),
        .weight = (uint16_t)fuzz_take(in, 1),
        .protocol = (uint8_t)fuzz_take(in, 1),
        .local_port = (uint16_t)fuzz_take(in, 2),
    };

    take_prefix(in, &rule.local);
    take_prefix(in, &rule.remote);
    (void)acl_add(acl, &rule);
}

static bool is_member(unsigned port, uint16_t vlan)
{
    const struct switch_port_config *config = &core.port[port].config;

    return vlan == config->vlan ||
           (config->trunk && vlan != 0 && vlan < 8 && (config->allowed[0] >> vlan & 1) != 0);
}

static void check(unsigned from, const struct switch_verdict *verdict)
{
    uint64_t all = verdict->ports | verdict->mirrors;

    require((all >> from & 1) == 0 && (verdict->ports & verdict->mirrors) == 0);
    require((all != 0) == (verdict->reason == SWITCH_PASSED));
    require(all >> PORTS == 0);
    for (unsigned i = 0; i < PORTS; i++) {
        if ((all >> i & 1) == 0)
            continue;
        require(is_member(from, verdict->vlan) && is_member(i, verdict->vlan));
        require((verdict->ports >> i & 1) == 0 || !core.port[from].config.isolated ||
                !core.port[i].config.isolated);
    }
}

/* In memory of its own, so that what is read behind its end is seen. */
static void send(struct fuzz_input *in)
{
    unsigned from = (unsigned)fuzz_take(in, 1) % PORTS;
    size_t length = (size_t)fuzz_take(in, 2) % 400;
    uint8_t *bytes = malloc(length + 1);
    struct switch_verdict verdict;

    if (bytes == NULL)
        return;
    fuzz_take_bytes(in, bytes, length);
    switch_forward(&core, from, bytes, length, now, &verdict);
    free(bytes);
    check(from, &verdict);
    sent++;
}

static void act(struct fuzz_input *in)
{
    switch (fuzz_take(in, 1) % 8) {
    case 0:
        configure(in);
        break;
    case 1:
        add_rule(in);
        break;
    case 2:
        now += fuzz_take(in, 4);
        break;
    default:
        send(in);
        break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
    struct fuzz_input in = {bytes, length};
    uint64_t counted = 0;

    learn_init(&core.learn, 1 << 20); /* and the few ports, not all of the core: that takes long */
    sent = 0;
    now = 1;
    for (unsigned i = 0; i < PORTS; i++) {
        core.port[i].present = false;
        const struct switch_port_config config = {.uplink = i == 0,
                                                  .mac = {0, 0x15, 0x5d, 0, 0, (uint8_t)i}};
        require(switch_add_port(&core, i, &config, now) == 0);
    }
    while (in.left > 0)
        act(&in);
    for (unsigned i = 0; i < PORTS * SWITCH_REASONS; i++)
        counted += core.port[i / SWITCH_REASONS].in_frames[i % SWITCH_REASONS];
    require(counted == sent);
    return 0;
}
