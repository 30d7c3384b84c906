/* cmocka needs what it builds on before itself. */
/* clang-format off */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
/* clang-format on */

#include "switch/forward.h"

#include <errno.h>

#include "base/clock.h"
#include "switch/switch_fixture.h"

static struct switch_core core;

enum { UPLINK = 0 };

static struct switch_port_config config_of(unsigned port)
{
    struct switch_port_config ret = {
        .mac = {0, 0x15, 0x5d, 0, 0, (uint8_t)port}, .dhcp_guard = true, .router_guard = true};

    ret.uplink = port == UPLINK;
    return ret;
}

static void add_port(unsigned port, struct switch_port_config config)
{
    assert_int_equal(switch_add_port(&core, port, &config, 1), 0);
}

/* An uplink 0 and guests 1 to 4. */
static int set_up(void **state)
{
    (void)state;
    switch_init(&core, 300 * (uint64_t)NS_PER_SECOND);
    for (unsigned i = 0; i < 5; i++)
        add_port(i, config_of(i));
    return 0;
}

static struct switch_verdict send(unsigned port, struct bytes bytes)
{
    struct switch_verdict ret;

    switch_forward(&core, port, bytes.at, bytes.length, 2, &ret);
    return ret;
}

static struct bytes udp(uint8_t to, uint8_t from)
{
    return ipv4(to, from, FRAME_UDP, (struct ends){from, to, 1000, 2000});
}

static void change(unsigned port, struct switch_port_config config)
{
    assert_int_equal(switch_change_port(&core, port, &config, 1), 0);
}

static void guests_are_found_by_their_address(void **state)
{
    (void)state;
    assert_int_equal(send(1, udp(2, 1)).ports, 1 << 2);
    assert_int_equal(send(UPLINK, udp(3, 77)).ports, 1 << 3);
    assert_int_equal(core.port[1].in_frames[SWITCH_PASSED], 1);
    assert_int_equal(core.port[2].out_frames, 1);
    assert_int_equal(core.port[2].out_bytes, 54);
}

static void broadcasts_go_to_all_others(void **state)
{
    (void)state;
    assert_int_equal(send(1, udp(255, 1)).ports, 0x1d);
}

/* A guest that has not asked for it does not get what is for others. */
static void unknown_places_are_behind_the_uplink(void **state)
{
    (void)state;
    assert_int_equal(send(1, udp(99, 1)).ports, 1 << UPLINK);
    assert_int_equal(send(UPLINK, udp(99, 77)).reason, SWITCH_NO_PORT);
    struct switch_port_config config = config_of(3);
    config.may_spoof = true;
    change(3, config);
    assert_int_equal(send(1, udp(99, 1)).ports, 1 << UPLINK | 1 << 3);
    (void)send(3, udp(255, 99));
    assert_int_equal(send(1, udp(99, 1)).ports, 1 << 3);
}

static void vlans_do_not_mix(void **state)
{
    struct switch_port_config config = config_of(1);
    (void)state;
    config.vlan = 10;
    change(1, config);
    config = config_of(2);
    config.vlan = 10;
    change(2, config);
    config = config_of(UPLINK);
    config.trunk = true;
    config.allowed[0] = 1 << 10;
    change(UPLINK, config);
    assert_int_equal(send(1, udp(2, 1)).ports, 1 << 2);
    assert_int_equal(send(1, udp(3, 1)).ports, 1 << UPLINK); /* not known in this VLAN */
    assert_int_equal(send(1, udp(255, 1)).ports, 1 << 2 | 1 << UPLINK);
    assert_int_equal(send(3, udp(255, 3)).ports, 1 << 4 | 1 << UPLINK);
    struct switch_verdict verdict = send(UPLINK, ethernet(1, 77, 10, 0x1234));
    assert_int_equal(verdict.ports, 1 << 1);
    assert_int_equal(verdict.vlan, 10);
    assert_int_equal(switch_tag(&core, 1, 10), 0);
    assert_int_equal(switch_tag(&core, UPLINK, 10), 10);
    assert_int_equal(send(UPLINK, ethernet(1, 77, 11, 0x1234)).reason, SWITCH_OTHER_VLAN);
    assert_int_equal(send(1, ethernet(2, 1, 10, 0x1234)).reason, SWITCH_OTHER_VLAN);
    assert_int_equal(send(1, ethernet(2, 1, 0, 0x1234)).ports, 1 << 2); /* a priority only */
    /* Two tags. */
    assert_int_equal(send(1, ethernet(2, 1, 0, FRAME_VLAN)).reason, SWITCH_OTHER_VLAN);
    assert_int_equal(send(UPLINK, ethernet(1, 77, 10, FRAME_VLAN)).reason, SWITCH_OTHER_VLAN);
    /* Nor what other tags hide. */
    assert_int_equal(send(1, ethernet(2, 1, 0, FRAME_SERVICE_VLAN)).reason, SWITCH_OTHER_VLAN);
    assert_int_equal(send(1, ethernet(2, 1, 0, FRAME_OLD_SERVICE_VLAN)).reason, SWITCH_OTHER_VLAN);
    assert_int_equal(send(UPLINK, ethernet(1, 77, 10, FRAME_SERVICE_VLAN)).reason,
                     SWITCH_OTHER_VLAN);
}

