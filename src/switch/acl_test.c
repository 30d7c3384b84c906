/* cmocka needs what it builds on before itself. */
/* clang-format off */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
/* clang-format on */

#include "switch/acl.h"

#include <errno.h>

#include "switch/switch_fixture.h"

static struct acl acl;

static struct acl_prefix ipv4_prefix(uint8_t last, uint8_t bits)
{
    struct acl_prefix ret = {.length = (uint8_t)(bits == 0 ? 0 : 96 + bits)};

    frame_map_ipv4((uint8_t[4]){10, 0, 0, last}, &ret.address);
    return ret;
}

static void add_rule(struct acl_rule rule)
{
    assert_int_equal(acl_add(&acl, &rule), 0);
}

/* The guest is 10.0.0.1. */
static bool passes(uint8_t protocol, struct ends ends, uint8_t flags, uint64_t now_ns)
{
    struct frame frame;
    struct bytes bytes = ethernet(2, 1, -1, FRAME_IPV4);

    add_ipv4(&bytes, protocol, ends);
    add_ports(&bytes, ends, flags);
    assert_true(frame_parse(bytes.at, bytes.length, &frame));
    return acl_pass(&acl, &frame, ends.from == 1, bytes.length, now_ns);
}

static int set_up(void **state)
{
    (void)state;
    memset(&acl, 0, sizeof(acl));
    return 0;
}

static void without_a_rule_all_passes(void **state)
{
    (void)state;
    assert_true(passes(FRAME_TCP, (struct ends){1, 2, 3, 4}, 0, 1));
    assert_true(passes(FRAME_TCP, (struct ends){2, 1, 3, 4}, 0, 1));
}

static void the_longest_prefix_decides(void **state)
{
    (void)state;
    add_rule((struct acl_rule){.action = ACL_DENY, .in = true, .out = true});
    add_rule((struct acl_rule){
        .action = ACL_ALLOW, .in = true, .out = true, .remote = ipv4_prefix(16, 28)});
    add_rule((struct acl_rule){
        .action = ACL_DENY, .in = true, .out = true, .remote = ipv4_prefix(17, 32)});
    assert_false(passes(FRAME_TCP, (struct ends){1, 2, 0, 0}, 0, 1));
    assert_true(passes(FRAME_TCP, (struct ends){1, 16, 0, 0}, 0, 1));
    assert_true(passes(FRAME_TCP, (struct ends){31, 1, 0, 0}, 0, 1));
    assert_false(passes(FRAME_TCP, (struct ends){1, 17, 0, 0}, 0, 1));
    assert_false(passes(FRAME_TCP, (struct ends){1, 32, 0, 0}, 0, 1));
    assert_int_equal(acl.rule[0].frames[true], 2);
    assert_int_equal(acl.rule[1].frames[true], 1);
    assert_int_equal(acl.rule[1].frames[false], 1);
    assert_int_equal(acl.rule[2].frames[true], 1);
}

static void weight_goes_before_prefix(void **state)
{
    (void)state;
    add_rule((struct acl_rule){.action = ACL_DENY, .out = true, .remote = ipv4_prefix(2, 32)});
    add_rule((struct acl_rule){
        .action = ACL_ALLOW, .out = true, .weight = 1, .protocol = FRAME_TCP, .remote_port = 443});
    assert_true(passes(FRAME_TCP, (struct ends){1, 2, 5, 443}, 0, 1));
    assert_false(passes(FRAME_UDP, (struct ends){1, 2, 5, 443}, 0, 1));
    assert_false(passes(FRAME_TCP, (struct ends){1, 2, 443, 5}, 0, 1));
}

static void meters_count_and_do_not_decide(void **state)
{
    (void)state;
    add_rule((struct acl_rule){.action = ACL_METER, .in = true, .out = true});
    add_rule((struct acl_rule){.action = ACL_METER, .out = true, .remote = ipv4_prefix(2, 32)});
    add_rule((struct acl_rule){.action = ACL_DENY, .out = true, .remote = ipv4_prefix(3, 32)});
    assert_true(passes(FRAME_TCP, (struct ends){1, 2, 0, 0}, 0, 1));
    assert_true(passes(FRAME_TCP, (struct ends){1, 4, 0, 0}, 0, 1));
    assert_false(passes(FRAME_TCP, (struct ends){1, 3, 0, 0}, 0, 1));
    assert_int_equal(acl.rule[0].frames[true], 1);
    assert_int_equal(acl.rule[0].bytes[true], 54);
    assert_int_equal(acl.rule[1].frames[true], 1);
}

