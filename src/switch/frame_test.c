/* cmocka needs what it builds on before itself. */
/* clang-format off */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
/* clang-format on */

#include "switch/switch_fixture.h"

static struct frame parsed(const struct bytes *bytes)
{
    struct frame frame;

    assert_true(frame_parse(bytes->at, bytes->length, &frame));
    return frame;
}

static void tags_are_taken_off(void **state)
{
    struct bytes bytes = ethernet(2, 1, 5 << 13 | 100, FRAME_IPV4);
    (void)state;
    add_ipv4(&bytes, FRAME_UDP, (struct ends){1, 2, 7, 8});
    add_ports(&bytes, (struct ends){1, 2, 7, 8}, 0);
    struct frame frame = parsed(&bytes);
    assert_true(frame.tagged && frame.has_ip && frame.has_ports);
    assert_int_equal(frame.vlan, 100);
    assert_int_equal(frame.priority, 5);
    assert_int_equal(frame.type, FRAME_IPV4);
    assert_int_equal(frame.from_port, 7);
    assert_int_equal(frame.to_port, 8);
    assert_int_equal(frame.from.bytes[15], 1);
    assert_int_equal(frame.to.bytes[11], 0xff);
}

/* Every cut of every frame: never read past its end (the bytes lie at the end of an allocation). */
static void what_is_cut_short_is_not_there(void **state)
{
    struct bytes frames[3] = {ipv4(2, 1, FRAME_TCP, (struct ends){1, 2, 3, 4}), arp(255, 1, 1, 1),
                              ethernet(2, 1, 9, FRAME_IPV6)};
    (void)state;
    add_ipv6(&frames[2], 0, (struct ends){1, 2, 3, 4});
    add(&frames[2], (uint8_t[8]){FRAME_UDP}, 8);
    add_ports(&frames[2], (struct ends){1, 2, 3, 4}, 0);
    for (unsigned i = 0; i < 3; i++) {
        for (size_t length = 0; length < frames[i].length; length++) {
            struct frame frame;
            uint8_t *copy = test_malloc(length + 1);
            memcpy(copy, frames[i].at, length);
            assert_int_equal(frame_parse(copy, length, &frame), length >= FRAME_HEADER);
            if (length < FRAME_HEADER + 20)
                assert_false(frame.has_ip || frame.has_arp || frame.has_ports);
            test_free(copy);
        }
        struct frame frame = parsed(&frames[i]);
        assert_true(frame.has_ports || frame.has_arp);
    }
}

static void ports_are_found_behind_extensions(void **state)
{
    struct bytes bytes = ethernet(2, 1, -1, FRAME_IPV6);
    (void)state;
    add_ipv6(&bytes, 60, (struct ends){1, 2, 0, 0});
    add(&bytes, (uint8_t[16]){43, 1}, 16);
    add(&bytes, (uint8_t[8]){FRAME_TCP, 0}, 8);
    add_ports(&bytes, (struct ends){1, 2, 80, 81}, 2);
    struct frame frame = parsed(&bytes);
    assert_true(frame.has_ports && frame.starts_flow);
    assert_false(frame.is_unclear);
    assert_int_equal(frame.protocol, FRAME_TCP);
    assert_int_equal(frame.to_port, 81);
}

static void later_fragments_have_no_ports(void **state)
{
    struct bytes bytes = ipv4(2, 1, FRAME_UDP, (struct ends){1, 2, 67, 68});
    (void)state;
    assert_true(parsed(&bytes).has_ports);
    put_be16(bytes.at + FRAME_HEADER + 6, 1);
    assert_true(parsed(&bytes).is_fragment);
    assert_false(parsed(&bytes).has_ports);
}

static void servers_of_dhcp_are_known(void **state)
{
    struct bytes four = ipv4(2, 1, FRAME_UDP, (struct ends){1, 2, 67, 68});
    struct bytes client = ipv4(2, 1, FRAME_UDP, (struct ends){1, 2, 68, 67});
    struct bytes tcp = ipv4(2, 1, FRAME_TCP, (struct ends){1, 2, 67, 68});
    struct bytes six = ethernet(2, 1, -1, FRAME_IPV6);
    (void)state;
    add_ipv6(&six, FRAME_UDP, (struct ends){1, 2, 0, 0});
    add_ports(&six, (struct ends){1, 2, 547, 546}, 0);
    struct frame frames[] = {parsed(&four), parsed(&six), parsed(&client), parsed(&tcp)};
    assert_true(frame_is_from_dhcp_server(&frames[0]));
    assert_true(frame_is_from_dhcp_server(&frames[1]));
    assert_false(frame_is_from_dhcp_server(&frames[2]));
    assert_false(frame_is_from_dhcp_server(&frames[3]));
}

static void routers_are_known(void **state)
{
    static const struct {
        uint16_t type;
        uint8_t icmp;
        bool router;
    } rows[] = {{FRAME_IPV6, 134, true},  {FRAME_IPV6, 137, true}, {FRAME_IPV6, 133, false},
                {FRAME_IPV6, 136, false}, {FRAME_IPV4, 5, true},   {FRAME_IPV4, 9, true},
                {FRAME_IPV4, 8, false},   {FRAME_IPV4, 134, false}};
    (void)state;
    for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct bytes bytes = ethernet(2, 1, -1, rows[i].type);
        if (rows[i].type == FRAME_IPV6)
            add_ipv6(&bytes, FRAME_ICMP6, (struct ends){1, 2, 0, 0});
        else
            add_ipv4(&bytes, FRAME_ICMP, (struct ends){1, 2, 0, 0});
        add(&bytes, (uint8_t[8]){rows[i].icmp}, 8);
        struct frame frame = parsed(&bytes);
        assert_int_equal(frame_is_from_router(&frame), rows[i].router);
    }
}

/* RFC 7113: who hides an advertisement behind many headers is taken for a router. */
static void hidden_ones_count(void **state)
{
    struct bytes bytes = ethernet(2, 1, -1, FRAME_IPV6);
    (void)state;
    add_ipv6(&bytes, 60, (struct ends){1, 2, 0, 0});
    for (unsigned i = 0; i < 9; i++)
        add(&bytes, (uint8_t[8]){60}, 8);
    add(&bytes, (uint8_t[8]){134}, 8);
    struct frame frame = parsed(&bytes);
    assert_true(frame.is_unclear);
    assert_true(frame_is_from_router(&frame));
    assert_true(frame_is_from_dhcp_server(&frame));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tags_are_taken_off),
        cmocka_unit_test(what_is_cut_short_is_not_there),
        cmocka_unit_test(ports_are_found_behind_extensions),
        cmocka_unit_test(later_fragments_have_no_ports),
        cmocka_unit_test(servers_of_dhcp_are_known),
        cmocka_unit_test(routers_are_known),
        cmocka_unit_test(hidden_ones_count),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