static void guards_drop_and_count(void **state)
{
    struct bytes advertisement = ethernet(255, 1, -1, FRAME_IPV6);
    struct bytes offer = ipv4(2, 1, FRAME_UDP, (struct ends){1, 2, 67, 68});
    (void)state;
    add_ipv6(&advertisement, FRAME_ICMP6, (struct ends){1, 2, 0, 0});
    add(&advertisement, (uint8_t[8]){134}, 8);
    assert_int_equal(send(1, offer).reason, SWITCH_DHCP_SERVER);
    assert_int_equal(send(1, advertisement).reason, SWITCH_ROUTER);
    assert_int_equal(send(1, udp(2, 9)).reason, SWITCH_SPOOFED);
    assert_int_equal(send(1, arp(255, 1, 9, 1)).reason, SWITCH_SPOOFED);
    assert_int_equal(send(1, arp(255, 1, 1, 1)).reason, SWITCH_PASSED);
    assert_int_equal(core.port[1].in_frames[SWITCH_SPOOFED], 2);
    assert_int_equal(core.port[1].in_frames[SWITCH_DHCP_SERVER], 1);
    assert_int_equal(core.port[1].in_frames[SWITCH_ROUTER], 1);
    assert_int_equal(send(UPLINK, offer).reason, SWITCH_PASSED);
    struct switch_port_config config = config_of(1);
    config.dhcp_guard = config.router_guard = false;
    config.may_spoof = true;
    change(1, config);
    assert_int_equal(send(1, offer).reason, SWITCH_PASSED);
    assert_int_equal(send(1, advertisement).reason, SWITCH_PASSED);
    assert_int_equal(send(1, udp(2, 9)).reason, SWITCH_PASSED);
}

static void rules_of_both_ends_count(void **state)
{
    struct acl_rule rule = {.action = ACL_DENY, .in = true};
    (void)state;
    assert_int_equal(acl_add(&core.port[2].acl, &rule), 0);
    assert_int_equal(send(1, udp(2, 1)).reason, SWITCH_NO_PORT);
    assert_int_equal(core.port[2].denied_out, 1);
    assert_int_equal(send(1, udp(255, 1)).ports, 0x19);
    assert_int_equal(send(2, udp(1, 2)).ports, 1 << 1);
    rule = (struct acl_rule){.action = ACL_DENY, .out = true};
    assert_int_equal(acl_add(&core.port[1].acl, &rule), 0);
    assert_int_equal(send(1, udp(3, 1)).reason, SWITCH_DENIED);
}

static void isolated_ports_reach_the_uplink_only(void **state)
{
    (void)state;
    for (unsigned i = 1; i < 4; i++) {
        struct switch_port_config config = config_of(i);
        config.isolated = true;
        change(i, config);
    }
    assert_int_equal(send(1, udp(2, 1)).reason, SWITCH_NO_PORT);
    assert_int_equal(send(1, udp(255, 1)).ports, 1 << 4 | 1 << UPLINK);
    assert_int_equal(send(UPLINK, udp(2, 77)).ports, 1 << 2);
}

static void mirrors_get_copies(void **state)
{
    struct switch_port_config config = config_of(1);
    (void)state;
    config.mirror = SWITCH_MIRROR_SOURCE;
    change(1, config);
    config = config_of(4);
    config.mirror = SWITCH_MIRROR_DESTINATION;
    change(4, config);
    assert_int_equal(send(1, udp(2, 1)).mirrors, 1 << 4);
    assert_int_equal(send(2, udp(1, 2)).mirrors, 1 << 4);
    assert_int_equal(send(2, udp(3, 2)).mirrors, 0);
    assert_int_equal(send(1, udp(255, 1)).mirrors, 0); /* it gets that anyway */
}

static void storms_are_limited(void **state)
{
    struct switch_port_config config = config_of(1);
    unsigned passed = 0;
    (void)state;
    config.storm_rate = 10;
    change(1, config);
    for (unsigned i = 0; i < 100; i++)
        passed += send(1, udp(255, 1)).reason == SWITCH_PASSED;
    assert_int_equal(passed, 10);
    assert_int_equal(core.port[1].in_frames[SWITCH_STORM], 90);
    assert_int_equal(send(1, udp(2, 1)).reason, SWITCH_PASSED);
}