/* All from outside is denied; what the guest begins is answered, and nothing else. */
static void answers_pass_a_stateful_rule(void **state)
{
    (void)state;
    add_rule((struct acl_rule){.action = ACL_DENY, .in = true});
    add_rule((struct acl_rule){.action = ACL_ALLOW, .out = true, .stateful = true, .idle_ns = 100});
    assert_false(passes(FRAME_TCP, (struct ends){2, 1, 80, 1000}, 16, 1));
    assert_true(passes(FRAME_TCP, (struct ends){1, 2, 1000, 80}, 2, 1));
    assert_true(passes(FRAME_TCP, (struct ends){2, 1, 80, 1000}, 18, 50));
    assert_false(passes(FRAME_TCP, (struct ends){2, 1, 80, 1001}, 18, 50));
    assert_false(passes(FRAME_TCP, (struct ends){3, 1, 80, 1000}, 18, 50));
    assert_false(passes(FRAME_UDP, (struct ends){2, 1, 80, 1000}, 0, 50));
    assert_false(passes(FRAME_TCP, (struct ends){2, 1, 80, 1000}, 2, 50)); /* begins its own */
    assert_true(passes(FRAME_TCP, (struct ends){2, 1, 80, 1000}, 16, 150));
    assert_false(passes(FRAME_TCP, (struct ends){2, 1, 80, 1000}, 16, 251));
}

static void more_flows_than_places_are_no_harm(void **state)
{
    (void)state;
    add_rule((struct acl_rule){.action = ACL_DENY, .in = true});
    add_rule(
        (struct acl_rule){.action = ACL_ALLOW, .out = true, .stateful = true, .idle_ns = 1000000});
    for (unsigned i = 1; i < 20000; i++) {
        struct ends ends = {1, 2, (uint16_t)i, 80};
        assert_true(passes(FRAME_TCP, ends, 2, i));
        assert_true(passes(FRAME_TCP, (struct ends){2, 1, 80, (uint16_t)i}, 18, i));
    }
}

static void senders_of_arp_are_peers(void **state)
{
    struct bytes bytes = arp(255, 7, 7, 7);
    struct frame frame;
    (void)state;
    add_rule((struct acl_rule){.action = ACL_DENY, .in = true, .remote = ipv4_prefix(7, 32)});
    assert_true(frame_parse(bytes.at, bytes.length, &frame));
    assert_false(acl_pass(&acl, &frame, false, bytes.length, 1));
}

static void rules_without_sense_are_refused(void **state)
{
    struct acl_rule rule = {.action = ACL_ALLOW};
    (void)state;
    assert_int_equal(acl_add(&acl, &rule), -EINVAL);
    rule = (struct acl_rule){.action = ACL_DENY, .in = true, .stateful = true, .idle_ns = 1};
    assert_int_equal(acl_add(&acl, &rule), -EINVAL);
    rule = (struct acl_rule){.action = ACL_DENY, .in = true, .remote = {.length = 129}};
    assert_int_equal(acl_add(&acl, &rule), -EINVAL);
    for (unsigned i = 0; i < ACL_RULES; i++)
        add_rule((struct acl_rule){.action = ACL_DENY, .in = true});
    rule = (struct acl_rule){.action = ACL_DENY, .in = true};
    assert_int_equal(acl_add(&acl, &rule), -ENOSPC);
}

/* ---- against a plain model ---- */

static bool model_has(const struct acl_prefix *prefix, uint8_t last)
{
    if (prefix->length == 0)
        return true;
    unsigned bits = prefix->length - 96U;
    return last >> (32 - bits) == prefix->address.bytes[15] >> (32 - bits);
}

static bool model_passes(struct ends ends, uint8_t protocol, bool out)
{
    uint8_t local = out ? ends.from : ends.to;
    uint8_t remote = out ? ends.to : ends.from;
    long best = -1;
    bool pass = true;

    for (unsigned i = 0; i < acl.count; i++) {
        const struct acl_rule *rule = &acl.rule[i];
        uint16_t local_port = out ? ends.from_port : ends.to_port;
        uint16_t remote_port = out ? ends.to_port : ends.from_port;
        bool here = (out ? rule->out : rule->in) && model_has(&rule->remote, remote) &&
                    model_has(&rule->local, local) &&
                    (rule->protocol == 0 || rule->protocol == protocol) &&
                    (rule->local_port == 0 || rule->local_port == local_port) &&
                    (rule->remote_port == 0 || rule->remote_port == remote_port);
        long rank = rule->weight * 100000L + rule->remote.length * 400 + rule->local.length * 2 +
                    (rule->action == ACL_DENY);
        if (!here || rule->action == ACL_METER || rank <= best)
            continue;
        best = rank;
        pass = rule->action == ACL_ALLOW;
    }
    return pass;
}

static struct acl_prefix random_prefix(void)
{
    return ipv4_prefix((uint8_t)roll(4), (uint8_t)(roll(3) == 0 ? 0 : 28 + roll(5)));
}

static void random_rules_are_as_the_model_has_them(void **state)
{
    static const uint8_t protocols[] = {0, FRAME_TCP, FRAME_UDP};
    (void)state;
    for (unsigned round = 0; round < 3000; round++) {
        memset(&acl, 0, sizeof(acl));
        for (unsigned i = roll(6); i > 0; i--) {
            struct acl_rule rule = {
                .action = (enum acl_action)roll(3),
                .in = roll(2) == 0,
                .out = true,
                .weight = (uint16_t)roll(2),
                .local = random_prefix(),
                .remote = random_prefix(),
                .protocol = protocols[roll(3)],
                .local_port = (uint16_t)roll(3),
                .remote_port = (uint16_t)roll(3),
            };
            add_rule(rule);
        }
        for (unsigned i = 0; i < 20; i++) {
            struct ends ends = {(uint8_t)roll(4), (uint8_t)roll(4), (uint16_t)roll(3),
                                (uint16_t)roll(3)};
            uint8_t protocol = protocols[1 + roll(2)];
            assert_int_equal(passes(protocol, ends, 0, 1),
                             model_passes(ends, protocol, ends.from == 1));
        }
    }
}

static void a_mac_address_counts_as_the_longest_prefix(void **state)
{
    (void)state;
    add_rule((struct acl_rule){.action = ACL_ALLOW, .out = true, .remote = ipv4_prefix(2, 32)});
    add_rule((struct acl_rule){
        .action = ACL_DENY, .out = true, .has_mac = true, .mac = {0, 0x15, 0x5d, 0, 0, 2}});
    assert_false(passes(FRAME_TCP, (struct ends){1, 2, 3, 4}, 0, 1));
    acl.rule[1].mac[5] = 3;
    assert_true(passes(FRAME_TCP, (struct ends){1, 2, 3, 4}, 0, 1));
}

static void a_rule_that_is_removed_is_gone_with_its_flows(void **state)
{
    (void)state;
    add_rule((struct acl_rule){.action = ACL_ALLOW,
                               .out = true,
                               .stateful = true,
                               .idle_ns = 1000,
                               .remote = ipv4_prefix(2, 32)});
    add_rule((struct acl_rule){.action = ACL_DENY, .in = true});
    assert_true(passes(FRAME_UDP, (struct ends){1, 2, 3, 4}, 0, 1));
    assert_true(passes(FRAME_UDP, (struct ends){2, 1, 4, 3}, 0, 2));
    assert_int_equal(acl_remove(&acl, 2), -ENOENT);
    assert_int_equal(acl_remove(&acl, 0), 0);
    assert_false(passes(FRAME_UDP, (struct ends){2, 1, 4, 3}, 0, 3));
    assert_int_equal(acl_remove(&acl, 0), 0);
    assert_true(passes(FRAME_UDP, (struct ends){2, 1, 4, 3}, 0, 4));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(a_mac_address_counts_as_the_longest_prefix, set_up),
        cmocka_unit_test_setup(a_rule_that_is_removed_is_gone_with_its_flows, set_up),
        cmocka_unit_test_setup(without_a_rule_all_passes, set_up),
        cmocka_unit_test_setup(the_longest_prefix_decides, set_up),
        cmocka_unit_test_setup(weight_goes_before_prefix, set_up),
        cmocka_unit_test_setup(meters_count_and_do_not_decide, set_up),
        cmocka_unit_test_setup(answers_pass_a_stateful_rule, set_up),
        cmocka_unit_test_setup(more_flows_than_places_are_no_harm, set_up),
        cmocka_unit_test_setup(senders_of_arp_are_peers, set_up),
        cmocka_unit_test_setup(rules_without_sense_are_refused, set_up),
        cmocka_unit_test_setup(random_rules_are_as_the_model_has_them, set_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