static void ports_without_sense_are_refused(void **state)
{
    struct switch_port_config config = config_of(1);
    (void)state;
    assert_int_equal(switch_add_port(&core, 1, &config, 1), -EEXIST);
    assert_int_equal(switch_add_port(&core, SWITCH_PORTS, &config, 1), -EINVAL);
    config.vlan = 4095;
    assert_int_equal(switch_change_port(&core, 1, &config, 1), -EINVAL);
    config = config_of(1);
    config.mac[0] = 1;
    assert_int_equal(switch_change_port(&core, 1, &config, 1), -EINVAL);
    switch_remove_port(&core, 1);
    assert_int_equal(send(2, udp(1, 2)).ports, 1 << UPLINK);
}

/* ---- properties ---- */

static struct switch_port_config random_config(unsigned port)
{
    struct switch_port_config ret = config_of(port);

    ret.uplink = roll(6) == 0;
    ret.may_spoof = roll(4) == 0;
    ret.isolated = roll(3) == 0;
    ret.mirror = (enum switch_mirror)roll(3);
    ret.vlan = (uint16_t)roll(3);
    ret.trunk = roll(3) == 0;
    ret.allowed[0] = roll(8);
    ret.dhcp_guard = roll(2) == 0;
    return ret;
}

static bool is_member(const struct switch_port_config *config, uint16_t vlan)
{
    return vlan == config->vlan ||
           (config->trunk && vlan != 0 && (config->allowed[0] >> vlan & 1) != 0);
}

static void check_verdict(unsigned from, const struct bytes *bytes,
                          const struct switch_verdict *verdict)
{
    uint64_t all = verdict->ports | verdict->mirrors;
    const struct switch_port_config *source = &core.port[from].config;

    assert_int_equal(verdict->ports & verdict->mirrors, 0);
    assert_int_equal(all != 0, verdict->reason == SWITCH_PASSED);
    assert_int_equal(all >> from & 1, 0);
    for (unsigned i = 0; i < SWITCH_PORTS; i++) {
        const struct switch_port_config *target = &core.port[i].config;
        if ((all >> i & 1) == 0)
            continue;
        assert_true(core.port[i].present);
        assert_true(is_member(source, verdict->vlan) && is_member(target, verdict->vlan));
        if ((verdict->ports >> i & 1) != 0)
            assert_false(source->isolated && target->isolated);
        else
            assert_int_equal(target->mirror, SWITCH_MIRROR_DESTINATION);
    }
    if (verdict->reason == SWITCH_PASSED && !source->uplink && !source->may_spoof)
        assert_memory_equal(bytes->at + FRAME_MAC_SIZE, source->mac, FRAME_MAC_SIZE);
}

static struct bytes random_frame(void)
{
    uint8_t to = (uint8_t)(roll(4) == 0 ? 255 : roll(12));
    uint8_t from = (uint8_t)roll(12);

    switch (roll(4)) {
    case 0:
        return ethernet(to, from, (int)roll(4), 0x1234);
    case 1:
        return arp(to, from, (uint8_t)roll(12), from);
    case 2:
        return ipv4(to, from, FRAME_UDP, (struct ends){from, to, (uint16_t)(66 + roll(3)), 68});
    default:
        return udp(to, from);
    }
}

static void nothing_leaks_whatever_happens(void **state)
{
    uint64_t frames = 0;
    uint64_t counted = 0;
    (void)state;
    for (unsigned round = 0; round < 200; round++) {
        switch_init(&core, 1000);
        for (unsigned i = 0; i < 8; i++)
            add_port(i, random_config(i));
        for (unsigned i = 0; i < 300; i++) {
            struct bytes bytes = random_frame();
            struct switch_verdict verdict;
            unsigned from = roll(8);
            if (roll(50) == 0)
                change(from, random_config(from));
            switch_forward(&core, from, bytes.at, bytes.length, 1 + i, &verdict);
            check_verdict(from, &bytes, &verdict);
            frames++;
        }
        for (unsigned i = 0; i < 8 * SWITCH_REASONS; i++)
            counted += core.port[i / SWITCH_REASONS].in_frames[i % SWITCH_REASONS];
    }
    assert_int_equal(counted, frames);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(guests_are_found_by_their_address, set_up),
        cmocka_unit_test_setup(broadcasts_go_to_all_others, set_up),
        cmocka_unit_test_setup(unknown_places_are_behind_the_uplink, set_up),
        cmocka_unit_test_setup(vlans_do_not_mix, set_up),
        cmocka_unit_test_setup(guards_drop_and_count, set_up),
        cmocka_unit_test_setup(rules_of_both_ends_count, set_up),
        cmocka_unit_test_setup(isolated_ports_reach_the_uplink_only, set_up),
        cmocka_unit_test_setup(mirrors_get_copies, set_up),
        cmocka_unit_test_setup(storms_are_limited, set_up),
        cmocka_unit_test_setup(ports_without_sense_are_refused, set_up),
        cmocka_unit_test(nothing_leaks_whatever_happens),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
